import xml.etree.ElementTree as ET

import pytest

from fleet.audit.core.result import Check
from fleet.reports import AuditReport
from fleet.reports.figures import draw_figures, encoded

SVG = "{http://www.w3.org/2000/svg}"


def texts(svg):
    return ["".join(node.itertext()).strip() for node in ET.fromstring(svg).iter(f"{SVG}text")]


def draw(module, *arguments):
    return texts(encoded(f"fleet.reports.{module}", arguments, "svg")[0])


@pytest.fixture(scope="module")
def found(drawn):
    return {figure.name: texts(figure.svg) for figure in drawn}


def test_a_report_has_every_figure(drawn):
    assert [(figure.name, figure.kind) for figure in drawn] == [
        ("ladder", None),
        ("whitebox-curves", "whitebox"),
        ("whitebox-split", "whitebox"),
        ("whitebox-margins", "whitebox"),
        ("transfer", "transfer"),
        ("coalition", "coalition"),
        ("query", "query"),
        ("trace", "trace"),
    ]
    assert all(figure.png.startswith(b"\x89PNG") for figure in drawn)
    assert all(len(figure.alt) > 40 for figure in drawn)


def test_a_masked_protocol_says_so_in_each_figure_that_shows_it(found):
    assert "paper protocol: evade (MASKED: M1, M8)" in found["whitebox-curves"]
    assert "MASKED: M1, M8 failed" in found["whitebox-split"]
    assert "adaptive: flip" in found["whitebox-curves"]


def test_every_device_has_its_panel_and_controls_are_named(found):
    for name in ("gate-north", "gate-south", "sorter-1", "handheld", "tra-nn (control)"):
        assert found["whitebox-curves"].count(name) == 1
        assert found["whitebox-margins"].count(name) == 1
        assert found["whitebox-split"].count(name) == 2  # once for each protocol


def test_margins_give_the_share_below_eps(found, report):
    margins = report.audits["whitebox"].margins[0].values
    share = sum(value < 0.1 for value in margins) / len(margins)
    assert f"0.1: {share:.2f}" in found["whitebox-margins"]
    assert "n 300" in found["whitebox-margins"]


def test_a_device_without_margins_says_so(make_whitebox):
    audit = make_whitebox(["a", "b"], eps=(0.1,))
    data = audit.to_dict()
    data["margins"][0]["values"] = []
    assert "no image" in draw("whitebox_figures:draw_margins", rebuilt(audit, data))


def rebuilt(audit, data):
    from fleet.audit.core.document import from_document

    return from_document(type(audit), data, data["schema"])


def test_the_ladder_names_each_attacker_once_and_leaves_out_those_without_a_figure(
    found, make_audit
):
    assert "3 of 4 devices   T2" in found["ladder"]
    report = AuditReport.of(make_audit(eps=(0.1,)))
    (ladder, _) = draw_figures(report)
    attackers = [text for text in texts(ladder.svg) if "   T" in text]
    assert attackers == ["one device   T1", "the victim itself (white-box)   T4"]


def test_an_attacker_with_a_figure_at_one_eps_has_a_gap_at_another(make_whitebox, make_coalition):
    both = AuditReport.of(make_whitebox(eps=(0.1, 0.2)), make_coalition(eps=(0.1,)))
    (ladder, *_) = draw_figures(AuditReport.of(*both.audits.values()))
    assert "3 of 4 devices   T2" in texts(ladder.svg)


def test_a_flagged_rung_says_so(make_audit):
    failed = Check("M3", "title", "fail", "finding", "rule", "adaptive")
    (ladder, _) = draw_figures(AuditReport.of(make_audit(["a", "b"], eps=(0.1,), found=(failed,))))
    assert texts(ladder.svg).count("MASKED: M3") == 2


@pytest.mark.parametrize("kind", ["coalition", "query", "trace"])
def test_a_failed_check_stands_above_the_curves(kind, request):
    failed = Check("X1", "title", "fail", "finding", "rule")
    audit = request.getfixturevalue(f"make_{kind}")(["a", "b"], eps=(0.1,), found=(failed,))
    assert "UNRELIABLE: X1 failed" in draw(f"{kind}_figure:draw", audit)


def test_one_eps_and_one_budget_are_drawn_too(make_whitebox, make_query, make_coalition):
    assert "eps 0.1" in draw("whitebox_figures:draw_split", make_whitebox(["a"], eps=(0.1,)))
    assert "a" in draw("whitebox_figures:draw_curves", make_whitebox(["a"], eps=(0.1,)))
    data = make_query(["a", "b"], eps=(0.1,)).to_dict()
    for curve in data["curves"]:
        curve["points"] = curve["points"][-1:]
    assert "a, eps 0.1" in draw("query_figure:draw", rebuilt(make_query(["a", "b"]), data))
    audit = make_coalition(["a", "b"], eps=(0.1,), with_control=False)
    assert "eps 0.1" in draw("coalition_figure:draw", audit)


def test_many_eps_are_thinned_and_said(make_whitebox):
    eps = tuple(k / 100 for k in range(1, 10))
    shown = draw("whitebox_figures:draw_split", make_whitebox(["a"], eps=eps))
    assert "Share of correct images; 6 of 9 eps" in shown
    assert {"eps 0.01", "eps 0.09"} <= set(shown)


def test_large_fleets_are_grouped(make_whitebox, make_query, make_trace):
    names = [f"camera-{index:02d}" for index in range(24)]
    audit = make_whitebox(names, eps=(0.1,))
    from fleet.reports.whitebox_figures import grouped, in_order

    panels = list(grouped(in_order(audit)))
    assert panels == ["23 × int, nn, linear", "1 × int, nn, ordinal", "1 × control tra, nn, logits"]
    shown = draw("whitebox_figures:draw_curves", audit)
    assert set(panels) <= set(shown)
    assert "adaptive: evade, band: lowest to highest device" in shown
    shown = draw("query_figure:draw", make_query(names, eps=(0.1,)))
    assert sum(text.endswith(", eps 0.1") for text in shown) == 16  # 8 victims, two ways to count
    assert not [
        text for text in draw("trace_figure:draw", make_trace(names, eps=(0.1,))) if text == ".97"
    ]


HOSTILE = ["$\\frac{a}$<svg onload=1>", "日本\x0b\u202e" + "x" * 60]


@pytest.mark.parametrize("kind", ["whitebox", "coalition", "query", "trace"])
def test_hostile_names_are_drawn_as_text(kind, request):
    audit = request.getfixturevalue(f"make_{kind}")(HOSTILE, eps=(0.1,))
    for figure in draw_figures(AuditReport.of(audit)):
        shown = texts(figure.svg)
        assert not any("\u202e" in text or "\x0b" in text for text in shown)
        ET.fromstring(figure.svg)
