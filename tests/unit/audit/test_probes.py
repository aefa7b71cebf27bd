"""Probes of one device: what is examined, counted and left alone."""

import pickle
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fleet.attacks import PGD, Directions, SampleKeys, SignStep
from fleet.attacks.diversity import Look
from fleet.audit.core.bench import Bench
from fleet.audit.core.evidence import AttackName, Probes, Retry
from fleet.audit.core.members import Member, Sample, TransferSettings
from fleet.audit.core.probes import BINARIZED, EXAMINED, FEW, find_standing, probe_device
from fleet.audit.core.scoring import score_baseline, score_sets
from fleet.audit.core.sets import attack_surrogate
from fleet.encoding import IntervalEncoding
from fleet.models import Classifier

SHAPE = (1, 2, 2)
EPS = 8 / 255


class Slope(nn.Module):
    """``o`` is the first pixel in levels, minus 100."""

    def forward(self, x: Tensor) -> Tensor:
        return x[:, 0, 0, 0] * 255 - 100


@pytest.fixture
def member() -> Member:
    encoding = IntervalEncoding(2, alpha=10.0, beta=20.0)
    return Member("slope", Classifier.from_module(Slope(), encoding, SHAPE))


@pytest.fixture
def sample() -> Sample:
    """First pixel at 100 to 123: ``o`` is 0 to 23, class 0 up to 20, then None."""
    images = torch.full((24, *SHAPE), 128, dtype=torch.uint8)
    images[:, 0, 0, 0] = torch.arange(100, 124)
    return Sample.of(images, torch.zeros(24, dtype=torch.int64))


def settings(**changes: object) -> TransferSettings:
    values = {"steps": 4, "restarts": 1, "precision": "fp32", "targets": "none", **changes}
    return TransferSettings(eps=(EPS,), **values)  # type: ignore[arg-type]


def probed(member: Member, sample: Sample, chosen: TransferSettings) -> Probes:
    sets = attack_surrogate(member, sample, chosen)
    clean = score_baseline(member, sample, chosen).clean
    attacked = score_sets(member, sample, sets.images, chosen).outcomes
    return probe_device(member, sample, chosen, sets, clean=clean, attacked=attacked)


def retries(probes: Probes) -> dict[tuple[str, str], Retry]:
    return {(retry.protocol, retry.probe): retry for retry in probes.retries}


def test_only_what_stands_is_tried_again(member: Member, sample: Sample) -> None:
    """21 are correct; eps of 8 levels takes all out but ``o`` = 8 to 12."""
    found = retries(probed(member, sample, settings()))
    adaptive = found["adaptive", "square"]
    assert (adaptive.n, adaptive.survivors, adaptive.examined, adaptive.found) == (21, 5, 5, 0)
    assert {probe for protocol, probe in found if protocol == "paper"} == {
        "flat", "uniform", "square", "iterates",
    }  # fmt: skip
    paper = found["paper", "square"]
    assert paper.examined == min(EXAMINED, paper.survivors)
    assert paper.found > 0


def test_the_binarization_test_takes_images_that_are_decoded_rightly(
    member: Member, sample: Sample
) -> None:
    found = probed(member, sample, settings()).binarization
    assert found.n + found.unbuilt == BINARIZED, "three images alone are decoded as None"


def test_the_first_standing_images_are_examined(member: Member, sample: Sample) -> None:
    outcomes = np.zeros((1, 24), dtype=np.int8)
    outcomes[0, 3:5] = 2
    clean = np.zeros(24, dtype=np.int8)
    clean[0] = 1
    standing = find_standing(
        member, sample, "adaptive", EPS,
        clean=clean, attacked=outcomes, attacks=(AttackName("adaptive", "up"),),
    )  # fmt: skip
    assert (standing.n, standing.survivors) == (23, 21)
    assert standing.part.indices.tolist() == [1, 2, *range(5, 15)]


def test_a_brief_audit_tries_fewer_of_them_again(member: Member, sample: Sample) -> None:
    found = retries(probed(member, sample, settings(brief=True)))
    assert {retry.examined for retry in found.values() if retry.survivors} == {FEW}
    assert found["adaptive", "square"].survivors == 5


def test_where_nothing_stands_nothing_is_run(member: Member, sample: Sample) -> None:
    """Without the middle of the interval, everything falls."""
    edges = sample.part(torch.tensor([0, 1, 19, 20]))
    found = retries(probed(member, edges, settings()))
    assert {retry.survivors for retry in found.values() if retry.protocol == "adaptive"} == {0}
    assert {retry.examined for retry in found.values() if retry.protocol == "adaptive"} == {0}


def test_probes_do_not_depend_on_the_batch_size(member: Member, sample: Sample) -> None:
    whole = probed(member, sample, settings())
    assert probed(member, sample, settings(batch_size=5)) == whole
    assert whole.orderings
    assert whole.decodings
    assert whole.binarization is not None


def test_probes_are_small_and_travel_between_processes(member: Member, sample: Sample) -> None:
    probes = probed(member, sample, settings())
    data = pickle.dumps(probes)
    assert pickle.loads(data) == probes
    assert len(data) < 10_000


def test_both_decode_rules_are_read(member: Member, sample: Sample) -> None:
    """``o`` = 21, 22 and 23 are None, or class 0 by the floor rule."""
    (decoding,) = probed(member, sample, settings()).decodings
    assert (decoding.images, decoding.strict_correct, decoding.floor_correct) == (24, 21, 24)
    # Strict: down from 0 to 7, up from 13 to 20. Floor: the gap is class 0 too, so down alone.
    assert (decoding.strict.n, decoding.strict.evade) == (21, 16)
    assert (decoding.floor.n, decoding.floor.evade) == (24, 10)


def test_watching_sees_iterates_that_are_not_returned(sample: Sample) -> None:
    """``o`` leaves by a bump of height 5 that the attack climbs over to a higher plateau inside.

    Through a view only the last iterates are scored, so the bump is forgotten.
    """

    class Window:
        def begin(self, keys: SampleKeys, run: int) -> Look:
            return lambda images, step: images

    class Bump(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            t = x[:, 0, 0, 0] * 255 - 100
            return torch.where((t > 4) & (t < 6), -5 + 0.1 * t, 5 + 0.1 * t)

    classifier = Classifier.from_module(Bump(), IntervalEncoding(2, 10.0, 20.0), SHAPE)
    part = sample.part(torch.tensor([0]))
    bench = Bench.of(classifier, "bump", part, EPS, settings())
    attack = PGD(Directions(), bench.exact, steps=8, rule=SignStep(1 / 8), view=Window())
    watched = bench.watch(attack)
    assert bench.watch(replace(attack, view=None)).evaded.tolist() == [True]
    assert watched.passed.tolist() == [True]
    assert watched.flat.tolist() == [False]
    assert watched.evaded.tolist() == [False]


def test_a_device_with_logits_has_no_decode_rule(logits: Any, sample: Sample) -> None:
    member = logits("control", [[0.0, 0.0, 0.0, 0.0], [1.0, -1.0, 0.0, 0.0]])
    probes = probed(member, sample, settings())
    assert probes.decodings == ()
    assert retries(probes)["adaptive", "steps"].n == 24


def test_an_attacked_member_keeps_its_mode(member: Member, sample: Sample) -> None:
    member.classifier.train()
    probed(member, sample, settings())
    assert member.classifier.training
