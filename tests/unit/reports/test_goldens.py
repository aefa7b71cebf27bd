"""Every report of the sample audits and of ``results/paper-demo``, byte for byte as it was.

Write them anew with ``pytest tests/unit/reports/test_goldens.py --update-goldens``.
"""

import difflib
import hashlib
import io
import json
import lzma
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from fleet.audit.crosscheck.result import Crosscheck
from fleet.audit.transfer.result import TransferAudit
from fleet.reports import AuditReport, render_html
from fleet.reports.crosscheck import crosscheck_view
from fleet.reports.crosscheck import summary_lines as crosscheck_lines
from fleet.reports.figures import encoded
from fleet.reports.ladder import ladder
from fleet.reports.report import report_of
from fleet.reports.views import report_view, summary_lines

GOLDENS = Path(__file__).resolve().parents[2] / "goldens"
DEMO = GOLDENS.parents[1] / "results" / "paper-demo"
DRAWN_BY = {".svg": "matplotlib", ".ansi": "rich"}  # whose versions a file's bytes depend on
LONGEST_DIFF = 60
LONGEST_TEXT = 150_000  # a longer one, and every figure, is kept as a digest

Files = dict[str, str]


def terminal(view: Any) -> Iterator[tuple[str, str]]:
    """A view at two widths, colours included."""
    for width in (80, 160):
        stream = io.StringIO()
        console = Console(file=stream, width=width, force_terminal=True, color_system="standard")
        console.print(view)
        yield f"terminal-{width}.ansi", stream.getvalue()


def rendered(report: AuditReport) -> Files:
    """All reports by file name; the page without its figures, which stand beside it."""
    files = {}
    for kind, audit in report.audits.items():
        shown = report_of(audit)
        files |= {f"{kind}/{name}": table(audit).csv() for name, table in shown.tables.items()}
        files |= {f"{kind}/{f.name}.svg": svg(f.draw, audit) for f in shown.figures}
    lines = [line for audit in report.audits.values() for line in summary_lines(audit)]
    return {
        **files,
        "ladder.svg": svg("fleet.reports.ladder_figure:draw", ladder(report.audits.values())),
        "report.html": render_html(report),
        "summary.txt": "\n".join(lines),
        **dict(terminal(report_view(report))),
    }


def svg(draw: str, shown: Any) -> str:
    return encoded(draw, (shown,), "svg")[0].decode("utf-8")


def demo(_: Any) -> Files:
    check = Crosscheck.load(DEMO / "crosscheck.json")
    views = {f"crosscheck-{name}": text for name, text in terminal(crosscheck_view(check))}
    lines = {"crosscheck-summary.txt": "\n".join(crosscheck_lines(check))}
    report = AuditReport.of(TransferAudit.load(DEMO / "audit.json"))
    return {**rendered(report), **views, **lines}


SAMPLES: dict[str, Callable[[Any], Files]] = {
    "four": lambda make: rendered(make()),
    "many": lambda make: rendered(make([f"cam-{k:02}" for k in range(1, 22)], eps=(0.1,))),
    "adaptive": lambda make: rendered(make(("a", "[b]"), eps=(8 / 255,), found=())),
    "demo": demo,
}


@pytest.mark.parametrize("sample", SAMPLES)
def test_reports_are_what_they_were(sample, make_report, request):
    made = SAMPLES[sample](make_report)
    files = {name: kept(name, text) for name, text in made.items()}
    path = GOLDENS / f"{sample}.json.xz"
    versions = {package: version(package) for package in DRAWN_BY.values()}
    if request.config.getoption("--update-goldens"):
        value = {"versions": versions, "files": files}
        path.write_bytes(lzma.compress(json.dumps(value, sort_keys=True).encode("utf-8")))
    golden = json.loads(lzma.decompress(path.read_bytes()))
    skipped = {p for p in versions if versions[p] != golden["versions"][p]}
    assert sorted(files) == sorted(golden["files"])
    changed = [
        line
        for name, text in files.items()
        if DRAWN_BY.get(Path(name).suffix) not in skipped
        for line in difference(name, golden["files"][name], text)
    ]
    assert not changed, "\n".join(["reports changed:", *changed[:LONGEST_DIFF]])
    if skipped:
        pytest.skip(f"figures or tables not compared: another version of {', '.join(skipped)}")


def kept(name: str, text: str) -> str:
    if name.endswith(".svg") or len(text) > LONGEST_TEXT:
        return f"sha256 {hashlib.sha256(text.encode('utf-8')).hexdigest()}, {len(text)} characters"
    return text


def difference(name: str, old: str, new: str) -> list[str]:
    if old == new:
        return []
    lines = (text.splitlines() for text in (old, new))
    return list(difflib.unified_diff(*lines, name, name, lineterm="", n=0)) or [f"{name}: bytes"]
