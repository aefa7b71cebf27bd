"""What methods that look at the worst case record after an epoch, on devices known on paper."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from fleet.data import ImageData, Split
from fleet.data.dataset import MemoryImages
from fleet.encoding import IntervalEncoding
from fleet.models import Classifier
from fleet.models.heads import SoftmaxHead
from fleet.profiles.spec import DeviceSpec
from fleet.training.adversarial import Adversarial, ascend
from fleet.training.certified import Certified
from fleet.vocabulary import ModelSpec, TrainingSpec

ENCODING = IntervalEncoding(4, alpha=10.0, beta=10.0)


def images(levels: Tensor, labels: Tensor) -> ImageData:
    """2x2 grey images, uint8 (N, 4): the same to train on and to validate."""
    split = Split(labels, MemoryImages(levels.to(torch.uint8).reshape(-1, 1, 2, 2)))
    return ImageData("toy", split, split, split, tuple("abcd"), (0.0,), (1.0,), {})


def device(method: str, eps: float) -> DeviceSpec:
    training = TrainingSpec(method=method, eps=eps)  # type: ignore[arg-type]
    return DeviceSpec("d", "int", ENCODING, ModelSpec(head="linear"), training)


def first_pixel() -> Classifier:
    """The output is the first pixel in levels, minus 100: class 1 from 120 to 130."""
    network = nn.Sequential(nn.Flatten(), nn.Linear(4, 1))
    with torch.no_grad():
        network[1].weight.copy_(torch.tensor([[255.0, 0.0, 0.0, 0.0]]))
        network[1].bias.fill_(-100.0)
    return Classifier.from_module(network, ENCODING, (1, 2, 2))


def pixels(*first: int) -> Tensor:
    levels = torch.full((len(first), 4), 50)
    levels[:, 0] = torch.tensor(first)
    return levels


def test_the_probe_counts_images_farther_than_eps_from_both_edges() -> None:
    """Eps is two levels: 121 and 129 fall, 110 is None and 145 another class from the start."""
    levels = pixels(121, 123, 125, 127, 129, 110, 145)
    work = Adversarial(
        device("adversarial", 2 / 255), images(levels, torch.ones(7).long()), first_pixel()
    )
    work.begin()
    assert work.probe() == pytest.approx(3 / 7)
    verdict = work.end_epoch(0)
    assert verdict.keep
    assert verdict.metrics["probe"] == pytest.approx(3 / 7)


def test_sign_steps_go_the_nearer_way_out_to_the_edge_of_the_ball() -> None:
    x, eps = pixels(121, 129, 125).reshape(3, 1, 2, 2) / 255, 2 / 255
    torch.manual_seed(0)
    moved = ascend(first_pixel(), x, torch.ones(3).long(), eps, step=eps / 2, steps=6)
    shift = (moved - x).flatten(1) * 255
    torch.testing.assert_close(shift[:2, 0], torch.tensor([-2.0, 2.0]), atol=1e-4, rtol=0)
    assert shift[2, 0].abs().item() == pytest.approx(2, abs=1e-4)
    still = ascend(first_pixel(), x, torch.ones(3).long(), eps, step=0.0, steps=1)
    spread = (still - x).flatten(1)[:, 1:] * 255
    assert 0 < spread.abs().max() <= 2 + 1e-4
    assert len(spread.unique()) == 9


def test_an_epoch_records_how_many_validation_images_are_certified() -> None:
    """Values are 4 times the pixels; a lead of 2 eps + gate / 4 holds, these miss or clear it."""
    head = SoftmaxHead(4, ENCODING)
    head.linear.weight.data = 4 * torch.eye(4)
    classifier = Classifier(
        backbone=nn.Flatten(), head=head, task="int", head_name="softmax", encoding=ENCODING,
        num_classes=4, input_shape=(1, 2, 2), mean=(0.0,), std=(1.0,),
    ).train()  # fmt: skip
    eps, gate = 0.05, head.gates.float()
    labels = torch.tensor([0, 1, 2, 3, 0, 1])
    slack = torch.tensor([0.04, -0.04, 0.04, -0.04, -0.04, 0.04])
    levels = torch.full((6, 4), 0.2)
    levels[torch.arange(6), labels] += 2 * eps + gate[labels] / 4 + slack
    assert levels.max() < 1
    work = Certified(device("certified", eps), images((levels * 255).round(), labels), classifier)
    assert work.end_epoch(0).metrics == {"certified": 3, "certified_n": 6}
    assert classifier.training


class Peak(nn.Module):
    """A way out of [20, 30] only within 0.6 levels of 126, where the output is 31.2."""

    def __init__(self) -> None:
        super().__init__()
        self.height = nn.Parameter(torch.tensor(31.2))

    def forward(self, x: Tensor) -> Tensor:
        return self.height - 2 * (x[:, 0, 0, 0] * 255 - 126).abs()


def test_the_probe_takes_steps_that_stop_at_a_peak_inside_the_ball() -> None:
    spec, labels = device("adversarial", 2 / 255), torch.ones(20).long()
    classifier = Classifier.from_module(Peak(), ENCODING, (1, 2, 2))
    torch.manual_seed(0)
    assert Adversarial(spec, images(pixels(*[125] * 20), labels), classifier).probe() == 0
