"""What attacks look at before the gate and the softmax of a softmax head, which hide gradients."""

import torch
from torch import Tensor, nn

from fleet.attacks import Directions, Targets
from fleet.attacks.adapter import PseudoLogits
from fleet.attacks.exits import exits, nearest_exits
from fleet.encoding import IntervalEncoding
from fleet.models import Classifier
from fleet.models.heads import SoftmaxHead

ENCODING = IntervalEncoding(4, alpha=(1, 7, 3, 2), beta=(4, 12, 5, 30), order=(2, 0, 3, 1))
"""Slots from below: classes 1, 3, 0, 2."""

RAW = torch.tensor([[0.5, 0.1, 0.2, 0.4], [0.3, 0.2, 0.9, 0.1]])


def softmax() -> Classifier:
    """A device whose values by class are its four pixels."""
    head = SoftmaxHead(4, ENCODING)
    head.linear.weight.data = torch.eye(4)
    return Classifier(
        backbone=nn.Flatten(), head=head, task="int", head_name="softmax", encoding=ENCODING,
        num_classes=4, input_shape=(1, 2, 2), mean=(0.0,), std=(1.0,),
    )  # fmt: skip


def gates(device: Classifier) -> Tensor:
    assert isinstance(device.head, SoftmaxHead)
    return device.head.gates.float()


def test_the_adapter_adds_the_runner_up_behind_the_leaders_gate() -> None:
    device = softmax()
    model = PseudoLogits(device)
    none = torch.stack([0.4 + gates(device)[0], 0.3 + gates(device)[2]])
    columns = model(RAW.reshape(2, 1, 2, 2))
    assert model.num_columns == 5
    torch.testing.assert_close(columns, torch.cat([RAW, none.unsqueeze(1)], 1))


def test_up_and_down_are_the_best_leads_among_the_slots_above_and_below() -> None:
    """Class 0 has class 2 above, 3 and 1 below; class 2 stands highest: all are its rivals."""
    value = Directions().bind(softmax(), torch.tensor([0, 2]))
    wanted = torch.tensor([0.2 - 0.5, 0.3 - 0.9, 0.4 - 0.5, 0.3 - 0.9])
    torch.testing.assert_close(value(RAW.repeat(2, 1)), wanted)


def test_targets_are_the_leads_of_the_neighbouring_slots_classes() -> None:
    """Neighbours of class 0 are classes 2 and 3; those of class 2 are 0 and, one farther, 3."""
    value = Targets().bind(softmax(), torch.tensor([0, 2]))
    found = sorted(value(RAW.repeat(2, 1)).unflatten(0, (2, 2)).T.flatten().tolist())
    wanted = sorted([0.2 - 0.5, 0.4 - 0.5, 0.3 - 0.9, 0.1 - 0.9])
    torch.testing.assert_close(torch.tensor(found), torch.tensor(wanted))


def test_exits_open_where_a_rival_is_nearer_than_the_gate() -> None:
    device, labels = softmax(), torch.tensor([0, 2])
    gate = gates(device)[labels]
    every = exits(device, labels)
    leads = [[0.1 - 0.5, 0.2 - 0.5, 0.4 - 0.5], [0.3 - 0.9, 0.2 - 0.9, 0.1 - 0.9]]
    found = every.value(RAW.repeat(every.count, 1)).unflatten(0, (3, 2)).T
    torch.testing.assert_close(found, torch.tensor(leads) + gate.unsqueeze(1))
    best = nearest_exits(device, labels)
    assert best.count == 1
    torch.testing.assert_close(best.value(RAW), torch.tensor([-0.1, -0.6]) + gate)
