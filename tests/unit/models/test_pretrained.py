"""torchvision's published weights: absent, damaged, there."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torchvision.models import get_model

from fleet.encoding import IntervalEncoding
from fleet.errors import BackendError
from fleet.models import Classifier, build_classifier, vision


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of torch, and a network that refuses every connection."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "hub" / "checkpoints"


def build(architecture: str) -> Classifier:
    return build_classifier(
        architecture=architecture,  # type: ignore[arg-type]
        head="linear",
        task="int",
        encoding=IntervalEncoding(10, 4.0, 16.0),
        num_classes=10,
        input_shape=(3, 64, 64),
        mean=(0.5,) * 3,
        std=(0.25,) * 3,
        pretrained=True,
        seed=0,
    )


def test_without_a_network_the_error_says_where_to_put_the_file(cache: Path) -> None:
    with pytest.raises(BackendError, match="cannot fetch the pretrained weights") as caught:
        build("resnet18")
    assert caught.value.hint is not None
    assert str(cache / "resnet18-f37072fd.pth") in caught.value.hint
    assert list(cache.iterdir()) == []


def test_a_file_that_is_not_the_published_one_is_refused_unread(cache: Path) -> None:
    cache.mkdir(parents=True)
    path = cache / "resnet18-f37072fd.pth"
    path.write_bytes(b"not the weights")
    with pytest.raises(BackendError, match="is not the published file") as caught:
        build("resnet18")
    assert caught.value.hint is not None
    assert path.read_bytes() == b"not the weights"


@pytest.mark.parametrize("architecture", ["resnet18", "densenet121"])
def test_published_weights_fill_the_backbone(
    architecture: str, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The digest check is switched off: 8 digits of a SHA-256 cannot be met by a test's file."""
    name = {"resnet18": "resnet18-f37072fd.pth", "densenet121": "densenet121-a639ec97.pth"}
    network = get_model(architecture, weights=None)
    # DenseNet's published file has the older names.
    state = {
        key.replace("norm1.", "norm.1.").replace("conv2.", "conv.2.")
        if "denselayer" in key
        else key: v
        for key, v in network.state_dict().items()
    }
    cache.mkdir(parents=True)
    torch.save(state, cache / name[architecture])
    monkeypatch.setattr(vision, "_digest", lambda path: path.stem.rpartition("-")[2])
    loaded = build(architecture).backbone.state_dict()
    expected = network.state_dict()
    assert loaded
    assert all(torch.equal(value, expected[key]) for key, value in loaded.items())


def test_a_damaged_file_of_the_right_name_is_refused(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.mkdir(parents=True)
    (cache / "resnet18-f37072fd.pth").write_bytes(b"\x80\x02garbage")
    monkeypatch.setattr(vision, "_digest", lambda path: path.stem.rpartition("-")[2])
    with pytest.raises(BackendError, match="cannot read"):
        build("resnet18")
