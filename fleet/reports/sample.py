"""A sample of a fleet's pairs in the page: what was tried, the estimate, and what was not tried."""

from __future__ import annotations

from collections.abc import Iterator

from fleet.audit.transfer.estimate import Drawn
from fleet.audit.transfer.result import PairSample, SampledPairs
from fleet.reports.report import Block
from fleet.reports.tables import COUNT, EPS, INTERVAL, NAME, RATE, Column, Table
from fleet.reports.wording import format_rate

Pair = tuple[float, tuple[str, str, float]]


def sample_blocks(sample: PairSample) -> Iterator[Block]:
    """A sampled audit as parts of a page."""
    surrogates, victims = sample.surrogates.names, sample.victims.names
    yield (
        "prose",
        f"{len(surrogates)} of {sample.devices} devices were attacked, and their images tried on "
        f"{len(victims)}: {sample.tried:,} of {sample.pairs:,} pairs of surrogate and victim, "
        f"{sample.tried / sample.pairs:.2%}. The estimate is for all pairs of the fleet; its "
        "interval counts which surrogates, victims and images were drawn.",
    )
    yield "described", estimates(sample)
    yield "described", _drawn(sample)
    yield (
        "described",
        Table(
            "The worst pairs of the sample",
            [(found.eps, pair) for found in sample.at for pair in found.worst],
            (
                Column[Pair](lambda p: p[1][0], NAME, "surrogate"),
                Column(lambda p: p[1][1], NAME, "victim"),
                Column(lambda p: p[0], EPS, "eps"),
                Column(lambda p: p[1][2], RATE, "evade"),
            ),
            worst=lambda pair: pair[1][2],
        ),
    )
    yield "lines", untried(sample)
    for words, names in (("attacked", surrogates), ("tried on", victims)):
        yield "details", f"Devices {words}", [("prose", ", ".join(names))]


def untried(sample: PairSample) -> list[str]:
    """What a sample leaves open."""
    neither = sample.devices - len({*sample.surrogates.names, *sample.victims.names})
    return [
        f"Not tried: {sample.pairs - sample.tried:,} pairs. {neither} devices were neither "
        "attacked nor tried on.",
        "A worse pair than these may be among them: a sample bounds no worst case. Certificates "
        "do, on every device that has them.",
        "Reliability checks and gates need a whole audit, for example of a part of the fleet: "
        "nothing here says that the attack was not blind.",
    ]


def estimates(sample: PairSample) -> Table[SampledPairs]:
    """The estimate at each eps, and the rates of the pairs that were tried."""

    def quantile(at: SampledPairs, place: int) -> float | None:
        return at.quantiles[place] if at.quantiles else None

    def worst(at: SampledPairs) -> str | None:
        surrogate, victim, rate = at.worst[0] if at.worst else ("", "", None)
        return None if rate is None else f"{format_rate(rate)} ({surrogate} on {victim})"

    return Table(
        "Adaptive evade rate. Estimate: mean over all pairs of the fleet. Standard errors: by what "
        "was drawn. Lowest to highest: of the pairs tried.",
        sample.at,
        (
            Column(lambda at: at.eps, EPS, "eps", "eps"),
            Column(lambda at: at.estimate.rate, RATE, "estimate", "mean", bold=lambda _: True),
            Column(lambda at: (at.estimate.low, at.estimate.high), INTERVAL, "95 %", "95 %"),
            Column(lambda at: at.estimate.from_surrogates, RATE, "by surrogates"),
            Column(lambda at: at.estimate.from_victims, RATE, "by victims"),
            Column(lambda at: at.estimate.from_images, RATE, "by images"),
            Column(lambda at: quantile(at, 0), RATE, "lowest"),
            Column(lambda at: quantile(at, 2), RATE, "median", "median pair"),
            Column(lambda at: quantile(at, 3), RATE, "90 %"),
            Column(lambda at: quantile(at, 4), RATE, "highest"),
            Column(worst, NAME, terminal="worst pair of the sample"),
        ),
    )


def _drawn(sample: PairSample) -> Table[tuple[str, int]]:
    def sizes(drawn: Drawn) -> dict[str, int]:
        return dict(zip(drawn.strata, drawn.sizes, strict=True))

    strata = sizes(sample.surrogates) | sizes(sample.victims)
    return Table(
        "Devices drawn from each stratum: task, network, head, method",
        list(strata.items()),
        (
            Column(lambda row: row[0], NAME, "stratum"),
            Column(lambda row: row[1], COUNT, "devices"),
            Column(lambda row: sample.surrogates.strata.count(row[0]), COUNT, "attacked"),
            Column(lambda row: sample.victims.strata.count(row[0]), COUNT, "tried on"),
        ),
    )
