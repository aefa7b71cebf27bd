"""What ``fleet audit coalition`` found: frozen values, stored as JSON.

An attacker owns some devices and makes one image that must fool as much of the fleet as possible.
Rates are shares of the images that a victim decodes correctly without an attack, in [0, 1]; a
victim *falls* when it flips or rejects. Nothing in this module imports torch.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from fleet.audit.core import result
from fleet.audit.core.kind import Attacker
from fleet.vocabulary import counted

SCHEMA = "fleet.audit.coalition/1"

CoalitionChoice = Literal["control", "random", "greedy"]
"""How a coalition came about.

``control``: the attacker owns no device (size 0) and attacks the control networks instead.
``random``: devices drawn at random, or all coalitions of that size if they are few.
``greedy``: one after the other, the device that gains most on held-out images.
"""

Group = Literal["others", "fleet"]
"""``others``: the devices that the attacker does not own; ``fleet``: all devices."""

PICKED = "picked"
"""For each image the attack that fools most of the owned devices: the one image that an attacker
who tries several would send, chosen without looking at anybody else's device."""

_SAME = 1e-9


@dataclass(frozen=True)
class VictimOutcome:
    """One device under the images of one coalition.

    Attributes:
        victim: Device name.
        owned: Whether the attacker owns it.
        outcome: Over the images that this device decodes correctly.
        joint: Over the images that *all* devices decode correctly.
    """

    victim: str
    owned: bool
    outcome: result.Outcome
    joint: result.Outcome


@dataclass(frozen=True)
class CoalitionTrial:
    """One coalition's images of one attack at one eps, tried on every device.

    Attributes:
        owned: Devices that the attacker owns, in fleet order; empty for size 0.
        surrogates: Networks on which the images were made: ``owned``, or the controls if empty.
        choices: Why this coalition was tried; a greedy one may be a random one too.
        attack: Name of the attack, or ``picked``: one of several, chosen image by image.
        eps: Linf radius in pixel units.
        victims: Every device, in fleet order.
    """

    owned: tuple[str, ...]
    surrogates: tuple[str, ...]
    choices: tuple[CoalitionChoice, ...]
    attack: str
    eps: float
    victims: tuple[VictimOutcome, ...]

    @property
    def size(self) -> int:
        """Devices that the attacker owns."""
        return len(self.owned)

    @property
    def share(self) -> float:
        """Mean evade rate of the devices that are not owned."""
        return _share(v for v in self.victims if not v.owned)

    @property
    def owned_share(self) -> float | None:
        """Mean evade rate of the owned devices; None for size 0."""
        return _share(v for v in self.victims if v.owned) if self.owned else None

    @property
    def whole_share(self) -> float:
        """Mean evade rate of all devices, the owned ones counted."""
        return _share(self.victims)


@dataclass(frozen=True)
class CurvePoint:
    """One point of the collusion curve C(m), the mean over the coalitions of one size.

    Attributes:
        attack: As in :class:`CoalitionTrial`.
        eps: Linf radius in pixel units.
        choice: How the coalitions were chosen.
        size: Devices that the attacker owns, m.
        coalitions: Coalitions averaged.
        exhaustive: Whether these are all coalitions of that size.
        share: Mean evade rate of the devices that are not owned: C(m).
        low: Lower end of its 95 % interval: percentile bootstrap over images, devices fixed.
        high: Upper end.
        lowest: Smallest ``low`` when any one victim is left out.
        highest: Largest ``high`` when any one victim is left out.
        flip_share: The part of ``share`` that is decoded as a wrong class.
        owned_share: Mean evade rate of the owned devices; None for size 0.
        whole_share: Mean evade rate of all devices.
    """

    attack: str
    eps: float
    choice: CoalitionChoice
    size: int
    coalitions: int
    exhaustive: bool
    share: float
    low: float
    high: float
    lowest: float
    highest: float
    flip_share: float
    owned_share: float | None
    whole_share: float

    def __post_init__(self) -> None:
        if not (0 <= self.lowest <= self.low <= self.high <= self.highest <= 1):
            raise ValueError(f"interval of the curve at size {self.size}, eps {self.eps}")


@dataclass(frozen=True)
class HalfPoint:
    """m50: the smallest coalition that brings down half of the remaining fleet.

    Attributes:
        attack: As in :class:`CoalitionTrial`.
        eps: Linf radius in pixel units.
        choice: ``random`` or ``greedy``; size 0 (the controls) counts for both.
        size: Smallest m with C(m) of 1/2 or more; None if no audited size reaches it.
    """

    attack: str
    eps: float
    choice: CoalitionChoice
    size: int | None


@dataclass(frozen=True)
class DeviceRisk:
    """What one device means for the fleet.

    Attributes:
        device: Its name.
        attack: As in :class:`CoalitionTrial`.
        eps: Linf radius in pixel units.
        blast_radius: The damage to others, measured; the guarantee of a certify audit bears the
            name too. Mean evade rate of all *other* devices when the attacker owns this one alone.
        blast_low: Lower end of its 95 % interval (bootstrap over images).
        blast_high: Upper end.
        exposure: Its own evade rate, mean over the random coalitions that do not own it, each size
            weighted alike.
        exposure_low: Lower end of its 95 % interval (bootstrap over images).
        exposure_high: Upper end.
    """

    device: str
    attack: str
    eps: float
    blast_radius: float
    blast_low: float
    blast_high: float
    exposure: float
    exposure_low: float
    exposure_high: float

    def __post_init__(self) -> None:
        blast, exposure = (self.blast_low, self.blast_high), (self.exposure_low, self.exposure_high)
        if any(not 0 <= low <= high <= 1 for low, high in (blast, exposure)):
            raise ValueError(f"intervals of {self.device} at eps {self.eps}")


@dataclass(frozen=True)
class InputShare:
    """Share of devices that one image fools, S(x), over images that all devices decode correctly.

    There is none where no image is decoded correctly by all devices.

    Attributes:
        attack: As in :class:`CoalitionTrial`.
        eps: Linf radius in pixel units.
        choice: How the coalitions were chosen.
        size: Devices that the attacker owns.
        of: Which devices are counted.
        images: Images counted, for each coalition.
        mean: Mean of S.
        p95: 95th percentile of S.
        at_least_half: P(S >= 1/2).
        all: P(S = 1).
    """

    attack: str
    eps: float
    choice: CoalitionChoice
    size: int
    of: Group
    images: int
    mean: float
    p95: float
    at_least_half: float
    all: float

    def __post_init__(self) -> None:
        if not (0 <= self.all <= self.at_least_half <= 1 and 0 <= self.mean <= 1 and self.images):
            raise ValueError(f"share per image at size {self.size}, eps {self.eps}")


@dataclass(frozen=True)
class EffectiveSize:
    """How many independent devices the fleet is worth: N / (1 + (N - 1) r), capped at N.

    Attributes:
        attack: As in :class:`CoalitionTrial`.
        eps: Linf radius in pixel units.
        devices: N.
        pairs: Pairs of victims averaged: same single-device surrogate, both fell on some images
            and held on others.
        mean_correlation: r, the mean correlation of "fell" over images; None without pairs.
        size: Effective size; None without pairs.
    """

    attack: str
    eps: float
    devices: int
    pairs: int
    mean_correlation: float | None
    size: float | None


@dataclass(frozen=True)
class GreedyStep:
    """One step of the greedy choice, made on held-out images.

    Attributes:
        device: The device added.
        share: Mean evade rate of the devices still not owned, on held-out images and over all eps,
            when the attacker sends each the images made on any one owned device.
    """

    device: str
    share: float


@dataclass(frozen=True)
class CoalitionAudit(result.AttackResult, schema=SCHEMA):
    """Everything that ``fleet audit coalition`` found.

    Attributes:
        devices: In fleet order, then the controls.
        attacks: Names of the attacks, ``picked`` last if there are several.
        trials: By size, coalition, attack, eps.
        curve: One point for each attack, eps, choice and size.
        half: One for each attack, eps and choice.
        risks: One for each attack, eps and device (controls have none).
        inputs: As in :class:`InputShare`.
        effective: One for each attack and eps.
        greedy: In the order of choice; empty without held-out images.
        noise: One for each device and eps (controls have none).
        checks: C1 and following (docs/coalitions.md).

    Raises:
        ValueError: The tables contradict each other, or one is incomplete.
    """

    attacks: tuple[str, ...]
    trials: tuple[CoalitionTrial, ...]
    curve: tuple[CurvePoint, ...]
    half: tuple[HalfPoint, ...]
    risks: tuple[DeviceRisk, ...]
    inputs: tuple[InputShare, ...]
    effective: tuple[EffectiveSize, ...]
    greedy: tuple[GreedyStep, ...]

    def __post_init__(self) -> None:
        self.require_devices()
        if len(self.fleet) < 2:
            raise ValueError(f"device names are {[device.name for device in self.devices]}")
        for trial in self.trials:
            _require_trial(self, trial)
        for point in self.curve:
            _require_point(self, point)
        _require_tables(self)

    @property
    def headline(self) -> str:
        """The attack whose figures stand first: ``picked``, or the only attack."""
        return self.attacks[-1]

    def points(self, attack: str, eps: float, choice: CoalitionChoice) -> tuple[CurvePoint, ...]:
        """The collusion curve of one choice, by size; size 0 first if there are controls."""
        kept = [p for p in self.curve if (p.attack, p.eps) == (attack, eps)]
        return tuple(
            sorted((p for p in kept if p.choice in {choice, "control"}), key=lambda p: p.size)
        )

    def trials_of(
        self, attack: str, eps: float, choice: CoalitionChoice, size: int
    ) -> tuple[CoalitionTrial, ...]:
        """The coalitions behind one point of the curve."""
        return tuple(
            trial
            for trial in self.trials
            if (trial.attack, trial.eps, trial.size) == (attack, eps, size)
            and choice in trial.choices
        )

    def reached(self) -> Iterator[result.Reached]:
        """Shares of the other devices that coalitions bring down, for gates."""
        n = min(device.correct for device in self.devices if device.role == "device")
        for point in self.curve:
            if point.attack == self.headline:
                who: Attacker = "device" if point.size else "outsider"
                words = f"of the others by {counted(point.size, 'device')} ({point.choice})"
                interval = point.low, point.high
                yield result.Reached(who, point.eps, point.share, interval, n, words, "the fleet")

    def risks_of(self, attack: str, eps: float) -> tuple[DeviceRisk, ...]:
        """Every device's risk, in fleet order."""
        return tuple(r for r in self.risks if (r.attack, r.eps) == (attack, eps))

    def strongest(self, attack: str, eps: float) -> DeviceRisk:
        """The device that is worst to lose: the most damage to others; the first of equals."""
        return max(self.risks_of(attack, eps), key=lambda risk: risk.blast_radius)

    def weakest(self, attack: str, eps: float) -> DeviceRisk:
        """The device that falls most: the largest exposure; the first of equals."""
        return max(self.risks_of(attack, eps), key=lambda risk: risk.exposure)


def _share(victims: Iterable[VictimOutcome]) -> float:
    share = result.mean_rate(victim.outcome.rate("evade") for victim in victims)
    if share is None:
        raise ValueError("no victim decodes an image correctly")
    return share


def _require_trial(audit: CoalitionAudit, trial: CoalitionTrial) -> None:
    where = f"coalition {'+'.join(trial.owned) or 'of controls'} at eps {trial.eps}"
    correct = {device.name: device.correct for device in audit.devices}
    if tuple(victim.victim for victim in trial.victims) != audit.fleet:
        raise ValueError(f"victims of {where}")
    if tuple(v.victim for v in trial.victims if v.owned) != trial.owned:
        raise ValueError(f"owned devices of {where}")
    if any(v.outcome.n != correct[v.victim] or not v.outcome.n for v in trial.victims):
        raise ValueError(f"counted images of {where}")
    if len({v.joint.n for v in trial.victims}) != 1:
        raise ValueError(f"jointly counted images of {where}")
    if trial.owned and trial.surrogates != trial.owned:
        raise ValueError(f"surrogates of {where}")
    if trial.eps not in audit.eps or trial.attack not in audit.attacks:
        raise ValueError(f"attack {trial.attack} of {where}")


def _require_point(audit: CoalitionAudit, point: CurvePoint) -> None:
    where = f"the {point.choice} curve at size {point.size}, eps {point.eps}"
    trials = audit.trials_of(point.attack, point.eps, point.choice, point.size)
    if not trials or len(trials) != point.coalitions:
        raise ValueError(f"{point.coalitions} coalitions and {len(trials)} trials of {where}")
    shares = [trial.share for trial in trials]
    wholes = [trial.whole_share for trial in trials]
    pairs = [(point.share, shares), (point.whole_share, wholes)]
    if point.owned_share is not None:
        pairs.append((point.owned_share, [trial.owned_share or 0.0 for trial in trials]))
    for stored, parts in pairs:
        if not math.isclose(stored, result.mean_rate(parts) or 0.0, abs_tol=_SAME):
            raise ValueError(f"{stored} is not the mean of the trials of {where}")


def _require_tables(audit: CoalitionAudit) -> None:
    floors = {(floor.victim, floor.eps) for floor in audit.noise}
    for eps in audit.eps:
        if any((victim, eps) not in floors for victim in audit.fleet):
            raise ValueError(f"noise floors at eps {eps}")
        for attack in audit.attacks:
            if tuple(risk.device for risk in audit.risks_of(attack, eps)) != audit.fleet:
                raise ValueError(f"risks of {attack} at eps {eps}")
            if len([e for e in audit.effective if (e.attack, e.eps) == (attack, eps)]) != 1:
                raise ValueError(f"effective size of {attack} at eps {eps}")
    for half in audit.half:
        points = audit.points(half.attack, half.eps, half.choice)
        reached = [point.size for point in points if point.share >= 0.5]
        if half.size != (reached[0] if reached else None):
            raise ValueError(f"m50 of {half.attack} at eps {half.eps} is {half.size}")
