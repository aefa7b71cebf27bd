"""A new kind of audit: one record, and terminal, JSON, CSV, HTML and ladder know it."""

import dataclasses
import json
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from fleet.audit.core.checks import flag
from fleet.audit.core.kind import KINDS, Kind, kind_of, load, register
from fleet.audit.core.result import AuditedDevice, Check, Outcome
from fleet.audit.core.stored import Stored
from fleet.reports.ladder import rated
from fleet.reports.report import Figure, Report
from fleet.reports.tables import COUNT, Column, Table


@dataclasses.dataclass(frozen=True)
class ToyAudit(Stored, schema="fleet.audit.toy/1"):
    run: str
    created: str
    devices: tuple[AuditedDevice, ...]
    eps: tuple[float, ...]
    outcome: Outcome
    checks: tuple[Check, ...]
    settings: dict[str, Any]
    provenance: dict[str, Any]


def draw(audit):
    """A toy."""
    from matplotlib.figure import Figure as Drawing

    figure = Drawing()
    figure.text(0.5, 0.5, f"toy of {audit.run}")
    return figure


def found(audit):
    column = Column(lambda outcome: outcome.evade, COUNT, "evade", "evade", "evade")
    return Table("Toy found", [audit.outcome], (column,))


REPORT: Report[ToyAudit] = Report(
    heading="A toy",
    terminal=lambda audit: [found(audit).terminal()],
    lines=lambda audit: [f"toy found {audit.outcome.evade}"],
    page=lambda audit: [("banner", flag(audit)), ("figures",), ("described", found(audit))],
    tables={"toy.csv": found},
    figures=(Figure("toy-drawn", "toy_audit:draw"),),
    rungs=lambda audit, eps: [rated("T1", "toy", [("a → b", audit.outcome)], flag(audit))],
)


@pytest.fixture
def toy(monkeypatch, make_audit):
    module = ModuleType("toy_audit")
    module.ToyAudit, module.REPORT, module.draw = ToyAudit, REPORT, draw
    monkeypatch.setitem(sys.modules, "toy_audit", module)
    register(
        Kind(
            name="toy",
            title="Toy",
            result="toy_audit:ToyAudit",
            settings="toy_audit:Settings",
            run="toy_audit:audit_run",
            report="toy_audit:REPORT",
            masking=frozenset({"Z1"}),
            harmless=frozenset({"Z2"}),
        )
    )
    device = make_audit(["a"]).devices[0]
    yield ToyAudit("r", "2026", (device,), (0.1,), Outcome(10, 3, 1), (), {"n": 1}, {})
    del KINDS["toy"]


def test_every_target_of_every_kind_is_there():
    for name, kind in KINDS.items():
        result = load(kind.result)
        assert kind.name == name
        assert result._schema.startswith(f"fleet.audit.{name}/")
        assert issubclass(load(kind.settings), object)
        assert callable(load(kind.run))
        report = load(kind.report)
        assert isinstance(report, Report)
        for figure in report.figures:
            assert callable(load(figure.draw))
        assert not kind.masking & kind.harmless


def test_a_name_is_taken_once():
    with pytest.raises(ValueError, match="'trace'"):
        register(KINDS["trace"])
    with pytest.raises(KeyError, match="SimpleNamespace"):
        kind_of(SimpleNamespace())


def test_a_new_kind_is_in_every_report(toy, call_fleet, tmp_path):
    toy.save(tmp_path / "run" / "audits" / "toy" / "audit.json")
    folder = tmp_path / "run" / "audits" / "toy"
    done = call_fleet("report", folder / "audit.json")
    assert done.returncode == 0, done.stderr
    assert "Toy found" in done.stdout
    done = call_fleet("report", folder / "audit.json", "--format", "json")
    shown = json.loads(done.stdout)
    assert shown["audits"]["toy"] == {
        "verdict": "warn",
        "summary": [
            "toy found 4",
            "warning: No reliability check ran: nothing vouches for these figures.",
        ],
    }
    assert (folder / "toy.csv").read_text() == "evade\n4\n"
    assert (folder / "toy-drawn.png").exists()
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "Toy: No reliability check ran" in page
    assert "toy of r" in page
    assert ">T1<" in page
    assert "<caption>Toy found</caption>" in page


def test_its_checks_mask_and_spare_as_it_says(toy):
    failed = [Check(f"Z{k}", "t", "fail", "f", "r") for k in (1, 2, 3)]
    words = [flag(dataclasses.replace(toy, checks=(check,))) for check in failed]
    assert [found and found.word for found in words] == ["masked", None, "unreliable"]
