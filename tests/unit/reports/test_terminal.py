import io
import re

import pytest
from rich.console import Console

from fleet.audit.core.result import Check
from fleet.reports import AuditReport
from fleet.reports.matrices import MatrixView
from fleet.reports.matrices import matrix_table as transfer_table
from fleet.reports.transfer import worst_table, worst_view
from fleet.reports.views import all_checks, audit_view, checks_table, summary_text


def transfer_view(audit, eps):
    return MatrixView(audit, eps, worst_view)


def show(renderable, width=100, *, styled=False, terminal=False):
    console = Console(
        width=width,
        file=io.StringIO(),
        force_terminal=styled or terminal,
        color_system="standard" if styled else None,
        highlight=False,
        legacy_windows=False,
    )
    console.print(renderable)
    return console.file.getvalue()


def cells(text):
    return [[part.strip() for part in line.strip("│┃").split("│")] for line in text.splitlines()]


def test_the_matrix_and_its_footer_hold_the_audits_figures(audit):
    table = cells(show(transfer_table(audit, "adaptive", 0.1)))
    body = {row[0]: row[1:] for row in table if len(row) == 5}
    for device in audit.devices:
        matrix = audit.matrix("adaptive", 0.1)
        assert body[device.name] == [
            f"{matrix.cell(device.name, victim.name).outcome.rate('evade'):.3f}"
            for victim in audit.devices
        ]
    floors = [audit.noise_floor(d.name, 0.1).outcome for d in audit.devices]
    assert body["noise floor"] == [f"{floor.rate('evade'):.3f}" for floor in floors]
    assert body["clean accuracy"] == [f"{d.clean_accuracy:.3f}" for d in audit.devices]
    assert body["clean reject"] == [f"{d.clean_reject_rate:.3f}" for d in audit.devices]
    assert body["n"] == [str(d.correct) for d in audit.devices]


def test_the_diagonal_is_bold(audit):
    text = show(transfer_table(audit, "adaptive", 0.1), styled=True)
    assert re.findall(r"\x1b\[1m +([\d.]+)\x1b", text) == ["0.950", "0.960", "0.970", "0.980"]


def test_a_masked_matrix_says_so_above_its_figures(audit):
    text = show(transfer_table(audit, "paper", 0.1))
    assert text.index("MASKED: M1, M8 failed") < text.index("0.113")
    assert "MASKED" not in show(transfer_table(audit, "adaptive", 0.1))


def test_protocols_stand_side_by_side_where_there_is_room(audit):
    wide = show(transfer_view(audit, 0.1), 150)
    assert wide.splitlines()[0].count("protocol, eps 0.1") == 2
    assert max(map(len, wide.splitlines())) <= 150


def test_protocols_stand_below_each_other_where_there_is_less(audit):
    text = show(transfer_view(audit, 0.1), 100)
    assert text.index("adaptive protocol") < text.index("paper protocol")
    assert text.splitlines()[0].count("protocol, eps 0.1") == 1
    assert "worst pairs" not in text


@pytest.mark.parametrize("width", [60, 80, 100])
def test_a_matrix_too_wide_gives_way_to_its_worst_pairs(make_audit, width):
    audit = make_audit([f"camera-{index:02d}-hall" for index in range(16)], eps=(0.1,))
    text = re.sub(r"\x1b\[\d*m", "", show(transfer_view(audit, 0.1), width, terminal=True))
    assert "10 worst pairs" in text
    assert "report.html" in text
    assert "0.331–0.392" in text
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= width


def test_worst_pairs_are_sorted_and_never_white_box(audit):
    table = cells(show(worst_table(audit, "adaptive", 0.1, top=5).terminal()))
    body = [row for row in table if len(row) == 6]
    assert len(body) == 5
    assert all(row[0] != row[1] for row in body)
    rates = [float(row[2]) for row in body]
    assert rates == sorted(rates, reverse=True)
    assert body[0][2:] == ["0.360", "0.330–0.390", "965", "+0.330"]


def test_checks_come_worst_first(audit):
    report = AuditReport.of(audit)
    found = [check for _, check in all_checks(report, "fail", "warn", "pass")]
    text = show(checks_table([("", c) for c in found], "checks").terminal())
    positions = [text.index(word) for word in ("M1 ", "M8 ", "M9 ", "M3 ", "M12 ")]
    assert positions == sorted(positions)
    assert [text.count(word) for word in ("FAIL", "WARN", "PASS")] == [2, 1, 2]


def test_the_view_ends_with_the_verdict(audit, make_audit):
    text = show(audit_view(audit), 200)
    assert text.rstrip().splitlines()[-1].startswith("warning: 1 of 3")
    passed = (Check("M1", "gradient", "pass", "fine", "rule"),)
    assert "reliability checks\n" not in show(audit_view(make_audit(found=passed)), 200)


def test_the_verdict_is_coloured(audit, make_audit):
    assert "\x1b[1;33mwarning: 1 of 3" in show(summary_text(audit), 200, styled=True)
    unsound = make_audit(found=(Check("M11", "repeat", "fail", "differs", "rule"),))
    assert "\x1b[1;31mwarning: 1 of 1" in show(summary_text(unsound), 200, styled=True)


def test_hostile_names_neither_style_nor_drive_the_terminal(make_audit):
    names = ["[red]x[/red]", "\x1b[2Jgone", "[/nothing]", "a\rb"]
    audit = make_audit(names, eps=(0.1,))
    for width in (60, 200):
        text = show(audit_view(audit), width)
        assert "\x1b" not in text
        assert "\r" not in text
    assert "[red]x[/red]" in show(audit_view(audit), 200)
    assert "[/nothing]" in show(audit_view(audit), 200)
