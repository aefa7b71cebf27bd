"""What changed between two runs: which figures, by how much, and whether luck explains it."""

import io
import json
from dataclasses import replace

import pytest
from rich.console import Console

from fleet.audit.certify.result import CertifyAudit, PairProof, Proven, Reach
from fleet.audit.core.kind import keep
from fleet.audit.core.result import Check, difference_interval
from fleet.errors import AuditError, CheckpointError
from fleet.profiles import load_profile
from fleet.reports import AuditReport, read_audits, render_comparison, render_html
from fleet.reports.comparison import Change, Figure, compare, compare_reports
from fleet.reports.comparison_view import comparison_view
from fleet.rundir import PROFILE_FILE

SOUND = (Check("M1", "gradient", "pass", "fine", "rule", "adaptive"),)
BLIND = (Check("M1", "gradient", "fail", "flat", "rule", "adaptive"),)


def scaled(audit, factor, run="after"):
    """The audit with so many times as many evasions between devices."""

    def cell(c):
        flip = min(c.outcome.n - c.outcome.reject, round(c.outcome.flip * factor))
        return c if c.surrogate == c.victim else replace(c, outcome=replace(c.outcome, flip=flip))

    matrices = tuple(replace(m, cells=tuple(map(cell, m.cells))) for m in audit.matrices)
    return replace(audit, matrices=matrices, run=run)


@pytest.fixture
def before(make_audit):
    return make_audit(["a", "b", "c"], eps=(0.1,), found=SOUND, with_control=True)


def changes(first, second):
    found = compare_reports(AuditReport.of(first), AuditReport.of(second))
    return {(c.what, c.where): c for c in found.changes}, found


def test_less_transfer_is_better_and_more_is_worse(before):
    less, found = changes(before, scaled(before, 0.2))
    pair = less["transfer", "a → b"]
    old = before.matrix("adaptive", 0.1).cell("a", "b").outcome
    assert pair.before == Figure(old.rate("evade"), old.n)
    assert pair.difference == pytest.approx(pair.after.rate - pair.before.rate)
    assert pair.interval == difference_interval(
        (pair.after.rate, pair.after.interval), (pair.before.rate, pair.before.interval)
    )
    assert less["transfer", "fleet"].verdict == pair.verdict == "better"
    assert less["from the control", "fleet"].verdict == "better"
    assert less["accuracy", "fleet"].verdict == "no clear change"
    assert (found.changes[0].where, len(found.fleet)) == ("fleet", 3)
    assert changes(scaled(before, 0.2), before)[0]["transfer", "a → b"].verdict == "worse"


def test_the_same_audit_shows_no_clear_change(before):
    _, found = changes(before, before)
    assert {c.verdict for c in found.changes} == {"no clear change"}
    assert all(c.difference == 0 and c.interval[0] < 0 < c.interval[1] for c in found.changes)
    assert not found.cautions


def test_more_accuracy_and_more_certificates_are_better():
    assert Change("accuracy", "a", None, Figure(0.5, 400), Figure(0.9, 400)).verdict == "better"
    assert Change("certified", "a", 0.1, Figure(0.9, 400), Figure(0.5, 400)).verdict == "worse"
    assert Change("transfer", "a → b", 0.1, Figure(0.0, 9), Figure(0.4, 9)).verdict != "better"


def test_a_masked_figure_is_no_improvement(before):
    masked = replace(scaled(before, 0), checks=BLIND)
    found, whole = changes(before, masked)
    assert found["transfer", "fleet"].verdict == "not known"
    assert found["accuracy", "fleet"].verdict == "no clear change"
    assert not whole.of("better", "worse")
    assert "not known (MASKED: M1)" in render_comparison(whole)


def test_other_settings_and_images_are_named(before):
    settings = {**before.settings, "steps": 5, "images_sha256": "cd"}
    _, found = changes(before, replace(before, settings=settings))
    assert found.cautions == (
        "the transfer audits were made otherwise: steps None and 5",
        "the transfer audits are of other images",
    )
    data = {"dataset": {"sha256": "other"}}
    assert changes(before, replace(before, provenance=data))[1].cautions == (
        "the data sets differ",
    )


def test_what_only_one_has_is_named_and_nothing_in_common_is_an_error(
    before, make_whitebox, make_audit
):
    other = make_whitebox(["a", "z"], eps=(0.1,), found=SOUND)
    _, found = changes(before, other)
    assert [c.where for c in found.changes] == ["fleet", "a"]
    assert found.missing[0] == "only before: audits Transfer"
    assert "only after: accuracy of z, white-box at eps 0.1" in found.missing[3]
    with pytest.raises(AuditError, match="no figure in common"):
        compare_reports(AuditReport.of(), AuditReport.of(before))


def certified(before, stays):
    devices = tuple(d for d in before.devices if d.role == "device")
    head = {k: getattr(before, k) for k in ("run", "created", "settings", "provenance")}
    return CertifyAudit(
        **head,
        devices=devices,
        eps=(0.1,),
        checks=(),
        proven=tuple(Proven(d.name, 0.1, d.images, d.correct, stays, stays) for d in devices),
        pairs=(PairProof(("a", "b"), 0.1, 1, 1),),
        reach=(Reach(0.1, (1, 0, 0, 0)),),
        radii=(),
    )


def test_certificates_are_compared(before):
    found, _ = changes(certified(before, 100), certified(before, 400))
    assert found["certified", "b"].verdict == found["certified", "fleet"].verdict == "better"
    assert found["certified", "b"].after == Figure(0.4, 1000)


@pytest.fixture
def runs(before, tmp_path, project):
    family = json.dumps(load_profile(project / "profiles" / "devices.yaml").to_dict())
    for name, audit in (("old", before), ("new", scaled(before, 0.2))):
        run = tmp_path / "runs" / name
        (run / "devices" / "a").mkdir(parents=True)
        (run / PROFILE_FILE).write_text(family)
        (run / "dataset.json").write_text('{"sha256": "ab"}')
        audit.save(run / "audits" / "transfer" / "audit.json")
    return tmp_path / "runs"


def test_runs_and_audits_are_compared_on_the_command_line(
    runs, before, call_fleet, tmp_path, monkeypatch
):
    import fleet.reports.comparison as module

    monkeypatch.setattr(module, "_trained", lambda run: {})  # a whole run is trained elsewhere
    page = tmp_path / "page.html"
    done = call_fleet("compare", "old", "new", "--html", page, cwd=runs.parent)
    assert done.returncode == 0, done.stderr
    assert "better" in done.stdout
    assert "a → b" in done.stdout
    assert "What changed?" in page.read_text()
    audit = runs / "old" / "audits" / "transfer" / "audit.json"
    told = call_fleet("compare", audit, "new", "--format", "json", cwd=runs.parent)
    value = json.loads(told.stdout)
    assert {row["verdict"] for row in value["changes"]} == {"better", "no clear change"}
    assert value["sentence"].startswith(f"Of {len(value['changes'])} figures: ")
    gone = call_fleet("compare", "old", "gone", cwd=runs.parent)
    assert gone.returncode == 2
    assert "no run at gone" in gone.stderr
    with pytest.raises(CheckpointError):
        compare("old", "gone", runs)


def test_the_audit_that_was_there_is_kept_and_the_page_says_what_changed(runs, before):
    audits = runs / "new" / "audits"
    assert read_audits(audits).earlier is None
    keep(before, audits / "transfer")
    certified(before, 400).save(audits / "certify" / "audit.json")
    report = read_audits(audits)
    assert report.audits["transfer"] == before
    assert report.earlier.audits["transfer"] == scaled(before, 0.2)
    text = render_html(report)
    assert '<a href="#changes">' in text
    assert "worse" in text
    assert "only after" not in text, "an audit that was made once has not changed"
    assert 'id="changes"' not in render_html(replace(report, earlier=None))


def test_hostile_names_stay_text(before):
    _, found = changes(before, replace(before, run="<script>\x1b[2J"))
    assert "<script>" not in render_comparison(found)
    stream = io.StringIO()
    Console(width=100, file=stream).print(comparison_view(found, full=True))
    assert "\x1b" not in stream.getvalue()
