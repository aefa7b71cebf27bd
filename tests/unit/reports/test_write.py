import pytest

from fleet.errors import AuditError, BackendError, StorageError
from fleet.reports import AuditReport, render_csv, render_run_reports, write_reports
from fleet.reports.figures import draw_figures
from fleet.reports.html import render_html

NAMES = ["ladder.png", "ladder.svg", "report.html", "transfer.csv", "transfer.png", "transfer.svg"]


@pytest.fixture
def audit(make_audit):
    return make_audit(["a", "b"], eps=(0.1,), protocols=("adaptive",))


def test_reports_of_one_audit_lie_beside_each_other(audit, tmp_path):
    written = write_reports(audit, tmp_path / "new" / "place")
    assert sorted(path.name for path in written) == NAMES
    assert sorted(path.name for path in (tmp_path / "new" / "place").iterdir()) == NAMES
    report = AuditReport.of(audit)
    again = {figure.name: figure for figure in draw_figures(report)}
    page = (tmp_path / "new" / "place" / "report.html").read_text(encoding="utf-8")
    assert page == render_html(report, list(again.values()))
    assert (tmp_path / "new" / "place" / "transfer.png").read_bytes() == again["transfer"].png
    assert (tmp_path / "new" / "place" / "transfer.csv").read_text() == render_csv(audit)


def test_reports_of_a_run_have_a_folder_for_each_kind(audit, make_trace, tmp_path):
    trace = make_trace(["a", "b"], eps=(0.1,))
    audit.save(tmp_path / "transfer" / "audit.json")
    trace.save(tmp_path / "trace" / "audit.json")
    written = [str(path.relative_to(tmp_path)) for path in render_run_reports(tmp_path)]
    assert written[0] == "report.html"
    assert sorted(written[1:]) == [
        "ladder.png",
        "ladder.svg",
        "trace/trace.csv",
        "trace/trace.png",
        "trace/trace.svg",
        "transfer/transfer.csv",
        "transfer/transfer.png",
        "transfer/transfer.svg",
    ]
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert 'id="trace"' in page
    assert 'id="transfer"' in page


def test_a_run_without_audits_has_no_report(tmp_path):
    with pytest.raises(AuditError, match="none was made"):
        render_run_reports(tmp_path)


@pytest.mark.usefixtures("no_matplotlib")
def test_a_report_that_cannot_be_drawn_leaves_the_others_unwritten(audit, tmp_path):
    with pytest.raises(BackendError):
        write_reports(audit, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_way_is_named(audit, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(StorageError, match="file"):
        write_reports(audit, blocked)
