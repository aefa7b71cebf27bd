"""Bounds of a head's values, with the last layer elided: a bound of each difference that decides.

A bound of the difference ``z_y - z_k`` through ``W_y - W_k`` is tighter than the difference of two
bounds, since both values move together.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from fleet.bounds.box import Box, rounding
from fleet.errors import AuditError
from fleet.models.heads import Head, LogitsHead, OrdinalHead, SoftmaxHead


def lower_margins(head: Head, box: Box, labels: Tensor) -> Tensor:
    """Bound from below what keeps the true class.

    Args:
        head: ``softmax`` or ``logits``: margins over each other class; ``ordinal``: each unit, with
            the sign of its right answer.
        box: Features, (B, D).
        labels: Classes, int64 (B,).

    Returns:
        (B, K), the true class's own column infinite; ordinal: (B, K-1), in units before the clip.

    Raises:
        AuditError: The head has one output alone, whose bounds certify nothing worth having.
    """
    if isinstance(head, OrdinalHead):
        signs = head.answers(labels)
        centre, spread = value_bounds(head.linear, box)
        return signs * centre - spread
    if not isinstance(head, SoftmaxHead | LogitsHead):
        raise AuditError(
            "certificates need the head `softmax` or `ordinal`", hint="set `model.head: softmax`"
        )
    weight, bias = head.linear.weight, head.linear.bias
    classes = len(weight)
    # |W_y - W_k| of all pairs is a small matrix: one product for the batch, then each label's rows.
    differences = (weight.unsqueeze(1) - weight.unsqueeze(0)).abs().flatten(0, 1)
    spread = functional.linear(box.radius, differences).unflatten(1, (classes, classes))
    rows = torch.arange(len(labels), device=labels.device)
    values = functional.linear(box.centre, weight, bias)
    margins: Tensor = values.gather(1, labels.unsqueeze(1)) - values - spread[rows, labels]
    if box.unit:
        off = rounding_of(head.linear, box)
        margins = margins - off - off.gather(1, labels.unsqueeze(1))
    own = functional.one_hot(labels, classes).bool()
    return margins.masked_fill(own, torch.inf)


def value_bounds(layer: nn.Linear, box: Box) -> tuple[Tensor, Tensor]:
    """Centre and radius of a last layer's values, each (B, R)."""
    spread: Tensor = functional.linear(box.radius, layer.weight.abs())
    if box.unit:
        spread = spread + rounding_of(layer, box)
    return functional.linear(box.centre, layer.weight, layer.bias), spread


def rounding_of(layer: nn.Linear, box: Box) -> Tensor:
    """How far the network's own last layer may be off, (B, K)."""
    inputs = box.centre.abs() + box.radius
    sizes: Tensor = functional.linear(inputs, layer.weight.abs(), layer.bias.abs())
    return sizes * rounding(layer.in_features, box.unit)
