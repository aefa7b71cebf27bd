"""Claims about Figure 2: tighter clusters, better features."""

from __future__ import annotations

from collections.abc import Sequence

from fleet.paper.claims_result import Claim, ClaimVerdict
from fleet.paper.figure2_result import Comparison, Figure2, Measure

RULE = (
    "holds if every INT network is above every TRA network of its backbone by each of the "
    "measures; on some networks only if that is so on some backbones; does not hold if on none, "
    "and on some backbone every INT network is below by one of them; undecided otherwise"
)


def tighter(found: Figure2 | None) -> Claim:
    """Judge "examples of one category aggregate more tightly"."""
    return Claim(
        id="tighter",
        words="INT's penultimate features form tighter clusters",
        place="section 3.2, Figure 2",
        verdict=_verdict(found, ("silhouette", "silhouette_standardised")),
        evidence=tuple(_words(found, ("silhouette", "silhouette_standardised"))),
        rule=f"silhouette of the true classes, raw and standardised features: {RULE}",
        command="fleet reproduce figure2",
    )


def better(found: Figure2 | None) -> Claim:
    """Judge "a better feature representation"."""
    return Claim(
        id="better",
        words="INT learns a better feature representation",
        place="section 3.2, Figure 2",
        verdict=_verdict(found, ("purity", "probe")),
        evidence=tuple(_words(found, ("purity", "probe", "effective_dimension"))),
        rule=f"nearest-neighbour purity and accuracy of a linear probe: {RULE}",
        command="fleet reproduce figure2",
    )


def _verdict(found: Figure2 | None, measures: Sequence[Measure]) -> ClaimVerdict:
    if found is None:
        return "not measured"
    lines = [[found.comparison(name, m) for m in measures] for name in found.networks]
    above = [all(line.lowest > 0 for line in of_network) for of_network in lines]
    if all(above):
        return "holds"
    if any(above):
        return "holds on some networks only"
    below = any(line.highest < 0 for of_network in lines for line in of_network)
    return "does not hold" if below else "undecided"


def _words(found: Figure2 | None, measures: Sequence[Measure]) -> list[str]:
    if found is None:
        return []
    return [
        f"{measure.replace('_', ' ')}: "
        + "; ".join(_line(found.comparison(name, measure)) for name in found.networks)
        for measure in measures
    ]


def _line(line: Comparison) -> str:
    return f"{line.network} TRA {line.tra.mean:.3f}, INT {line.interval.mean:.3f}"
