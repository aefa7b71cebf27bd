"""How checks come to a verdict: tolerances and words."""

from collections.abc import Iterator
from dataclasses import dataclass

from fleet.audit.core.evidence import Retry
from fleet.audit.core.result import Check, Verdict

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
    notice: float | None = None,
) -> Iterator[Check]:
    """Fail with the worst figure and the number of breaches; nothing to look at, no check.

    An amount above ``notice``, if given, warns.
    """
    if not excesses:
        return
    worst = max(excesses, key=lambda excess: excess.amount)
    verdict: Verdict = "pass"
    if notice is not None and worst.amount > notice + _ROUNDING:
        verdict = "warn"
    if worst.amount > tolerance + _ROUNDING:
        verdict = "fail"
    limit = tolerance if verdict == "fail" or notice is None else notice
    breaches = sum(excess.amount > limit + _ROUNDING for excess in excesses)
    finding = good if verdict == "pass" else f"{bad}: {worst.words}"
    if breaches > 1:
        finding += f" (worst of {breaches})"
    yield Check(id, title, verdict, finding, threshold, subject)


def unless(
    bad: str, *, id: str, title: str, good: str, threshold: str, verdict: Verdict = "fail"
) -> Check:
    """Pass with ``good``, unless ``bad`` says what is wrong."""
    return Check(id, title, verdict if bad else "pass", bad or good, threshold)


def graded(share: float, warn: float, fail: float) -> Verdict:
    """Verdict on a share: above ``fail`` fails, above ``warn`` warns."""
    if share > fail + _ROUNDING:
        return "fail"
    return "warn" if share > warn + _ROUNDING else "pass"


def tried(retry: Retry) -> str:
    """Say what was found in how many, and how much that is."""
    words = f"{retry.found} of {retry.examined}"
    if retry.survivors > retry.examined:
        words += f" examined of {retry.survivors} standing"
    else:
        words += " standing"
    return f"{words} images ({retry.device} at eps {retry.eps:.4g}, one is {points(retry.one)})"


def percent(share: float) -> str:
    """Write a share as a percentage."""
    return f"{100 * share:.1f} %"


def points(share: float) -> str:
    """Write a difference of shares in percentage points, with two digits."""
    value = 100 * share
    text = f"{value:.0f}" if abs(value) >= 10 else f"{value:.2g}"
    return f"{text} point{'' if text in {'1', '-1'} else 's'}"
