"""Reliability checks: would a hostile reviewer believe the figures?

Pure functions from :class:`~fleet.audit.core.evidence.Evidence` to verdicts. Rules, thresholds and
their sources are in docs/audit-checks.md. A check that has nothing to look at (one eps only) gives
no verdict. A check's subject begins with the protocol whose figures it is about; an empty one
concerns all figures.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace

from fleet.audit.core.checks import comparisons, rates, standing
from fleet.audit.core.evidence import Evidence
from fleet.audit.core.gates import Flag, flag
from fleet.audit.core.result import Check

__all__ = ["Flag", "flag", "run_checks"]

_RULES: tuple[Callable[[Evidence], Iterable[Check]], ...] = (
    standing.zero_gradient,
    standing.consistency,
    standing.output_gradient,
    standing.one_step,
    rates.monotone,
    rates.noise,
    standing.uniform_noise,
    standing.gradient_free,
    rates.transfer,
    standing.converged,
    standing.silent_success,
    rates.repeatable,
    rates.constraints,
    rates.two_protocols,
    comparisons.secret,
    rates.rejects,
    rates.worst_case,
    comparisons.control,
    comparisons.decode_rule,
    comparisons.binarization,
)


def run_checks(evidence: Evidence) -> tuple[Check, ...]:
    """Make every check that the evidence allows, in order of id."""
    return tuple(_weighed(check, evidence) for rule in _RULES for check in rule(evidence))


_AGAIN = {"M2", "M7", "M9", "M10"}
"""Checks that look again at what stands; M6 does with uniform noise."""


def _weighed(check: Check, evidence: Evidence) -> Check:
    """What a brief audit left untried cannot pass: it warns."""
    left = any(
        check.about(retry.protocol) and retry.examined < retry.survivors
        for probes in evidence.probes
        for retry in probes.retries
    )
    again = check.id in _AGAIN or check.subject.endswith(" uniform")
    if not (evidence.brief and left and again) or check.verdict != "pass":
        return check
    finding = f"too few of them tried again to judge (brief): {check.finding}"
    return replace(check, verdict="warn", finding=finding)
