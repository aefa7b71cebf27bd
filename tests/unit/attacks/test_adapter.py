"""The columns decide as the intervals do, and no attack loses its direction on them."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from fleet.attacks import PGD, Margin, SampleKeys, attackable, decide, to_bytes
from fleet.attacks.adapter import PseudoLogits
from fleet.data import to_unit
from fleet.encoding import REJECTED, IntervalEncoding
from fleet.models import Classifier
from fleet.models.heads import LogitsHead

Maker = Callable[..., Classifier]


class Pixel(nn.Module):
    """The first pixel, times 255 and moved, is the output."""

    def forward(self, x: Tensor) -> Tensor:
        return x[:, 0, 0, 0] * 255 - 20


UNEVEN = IntervalEncoding(4, alpha=(1, 7, 3, 2), beta=(0, 12, 5, 30), s0=3, order=(2, 0, 3, 1))
ENCODINGS = [IntervalEncoding(2), IntervalEncoding(10, alpha=4, beta=16), UNEVEN]


def line(encoding: IntervalEncoding, outputs: Tensor) -> tuple[Classifier, Tensor]:
    """A classifier, and one image for each output."""
    classifier = Classifier.from_module(Pixel(), encoding, (1, 1, 1))
    return classifier, ((outputs + 20) / 255).reshape(-1, 1, 1, 1)


@pytest.mark.parametrize("encoding", ENCODINGS, ids=["two", "paper", "uneven"])
def test_the_largest_column_is_the_strict_decoding(encoding: IntervalEncoding) -> None:
    outputs = torch.linspace(-19, 230, 997) + 0.003
    classifier, images = line(encoding, outputs)
    model = PseudoLogits(classifier)
    columns = model(images)
    assert columns.shape == (997, model.num_columns) == (997, 2 * encoding.num_classes + 1)
    chosen = columns.argmax(1)
    decided = torch.where(chosen < encoding.num_classes, chosen, REJECTED)
    at_an_edge = (model.edges - outputs.unsqueeze(1)).abs().amin(1) < 1e-3
    assert torch.equal(decided[~at_an_edge], classifier.decode(outputs)[~at_an_edge])


def losses(columns: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """What other libraries ascend: cross-entropy, margin, DLR, and targeted differences."""
    rest = columns.masked_fill(functional.one_hot(labels, columns.shape[1]).bool(), -torch.inf)
    true = columns.gather(1, labels.unsqueeze(1)).squeeze(1)
    best = columns.sort(1, descending=True).values
    margin = rest.amax(1) - true
    found = {
        "cross-entropy": functional.cross_entropy(columns, labels, reduction="none"),
        "margin": margin,
        "dlr": margin / (best[:, 0] - best[:, 2] + 1e-12),
    }
    for target in range(columns.shape[1]):
        found[f"towards {target}"] = columns[:, target] - true
    return found


@pytest.mark.parametrize("encoding", ENCODINGS[1:], ids=["paper", "uneven"])
def test_no_loss_loses_its_gradient_inside_an_interval(encoding: IntervalEncoding) -> None:
    inside = torch.cat(
        [torch.linspace(encoding.lower(y) + 1e-3, encoding.upper(y) - 1e-3, 60)
         for y in range(encoding.num_classes) if encoding.upper(y) > encoding.lower(y)]
    )  # fmt: skip
    classifier, images = line(encoding, inside)
    labels = classifier.decode(inside)
    assert (labels != REJECTED).all()
    images.requires_grad_()
    for name, value in losses(PseudoLogits(classifier)(images), labels).items():
        (gradient,) = torch.autograd.grad(value.sum(), images, retain_graph=True)
        # A difference from itself is constant; a loss may turn at one point of an interval.
        itself = torch.tensor([name == f"towards {y}" for y in labels.tolist()])
        dead = (gradient.flatten() == 0) & ~itself
        assert int(dead.sum()) <= encoding.num_classes, name


def as_logits(model: PseudoLogits, shape: tuple[int, int, int]) -> Classifier:
    """A K-way classifier whose logits are the columns, for our own attacks."""
    head = LogitsHead(model.num_columns, model.num_columns)
    head.linear = nn.Identity()  # type: ignore[assignment]
    return Classifier(
        backbone=model,
        head=head,
        task="tra",
        head_name="logits",
        encoding=None,
        num_classes=model.num_columns,
        input_shape=shape,
        mean=(0.0,) * shape[0],
        std=(1.0,) * shape[0],
    )


def test_an_attack_on_the_columns_is_exact_on_a_linear_device(linear: Maker, grey: Maker) -> None:
    # o = 25.3 in [20, 30], and the best attack moves it by 0.6 a level; margins turn at 25.
    device = linear([0.1, -0.2, 0.3, 0.0], 25.3 - 0.2 * 128)
    images, labels = grey(128, 2), torch.tensor([1, 1])
    for levels, evades in ((7, False), (8, True)):
        attack = PGD(Margin(), levels / 255, 20)
        made = attack(
            as_logits(PseudoLogits(device), (1, 2, 2)),
            to_unit(images),
            labels,
            SampleKeys(0, "a", torch.arange(2)),
        )
        with attackable(device):
            outcomes = decide(device, to_bytes(made[0]), labels).outcomes
        assert (outcomes > 0).all() == evades


def test_a_saturated_ordinal_device_has_a_gradient(ordinal: Maker, grey: Maker) -> None:
    # Units 5, 3, -4: slot 2, far from both clips, where the scalar has no gradient at all.
    device = ordinal([[0.01] * 4, [0.01] * 4, [0.01] * 4], [5 - 5.12, 3 - 5.12, -4 - 5.12])
    images = to_unit(grey()).requires_grad_()
    assert device.decode(device(images)).tolist() == [2]
    (flat,) = torch.autograd.grad(device(images).sum(), images)
    assert (flat == 0).all()
    columns = PseudoLogits(device)(images)
    assert columns.argmax(1).tolist() == [2]
    for name, value in losses(columns, torch.tensor([2])).items():
        (gradient,) = torch.autograd.grad(value.sum(), images, retain_graph=True)
        assert (gradient != 0).all() or name == "towards 2", name


def test_ordinal_columns_decide_as_the_scalar_does_wherever_one_unit_is_undecided(
    ordinal: Maker, grey: Maker
) -> None:
    for unit in torch.linspace(-0.7, 0.7, 41).tolist():
        device = ordinal([[0.0] * 4] * 3, [5.0, unit, -4.0])
        chosen = int(PseudoLogits(device)(to_unit(grey())).argmax())
        decided = int(device.decode(device(to_unit(grey()))))
        assert (chosen if chosen < 4 else REJECTED) == decided, unit


def test_logits_are_given_as_they_are(logits: Maker) -> None:
    device = logits([[0.1, 0.2, 0.3, 0.4], [0.4, 0.3, 0.2, 0.1], [0.0, 0.0, 0.0, 0.0]])
    model, images = PseudoLogits(device), torch.rand(3, 1, 2, 2)
    assert model.num_columns == 3
    assert torch.equal(model(images), device(images))
