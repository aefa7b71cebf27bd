import json

import pytest
import typer
from typer.testing import CliRunner

from fleet.cli.report import report
from fleet.errors import AuditError, CheckpointError
from fleet.rundir import PROFILE_FILE

FILES = ["ladder.png", "ladder.svg", "report.html", "transfer.csv", "transfer.png", "transfer.svg"]


@pytest.fixture
def command():
    app = typer.Typer()
    app.command()(report)

    def run(*arguments):
        return CliRunner().invoke(app, [str(argument) for argument in arguments])

    return run


@pytest.fixture
def runs(make_audit, tmp_path):
    audit = make_audit(["a", "b"], eps=(0.1,))
    for name in ("20260101-000000-old", "20260102-000000-new"):
        root = tmp_path / "runs" / name
        root.mkdir(parents=True)
        (root / PROFILE_FILE).write_text("{}")
        audit.save(root / "audits" / "transfer" / "audit.json")
    return tmp_path / "runs"


def test_the_newest_run_is_rendered_beside_its_audits(command, runs):
    result = command("--runs", runs)
    assert result.exit_code == 0, result.output
    audits = runs / "20260102-000000-new" / "audits"
    assert sorted(path.name for path in audits.iterdir()) == [*FILES[:3], "transfer"]
    beside = sorted(path.name for path in (audits / "transfer").iterdir())
    assert beside == ["audit.json", *FILES[3:]]
    assert "adaptive protocol" in result.stdout
    assert f"wrote {audits / 'report.html'}" in result.stderr
    assert "wrote" not in result.stdout


def test_a_run_can_be_named(command, runs, tmp_path):
    out = tmp_path / "out"
    for named in (["20260101-000000-old"], ["--run", "20260101-000000-old"]):
        result = command("--runs", runs, *named, "--out", out)
        assert result.exit_code == 0
        assert (out / "transfer" / "transfer.csv").is_file()
        assert "20260101-000000-old" in result.stderr


def test_a_page_says_what_changed_since_another_run(command, runs, tmp_path):
    result = command("--runs", runs, "--against", "20260101-000000-old", "--out", tmp_path)
    assert result.exit_code == 0, result.output
    assert "What changed since the earlier audit" in (tmp_path / "report.html").read_text()


def test_a_crosscheck_is_rendered_too_alone_and_in_its_run(command, runs, tmp_path, project):
    path = project / "results" / "paper-demo" / "crosscheck.json"
    result = command(path, "--out", tmp_path)
    assert result.exit_code == 0, result.output
    assert "none of 52 results is above the native audit" in " ".join(result.stdout.split())
    assert "torchattacks apgd-dlr" in (tmp_path / "report.html").read_text()
    beside = runs / "20260102-000000-new" / "audits" / "crosscheck"
    beside.mkdir()
    (beside / "audit.json").write_bytes(path.read_bytes())
    assert command("--runs", runs, "--out", tmp_path / "run").exit_code == 0
    page = (tmp_path / "run" / "report.html").read_text()
    assert '<section id="crosscheck"' in page
    assert "torchattacks apgd-dlr" in page


def test_a_single_audit_is_rendered_beside_itself(command, make_whitebox, tmp_path):
    path = tmp_path / "whitebox" / "audit.json"
    make_whitebox(["a"], eps=(0.1,)).save(path)
    result = command(path)
    assert result.exit_code == 0, result.output
    assert (path.parent / "whitebox-curves.svg").is_file()
    assert "white-box attack success rates" in result.stdout


def test_json_is_one_document_on_stdout(command, runs, tmp_path):
    path = runs / "20260101-000000-old" / "audits" / "transfer" / "audit.json"
    result = command(path, "--out", tmp_path / "out", "--format", "json")
    value = json.loads(result.stdout)
    assert value["source"] == str(path)
    assert value["verdict"]["level"] == "warn"
    assert sorted(value["written"]) == [str(tmp_path / "out" / name) for name in FILES]
    assert value["audits"]["transfer"]["summary"][-1].startswith("warning:")


def test_an_audit_that_cannot_be_read_is_named_and_left_out(command, runs, tmp_path):
    audits = runs / "20260102-000000-new" / "audits"
    (audits / "whitebox").mkdir()
    (audits / "whitebox" / "audit.json").write_text('{"schema": "fleet.audit.whitebox/0"}')
    result = command("--runs", runs, "--out", tmp_path / "out")
    assert result.exit_code == 0
    assert "left out whitebox/audit.json: audit schema is" in result.stderr
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "cannot be read: whitebox/audit.json" in page


def test_an_audit_and_a_run_are_one_too_many(command, runs):
    assert command("audit.json", "--run", "x").exit_code == 2


def test_what_is_not_there_is_said(command, tmp_path):
    assert isinstance(command(tmp_path / "none.json").exception, AuditError)
    assert isinstance(command("--runs", tmp_path).exception, CheckpointError)


def test_the_papers_matrix_is_shown_when_it_is_asked_for(command, runs):
    short, full = command("--runs", runs), command("--runs", runs, "--full")
    assert short.stdout.startswith("╭─ verdict")
    assert "paper protocol, eps" not in short.stdout
    assert "paper protocol, eps" in full.stdout


def test_brief_is_one_paragraph_and_writes_nothing(command, runs):
    before = sorted(runs.rglob("*"))
    result = command("--runs", runs, "--brief")
    assert result.exit_code == 0
    assert len(result.stdout.splitlines()) <= 3
    assert "Nothing is guaranteed" in result.stdout
    assert sorted(runs.rglob("*")) == before


def test_a_pipe_gets_tables_whole_however_wide(command, make_audit, tmp_path):
    names = [f"camera-at-the-gate-{k:02}" for k in range(6)]
    path = tmp_path / "audit.json"
    make_audit(names, eps=(0.1,)).save(path)
    result = command(path, "--full")
    assert result.exit_code == 0, result.output
    heads = [line for line in result.stdout.splitlines() if all(name in line for name in names)]
    assert heads, "no name of a column is folded or cut"
    assert "…" not in result.stdout
    assert "wider than this terminal" not in result.stdout
