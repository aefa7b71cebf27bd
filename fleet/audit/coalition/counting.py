"""Count what a coalition audit found, image by image, for its tables: pure functions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fleet.audit.coalition import result, risk
from fleet.audit.coalition.risk import Bools, Floats
from fleet.audit.coalition.trials import CoalitionSettings, Tried, exhaustive
from fleet.audit.core.evidence import Outcomes, count
from fleet.audit.core.result import AuditedDevice, NoiseFloor
from fleet.seeding import derive_seed


@dataclass(frozen=True, eq=False)
class CoalitionEvidence:
    """Everything that is counted and checked.

    Attributes:
        devices: The fleet in order, then the controls.
        clean: Outcomes of the fleet without an attack, (devices, N).
        noise: The fleet's noise floors.
        noise_nonfinite: Noisy images whose output is NaN or infinite, all devices.
        repeatable: Whether two forward passes of the clean images gave the same bits, by name.
        tried: By size.
        greedy: Steps of the greedy choice.
        settings: Of the audit.
    """

    devices: tuple[AuditedDevice, ...]
    clean: Outcomes
    noise: tuple[NoiseFloor, ...]
    noise_nonfinite: int
    repeatable: dict[str, bool]
    tried: tuple[Tried, ...]
    greedy: tuple[result.GreedyStep, ...]
    settings: CoalitionSettings

    @property
    def fleet(self) -> tuple[str, ...]:
        """Names of the devices that are shipped."""
        return tuple(device.name for device in self.devices if device.role == "device")

    @property
    def controls(self) -> tuple[str, ...]:
        """Names of the control networks."""
        return tuple(device.name for device in self.devices if device.role == "control")

    @property
    def correct(self) -> Bools:
        """Which images each device of the fleet decodes correctly, (devices, N)."""
        return np.asarray(self.clean == 0)

    @property
    def joint(self) -> Bools:
        """Which images all devices of the fleet decode correctly, (N,)."""
        return np.asarray(self.correct.all(axis=0))

    @property
    def attacks(self) -> tuple[str, ...]:
        """Names of the attacks, and ``picked`` if there are several."""
        names = self.settings.attacks
        return (*names, result.PICKED) if len(names) > 1 else names

    def chosen(self, choice: result.CoalitionChoice, size: int | None = None) -> list[Tried]:
        """Trials of one choice, of one size or of all."""
        return [
            tried
            for tried in self.tried
            if choice in tried.coalition.choices
            and (size is None or len(tried.coalition.owned) == size)
        ]

    def curves(self) -> list[tuple[result.CoalitionChoice, int]]:
        """Every choice and size that was tried, in order."""
        pairs = {
            (choice, len(tried.coalition.owned)): None
            for tried in self.tried
            for choice in tried.coalition.choices
        }
        order: dict[result.CoalitionChoice, int] = {"control": 0, "random": 1, "greedy": 2}
        return sorted(pairs, key=lambda pair: (order[pair[0]], pair[1]))

    def others(self, tried: Tried) -> list[int]:
        """Numbers of the devices that a coalition does not own."""
        return [i for i, name in enumerate(self.fleet) if name not in tried.coalition.owned]

    def views(self) -> Iterator[View]:
        """Every attack at every eps."""
        for attack in self.attacks:
            for level in range(len(self.settings.eps)):
                yield View(self, attack, level)


@dataclass(frozen=True, eq=False)
class View:
    """One attack at one eps.

    Attributes:
        evidence: All of the audit.
        attack: Name of the attack.
        level: Number of the eps.
    """

    evidence: CoalitionEvidence
    attack: str
    level: int

    @property
    def eps(self) -> float:
        """Radius in pixel units."""
        return self.evidence.settings.eps[self.level]

    def outcomes(self, tried: Tried) -> Outcomes:
        """Outcomes of one trial, (devices, N)."""
        return np.asarray(tried.outcomes[self.level, self.evidence.attacks.index(self.attack)])

    def rates(self, tried: Tried) -> Floats:
        """Evade rate of each device, (devices,)."""
        return risk.rates(self.outcomes(tried) > 0, self.evidence.correct)


_FLIP = 2


@dataclass(frozen=True, eq=False)
class _Pairs:
    """Coalitions of one choice and size, each against every device that it does not own.

    Attributes:
        trials: The coalitions.
        victim: Number of each pair's victim, (R,), coalition by coalition.
        outcomes: (R, N).
        counted: (R, N).
        resampled: Rates in each bootstrap sample, (D, R).
    """

    trials: list[Tried]
    victim: NDArray[np.intp]
    outcomes: Outcomes
    counted: Bools
    resampled: Floats

    @classmethod
    def of(cls, view: View, trials: list[Tried], samples: Floats) -> _Pairs:
        """Line the pairs up, and resample them."""
        evidence = view.evidence
        others = [evidence.others(tried) for tried in trials]
        rows = [view.outcomes(t)[rest] for t, rest in zip(trials, others, strict=True)]
        outcomes, victim = np.concatenate(rows), np.concatenate([np.array(r) for r in others])
        counted = evidence.correct[victim]
        resampled = risk.resampled_rates(outcomes > 0, counted, samples)
        return cls(trials, victim, outcomes, counted, resampled)


def count_trials(evidence: CoalitionEvidence) -> tuple[result.CoalitionTrial, ...]:
    """Count every coalition, attack and eps."""
    return tuple(_trial(view, tried) for tried in evidence.tried for view in evidence.views())


def count_curves(
    evidence: CoalitionEvidence,
) -> tuple[tuple[result.CurvePoint, ...], tuple[result.DeviceRisk, ...]]:
    """Make the collusion curves, and what each device means for the fleet."""
    settings = evidence.settings
    seed = derive_seed(settings.effort.seed, "bootstrap")
    samples = risk.resamples(evidence.clean.shape[1], settings.bootstrap, seed)
    points: list[result.CurvePoint] = []
    risks: list[result.DeviceRisk] = []
    for view in evidence.views():
        pairs = {
            (choice, size): _Pairs.of(view, evidence.chosen(choice, size), samples)
            for choice, size in evidence.curves()
        }
        points += [_point(view, choice, size, pairs[choice, size]) for choice, size in pairs]
        random = {size: pairs[choice, size] for choice, size in pairs if choice == "random"}
        risks += _risks(view, random)
    return tuple(points), tuple(risks)


def count_half_points(
    evidence: CoalitionEvidence, curve: Sequence[result.CurvePoint]
) -> tuple[result.HalfPoint, ...]:
    """Find m50 of every attack, eps and choice."""
    choices: tuple[result.CoalitionChoice, ...] = (
        ("random", "greedy") if evidence.greedy else ("random",)
    )
    return tuple(
        _half_point(view, choice, curve) for view in evidence.views() for choice in choices
    )


def count_inputs(evidence: CoalitionEvidence) -> tuple[result.InputShare, ...]:
    """Share of devices that one image fools, over images that all devices decode correctly."""
    groups: tuple[result.Group, ...] = ("others", "fleet")
    if not evidence.joint.any():
        return ()
    return tuple(
        _input_share(view, choice, size, group)
        for view in evidence.views()
        for choice, size in evidence.curves()
        for group in groups
    )


def count_effective(evidence: CoalitionEvidence) -> tuple[result.EffectiveSize, ...]:
    """Effective fleet size: correlation of victims under each single device's images."""
    return tuple(map(_effective, evidence.views()))


def _trial(view: View, tried: Tried) -> result.CoalitionTrial:
    evidence, owned = view.evidence, tried.coalition.owned
    rows = zip(evidence.fleet, view.outcomes(tried), evidence.correct, strict=True)
    joint = evidence.joint
    return result.CoalitionTrial(
        owned=owned,
        surrogates=owned or evidence.controls,
        choices=tried.coalition.choices,
        attack=view.attack,
        eps=view.eps,
        victims=tuple(
            result.VictimOutcome(
                name, name in owned, count(outcomes, correct), count(outcomes, joint)
            )
            for name, outcomes, correct in rows
        ),
    )


def _point(
    view: View, choice: result.CoalitionChoice, size: int, pairs: _Pairs
) -> result.CurvePoint:
    evidence = view.evidence
    every = [view.rates(tried) for tried in pairs.trials]
    owned = [
        np.delete(rates, evidence.others(tried)).mean()
        for tried, rates in zip(pairs.trials, every, strict=True)
        if size
    ]
    interval = risk.bounds(pairs.resampled.mean(axis=1))
    lowest, highest = risk.without_one(pairs.resampled, pairs.victim, interval)
    drawn_all = exhaustive(len(evidence.fleet), size, evidence.settings.coalitions)
    return result.CurvePoint(
        attack=view.attack,
        eps=view.eps,
        choice=choice,
        size=size,
        coalitions=len(pairs.trials),
        exhaustive=choice != "greedy" and drawn_all,
        share=float(risk.rates(pairs.outcomes > 0, pairs.counted).mean()),
        low=interval[0],
        high=interval[1],
        lowest=lowest,
        highest=highest,
        flip_share=float(risk.rates(pairs.outcomes == _FLIP, pairs.counted).mean()),
        owned_share=float(np.mean(owned)) if owned else None,
        whole_share=float(np.mean(every)),
    )


def _risks(view: View, random: dict[int, _Pairs]) -> Iterator[result.DeviceRisk]:
    """Damage to others and exposure of each device; ``random`` holds the pairs of each size."""
    fleet = view.evidence.fleet
    singles = [tried.coalition.owned[0] for tried in random[1].trials]
    owner = np.repeat(singles, len(fleet) - 1)
    for number, name in enumerate(fleet):
        blast, blast_bounds = _mean_rate([(random[1], owner == name)])
        exposed, exposed_bounds = _mean_rate(
            [(pairs, pairs.victim == number) for pairs in random.values()]
        )
        yield result.DeviceRisk(
            name, view.attack, view.eps, blast, *blast_bounds, exposed, *exposed_bounds
        )


def _mean_rate(parts: Sequence[tuple[_Pairs, Bools]]) -> tuple[float, tuple[float, float]]:
    """Mean over parts of the mean rate of some pairs, with its interval; empty ones left out."""
    kept = [(pairs, rows) for pairs, rows in parts if rows.any()]
    own = [risk.rates(pairs.outcomes[rows] > 0, pairs.counted[rows]).mean() for pairs, rows in kept]
    again = np.mean([pairs.resampled[:, rows].mean(axis=1) for pairs, rows in kept], axis=0)
    return float(np.mean(own)), risk.bounds(again)


def _half_point(
    view: View, choice: result.CoalitionChoice, curve: Sequence[result.CurvePoint]
) -> result.HalfPoint:
    points = [
        (point.size, point.share)
        for point in curve
        if (point.attack, point.eps) == (view.attack, view.eps)
        and point.choice in {choice, "control"}
    ]
    return result.HalfPoint(view.attack, view.eps, choice, risk.half_point(points))


def _input_share(
    view: View, choice: result.CoalitionChoice, size: int, group: result.Group
) -> result.InputShare:
    evidence = view.evidence
    shares = []
    for tried in evidence.chosen(choice, size):
        fallen = view.outcomes(tried)[:, evidence.joint] > 0
        counted = fallen[evidence.others(tried)] if group == "others" else fallen
        shares.append(counted.mean(axis=0))
    pooled = np.concatenate(shares)
    return result.InputShare(
        attack=view.attack,
        eps=view.eps,
        choice=choice,
        size=size,
        of=group,
        images=int(evidence.joint.sum()),
        mean=float(pooled.mean()),
        p95=float(np.quantile(pooled, 0.95)),
        at_least_half=float((pooled >= risk.HALF).mean()),
        all=float((pooled == 1).mean()),
    )


def _effective(view: View) -> result.EffectiveSize:
    evidence = view.evidence
    found: list[float] = []
    for tried in evidence.chosen("random", 1):
        outcomes = view.outcomes(tried)[evidence.others(tried)]
        found += risk.pair_correlations(outcomes[:, evidence.joint] > 0)
    devices = len(evidence.fleet)
    mean = float(np.mean(found)) if found else None
    size = None if mean is None else risk.effective_size(devices, mean)
    return result.EffectiveSize(view.attack, view.eps, devices, len(found), mean, size)
