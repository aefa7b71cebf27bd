"""What changed between two runs, or two audits of one: accuracy, certificates, attacks.

Both are counted on samples of images, so each difference has an interval, and only a difference
whose interval leaves out 0 is called a change.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

from fleet.audit.certify.result import CertifyAudit
from fleet.audit.core.kind import KINDS
from fleet.audit.core.result import AuditResult, difference_interval, mean_rate, wilson_interval
from fleet.audit.transfer.result import TransferAudit
from fleet.audit.whitebox.result import WhiteboxAudit
from fleet.errors import AuditError, CheckpointError
from fleet.files import read_json
from fleet.profiles.spec import read_family
from fleet.reports.findings import fleet_cells, nobody_cells
from fleet.reports.flags import audited_protocols, flag
from fleet.reports.report import AuditReport, read_audit, read_audits
from fleet.rundir import RunDirectory, find_run

Verdict = Literal["better", "worse", "no clear change", "not known"]

FLEET = "fleet"
"""Where the figure is the mean over the devices, or pairs, of the fleet."""

_HIGHER_IS_BETTER = {"accuracy", "certified"}

Key = tuple[str, str, float | None]
"""What was counted, where, and at which eps."""


@dataclass(frozen=True)
class Figure:
    """One share of images.

    Attributes:
        rate: In [0, 1].
        n: Images that it is of.
        flagged: Checks that failed, so that it must not be read as safety; may be empty.
    """

    rate: float
    n: int
    flagged: str = ""

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson 95 % interval; of a mean as if all devices fell together."""
        return wilson_interval(round(self.rate * self.n), self.n)


@dataclass(frozen=True)
class Change:
    """One figure in both.

    Attributes:
        what: ``accuracy``, ``certified``, ``white-box``, ``transfer`` or ``from the control``; the
            last three are adaptive evade rates.
        where: A device, a pair, or the mean over the fleet.
        eps: Pixel units; None for accuracy.
        before: In the first.
        after: In the second.
    """

    what: str
    where: str
    eps: float | None
    before: Figure
    after: Figure

    @property
    def difference(self) -> float:
        """``after - before``."""
        return self.after.rate - self.before.rate

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of :attr:`difference` (Newcombe), as if the images were others."""
        return difference_interval(
            (self.after.rate, self.after.interval), (self.before.rate, self.before.interval)
        )

    @property
    def verdict(self) -> Verdict:
        """What changed; ``not known`` where a check failed on either side."""
        low, high = self.interval
        if self.before.flagged or self.after.flagged:
            return "not known"
        if low <= 0 <= high:
            return "no clear change"
        return "better" if (low > 0) == (self.what in _HIGHER_IS_BETTER) else "worse"


@dataclass(frozen=True)
class Side:
    """One of the two that are compared.

    Attributes:
        label: Its name, and when its audits were made.
        figures: What is known.
        made: How its audits were made, by kind: what must agree for figures to be comparable.
        data: Digest of the data set; None where it is not recorded.
    """

    label: str
    figures: Mapping[Key, Figure]
    made: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    data: str | None = None


@dataclass(frozen=True)
class Comparison:
    """What changed.

    Attributes:
        before: Label of the first.
        after: Label of the second.
        changes: Figures that both have: the fleet's first.
        cautions: Why figures may differ for other reasons than the devices.
        missing: Figures that only one has, in words.
    """

    before: str
    after: str
    changes: tuple[Change, ...]
    cautions: tuple[str, ...]
    missing: tuple[str, ...]

    def of(self, *verdicts: Verdict) -> list[Change]:
        """Changes with one of these verdicts."""
        return [change for change in self.changes if change.verdict in verdicts]

    @property
    def fleet(self) -> list[Change]:
        """Changes of the fleet as a whole."""
        return [change for change in self.changes if change.where == FLEET]

    @property
    def sentence(self) -> str:
        """The answer in one sentence or two."""
        counts = {v: len(self.of(v)) for v in ("better", "worse", "no clear change", "not known")}
        told = [f"{count} {verdict}" for verdict, count in counts.items() if count]
        clear = counts["better"] + counts["worse"]
        chance = f" By chance alone about {len(self.changes) / 20:.0f} would be named." * (
            clear > 0 and len(self.changes) >= 30
        )
        return f"Of {len(self.changes)} figures: {', '.join(told) or 'none in both'}.{chance}"

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        rows = [
            {
                **asdict(change),
                "difference": change.difference,
                "interval": list(change.interval),
                "verdict": change.verdict,
            }
            for change in self.changes
        ]
        return {**asdict(self), "changes": rows, "sentence": self.sentence}


def compare(before: Path | str, after: Path | str, runs: Path = Path("runs")) -> Comparison:
    """Compare two runs, or audits of them.

    Args:
        before: A run, its name under ``runs``, or an ``audit.json``.
        after: Likewise.
        runs: Where runs are kept.

    Returns:
        Accuracy (of the test images, as trained), certified shares, white-box, transfer and
        outsider evade rates that both have: means over the fleet, then each device and pair that
        both name alike.

    Raises:
        CheckpointError: There is no such run.
        AuditError: An audit cannot be read, or the two have no figure in common.
    """
    return compare_sides(_side(Path(before), runs), _side(Path(after), runs))


def compare_reports(before: AuditReport, after: AuditReport) -> Comparison:
    """Compare audits alone."""
    return compare_sides(_side_of(before), _side_of(after))


def compare_sides(before: Side, after: Side) -> Comparison:
    """Compare what two sides have in common.

    Raises:
        AuditError: They have no figure in common.
    """
    both = [key for key in before.figures if key in after.figures]
    if not both:
        raise AuditError(
            f"{before.label} and {after.label} have no figure in common",
            hint="audit both with the same kind of audit at the same eps",
        )
    both.sort(key=lambda key: key[1] != FLEET)
    return Comparison(
        before.label,
        after.label,
        tuple(Change(*key, before.figures[key], after.figures[key]) for key in both),
        tuple(_cautions(before, after)),
        tuple(_missing(before, after)),
    )


def _side(path: Path, runs: Path) -> Side:
    if path.suffix == ".json" and path.is_file():
        return _side_of(AuditReport.of(read_audit(path)))
    run = find_run(path, runs)
    try:
        report = read_audits(run.audits)
    except AuditError:
        report = AuditReport.of()
    found = _side_of(report)
    label = run.name + found.label.removeprefix(report.run)
    data = read_json(run.dataset).get("sha256")
    return Side(label, {**found.figures, **_trained(run)}, found.made, data)


def _trained(run: RunDirectory) -> dict[Key, Figure]:
    """Accuracy of each finished device on the test images."""
    found: dict[Key, Figure] = {}
    for device in read_family(run).devices:
        try:
            test = read_json(run.result(device.name))["test"]
            found["accuracy", device.name, None] = Figure(test["correct"] / test["n"], test["n"])
        except (CheckpointError, KeyError, TypeError, ZeroDivisionError):
            continue
    return {**found, **_mean("accuracy", None, found)}


def _side_of(report: AuditReport) -> Side:
    figures: dict[Key, Figure] = {}
    for device in report.devices:
        if device.role == "device":
            right = Figure(device.clean_accuracy, device.images)
            figures["accuracy", device.name, None] = right
    figures |= _mean("accuracy", None, figures)
    for kind, read in _READERS.items():
        if kind in report.audits:
            figures |= dict(read(report.audits[kind]))
    audits = report.audits.values()
    dates = sorted({audit.created for audit in audits})
    when = " to ".join(dict.fromkeys([*dates[:1], *dates[-1:]]))
    dataset = next((a.provenance.get("dataset") for a in audits), None)
    return Side(
        report.run + (f", audited {when}" if when else ""),
        figures,
        {kind: audit.settings for kind, audit in report.audits.items()},
        dataset.get("sha256") if isinstance(dataset, dict) else None,
    )


def _mean(what: str, eps: float | None, found: Mapping[Key, Figure]) -> dict[Key, Figure]:
    """The fleet's line: the mean of figures, counted as of the fewest images."""
    known = list(found.values())
    mean = mean_rate(figure.rate for figure in known)
    if mean is None:
        return {}
    return {(what, FLEET, eps): Figure(mean, min(f.n for f in known), known[0].flagged)}


def _certified(audit: CertifyAudit) -> Iterator[tuple[Key, Figure]]:
    flagged = flag(audit)
    short = flagged.short if flagged else ""
    for eps in audit.eps:
        found: dict[Key, Figure] = {}
        for name in audit.fleet:
            proven = audit.of(name, eps)
            found["certified", name, eps] = Figure(proven.stay_rate, proven.n, short)
        yield from (found | _mean("certified", eps, found)).items()


def _whitebox(audit: WhiteboxAudit) -> Iterator[tuple[Key, Figure]]:
    if "adaptive" not in audited_protocols(audit):
        return
    for eps in audit.eps:
        outcomes = {name: audit.figure(name, "adaptive", eps).outcome for name in audit.fleet}
        yield from _evaded(audit, "white-box", eps, outcomes)


def _transfer(audit: TransferAudit) -> Iterator[tuple[Key, Figure]]:
    if "adaptive" not in audited_protocols(audit):
        return
    for eps in audit.eps:
        matrix = audit.matrix("adaptive", eps)
        for what, cells in (
            ("transfer", fleet_cells(audit, matrix)),
            ("from the control", nobody_cells(audit, matrix)),
        ):
            named = {f"{cell.surrogate} → {cell.victim}": cell.outcome for cell in cells}
            yield from _evaded(audit, what, eps, named)


def _evaded(
    audit: AuditResult, what: str, eps: float, outcomes: Mapping[str, Any]
) -> Iterator[tuple[Key, Figure]]:
    flagged = flag(audit, "adaptive")
    short = flagged.short if flagged else ""
    found: dict[Key, Figure] = {
        (what, where, eps): Figure(outcome.rate("evade"), outcome.n, short)
        for where, outcome in outcomes.items()
        if outcome.n
    }
    yield from (found | _mean(what, eps, found)).items()


_READERS: dict[str, Callable[[Any], Iterator[tuple[Key, Figure]]]] = {
    "certify": cast("Any", _certified),
    "whitebox": cast("Any", _whitebox),
    "transfer": cast("Any", _transfer),
}

_EFFORT = ("steps", "restarts", "targets", "norm", "precision", "noise_draws", "split")


def _cautions(before: Side, after: Side) -> Iterator[str]:
    if None not in {before.data, after.data} and before.data != after.data:
        yield "the data sets differ"
    for kind in before.made.keys() & after.made.keys():
        old, new = before.made[kind], after.made[kind]
        differ = [
            f"{name} {old.get(name)} and {new.get(name)}"
            for name in _EFFORT
            if old.get(name) != new.get(name)
        ]
        if differ:
            yield f"the {kind} audits were made otherwise: {', '.join(differ)}"
        if old.get("images_sha256") != new.get("images_sha256"):
            yield f"the {kind} audits are of other images"


def _missing(before: Side, after: Side) -> Iterator[str]:
    for words, one, other in (("before", before, after), ("after", after, before)):
        gone = [key for key in one.figures if key not in other.figures]
        kinds = [KINDS[kind].title for kind in one.made if kind not in other.made]
        if kinds:
            yield f"only {words}: audits {', '.join(kinds)}"
        if gone:
            there = {(what, eps) for what, _, eps in other.figures}
            names = dict.fromkeys(
                (f"{what} of {where}" if (what, eps) in there else what)
                + (f" at eps {eps:.4g}" if eps else "")
                for what, where, eps in gone
            )
            first = ", ".join(list(names)[:3])
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            yield f"only {words}: {first}{more}"
