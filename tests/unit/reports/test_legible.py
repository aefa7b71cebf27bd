"""A reader looks at the page and its figures: nothing is cut off, and no text covers another."""

import html
import json
import re
import shutil
import subprocess
from dataclasses import replace
from itertools import combinations

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from fleet.reports import AuditReport, render_html
from fleet.reports.drawing import drawing
from fleet.reports.transfer_figure import draw
from fleet.reports.whitebox_figures import draw_curves

SLACK = 1.0  # pixels by which boxes of letters may meet
ENCODING = {"alpha": 4.0, "beta": 16.0, "s0": 0.0}


def covered(figure):
    """Pairs of texts whose boxes overlap, and texts that leave the figure."""
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw_without_rendering()
    texts = [*figure.texts, *(t for axes in figure.axes for t in axes.texts)]
    boxes = [(t.get_text(), t.get_window_extent(renderer)) for t in texts if t.get_text()]
    width, height = renderer.get_canvas_width_height()
    out = [w for w, b in boxes if min(b.x0, b.y0) < 0 or b.x1 > width or b.y1 > height]
    return out + [
        (first, second)
        for (first, a), (second, b) in combinations(boxes, 2)
        if min(a.x1, b.x1) - max(a.x0, b.x0) > SLACK and min(a.y1, b.y1) - max(a.y0, b.y0) > SLACK
    ]


def encoded(audit, classes, private):
    """The audit with encodings of so many classes, those of ``private`` not disclosed."""
    encoding = {**ENCODING, "num_classes": classes, "order": None}
    devices = tuple(
        d if d.role == "control" else replace(d, encoding=None if k in private else encoding)
        for k, d in enumerate(audit.devices)
    )
    return replace(audit, devices=devices)


@pytest.mark.parametrize("count", [2, 4, 12])
@pytest.mark.parametrize("classes", [2, 10, 100])
@pytest.mark.parametrize("private", [range(0), range(12), range(1, 12, 2)], ids=repr)
def test_no_text_of_the_heat_map_covers_another(make_audit, count, classes, private):
    audit = make_audit([f"cam-{k:02}" for k in range(count)], eps=(0.1,), with_control=True)
    with drawing():
        assert not covered(draw(encoded(audit, classes, private)))


def test_one_eps_is_a_dot_with_its_tick(make_whitebox):
    with drawing():
        axes = draw_curves(make_whitebox(eps=(0.1,))).axes
    for panel in axes:
        assert all(line.get_marker() not in ("None", "", None) for line in panel.lines)
        assert all(len(line.get_xdata()) == 1 for line in panel.lines)
        assert [text.get_text() for text in panel.get_xticklabels()] == ["0.1"]
        assert len(panel.get_yticklabels()) == 5


@pytest.mark.skipif(not shutil.which("chromium"), reason="chromium is not installed")
def test_nothing_is_wider_than_a_window_of_1280(report, drawn, tmp_path):
    """Folded parts opened; tables that scroll count too."""
    script = """<script>onload = () => {
      document.querySelectorAll("details").forEach(part => part.open = true);
      const wide = [document.documentElement, ...document.querySelectorAll(".scroll")]
        .filter(part => part.scrollWidth > part.clientWidth + 1)
        .map(part => [part.getAttribute("aria-label"), part.scrollWidth, part.clientWidth]);
      document.title = JSON.stringify(wide); }</script>"""
    text = re.sub(r"<meta http-equiv[^>]*>", "", render_html(report, drawn))
    page = tmp_path / "report.html"
    page.write_text(text + script, encoding="utf-8")
    flags = "headless no-sandbox disable-gpu no-first-run disable-background-networking"
    flags += " disable-component-update disable-sync window-size=1280,800 dump-dom"
    found = subprocess.run(
        ["chromium", *(f"--{f}" for f in flags.split()), f"--user-data-dir={tmp_path}/user",
         page.as_uri()],
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    title = re.search("<title>(.*?)</title>", found.stdout, re.DOTALL)
    assert json.loads(html.unescape(title[1])) == []


def test_the_contents_lead_to_every_section(report):
    text = render_html(report)
    (contents,) = re.findall('<nav aria-label="Contents">(.*?)</nav>', text, re.DOTALL)
    sections = re.findall('<section id="([^"]+)"', text)
    assert re.findall('href="#([^"]+)"', contents) == sections[1:]
    single = render_html(AuditReport.of(report.audits["trace"]))
    targets = re.findall('href="#([^"]+)"', single)
    assert set(targets) <= set(re.findall('id="([^"]+)"', single))
