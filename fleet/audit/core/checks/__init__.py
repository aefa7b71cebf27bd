"""Reliability checks: would a hostile reviewer believe the figures?

Pure functions from :class:`~fleet.audit.core.evidence.Evidence` to verdicts. Rules, thresholds and
their sources are in docs/audit-checks.md. A check that has nothing to look at (one eps only) gives
no verdict. A check's subject begins with the protocol whose figures it is about; an empty one
concerns all figures.
"""

from collections.abc import Callable, Iterable

from fleet.audit.core.checks import comparisons, rates, standing
from fleet.audit.core.evidence import Evidence
from fleet.audit.core.gates import Flag, flag, masked
from fleet.audit.core.result import Check

__all__ = ["Flag", "flag", "masked", "run_checks"]

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
    return tuple(check for rule in _RULES for check in rule(evidence))
