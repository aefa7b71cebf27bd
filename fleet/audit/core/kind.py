"""Every kind of audit, described once: what it is called, how it is run, what shows its results.

A record names code by strings, ``module:attribute``, that are loaded when they are asked for.
Nothing here loads torch or matplotlib, and the reports, which stand above, are not imported.

A new audit is its settings, its audit and its checks under ``fleet/audit``, one module under
``fleet/reports``, one command, and one record below.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from fleet.files import write_bytes
from fleet.rundir import AUDIT_FILE

if TYPE_CHECKING:
    from fleet.profiles.spec import DataSpec


EARLIER_FILE = "earlier.json"
"""The audit that stood there before, so that the report can say what changed."""

Attacker = Literal["device", "outsider", "owner", "anyone", "twin"]
"""Whom a gate counts. ``device``: who has other devices. ``outsider``: who has none, but networks
of their own, or questions. ``owner``: who has the victim itself. ``anyone``: whoever, proven.
``twin``: who has a network that differs in its seed alone, against who has another device."""


@dataclass(frozen=True)
class Gate:
    """A limit that results can be held to.

    Attributes:
        option: On the command line.
        help: What it demands.
        counts: What is held against the limit.
        least: Whether the limit is the least that passes; else the most.
    """

    option: str
    help: str
    counts: str = "evade"
    least: bool = False


GATES: dict[Attacker, Gate] = {
    "device": Gate(
        "--max-transfer", "Largest evade rate of images made on other devices of the fleet."
    ),
    "outsider": Gate(
        "--max-outsider", "Largest evade rate of an attacker without a device (the control's row)."
    ),
    "owner": Gate("--max-whitebox", "Largest evade rate of who has the victim's own weights."),
    "anyone": Gate("--max-blast-radius", "Largest share that no proof keeps from any attacker."),
    "twin": Gate(
        "--min-diversity",
        "Smallest share of images by which transfer is lower between devices that differ in "
        "anything than between two that differ in the seed alone (the twin).",
        counts="transfer saved",
        least=True,
    ),
}
"""Every gate, by whom it counts; a kind names those that judge its results."""


@dataclass(frozen=True)
class Kind:
    """One kind of audit.

    Attributes:
        name: In commands, folders, schemas (``fleet.audit.NAME/VERSION``) and JSON. It also says
            where title, result, run, report and command are, unless they are given.
        title: In reports.
        result: Class of its results, a :class:`~fleet.audit.core.document.Stored`.
        settings: Makes its settings of ``(eps, seed)`` and what else they hold.
        run: Audits a run: ``(run, settings, *, images, executor, split, ...)``, gives a
            result.
        command: Its command line, ``fleet audit NAME``.
        report: Its :class:`~fleet.reports.report.Report`: views, summary, tables, figures, rungs.
        masking: Checks whose failure means that the attack was blind or lost what it had found,
            not that the device is robust.
        harmless: Checks whose failure says something about the devices and nothing against the
            figures.
        gates: Whom its results count, so that these gates can judge them.
        alias: Another name of the first gate's option, where that is the most that passes.
        devices: Devices that a family must have at least, controls not counted.
        method: Of a family without a device trained by it `fleet audit all` leaves this kind out.
        images: Images audited unless the user says otherwise.
        presets: Images and settings by ``--preset``, where they are not the usual ones.
        curve: Whether the radii, unless the user names some, are a whole curve and not two of it.
    """

    name: str
    title: str = ""
    result: str = ""
    settings: str = "fleet.audit.core.members:TransferSettings"
    run: str = ""
    report: str = ""
    command: str = ""
    masking: frozenset[str] = frozenset()
    harmless: frozenset[str] = frozenset()
    gates: tuple[Attacker, ...] = ()
    alias: str = "--max-asr"
    devices: int = 1
    method: str = ""
    images: int = 500
    presets: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    curve: bool = False

    def __post_init__(self) -> None:
        usual = {
            "title": self.name.capitalize(),
            "result": f"fleet.audit.{self.name}.result:{self.name.capitalize()}Audit",
            "run": f"fleet.audit.{self.name}.audit:audit_run_{self.name}",
            "report": f"fleet.reports.{self.name}:REPORT",
            "command": f"fleet.cli.audit.{self.name}:{self.name}",
        }
        for part, value in usual.items():
            object.__setattr__(self, part, getattr(self, part) or value)


KINDS: dict[str, Kind] = {}
"""Every kind by name, in the order of the reports."""


def register(kind: Kind) -> Kind:
    """Add a kind behind those that are there.

    Raises:
        ValueError: Its name is taken.
    """
    if kind.name in KINDS:
        raise ValueError(f"there is a kind of audit named {kind.name!r}")
    KINDS[kind.name] = kind
    return kind


def load(target: str) -> Any:
    """Import what a string ``module:attribute`` names."""
    module, _, attribute = target.partition(":")
    return getattr(import_module(module), attribute)


class Drawn:
    """A result that draws itself in a notebook."""

    def to_dataframe(self) -> Any:
        """The main table as a ``pandas.DataFrame``, one row for each figure of its CSV.

        Raises:
            BackendError: pandas is not installed.
        """
        return load("fleet.reports.notebook:frame")(self)

    def _repr_html_(self) -> str:
        """Draw the verdict and the main table."""
        drawn: str = load("fleet.reports.notebook:html")(self)
        return drawn


def kind_of(audit: Any) -> Kind:
    """Which kind a result is.

    Raises:
        KeyError: It is of none.
    """
    for kind in KINDS.values():
        if type(audit) is load(kind.result):
            return kind
    raise KeyError(f"{type(audit).__name__} is the result of no kind of audit")


def keep(audit: Any, directory: Path) -> Path:
    """Write an audit; the one that is there stays beside it, as the earlier one.

    Args:
        audit: A result.
        directory: Of its kind in a run.

    Returns:
        Its file.

    Raises:
        StorageError: It cannot be written.
    """
    path = directory / AUDIT_FILE
    if path.is_file():
        write_bytes(directory / EARLIER_FILE, path.read_bytes())
    audit.save(path)
    return path


def usual_radii(
    kind: Kind, data: DataSpec, norm: str = "linf", *, brief: bool = False
) -> tuple[float, ...]:
    """The radii of a kind unless the user names some; a brief curve has two and the last."""
    curve = curve_eps(data, norm)
    if not kind.curve:
        return curve[1:3]
    return (*curve[1:3], curve[-1]) if brief else curve


def curve_eps(data: DataSpec, norm: str = "linf") -> tuple[float, ...]:
    """Radii of an asr curve that fit a family's images: from hardly anything to all.

    At the last one every network should fall, whatever its training, or the attack is at fault
    (check M5). ``l2``: as long as the differences that fall to the Linf radii on 28x28 pixels, and
    longer in proportion to the image's side.
    """
    grey, side = data.channels == 1, data.image_size
    if norm == "linf":
        return (0.05, 0.1, 0.2, 0.3, 0.5) if grey else (2 / 255, 4 / 255, 8 / 255, 16 / 255, 0.5)
    lengths = (0.5, 1.0, 2.0, 3.0, 8.0) if grey else (0.25, 0.5, 1.0, 2.0, 16.0)
    return tuple(length * side / (28 if grey else 32) for length in lengths)


_ATTACKS = {
    "quick": {"images": 100, "steps": 8, "restarts": 1, "brief": True},
    "thorough": {"images": 2000, "steps": 50, "restarts": 5},
}
_BLIND = frozenset({"M1", "M2", "M3", "M4", "M5", "M6", "M7", "M8", "M10", "M13", "M16", "BT"})

for _kind in (
    Kind(
        name="certify",
        title="Certificates",
        settings="fleet.audit.certify.audit:CertifySettings",
        gates=("anyone",),
        method="certified",
        masking=frozenset({"K1", "K2"}),
        images=10_000,
        presets={"quick": {"images": 1000, "radii": 100}, "thorough": {"radii": 2000}},
    ),
    Kind(
        name="whitebox",
        title="White-box",
        curve=True,
        masking=_BLIND,
        gates=("owner",),
        presets=_ATTACKS,
    ),
    Kind(name="transfer", masking=_BLIND, gates=("device", "outsider"), presets=_ATTACKS),
    Kind(
        name="diversity",
        masking=_BLIND,
        harmless=frozenset({"D2", "D3"}),
        gates=("twin",),
        devices=2,
        presets=_ATTACKS,
    ),
    Kind(
        name="coalition",
        settings="fleet.audit.coalition.trials:coalition_settings",
        run="fleet.audit.coalition.run:audit_run_coalition",
        masking=frozenset({"C1", "C2", "C3", "C5", "C6", "C7"}),
        harmless=frozenset({"C4"}),
        gates=("device", "outsider"),
        alias="--max-share",
        devices=2,
        images=200,
        presets={
            "quick": {"images": 60, "steps": 5, "restarts": 1, "coalitions": 3},
            "thorough": {"images": 500, "steps": 40, "restarts": 3, "coalitions": 20},
        },
    ),
    Kind(
        name="query",
        settings="fleet.audit.query.methods:QuerySettings",
        run="fleet.audit.query.run:audit_run_query",
        masking=frozenset({"Q1"}),
        gates=("device", "outsider"),
        images=50,
        presets={
            "quick": {"images": 20, "queries": 50, "steps": 8, "restarts": 1},
            "thorough": {"images": 200, "queries": 1000, "steps": 50, "restarts": 5},
        },
    ),
    Kind(
        name="trace",
        settings="fleet.audit.trace.evidence:TraceSettings",
        run="fleet.audit.trace.run:audit_run_trace",
        devices=2,
        images=100,
        presets={
            "quick": {"images": 40, "steps": 8, "restarts": 1},
            "thorough": {"images": 500, "steps": 50, "restarts": 5},
        },
    ),
):
    register(_kind)
