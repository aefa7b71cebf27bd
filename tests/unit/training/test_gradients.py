"""A batch that memory does not hold: parts of it, or an error that names the size to choose."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from fleet.assembly import load_images, new_classifier
from fleet.errors import BackendError, noted
from fleet.models import Classifier
from fleet.profiles.spec import DataSpec, FamilySpec
from fleet.training.batches import evaluate
from fleet.training.gradients import Gradients
from fleet.training.method import Batch, Method, Standard, build_optimizer

Family = Callable[..., FamilySpec]
BATCH = 32


@pytest.fixture(scope="module")
def images(mnist_root: Path) -> Any:
    return load_images(DataSpec("mnist", mnist_root, 10, 1, 28, 60, 60, 0, test_limit=60))


def small(classifier: Classifier, fits: int) -> list[int]:
    """Let the network ask for more memory than there is above so many images; sizes that fitted."""
    sizes: list[int] = []

    def check(_: Any, inputs: tuple[Tensor, ...]) -> None:
        if len(inputs[0]) > fits:
            torch.empty(1 << 58)  # torch's own error
        sizes.append(len(inputs[0]))

    classifier.backbone.register_forward_pre_hook(check)
    return sizes


def begin(family: Family, images: Any, fits: int, norm: bool) -> tuple[Method, Gradients, Any]:
    spec = family("a", task="tra", head="logits", precision="fp32")
    device = replace(spec.devices[0], model=replace(spec.devices[0].model, batch_norm=norm))
    classifier = new_classifier(device, spec.data, images.mean, images.std).train()
    method = Standard(device, images, classifier)
    optimizer = build_optimizer(device.training, method.parameter_groups())
    small(classifier, fits)
    return method, Gradients(method, optimizer), optimizer


def batch(images: Any, step: int) -> Batch:
    rows = torch.arange(BATCH) + step
    return Batch(images.train.images(rows) / 255, images.train.labels[rows], step, 3, 0)


@pytest.mark.parametrize(("fits", "at_once"), [(31, 16), (9, 8), (7, 4)])
def test_parts_of_a_batch_have_its_gradients(
    family: Family, images: Any, fits: int, at_once: int
) -> None:
    (whole, every, _), (method, parts, _) = (begin(family, images, n, False) for n in (BATCH, fits))
    with noted() as notes:
        for step in range(2):
            values = [each(batch(images, step)) for each in (every, parts)]
            assert values[1] == pytest.approx(values[0], rel=1e-5)
            for one, other in zip(
                whole.classifier.parameters(), method.classifier.parameters(), strict=True
            ):
                torch.testing.assert_close(other.grad, one.grad, rtol=1e-5, atol=1e-7)
    assert (every.at_once, parts.at_once) == (None, at_once)
    assert notes[0] == "a batch of 32 images does not fit in memory: parts of it are added up"


def test_a_batch_that_is_normalised_is_not_cut_and_the_error_says_what_fits(
    family: Family, images: Any
) -> None:
    _, gradients, _ = begin(family, images, 9, True)
    with pytest.raises(BackendError, match="batch of 32 images does not fit in memory, 8 do") as e:
        gradients(batch(images, 0))
    assert e.value.hint is not None
    assert e.value.hint.startswith("set training.batch_size to 8: BatchNorm")
    _, gradients, _ = begin(family, images, 3, True)
    with pytest.raises(BackendError, match="train a ran out of memory"):
        gradients(batch(images, 0))


def test_another_error_stays_what_it_is(family: Family, images: Any) -> None:
    _, gradients, _ = begin(family, images, BATCH, False)
    with pytest.raises(IndexError):
        gradients(replace(batch(images, 0), labels=torch.full((BATCH,), 99)))


def test_an_evaluation_halves_what_does_not_fit_to_the_same_count(
    family: Family, images: Any
) -> None:
    method, _, _ = begin(family, images, 1000, True)
    expected = evaluate(method.classifier, images.test, batch_size=500)
    sizes = small(method.classifier, 20)
    with noted() as notes:
        assert evaluate(method.classifier, images.test, batch_size=500) == expected
    assert sizes == [15] * 4
    assert [note.partition(" ")[0] for note in notes] == ["60", "30"]
