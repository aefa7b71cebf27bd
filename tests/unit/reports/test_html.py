import html
import re
from dataclasses import replace
from html.parser import HTMLParser
from itertools import product

import pytest

from fleet.audit.core.result import Check
from fleet.audit.transfer.result import TransferAudit
from fleet.reports import AuditReport
from fleet.reports.html import render_html as render_report
from fleet.reports.html import style_sheet
from fleet.reports.palette import contrast
from fleet.reports.wording import format_interval, format_rate


def render_html(audit: TransferAudit) -> str:
    return render_report(AuditReport.of(audit))


NAMES = ("gate-north", "gate-south", "sorter-1", "handheld")
VOID = {"meta", "br", "hr", "img", "input", "link"}
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


class Page(HTMLParser):
    """Collects elements, tables and text, and insists that every tag is closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.stack: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.tables: list[dict] = []
        self.text: list[str] = []
        self.feed(text)
        self.close()
        assert self.stack == []

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        assert len(found) == len(attrs), f"twice the same attribute in <{tag}>"
        self.elements.append((tag, found))
        if tag not in VOID:
            self.stack.append(tag)
        if tag == "table":
            self.tables.append({"caption": "", "rows": [], "scopes": [], "widths": []})
        elif tag == "tr":
            self.tables[-1]["rows"].append([])
            self.tables[-1]["widths"].append(0)
        elif tag in ("td", "th"):
            self.tables[-1]["rows"][-1].append([])
            self.tables[-1]["widths"][-1] += int(found.get("colspan") or 1)
            if tag == "th":
                self.tables[-1]["scopes"].append(found.get("scope"))

    def handle_endtag(self, tag):
        assert self.stack.pop() == tag

    def handle_data(self, data):
        if "style" in self.stack:
            return
        self.text.append(data)
        if "caption" in self.stack:
            self.tables[-1]["caption"] += data
        elif {"td", "th"} & set(self.stack) and data.strip():
            self.tables[-1]["rows"][-1][-1].append(data.strip())

    def table(self, words: str) -> dict[str, list[list[str]]]:
        """Rows of the table whose caption begins with ``words``, by their first cell."""
        (found,) = [t for t in self.tables if t["caption"].startswith(words)]
        return {row[0][0]: row[1:] for row in found["rows"]}


@pytest.fixture(scope="module")
def page(audit: TransferAudit) -> Page:
    return Page(render_html(audit))


def require_self_contained(page: Page, text: str) -> None:
    tags = {tag for tag, _ in page.elements}
    assert not tags & {"script", "link", "iframe", "object", "embed", "base", "form"}
    for _, attributes in page.elements:
        assert not [name for name in attributes if name.startswith("on")]
        for name, value in attributes.items():
            assert not name.endswith(("href", "src")) or value.startswith(
                ("#", "data:image/png;base64,")
            )
    without_pictures = re.sub(r"data:image/png;base64,[\w+/=\s]+", "", text)
    outside = r"https?:|//|@import|url\((?!#)|javascript:"
    assert not re.search(outside, without_pictures, re.IGNORECASE)


def test_nothing_runs_and_nothing_is_loaded(audit, page):
    require_self_contained(page, render_html(audit))


def test_the_policy_forbids_what_the_page_does_not_need(page):
    metas = [attributes for tag, attributes in page.elements if tag == "meta"]
    policies = [m["content"] for m in metas if m.get("http-equiv") == "Content-Security-Policy"]
    assert policies == [POLICY]
    assert ("html", {"lang": "en"}) in page.elements


def require_whole_tables(page: Page) -> None:
    """Each has a caption, headers both ways, and lines of one width (spans counted)."""
    for table in page.tables:
        assert table["caption"].strip()
        assert {"row", "col"} <= set(table["scopes"]) <= {"row", "col", "colgroup"}
        body = [width for width in table["widths"] if width]
        if "colgroup" not in table["scopes"]:
            assert len(set(body)) == 1, table["caption"]
        assert body[0] == body[-1], table["caption"]


def test_every_table_says_what_it_is(page):
    assert len(page.tables) > 12
    require_whole_tables(page)


def test_sections_are_labelled_by_headings_that_exist(page):
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    labels = {a["aria-labelledby"] for _, a in page.elements if "aria-labelledby" in a}
    assert labels <= set(ids)


def test_sections_stand_in_the_order_of_their_weight(page):
    sections = [attributes["id"] for tag, attributes in page.elements if tag == "section"]
    assert sections == [
        "verdict",
        "flags",
        "ladder",
        "transfer",
        "checks",
        "devices",
        "settings",
    ]


def test_failed_checks_come_before_any_rate(audit):
    text = render_html(audit)
    first_rate = text.index("0.360")
    for check in audit.checks:
        if check.verdict == "fail":
            assert text.index(check.title) < first_rate
    blind = text.index("the paper&#39;s own attack is blind here: 2 checks: M1, M8")
    assert text.index("1 of 3 reliability checks warn") < blind < text.index("M1 gradient")


def test_all_checks_stand_with_their_rules(audit, page):
    raised = page.table("Checks that failed or warn") | page.table("Checks that passed")
    for check in audit.checks:
        row = raised[f"{check.id} {check.title}"]
        assert row[1:] == [
            [check.verdict],
            [check.subject or "all"],
            [check.finding],
            [check.threshold],
        ]


@pytest.mark.parametrize("protocol", ["adaptive", "paper"])
@pytest.mark.parametrize("eps", [0.1, 0.2])
def test_matrices_hold_the_audits_figures(audit, page, protocol, eps):
    flagged = " (masked)" if protocol == "paper" else ""
    radius = {0.1: "0.1 (25.5/255)", 0.2: "0.2 (51/255)"}[eps]
    words = f"{protocol.capitalize()} protocol{flagged}, eps {radius}: evade (flip or reject)"
    table = page.table(words)
    for surrogate in audit.devices:
        for victim, shown in zip(audit.devices, table[surrogate.name], strict=True):
            outcome = audit.matrix(protocol, eps).cell(surrogate.name, victim.name).outcome
            assert shown == [
                format_rate(outcome.rate("evade")),
                format_interval(outcome.interval("evade")),
                f"flip {format_rate(outcome.rate('flip'))}",
            ]
    assert table["n"] == [[str(d.correct)] for d in audit.devices]
    assert table["clean accuracy"] == [[f"{d.clean_accuracy:.3f}"] for d in audit.devices]
    floors = [audit.noise_floor(d.name, eps).outcome.rate("evade") for d in audit.devices]
    assert table["noise floor"] == [[format_rate(floor)] for floor in floors]


def test_other_denominators_show_their_counts(audit, page):
    words = "Paper protocol (masked), eps 0.1 (25.5/255): evade, among those whose attack"
    table = page.table(words)
    matrix = audit.matrix("paper", 0.1)
    for surrogate in audit.devices:
        for victim, shown in zip(audit.devices, table[surrogate.name], strict=True):
            given = matrix.cell(surrogate.name, victim.name).given_success
            assert shown[:2] == [format_rate(given.rate("evade")), f"{given.evade} of {given.n}"]
    assert table["gate-north"][0][0] == "–"  # nothing succeeded, so there is nothing to divide by


def test_the_banner_stands_on_masked_tables_only(audit, page):
    text = render_html(audit)
    banner = "<strong>MASKED</strong> M1, M8 failed"
    masked = [t for t in page.tables if t["caption"].startswith("Paper protocol")]
    assert text.count(banner) == len(masked) > 0
    assert all("(masked)" in table["caption"] for table in masked)
    assert not any("masked" in t["caption"] for t in page.tables if "Adaptive" in t["caption"])


def test_settings_and_provenance_are_whole(page):
    settings = page.table("Transfer: how the audit was made")
    assert settings["attacks.pgd-up-down.steps"] == [["40"]]
    assert settings["attacks.pgd-up-down.targeted"] == [["false"]]
    provenance = page.table("Transfer: data, versions and machine")
    assert provenance["command"] == [["fleet, audit, transfer"]]
    assert page.table("SHA-256 of the weights")["handheld"] == [["3" * 64]]


def test_each_device_has_a_card_with_what_tells_it_apart(audit):
    text = html.unescape(re.sub(r"<[^>]+>", " ", render_html(audit)))
    words = " ".join(text.split())
    card = words.split(" gate-south encoding ")[1].split(" sorter-1 encoding ")[0]
    order = " ".join(str((7 * (s - 1)) % 10) for s in range(10))
    assert card.startswith(
        f"α 4, β 8 to 17, β / (α + β) 0.6667 to 0.8095, s0 0; classes {order} "
        "network nn, head linear, task int clean right 0.972 (95 % "
    )
    matrix = audit.matrix("adaptive", 0.1)
    into = {n: matrix.cell(n, "gate-south").outcome.rate("evade") for n in NAMES}
    onto = {n: matrix.cell("gate-south", n).outcome.rate("evade") for n in NAMES}
    for line, rates in (("evaded by images of", into), ("its images evade", onto)):
        first = max((n for n in NAMES if n != "gate-south"), key=lambda name: rates[name])
        assert f"{line}, eps 0.1 {first} {rates[first]:.3f} (95 % " in card


def test_it_says_how_it_was_run_and_how_long_it_took(audit, page):
    timed = Page(render_html(replace(audit, seconds=75.2))).table("Seconds: of the last start")
    assert timed["Transfer"] == [
        ["fleet audit transfer"],
        ["7"],
        ["1000"],
        ["–"],
        ["–"],
        [audit.created],
        ["75 s"],
    ]
    assert page.table("Seconds")["Transfer"][-1] == ["–"]


def test_a_device_without_intervals_is_shown_too(audit):
    data = audit.to_dict()
    data["devices"][0].update(task="tra", head="logits", encoding=None)
    assert "no intervals" in render_html(TransferAudit.from_dict(data))


HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "{{ 7 * 7 }}</style></table>",
    "\u202egnp.\x00\x1b[2J\ud800",
]


def test_hostile_names_stay_text(make_audit):
    checks = (Check("<b>M1", "</td>", "fail", "<svg/onload=1>", "&amp;", "paper <i>"),)
    text = render_html(make_audit(HOSTILE, found=checks))
    page = Page(text)
    assert not {tag for tag, _ in page.elements} & {"script", "img", "svg", "i"}
    shown = {row[0][0] for table in page.tables for row in table["rows"] if row[0]}
    assert {*HOSTILE[:3], "\ufffdgnp.\ufffd\ufffd[2J\ufffd"} <= shown
    assert "&amp;amp;" in text
    text.encode("utf-8")


def test_every_name_is_in_the_page(make_audit):
    names = [f"camera-{index}" for index in range(16)]
    text = "".join(Page(render_html(make_audit(names, eps=(0.1,)))).text)
    assert all(name in text for name in names)


def test_the_same_audit_gives_the_same_bytes(audit):
    again = TransferAudit.from_dict(audit.to_dict())
    assert render_html(again) == render_html(audit)


def test_one_protocol_one_device_and_no_checks(make_audit):
    text = render_html(make_audit(["only"], protocols=("adaptive",), eps=(0.1,), found=()))
    page = Page(text)
    assert "No reliability check ran" in text
    assert "no transfer to measure" in text
    assert not [table for table in page.tables if table["caption"].startswith("Paper")]


def test_an_audit_whose_checks_all_passed(make_audit):
    text = render_html(make_audit(found=(Check("M1", "gradient", "pass", "fine", "rule"),)))
    assert "The only reliability check passed." in text
    assert "masked" not in text


def colors(block: str) -> dict[str, str]:
    return dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", block))


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_every_ink_is_legible_on_every_paper(scheme):
    blocks = re.findall(r":root \{([^}]*--ink[^}]*)\}", style_sheet())
    assert len(blocks) == 2
    found = colors(blocks[scheme])
    inks = [value for name, value in found.items() if name.startswith("ink")]
    papers = [value for name, value in found.items() if name.startswith("paper")]
    assert (len(inks), len(papers)) == (5, 5)
    assert min(contrast(ink, paper) for ink, paper in product(inks, papers)) >= 4.5


def test_text_colours_are_only_the_tested_ones():
    rules = re.sub(r":root \{[^}]*\}", "", style_sheet())
    ramp = re.findall(r"\.r(\d+)\{background:(#\w{6});color:(#\w{6})\}", rules)
    assert [int(step) for step, _, _ in ramp] == list(range(101))
    assert min(contrast(background, ink) for _, background, ink in ramp) >= 4.5
    others = re.sub(r"\.r\d+\{.*?\}", "", rules)
    assert "#" not in others
    assert "opacity" not in others
    assert set(re.findall(r"(?<!-)color: (?!-)([^;]+);", others)) == {
        "var(--ink)",
        "var(--ink-muted)",
        "var(--ink-fail)",
        "var(--ink-warn)",
        "var(--ink-pass)",
    }
