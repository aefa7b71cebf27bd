"""A comparison on a terminal and in the page."""

from collections.abc import Iterator, Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from fleet.reports.comparison import FLEET, Change, Comparison
from fleet.reports.report import Block
from fleet.reports.tables import LIFT, NAME, RATE, WORD, Column, Form, Table
from fleet.reports.wording import format_lift, short_eps, visible

_EPS = Form(short_eps)
_BOUNDS = Form(lambda bounds: " to ".join(map(format_lift, bounds)))

ABOUT = (
    "Accuracy and certified: more is better. White-box, transfer and from the control: share of "
    "rightly named images that adaptive attacks evade, less is better. Interval: 95 %, of the "
    "difference, as if both were counted on other images (Newcombe); on the same images it is "
    "rather too wide."
)


def table(changes: Sequence[Change], title: str) -> Table[Change]:
    """One row for each figure."""
    return Table(
        title,
        changes,
        (
            Column(lambda c: c.what, WORD, "figure", "figure"),
            Column(lambda c: c.where, NAME, "of", "of"),
            Column(lambda c: c.eps, _EPS, "eps", "eps"),
            Column(lambda c: c.before.rate, RATE, "before", "before"),
            Column(lambda c: c.after.rate, RATE, "after", "after"),
            Column(lambda c: c.difference, LIFT, "difference", "change"),
            Column(lambda c: c.interval, _BOUNDS, "95 %", "95 %"),
            Column(_verdict, NAME, "what changed?", "what changed?", bold=_clear),
        ),
        worst=lambda c: abs(c.difference),
    )


def _verdict(change: Change) -> str:
    flagged = change.before.flagged or change.after.flagged
    return f"{change.verdict} ({flagged})" if flagged else change.verdict


def _clear(change: Change) -> bool:
    return change.verdict in {"better", "worse"}


def parts(found: Comparison) -> Iterator[tuple[str, list[Change]]]:
    """The fleet, single devices and pairs that changed, and the others; those that are there."""
    single = [change for change in found.changes if change.where != FLEET]
    for words, changes in (
        ("The fleet as a whole: means over devices or pairs", found.fleet),
        ("Devices and pairs that changed", [c for c in single if _clear(c)]),
        ("Devices and pairs without a clear change", [c for c in single if not _clear(c)]),
    ):
        if changes:
            yield words, changes


def comparison_view(found: Comparison, *, full: bool = False) -> RenderableType:
    """A comparison for a terminal.

    Args:
        found: What changed.
        full: Show figures without a clear change too.
    """
    shown = [(w, c) for w, c in parts(found) if full or "without" not in w]
    tables = [part for words, changes in shown for part in table(changes, words).printed()]
    names = Text(f"before: {visible(found.before)}\nafter:  {visible(found.after)}")
    notes = [Text(f"careful: {visible(words)}") for words in found.cautions]
    missing = [Text(visible(words)) for words in found.missing]
    return Group(names, *tables, *notes, *missing, Text(found.sentence, style="bold"))


def comparison_blocks(found: Comparison) -> Iterator[Block]:
    """A comparison as parts of a page."""
    yield "prose", f"{found.sentence} {ABOUT}"
    yield "lines", [f"Before: {found.before}", f"After: {found.after}"]
    if found.cautions or found.missing:
        yield "lines", [*(f"Careful: {w}" for w in found.cautions), *found.missing]
    for words, changes in parts(found):
        block: Block = ("described", table(changes, words))
        yield ("details", words, [block]) if "without" in words else block
