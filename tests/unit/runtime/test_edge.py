"""The edge engine: the same decisions as torch, in a process that has no torch."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from unit.bundle.bundle_samples import manifest

pytest.importorskip("onnxruntime", reason="the edge engine needs the extra `edge`")
pytest.importorskip("onnxscript", reason="exporting needs the extra `export`")

import torch
from safetensors.torch import save

from fleet.bundle import Bundle, Manifest, pack_second
from fleet.bundle.manifest import ModelSection, Payload, Preprocessing
from fleet.data.read import read_idx
from fleet.encoding import IntervalEncoding
from fleet.errors import BackendError, BundleError
from fleet.models import build_classifier
from fleet.runtime import load_engine
from fleet.runtime.export import export_graph, self_test

BLOCKER = """
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"torch", "torchvision"}:
            raise ImportError("no torch on this device")
sys.meta_path.insert(0, Blocker())
from fleet.__main__ import main
sys.argv = ["fleet", *sys.argv[1:]]
main()
"""


def made(head: str, seed: int, order: tuple[int, ...] | None = None) -> Bundle:
    """An untrained device whose BatchNorm statistics are not those of a fresh layer."""
    encoding = IntervalEncoding(10, 4.0, 16.0 + seed, order=order)
    classifier = build_classifier(
        architecture="nn",
        head=head,  # type: ignore[arg-type]
        task="int",
        encoding=encoding,
        num_classes=10,
        input_shape=(1, 28, 28),
        mean=(0.13,),
        std=(0.31,),
        width=0.25,
        batch_norm=True,
        stem="auto",
        pretrained=False,
        seed=seed,
    )
    generator = torch.Generator().manual_seed(seed)
    classifier.train()
    for part in classifier.modules():
        if isinstance(part, torch.nn.modules.batchnorm._BatchNorm):
            part.momentum = 1.0
    with torch.no_grad():
        strokes = torch.rand(256, 1, 7, 7, generator=generator).gt(0.8).float()
        images = torch.nn.functional.interpolate(strokes, scale_factor=4.0, mode="bilinear")
        classifier(images)
        raw = classifier.eval().raw(images)
        layer = classifier.head.linear
        # Outputs that spread over the intervals, as those of a trained device do.
        layer.bias.sub_(raw.mean(0))  # type: ignore[operator, union-attr]
        layer.weight.mul_(2 / raw.std())  # type: ignore[operator, union-attr]
    model = save({k: v.contiguous() for k, v in classifier.state_dict().items()}, {"format": "pt"})
    described: Manifest = manifest(
        model,
        device=f"cam-{seed:02}",
        encoding=encoding,
        model=ModelSection(
            head=head,
            width=0.25,
            num_classes=10,
            input_shape=(1, 28, 28),  # type: ignore[arg-type]
        ),
        preprocessing=Preprocessing(
            channels=1, image_size=28, mean=(0.13,), std=(0.31,), fit="squash"
        ),
        class_names=tuple("0123456789"),
        payload=Payload(manifest(model).payload.sha256, len(model)),
    )
    return Bundle(described, model)


@pytest.fixture(scope="module")
def graph() -> bytes:
    return export_graph(made("ordinal", 0))


@pytest.fixture(scope="module")
def digits(whole_mnist: Path) -> np.ndarray:
    images = read_idx(whole_mnist / "MNIST" / "raw" / "t10k-images-idx3-ubyte.gz", (28, 28))
    return np.asarray(images, dtype=np.float32)[:, np.newaxis] / np.float32(255)


def test_edge_and_torch_decide_alike_on_every_test_image(graph: bytes, digits: np.ndarray) -> None:
    bundle = made("ordinal", 3, (3, 1, 4, 0, 5, 9, 2, 6, 8, 7))
    bundle = Bundle(bundle.manifest, bundle.model, graph)
    edge, torch_engine = load_engine("edge", bundle), load_engine("torch", bundle)
    ours, theirs = edge.outputs(digits), torch_engine.outputs(digits)
    assert len(ours) == 10_000
    assert np.abs(ours - theirs).max() < 1e-3
    encoding = bundle.manifest.encoding
    assert encoding is not None
    labels = encoding.decode_array(theirs)
    assert len(np.unique(labels)) > 2
    off = encoding.decode_array(ours) != labels
    # An output within rounding of an interval's edge may fall on either side; nothing else may.
    assert np.abs(encoding.margin_array(theirs[off])).max(initial=0.0) < 1e-4
    assert off.mean() < 1e-3


def test_one_graph_serves_every_device_of_a_shape_and_holds_no_weight(graph: bytes) -> None:
    other = made("ordinal", 7, (9, 8, 7, 6, 5, 4, 3, 2, 1, 0))
    assert export_graph(other) == graph
    assert len(graph) < 20_000
    assert export_graph(made("linear", 0)) != graph


def test_weights_that_do_not_fit_the_graph_are_refused(graph: bytes) -> None:
    linear = made("linear", 0)
    with pytest.raises(BundleError, match="do not fit each other"):
        load_engine("edge", Bundle(linear.manifest, linear.model, graph))
    with pytest.raises(BackendError, match="carries no graph"):
        load_engine("edge", Bundle(linear.manifest, linear.model))


def test_a_device_without_torch_verifies_and_predicts(
    graph: bytes, digits: np.ndarray, tmp_path: Path
) -> None:
    from PIL import Image

    bundle = made("ordinal", 0)
    test = self_test(bundle, (digits[:8] * 255).round().astype(np.uint8))
    data = pack_second(bundle.manifest, bundle.model, counter=1, graph=graph, self_test=test)
    path, picture = tmp_path / "a.fleet", tmp_path / "digit.png"
    path.write_bytes(data)
    Image.fromarray((digits[0, 0] * 255).round().astype(np.uint8)).save(picture)
    wanted = load_engine("torch", bundle).outputs(digits[:1])
    encoding = bundle.manifest.encoding
    assert encoding is not None
    index = int(encoding.decode_array(wanted)[0])
    for command in (
        ["verify", str(path)],
        ["predict", str(path), str(picture), "--format", "json"],
    ):
        done = subprocess.run(
            [sys.executable, "-c", BLOCKER, *command], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
    (prediction,) = json.loads(done.stdout)["predictions"]
    assert prediction["index"] == (None if index < 0 else index)
