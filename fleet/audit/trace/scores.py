"""How much an adversarial image looks as if it was made on a device: one number a device and score.

``value`` is what an adaptive attack on the device ascends: the scalar upwards and downwards (with
the unit that has to turn, for an ``ordinal`` head), or the logit margin.

- deviation (S1): how far the image raises the value, the better direction of the two.
- alignment (S2): cosine between the perturbation and the gradient of the value, averaged along the
  straight path from the original to the image. One gradient at the original says far less, because
  an iterative attack turns on its way.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from fleet.attacks import Directions, Margin, Objective, attackable
from fleet.attacks.gradient import input_gradient
from fleet.audit.core.members import Member
from fleet.data import to_unit

PATH_POINTS = 5
"""Points of the path, both ends included. Top-1 of alignment alone on validation images of the
demo devices at eps 0.1: 0.61 with the original only, 0.89 with both ends, 0.94 with 3 points,
0.98 with 5."""


def raw_scores(
    members: Sequence[Member],
    originals: Tensor,
    adversarial: Tensor,
    labels: Tensor,
    *,
    batch_size: int,
) -> Tensor:
    """Deviation and alignment of every image for every device.

    Args:
        members: The suspects; each is left exactly as it was.
        originals: uint8 (N, C, H, W).
        adversarial: uint8 (N, C, H, W).
        labels: True classes, int64 (N,).
        batch_size: Images at once; changes the time and the memory, not the result.

    Returns:
        float64 (2, N, D): deviation, then alignment, for D devices.
    """
    if len(originals) == 0:
        return torch.zeros(2, 0, len(members), dtype=torch.float64)
    columns = []
    for member in members:
        parts = [
            _scores(member, *part)
            for part in zip(
                originals.split(batch_size),
                adversarial.split(batch_size),
                labels.split(batch_size),
                strict=True,
            )
        ]
        columns.append(torch.cat(parts, dim=1))
    return torch.stack(columns, dim=2)


def _scores(member: Member, originals: Tensor, adversarial: Tensor, labels: Tensor) -> Tensor:
    """Both scores of one batch for one device, float64 (2, B)."""
    classifier = member.classifier
    device = classifier.mean.device
    objective: Objective = Margin() if classifier.encoding is None else Directions()
    clean, moved, true = originals.to(device), adversarial.to(device), labels.to(device)
    ends: list[Tensor] = []
    mean = torch.zeros(objective.variants, len(clean), clean[0].numel(), device=device)
    with attackable(classifier):
        value = objective.bind(classifier, true)
        for share in torch.linspace(0, 1, PATH_POINTS, device=device):
            point = torch.lerp(clean.float(), moved.float(), share).round_().to(torch.uint8)
            folded = to_unit(point).repeat(objective.variants, 1, 1, 1)
            folded = folded.contiguous(memory_format=torch.channels_last)
            gradient, values = input_gradient(classifier, folded, value, "fp32")
            rows = gradient.flatten(1).unflatten(0, (objective.variants, -1))
            mean += _directions(rows)
            ends.append(values.unflatten(0, (objective.variants, -1)))
    delta = (moved.float() - clean.float()).flatten(1)
    deviation = (ends[-1] - ends[0]).amax(0)
    alignment = functional.cosine_similarity(mean, delta.unsqueeze(0), dim=2).amax(0)
    return torch.stack([deviation, alignment]).nan_to_num().double().cpu()


def _directions(gradients: Tensor) -> Tensor:
    """Each gradient over its length, (V, B, D); zeros stay zeros.

    By its largest value first: squares of a saturated network's gradients, 1e-23 and smaller, are
    zero in float32.
    """
    tiny = torch.finfo(gradients.dtype).tiny
    scaled = gradients.nan_to_num(nan=0.0)
    scaled = scaled / scaled.abs().amax(dim=2, keepdim=True).clamp(min=tiny)
    return functional.normalize(scaled, dim=2)
