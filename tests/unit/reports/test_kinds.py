import dataclasses
import json

import pytest

from fleet.errors import AuditError
from fleet.reports import AuditReport, read_audit, read_audits


def save(report, directory):
    for kind, audit in report.audits.items():
        audit.save(directory / kind / "audit.json")


def test_what_was_saved_is_read(report, tmp_path):
    save(report, tmp_path)
    assert read_audits(tmp_path) == report
    for kind, audit in report.audits.items():
        assert read_audit(tmp_path / kind / "audit.json") == audit


def test_what_was_not_made_is_absent(audit, tmp_path):
    audit.save(tmp_path / "transfer" / "audit.json")
    found = read_audits(tmp_path)
    assert list(found.audits) == ["transfer"]
    assert found.unreadable == ()


def test_one_damaged_audit_does_not_hide_the_others(audit, tmp_path):
    audit.save(tmp_path / "transfer" / "audit.json")
    (tmp_path / "trace").mkdir()
    (tmp_path / "trace" / "audit.json").write_text("{")
    found = read_audits(tmp_path)
    assert list(found.audits) == ["transfer"]
    (line,) = found.unreadable
    assert line.startswith("trace/audit.json: cannot read")


def test_nothing_to_read_is_an_error_that_says_why(tmp_path):
    with pytest.raises(AuditError, match="none was made"):
        read_audits(tmp_path)
    (tmp_path / "query").mkdir()
    (tmp_path / "query" / "audit.json").write_text("[]")
    with pytest.raises(AuditError, match=r"query/audit\.json: this is not an audit"):
        read_audits(tmp_path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "cannot read"),
        ("[]", "not an audit"),
        ('{"schema": "fleet.audit.nonsense/1"}', "its schema is 'fleet.audit.nonsense/1'"),
        ('{"schema": "fleet.audit.crosscheck/1"}', "no audit that is drawn"),
        ('{"schema": "fleet.reproduction.table/1"}', "no audit that is drawn"),
        ('{"schema": 3}', "audit schema is 3"),
        ('{"schema": "fleet.audit.whitebox/0"}', "'fleet.audit.whitebox/1'"),
    ],
)
def test_a_file_that_is_no_audit_is_refused(text, words, tmp_path):
    path = tmp_path / "audit.json"
    path.write_text(text)
    with pytest.raises(AuditError, match=words):
        read_audit(path)


def test_a_damaged_audit_is_judged_as_its_own_kind(make_coalition, tmp_path):
    path = tmp_path / "audit.json"
    make_coalition().save(path)
    data = json.loads(path.read_text())
    del data["noise"]
    path.write_text(json.dumps(data))
    with pytest.raises(AuditError, match="noise"):
        read_audit(path)


def test_a_device_that_was_trained_again_is_named(audit, make_trace):
    trace = make_trace()
    (first, *rest) = trace.devices
    changed = dataclasses.replace(first, weights_sha256="f" * 64)
    report = AuditReport.of(audit, dataclasses.replace(trace, devices=(changed, *rest)))
    (sentence,) = report.contradictions
    assert sentence.startswith("gate-north had other weights")
    assert "transfer; trace" in sentence
    assert AuditReport.of(audit, trace).contradictions == ()


def test_controls_come_last_and_runs_are_named_once(report):
    assert [device.name for device in report.devices][-1] == "tra-nn"
    assert len(report.devices) == 5
    assert report.run == "20261122-213100-demo"
