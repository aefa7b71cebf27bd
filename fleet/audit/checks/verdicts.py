"""How checks come to a verdict: rates of the white-box diagonal, tolerances, words."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from fleet.audit.counting import WORST
from fleet.audit.evidence import Evidence
from fleet.audit.result import Check, Matrix, Protocol, Verdict

_ROUNDING = 1e-9
"""Slack for differences of rates: 0.80 - 0.75 is a little more than 0.05."""


@dataclass(frozen=True)
class Excess:
    """By how much one figure breaks a rule, and the words for it."""

    amount: float
    words: str


def excess_check(
    excesses: list[Excess],
    *,
    id: str,
    title: str,
    tolerance: float,
    good: str,
    bad: str,
    threshold: str,
    subject: str,
) -> Iterator[Check]:
    """Fail with the worst figure and the number of breaches; nothing to look at, no check."""
    if not excesses:
        return
    breaches = [excess for excess in excesses if excess.amount > tolerance + _ROUNDING]
    finding = good
    if breaches:
        worst = max(breaches, key=lambda excess: excess.amount)
        finding = f"{bad}: {worst.words}"
        if len(breaches) > 1:
            finding += f" (worst of {len(breaches)})"
    verdict: Verdict = "fail" if breaches else "pass"
    yield Check(id, title, verdict, finding, threshold, subject)


def worst_matrix(evidence: Evidence, protocol: Protocol, eps: float) -> Matrix:
    """Per-example worst case of a protocol at one eps."""
    return next(
        matrix
        for matrix in evidence.matrices
        if (matrix.protocol, matrix.attack, matrix.eps) == (protocol, WORST, eps)
    )


def diagonal(matrix: Matrix) -> dict[str, float]:
    """White-box evade rates by device; devices without a correct example are left out."""
    rates = {
        cell.victim: cell.outcome.rate("evade")
        for cell in matrix.cells
        if cell.surrogate == cell.victim
    }
    return {name: rate for name, rate in rates.items() if rate is not None}


def graded(share: float, warn: float, fail: float) -> Verdict:
    """Verdict on a share: above ``fail`` fails, above ``warn`` warns."""
    if share > fail:
        return "fail"
    return "warn" if share > warn else "pass"


def percent(share: float) -> str:
    """Write a share as a percentage."""
    return f"{100 * share:.1f} %"


def points(share: float) -> str:
    """Write a difference of shares in percentage points."""
    return f"{100 * share:g} points"
