"""The audits of a run as one self-contained HTML page: no script, nothing loaded."""

import json
import re
import shlex
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from fleet.audit.core.kind import KINDS, kind_of
from fleet.audit.core.result import AuditedDevice, AuditResult
from fleet.audit.crosscheck.result import Crosscheck
from fleet.audit.transfer.result import PairSample
from fleet.errors import AuditError
from fleet.reports import palette, wording
from fleet.reports.answers import EXPLAINED, answers
from fleet.reports.comparison import Comparison, compare_reports
from fleet.reports.comparison_view import comparison_blocks
from fleet.reports.crosscheck import crosscheck_blocks
from fleet.reports.devices import cards
from fleet.reports.exhibits import CAPTION, exhibited
from fleet.reports.figures import DrawnFigure
from fleet.reports.flags import blind_checks, verdict
from fleet.reports.ladder import gaps, ladder, measured
from fleet.reports.large import MOST_LINES
from fleet.reports.report import AuditReport, Block, report_of
from fleet.reports.sample import sample_blocks
from fleet.reports.views import all_checks, checks_table
from fleet.reports.wording import ABSENT, control_mark, format_count

_COLOR = re.compile("|".join(palette.DARK))
_REFERENCE = re.compile(r"#([\w-]+)")
_DROPPED = {"metadata", "style"}  # the style is one rule for every element of the page
_FONT = "'DejaVu Sans'"
_FONTS = "'DejaVu Sans', Verdana, sans-serif"  # Verdana has the same widths


def inline_svg(svg: bytes, name: str, alt: str) -> str:
    """Turn a figure into an element that can stand in HTML beside others.

    Args:
        svg: A file that :mod:`fleet.reports.drawing` made.
        name: Of the figure; makes its ids different from those of other figures.
        alt: What the figure shows, in words, for those who do not see it.

    Returns:
        An ``<svg>`` element whose colours are CSS variables. Texts of the figure stay escaped.
    """
    root = ET.fromstring(svg)  # noqa: S314  our own output
    _clean(root)
    used = {found for node in root.iter() for found in _references(node)}
    for node in root.iter():
        _rename(node, used, name)
    attributes = {
        "viewBox": root.attrib["viewBox"],
        "role": "img",
        "aria-label": alt,
        "style": f"width: {_inches(root):.2f}in",
    }
    root.attrib.clear()
    root.attrib.update(attributes)
    return ET.tostring(root, encoding="unicode")


def _clean(parent: ET.Element) -> None:
    """Drop what the page does not need, and the namespaces, which HTML knows by itself."""
    parent.tag = parent.tag.rpartition("}")[2]
    for name in [name for name in parent.attrib if name.startswith("{")]:
        parent.attrib["xlink:" + name.rpartition("}")[2]] = parent.attrib.pop(name)
    for child in list(parent):
        _clean(child)
        if child.tag in _DROPPED:
            parent.remove(child)


def _references(node: ET.Element) -> list[str]:
    named = [value for key, value in node.attrib.items() if key.endswith("href") or "url(" in value]
    return [found for value in named for found in _REFERENCE.findall(value)]


def _rename(node: ET.Element, used: set[str], name: str) -> None:
    identity = node.attrib.pop("id", None)
    if identity in used:
        node.attrib["id"] = f"{name}-{identity}"
    for key, value in node.attrib.items():
        if key.endswith("href") and value.startswith("#"):
            node.attrib[key] = f"#{name}-{value[1:]}"
        elif key in {"style", "fill", "stroke", "clip-path"}:
            text = value.replace("url(#", f"url(#{name}-").replace(_FONT, _FONTS)
            node.attrib[key] = _COLOR.sub(lambda found: f"var({palette.variable(found[0])})", text)


def _inches(root: ET.Element) -> float:
    return float(root.attrib["width"].removesuffix("pt")) / 72


def render_html(report: AuditReport, figures: Sequence[DrawnFigure] = ()) -> str:
    """Render the whole report.

    The same report and figures give the same bytes: the only times in the page are the audits' own.

    Args:
        report: One audit at least.
        figures: What :func:`fleet.reports.figures.draw_figures` drew of it.

    Returns:
        An HTML document for UTF-8 with its styles and figures inside and without scripts. It refers
        to nothing outside itself, and a Content-Security-Policy holds it to that.
    """
    found, failed = answers(report), all_checks(report, "fail")
    folded = [(kind, check) for kind, a in report.audits.items() for check in blind_checks(a)]
    return (
        _environment()
        .get_template("report.html.jinja")
        .render(
            report=report,
            dates=_dates(report),
            shipped=_shipped(report.devices),
            missing=[
                kind.title.lower() for kind in KINDS.values() if kind.name not in report.audits
            ],
            verdict=found,
            explained=EXPLAINED,
            believed=_believed(report),
            warnings=_warnings(report),
            failed=[check for check in failed if check not in folded],
            folded=folded,
            raised=checks_table(all_checks(report, "fail", "warn"), "Checks that failed or warn"),
            passed=checks_table(all_checks(report, "pass"), "Checks that passed"),
            rungs=ladder(report.audits.values()),
            figures=[_inlined(figure) for figure in figures],
            exhibits=exhibited(report),
            conducted=_conducted(report),
            cards=cards(report),
            changes=_changes(report),
            crosscheck=list(crosscheck_blocks(report.crosscheck)) if report.crosscheck else [],
            sample=list(sample_blocks(report.sample)) if report.sample else [],
            weights=[(device.name, device.weights_sha256) for device in report.devices],
            records=_records(report),
            sections=[_section(audit) for audit in report.audits.values()],
            titles={kind.name: kind.title for kind in KINDS.values()},
        )
    )


def render_single(title: str, blocks: Iterable[Block]) -> str:
    """Render parts alone, as self-contained as :func:`render_html`."""
    return _environment().get_template("single.html.jinja").render(title=title, blocks=[*blocks])


def render_comparison(found: Comparison) -> str:
    """Render a comparison as a page of its own."""
    return render_single("What changed?", comparison_blocks(found))


def render_crosscheck(check: Crosscheck) -> str:
    """Render a cross-check as a page of its own."""
    return render_single(f"Cross-check of {check.run}", crosscheck_blocks(check))


def render_sample(sample: PairSample) -> str:
    """Render a sample of pairs as a page of its own."""
    return render_single(f"Transfer in a fleet of {sample.devices} devices", sample_blocks(sample))


def _changes(report: AuditReport) -> list[Block]:
    """What changed since the earlier audits of the report; nothing without a common figure."""
    if report.earlier is None:
        return []
    again = [audit for kind, audit in report.audits.items() if kind in report.earlier.audits]
    try:
        return list(comparison_blocks(compare_reports(report.earlier, AuditReport.of(*again))))
    except AuditError:
        return []


def style_sheet() -> str:
    """The page's CSS: ``report.css``, the figures' colours, a class for each step of the scale."""
    colors = [
        palette.ramp_color(step / palette.RAMP_STEPS) for step in range(palette.RAMP_STEPS + 1)
    ]
    ramp = (
        f".r{step}{{background:{color};color:{palette.ink_color(color)}}}"
        for step, color in enumerate(colors)
    )
    light = f":root {{ {palette.variables(dark=False)} }}"
    dark = f"@media (prefers-color-scheme: dark) {{ :root {{ {palette.variables(dark=True)} }} }}"
    return "\n".join([_resource("report.css"), light, dark, *ramp])


def _section(audit: AuditResult) -> tuple[str, str, list[Block]]:
    report = report_of(audit)
    return kind_of(audit).name, report.heading, list(report.page(audit))


def _inlined(figure: DrawnFigure) -> dict[str, Any]:
    svg = inline_svg(figure.svg, figure.name, figure.alt)
    return {"name": figure.name, "kind": figure.kind, "svg": Markup(svg)}  # noqa: S704  our own


def _shipped(devices: Sequence[AuditedDevice]) -> str:
    roles = [device.role for device in devices]
    words = [f"{format_count(roles.count('device'), 'device')} of the fleet"]
    words += [format_count(n, role) for role in ("control", "twin") if (n := roles.count(role))]
    *first, last = words
    return f"{', '.join(first)} and {last}." if first else f"{last}."


def _dates(report: AuditReport) -> str:
    """The day of the audits, or the first and the last."""
    days = sorted({audit.created[:10] for audit in report.audits.values()})
    return " to ".join(dict.fromkeys((days[0], days[-1])))


def _believed(report: AuditReport) -> list[tuple[str, str]]:
    """Level and words on how far audits can be believed, worst first; passes in one line."""
    found = [(KINDS[kind].title, *verdict(audit)) for kind, audit in report.audits.items()]
    found.sort(key=lambda line: ("fail", "warn", "pass").index(line[1]))
    passed = [title for title, level, _ in found if level == "pass"]
    if len(passed) < 2:
        return [(level, f"{title}: {sentence}") for title, level, sentence in found]
    lines = [(level, f"{title}: {words}") for title, level, words in found if level != "pass"]
    return [*lines, ("pass", f"{', '.join(passed)}: every reliability check passed.")]


def _warnings(report: AuditReport) -> list[str]:
    unread = [f"Left out, because it cannot be read: {words}" for words in report.unreadable]
    runs = {audit.run for audit in report.audits.values()}
    several = ["The audits are of different runs."] if len(runs) > 1 else []
    return [*unread, *report.contradictions, *several]


def _conducted(report: AuditReport) -> list[tuple[str, ...]]:
    """How each audit was run: title, command, seed, images, machine, versions, end, seconds."""
    return [
        (
            KINDS[kind].title,
            *_conduct(audit.settings, audit.provenance),
            audit.created,
            _seconds(audit),
        )
        for kind, audit in report.audits.items()
    ]


def _conduct(settings: dict[str, Any], provenance: dict[str, Any]) -> Iterator[str]:
    about = provenance.get("environment")
    about = about if isinstance(about, dict) else provenance
    command = about.get("command")
    words = [str(word) for word in command] if isinstance(command, list) else []
    yield shlex.join(["fleet" if w == "__main__.py" else w for w in words]) or ABSENT
    yield str(settings.get("seed", ABSENT))
    yield " ".join(str(settings[key]) for key in ("images", "split") if key in settings) or ABSENT
    machine = [about.get("processor"), about.get("system")]
    cores = [f"{about['cores']} cores"] if "cores" in about else []
    yield ", ".join([*(str(part) for part in machine if part), *cores]) or ABSENT
    packages = about.get("packages")
    torch = packages.get("torch") if isinstance(packages, dict) else None
    found = {"fleet": about.get("fleet"), "torch": torch}
    yield ", ".join(f"{name} {version}" for name, version in found.items() if version) or ABSENT


def _seconds(audit: AuditResult) -> str:
    return ABSENT if audit.seconds is None else f"{audit.seconds:.0f} s"


def _records(report: AuditReport) -> dict[str, tuple[list[tuple[str, str]], ...]]:
    return {
        kind: (list(_flatten(audit.settings)), list(_flatten(audit.provenance)))
        for kind, audit in report.audits.items()
    }


def _flatten(value: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Turn nested settings into rows of a dotted key and a value in words."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _flatten(item, f"{prefix}.{key}" if prefix else str(key))
    elif isinstance(value, list | tuple):
        yield prefix, ", ".join(text for item in value for _, text in _flatten(item))
    else:
        yield prefix, value if isinstance(value, str) else json.dumps(value)


def _scale() -> list[tuple[str, str]]:
    shares = [step / (len(palette.ANCHORS) - 1) for step in range(len(palette.ANCHORS))]
    return [(f"{share:.1f}", palette.ramp_class(share)) for share in shares]


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FunctionLoader(_resource),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        # Markup is ours; any other text came from the audit file.
        finalize=lambda value: wording.visible(value) if type(value) is str else value,
    )
    environment.filters |= {
        "rate": wording.format_rate,
        "interval": wording.format_interval,
        "eps": wording.format_eps,
        "mark": control_mark,
        "ramp": palette.ramp_class,
        "measured": measured,
        "gaps": gaps,
    }
    environment.globals |= {
        "style": Markup(style_sheet()),  # noqa: S704  our own file
        "scale": _scale(),
        "chosen": CAPTION,
        "most_lines": MOST_LINES,
    }
    return environment


def _resource(name: str) -> str:
    return files("fleet.reports").joinpath(name).read_text(encoding="utf-8")
