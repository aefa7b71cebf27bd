"""Checks C1-C7 of a coalition audit: would a hostile reviewer believe the figures?

Pure functions from :class:`~fleet.audit.coalition.counting.CoalitionEvidence` to verdicts; rules,
thresholds and reasons are in docs/coalitions.md. A check that has nothing to look at gives none.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import combinations, pairwise

import numpy as np

from fleet.audit.coalition.counting import CoalitionEvidence
from fleet.audit.coalition.result import CoalitionChoice, CurvePoint
from fleet.audit.coalition.risk import Floats
from fleet.audit.coalition.trials import Tried
from fleet.audit.core.checks.verdicts import graded, percent, points, unless
from fleet.audit.core.result import Check

WEAKER = (0.02, 0.10)
JOINT_EXCESS = (0.01, 0.05)
FALL = 0.02
NOISE_EXCESS = 0.005
ALIKE = 10

Rule = Callable[[CoalitionEvidence, Sequence[CurvePoint]], Iterable[Check]]


def run_coalition_checks(
    evidence: CoalitionEvidence, curve: Sequence[CurvePoint]
) -> tuple[Check, ...]:
    """Make every check that the evidence allows, in order of id."""
    rules: tuple[Rule, ...] = (
        weightings,
        white_box,
        growing,
        clones,
        noise,
        finite,
        repeatable,
    )
    return tuple(check for rule in rules for check in rule(evidence, curve))


def weightings(evidence: CoalitionEvidence, curve: Sequence[CurvePoint]) -> Iterator[Check]:
    """C1: an attack that weighs its devices may not do worse on them than one that does not."""
    plain = _owned(curve, "uniform")
    for attack in evidence.settings.attacks:
        if attack == "uniform" or not plain:
            continue
        losses = {key: plain[key] - share for key, share in _owned(curve, attack).items()}
        (eps, size), loss = max(losses.items(), key=lambda item: item[1])
        yield Check(
            id="C1",
            title="Weighted attacks at least as strong",
            verdict=graded(loss, *WEAKER),
            finding=f"{attack} evades {percent(plain[eps, size] - loss)} of the owned devices, "
            f"uniform {percent(plain[eps, size])}, at size {size}, eps {eps:.4g}",
            threshold=f"more than {points(WEAKER[0])} below uniform on owned devices warns, more "
            f"than {points(WEAKER[1])} fails",
            subject=attack,
        )


def white_box(evidence: CoalitionEvidence, _: Sequence[CurvePoint]) -> Iterator[Check]:
    """C2: one image for several owned devices may not do better than those for each alone."""
    excesses = []
    for view in evidence.views():
        own = _own_rates(evidence, view.level)
        for tried in _colluding(evidence):
            rates = view.rates(tried)
            excesses += [
                (rates[i] - own[i], evidence.fleet[i], tried.coalition.name, view)
                for i in range(len(own))
                if i not in evidence.others(tried)
            ]
    if not excesses:
        return
    excess, device, coalition, view = max(excesses, key=lambda item: item[0])
    yield Check(
        id="C2",
        title="Joint attack below white-box",
        verdict=graded(excess, *JOINT_EXCESS),
        finding=f"largest difference {100 * excess:+.1f} points: {device} under the images of "
        f"{coalition} ({view.attack}) against its own, at eps {view.eps:.4g}",
        threshold=f"above by more than {points(JOINT_EXCESS[0])} warns, by more than "
        f"{points(JOINT_EXCESS[1])} fails",
    )


def growing(evidence: CoalitionEvidence, curve: Sequence[CurvePoint]) -> Iterator[Check]:
    """C3: more owned devices may not help less, beyond noise."""
    choices: tuple[CoalitionChoice, ...] = ("random", "greedy")
    for choice in choices:
        falls = []
        for view in evidence.views():
            at_view = [p for p in curve if (p.attack, p.eps) == (view.attack, view.eps)]
            ordered = sorted(
                (p for p in at_view if p.choice == choice), key=lambda point: point.size
            )
            falls += [(a.share - b.share, a, b) for a, b in pairwise(ordered)]
        if not falls:
            continue
        fall, before, after = max(falls, key=lambda item: item[0])
        clear = any(a.low > b.high for drop, a, b in falls if drop > FALL)
        yield Check(
            id="C3",
            title="More devices help more",
            verdict="fail" if clear else graded(fall, FALL, 1.0),
            finding=f"smallest step {-100 * fall:+.1f} points, from {before.size} to {after.size} "
            f"devices, {before.attack} at eps {before.eps:.4g}",
            threshold=f"a fall of the share by more than {points(FALL)} warns, and fails if the "
            "intervals do not meet",
            subject=choice,
        )


def clones(evidence: CoalitionEvidence, _: Sequence[CurvePoint]) -> Iterator[Check]:
    """C4: no two devices are one with two names."""
    found = []
    for i, j in combinations(range(len(evidence.fleet)), 2):
        one, other = evidence.devices[i], evidence.devices[j]
        if one.weights_sha256 and one.weights_sha256 == other.weights_sha256:
            found.append(f"{one.name} and {other.name} have the same weights")
        elif _alike(evidence, i, j):
            found.append(f"{one.name} and {other.name} decide all images alike")
    more = f" ({len(found)} pairs)" if len(found) > 1 else ""
    yield unless(
        f"{found[0]}{more}: whoever owns one owns both" if found else "",
        id="C4",
        title="No clones",
        good="no two devices have the same weights or decide all images alike",
        threshold="equal digests of the weights, or equal outcomes in all trials with "
        f"{ALIKE} or more falls and as many images that hold, fail",
    )


def noise(evidence: CoalitionEvidence, _: Sequence[CurvePoint]) -> Iterator[Check]:
    """C5: random signs may not do better than a device's own gradients."""
    excesses = []
    for level, eps in enumerate(evidence.settings.eps):
        floors = {f.victim: f.outcome.rate("evade") for f in evidence.noise if f.eps == eps}
        own = zip(evidence.fleet, _own_rates(evidence, level), strict=True)
        excesses += [((floors[name] or 0.0) - float(rate), name, eps) for name, rate in own]
    excess, name, eps = max(excesses, key=lambda item: item[0])
    yield Check(
        id="C5",
        title="Gradients beat noise",
        verdict=graded(excess, NOISE_EXCESS, NOISE_EXCESS),
        finding=f"noise less gradients at most {100 * excess:+.1f} points: {name} at eps {eps:.4g}",
        threshold=f"noise ahead of a device's own attack by more than {points(NOISE_EXCESS)} fails",
    )


def finite(evidence: CoalitionEvidence, _: Sequence[CurvePoint]) -> Iterator[Check]:
    """C6: no output under attack is NaN or infinite."""
    broken = evidence.noise_nonfinite + sum(tried.nonfinite for tried in evidence.tried)
    words = f"{broken} NaN or infinite outputs on attacked and noisy images, counted as rejects"
    yield unless(
        words if broken else "",
        id="C6",
        title="Outputs are finite",
        good="every output on attacked and noisy images is finite",
        threshold="any NaN or infinity fails",
    )


def repeatable(evidence: CoalitionEvidence, _: Sequence[CurvePoint]) -> Iterator[Check]:
    """C7: the same images give the same outputs."""
    random = [name for name, same in evidence.repeatable.items() if not same]
    yield unless(
        f"two passes differ: {', '.join(random)}" if random else "",
        id="C7",
        title="Outputs repeat",
        good="two passes of the clean images give the same bits",
        threshold="any difference fails",
    )


def _owned(curve: Sequence[CurvePoint], attack: str) -> dict[tuple[float, int], float]:
    """Owned share of random coalitions of two or more, by eps and size."""
    return {
        (point.eps, point.size): point.owned_share
        for point in curve
        if point.attack == attack
        and point.choice == "random"
        and point.size > 1
        and point.owned_share is not None
    }


def _own_rates(evidence: CoalitionEvidence, level: int) -> Floats:
    """Evade rate of each device under images made on it alone, worst case over all attacks."""
    number = {name: i for i, name in enumerate(evidence.fleet)}
    rates = np.zeros(len(number))
    for tried in evidence.chosen("random", 1):
        i = number[tried.coalition.owned[0]]
        worst = tried.outcomes[level, :, i].max(axis=0)
        rates[i] = (worst[evidence.correct[i]] > 0).mean()
    return rates


def _colluding(evidence: CoalitionEvidence) -> list[Tried]:
    return [tried for tried in evidence.tried if len(tried.coalition.owned) > 1]


def _alike(evidence: CoalitionEvidence, i: int, j: int) -> bool:
    """Whether two devices decide every image of every trial alike, some held and some fallen."""
    pairs = [(tried.outcomes[:, :, i], tried.outcomes[:, :, j]) for tried in evidence.tried]
    falls = sum(int((one > 0).sum()) for one, _ in pairs)
    holds = sum(int((one == 0).sum()) for one, _ in pairs)
    return (
        min(falls, holds) >= ALIKE
        and np.array_equal(evidence.clean[i], evidence.clean[j])
        and all(np.array_equal(one, other) for one, other in pairs)
    )
