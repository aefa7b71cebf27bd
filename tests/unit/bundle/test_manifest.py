import copy
import dataclasses
import json
from typing import Any

import pytest

from fleet.bundle import Manifest
from fleet.errors import BundleError
from fleet.files import canonical_json
from unit.bundle import bundle_samples as samples


@pytest.fixture
def value() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(
        canonical_json(samples.manifest(samples.tiny_model()).to_dict())
    )
    return found


def put(value: dict[str, Any], path: str, new: Any) -> dict[str, Any]:
    """Copy ``value`` with one field changed; ``...`` deletes it."""
    changed = copy.deepcopy(value)
    *parents, last = path.split(".")
    place = changed
    for parent in parents:
        place = place[parent]
    if new is ...:
        del place[last]
    else:
        place[last] = new
    return changed


def test_json_and_back_is_the_same_manifest(value: dict[str, Any]) -> None:
    manifest = Manifest.from_dict(value)
    assert manifest == samples.manifest(samples.tiny_model())
    assert manifest.to_dict() == value
    assert manifest.file_name == "cam-01-2026.11.1.fleet"


def test_a_logits_device_without_a_time_and_an_audit_comes_back() -> None:
    manifest = samples.manifest(samples.tiny_model())
    model = dataclasses.replace(manifest.model, head="logits")
    plain = dataclasses.replace(
        manifest, task="hin", encoding=None, audit=None, created=None, model=model
    )
    assert Manifest.from_dict(json.loads(canonical_json(plain.to_dict()))) == plain


@pytest.mark.parametrize(
    "path", ["later", "model.later", "payload.later", "audit.later", "provenance.later"]
)
def test_unknown_fields_are_kept_and_written_back(value: dict[str, Any], path: str) -> None:
    newer = put(value, path, {"deep": [1, None, "x"]})
    assert Manifest.from_dict(newer).to_dict() == newer


@pytest.mark.parametrize(
    "path", ["device", "created", "model", "model.width", "audit", "audit.sha256"]
)
def test_a_missing_field_is_named(value: dict[str, Any], path: str) -> None:
    with pytest.raises(BundleError, match=rf"manifest: {path} is missing"):
        Manifest.from_dict(put(value, path, ...))


WRONG = [
    ("format", "tar", "format must be one of: fleet-bundle"),
    ("version", 2, "version must be an integer from 1 to 1"),
    ("version", True, "version must be an integer"),
    ("device", "../cam", "device is '../cam'"),
    ("device", ".hidden", "does not have the form of a device"),
    ("device", "x" * 65, "does not have the form"),
    ("device", "", "1 to 256 printable"),
    ("device", 3, "1 to 256 printable"),
    ("release", "a/b", "release is 'a/b'"),
    ("created", "yesterday", "created is 'yesterday'"),
    ("created", "", "created must be 1 to 256 printable"),
    ("created", 0, "created must be 1 to 256 printable"),
    ("created", "2026-02-30T00:00:00Z", "which is no date"),
    ("created", "٢٠٢٦-01-01T00:00:00Z", "does not have the form"),
    ("task", "tra", "encoding must be null for this task"),
    ("task", "regress", "task must be one of: int, tra, hin"),
    ("encoding", None, "encoding must be given for this task"),
    ("encoding.alpha", -1.0, "encoding is not usable: alpha must be above 0"),
    ("encoding.alpha", 1e39, "encoding is not usable"),
    ("encoding.order", [0, 0, 1], "encoding is not usable: order must name each slot"),
    ("encoding.more", 1, "encoding is not usable: an encoding has exactly"),
    ("encoding.num_classes", 2, "encoding is not usable: order has 3 slots"),
    ("encoding", [], "encoding is not usable"),
    ("model", [], "model must be an object"),
    ("model.architecture", "torchvision/../x", "model.architecture must be one of: nn, cnn"),
    ("model.architecture", "vit", "model.architecture must be one of: nn, cnn, alexnet"),
    ("model.architecture", ["nn"], "model.architecture must be one of"),
    ("model.head", "logits", "model.head must be one of linear, ordinal"),
    ("model.width", 1, "model.width must be a decimal number"),
    ("model.width", 1e9, "model.width must be a decimal number from 0.0625 to 16"),
    ("model.batch_norm", 1, "model.batch_norm must be true or false"),
    ("model.stem", "wide", "model.stem must be one of: auto, cifar, imagenet"),
    ("model.num_classes", 1, "model.num_classes must be an integer from 2"),
    ("model.num_classes", 4, "class_names must hold model.num_classes = 4 names"),
    ("model.input_shape", [1, 28], r"model.input_shape must be \[channels"),
    ("model.input_shape", [1, 28, 28.0], r"model.input_shape must be \[channels"),
    ("model.input_shape", [1, 28, 29], r"must be \[channels, image_size, image_size\]"),
    ("preprocessing.channels", 2, "preprocessing.channels must be 1 or 3"),
    ("preprocessing.image_size", 10**9, "preprocessing.image_size must be an integer"),
    ("preprocessing.mean", [0.1, 0.2], "preprocessing.mean must be a list of 1 numbers"),
    ("preprocessing.mean", [1], "must hold finite decimal numbers"),
    ("preprocessing.mean", [float("inf")], "must hold finite decimal numbers"),
    ("preprocessing.std", [0.0], "preprocessing.std must be above 0"),
    ("preprocessing.pixel_range", [0.0, 255.0], r"pixel_range must be \[0.0, 1.0\]"),
    ("preprocessing.fit", "stretch", "preprocessing.fit must be one of: squash, crop"),
    ("class_names", ["cat", "dog"], "class_names must hold model.num_classes = 3"),
    ("class_names", ["cat", "cat", "dog"], "class_names must hold different"),
    ("class_names", ["cat", "dog", "\x1b[2J"], "printable strings only"),
    ("class_names", ["cat", "dog", "x\u202etac"], "printable strings only"),
    ("class_names", ["cat", "dog", 3], "printable strings only"),
    ("class_names", [], "class_names must be a list of 1 to"),
    ("class_names", "cat", "class_names must be a list"),
    ("payload.name", "/etc/passwd", "payload.name must be one of: model.safetensors"),
    ("payload.seal", "hpke", "payload.seal must be one of: none"),
    ("payload.sha256", "A" * 64, "does not have the form of a sha256"),
    ("payload.length", -1, "payload.length must be an integer"),
    ("metrics.accuracy", 1.5, "metrics.accuracy must be a decimal number from 0.0 to 1.0"),
    ("metrics.accuracy", float("nan"), "metrics.accuracy must be a decimal number"),
    ("metrics.n", 0, "metrics.n must be an integer"),
    ("audit.rows", {}, "audit.rows must be a list of objects"),
    ("audit.rows", [3], r"audit.rows\[0\] must be an object"),
    ("provenance.seed", 2**63, "provenance.seed must be an integer"),
    ("provenance.dataset", "a\nb", "provenance.dataset must be 1 to 256 printable"),
]


def test_any_classifier_of_torchvision_can_be_named(value: dict[str, Any]) -> None:
    named = put(value, "model.architecture", "torchvision/mobilenet_v3_small")
    assert Manifest.from_dict(named).model.architecture == "torchvision/mobilenet_v3_small"


@pytest.mark.parametrize(("path", "new", "message"), WRONG)
def test_a_wrong_field_is_named(value: dict[str, Any], path: str, new: Any, message: str) -> None:
    with pytest.raises(BundleError, match=message):
        Manifest.from_dict(put(value, path, new))


def test_an_encoding_for_another_number_of_classes_is_refused(value: dict[str, Any]) -> None:
    other = {"alpha": 4.0, "beta": 16.0, "num_classes": 4, "order": None, "s0": 0.0}
    with pytest.raises(BundleError, match=r"encoding\.num_classes must be model\.num_classes = 3"):
        Manifest.from_dict(put(value, "encoding", other))


@pytest.mark.parametrize("whole", [None, [], "x", 3])
def test_a_manifest_that_is_no_object_is_refused(whole: object) -> None:
    with pytest.raises(BundleError, match="the whole must be an object"):
        Manifest.from_dict(whole)
