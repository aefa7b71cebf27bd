"""Judge the paper's claims by results that are there; each verdict follows from a stated rule."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

from fleet.paper.claims_features import better, tighter
from fleet.paper.claims_result import Claim, Claims
from fleet.paper.claims_tables import immune, no_tradeoff, robust
from fleet.paper.claims_transfer import asymmetric, hard, larger
from fleet.paper.convergence_result import Convergence, Speed
from fleet.paper.figure2_result import Figure2
from fleet.paper.figure3_result import Figure3
from fleet.paper.table_result import Table
from fleet.paper.workspace import Workspace

TABLES = ("table1", "table2", "table2-standin")
MATRICES = ("figure3-mnist", "figure3", "figure3-standin")
"""Results that are looked for; some stand in for others, and all that are there count."""


Found = TypeVar("Found", Table, Figure3, Figure2, Convergence)


@dataclass(frozen=True)
class Results:
    """What has been reproduced so far.

    Attributes:
        tables: Tables 1 and 2.
        matrices: Figure 3 on each data set.
        features: Figure 2, or None.
        convergence: Learning curves, or None.
    """

    tables: tuple[Table, ...]
    matrices: tuple[Figure3, ...]
    features: Figure2 | None
    convergence: Convergence | None


def judge_claims(workspace: Workspace) -> Claims:
    """Judge every claim; one whose result is not there is ``not measured``.

    Raises:
        AuditError: A result is damaged.
    """
    results = Results(
        tables=tuple(_there(Table, workspace, TABLES)),
        matrices=tuple(_there(Figure3, workspace, MATRICES)),
        features=next(iter(_there(Figure2, workspace, ("figure2",))), None),
        convergence=next(iter(_there(Convergence, workspace, ("convergence",))), None),
    )
    named = {table.title: table.created for table in results.tables}
    named |= {figure.title: figure.created for figure in results.matrices}
    if results.features is not None:
        named["Figure 2"] = results.features.created
    if results.convergence is not None:
        named["Convergence"] = results.convergence.created
    return Claims(
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        claims=judge(results),
        sources=named,
    )


def judge(results: Results) -> tuple[Claim, ...]:
    """Judge every claim, in the order of the paper."""
    return (
        robust(results.tables),
        no_tradeoff(results.tables),
        immune(results.tables),
        tighter(results.features),
        better(results.features),
        larger(results.matrices),
        hard(results.matrices),
        asymmetric(results.matrices),
        slower(results.convergence),
    )


def slower(found: Convergence | None) -> Claim:
    """Judge "the interval-label classification task converges slower"."""

    def claim(verdict: Any, evidence: Sequence[str]) -> Claim:
        return Claim(
            id="slower",
            words="Interval-label classification converges slower than the traditional task",
            place="conclusion",
            verdict=verdict,
            evidence=tuple(evidence),
            rule="holds if INT as in the paper needs more epochs to the goal than TRA, each at its "
            "own quickest learning rate, or never gets there",
            command="fleet reproduce convergence",
        )

    if found is None:
        return claim("not measured", ())
    tra, paper, scaled, ordinal = (
        found.best(variant) for variant in ("tra", "paper", "scaled", "ordinal")
    )
    words = [
        f"{name}: {_epochs(speed)} to {found.goal:.0%} of the validation images"
        for name, speed in (
            ("TRA", tra),
            ("INT as in the paper", paper),
            ("INT with the scaled loss and outputs that start in the range", scaled),
            ("INT with the ordinal head", ordinal),
        )
    ]
    if tra is None or tra.mean is None:
        return claim("undecided", words)
    slow = paper is None or paper.mean is None or paper.mean > tra.mean
    for name, speed in (("the paper's head", scaled), ("the ordinal head", ordinal)):
        met = speed is not None and speed.mean is not None and speed.mean <= tra.mean
        words.append(
            f"our goal, INT in no more epochs than TRA, is {'met' if met else 'missed'} with {name}"
        )
    return claim("holds" if slow else "does not hold", words)


def _epochs(speed: Speed | None) -> str:
    if speed is None or speed.mean is None:
        return "not on every seed, at no learning rate"
    each = ", ".join(f"{curve.reached:.2f}" for curve in speed.curves if curve.reached is not None)
    return f"{speed.mean:.2f} epochs (seeds {each}; learning rate {speed.learning_rate:g})"


def _there(kind: type[Found], workspace: Workspace, names: Sequence[str]) -> list[Found]:
    return [kind.load(path) for name in names if (path := workspace.result(name)).is_file()]
