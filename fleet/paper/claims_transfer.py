"""Claims about Figure 3: larger alpha and beta, transfer between encodings, asymmetry.

A figure on a stand-in is evidence and decides nothing, as with the tables.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from fleet.audit.core.result import Protocol
from fleet.paper.claims_result import Claim, ClaimVerdict
from fleet.paper.figure3_result import Figure3
from fleet.paper.figure3_statistics import Contrast, Relation, Trend

COMMAND = "fleet reproduce figure3"


def larger(matrices: Sequence[Figure3]) -> Claim:
    """Judge "bigger alpha and beta increase the robustness".

    By both counts: a wider gap turns wrong classes into None, which *flip* takes for robustness,
    and a narrower interval turns right ones into None, which *evade* takes for its lack.
    """
    honest = [trend for found in _deciding(matrices) for trend in _trends(found, "adaptive")]
    masked = [trend for found in _deciding(matrices) for trend in _trends(found, "paper")]
    directions = {trend.direction for trend in honest}
    verdict: ClaimVerdict = "not measured"
    if directions == {"falls"}:
        verdict = "holds"
    elif "falls" in directions and "rises" not in directions:
        verdict = "undecided"
    elif "falls" not in directions and any(trend.direction == "falls" for trend in masked):
        verdict = "holds only under the paper's protocol"
    elif honest:
        verdict = "does not hold"
    return Claim(
        id="larger",
        words="Larger alpha and beta increase the robustness",
        place="section 3.4, Figure 3",
        verdict=verdict,
        evidence=tuple(
            f"{found.title}, eps {trend.eps:g}, adaptive protocol, {trend.kind} {trend.measure}: "
            f"{trend.words}; {_levels(trend)}"
            for found in matrices
            for trend in _trends(found, "adaptive")
        ),
        rule="holds if the adaptive evade and flip rates, white-box and onto victims, all fall "
        "with alpha and with beta (permutation test over networks, p <= 0.05); does not hold if "
        "one of them rises, or none falls; undecided if some fall and the others show no trend; "
        "a stand-in decides nothing",
        command=COMMAND,
    )


def hard(matrices: Sequence[Figure3]) -> Claim:
    """Judge "adversarial examples hardly transfer between different alpha and beta"."""
    contrasts = [c for found in _deciding(matrices) for c in _contrasts(found, "adaptive")]
    evidence = []
    for found in matrices:
        evidence += [
            f"{found.title}, eps {c.eps:g}: transfer, {c.words}; {_groups(found, c)}"
            for c in _contrasts(found, "adaptive")
        ]
        evidence += [
            f"{found.title}, eps {eps:g}: {found.power('adaptive', eps, 'evade')}"
            for eps in found.eps
        ]
    verdict: ClaimVerdict = "not measured"
    if contrasts:
        verdict = "does not hold"
        shown = [c.estimate.p <= 0.05 and c.estimate.difference > 0 for c in contrasts]
        if all(shown):
            verdict = "holds"
        elif any(shown):
            verdict = "undecided"
    return Claim(
        id="hard",
        words="Different alpha and beta make transfer between devices hard",
        place="section 3.4, Figure 3",
        verdict=verdict,
        evidence=tuple(evidence),
        rule="holds if adaptive transfer between networks of different beta/(alpha+beta) is lower "
        "than between networks of one encoding, which differ in their seed alone (permutation "
        "test over networks, p <= 0.05); a stand-in decides nothing",
        command=COMMAND,
    )


def asymmetric(matrices: Sequence[Figure3]) -> Claim:
    """Judge "the transferability is asymmetric for different tasks"."""
    evidence, beyond = [], []
    for found in matrices:
        for entry in found.asymmetries:
            if (entry.protocol, entry.kind) != ("adaptive", "evade") or entry.relation is None:
                continue
            if entry.relation == "different" and found.same_data:
                beyond.append(entry.beyond_sampling)
            evidence.append(
                f"{found.title}, eps {entry.eps:g}, {entry.relation} encoding: mean gap "
                f"{entry.gaps.mean:.3f} over {entry.gaps.count} pairs, sampling alone "
                f"{entry.sampling:.3f} (95 % below {entry.upper:.3f})"
            )
        evidence += [
            f"{found.title}, eps {c.eps:g}: gap, {c.words}"
            for c in _contrasts(found, "adaptive", quantity="asymmetry")
        ]
    verdict: ClaimVerdict = "not measured"
    if beyond:
        verdict = "does not hold"
        if all(beyond):
            verdict = "holds"
        elif any(beyond):
            verdict = "undecided"
    return Claim(
        id="asymmetric",
        words="The transfer matrix is not symmetric",
        place="Figure 3",
        verdict=verdict,
        evidence=tuple(evidence),
        rule="holds if pairs of different encodings are less symmetric than the sampling of images "
        "explains; pairs of one encoding say whether that is due to the encoding; a "
        "stand-in decides nothing",
        command=COMMAND,
    )


def _deciding(matrices: Sequence[Figure3]) -> list[Figure3]:
    return [found for found in matrices if found.same_data]


def _trends(found: Figure3, protocol: Protocol) -> Iterator[Trend]:
    for trend in found.trends:
        wanted = trend.measure in {"white-box", "onto victims"} and trend.protocol == protocol
        if wanted and trend.varied in {"alpha", "beta"}:
            yield trend


def _levels(trend: Trend) -> str:
    return ", ".join(f"{level.value:g}: {level.rates.mean:.3f}" for level in trend.levels)


def _contrasts(
    found: Figure3, protocol: Protocol, quantity: str = "transfer"
) -> Iterator[Contrast]:
    """Same encoding against truly different ones, evade."""
    for c in found.contrasts:
        relations = (c.quantity, c.first, c.second) == (quantity, "same", "different")
        if relations and (c.protocol, c.kind) == (protocol, "evade"):
            yield c


def _groups(found: Figure3, contrast: Contrast) -> str:
    def mean(relation: Relation) -> str:
        for group in found.groups:
            place = (group.relation, group.protocol, group.eps)
            if place == (relation, contrast.protocol, contrast.eps):
                return f"{group.rates.evade.mean:.3f}"
        return "none"

    return f"means: same encoding {mean('same')}, different {mean('different')}"
