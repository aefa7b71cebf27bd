import sys

import pytest

from fleet.errors import BackendError, StorageError
from fleet.reports import render_csv, render_html, write_reports

NAMES = ["report.html", "transfer.csv", "transfer.png", "transfer.svg"]


@pytest.fixture
def audit(make_audit):
    return make_audit(["a", "b"], eps=(0.1,))


def test_every_report_is_written(audit, tmp_path):
    written = write_reports(audit, tmp_path / "new" / "place")
    assert [path.name for path in written] == NAMES
    assert sorted(path.name for path in (tmp_path / "new" / "place").iterdir()) == NAMES
    assert written[0].read_text(encoding="utf-8") == render_html(audit)
    assert written[1].read_text(encoding="utf-8") == render_csv(audit)


def test_writing_again_changes_no_byte(audit, tmp_path):
    first = [path.read_bytes() for path in write_reports(audit, tmp_path)]
    assert [path.read_bytes() for path in write_reports(audit, tmp_path)] == first


def test_a_report_that_cannot_be_drawn_leaves_the_others_unwritten(audit, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.delitem(sys.modules, "fleet.reports.heatmap_figure", raising=False)
    monkeypatch.delattr("fleet.reports.heatmap_figure", raising=False)
    with pytest.raises(BackendError):
        write_reports(audit, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_way_is_named(audit, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(StorageError, match="file"):
        write_reports(audit, blocked)
