"""What holds of the paper: one table of claims, each with the rule that judges it.

A verdict follows from results by its rule. What was made on a stand-in is evidence and decides
nothing: its images are not the paper's, and its networks are few. Nothing here imports torch.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

from fleet.audit.core.document import Stored
from fleet.audit.core.result import Protocol
from fleet.paper.figure2_result import Figure2, Measure
from fleet.paper.figure3_result import Asymmetry, Contrast, Figure3, Relation, Trend
from fleet.paper.rows import Row, Rows
from fleet.paper.table_result import Spread, Table, distance_words
from fleet.paper.workspace import Workspace
from fleet.provenance import utc_now
from fleet.reports.wording import ABSENT, format_rate

ClaimVerdict = Literal[
    "holds",
    "holds only under the paper's protocol",
    "holds on some networks only",
    "does not hold",
    "undecided",
    "not measured",
]

CLOSE = 0.01
"""INT keeps its accuracy if it is at most this far below TRA's."""

IMMUNE, BROKEN = 0.05, 0.5
"""Share of the images that minimum-norm attacks find an adversarial image for. Half refutes
immunity: what such an attack misses may be its own failure, what it finds is not."""

Side = Literal["lower", "higher", "same"]
Found = TypeVar("Found", Table, Figure3, Figure2, Rows)


@dataclass(frozen=True)
class Claim:
    """One claim of the paper, judged.

    Attributes:
        id: A word, for links.
        words: The claim, in our words.
        place: Where the paper makes it.
        verdict: What holds of it. ``undecided``: it was measured, and the networks are too few to
            tell.
        figure: The figures that decide it, one line; empty if nothing was measured.
        evidence: Sentences, each with its figures.
        rule: How the verdict follows from the figures.
        command: What makes the figures again.
    """

    id: str
    words: str
    place: str
    verdict: ClaimVerdict
    figure: str
    evidence: tuple[str, ...]
    rule: str
    command: str


@dataclass(frozen=True)
class Claims(Stored, schema="fleet.reproduction.claims/2"):
    """All of them.

    Attributes:
        created: ISO 8601 UTC time.
        claims: In the order of the paper.
        sources: Title and creation time of each result that was read.
    """

    created: str
    claims: tuple[Claim, ...]
    sources: dict[str, str]


@dataclass(frozen=True)
class Results:
    """What has been reproduced so far.

    Attributes:
        tables: Tables 1 and 2.
        matrices: Figure 3 on each data set.
        features: Figure 2, or None.
        convergence: Learning curves, or None.
    """

    tables: tuple[Table, ...] = ()
    matrices: tuple[Figure3, ...] = ()
    features: Figure2 | None = None
    convergence: Rows | None = None


@dataclass(frozen=True)
class Judged:
    """What a rule makes of the results; the fields are those of :class:`Claim`."""

    verdict: ClaimVerdict = "not measured"
    figure: str = ""
    evidence: Sequence[str] = ()


@dataclass(frozen=True)
class Rule:
    """One claim, and how it is judged; the fields are those of :class:`Claim`."""

    id: str
    words: str
    place: str
    command: str
    rule: str
    judge: Callable[[Results], Judged]

    def claim(self, results: Results) -> Claim:
        """Judge it by the results that are there."""
        found = self.judge(results)
        said = (self.id, self.words, self.place, found.verdict, found.figure)
        return Claim(*said, tuple(found.evidence), self.rule, self.command)


def judge_claims(workspace: Workspace) -> Claims:
    """Judge every claim; one whose result is not there is ``not measured``.

    Raises:
        AuditError: A result is damaged.
    """

    def there(kind: type[Found], *names: str) -> tuple[Found, ...]:
        paths = [workspace.result(name) for name in names]
        return tuple(kind.load(path) for path in paths if path.is_file())

    results = Results(
        there(Table, "table1", "table2", "table2-standin"),
        there(Figure3, "figure3-mnist", "figure3", "figure3-standin"),
        next(iter(there(Figure2, "figure2")), None),
        next(iter(there(Rows, "convergence")), None),
    )
    sources = {found.title: found.created for found in results.tables}
    sources |= {found.title: found.created for found in results.matrices}
    single = {"Figure 2": results.features, "Convergence": results.convergence}
    sources |= {name: found.created for name, found in single.items() if found}
    now = utc_now()
    return Claims(now, tuple(rule.claim(results) for rule in RULES), sources)


def _robust(results: Results) -> Judged:
    verdict, figure = _compared(results.tables)
    return Judged(verdict, figure, [f"{t.title}: {_robust_words(t)}" for t in results.tables])


def _no_tradeoff(results: Results) -> Judged:
    verdict, _ = _compared(results.tables)
    losses, evaded, evidence = [], [], []
    for table in results.tables:
        for tra, interval in table.pairs():
            last = interval.honest[-1]
            if last.evade is None:
                continue
            if table.same_data:
                losses.append(tra.clean.mean - interval.clean.mean)
                evaded.append(last.evade.mean)
            evidence.append(
                f"{table.title}, {tra.backbone}: clean TRA {tra.clean.words}, "
                f"{interval.words} {interval.clean.words}, evaded at eps {last.eps:.3g} under "
                f"the adaptive protocol {last.evade.words}"
            )
    if not losses:
        return Judged(evidence=evidence)
    figure = (
        f"INT's accuracy is at most {max(losses):.3f} below TRA's; at the largest eps it is evaded "
        f"at a rate of {_range(evaded)} (adaptive protocol)"
    )
    return Judged(verdict if max(losses) <= CLOSE else "does not hold", figure, evidence)


def _immune(results: Results) -> Judged:
    found, tried = Counter[str](), Counter[str]()
    for table in results.tables:
        for network in table.networks if table.same_data else ():
            for distance in network.distances if network.task == "int" else ():
                found[distance.attack] += distance.found
                tried[distance.attack] += distance.n
    evidence = [f"{table.title}: {w}" for table in results.tables for w in distance_words(table)]
    shares = {name: found[name] / n for name, n in tried.items() if n}
    if not shares:
        return Judged(evidence=evidence)
    least, most = min(shares.values()), max(shares.values())
    verdict: ClaimVerdict = "does not hold" if least >= BROKEN else "undecided"
    figure = f"each attack finds an image that evades, at a rate of {_range(list(shares.values()))}"
    return Judged("holds" if most <= IMMUNE else verdict, figure, evidence)


def _features(decide: Sequence[Measure], show: Sequence[Measure]) -> Callable[[Results], Judged]:
    """Judge by some measures of Figure 2's features."""

    def judge(results: Results) -> Judged:
        found = results.features
        if found is None:
            return Judged()
        lines = {name: [found.comparison(name, m) for m in decide] for name in found.networks}
        above = [name for name, of in lines.items() if all(line.lowest > 0 for line in of)]
        below = any(line.highest < 0 for of in lines.values() for line in of)
        verdict: ClaimVerdict = "does not hold" if below else "undecided"
        if above:
            verdict = "holds" if len(above) == len(lines) else "holds on some networks only"
        said = [
            f"{measure.replace('_', ' ')}: "
            + "; ".join(
                f"{c.network} TRA {c.tra.mean:.3f}, INT {c.interval.mean:.3f}"
                for c in (found.comparison(name, measure) for name in found.networks)
            )
            for measure in (*decide, *show)
        ]
        names = f" ({', '.join(above)})" if above else ""
        figure = f"INT is above TRA by both measures on {len(above)} of {len(lines)} backbones"
        return Judged(verdict, figure + names, said)

    return judge


def _larger(results: Results) -> Judged:
    """By both counts, *flip* and *evade*.

    A wider gap turns wrong classes into None, which *flip* takes for robustness, and a narrower
    interval turns right ones into None, which *evade* takes for its lack.
    """

    def of(found: Figure3, protocol: Protocol) -> list[Trend]:
        return [trend for trend in found.trends if trend.protocol == protocol]

    deciding = [found for found in results.matrices if found.same_data]
    honest = Counter(t.direction for found in deciding for t in of(found, "adaptive"))
    masked = {trend.direction for found in deciding for trend in of(found, "paper")}
    total = honest.total()
    verdict: ClaimVerdict = "not measured"
    if total:
        verdict = "does not hold"
        if honest["falls"] == total:
            verdict = "holds"
        elif honest["falls"] and not honest["rises"]:
            verdict = "undecided"
        elif not honest["falls"] and "falls" in masked:
            verdict = "holds only under the paper's protocol"
    evidence = [
        f"{found.title}, eps {t.eps:g}, adaptive protocol, {t.kind} {t.measure}: {t.words}; "
        + ", ".join(f"{level.value:g}: {level.rates.mean:.3f}" for level in t.levels)
        for found in results.matrices
        for t in of(found, "adaptive")
    ]
    figure = (
        f"of {total} rates against alpha or beta {honest['falls']} fall, {honest['rises']} rise "
        f"and {honest['none']} show no trend (adaptive protocol)"
    )
    return Judged(verdict, figure if total else "", evidence)


def _hard(results: Results) -> Judged:
    def words(found: Figure3, c: Contrast) -> str:
        def mean(relation: Relation) -> str:
            wanted = (relation, c.protocol, c.eps)
            groups = [g for g in found.groups if (g.relation, g.protocol, g.eps) == wanted]
            return f"{groups[0].rates.evade.mean:.3f}" if groups else "none"

        means = f"means: same encoding {mean('same')}, different {mean('different')}"
        return f"eps {c.eps:g}: transfer, same minus different encoding: {c.words}; {means}"

    figures, shown, evidence = [], [], []
    for found in results.matrices:
        for c in found.effects("transfer"):
            evidence.append(f"{found.title}, {words(found, c)}")
            if found.same_data:
                shown.append(c.p <= 0.05 and c.difference > 0)
                figures.append(f"{c.words} at eps {c.eps:g}")
        evidence += [f"{found.title}, eps {e:g}: {found.power(e)}" for e in found.eps]
    figure = f"transfer, same minus different encoding: {', '.join(figures)}" if figures else ""
    return Judged(_every(shown), figure, evidence)


def _asymmetric(results: Results) -> Judged:
    def words(a: Asymmetry) -> str:
        return (
            f"mean gap {a.gaps.mean:.3f} over {a.gaps.count} pairs, sampling alone "
            f"{a.sampling:.3f} (95 % below {a.upper:.3f})"
        )

    figures, shown, evidence = [], [], []
    for found in results.matrices:
        for a in found.asymmetries:
            if (a.protocol, a.kind) == ("adaptive", "evade"):
                at = f"eps {a.eps:g}"
                evidence.append(f"{found.title}, {at}, {a.relation} encoding: {words(a)}")
                if a.relation == "different" and found.same_data:
                    shown.append(a.beyond_sampling)
                    figures.append(f"{words(a)} at {at}")
        gaps = found.effects("asymmetry")
        evidence += [
            f"{found.title}, eps {c.eps:g}: gap, same minus different encoding: {c.words}"
            for c in gaps
        ]
    figure = f"M(i, j) beside M(j, i), different encodings: {'; '.join(figures)}" if figures else ""
    return Judged(_every(shown), figure, evidence)


def _slower(results: Results) -> Judged:
    found = results.convergence
    if found is None:
        return Judged()
    best = {row.names["variant"]: row for row in found.rows if row.figures["quickest"]}
    goal = f"{found.settings['goal']:.0%} of the validation images"
    said = [f"{words}: {_epochs(best.get(name))} to {goal}" for name, words in found.words]
    mean = {name: row.figures["mean"] or 0.0 for name, row in best.items()}
    if "tra" not in mean:
        return Judged("undecided", "TRA does not reach the goal itself", said)
    for name, head in (("scaled", "the paper's head"), ("ordinal", "the ordinal head")):
        met = "met" if name in mean and mean[name] <= mean["tra"] else "missed"
        said.append(f"our goal, INT in no more epochs than TRA, is {met} with {head}")
    slow = "paper" not in mean or mean["paper"] > mean["tra"]
    figure = f"TRA: {_epochs(best['tra'])} to {goal}; INT as in the paper: "
    return Judged("holds" if slow else "does not hold", figure + _epochs(best.get("paper")), said)


def _every(shown: Sequence[bool]) -> ClaimVerdict:
    """A claim that is to be shown in each experiment."""
    if not shown:
        return "not measured"
    return "holds" if all(shown) else "undecided" if any(shown) else "does not hold"


def _compared(tables: Sequence[Table]) -> tuple[ClaimVerdict, str]:
    """INT beside TRA on the paper's images: the verdict on robustness, and its figures."""
    deciding = [table for table in tables if table.same_data]
    masked = [side for table in deciding for side in _sides(table, "paper")]
    honest = [side for table in deciding for side in _sides(table, "evade")]
    if not honest:
        return "not measured", ""
    figure = (
        f"INT is below TRA in {masked.count('lower')} of {len(masked)} cells under the paper's "
        f"protocol, in {honest.count('lower')} of {len(honest)} under the adaptive one"
    )
    if honest.count("lower") == len(honest):
        return "holds", figure
    under_paper = masked.count("lower") >= 0.9 * len(masked)
    return "holds only under the paper's protocol" if under_paper else "does not hold", figure


def _sides(table: Table, kind: str) -> list[Side]:
    """Where INT lies beside TRA, by backbone and cell.

    Args:
        table: Tables 1 or 2.
        kind: ``evade`` or ``flip`` under the adaptive protocol; ``paper``: flips under the paper's.
    """
    part, rate = ("cells", "flip") if kind == "paper" else ("honest", kind)
    pairs = (
        (getattr(first, rate), getattr(second, rate))
        for tra, interval in table.pairs()
        for first, second in zip(getattr(tra, part), getattr(interval, part), strict=True)
    )
    return [_side(*pair) for pair in pairs if None not in pair]


def _side(tra: Spread, interval: Spread) -> Side:
    """Lower or higher only if every INT network is so beside every TRA network."""
    if max(interval.values) < min(tra.values):
        return "lower"
    return "higher" if min(interval.values) > max(tra.values) else "same"


def _robust_words(table: Table) -> str:
    paper, evade, flip = (_sides(table, kind) for kind in ("paper", "evade", "flip"))

    def evaded(level: int) -> str:
        spreads = [interval.honest[level].evade for _, interval in table.pairs()]
        rates = [value for spread in spreads if spread for value in spread.values]
        return f"{_range(rates) if rates else ABSENT} at eps {table.eps[level]:.3g}"

    return (
        f"under the paper's protocol INT flips less often than TRA in {paper.count('lower')} of "
        f"{len(paper)} cells; under the adaptive one it is evaded less often in "
        f"{evade.count('lower')} of {len(evade)} cells and more often in {evade.count('higher')}, "
        f"and flips less often in {flip.count('lower')}; INT is evaded at a "
        f"rate of {evaded(0)} and {evaded(-1)}"
    )


def _range(rates: Sequence[float]) -> str:
    low, high = format_rate(min(rates)), format_rate(max(rates))
    return low if low == high else f"{low} to {high}"


def _epochs(row: Row | None) -> str:
    if row is None:
        return "not on every seed, at no learning rate"
    each = ", ".join(f"{row.figures[seed]:.2f}" for seed in row.curves)
    rate = row.names["learning_rate"]
    return f"{row.figures['mean']:.2f} epochs (seeds {each}; learning rate {rate:g})"


_TABLE1, _FIGURE2, _FIGURE3 = (f"fleet reproduce {p}" for p in ("table1", "figure2", "figure3"))
_FEATURES = (
    "holds if every INT network is above every TRA network of its backbone by each of the "
    "measures; on some networks only if that is so on some backbones; does not hold if on none, "
    "and on some backbone every INT network is below by one of them; undecided otherwise"
)
_STAND_IN = "; on images of the paper, a stand-in decides nothing"

RULES = (
    Rule(
        "robust",
        "INT is much more robust than TRA",
        "section 3.3, Tables 1 and 2",
        _TABLE1,
        "holds if every INT network is evaded less often than every TRA network of its backbone "
        "under the adaptive protocol, in every cell; only under the paper's protocol if INT flips "
        f"less often there in at least nine cells of ten{_STAND_IN}",
        _robust,
    ),
    Rule(
        "no-tradeoff",
        "INT retains accuracy and gains robustness: the two are no longer at odds",
        "abstract, section 3.3",
        _TABLE1,
        f"as for robustness, and INT's accuracy at most {CLOSE} below TRA's on every backbone",
        _no_tradeoff,
    ),
    Rule(
        "immune",
        "INT is immune to optimisation-based attacks such as C&W, EAD and DeepFool",
        "section 2.3",
        _TABLE1,
        "does not hold if each attack, its distance written for intervals, finds an image that "
        f"evades for at least {BROKEN:.0%} of the images tried; holds if for at most "
        f"{IMMUNE:.0%}{_STAND_IN}",
        _immune,
    ),
    Rule(
        "tighter",
        "INT's penultimate features form tighter clusters",
        "section 3.2, Figure 2",
        _FIGURE2,
        f"silhouette of the true classes, raw and standardised features: {_FEATURES}",
        _features(("silhouette", "silhouette_standardised"), ()),
    ),
    Rule(
        "better",
        "INT learns a better feature representation",
        "section 3.2, Figure 2",
        _FIGURE2,
        f"nearest-neighbour purity and accuracy of a linear probe: {_FEATURES}",
        _features(("purity", "probe"), ("effective_dimension",)),
    ),
    Rule(
        "larger",
        "Larger alpha and beta increase the robustness",
        "section 3.4, Figure 3",
        _FIGURE3,
        "holds if the adaptive evade and flip rates, white-box and onto victims, all fall with "
        "alpha and with beta (permutation test over networks, p <= 0.05); does not hold if one "
        "of them rises, or none falls; undecided if some fall and the others show no trend"
        + _STAND_IN,
        _larger,
    ),
    Rule(
        "hard",
        "Different alpha and beta make transfer between devices hard",
        "section 3.4, Figure 3",
        _FIGURE3,
        "holds if adaptive transfer between networks of different beta/(alpha+beta) is lower than "
        "between networks of one encoding, which differ in their seed alone (permutation test over "
        f"networks, p <= 0.05){_STAND_IN}",
        _hard,
    ),
    Rule(
        "asymmetric",
        "The transfer matrix is not symmetric",
        "Figure 3",
        _FIGURE3,
        "holds if pairs of different encodings are less symmetric than the sampling of images "
        "explains; pairs of one encoding say whether that is due to the encoding" + _STAND_IN,
        _asymmetric,
    ),
    Rule(
        "slower",
        "Interval-label classification converges slower than the traditional task",
        "conclusion",
        "fleet reproduce convergence",
        "holds if INT as in the paper needs more epochs to the goal than TRA, each at its own "
        "quickest learning rate, or never gets there",
        _slower,
    ),
)
"""The claims, in the order of the paper."""
