"""The torch form of an encoding: decoding in batches, and the losses.

Decoding agrees with :meth:`fleet.encoding.IntervalEncoding.decode_array` on every input: both
round the output to float32 and compare it with the same float32 edges.
"""

from dataclasses import dataclass
from typing import get_args

import torch
from torch import Tensor
from torch.nn import functional

from fleet.encoding.interval import REJECTED, DecodeMode, IntervalEncoding


@dataclass(frozen=True, eq=False)
class EncodingTensors:
    """One encoding on one torch device.

    Attributes:
        lower: Lower edges by class, float32 (K,).
        upper: Upper edges by class, float32 (K,).
        center: Interval centres by class, float32 (K,).
        slot_lower: Lower edges by slot, ascending, float32 (K,).
        slot_upper: Upper edges by slot, ascending, float32 (K,).
        slot_class: Class at each slot, int64 (K,).
        class_slot: Slot of each class, int64 (K,).
        end: Where the last slot and its gap end (floor decoding).
        pitch: Mean distance between neighbouring lower edges (alpha + beta).
    """

    lower: Tensor
    upper: Tensor
    center: Tensor
    slot_lower: Tensor
    slot_upper: Tensor
    slot_class: Tensor
    class_slot: Tensor
    end: float
    pitch: float


def encoding_tensors(
    encoding: IntervalEncoding, device: torch.device | str | None = None
) -> EncodingTensors:
    """Put the edges of ``encoding`` on ``device`` (torch's default device if None)."""
    class_slot = torch.tensor(encoding.slots, device=device)
    slot_lower = torch.tensor(encoding.edges.lower.tolist(), dtype=torch.float32, device=device)
    slot_upper = torch.tensor(encoding.edges.upper.tolist(), dtype=torch.float32, device=device)
    centers = [encoding.center(y) for y in range(encoding.num_classes)]
    return EncodingTensors(
        lower=slot_lower[class_slot],
        upper=slot_upper[class_slot],
        center=torch.tensor(centers, dtype=torch.float32, device=device),
        slot_lower=slot_lower,
        slot_upper=slot_upper,
        slot_class=torch.tensor(encoding.classes, device=device),
        class_slot=class_slot,
        end=encoding.edges.end,
        pitch=encoding.pitch,
    )


def decode(outputs: Tensor, tensors: EncodingTensors, mode: DecodeMode = "strict") -> Tensor:
    """Classes of a batch of outputs (Eq. 2).

    Args:
        outputs: Scalars, any float dtype, (B,); rounded to float32 first.
        tensors: The encoding, on the same device.
        mode: ``strict`` rejects in gaps; ``floor`` gives a gap to the class below it.

    Returns:
        Classes, int64 (B,); ``REJECTED`` (-1) where there is none, and always for NaN and
        infinities.

    Raises:
        ValueError: ``mode`` is neither.
    """
    if mode not in get_args(DecodeMode):
        raise ValueError(f"decode mode must be 'strict' or 'floor', not {mode!r}")
    o = outputs.detach().to(torch.float32).contiguous()
    # NaN may land in any slot; the comparisons below refuse it.
    slots = torch.searchsorted(tensors.slot_lower, o, right=True).sub(1).clamp(min=0)
    below = o <= tensors.slot_upper[slots] if mode == "strict" else o < tensors.end
    inside = below & (o >= tensors.slot_lower[slots])
    return torch.where(inside, tensors.slot_class[slots], REJECTED)


def violation(
    outputs: Tensor, labels: Tensor, tensors: EncodingTensors, margin: Tensor | float = 0.0
) -> Tensor:
    """How far outputs lie outside their label's interval, shrunk by ``margin`` on each side.

    ``relu(M_L + margin - o) + relu(o - M_U + margin)`` with the float32 edges. For float32 outputs
    and no margin, value and gradient are exactly 0 where ``o`` decodes to its label, and the value
    is above 0 everywhere else. float64 outputs are not rounded, so that gradients can be checked.

    Args:
        outputs: Scalars (B,); the edges widen float16 and bfloat16 to float32.
        labels: Classes, int64 (B,) in [0, K).
        tensors: The encoding, on the same device.
        margin: In units of the output; a number, or one for each example (B,).

    Returns:
        Distances >= 0 in units of the output, float32 or float64 (B,); NaN for NaN.

    Raises:
        ValueError: ``outputs`` and ``labels`` differ in shape, or are not one-dimensional.
    """
    if outputs.shape != labels.shape or labels.ndim != 1:
        raise ValueError(
            f"outputs {tuple(outputs.shape)} and labels {tuple(labels.shape)} must both be (B,)"
        )
    # gather, unlike indexing, refuses a negative label such as REJECTED
    lower, upper = tensors.lower.gather(0, labels), tensors.upper.gather(0, labels)
    return functional.relu(lower + margin - outputs) + functional.relu(outputs - upper + margin)


def interval_loss(outputs: Tensor, labels: Tensor, tensors: EncodingTensors) -> Tensor:
    """Eq. 3 for each example: the squared violation, (B,).

    The paper sums over the batch; callers reduce. Arguments as for :func:`violation`.
    """
    return violation(outputs, labels, tensors).square()


def scaled_interval_loss(
    outputs: Tensor, labels: Tensor, tensors: EncodingTensors, margin: float
) -> Tensor:
    """Eq. 3 in slot units, with an inner margin and a Huber tail, for each example.

    With v the violation divided by the pitch: v^2 for v < 0.5, v - 0.25 above. It has the
    minimisers of Eq. 3 (for margin 0), but its size does not depend on the encoding.

    Args:
        outputs: Scalars (B,).
        labels: Classes, int64 (B,) in [0, K).
        tensors: The encoding, on the same device.
        margin: Inner margin on each side, as a share of the label's beta, [0, 0.5).

    Returns:
        Losses >= 0, (B,).

    Raises:
        ValueError: ``margin`` is out of range, or the shapes are not as above.
    """
    if not 0 <= margin < 0.5:
        raise ValueError(f"margin must be in [0, 0.5), not {margin!r}")
    beta = tensors.upper - tensors.lower
    v = violation(outputs, labels, tensors, margin * beta.gather(0, labels)) / tensors.pitch
    return functional.smooth_l1_loss(v, torch.zeros_like(v), reduction="none", beta=0.5)
