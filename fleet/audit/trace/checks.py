"""T1-T4: can the figures of a trace audit be believed?

Nothing in this module imports torch.
"""

from collections.abc import Iterator, Sequence

from fleet.audit.core.checks.verdicts import graded, percent, unless
from fleet.audit.core.result import Check, wilson_interval
from fleet.audit.trace.result import TraceRate

HIDING_TOLERANCE = 0.1


def trace_checks(
    rates: Sequence[TraceRate], false_positives: float, shared: int
) -> tuple[Check, ...]:
    """Run every check.

    Args:
        rates: All of the audit's.
        false_positives: Share of innocent evidence that was allowed to accuse a device.
        shared: Images that calibration and evaluation share.
    """
    single = [rate for rate in rates if rate.score == "combined" and rate.evidence == 1]
    return (
        *_chance([rate for rate in single if rate.attacker == "naive"]),
        # T2: means and thresholds come from other images than those judged.
        unless(
            f"{shared} images were calibrated on and judged" if shared else "",
            id="T2",
            title="Calibration on other images",
            good="no image was both calibrated on and judged",
            threshold="any shared image fails",
        ),
        *_false_positives([rate for rate in single if rate.attacker == "naive"], false_positives),
        *_hiding(single),
    )


def _chance(rates: Sequence[TraceRate]) -> Iterator[Check]:
    """T1: is the source named more often than by guessing?"""
    for rate in rates:
        low, high = rate.top1_interval
        above = low > rate.chance
        yield Check(
            "T1",
            "Tracing beats guessing",
            "pass" if above else "warn",
            f"top-1 {percent(rate.top1 or 0.0)} of {rate.n} images, 95 % interval "
            f"{percent(low)} to {percent(high)}, guessing {percent(rate.chance)}",
            "an interval that holds the rate of guessing warns",
            f"eps {rate.eps:.4g}",
        )


def _false_positives(rates: Sequence[TraceRate], allowed: float) -> Iterator[Check]:
    """T3: does the threshold hold on outsiders that it was not chosen on?"""
    for rate in rates:
        worst = max(rate.outsiders, key=lambda o: o.accused / max(o.n, 1), default=None)
        if worst is None or worst.n == 0:
            continue
        low, _ = wilson_interval(worst.accused, worst.n)
        yield Check(
            "T3",
            "None of ours",
            "warn" if low > allowed else "pass",
            f"{worst.accused} of {worst.n} images made on {worst.name} accuse a device "
            f"({percent(worst.accused / worst.n)}, allowed {percent(allowed)})",
            "an outsider whose 95 % interval lies above the allowed share warns",
            f"eps {rate.eps:.4g}",
        )


def _hiding(rates: Sequence[TraceRate]) -> Iterator[Check]:
    """T4: what is left of the figures when the attacker hides?"""
    hiding = {rate.eps: rate for rate in rates if rate.attacker == "hiding"}
    for rate in rates:
        if rate.attacker != "naive" or rate.eps not in hiding:
            continue
        hidden = hiding[rate.eps]
        before, after = rate.top1 or 0.0, hidden.top1 or 0.0
        yield Check(
            "T4",
            "Figures hold for attackers who hide",
            graded(before - after, HIDING_TOLERANCE, 1.0),
            f"top-1 {percent(before)} for naive attackers, {percent(after)} for one who hides; "
            f"rightly accused {rate.convicted} of {rate.n} and {hidden.convicted} of {hidden.n}",
            f"a fall of more than {percent(HIDING_TOLERANCE)} warns",
            f"eps {rate.eps:.4g}",
        )
