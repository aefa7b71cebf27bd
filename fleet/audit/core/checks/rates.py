"""M5, M6, M8, M11-M13, M15, M16: do the rates agree, and are they about what they claim to be?"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from typing import get_args

from fleet.audit.core.checks.verdicts import Excess, excess_check, percent, points, unless
from fleet.audit.core.evidence import WORST, Evidence
from fleet.audit.core.result import Cell, Check, Matrix, Outcome, Protocol

EPS_WANTED = 5
MONOTONE_TOLERANCE = 0.01
CHANCE_EPS = 0.5
CHANCE_EVADE = 0.95
RATE_TOLERANCE = 0.005
PROTOCOL_GAP = 0.05


def monotone(evidence: Evidence) -> Iterator[Check]:
    """M5: a larger eps may not give a smaller rate, and half the pixel range must break all."""
    for protocol in get_args(Protocol):
        rates = {eps: evidence.worst_matrix(protocol, eps).white_box() for eps in evidence.eps}
        falls = [
            Excess(
                rates[smaller][name] - rates[larger][name],
                f"{name} from {percent(rates[smaller][name])} at eps {smaller:.4g} to "
                f"{percent(rates[larger][name])} at {larger:.4g}",
            )
            for smaller, larger in pairwise(evidence.eps)
            for name in rates[smaller]
        ]
        stands = [
            Excess(1 - rate, f"{name} at eps {eps:.4g} only {percent(rate)}")
            for eps in evidence.eps
            for name, rate in rates[eps].items()
            if eps >= CHANCE_EPS and evidence.norm == "linf"
        ]
        yield from _grows(evidence, falls, protocol)
        yield from excess_check(
            stands,
            id="M5",
            title="Large eps breaks all",
            tolerance=1 - CHANCE_EVADE,
            good=f"at eps {CHANCE_EPS:g} and above every device falls",
            bad="white-box evade rate",
            threshold=f"below {percent(CHANCE_EVADE)} at an eps of {CHANCE_EPS:g} or more fails",
            subject=f"{protocol} large",
        )


def _grows(evidence: Evidence, falls: list[Excess], protocol: Protocol) -> Iterator[Check]:
    few = len(evidence.eps) < EPS_WANTED
    for check in excess_check(
        falls,
        id="M5",
        title="Rates grow with eps",
        tolerance=MONOTONE_TOLERANCE,
        notice=0.0,
        good="no white-box evade rate falls as eps grows",
        bad="white-box evade rate falls",
        threshold=f"any fall warns, one of more than {points(MONOTONE_TOLERANCE)} fails",
        subject=protocol,
    ):
        words = f" ({len(evidence.eps)} eps only; {EPS_WANTED} show more)" if few else ""
        yield replace(check, finding=check.finding + words)


def noise(evidence: Evidence) -> Iterator[Check]:
    """M6: random signs may not do better than gradients on the same victim."""

    def floors(matrix: Matrix) -> Iterator[Rival]:
        for floor in evidence.noise:
            if floor.eps == matrix.eps:
                where = f"{floor.victim} at eps {floor.eps:.4g}: noise evades"
                yield floor.victim, floor.outcome, where, "gradients"

    yield from _ahead(
        evidence,
        floors,
        id="M6",
        title="Gradients beat noise",
        good="no victim is evaded more by sign noise than by its own gradients",
        bad="sign noise is stronger",
        ahead="noise",
    )


def transfer(evidence: Evidence) -> Iterator[Check]:
    """M8: images made on another device may not do better than those made on the victim."""

    def others(matrix: Matrix) -> Iterator[Rival]:
        for cell in matrix.cells:
            if cell.surrogate != cell.victim:
                where = f"{cell.surrogate} on {cell.victim} at eps {matrix.eps:.4g}:"
                yield cell.victim, cell.outcome, where, "white-box"

    if len(evidence.devices) > 1:
        yield from _ahead(
            evidence,
            others,
            id="M8",
            title="Transfer below white-box",
            good="no transfer cell exceeds its victim's white-box rate",
            bad="transfer is stronger than white-box",
            ahead="transfer",
        )


Rival = tuple[str, Outcome, str, str]
"""Victim, what somebody else's images do to it, where, and the name of what it stands beside."""


def _ahead(
    evidence: Evidence,
    rivals: Callable[[Matrix], Iterator[Rival]],
    *,
    id: str,
    title: str,
    good: str,
    bad: str,
    ahead: str,
) -> Iterator[Check]:
    """Compare rates with the white-box rate of the same victim, under each protocol."""
    for protocol in get_args(Protocol):
        excesses = []
        for eps in evidence.eps:
            matrix = evidence.worst_matrix(protocol, eps)
            own = matrix.white_box()
            for victim, outcome, where, beside in rivals(matrix):
                rate = outcome.rate("evade")
                if rate is not None:
                    words = f"{where} {percent(rate)}, {beside} {percent(own[victim])}"
                    excesses.append(Excess(rate - own[victim], words))
        yield from excess_check(
            excesses,
            id=id,
            title=title,
            tolerance=RATE_TOLERANCE,
            notice=0.0,
            good=good,
            bad=bad,
            threshold=f"{ahead} ahead at all warns, by more than {points(RATE_TOLERANCE)} fails",
            subject=protocol,
        )


def two_protocols(evidence: Evidence) -> Iterator[Check]:
    """M13: the paper's loss and the adaptive objective must agree."""
    excesses = []
    for eps in evidence.eps:
        paper = evidence.worst_matrix("paper", eps).white_box()
        adaptive = evidence.worst_matrix("adaptive", eps).white_box()
        excesses += [
            Excess(
                adaptive[name] - paper[name],
                f"{name} at eps {eps:.4g}: adaptive evades {percent(adaptive[name])}, "
                f"paper {percent(paper[name])}",
            )
            for name in paper
        ]
    yield from excess_check(
        excesses,
        id="M13",
        title="Two protocols agree",
        tolerance=PROTOCOL_GAP,
        good="the paper's protocol finds what the adaptive one finds",
        bad="the paper-protocol number is masked",
        threshold=f"adaptive ahead by more than {points(PROTOCOL_GAP)} fails",
        subject="paper",
    )


CLEAN_REJECTS = 0.05


def repeatable(evidence: Evidence) -> Iterator[Check]:
    """M11: the same image twice must give the same output."""
    random = [score.victim for score in evidence.scores if not score.repeatable]
    yield unless(
        f"the forward passes differ: {', '.join(random)}" if random else "",
        id="M11",
        title="Outputs repeat",
        good="the forward passes of every device gave the same bits",
        threshold="any difference fails",
    )


def constraints(evidence: Evidence) -> Iterator[Check]:
    """M12: the saved 8-bit images lie in the eps ball."""
    unit = "levels" if evidence.norm == "linf" else "squared levels"
    outside = [
        f"{reach.surrogate} at eps {reach.eps:.4g}: {reach.largest} {unit}, {reach.allowed} allowed"
        for reach in evidence.reaches
        if reach.largest > reach.allowed
    ]
    levels = ", ".join(
        f"eps {reach.eps:.4g} = {reach.allowed}"
        for reach in evidence.reaches
        if reach.surrogate == evidence.devices[0].name
    )
    yield unless(
        "; ".join(outside),
        id="M12",
        title="Images within eps",
        good=f"all within the 8-bit {unit} allowed ({levels})",
        threshold="any saved pixel farther from the original than eps fails",
    )


def rejects(evidence: Evidence) -> Iterator[Check]:
    """M15: rejects are always reported, because a reject can hide an error or a flip."""
    useless = [device.name for device in evidence.devices if device.correct == 0]
    worst = max(evidence.devices, key=lambda device: device.clean_reject_rate)
    diagonal = [
        cell.outcome
        for cell in evidence.worst_matrix("adaptive", evidence.eps[-1]).cells
        if cell.surrogate == cell.victim
    ]
    total = sum(outcome.n for outcome in diagonal)
    finding = f"clean images rejected: at most {percent(worst.clean_reject_rate)} ({worst.name})"
    if total:
        flip = sum(outcome.flip for outcome in diagonal) / total
        reject = sum(outcome.reject for outcome in diagonal) / total
        finding += (
            f"; white-box adaptive at eps {evidence.eps[-1]:.4g}: {percent(flip)} flip, "
            f"{percent(reject)} only reject"
        )
    if useless:
        finding += f"; decodes no image correctly: {', '.join(useless)}"
    yield Check(
        id="M15",
        title="Rejects accounted for",
        verdict="warn" if useless or worst.clean_reject_rate > CLEAN_REJECTS else "pass",
        finding=finding,
        threshold=f"always reported; more than {percent(CLEAN_REJECTS)} of the clean images "
        "rejected, or none decoded correctly, warns",
    )


def worst_case(evidence: Evidence) -> Iterator[Check]:
    """M16: every figure is counted again, example by example, in another way."""
    wrong = [
        f"{matrix.protocol} {matrix.attack} at eps {matrix.eps:.4g}, {cell.surrogate} on "
        f"{cell.victim}: {_said(cell.outcome)}, not {_said(recounted)}"
        for matrix in evidence.matrices
        for cell in matrix.cells
        if (recounted := _recount(evidence, matrix, cell)) != cell.outcome
    ]
    yield unless(
        f"{wrong[0]} (one of {len(wrong)})" if wrong else "",
        id="M16",
        title="Worst case per example",
        good=f"all {sum(len(matrix.cells) for matrix in evidence.matrices)} cells agree; the worst "
        f"case is up to {points(_union_gain(evidence))} above the strongest single attack",
        threshold="a worst case that is not the union of its attacks, example by example, fails",
    )


def _recount(evidence: Evidence, matrix: Matrix, cell: Cell) -> Outcome:
    """Count one cell from the outcomes: a union of sets of examples, not a maximum of codes."""
    victim = next(score for score in evidence.scores if score.victim == cell.victim)
    correct = set((victim.clean == 0).nonzero()[0].tolist())
    flipped: set[int] = set()
    rejected: set[int] = set()
    level = victim.attacked[cell.surrogate][evidence.eps.index(matrix.eps)]
    for name, outcomes in zip(evidence.attacks[cell.surrogate], level, strict=True):
        if name.protocol == matrix.protocol and matrix.attack in {WORST, name.attack}:
            flipped |= correct & set((outcomes == 2).nonzero()[0].tolist())
            rejected |= correct & set((outcomes == 1).nonzero()[0].tolist())
    return Outcome(len(correct), len(flipped), len(rejected - flipped))


def _union_gain(evidence: Evidence) -> float:
    """By how much a white-box worst case exceeds its strongest single attack, at most."""
    single: dict[tuple[str, str, float], float] = {}
    worst: dict[tuple[str, str, float], float] = {}
    for matrix in evidence.matrices:
        rates = worst if matrix.attack == WORST else single
        for cell in matrix.cells:
            if cell.surrogate == cell.victim:
                key = (matrix.protocol, cell.victim, matrix.eps)
                rates[key] = max(rates.get(key, 0.0), cell.outcome.rate("evade") or 0.0)
    return max((rate - single.get(key, 0.0) for key, rate in worst.items()), default=0.0)


def _said(outcome: Outcome) -> str:
    return f"{outcome.flip} flips and {outcome.reject} rejects of {outcome.n}"
