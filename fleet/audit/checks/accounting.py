"""M11, M12, M15: are the figures about what they claim to be about?"""

from __future__ import annotations

from collections.abc import Iterator

from fleet.audit.checks.verdicts import percent, worst_matrix
from fleet.audit.evidence import Evidence
from fleet.audit.result import Check

CLEAN_REJECTS = 0.05


def repeatable(evidence: Evidence) -> Iterator[Check]:
    """M11: the same image twice must give the same output."""
    random = [score.victim for score in evidence.scores if not score.repeatable]
    yield Check(
        id="M11",
        title="Outputs repeat",
        verdict="fail" if random else "pass",
        finding=f"two forward passes differ: {', '.join(random)}"
        if random
        else "two forward passes of every device gave the same bits",
        threshold="any difference fails",
    )


def constraints(evidence: Evidence) -> Iterator[Check]:
    """M12: the saved 8-bit images lie in the eps ball."""
    outside = [
        f"{reach.surrogate} at eps {reach.eps:.4g}: {reach.largest} levels, {reach.allowed} allowed"
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
        finding="; ".join(outside) or f"all within the whole 8-bit levels allowed ({levels})",
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
