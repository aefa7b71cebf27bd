"""What an attack ascends: one number for each image, larger for more success.

An objective may have several variants, for example up and down; they are folded into one batch of
``variants * B`` rows, variant by variant.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from fleet.encoding.tensor import EncodingTensors, encoding_tensors, interval_loss
from fleet.errors import AuditError
from fleet.models import Classifier
from fleet.models.heads import multiclass_hinge

Value = Callable[[Tensor], Tensor]
"""Raw head values, float32 (variants * B, R), to what is ascended, float32 (variants * B,)."""

PULL = 0.1
"""Weight of the next unit before its clip, against the scalar in slots (ordinal heads).

Without it a trained ordinal head has a zero gradient at 96 % of the images and the attack finds
nothing; from 0.01 to 100 the weight made no difference (evade .445 to .452 at eps 0.2)."""


class Objective(Protocol):
    """What to ascend."""

    @property
    def variants(self) -> int:
        """Adversarial images made for each image; one unless an objective says otherwise."""
        return 1

    def bind(self, classifier: Classifier, labels: Tensor) -> Value:
        """Look up, once and before the loop, all that depends on the labels, int64 (B,)."""


@dataclass(frozen=True)
class TaskLoss(Objective):
    """The paper's attack: ascend the loss that the task is trained with.

    Task ``int``: Eq. 3, whose gradient is exactly 0 inside the interval. ``tra``: cross-entropy.
    ``hin``: multi-class hinge.
    """

    def bind(self, classifier: Classifier, labels: Tensor) -> Value:
        """See :class:`Objective`."""
        if classifier.task == "tra":
            return CrossEntropy().bind(classifier, labels)
        if classifier.task == "hin":
            return lambda raw: multiclass_hinge(raw, labels)
        tensors = interval_tensors(classifier, labels.device)
        return lambda raw: interval_loss(classifier.outputs(raw), labels, tensors)


@dataclass(frozen=True)
class CrossEntropy(Objective):
    """Cross-entropy of the logits (tasks ``tra`` and ``hin``)."""

    def bind(self, classifier: Classifier, labels: Tensor) -> Value:
        """See :class:`Objective`."""
        del classifier
        return lambda raw: functional.cross_entropy(raw, labels, reduction="none")


@dataclass(frozen=True)
class OutputValue(Objective):
    """The scalar itself, or the true class's logit: its gradient shows a network's own health."""

    def bind(self, classifier: Classifier, labels: Tensor) -> Value:
        """See :class:`Objective`."""
        if classifier.task == "int":
            return classifier.outputs
        return lambda raw: raw.gather(1, labels.unsqueeze(1)).squeeze(1)


@dataclass(frozen=True)
class Margin(Objective):
    """The best wrong value minus the true one (heads ``logits`` and ``softmax``)."""

    def bind(self, classifier: Classifier, labels: Tensor) -> Value:
        """See :class:`Objective`."""
        true = functional.one_hot(labels, classifier.num_classes).bool()

        def value(raw: Tensor) -> Tensor:
            best = raw.masked_fill(true, -torch.inf).amax(1)
            return best - raw.gather(1, labels.unsqueeze(1)).squeeze(1)

        return value


@dataclass(frozen=True)
class LogitRatio(Objective):
    """The margin over the spread of the logits (DLR, Croce and Hein 2020, equation 6).

    ``(max_k z_k - z_y) / (z_1st - z_3rd)`` with k other than the true class y: scaling or shifting
    the logits changes neither the value nor the gradient's direction. Two classes have no third
    logit; there it is the margin itself, since over their spread it would be -1 or 1.
    """

    def bind(self, classifier: Classifier, labels: Tensor) -> Value:
        """See :class:`Objective`."""
        margin = Margin().bind(classifier, labels)
        if classifier.num_classes < 3:
            return margin
        tiny = torch.finfo(torch.float32).tiny

        def value(raw: Tensor) -> Tensor:
            ranked = raw.topk(3).values
            return margin(raw) / (ranked[:, 0] - ranked[:, 2]).clamp(min=tiny)

        return value


@dataclass(frozen=True)
class Directions(Objective):
    """UP and DOWN: the only two ways out of an interval; alpha, beta and s0 play no part.

    ``linear`` head: ``+o`` and ``-o``. ``ordinal`` head: the clip hides the gradient of saturated
    units, so the unit to be turned is added before its clip: the next one above the true slot for
    UP, the true slot's own for DOWN. ``softmax`` head: gate and softmax hide it everywhere, so the
    values before them are ascended: the best rival's lead over the true class, among the slots
    above for UP and below for DOWN (the end slots, with one side alone, among all).
    """

    @property
    def variants(self) -> int:
        """Two: up, down."""
        return 2

    def bind(self, classifier: Classifier, labels: Tensor) -> Value:
        """See :class:`Objective`."""
        tensors = interval_tensors(classifier, labels.device)
        sign = torch.tensor([1.0, -1.0], device=labels.device).repeat_interleave(len(labels))
        if classifier.by_class:
            return _best_rivals(tensors, labels)
        if classifier.head_name != "ordinal":
            return lambda raw: sign * classifier.outputs(raw)
        slots = tensors.class_slot[labels]
        last = classifier.num_classes - 2
        # Unit column j - 1 asks "is the slot at least j?".
        unit = torch.cat([slots.clamp(max=last), (slots - 1).clamp(min=0)]).unsqueeze(1)

        def value(raw: Tensor) -> Tensor:
            scalar = classifier.outputs(raw) / tensors.pitch
            return sign * (scalar + PULL * raw.gather(1, unit).squeeze(1))

        return value


@dataclass(frozen=True)
class Targets(Objective):
    """TARGET: towards chosen slots, for a flip where UP and DOWN end in a gap.

    ``linear`` head: minus the distance from the slot's centre, in slots. ``ordinal`` head: minus
    how far the units before their clip are from where that slot has them. ``softmax`` head: the
    value of the slot's class minus the true one. Logits, whose slots are
    the classes: the target's logit minus the true one. An image whose own slot is the target has
    nowhere to go, and stays.

    Attributes:
        slots: The same slots for every image, or None for the two slots nearest to the true one
            (one to each side where there are two sides; logits have no sides).
    """

    slots: tuple[int, ...] | None = None

    @property
    def variants(self) -> int:
        """One for each target."""
        return 2 if self.slots is None else len(self.slots)

    def bind(self, classifier: Classifier, labels: Tensor) -> Value:
        """See :class:`Objective`."""
        if self.slots is not None and classifier.encoding is None:
            return self._rivals(labels)
        tensors = interval_tensors(classifier, labels.device)
        target = self._aims(tensors.class_slot[labels], classifier.num_classes)
        if classifier.by_class:
            return _lead(tensors.slot_class[target], labels.repeat(self.variants))
        if classifier.head_name != "ordinal":
            center = tensors.center[tensors.slot_class[target]]
            return lambda raw: -(classifier.outputs(raw) - center).abs() / tensors.pitch
        units = torch.arange(1, classifier.num_classes, device=labels.device)
        wanted = torch.where(target.unsqueeze(1) >= units, 1.0, -1.0)
        return lambda raw: -functional.relu(0.5 - wanted * raw).sum(1)

    def _rivals(self, labels: Tensor) -> Value:
        """Margins of the targets over the true class."""
        return _lead(self._aims(labels, 0), labels.repeat(self.variants))

    def _aims(self, slots: Tensor, count: int) -> Tensor:
        """Target slot of every row, int64 (variants * B,)."""
        if self.slots is not None:
            return torch.cat([torch.full_like(slots, slot) for slot in self.slots])
        lower = torch.where(slots > 0, slots - 1, slots + 2)
        upper = torch.where(slots < count - 1, slots + 1, slots - 2)
        # Two classes have one other slot, which both variants then aim at.
        return torch.cat([lower.clamp(max=count - 1), upper.clamp(min=0)])


def _lead(target: Tensor, true: Tensor) -> Value:
    """The target's value minus the true class's; classes, int64, of every row."""
    columns = torch.stack([target, true], 1)

    def value(raw: Tensor) -> Tensor:
        pair = raw.gather(1, columns)
        return pair[:, 0] - pair[:, 1]

    return value


def _best_rivals(tensors: EncodingTensors, labels: Tensor) -> Value:
    """UP and DOWN of values by class: the best lead among the slots above, and below."""
    slots = tensors.class_slot
    own = slots[labels].unsqueeze(1)
    sides = [slots > own, slots < own]
    others = slots != own
    allowed = torch.cat([torch.where(side.any(1, keepdim=True), side, others) for side in sides])
    true = labels.repeat(2).unsqueeze(1)

    def value(raw: Tensor) -> Tensor:
        best = raw.masked_fill(~allowed, -torch.inf).amax(1)
        return best - raw.gather(1, true).squeeze(1)

    return value


def interval_tensors(classifier: Classifier, device: torch.device) -> EncodingTensors:
    """Edges of a scalar classifier on ``device``.

    Raises:
        AuditError: The classifier has logits and no intervals.
    """
    if classifier.encoding is None:
        raise AuditError(
            f"a classifier of task {classifier.task!r} has no intervals to leave",
            hint="use the objectives TaskLoss and Margin for it",
        )
    return encoding_tensors(classifier.encoding, device)
