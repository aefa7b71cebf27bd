"""A new kind of audit: one record, and command, terminal, JSON, CSV, HTML and ladder know it.

The toy is three modules, ``unit.toy_audit``; with settings, result, audit and checks in modules of
their own, as the real ones have them, and the record, an audit touches six files.
"""

import dataclasses
import inspect
import json
from types import SimpleNamespace
from unittest.mock import patch
from xml.etree import ElementTree

import pytest
from typer.testing import CliRunner

from fleet.audit.core.checks import flag
from fleet.audit.core.kind import GATES, KINDS, kind_of, load, register, usual_radii
from fleet.audit.core.result import AuditResult, Check, Outcome
from fleet.cli.audit import commands
from fleet.errors import AuditError
from fleet.execution import Serial
from fleet.reports.report import Report
from unit.bundle import bundle_samples as samples
from unit.toy_audit.audit import ToyAudit
from unit.toy_audit.command import KIND as TOY


@pytest.fixture(autouse=True)
def registered():
    register(TOY)
    yield
    del KINDS["toy"]


@pytest.fixture
def run(tmp_path):
    found = samples.finished_run(tmp_path / "20261122-213100-demo", "a", "b")
    record = json.loads(found.dataset.read_text())
    found.dataset.write_text(json.dumps({**record, "test": 30, "validation": 20}))
    return found


def audit(*arguments):
    return CliRunner().invoke(commands(), [str(argument) for argument in arguments])


def test_every_target_of_every_kind_is_there():
    for name, kind in KINDS.items():
        result = load(kind.result)
        assert kind.name == name
        assert result._schema.startswith(f"fleet.audit.{name}/")
        assert load(kind.settings)(eps=(0.1,), seed=3).eps == (0.1,)
        assert callable(load(kind.run))
        assert load(kind.command).__name__ == name
        assert (result.reached is not AuditResult.reached) == bool(kind.gates)
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


def test_its_command_makes_keeps_shows_and_judges_it(run, call_fleet):
    done = audit("toy", run.root, "--eps", "0.1", "--images", 100, "--depth", 4, "--jobs", 1)
    assert done.exit_code == 0, done.output
    assert "Toy audit of" in done.stderr
    assert "2 devices, 30 test images, linf eps 0.1" in done.stderr
    assert "play with a: played" in done.stderr
    assert f"next: fleet audit toy {run.root}" in done.stderr
    assert "Toy found" in done.stdout
    folder = run.audit("toy")
    assert ToyAudit.load(folder / "audit.json").outcome == Outcome(30, 4, 0)
    assert (folder / "toy.csv").read_text() == "evade\n4\n"
    assert (folder / "toy-drawn.png").exists()
    page = (run.audits / "report.html").read_text(encoding="utf-8")
    assert "Toy: No reliability check ran" in page
    assert "toy of 20261122-213100-demo" in page
    assert ">T1<" in page
    assert "<caption>Toy found</caption>" in page
    shown = json.loads(call_fleet("report", folder / "audit.json", "--format", "json").stdout)
    assert shown["audits"]["toy"]["verdict"] == "warn"
    assert shown["audits"]["toy"]["summary"][0] == "toy found 4"

    gates = ("--max-asr", 0.1, "--fail-on", "masked", "--format", "json")
    refused = audit("toy", run.root, "--eps", "0.1", "--jobs", 1, *gates)
    assert refused.exit_code == 1
    assert "gate: evade 0.600 by a toy of a at eps 0.1 is above 0.1" in refused.stderr
    assert "gate: no reliability check ran" in refused.stderr
    assert json.loads(refused.stdout)["schema"] == "fleet.audit.toy/1"


def test_a_dry_run_of_it_writes_nothing(run):
    before = sorted(run.root.rglob("*"))
    done = audit("toy", run.root, "--dry-run", "--format", "json")
    assert json.loads(done.stdout) == {
        "run": str(run.root),
        "images": 5,
        "settings": {"eps": [0.1, 0.2], "seed": 0, "depth": 3},
    }
    assert sorted(run.root.rglob("*")) == before


def test_all_audits_make_it_too_and_render_once(run):
    alone = dataclasses.replace(TOY, name="other", devices=3)
    with (
        patch.dict(KINDS, {"other": alone, "toy": TOY}, clear=True),
        patch("fleet.reports.write.render_run_reports", wraps=lambda _: ["report.html"]) as render,
    ):
        done = audit("all", run.root, "--fail-on", "masked", "--format", "json", "--jobs", 1)
    assert done.exit_code == 1
    assert "left out the other audit: it needs 3 devices" in done.stderr
    assert "gate: toy: no reliability check ran" in done.stderr
    (found,) = json.loads(done.stdout).items()
    assert found[0] == "toy"
    assert found[1]["outcome"]["n"] == TOY.images
    assert render.call_count == 1


def test_an_audit_that_cannot_be_made_is_known_before_the_first_starts(run):
    broken = dataclasses.replace(TOY, name="broken", settings=KINDS["transfer"].settings)
    with patch.dict(KINDS, {"toy": TOY, "broken": broken}, clear=True):
        done = audit("all", run.root, "--jobs", 1, "--eps", "0.001")
        assert isinstance(done.exception, AuditError)
        assert str(done.exception).startswith("the broken audit: ")
        assert "--skip broken" in str(done.exception.hint)
        assert not run.audits.exists()
        assert audit("all", run.root, "--jobs", 1, "--skip", "broken").exit_code == 0
        assert audit("all", run.root, "--only", "toy", "--only", "brokn").exit_code == 2


def test_an_audit_that_fails_costs_none_of_the_others_and_gives_exit_code_2(run):
    broken = dataclasses.replace(TOY, name="broken", run="unit.toy_audit.audit:audit_run_fail")
    with patch.dict(KINDS, {"broken": broken, "toy": TOY}, clear=True):
        done = audit("all", run.root, "--jobs", 1, "--max-transfer", 0, "--format", "junit")
    assert done.exit_code == 2
    assert "error: the broken audit was not made: no toy" in done.stderr
    assert "gate: toy: evade 0.600 by a toy of a at eps 0.1 is above 0" in done.stderr
    assert (run.audits / "report.html").exists()
    suites = ElementTree.fromstring(done.stdout)
    found = {case.get("classname"): list(case) for case in suites.iter("testcase")}
    assert found["fleet.audit.broken"][0].tag == "error"
    assert found["fleet.audit.toy"][0].tag == "failure"


def test_a_gate_that_no_audit_judges_is_not_passed(run):
    with patch.dict(KINDS, {"toy": TOY}, clear=True):
        done = audit("all", run.root, "--jobs", 1, "--max-outsider", 1)
    assert done.exit_code == 1
    assert "gate: --max-outsider: no audit that it judges was made" in done.stderr


def test_a_preset_speaks_where_the_user_says_nothing(run):
    def planned(*words):
        return json.loads(audit("toy", run.root, "-n", "--format", "json", *words).stdout)

    quick = planned("--preset", "quick")
    assert (quick["images"], quick["settings"]["depth"]) == (4, 1)
    own = planned("--preset", "quick", "--depth", 7)
    assert (own["images"], own["settings"]["depth"]) == (4, 7)
    whole = audit("all", run.root, "-n", "--format", "json", "--preset", "quick", "--only", "toy")
    assert json.loads(whole.stdout)["toy"]["settings"]["depth"] == 1


def test_a_brief_curve_has_two_radii_and_the_last():
    data = SimpleNamespace(channels=3, image_size=64)
    whole, brief = (usual_radii(KINDS["whitebox"], data, brief=b) for b in (False, True))
    assert brief == (*whole[1:3], whole[-1])
    assert usual_radii(KINDS["transfer"], data, brief=True) == whole[1:3]


def test_presets_name_options_and_settings_that_there_are():
    for kind in KINDS.values():
        for preset in kind.presets.values():
            load(kind.settings)(eps=(0.1,), **{k: v for k, v in preset.items() if k != "images"})
            asked = inspect.signature(load(kind.command)).parameters
            assert preset.keys() <= asked.keys()
        assert set(kind.gates) <= GATES.keys()


def test_its_checks_mask_and_spare_as_it_says(run):
    toy = load(TOY.run)(run, load(TOY.settings)((0.1,)), images=5, executor=Serial(), split="test")
    failed = [Check(f"Z{k}", "t", "fail", "f", "r") for k in (1, 2, 3)]
    words = [flag(dataclasses.replace(toy, checks=(check,))) for check in failed]
    assert [found and found.word for found in words] == ["masked", None, "unreliable"]
