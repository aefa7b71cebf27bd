import dataclasses

import pytest

from fleet.audit.core.result import AuditedDevice, Cell, Check, Matrix, NoiseFloor, Outcome
from fleet.audit.transfer.result import TransferAudit
from fleet.reports.findings import (
    find,
    findings,
    lift,
    protocols,
    rows,
    worst_pairs,
)
from fleet.reports.flags import checks_with, flag, verdict
from fleet.reports.views import summary_lines


def check(number, verdict="fail", subject=""):
    return Check(f"M{number}", "title", verdict, "finding", "rule", subject)


def small(evades, checks=()):
    """Devices a, b, ... with 100 correct images each; ``evades[i][j]`` of them flip."""
    names = "abcdef"[: len(evades)]
    empty = Outcome(0, 0, 0)
    cells = tuple(
        Cell(names[i], names[j], Outcome(100, count, 0), empty, empty)
        for i, row in enumerate(evades)
        for j, count in enumerate(row)
    )
    devices = tuple(
        AuditedDevice(name, "int", "nn", "linear", None, "", 110, 100, 4) for name in names
    )
    noise = tuple(NoiseFloor(name, 0.1, Outcome(100, 5, 1), 10) for name in names)
    matrix = Matrix("adaptive", "worst", 0.1, cells)
    return TransferAudit("run", "now", devices, (0.1,), tuple(checks), {}, {}, noise, (matrix,))


def test_a_matrix_is_boiled_down_exactly():
    audit = small([[90, 10, 20], [30, 95, 40], [0, 20, 99]])
    (found,) = findings(audit)
    assert (found.worst.surrogate, found.worst.victim) == ("b", "c")
    assert found.mean == pytest.approx((10 + 20 + 30 + 40 + 0 + 20) / 600)
    assert found.white_box == (0.90, 0.99)
    assert found.noise == 0.06
    assert lift(audit, found.worst, 0.1) == pytest.approx(0.40 - 0.06)


def test_worst_pairs_leave_out_the_diagonal_and_keep_the_order_of_equals():
    audit = small([[99, 20, 20], [5, 99, 20], [7, 1, 99]])
    found = worst_pairs(audit, audit.matrix("adaptive", 0.1), top=4)
    assert [c.surrogate + c.victim for c in found] == ["ab", "ac", "bc", "ca"]


def test_one_device_has_no_transfer():
    (found,) = findings(small([[80]]))
    assert (found.worst, found.mean, found.noise) == (None, None, None)
    assert found.white_box == (0.8, 0.8)
    assert "worst transfer" not in summary_lines(small([[80]]))[0]


def test_cells_without_examples_do_not_count():
    audit = small([[80, 10], [20, 90]])
    (matrix,) = audit.matrices
    cells = list(matrix.cells)
    empty = Outcome(0, 0, 0)
    cells[0] = dataclasses.replace(cells[0], outcome=empty)
    cells[2] = dataclasses.replace(cells[2], outcome=empty)
    found = find(audit, dataclasses.replace(matrix, cells=tuple(cells)))
    assert (found.mean, found.white_box) == (0.1, (0.9, 0.9))
    assert lift(audit, cells[2], 0.1) is None


def test_rows_follow_the_devices_and_not_the_file():
    audit = small([[1, 2], [3, 4]])
    (matrix,) = audit.matrices
    turned = dataclasses.replace(matrix, cells=matrix.cells[::-1])
    assert [[c.outcome.flip for c in row] for row in rows(audit, turned)] == [[1, 2], [3, 4]]


def test_the_adaptive_protocol_comes_first(audit, make_audit):
    assert protocols(audit, 0.1) == ("adaptive", "paper")
    assert protocols(make_audit(protocols=("paper",)), 0.1) == ("paper",)
    assert protocols(audit, 0.3) == ()


@pytest.mark.parametrize(
    ("found", "adaptive", "paper"),
    [
        (check(1, subject="paper"), None, "masked"),
        (check(13, subject="paper, eps 0.1"), None, "masked"),
        (check(8, subject="adaptive eps 0.1"), "masked", None),
        (check(9, subject="adaptive"), "unreliable", None),
        (check(11, subject="sorter-1"), "unreliable", "unreliable"),
        (check(3), "masked", "masked"),
        (check(3, subject="paperclip"), "masked", "masked"),
        (check(1, "warn", "paper"), None, None),
        (check(1, "pass", "paper"), None, None),
    ],
)
def test_which_protocol_a_failed_check_flags(found, adaptive, paper):
    audit = small([[9]], [found])
    words = [getattr(flag(audit, name), "word", None) for name in ("adaptive", "paper")]
    assert words == [adaptive, paper]


def test_a_flag_names_each_failed_check_once():
    found = [check(9, subject="paper a"), check(1, subject="paper"), check(9, subject="paper b")]
    assert flag(small([[9]], found), "paper").sentence == (
        "MASKED: M9, M1 failed; a low rate here is no evidence of safety"
    )


@pytest.mark.parametrize(
    ("found", "level", "words"),
    [
        ([], "warn", "No reliability check ran"),
        ([check(1, "pass")], "pass", "The only reliability check passed."),
        ([check(1, "pass"), check(2, "warn")], "warn", "1 of 2 reliability checks warn"),
        (
            [check(1, subject="paper")],
            "warn",
            "No reliability check of the adaptive attack ran",
        ),
        (
            [check(1, "pass", "adaptive"), check(1, subject="paper")],
            "pass",
            "The only reliability check passed.",
        ),
        ([check(8, subject="adaptive")], "fail", "With M8 failed, a low rate is no evidence"),
        ([check(9)], "fail", "1 of 1 reliability checks failed. With M9 failed"),
    ],
)
def test_verdict(found, level, words):
    got, sentence = verdict(small([[9]], found))
    assert got == level
    assert words in sentence


def test_failed_checks_come_before_warnings(audit):
    assert [c.id for c in checks_with(audit, "fail", "warn", "pass")] == [
        "M1",
        "M8",
        "M9",
        "M3",
        "M12",
    ]


def test_the_summary_never_gives_a_masked_figure_without_saying_so(audit):
    *lines, blind, last = summary_lines(audit)
    assert len(lines) == 4
    for line in lines:
        assert ("[MASKED: M1, M8]" in line) == line.startswith("paper")
    assert blind == "the paper's own attack is blind here: 2 checks: M1, M8"
    assert last == "warning: 1 of 3 reliability checks warns; none failed."


def test_a_clean_audit_ends_without_a_warning():
    lines = summary_lines(small([[99, 12], [8, 97]], [check(1, "pass")]))
    assert lines == [
        "adaptive, eps 0.1 (25.5/255): worst transfer 0.120 (95 % 0.070–0.198, n 100) a → b, "
        "noise floor 0.060; mean transfer 0.100; white-box 0.970 to 0.990",
        "The only reliability check passed.",
    ]
