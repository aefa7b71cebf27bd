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

from fleet.reports import AuditReport, read_audit, render_html
from fleet.reports.answers import GUARANTEED
from fleet.reports.drawing import drawing
from fleet.reports.figures import draw_figures
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


LOOK = """
onload = () => {
  const told = [...document.querySelectorAll("iframe")].map(frame => {
    const page = frame.contentDocument, box = page.querySelector("#verdict");
    page.querySelectorAll("details").forEach(part => part.open = true);
    const wide = [page.documentElement, ...page.querySelectorAll(".scroll")]
      .filter(part => part.scrollWidth > part.clientWidth + 1)
      .map(part => [part.getAttribute("aria-label"), part.scrollWidth, part.clientWidth]);
    return {wide, bottom: box.getBoundingClientRect().bottom,
            first: box.querySelector("dt").textContent};
  });
  document.title = JSON.stringify(told);
}"""


@pytest.fixture
def look(tmp_path):
    """Open pages in windows of these sizes, folded parts opened, and say what is seen of each."""
    if not shutil.which("chromium"):
        pytest.skip("chromium is not installed")

    def opened(*windows):
        frames = [
            f'<iframe width={width} height={height} style="border:0" srcdoc="{html.escape(page)}">'
            "</iframe>"
            for page, width, height in windows
        ]
        page = tmp_path / "windows.html"
        text = f"<!doctype html><script>{LOOK}</script>{''.join(frames)}"
        page.write_text(text, encoding="utf-8")
        flags = "headless no-sandbox disable-gpu no-first-run disable-background-networking"
        flags += " disable-component-update disable-sync window-size=1600,900 dump-dom"
        found = subprocess.run(
            ["chromium", *(f"--{f}" for f in flags.split()), f"--user-data-dir={tmp_path}/user",
             page.as_uri()],
            capture_output=True, text=True, check=True, timeout=120,
        )  # fmt: skip
        title = re.search("<title>(.*?)</title>", found.stdout, re.DOTALL)
        return json.loads(html.unescape(title[1]))

    return opened


@pytest.fixture(scope="module")
def demo(project):
    """The committed audits of the demo, which has certificates."""
    results = project / "results" / "demo"
    return AuditReport.of(*(read_audit(results / f"{k}.json") for k in ("certify", "transfer")))


def test_nothing_is_wider_than_its_window(report, drawn, demo, look):
    """At 400 a table may scroll in its own frame, and the page may not."""
    pages = [render_html(report, drawn), render_html(demo, draw_figures(demo))]
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


def test_the_contents_lead_to_every_section(report):
    text = render_html(report)
    (contents,) = re.findall('<nav aria-label="Contents">(.*?)</nav>', text, re.DOTALL)
    sections = re.findall('<section id="([^"]+)"', text)
    assert re.findall('href="#([^"]+)"', contents) == sections[1:]
    single = render_html(AuditReport.of(report.audits["trace"]))
    targets = re.findall('href="#([^"]+)"', single)
    assert set(targets) <= set(re.findall('id="([^"]+)"', single))
