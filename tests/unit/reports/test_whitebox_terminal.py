import io

from rich.console import Console

from fleet.audit.core.kind import KINDS
from fleet.audit.core.result import Check
from fleet.reports.views import audit_view, report_view, summary_lines
from fleet.reports.whitebox import papers_table


def show(renderable, width=140):
    console = Console(width=width, file=io.StringIO(), color_system=None, highlight=False)
    console.print(renderable)
    return console.file.getvalue()


def cells(text):
    return [[part.strip() for part in line.strip("│┃").split("│")] for line in text.splitlines()]


def test_the_table_holds_the_audits_figures(make_whitebox):
    audit = make_whitebox()
    body = {
        row[0]: row[1:]
        for row in cells(show(papers_table(audit, 0.1).terminal()))
        if len(row) == 10
    }
    figure = audit.figure("handheld", "adaptive", 0.1).outcome
    low, high = figure.interval("evade")
    assert body["handheld"] == [
        "INT",
        "0.958",
        f"{audit.figure('handheld', 'paper', 0.1, 'fgsm').outcome.rate('evade'):.3f}",
        f"{audit.figure('handheld', 'paper', 0.1, 'pgd').outcome.rate('evade'):.3f}",
        f"{figure.rate('flip'):.3f}",
        f"{figure.rate('evade'):.3f}",
        f"{audit.noise_floor('handheld', 0.1).outcome.rate('evade'):.3f}",
        f"{low:.3f}–{high:.3f}",
        "958",
    ]


def test_a_masked_protocol_says_so_in_title_and_columns(make_whitebox):
    text = show(audit_view(make_whitebox(eps=(0.1,))))
    assert "paper protocol: MASKED: M1, M8 failed" in text.splitlines()[1]
    assert text.count("masked") == 2  # FGSM and PGD


def test_controls_stand_in_a_section_of_their_own(make_whitebox):
    lines = show(papers_table(make_whitebox(), 0.1).terminal()).splitlines()
    place = next(
        i for i, line in enumerate(lines) if "tra-nn (control)" in line or "tra-nn" in line
    )
    assert set(lines[place - 1]) <= set("├─┼┤")


def test_the_summary_leaves_controls_out_of_means(make_whitebox):
    audit = make_whitebox(["a", "b"], eps=(0.1,))
    adaptive, paper, _, last = summary_lines(audit)
    rates = [audit.figure(n, "adaptive", 0.1).outcome.rate("evade") for n in "ab"]
    assert f"evade mean {sum(rates) / 2:.3f}, worst {max(rates):.3f}" in adaptive
    assert adaptive.endswith("; control 0.661")
    assert "[MASKED: M1, M8]" in paper
    assert "[MASKED" not in adaptive
    assert last.startswith("warning: 1 of 3")


def test_one_protocol_and_sound_checks(make_whitebox):
    passed = (Check("M1", "gradient", "pass", "fine", "rule"),)
    audit = make_whitebox(["a"], eps=(0.1,), protocols=("paper",), found=passed, with_control=False)
    text = show(audit_view(audit))
    assert "reliability checks\n" not in text
    assert text.rstrip().endswith("The only reliability check passed.")
    assert "adaptive" not in text


def test_hostile_names_neither_style_nor_drive_the_terminal(make_whitebox):
    text = show(
        audit_view(make_whitebox(["[red]x[/red]", "\x1b[2Jgone", "[/nothing]"], eps=(0.1,)))
    )
    assert "[red]x[/red]" in text.replace("\n", "")
    assert "\x1b" not in text


def test_a_report_shows_all_its_audits_and_names_them(report):
    from fleet.reports import AuditReport

    text = show(report_view(report))
    places = [
        text.index(f"{kind.title} audit\n") for kind in KINDS.values() if kind.name in report.audits
    ]
    assert places == sorted(places)
    assert all(summary_lines(audit)[0][:40] in text for audit in report.audits.values())
    single = show(report_view(AuditReport.of(report.audits["transfer"])))
    assert single.endswith(show(audit_view(report.audits["transfer"], full=False)))
    assert single.startswith("╭─ verdict")


def test_transfer_sets_controls_apart_and_out_of_its_findings(make_audit):
    audit = make_audit(eps=(0.1,), protocols=("adaptive",), with_control=True)
    text = show(audit_view(audit))
    assert "tra-nn (control)" in " ".join(text.split())
    assert "control: 0.281 onto the fleet, white-box 0.990" in " ".join(text.split())
