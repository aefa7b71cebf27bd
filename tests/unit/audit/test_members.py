"""What an audit refuses to start with."""

import math
from collections.abc import Callable

import pytest
import torch

from fleet.audit.core.members import Member, Sample, TransferSettings, check_members
from fleet.encoding import IntervalEncoding
from fleet.errors import AuditError
from fleet.models import Classifier

Make = Callable[..., Member]
W = [1.0, 1.0, 1.0, 1.0]


def sample(shape: tuple[int, ...] = (3, 1, 2, 2), label: int = 1) -> Sample:
    return Sample.of(torch.zeros(shape, dtype=torch.uint8), torch.full((shape[0],), label))


@pytest.mark.parametrize("eps", [0.0, -1.0, 1.5, 8.0, math.nan, 0.001])
def test_an_impossible_eps_is_refused(eps: float) -> None:
    with pytest.raises(AuditError, match="eps is"):
        TransferSettings(eps=(0.1, eps))


def test_eps_are_needed_and_kept_ascending_without_repeats() -> None:
    assert TransferSettings(eps=(0.3, 0.1, 0.3)).eps == (0.1, 0.3)
    with pytest.raises(AuditError, match="no eps"):
        TransferSettings(eps=())


@pytest.mark.parametrize("name", ["steps", "restarts", "batch_size", "noise_draws"])
def test_counts_below_one_are_refused(name: str) -> None:
    with pytest.raises(AuditError, match=f"{name} is 0"):
        TransferSettings(eps=(0.1,), **{name: 0})


def test_settings_are_plain_json() -> None:
    assert TransferSettings(eps=(0.1,)).to_dict() == {
        "eps": [0.1], "steps": 15, "restarts": 3, "batch_size": 128, "seed": 0,
        "noise_draws": 7, "targets": "neighbours", "precision": "bf16", "norm": "linf",
    }  # fmt: skip
    assert TransferSettings(eps=(0.1,), brief=True).to_dict()["brief"] is True


def test_l2_radii_may_be_above_1_and_have_no_levels() -> None:
    settings = TransferSettings(eps=(2.0, 0.5), norm="l2")
    assert settings.eps == (0.5, 2.0)
    assert settings.levels() is None
    assert TransferSettings(eps=(0.1, 8 / 255)).levels() == [8, 25]
    for eps in (0.0, -1.0, math.inf, math.nan, 0.003):
        with pytest.raises(AuditError):
            TransferSettings(eps=(eps,), norm="l2")


def test_a_digest_says_all_that_determines_decisions(linear: Make) -> None:
    member = linear("a", W, 0.0)
    assert member.digest() == linear("b", W, 0.0).digest()
    assert member.digest() != linear("a", W, 1.0).digest()
    wider = IntervalEncoding(3, alpha=10.0, beta=11.0)
    other = Classifier.from_module(member.classifier.backbone, wider, (1, 2, 2))
    assert member.digest() != Member("a", other).digest()


def test_a_sample_is_named_by_its_pixels_labels_and_numbers() -> None:
    first = sample()
    assert first.digest() == sample().digest()
    assert first.digest() != sample(label=2).digest()
    assert first.digest() != first.part(torch.tensor([0, 1])).digest()
    assert first.part(torch.tensor([2, 0])).indices.tolist() == [2, 0]


@pytest.mark.parametrize(
    ("images", "labels"),
    [((0, 1, 2, 2), (0,)), ((3, 2, 2), (3,)), ((3, 1, 2, 2), (2,)), ((3, 1, 2, 2), (3, 1))],
)
def test_images_and_labels_must_match(images: tuple[int, ...], labels: tuple[int, ...]) -> None:
    with pytest.raises(AuditError, match="images have shape"):
        Sample.of(torch.zeros(images, dtype=torch.uint8), torch.zeros(labels))


@pytest.mark.parametrize("pixel", [-0.1, 2.0, math.nan])
def test_float_images_must_be_within_0_and_1(pixel: float) -> None:
    with pytest.raises(AuditError, match=r"not within \[0, 1\]"):
        Sample.of(torch.full((1, 1, 2, 2), pixel), torch.tensor([0]))


def test_labels_must_be_whole_numbers() -> None:
    with pytest.raises(AuditError, match=r"labels are torch\.float32"):
        Sample.of(torch.zeros(1, 1, 2, 2), torch.tensor([0.5]))


def test_no_devices_and_repeated_names_are_refused(linear: Make) -> None:
    with pytest.raises(AuditError, match="no devices"):
        check_members([], sample())
    with pytest.raises(AuditError, match="names repeat: a"):
        check_members([linear("a", W, 0.0), linear("b", W, 0.0), linear("a", W, 0.0)], sample())


def test_another_class_count_is_refused(linear: Make) -> None:
    with pytest.raises(AuditError, match="b has 4 classes, a has 3"):
        check_members([linear("a", W, 0.0), linear("b", W, 0.0, classes=4)], sample())


def test_another_image_shape_is_refused(linear: Make) -> None:
    with pytest.raises(AuditError, match=r"a takes images of shape \(1, 2, 2\)"):
        check_members([linear("a", W, 0.0)], sample((3, 1, 4, 4)))
    other = Classifier.from_module(
        torch.nn.Flatten(), IntervalEncoding(3, alpha=10.0, beta=10.0), (3, 2, 2)
    )
    with pytest.raises(AuditError, match="b takes images"):
        check_members([linear("a", W, 0.0), Member("b", other)], sample())


@pytest.mark.parametrize("label", [-1, 3])
def test_labels_that_no_device_knows_are_refused(linear: Make, label: int) -> None:
    with pytest.raises(AuditError, match="labels reach"):
        check_members([linear("a", W, 0.0)], sample(label=label))


def test_a_module_that_is_not_scalar_is_refused() -> None:
    classifier = Classifier.from_module(
        torch.nn.Flatten(), IntervalEncoding(3, alpha=10.0, beta=10.0), (1, 2, 2)
    )
    with pytest.raises(AuditError, match="the module gives shape"):
        classifier(torch.zeros(3, 1, 2, 2))
