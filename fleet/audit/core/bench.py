"""A batch of images on the device that is attacked, and how to tell which attempts evade it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from fleet import attacks
from fleet.attacks.outcomes import outcomes_of
from fleet.audit.core.members import Sample, TransferSettings
from fleet.audit.core.result import Protocol
from fleet.data import to_unit
from fleet.encoding import DecodeMode
from fleet.models import Classifier


@dataclass(frozen=True, eq=False)
class Bench:
    """Images where the attacked device is.

    Attributes:
        classifier: Whose decisions count; left exactly as it was.
        clean: uint8 (B, C, H, W).
        labels: True classes, int64 (B,).
        keys: Names the images' random numbers.
        eps: Radius as asked for.
        settings: How thoroughly to attack.
    """

    classifier: Classifier
    clean: Tensor
    labels: Tensor
    keys: attacks.SampleKeys
    eps: float
    settings: TransferSettings

    @classmethod
    def of(
        cls, classifier: Classifier, name: str, part: Sample, eps: float, settings: TransferSettings
    ) -> Bench:
        """Put images beside a classifier; ``name`` names the random numbers."""
        device = classifier.mean.device
        keys = attacks.SampleKeys(settings.seed, name, part.indices.to(device))
        return cls(classifier, part.images.to(device), part.labels.to(device), keys, eps, settings)

    def harder(self, *, steps: int | None = None, restarts: int | None = None) -> Bench:
        """The same images for attacks with other steps or restarts."""
        old = self.settings
        settings = replace(old, steps=steps or old.steps, restarts=restarts or old.restarts)
        return replace(self, settings=settings)

    @property
    def exact(self) -> float:
        """The largest radius of 8-bit images inside eps."""
        return attacks.exact_eps(self.eps, self.settings.norm)

    def entries(self, protocol: Protocol) -> tuple[attacks.Entry, ...]:
        """Attacks of one protocol, without those that are made for transfer alone."""
        chosen = self.settings.portfolio(self.classifier, self.eps)
        return tuple(e for e in chosen if e.protocol == protocol and not e.transfer)

    def more_restarts(self, plain: attacks.Attack, more: attacks.Attack) -> Tensor:
        """Attack with the runs that ``more`` has beyond those of ``plain``, which all stood."""
        if not (isinstance(plain, attacks.PGD) and isinstance(more, attacks.PGD)) or plain == more:
            return torch.zeros_like(self.labels, dtype=torch.bool)
        images, made = to_unit(self.clean), plain.restarts + plain.pursuit
        return self.evaded(more(self.classifier, images, self.labels, self.keys, skip=made))

    def attack(self, attack: attacks.Attack) -> Tensor:
        """Attack the images; where some returned image evades, bool (B,)."""
        return self.evaded(attack(self.classifier, to_unit(self.clean), self.labels, self.keys))

    def attack_whole(self, attack: attacks.Attack) -> Tensor:
        """The same, for a classifier that can only take all the images at once."""
        if not isinstance(attack, attacks.PGD):
            return self.attack(attack)
        images = to_unit(self.clean)
        made = attack(self.classifier, images, self.labels, self.keys, whole=True)
        return self.evaded(made)

    def watch(self, attack: attacks.PGD) -> Watched:
        """Attack the images, and look at every iterate as if it were returned."""
        value = attack.objective.bind(self.classifier, self.labels)
        passed = torch.zeros_like(self.labels, dtype=torch.bool)
        moved = passed.clone()
        starts: list[Tensor] = []

        def look(iterates: Tensor, step: int) -> None:
            raw = self._raw(attacks.quantise(iterates, self.clean, self.eps, self.settings.norm))
            values, variants = value(raw), (len(iterates), len(self.labels))
            if step == 0:
                starts.append(values)
            passed.logical_or_(self._wrong(raw).reshape(variants).any(0))
            moved.logical_or_((values != starts[-1]).reshape(variants).any(0))

        images = to_unit(self.clean)
        made = attack(self.classifier, images, self.labels, self.keys, watch=look)
        return Watched(self.evaded(made), passed, ~moved)

    def evaded(self, made: Tensor) -> Tensor:
        """Round adversarial images, float32 (V, B, C, H, W); where some evades, bool (B,)."""
        images = attacks.quantise(made, self.clean, self.eps, self.settings.norm)
        return (self.outcomes(images) > attacks.CORRECT).any(0)

    def values(self, objective: attacks.Objective, images: Tensor) -> tuple[Tensor, Tensor]:
        """Value of an objective at the originals and at 8-bit images; both fp32 (V, B)."""
        value = objective.bind(self.classifier, self.labels)
        with attacks.attackable(self.classifier):
            before, after = (
                value(self._raw(x)).reshape(images.shape[:2])
                for x in (self.clean.expand(images.shape), images.to(self.clean.device))
            )
        return before, after

    def outcomes(self, images: Tensor, mode: DecodeMode = "strict") -> Tensor:
        """Outcomes of 8-bit images (V, B, C, H, W) under a decode rule, int8 (V, B)."""
        with attacks.attackable(self.classifier):
            outputs = self.classifier.outputs(self._raw(images.to(self.clean.device))).float()
        decoded = self.classifier.decode(outputs, mode)
        return outcomes_of(decoded, self.labels.repeat(len(images))).reshape(images.shape[:2])

    def _raw(self, images: Tensor) -> Tensor:
        """Raw head values, fp32 (V * B, R), of 8-bit images (V, B, C, H, W)."""
        unit = to_unit(images.flatten(0, 1)).contiguous(memory_format=torch.channels_last)
        with torch.no_grad(), torch.autocast(unit.device.type, enabled=False):
            return self.classifier.raw(unit)

    def _wrong(self, raw: Tensor) -> Tensor:
        decoded = self.classifier.decode(self.classifier.outputs(raw).float())
        return decoded != self.labels.repeat(len(raw) // len(self.labels))


@dataclass(frozen=True, eq=False)
class Watched:
    """What became of each image in an attack that was watched; all bool (B,).

    Attributes:
        evaded: Some returned image evades.
        passed: Some iterate does, rounded to 8 bits and decoded in fp32.
        flat: In every run the objective, in fp32, has one value from the start to the end.
    """

    evaded: Tensor
    passed: Tensor
    flat: Tensor
