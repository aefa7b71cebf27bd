"""Any classifier of torchvision by name, and a start from weights of the user's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torchvision.models import get_model

from fleet.encoding import IntervalEncoding
from fleet.errors import CheckpointError, ProfileError
from fleet.models import Classifier, build_classifier, weights_bytes

MOBILE = "torchvision/mobilenet_v3_small"


def build(architecture: str, shape: tuple[int, int, int] = (3, 64, 64), **more: Any) -> Classifier:
    settings: dict[str, Any] = {
        "head": "softmax",
        "task": "int",
        "encoding": IntervalEncoding(10, 2.0, 18.0),
        **more,
    }
    return build_classifier(
        architecture=architecture,
        num_classes=10,
        input_shape=shape,
        mean=(0.5,) * shape[0],
        std=(0.25,) * shape[0],
        seed=0,
        **settings,
    )


@pytest.mark.parametrize(
    "name", ["mobilenet_v3_small", "shufflenet_v2_x0_5", "regnet_y_400mf", "resnet18"]
)
@pytest.mark.parametrize("shape", [(3, 64, 64), (1, 32, 40)])
def test_a_classifier_of_torchvision_learns_from_every_shape(
    name: str, shape: tuple[int, int, int]
) -> None:
    classifier = build(f"torchvision/{name}", shape).train()
    raw = classifier.raw(torch.rand(2, *shape))
    raw.square().sum().backward()
    assert raw.shape == (2, 10)
    gradients = [p.grad for p in classifier.parameters()]
    assert all(g is not None for g in gradients)


def test_only_the_last_layer_is_taken_away() -> None:
    """The backbone has torchvision's own weights by name, all but the last layer's."""
    theirs = set(get_model("mobilenet_v3_small").state_dict())
    ours = set(build(MOBILE).backbone.state_dict())
    assert theirs - ours == {"classifier.3.weight", "classifier.3.bias"}
    assert ours <= theirs


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("mobilenet_v3_smal", "has no classifier 'mobilenet_v3_smal'"),
        ("fasterrcnn_resnet50_fpn", "has no classifier"),
        ("../resnet18", "has no classifier"),
        ("squeezenet1_1", "no fully connected last layer"),
        ("googlenet", "several outputs"),
        ("vit_b_32", "does not take images of 3 x 64 x 64"),
    ],
)
def test_a_network_that_cannot_be_a_device_is_refused(name: str, words: str) -> None:
    with pytest.raises(ProfileError, match=words):
        build(f"torchvision/{name}")


def test_a_misspelt_name_gets_the_nearest() -> None:
    with pytest.raises(ProfileError) as caught:
        build("torchvision/mobilenet_v3_smal")
    assert caught.value.hint is not None
    assert "mobilenet_v3_small" in caught.value.hint


def test_a_device_starts_from_a_trained_network(tmp_path: Path) -> None:
    """From a run's own file, and from what torch.save and safetensors write of torchvision's."""
    torch.manual_seed(1)
    theirs = get_model("mobilenet_v3_small").state_dict()
    torch.save(theirs, tmp_path / "theirs.pth")
    save_file(theirs, tmp_path / "theirs.safetensors")
    trained = build(MOBILE, head="logits", task="tra", encoding=None)
    trained.backbone.load_state_dict(theirs, strict=False)
    (tmp_path / "model.safetensors").write_bytes(weights_bytes(trained))
    for name in ("theirs.pth", "theirs.safetensors", "model.safetensors"):
        started = build(MOBILE, weights=str(tmp_path / name))
        for key, value in started.backbone.state_dict().items():
            assert torch.equal(value, theirs[key]), (name, key)


@pytest.mark.parametrize("kind", ["another", "damaged", "absent", "list", "code"])
def test_weights_that_are_no_backbone_of_this_kind_are_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "weights.pth"
    if kind == "another":
        torch.save(get_model("resnet18").state_dict(), path)
    if kind == "damaged":
        path.write_bytes(b"PK not a state dictionary")
    if kind == "list":
        torch.save([1, 2], path)
    if kind == "code":
        torch.save(get_model("squeezenet1_1"), path)  # a pickled network would run code
    with pytest.raises(CheckpointError, match=r"weights\.pth"):
        build(MOBILE, weights=str(path))
