"""Ways out of a decision: the interval's two edges, or one rival class each.

An exit has a value for each image that rises towards it and is above 0 beyond it. Minimum-norm
attacks and first-order margins are built on these values, so that they apply to scalars and to
logits alike.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from fleet.attacks.objectives import Margin, Objective, Value, interval_tensors
from fleet.models import Classifier
from fleet.models.heads import SoftmaxHead


@dataclass(frozen=True, eq=False)
class Exits:
    """The exits of a batch, folded: ``count`` * B rows, exit by exit.

    Attributes:
        count: Exits of each image.
        value: Raw head values, float32 (count * B, R), to exit values, float32 (count * B,);
            differentiable. Above 0 the image evades; on a linear head and on logits only there.
        evades: Raw head values to whether they decode as anything but the label, bool (count * B,).
    """

    count: int
    value: Value
    evades: Callable[[Tensor], Tensor]

    def meets(self, raw: Tensor, confidence: float) -> Tensor:
        """Whether rows evade, and by ``confidence`` beyond the exit if that is above 0."""
        out = self.evades(raw)
        return out & (self.value(raw) >= confidence) if confidence > 0 else out


def exits(classifier: Classifier, labels: Tensor) -> Exits:
    """List every exit.

    ``linear`` head, in slots: ``(o - M_U) / pitch`` (up) and ``(M_L - o) / pitch`` (down).

    ``ordinal`` head: the same, but the clip is opened on the far side of the one unit that has to
    turn, the next above the true slot for up and the true slot's own for down. So a saturated unit
    still shows how far it is from turning, where the gradient of ``o`` is 0. The opened value is
    never above the true one, and equals it unless that unit is saturated.

    Logits: ``z_k - z_y`` for each of the K - 1 rivals k. ``softmax`` head: the same, and the true
    class's gate: closer than that the lead is too small for an answer.

    Args:
        classifier: Any task.
        labels: True classes, int64 (B,).
    """
    if not classifier.by_class:
        return _edges(classifier, labels)
    count = classifier.num_classes - 1
    true = labels.repeat(count).unsqueeze(1)
    rival = torch.arange(count, device=labels.device).repeat_interleave(len(labels)).unsqueeze(1)
    rival = rival + (rival >= true).long()
    gate = _gate(classifier, true.squeeze(1))
    return Exits(
        count,
        lambda raw: (raw.gather(1, rival) - raw.gather(1, true)).squeeze(1) + gate,
        _evasion(classifier, true.squeeze(1)),
    )


def nearest_exits(classifier: Classifier, labels: Tensor) -> Exits:
    """List the exits, but only the best rival of values by class (Carlini & Wagner 2017)."""
    if not classifier.by_class:
        return _edges(classifier, labels)
    margin, gate = Margin().bind(classifier, labels), _gate(classifier, labels)
    return Exits(1, lambda raw: margin(raw) + gate, _evasion(classifier, labels))


def _gate(classifier: Classifier, labels: Tensor) -> Tensor:
    """Lead that the true class needs for an answer; 0 for logits. float32 (B,)."""
    head = classifier.head
    gates = (
        head.gates if isinstance(head, SoftmaxHead) else labels.new_zeros(classifier.num_classes)
    )
    return gates.float()[labels]


@dataclass(frozen=True)
class Outside(Objective):
    """How far the output is outside its class; an objective for attackers who see outputs only.

    Task ``int``: ``|o - centre| - beta / 2`` in slots. Tasks ``tra`` and ``hin``: the best wrong
    logit minus the true one. Above 0 the image evades, and only there.
    """

    def bind(self, classifier: Classifier, labels: Tensor) -> Value:
        """See :class:`fleet.attacks.Objective`."""
        if classifier.task != "int":
            return Margin().bind(classifier, labels)
        tensors = interval_tensors(classifier, labels.device)
        lower, upper = tensors.lower[labels], tensors.upper[labels]

        def value(raw: Tensor) -> Tensor:
            o = classifier.outputs(raw)
            return torch.maximum(lower - o, o - upper) / tensors.pitch

        return value


def _edges(classifier: Classifier, labels: Tensor) -> Exits:
    tensors = interval_tensors(classifier, labels.device)
    lower, upper = tensors.lower[labels], tensors.upper[labels]
    opened = _opened(classifier, labels)

    def value(raw: Tensor) -> Tensor:
        above, below = opened(raw)
        return torch.cat([above - upper, lower - below]) / tensors.pitch

    return Exits(2, value, _evasion(classifier, labels.repeat(2)))


def _opened(classifier: Classifier, labels: Tensor) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    """The scalar as seen on the way up, from the first B rows, and down, from the others."""
    count = len(labels)
    if classifier.head_name != "ordinal":

        def plain(raw: Tensor) -> tuple[Tensor, Tensor]:
            o = classifier.outputs(raw)
            return o[:count], o[count:]

        return plain
    tensors = interval_tensors(classifier, labels.device)
    steps = tensors.center[tensors.slot_class].diff()
    slots, last = tensors.class_slot[labels], len(steps) - 1
    # Unit column j asks "is the slot above j?"; the end slots have no unit on their outer side.
    over, under = slots.clamp(max=last), (slots - 1).clamp(min=0)
    rise = torch.where(slots <= last, steps[over], 0.0)
    fall = torch.where(slots > 0, steps[under], 0.0)

    def unclipped(raw: Tensor) -> tuple[Tensor, Tensor]:
        o = classifier.outputs(raw)
        short = raw[:count].gather(1, over.unsqueeze(1)).squeeze(1) + 0.5
        spare = raw[count:].gather(1, under.unsqueeze(1)).squeeze(1) - 0.5
        return o[:count] + rise * short.clamp(max=0.0), o[count:] + fall * spare.clamp(min=0.0)

    return unclipped


def _evasion(classifier: Classifier, labels: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda raw: classifier.decode(classifier.outputs(raw)) != labels
