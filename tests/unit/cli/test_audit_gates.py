"""Gates and radii of the audit commands."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import typer

from fleet.audit.core.gates import Confidence, Demand, Ruling, judge, refusals
from fleet.audit.core.kind import Attacker, curve_eps, kind_of
from fleet.audit.core.result import (
    AuditedDevice,
    AuditResult,
    Cell,
    Check,
    Matrix,
    NoiseFloor,
    Outcome,
    Role,
)
from fleet.audit.query.result import QueryAudit, QueryCurve, QueryPoint, WhiteBox
from fleet.audit.transfer.result import TransferAudit
from fleet.audit.whitebox.result import Margins, WhiteboxAudit, WhiteboxFigure
from fleet.cli.audit import commands
from fleet.cli.gates import close
from fleet.cli.options import NormChoice, radii_of
from fleet.cli.output import Output
from fleet.profiles.spec import DataSpec, FamilySpec
from fleet.reports.flags import flag

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
    return TransferAudit("r", "", DEVICES, EPS, checks, {}, {}, (), matrices)


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


def query(rates: dict[str, int | None], *checks: Check) -> QueryAudit:
    """One way of asking each victim; None: it decodes nothing correctly."""
    empty = Outcome(0, 0, 0)

    def curve(name: str, eps: float, rate: int | None) -> QueryCurve:
        reached = empty if rate is None else outcome(rate)
        point = QueryPoint(10, reached)
        return QueryCurve(name, eps, "square", "scores", "image", (), (point,), None)

    return QueryAudit(
        run="r",
        created="",
        devices=tuple(device for device in DEVICES if device.name in rates),
        eps=EPS,
        curves=tuple(curve(name, eps, rate) for name, rate in rates.items() for eps in EPS),
        fidelity=(),
        white_box=tuple(WhiteBox(name, eps, empty) for name in rates for eps in EPS),
        checks=checks,
        settings={},
        provenance={},
    )


def limited(audit: AuditResult, limit: float | None, who: Attacker | None = None) -> list[str]:
    """Reasons of one gate: the first that the kind knows, unless another is named."""
    who = who or kind_of(audit).gates[0]
    return refusals(judge(audit, Demand({} if limit is None else {who: limit})))


def unmasked(audit: AuditResult) -> list[str]:
    return refusals(judge(audit, Demand(masked=True)))


def test_the_worst_transfer_of_each_eps_is_named_if_it_is_above() -> None:
    audit = transfer({("a", "a"): 100, ("a", "b"): 30, ("b", "a"): 20, ("c", "b"): 25})
    assert limited(audit, 0.15) == [
        "evade 0.200 from a to b at eps 0.1 is above 0.15",
        "evade 0.300 from a to b at eps 0.2 is above 0.15",
    ]
    assert limited(audit, 0.2) == ["evade 0.300 from a to b at eps 0.2 is above 0.2"]
    assert limited(audit, 0.3) == [], "the diagonal is no transfer"
    assert limited(audit, None) == []


def test_the_short_name_of_a_limit_is_none_of_a_least() -> None:
    audits = typer.main.get_command(commands())
    options = {name: {o for p in c.params for o in p.opts} for name, c in audits.commands.items()}
    assert "--max-asr" in options["transfer"]
    assert "--min-diversity" in options["diversity"] & options["all"]
    assert "--max-asr" not in options["diversity"]


def test_a_control_is_an_outsider_and_nobodys_victim() -> None:
    assert limited(transfer({("a", "c"): 90}), 0.5) == []
    audit = transfer({("c", "a"): 90})
    assert limited(audit, 0.5) == []
    assert len(limited(audit, 0.5, "outsider")) == 2
    (ruling,) = judge(audit, Demand({"device": 0.5}))
    assert ruling.notes == (
        "not counted: evade 0.900 from c to a at eps 0.2; --max-outsider judges it",
    )


@pytest.mark.parametrize(
    ("confidence", "passing", "failing"),
    [("lower", 0.22, 0.21), ("point", 0.3, 0.29), ("upper", 0.4, 0.39)],
)
def test_the_user_chooses_the_bound_that_is_held_against_the_limit(
    confidence: Confidence, passing: float, failing: float
) -> None:
    audit = transfer({("a", "b"): 30})  # of 100: 0.219 to 0.396
    assert not judge(audit, Demand({"device": passing}, confidence))[0].reasons
    (reason,) = judge(audit, Demand({"device": failing}, confidence))[0].reasons
    assert reason.startswith("evade 0.300")
    assert (f"({confidence} bound" in reason) == (confidence != "point")


def test_a_rate_of_few_images_is_a_rate_with_a_warning() -> None:
    audit = transfer({})
    small = tuple(
        replace(m, cells=tuple(replace(c, outcome=Outcome(20, 1, 0)) for c in m.cells))
        for m in audit.matrices
    )
    (ruling,) = judge(replace(audit, matrices=small), Demand({"device": 0.2}))
    assert ruling == Ruling(
        "--max-transfer 0.2",
        (),
        (
            "b was measured on 20 images, fewer than 50: evade 0.050 may be anything from 0.009 to "
            "0.236",
        ),
    )


def test_questions_without_a_device_are_an_outsiders() -> None:
    asked = query({"a": 40, "b": 60, "c": 100})
    owning = replace(asked, curves=tuple(replace(c, owned=("a",)) for c in asked.curves))
    assert len(limited(asked, 0.5, "outsider")) == len(limited(owning, 0.5, "device")) == 2
    assert limited(owning, 0.5, "outsider")[0].startswith("nothing was measured at eps 0.1, 0.2")


def test_the_weakest_device_of_each_eps_is_named_if_it_is_above() -> None:
    audit = whitebox({"a": 40, "b": 60, "c": 100})
    assert limited(audit, 0.5) == [
        "evade 0.600 of b at eps 0.1 is above 0.5",
        "evade 0.600 of b at eps 0.2 is above 0.5",
    ]
    assert limited(audit, 0.6) == []
    assert limited(audit, None) == []


def test_the_worst_way_of_asking_is_named_if_it_is_above() -> None:
    assert limited(query({"a": 40, "b": 60, "c": 100}), 0.5, "outsider") == [
        "evade 0.600 by square of b at eps 0.1 is above 0.5",
        "evade 0.600 by square of b at eps 0.2 is above 0.5",
    ]


DEAD = "nothing was measured on b: it decodes no image correctly"


def dead_transfer(*checks: Check) -> TransferAudit:
    """Device b decodes nothing correctly; a is never evaded."""
    whole = transfer({}, *checks)
    matrices = tuple(
        replace(
            matrix,
            cells=tuple(
                replace(cell, outcome=Outcome(0, 0, 0)) if cell.victim == "b" else cell
                for cell in matrix.cells
            ),
        )
        for matrix in whole.matrices
    )
    return replace(whole, matrices=matrices)


def dead_whitebox(*checks: Check) -> WhiteboxAudit:
    whole = whitebox(dict.fromkeys(ROLES, 0), *checks)
    empty = Outcome(0, 0, 0)
    return replace(
        whole,
        devices=tuple(replace(d, correct=0) if d.name == "b" else d for d in whole.devices),
        figures=tuple(
            replace(f, outcome=empty, floor=empty) if f.device == "b" else f for f in whole.figures
        ),
        noise=tuple(replace(f, outcome=empty) if f.victim == "b" else f for f in whole.noise),
    )


PASSED = Check("M1", "t", "pass", "f", "r", "adaptive")


@pytest.mark.parametrize(
    "audit",
    [dead_transfer(PASSED), dead_whitebox(PASSED), query({"a": 0, "b": None}, PASSED)],
    ids=lambda audit: type(audit).__name__,
)
def test_a_device_on_which_nothing_was_measured_passes_no_gate(audit: AuditResult) -> None:
    who: Attacker | None = "outsider" if isinstance(audit, QueryAudit) else None
    for limit in (0.0, 0.5, 1.0):
        assert limited(audit, limit, who) == [DEAD]
    assert unmasked(audit) == [DEAD]
    assert limited(audit, None) == [], "no gate, no reason"


def test_an_audit_without_a_victim_passes_no_gate() -> None:
    nothing = "nothing was measured at eps 0.1, 0.2: no device was attacked"
    alone = replace(
        transfer({}),
        devices=DEVICES[:1],
        matrices=tuple(replace(m, cells=m.cells[:1]) for m in transfer({}).matrices),
    )
    assert limited(alone, 1.0) == [nothing]
    assert limited(query({"c": 0}), 1.0, "outsider") == [nothing], "a control is nobody's victim"


def test_an_audit_without_checks_is_not_known_to_be_unmasked() -> None:
    (reason,) = unmasked(transfer({}))
    assert reason == "no reliability check ran: nothing vouches for the adaptive figures"
    about_paper = Check("M1", "t", "pass", "f", "r", "paper")
    assert unmasked(transfer({}, about_paper)) == [reason]


@pytest.mark.parametrize("subject", ["adaptive", "", "adaptive steps"])
@pytest.mark.parametrize(("id", "word"), [("M9", "UNRELIABLE"), ("M8", "MASKED")])
def test_the_gate_fails_where_the_report_flags_and_with_its_words(
    subject: str, id: str, word: str
) -> None:
    audit = whitebox(dict.fromkeys(ROLES, 0), Check(id, "t", "fail", "f", "r", subject))
    assert limited(audit, None) == []
    shown = flag(audit, "adaptive")
    assert shown is not None
    assert shown.short == f"{word}: {id}"
    words = f"the adaptive figures fail a reliability check: {shown.sentence}"
    assert unmasked(audit) == [words]


@pytest.mark.parametrize(
    "check",
    [
        Check("M1", "t", "fail", "f", "r", "paper"),
        Check("M9", "t", "warn", "f", "r", "adaptive"),
        Check("C4", "t", "fail", "f", "r"),
    ],
)
def test_what_the_report_does_not_flag_passes_the_gate(check: Check) -> None:
    audit = transfer({}, check, PASSED)
    assert unmasked(audit) == []
    assert flag(audit, "adaptive") is None


def test_every_reason_is_named_and_ends_with_exit_code_1(
    capsys: pytest.CaptureFixture[str],
) -> None:
    reasons = refusals(judge(transfer({("a", "b"): 90}), Demand({"device": 0.5}, masked=True)))
    assert len(reasons) == 3
    with pytest.raises(typer.Exit) as stop:
        close(reasons, Output())
    assert stop.value.exit_code == 1
    assert capsys.readouterr().err == "".join(f"gate: {reason}\n" for reason in reasons)
    close([], Output())


def family(channels: int, size: int) -> FamilySpec:
    data = DataSpec("mnist", Path("/"), 10, channels, size, 0, None, 0)
    return FamilySpec("f", data, ())


def test_radii_fit_the_images() -> None:
    grey, colour = family(1, 28), family(3, 64)
    assert curve_eps(grey.data) == (0.05, 0.1, 0.2, 0.3, 0.5)
    assert curve_eps(colour.data)[1:3] == (4 / 255, 8 / 255)
    assert curve_eps(grey.data, NormChoice.l2)[1:3] == (1.0, 2.0)
    assert curve_eps(colour.data, NormChoice.l2)[1:3] == (1.0, 2.0)
    for choice in NormChoice:
        for spec in (grey, colour):
            radii = curve_eps(spec.data, choice)
            assert len(radii) == 5
            assert list(radii) == sorted(radii)


def test_radii_are_read_in_their_norm() -> None:
    assert radii_of(None) == ()
    assert radii_of(["8/255", "0.1"], NormChoice.linf) == (8 / 255, 0.1)
    assert radii_of(["1.5", "3"], NormChoice.l2) == (1.5, 3.0)
    for text, norm in (("1.5", "linf"), ("0", "l2"), ("inf", "l2"), ("nan", "l2"), ("x", "l2")):
        with pytest.raises(typer.BadParameter):
            radii_of([text], NormChoice(norm))


@pytest.mark.parametrize("command", [("audit", "transfer"), ("audit", "all"), ("package",)])
def test_confidence_without_a_limit_is_refused_before_any_work(
    call_fleet: Callable[..., Any], tmp_path: Path, command: tuple[str, ...]
) -> None:
    refused = call_fleet(*command, "--confidence", "upper", cwd=tmp_path)
    assert refused.returncode == 2
    assert "--confidence upper needs a limit" in " ".join(refused.stderr.split())
    asked = call_fleet(*command, "--confidence", "upper", "--max-transfer", "0.2", cwd=tmp_path)
    assert "no runs under" in asked.stderr
    assert "`fleet demo` makes one" in asked.stderr
