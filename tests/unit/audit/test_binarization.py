"""The binarization test: who finds what must be there."""

from typing import Literal

import pytest
import torch
from torch import Tensor, nn

from fleet.audit.core.binarization import RowHeads, RowLogits, binarization_test
from fleet.audit.core.members import Member, Sample, TransferSettings
from fleet.encoding import IntervalEncoding
from fleet.models import Classifier
from fleet.models.heads import LinearHead, LogitsHead

SHAPE = (1, 8, 8)
EPS = 16 / 255


class Round(nn.Module):
    """Round to hundredths: the outputs change with the image, the gradient is zero."""

    def forward(self, x: Tensor) -> Tensor:
        return (x * 100).round() / 100 + 0 * x


def member(*layers: nn.Module) -> Member:
    torch.manual_seed(0)
    encoding = IntervalEncoding(3, alpha=1.0, beta=1.0)
    classifier = Classifier(
        backbone=nn.Sequential(nn.Flatten(), nn.Linear(64, 24), nn.Tanh(), *layers),
        head=LinearHead(24, encoding), task="int", head_name="linear", encoding=encoding,
        num_classes=3, input_shape=SHAPE, mean=(0.0,), std=(1.0,),
    )  # fmt: skip
    return Member("net", classifier)


def ordinary(task: Literal["tra", "hin"], lead: float) -> Member:
    """A network with logits; the larger ``lead``, the surer it is everywhere."""
    torch.manual_seed(0)
    head = LogitsHead(24, 3)
    head.linear.weight.data *= lead
    head.linear.bias.data *= lead
    classifier = Classifier(
        backbone=nn.Sequential(nn.Flatten(), nn.Linear(64, 24), nn.Tanh()),
        head=head, task=task, head_name="logits", encoding=None,
        num_classes=3, input_shape=SHAPE, mean=(0.0,), std=(1.0,),
    )  # fmt: skip
    return Member("ordinary", classifier)


@pytest.fixture
def sample() -> Sample:
    images = torch.randint(0, 256, (8, *SHAPE), generator=torch.Generator().manual_seed(1))
    return Sample.of(images.to(torch.uint8), torch.arange(8) % 3)


SETTINGS = TransferSettings(eps=(EPS,), steps=10, restarts=1)


def test_the_adaptive_protocol_finds_what_exists_and_the_papers_does_not(sample: Sample) -> None:
    found = binarization_test(member(), sample, EPS, SETTINGS)
    assert (found.n, found.unbuilt) == (8, 0)
    assert found.adaptive == 8
    assert found.paper <= 1
    assert found.random < 8


def test_an_ordinary_network_is_tested_with_its_own_loss(sample: Sample) -> None:
    found = binarization_test(ordinary("tra", lead=1.0), sample, EPS, SETTINGS)
    assert (found.n, found.unbuilt) == (8, 0)
    assert found.adaptive == found.paper == 8  # cross-entropy has a gradient, unlike Eq. 3


def test_a_hinge_is_blind_where_the_network_leads_by_more_than_its_margin(sample: Sample) -> None:
    unsure = binarization_test(ordinary("hin", lead=1e-3), sample, EPS, SETTINGS)
    assert unsure.adaptive == unsure.paper == 8
    sure = binarization_test(ordinary("hin", lead=1e4), sample, EPS, SETTINGS)
    assert sure.adaptive == 8
    assert sure.paper <= 1


def test_the_logits_lead_at_the_clean_image_as_on_the_network_itself() -> None:
    network = ordinary("tra", lead=1.0).classifier
    weight, bias = torch.randn(2, 24) / 24, torch.tensor([0.2, 0.4])
    heads = RowHeads(network, torch.zeros(2, 24), weight, bias)
    clean = torch.rand(2, *SHAPE)
    logits = RowLogits(heads, clean, torch.tensor([3.0, 5.0]))(clean)
    assert torch.allclose(logits[:, 0] - logits[:, 1], torch.tensor([3.0, 5.0]))


def test_an_attack_without_gradients_to_follow_fails_the_test(sample: Sample) -> None:
    found = binarization_test(member(Round()), sample, EPS, SETTINGS)
    assert found.n == 8
    assert found.adaptive <= 2


def test_a_network_that_ignores_its_input_has_no_head(sample: Sample) -> None:
    class Constant(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return 0 * x

    found = binarization_test(member(Constant()), sample, EPS, SETTINGS)
    assert (found.n, found.unbuilt) == (0, 8)
    assert (found.paper, found.adaptive, found.random) == (0, 0, 0)


def test_a_wrapped_module_has_one_feature_and_still_some_heads(sample: Sample) -> None:
    module = nn.Sequential(nn.Flatten(), nn.Linear(64, 1))
    classifier = Classifier.from_module(module, IntervalEncoding(3, alpha=1.0, beta=1.0), SHAPE)
    found = binarization_test(Member("wrapped", classifier), sample, EPS, SETTINGS)
    assert found.n > 0
    assert found.adaptive == found.n


def test_l2_balls_work_too(sample: Sample) -> None:
    settings = TransferSettings(eps=(0.5,), steps=10, restarts=1, norm="l2")
    found = binarization_test(member(), sample, 0.5, settings)
    assert found.adaptive == found.n == 8


def test_the_result_does_not_depend_on_the_batch_size_or_leave_a_trace(sample: Sample) -> None:
    device = member()
    device.classifier.train()
    before = {name: value.clone() for name, value in device.classifier.state_dict().items()}
    found = binarization_test(device, sample, EPS, SETTINGS)
    smaller = TransferSettings(eps=(EPS,), steps=10, restarts=1, batch_size=3)
    assert binarization_test(device, sample, EPS, smaller) == found
    assert device.classifier.training
    after = device.classifier.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert all(parameter.requires_grad for parameter in device.classifier.parameters())


def test_each_image_has_a_head_of_its_own() -> None:
    network = member().classifier
    heads = RowHeads(network, torch.zeros(2, 24), torch.eye(24)[:2], torch.tensor([1.0, 2.0]))
    x = torch.rand(4, *SHAPE)
    features = network.features(x)
    wanted = [features[0, 0] + 1, features[1, 1] + 2, features[2, 0] + 1, features[3, 1] + 2]
    assert torch.allclose(heads(x), torch.stack(wanted))
