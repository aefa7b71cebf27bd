"""M11, M12, M15, M16: are the figures about what they claim to be about?"""

from __future__ import annotations

from collections.abc import Iterator

from fleet.audit.core.checks.verdicts import percent, points, worst_matrix
from fleet.audit.core.evidence import WORST, Evidence
from fleet.audit.core.result import Cell, Check, Matrix, Outcome

CLEAN_REJECTS = 0.05


def repeatable(evidence: Evidence) -> Iterator[Check]:
    """M11: the same image twice must give the same output."""
    random = [score.victim for score in evidence.scores if not score.repeatable]
    yield Check(
        id="M11",
        title="Outputs repeat",
        verdict="fail" if random else "pass",
        finding=f"the forward passes differ: {', '.join(random)}"
        if random
        else "the forward passes of every device gave the same bits",
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
    yield Check(
        id="M12",
        title="Images within eps",
        verdict="fail" if outside else "pass",
        finding="; ".join(outside) or f"all within the 8-bit {unit} allowed ({levels})",
        threshold="any saved pixel farther from the original than eps fails",
    )


def rejects(evidence: Evidence) -> Iterator[Check]:
    """M15: rejects are always reported, because a reject can hide an error or a flip."""
    useless = [device.name for device in evidence.devices if device.correct == 0]
    worst = max(evidence.devices, key=lambda device: device.clean_reject_rate)
    diagonal = [
        cell.outcome
        for cell in worst_matrix(evidence, "adaptive", evidence.eps[-1]).cells
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
    finding = (
        f"{wrong[0]} (one of {len(wrong)})"
        if wrong
        else f"all {sum(len(matrix.cells) for matrix in evidence.matrices)} cells agree; the worst "
        f"case is up to {points(_union_gain(evidence))} above the strongest single attack"
    )
    yield Check(
        id="M16",
        title="Worst case per example",
        verdict="fail" if wrong else "pass",
        finding=finding,
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
