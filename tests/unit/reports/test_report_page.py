"""The page of a whole run, figures included."""

import importlib.util
from pathlib import Path

import pytest

from fleet.audit.core.result import Check
from fleet.reports import AuditReport, render_html
from fleet.reports.wording import format_rate

spec = importlib.util.spec_from_file_location(
    "html_pages", Path(__file__).with_name("test_html.py")
)
pages = importlib.util.module_from_spec(spec)
spec.loader.exec_module(pages)


@pytest.fixture(scope="module")
def text(report, drawn):
    return render_html(report, drawn)


@pytest.fixture(scope="module")
def page(text):
    return pages.Page(text)


def test_it_stands_alone(page, text):
    pages.require_self_contained(page, text)
    pages.require_whole_tables(page)


def test_every_figure_is_in_it_with_its_words(page, drawn):
    shown = [attributes for tag, attributes in page.elements if tag == "svg"]
    inside = [figure.alt for figure in drawn if figure.kind != "transfer"]  # a table is there
    assert [found["aria-label"] for found in shown] == inside
    assert all(found["role"] == "img" for found in shown)


def test_ids_are_unique_over_all_figures(page):
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_the_executive_part_comes_first(page):
    sections = [attributes["id"] for tag, attributes in page.elements if tag == "section"]
    assert sections == [
        "verdict",
        "flags",
        "ladder",
        "whitebox",
        "transfer",
        "coalition",
        "query",
        "trace",
        "checks",
        "devices",
        "settings",
    ]


def test_the_white_box_table_has_the_papers_form(page, report):
    (table,) = [t for t in page.tables if t["caption"].startswith("White-box attack success")]
    groups = [" ".join(cell) for cell in table["rows"][0]]
    assert groups == [
        "device",
        "task",
        "LEG",
        "FGSM MASKED: M1, M8",
        "PGD MASKED: M1, M8",
        "adaptive flip",
        "adaptive evade",
        "noise floor",
    ]
    assert [cell[0] for cell in table["rows"][1]] == ["0.02", "0.05", "0.1", "0.2", "0.3"] * 5
    rows = {row[0][0]: [cell[0] for cell in row[1:]] for row in table["rows"][2:]}
    audit = report.audits["whitebox"]
    assert rows["gate-south"][:2] == ["INT", "0.972"]
    assert rows["tra-nn (control)"][0] == "TRA"
    fgsm = audit.figure("gate-south", "paper", 0.1, "fgsm").outcome.rate("evade")
    flip = audit.figure("gate-south", "adaptive", 0.1).outcome.rate("flip")
    noise = audit.noise_floor("gate-south", 0.3).outcome.rate("evade")
    assert rows["gate-south"][2 + 2] == format_rate(fgsm)
    assert rows["gate-south"][2 + 10 + 2] == format_rate(flip)
    assert rows["gate-south"][-1] == format_rate(noise)


def test_no_masked_protocol_stands_without_its_flag(page):
    details = page.table("Worst case of each protocol")
    assert details["gate-north"][0] in (["adaptive"], ["paper, MASKED: M1, M8"])
    for table in page.tables:
        for row in table["rows"]:
            if row and row[0] and row[0][0] == "paper":
                assert "MASKED" in " ".join(row[0])


def test_what_is_missing_is_said(audit):
    text = render_html(AuditReport.of(audit))
    assert "Not audited: certificates, white-box, diversity, coalition, query, trace." in text
    assert "no control was audited" in text


def test_controls_are_marked_in_every_matrix(page):
    matrices = [t for t in page.tables if "Rows: surrogate" in t["caption"]]
    assert len(matrices) == 2 * 2 * 3  # eps, protocols, denominators: each once
    for table in matrices:
        assert table["rows"][0][-1] == ["tra-nn (control)"]
        assert ["tra-nn (control)"] in [row[0] for row in table["rows"]]


def test_a_large_fleet_shows_its_worst_pairs(make_audit):
    names = [f"camera-{index:02d}" for index in range(24)]
    page = pages.Page(render_html(AuditReport.of(make_audit(names, eps=(0.1,)))))
    assert not [t for t in page.tables if "Rows: surrogate" in t["caption"]]
    assert "matrices are whole in transfer.csv" in "".join(page.text)
    (table,) = [t for t in page.tables if t["caption"].startswith("Adaptive protocol, eps")]
    assert len(table["rows"]) == 21
    rates = [float(row[2][0]) for row in table["rows"][1:]]
    assert rates == sorted(rates, reverse=True)


@pytest.mark.parametrize("kind", ["whitebox", "coalition", "query", "trace"])
def test_hostile_names_stay_text(kind, request):
    checks = (Check("<b>M1", "</td>", "fail", "<svg/onload=1>", "&amp;", "paper <i>"),)
    make = request.getfixturevalue(f"make_{kind}")
    text = render_html(AuditReport.of(make(pages.HOSTILE, eps=(0.1,), found=checks)))
    page = pages.Page(text)
    pages.require_self_contained(page, text.replace("{{ 7 * 7 }}", ""))
    assert not {tag for tag, _ in page.elements} & {"svg", "i"}
    assert set(pages.HOSTILE[:3]) <= set(page.text) | {
        cell for table in page.tables for row in table["rows"] for part in row for cell in part
    }
    text.encode("utf-8")


def test_audits_of_other_weights_are_a_warning(report):
    other = report.audits["trace"].to_dict()
    other["devices"][0]["weights_sha256"] = "0f" * 32
    from fleet.audit.core.document import from_document

    trace = from_document(type(report.audits["trace"]), other, other["schema"])
    text = render_html(AuditReport.of(report.audits["transfer"], trace))
    assert "gate-north had other weights in each of these audits: transfer; trace" in text
