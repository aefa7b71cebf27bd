"""M5, M6, M8, M13: do the rates agree with each other?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from typing import get_args

from fleet.audit.core.checks.verdicts import (
    Excess,
    diagonal,
    excess_check,
    percent,
    points,
    worst_matrix,
)
from fleet.audit.core.evidence import Evidence
from fleet.audit.core.result import Check, Protocol

EPS_WANTED = 5
MONOTONE_TOLERANCE = 0.01
CHANCE_EPS = 0.5
CHANCE_EVADE = 0.95
RATE_TOLERANCE = 0.005
PROTOCOL_GAP = 0.05


def monotone(evidence: Evidence) -> Iterator[Check]:
    """M5: a larger eps may not give a smaller rate, and half the pixel range must break all."""
    for protocol in get_args(Protocol):
        rates = {eps: diagonal(worst_matrix(evidence, protocol, eps)) for eps in evidence.eps}
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
    for protocol in get_args(Protocol):
        excesses = []
        for eps in evidence.eps:
            attacked = diagonal(worst_matrix(evidence, protocol, eps))
            for floor in evidence.noise:
                rate = floor.outcome.rate("evade")
                if floor.eps != eps or rate is None:
                    continue
                words = (
                    f"{floor.victim} at eps {eps:.4g}: noise evades {percent(rate)}, "
                    f"gradients {percent(attacked[floor.victim])}"
                )
                excesses.append(Excess(rate - attacked[floor.victim], words))
        yield from excess_check(
            excesses,
            id="M6",
            title="Gradients beat noise",
            tolerance=RATE_TOLERANCE,
            notice=0.0,
            good="no victim is evaded more by sign noise than by its own gradients",
            bad="sign noise is stronger",
            threshold=f"noise ahead at all warns, by more than {points(RATE_TOLERANCE)} fails",
            subject=protocol,
        )


def transfer(evidence: Evidence) -> Iterator[Check]:
    """M8: images made on another device may not do better than those made on the victim."""
    if len(evidence.devices) < 2:
        return
    for protocol in get_args(Protocol):
        excesses = []
        for eps in evidence.eps:
            matrix = worst_matrix(evidence, protocol, eps)
            own = diagonal(matrix)
            for cell in matrix.cells:
                rate = cell.outcome.rate("evade")
                if cell.surrogate == cell.victim or rate is None:
                    continue
                words = (
                    f"{cell.surrogate} on {cell.victim} at eps {eps:.4g}: {percent(rate)}, "
                    f"white-box {percent(own[cell.victim])}"
                )
                excesses.append(Excess(rate - own[cell.victim], words))
        yield from excess_check(
            excesses,
            id="M8",
            title="Transfer below white-box",
            tolerance=RATE_TOLERANCE,
            notice=0.0,
            good="no transfer cell exceeds its victim's white-box rate",
            bad="transfer is stronger than white-box",
            threshold=f"transfer ahead at all warns, by more than {points(RATE_TOLERANCE)} fails",
            subject=protocol,
        )


def two_protocols(evidence: Evidence) -> Iterator[Check]:
    """M13: the paper's loss and the adaptive objective must agree."""
    excesses = []
    for eps in evidence.eps:
        paper = diagonal(worst_matrix(evidence, "paper", eps))
        adaptive = diagonal(worst_matrix(evidence, "adaptive", eps))
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
