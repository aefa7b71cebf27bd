"""Gates and radii of the audit commands."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer

from fleet.audit.result import (
    AuditedDevice,
    Cell,
    Check,
    Matrix,
    NoiseFloor,
    Outcome,
    Role,
    TransferAudit,
)
from fleet.audit.whitebox.result import Margins, WhiteboxAudit, WhiteboxFigure
from fleet.cli.audit.gates import judge, transfer_above, whitebox_above
from fleet.cli.audit.options import FailOn, NormChoice, curve_eps, default_eps, parse_radii
from fleet.cli.output import Output
from fleet.profiles.spec import DataSpec, FamilySpec

ROLES: dict[str, Role] = {"a": "device", "b": "device", "c": "control"}
EPS = (0.1, 0.2)
DEVICES = tuple(
    AuditedDevice(name, "int", "nn", "linear", None, "", 100, 100, 0, role)
    for name, role in ROLES.items()
)


def outcome(evaded: int) -> Outcome:
    return Outcome(100, evaded // 2, evaded - evaded // 2)


def transfer(rates: dict[tuple[str, str], int], *checks: Check) -> TransferAudit:
    """Adaptive evasions of each cell at the larger eps, 0 if not named; 10 fewer at the smaller."""
    matrices = tuple(
        Matrix(
            "adaptive",
            "worst",
            eps,
            tuple(
                Cell(s, v, outcome(max(0, rates.get((s, v), 0) - less)), outcome(0), outcome(0))
                for s in ROLES
                for v in ROLES
            ),
        )
        for eps, less in zip(EPS, (10, 0), strict=True)
    )
    return TransferAudit("r", "", DEVICES, EPS, matrices, (), checks, {}, {})


def whitebox(rates: dict[str, int], *checks: Check) -> WhiteboxAudit:
    return WhiteboxAudit(
        run="r",
        created="",
        norm="linf",
        devices=DEVICES,
        eps=EPS,
        figures=tuple(
            WhiteboxFigure(name, "adaptive", "worst", eps, outcome(rates[name]), outcome(0))
            for name in ROLES
            for eps in EPS
        ),
        noise=tuple(NoiseFloor(name, eps, outcome(0), 1) for name in ROLES for eps in EPS),
        margins=tuple(Margins(name, "linf", ()) for name in ROLES),
        distances=(),
        binarization=(),
        checks=checks,
        settings={},
        provenance={},
    )


def test_the_worst_transfer_of_each_eps_is_named_if_it_is_above() -> None:
    audit = transfer({("a", "a"): 100, ("a", "b"): 30, ("b", "a"): 20, ("c", "b"): 25})
    assert transfer_above(audit, 0.15) == [
        "evade 0.200 from a to b at eps 0.1 is above 0.15",
        "evade 0.300 from a to b at eps 0.2 is above 0.15",
    ]
    assert transfer_above(audit, 0.2) == ["evade 0.300 from a to b at eps 0.2 is above 0.2"]
    assert transfer_above(audit, 0.3) == [], "the diagonal is no transfer"
    assert transfer_above(audit, None) == []


def test_a_control_is_a_surrogate_that_counts_and_a_victim_that_does_not() -> None:
    assert transfer_above(transfer({("a", "c"): 90}), 0.5) == []
    assert len(transfer_above(transfer({("c", "a"): 90}), 0.5)) == 2


def test_the_weakest_device_of_each_eps_is_named_if_it_is_above() -> None:
    audit = whitebox({"a": 40, "b": 60, "c": 100})
    assert whitebox_above(audit, 0.5) == [
        "evade 0.600 of b at eps 0.1 is above 0.5",
        "evade 0.600 of b at eps 0.2 is above 0.5",
    ]
    assert whitebox_above(audit, 0.6) == []
    assert whitebox_above(audit, None) == []


@pytest.mark.parametrize("subject", ["adaptive", "", "adaptive steps"])
def test_masked_figures_end_with_exit_code_1_if_asked(
    subject: str, capsys: pytest.CaptureFixture[str]
) -> None:
    audit = whitebox(dict.fromkeys(ROLES, 0), Check("M9", "t", "fail", "f", "r", subject))
    judge(audit, [], None, Output())
    with pytest.raises(typer.Exit) as stop:
        judge(audit, [], FailOn.masked, Output())
    assert stop.value.exit_code == 1
    assert "gate: the adaptive figures fail a reliability check" in capsys.readouterr().err


def test_the_papers_protocol_and_warnings_pass_the_gate() -> None:
    checks = (
        Check("M1", "t", "fail", "f", "r", "paper"),
        Check("M9", "t", "warn", "f", "r", "adaptive"),
    )
    judge(transfer({}, *checks), [], FailOn.masked, Output())


def test_every_reason_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit):
        judge(transfer({}), ["one", "two"], None, Output())
    assert capsys.readouterr().err.count("gate: ") == 2


def family(channels: int, size: int) -> FamilySpec:
    data = DataSpec("mnist", Path("/"), 10, channels, size, 0, None, 0)
    return FamilySpec("f", data, ())


def test_radii_fit_the_images() -> None:
    grey, colour = family(1, 28), family(3, 64)
    assert curve_eps(grey, NormChoice.linf) == (0.05, 0.1, 0.2, 0.3, 0.5)
    assert default_eps(grey) == (0.1, 0.2)
    assert default_eps(colour) == (4 / 255, 8 / 255)
    assert default_eps(grey, NormChoice.l2) == (1.0, 2.0)
    assert default_eps(colour, NormChoice.l2) == (1.0, 2.0)
    for choice in NormChoice:
        for spec in (grey, colour):
            radii = curve_eps(spec, choice)
            assert len(radii) == 5
            assert list(radii) == sorted(radii)


def test_radii_are_read_in_their_norm() -> None:
    assert parse_radii(None, NormChoice.linf) == ()
    assert parse_radii(["8/255", "0.1"], NormChoice.linf) == (8 / 255, 0.1)
    assert parse_radii(["1.5", "3"], NormChoice.l2) == (1.5, 3.0)
    for text, norm in (("1.5", "linf"), ("0", "l2"), ("inf", "l2"), ("nan", "l2"), ("x", "l2")):
        with pytest.raises(typer.BadParameter):
            parse_radii([text], NormChoice(norm))
