"""Claims that Tables 1 and 2 settle: robustness, its price, and immunity.

A table on a stand-in is evidence and decides nothing: its images are not the paper's, it has one
network of each kind, and two cores do not train those to the paper's accuracy.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

from fleet.paper.claims_result import Claim, ClaimVerdict
from fleet.paper.table_result import Honest, Spread, Table, TableRow

Side = Literal["lower", "higher", "same"]

CLOSE = 0.01
"""INT keeps its accuracy if it is at most this far below TRA's."""

IMMUNE, BROKEN = 0.05, 0.5
"""Share of the images that minimum-norm attacks find an adversarial image for. Half refutes
immunity: what such an attack misses may be its own failure, what it finds is not."""


def robust(tables: Sequence[Table]) -> Claim:
    """Judge "interval-label classification is much more robust"."""
    evidence: list[str] = []
    masked: list[Side] = []
    honest: list[Side] = []
    for table in tables:
        paper, evade, flip = _paper_sides(table), _sides(table, "evade"), _sides(table, "flip")
        if table.same_data:
            masked += paper
            honest += evade
        evidence.append(f"{table.title}: {_robust_words(table, paper, evade, flip)}")
    return Claim(
        id="robust",
        words="INT is much more robust than TRA",
        place="section 3.3, Tables 1 and 2",
        verdict=_verdict(masked, honest),
        evidence=tuple(evidence),
        rule="holds if every INT network evades less often than every TRA network of its backbone "
        "under the adaptive protocol, in every cell; only under the paper's protocol if that is "
        "so there in at least nine cells of ten; on the paper's data, a stand-in decides nothing",
        command="fleet reproduce table1",
    )


def no_tradeoff(tables: Sequence[Table]) -> Claim:
    """Judge "accuracy and robustness are no longer at odds"."""
    evidence, kept = [], []
    masked: list[Side] = []
    honest: list[Side] = []
    for table in tables:
        for tra, interval in _pairs(table):
            if table.same_data:
                kept.append(tra.clean.mean - interval.clean.mean <= CLOSE)
            last = interval.honest[-1]
            evidence.append(
                f"{table.title}, {tra.backbone}: clean TRA {_spread(tra.clean)}, "
                f"{interval.words} {_spread(interval.clean)}, evaded at eps {last.eps:.3g} under "
                f"the adaptive protocol {_spread(last.evade)}"
            )
        if table.same_data:
            masked += _paper_sides(table)
            honest += _sides(table, "evade")
    verdict = _verdict(masked, honest)
    if verdict != "not measured" and not all(kept):
        verdict = "does not hold"
    return Claim(
        id="no-tradeoff",
        words="INT retains accuracy, and the more accurate it is the more robust: the two are no "
        "longer at odds",
        place="abstract, section 3.3",
        verdict=verdict,
        evidence=tuple(evidence),
        rule=f"as for robustness, and INT's accuracy at most {CLOSE} below TRA's on every backbone",
        command="fleet reproduce table1",
    )


def immune(tables: Sequence[Table]) -> Claim:
    """Judge "immune to C&W, EAD and DeepFool"."""
    found: Counter[str] = Counter()
    tried: Counter[str] = Counter()
    evidence = []
    for table in tables:
        for network in table.networks if table.same_data else ():
            for distance in network.distances if network.task == "int" else ():
                found[distance.attack] += distance.found
                tried[distance.attack] += distance.n
        evidence += [f"{table.title}: {words}" for words in _distance_words(table)]
    shares = [found[name] / n for name, n in tried.items() if n]
    verdict: ClaimVerdict = "not measured"
    if shares:
        verdict = "undecided"
        if min(shares) >= BROKEN:
            verdict = "does not hold"
        elif max(shares) <= IMMUNE:
            verdict = "holds"
    return Claim(
        id="immune",
        words="INT is immune to optimisation-based attacks such as C&W, EAD and DeepFool",
        place="section 2.3",
        verdict=verdict,
        evidence=tuple(evidence),
        rule="does not hold if each attack, its distance written for intervals, finds an image "
        f"that evades for at least {BROKEN:.0%} of the images tried; holds if for at most "
        f"{IMMUNE:.0%}",
        command="fleet reproduce table1",
    )


def _pairs(table: Table) -> Iterator[tuple[TableRow, TableRow]]:
    """TRA beside each INT of each backbone: the paper's head, and ours where there is one."""
    for row in table.rows:
        if row.task == "int":
            yield table.row(row.backbone, "tra"), row


def _sides(table: Table, kind: Literal["flip", "evade"]) -> list[Side]:
    """Where INT lies beside TRA under the adaptive protocol, by backbone and eps."""

    def rate(honest: Honest) -> Spread:
        return honest.evade if kind == "evade" else honest.flip

    return [
        _side(rate(first), rate(second))
        for tra, interval in _pairs(table)
        for first, second in zip(tra.honest, interval.honest, strict=True)
    ]


def _paper_sides(table: Table) -> list[Side]:
    """Where INT's flips lie beside TRA's under the paper's protocol, by backbone and cell."""
    return [
        _side(first.flip, second.flip)
        for tra, interval in _pairs(table)
        for first, second in zip(tra.cells, interval.cells, strict=True)
    ]


def _side(tra: Spread, interval: Spread) -> Side:
    """Lower or higher only if every INT network is so beside every TRA network."""
    if max(interval.values) < min(tra.values):
        return "lower"
    return "higher" if min(interval.values) > max(tra.values) else "same"


def _verdict(masked: Sequence[Side], honest: Sequence[Side]) -> ClaimVerdict:
    if not honest:
        return "not measured"
    if all(side == "lower" for side in honest):
        return "holds"
    under_paper = sum(side == "lower" for side in masked) >= 0.9 * len(masked)
    return "holds only under the paper's protocol" if under_paper else "does not hold"


def _robust_words(
    table: Table, paper: Sequence[Side], evade: Sequence[Side], flip: Sequence[Side]
) -> str:
    counts = Counter(evade)
    first, last = table.eps[0], table.eps[-1]
    return (
        f"under the paper's protocol INT flips less often than TRA in {_count(paper, 'lower')} of "
        f"{len(paper)} cells; under the adaptive one it is evaded less often in "
        f"{counts['lower']} of {len(evade)} cells and more often in {counts['higher']}, and flips "
        f"less often in {_count(flip, 'lower')}; INT is evaded at "
        f"{_range(table, 0)} at eps {first:.3g} and {_range(table, -1)} at eps {last:.3g}"
    )


def _count(sides: Iterable[Side], wanted: Side) -> int:
    return sum(side == wanted for side in sides)


def _range(table: Table, level: int) -> str:
    rates = [v for _, interval in _pairs(table) for v in interval.honest[level].evade.values]
    return f"{min(rates):.3f} to {max(rates):.3f}"


def _distance_words(table: Table) -> Iterator[str]:
    for attack in dict.fromkeys(d.attack for n in table.networks for d in n.distances):
        parts = []
        for task in ("int", "tra"):
            rows = [
                (network.backbone + (" ordinal" if network.audited.head == "ordinal" else ""), d)
                for network in table.networks
                if network.task == task
                for d in network.distances
                if d.attack == attack
            ]
            if not rows:
                continue
            found, n = sum(d.found for _, d in rows), sum(d.n for _, d in rows)
            medians = [
                f"{name} {d.quantiles[1]:.3g}" for name, d in rows if d.quantiles is not None
            ]
            parts.append(
                f"{task.upper()} {found} of {n}, median {rows[0][1].norm} distance "
                f"{', '.join(medians)}"
            )
        yield f"{attack}: {'; '.join(parts)}"


def _spread(found: Spread) -> str:
    return f"{found.mean:.3f}" if found.sd is None else f"{found.mean:.3f} ± {found.sd:.3f}"
