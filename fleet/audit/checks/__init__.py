"""Reliability checks: would a hostile reviewer believe the figures?

Pure functions from :class:`fleet.audit.evidence.Evidence` to verdicts. Rules, thresholds and their
sources are in docs/audit-checks.md. A check that has nothing to look at (one eps only, say) gives
no verdict.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from fleet.audit.checks.accounting import constraints, rejects, repeatable
from fleet.audit.checks.gradients import converged, one_step, output_gradient, zero_gradient
from fleet.audit.checks.rates import monotone, noise, transfer, two_protocols
from fleet.audit.evidence import Evidence
from fleet.audit.result import Check, Protocol, TransferAudit

__all__ = ["masked", "run_checks"]

_RULES: tuple[Callable[[Evidence], Iterable[Check]], ...] = (
    zero_gradient,
    output_gradient,
    one_step,
    monotone,
    noise,
    transfer,
    converged,
    repeatable,
    constraints,
    two_protocols,
    rejects,
)


def run_checks(evidence: Evidence) -> tuple[Check, ...]:
    """Make every check that the evidence allows, in order of id."""
    return tuple(check for rule in _RULES for check in rule(evidence))


def masked(audit: TransferAudit, protocol: Protocol = "adaptive") -> bool:
    """Whether some check says that a protocol's figures cannot be believed.

    The paper's protocol is masked on nearly every interval classifier; a gate for continuous
    integration asks about the adaptive one.
    """
    return any(
        check.verdict == "fail" and check.subject in (protocol, "") for check in audit.checks
    )
