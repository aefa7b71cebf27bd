"""A reader looks at the page and its figures: nothing is cut off, and no text covers another."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text

from docs import figures as documents
from fleet.audit.core.kind import load
from fleet.audit.core.result import Check
from fleet.audit.crosscheck.result import Crosscheck
from fleet.audit.transfer.result import TransferAudit
from fleet.paper import convergence_figure, features_figure, figure3_figure
from fleet.paper.figure2_result import Figure2
from fleet.paper.figure3_result import Figure3
from fleet.paper.trainings import Rows
from fleet.reports import AuditReport, read_audit, render_html
from fleet.reports.answers import GUARANTEED
from fleet.reports.drawing import drawing
from fleet.reports.figures import draw_figures
from fleet.reports.ladder import ladder
from fleet.reports.report import report_of
from fleet.reports.transfer_figure import draw
from fleet.reports.whitebox_figures import draw_curves

SLACK = 1.0  # pixels by which boxes of letters may meet
ENCODING = {"alpha": 4.0, "beta": 16.0, "s0": 0.0}


def drawn_texts(figure):
    """Every text that the figure draws, tick labels and legends included, and the canvas.

    Letters are not painted: their boxes are known without.
    """
    renderer, found = FigureCanvasAgg(figure).get_renderer(), {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Text, "draw", lambda text, _: found.setdefault(text))
        figure.draw(renderer)
    shown = [text for text in found if text.get_visible() and text.get_text().strip()]
    return [(t.get_text(), t.get_window_extent(renderer)) for t in shown], renderer


def covered(figure):
    """Pairs of texts whose boxes overlap, and texts that leave the figure."""
    drawn, renderer = drawn_texts(figure)
    words = [word for word, _ in drawn]
    boxes = np.array([box.extents for _, box in drawn]).reshape(-1, 2, 2)  # text, low or high, axis
    low, high = boxes[:, 0], boxes[:, 1]
    size = renderer.get_canvas_width_height()
    out = np.any((low < -SLACK) | (high > np.add(size, SLACK)), axis=1)
    shared = np.minimum(high[:, None], high) - np.maximum(low[:, None], low)
    pairs = np.argwhere(np.triu(np.all(shared > SLACK, axis=2), 1))
    return [words[k] for k in np.flatnonzero(out)] + [(words[i], words[j]) for i, j in pairs]


def figures(report):
    """Every figure of a report by its name."""
    shown = {"ladder": ("fleet.reports.ladder_figure:draw", ladder(report.audits.values()))}
    for audit in report.audits.values():
        shown |= {figure.name: (figure.draw, audit) for figure in report_of(audit).figures}
    with drawing():
        return {name: load(draw)(what) for name, (draw, what) in shown.items()}


def unticked(figure):
    """Panels with a frame and an axis without ticks inside it."""
    found = []
    for panel in (axes for axes in figure.axes if axes.axison):
        for name, axis, limits in (
            ("x", panel.xaxis, panel.get_xlim()),
            ("y", panel.yaxis, panel.get_ylim()),
        ):
            low, high = sorted(limits)
            if not any(low <= tick <= high for tick in axis.get_majorticklocs()):
                found.append((panel.get_title(loc="left"), name))
    return found


def encoded(audit, classes, private):
    """The audit with encodings of so many classes, those of ``private`` not disclosed."""
    encoding = {**ENCODING, "num_classes": classes, "order": None}
    devices = tuple(
        d if d.role == "control" else replace(d, encoding=None if k in private else encoding)
        for k, d in enumerate(audit.devices)
    )
    return replace(audit, devices=devices)


FAMILIES = {
    "two": ["a", "b"],
    "long names": [f"camera-at-the-north-gate-{k}" for k in range(5)],
    "many": [f"cam-{k:02}" for k in range(22)],
}
MANY_FAILED = tuple(Check(f"M{k}", "title", "fail", "finding", "rule") for k in range(1, 22))


@pytest.mark.parametrize(
    ("family", "found"),
    [("two", ()), ("two", MANY_FAILED), ("long names", ()), ("many", MANY_FAILED)],
)
def test_no_text_of_any_figure_covers_another_and_every_axis_has_ticks(make_report, family, found):
    shown = figures(make_report(FAMILIES[family], eps=(8 / 255,), found=found))
    assert len(shown) == 8
    assert {name: covered(figure) for name, figure in shown.items() if covered(figure)} == {}
    assert {name: unticked(figure) for name, figure in shown.items() if unticked(figure)} == {}


def test_no_text_of_any_figure_covers_another_at_several_eps(make_report):
    shown = figures(make_report(["a", "b", "c"], eps=(2 / 255, 4 / 255, 16 / 255)))
    assert {name: covered(figure) for name, figure in shown.items() if covered(figure)} == {}


@pytest.mark.parametrize("classes", [2, 100])
@pytest.mark.parametrize("private", [range(0), range(12), range(1, 12, 2)], ids=repr)
def test_nor_does_it_whatever_is_disclosed_of_the_encodings(make_audit, classes, private):
    """The figure of transfer is the only one that shows them."""
    audit = make_audit(["cam-01", "cam-02"], eps=(0.1,), with_control=True)
    with drawing():
        assert not covered(draw(encoded(audit, classes, private)))


@pytest.mark.parametrize("private", [range(0), range(12), range(1, 12, 2)], ids=repr)
def test_nor_in_the_heat_map_of_more_devices(make_audit, private):
    audit = make_audit(FAMILIES["many"][:7], eps=(0.1,), with_control=True)
    with drawing():
        assert not covered(draw(encoded(audit, 100, private)))


def test_nor_in_the_figures_of_the_paper_and_of_the_documents(project):
    results = project / "results"
    made = results / "reproduce"
    fleets = [
        (name, TransferAudit.load(results / name))
        for name in ("paper-demo/audit.json", "demo/transfer.json")
    ]
    curve = json.loads((results / "robust" / "demo-gates.json").read_text())
    with drawing():
        shown = {
            "figure2": features_figure.draw(Figure2.load(made / "figure2.json")),
            "figure3": figure3_figure.draw(Figure3.load(made / "figure3-mnist.json"), 0.1),
            "convergence": convergence_figure.draw(Rows.load(made / "convergence.json")),
            "both fleets": documents.transfer(fleets),
            "gates": documents.gates(curve),
        }
        met = {name: covered(figure) for name, figure in shown.items()}
    halo = [pair for pair in met.pop("figure2") if pair[0] != pair[1]]  # a number over its outline
    assert not halo
    assert not any(met.values()), met


def test_one_eps_is_a_dot_with_its_tick(make_whitebox):
    with drawing():
        axes = draw_curves(make_whitebox(eps=(0.1,))).axes
    for panel in axes:
        assert all(line.get_marker() not in ("None", "", None) for line in panel.lines)
        assert all(len(line.get_xdata()) == 1 for line in panel.lines)
        assert [text.get_text() for text in panel.get_xticklabels()] == ["0.1"]
        assert len(panel.get_yticklabels()) == 5


@pytest.fixture(scope="module")
def demo(project):
    """The committed audits of the demo, which has certificates."""
    results = project / "results" / "demo"
    return AuditReport.of(*(read_audit(results / f"{k}.json") for k in ("certify", "transfer")))


def test_nothing_is_wider_than_its_window(report, drawn, demo, look, project):
    """At 400 a table may scroll in its own frame, and the page may not."""
    check = Crosscheck.load(project / "results" / "paper-demo" / "crosscheck.json")
    everything = replace(demo, earlier=demo, crosscheck=check)
    pages = [render_html(report, drawn), render_html(everything, draw_figures(demo))]
    seen = look(*((page, width, 800) for page in pages for width in (1600, 1280, 400)))
    found = [[w for w in one["wide"] if k % 3 < 2 or w[0] is None] for k, one in enumerate(seen)]
    assert found == [[]] * 6


def test_the_verdict_is_read_on_a_phone_without_scrolling(report, demo, look):
    """Also of a fleet that was audited in every way at two eps."""
    many = AuditReport.of(demo.audits["certify"], *report.audits.values())
    first, other = look((render_html(demo), 400, 800), (render_html(many), 400, 800))
    assert first["bottom"] <= 800
    assert other["bottom"] <= 800
    assert first["first"] == other["first"] == GUARANTEED


def test_the_audit_that_can_be_believed_least_is_named_first(report):
    """What is below the edge of a phone's screen is less urgent than what is above."""
    *others, last = report.audits.values()
    failed = replace(last, checks=(Check("X1", "title", "fail", "finding", "rule"),))
    text = render_html(AuditReport.of(*others, failed))
    (said,) = re.findall("figures be believed\\?</h3>(.*?)</section>", text, re.DOTALL)
    levels = re.findall('class="tag ([a-z]+)"', said)
    assert {"fail", "pass"} <= set(levels)
    assert levels == sorted(levels, key=["fail", "warn", "pass"].index)


def test_the_contents_lead_to_every_section(report):
    text = render_html(report)
    (contents,) = re.findall('<nav aria-label="Contents">(.*?)</nav>', text, re.DOTALL)
    sections = re.findall('<section id="([^"]+)"', text)
    assert re.findall('href="#([^"]+)"', contents) == sections[1:]
    single = render_html(AuditReport.of(report.audits["trace"]))
    targets = re.findall('href="#([^"]+)"', single)
    assert set(targets) <= set(re.findall('id="([^"]+)"', single))
