"""Q1-Q4: can the figures of a query audit be believed?

Nothing in this module imports torch.
"""

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise

from fleet.audit.core.checks.verdicts import Excess, excess_check, percent, points
from fleet.audit.core.result import Check
from fleet.audit.query.result import QueryCurve, QueryMethod, WhiteBox

WHITE_BOX_TOLERANCE = 0.005
NOISE_TOLERANCE = 0.005
SCORES_TOLERANCE = 0.05


def query_checks(curves: Sequence[QueryCurve], white_box: Sequence[WhiteBox]) -> tuple[Check, ...]:
    """Run every check on the curves, and on the white-box figures of the same images."""
    return (
        *_white_box(curves, white_box),
        *_monotone(curves),
        # An attack that learns from answers must beat random signs with as many queries.
        *_ahead(
            curves,
            reference="noise",
            judged=("square", "decision", "transfer+queries"),
            id="Q3",
            title="Answers beat noise",
            tolerance=NOISE_TOLERANCE,
            good="every method evades at least what random signs do with as many queries",
            bad="random signs do better",
        ),
        # Who sees scores sees labels too; finding less means that the search got stuck.
        *_ahead(
            curves,
            reference="decision",
            judged=("square",),
            id="Q4",
            title="Scores no worse than labels",
            tolerance=SCORES_TOLERANCE,
            good="Square finds what the decision attack finds",
            bad="Square is behind an attack that sees less; its rates are lower bounds",
        ),
    )


def _rate(curve: QueryCurve) -> float:
    return curve.last.outcome.rate("evade") or 0.0


def _where(curve: QueryCurve) -> str:
    return f"{curve.victim} at eps {curve.eps:.4g}"


def _white_box(curves: Sequence[QueryCurve], white_box: Sequence[WhiteBox]) -> Iterator[Check]:
    """Q1: whoever has the weights can do whatever an attacker without them can."""
    own = {(found.victim, found.eps): found.outcome.rate("evade") or 0.0 for found in white_box}
    excesses = []
    for curve in curves:
        reference = own[curve.victim, curve.eps]
        words = (
            f"{curve.method} on {_where(curve)} evades {percent(_rate(curve))}, "
            f"its own gradients {percent(reference)}"
        )
        excesses.append(Excess(_rate(curve) - reference, words))
    yield from excess_check(
        excesses,
        id="Q1",
        title="Queries below white-box",
        tolerance=WHITE_BOX_TOLERANCE,
        good="no attack without gradients beats the victim's own gradients",
        bad="the white-box figures are masked",
        threshold=f"queries ahead by more than {points(WHITE_BOX_TOLERANCE)} fails",
        subject="adaptive",
    )


def _monotone(curves: Sequence[QueryCurve]) -> Iterator[Check]:
    """Q2: more queries may not evade fewer images."""
    excesses = [
        Excess(
            (before.outcome.evade - after.outcome.evade) / max(curve.n, 1),
            f"{curve.method} on {_where(curve)} from {before.queries} to {after.queries} queries",
        )
        for curve in curves
        if curve.counted == "image"
        for before, after in pairwise(curve.points)
    ]
    yield from excess_check(
        excesses,
        id="Q2",
        title="Rates grow with queries",
        tolerance=0.0,
        good="no evade rate falls as the budget grows",
        bad="evade rate falls",
        threshold="any fall fails",
        subject="",
    )


def _ahead(
    curves: Sequence[QueryCurve],
    *,
    reference: QueryMethod,
    judged: tuple[QueryMethod, ...],
    id: str,
    title: str,
    tolerance: float,
    good: str,
    bad: str,
) -> Iterator[Check]:
    """Warn where the reference is ahead of a judged method by more than the tolerance."""
    floor = {(c.victim, c.eps): _rate(c) for c in curves if c.method == reference}
    excesses = [
        Excess(
            floor[curve.victim, curve.eps] - _rate(curve),
            f"{curve.method} on {_where(curve)} evades {percent(_rate(curve))}, "
            f"{reference} {percent(floor[curve.victim, curve.eps])}",
        )
        for curve in curves
        if curve.method in judged and (curve.victim, curve.eps) in floor
    ]
    yield from excess_check(
        excesses,
        id=id,
        title=title,
        tolerance=math.inf,
        notice=tolerance,
        good=good,
        bad=bad,
        threshold=f"{reference} ahead by more than {points(tolerance)} warns",
        subject="",
    )
