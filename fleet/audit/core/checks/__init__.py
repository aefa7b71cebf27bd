"""Reliability checks: would a hostile reviewer believe the figures?

Pure functions from :class:`~fleet.audit.core.evidence.Evidence` to verdicts. Rules, thresholds and
their sources are in docs/audit-checks.md. A check that has nothing to look at (one eps only) gives
no verdict. A check's subject begins with the protocol whose figures it is about; an empty one
concerns all figures.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from fleet.audit.core.checks.accounting import constraints, rejects, repeatable, worst_case
from fleet.audit.core.checks.comparisons import binarization, control, decode_rule, secret
from fleet.audit.core.checks.gradients import one_step, output_gradient, zero_gradient
from fleet.audit.core.checks.rates import monotone, noise, transfer, two_protocols
from fleet.audit.core.checks.standing import (
    consistency,
    converged,
    gradient_free,
    silent_success,
    uniform_noise,
)
from fleet.audit.core.evidence import Evidence
from fleet.audit.core.gates import Flag, flag, masked
from fleet.audit.core.result import Check

__all__ = ["Flag", "flag", "masked", "run_checks"]

_RULES: tuple[Callable[[Evidence], Iterable[Check]], ...] = (
    zero_gradient,
    consistency,
    output_gradient,
    one_step,
    monotone,
    noise,
    uniform_noise,
    gradient_free,
    transfer,
    converged,
    silent_success,
    repeatable,
    constraints,
    two_protocols,
    secret,
    rejects,
    worst_case,
    control,
    decode_rule,
    binarization,
)


def run_checks(evidence: Evidence) -> tuple[Check, ...]:
    """Make every check that the evidence allows, in order of id."""
    return tuple(check for rule in _RULES for check in rule(evidence))
