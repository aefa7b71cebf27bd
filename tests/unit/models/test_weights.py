"""Weights in and out."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load
from torch import Tensor

from fleet.encoding import IntervalEncoding
from fleet.errors import CheckpointError
from fleet.models import (
    Classifier,
    build_classifier,
    load_weights,
    weights_bytes,
    weights_digest,
)

PAPER = IntervalEncoding(10, 4.0, 16.0)

PROGRAM = """
from fleet.encoding import IntervalEncoding
from fleet.models import build_classifier, weights_digest
print(weights_digest(build_classifier(
    architecture="nn", head="ordinal", task="int", encoding=IntervalEncoding(10, 4.0, 16.0),
    num_classes=10, input_shape=(1, 28, 28), mean=(0.1,), std=(0.3,), width=0.25, seed=11)))
"""


def small(
    seed: int = 0,
    *,
    encoding: IntervalEncoding = PAPER,
    head: str = "linear",
    width: float = 0.25,
    mean: float = 0.1,
) -> Classifier:
    return build_classifier(
        architecture="nn",
        head=head,  # type: ignore[arg-type]
        task="int",
        encoding=encoding,
        num_classes=10,
        input_shape=(1, 28, 28),
        mean=(mean,),
        std=(0.3,),
        width=width,
        seed=seed,
    )


def test_two_processes_write_the_same_bytes() -> None:
    other = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**os.environ, "PYTHONHASHSEED": "1"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert other.strip() == weights_digest(small(11, head="ordinal"))
    assert len(other.strip()) == 64


def test_the_only_metadata_is_the_format() -> None:
    data = weights_bytes(small())
    (length,) = struct.unpack_from("<Q", data)
    assert json.loads(data[8 : 8 + length])["__metadata__"] == {"format": "pt"}


def test_bytes_do_not_depend_on_the_memory_format() -> None:
    classifier = small()
    digest = weights_digest(classifier)
    classifier.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    assert weights_digest(classifier) == digest


@pytest.mark.parametrize("head", ["linear", "ordinal"])
def test_weights_make_the_same_network_again(head: str) -> None:
    source, copy = small(1, head=head).eval(), small(2, head=head, mean=0.0).eval()
    x = torch.rand(4, 1, 28, 28)
    assert not torch.equal(source(x), copy(x))
    load_weights(copy, load(weights_bytes(source)))
    assert torch.equal(source(x), copy(x))
    assert weights_bytes(source) == weights_bytes(copy)


def _without_bias(state: dict[str, Tensor]) -> None:
    del state["head.linear.bias"]


def _with_surplus(state: dict[str, Tensor]) -> None:
    state["extra"] = torch.zeros(1)


def _with_wrong_shape(state: dict[str, Tensor]) -> None:
    state["head.linear.weight"] = torch.zeros(1, 31)


def _with_wrong_type(state: dict[str, Tensor]) -> None:
    state["head.linear.weight"] = torch.zeros(1, 32, dtype=torch.float64)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_without_bias, r"missing: head\.linear\.bias"),
        (_with_surplus, r"unexpected: extra"),
        (_with_wrong_shape, r"head\.linear\.weight \(float32 \(1, 31\), not float32 \(1, 32\)\)"),
        (_with_wrong_type, r"head\.linear\.weight \(float64 \(1, 32\), not float32 \(1, 32\)\)"),
    ],
)
def test_weights_that_do_not_fit_are_named_and_nothing_is_loaded(damage, message: str) -> None:  # type: ignore[no-untyped-def]
    state = load(weights_bytes(small(1)))
    damage(state)
    target = small(2)
    before = weights_digest(target)
    with pytest.raises(CheckpointError, match=message):
        load_weights(target, state)
    assert weights_digest(target) == before


def test_another_width_names_a_few_keys_and_counts_the_rest() -> None:
    with pytest.raises(CheckpointError, match=r"of another shape or type: .* and \d+ more"):
        load_weights(small(width=0.5), load(weights_bytes(small())))


@pytest.mark.parametrize("head", ["linear", "ordinal"])
def test_weights_of_another_encoding_are_refused(head: str) -> None:
    other = IntervalEncoding(10, 4.0, 17.0)
    target = small(head=head)
    before = weights_digest(target)
    with pytest.raises(CheckpointError, match="another encoding"):
        load_weights(target, load(weights_bytes(small(head=head, encoding=other))))
    assert weights_digest(target) == before
