"""Reports of a fleet of hundreds of devices: small, quick, no wider than a window.

``tests/benchmarks/test_large_report.py`` makes those of 1,000.
"""

import base64
import csv
import io
import sys
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from fleet.audit.core.exhibits import Exhibit
from fleet.audit.transfer.estimate import draw_devices, estimate_transfer
from fleet.audit.transfer.result import PairSample, SampledPairs
from fleet.errors import AuditError
from fleet.reports import AuditReport, compare, render_html
from fleet.reports.figures import draw_figures
from fleet.reports.html import render_sample
from fleet.reports.large import LARGE, PAGE_ROWS, named, worst_of
from fleet.reports.large_matrix import guide, ordered
from fleet.reports.rate_map import RateMap, order_by_likeness, tiles
from fleet.reports.report import report_of
from fleet.reports.tables import COUNT, RATE, Column, Table
from fleet.reports.views import report_view
from large_fleet import GROUPS, large_certify, large_transfer, names_of, worst_pair

MEGABYTE = 2**20
DEVICES = 300


@pytest.fixture(scope="module")
def hundreds():
    return AuditReport.of(large_certify(DEVICES), large_transfer(DEVICES))


@pytest.fixture(scope="module")
def page(hundreds):
    return render_html(hundreds, draw_figures(hundreds))


def test_the_page_of_hundreds_is_small_and_names_the_worst_pair(page):
    surrogate, victim = worst_pair(DEVICES)
    assert len(page) < MEGABYTE
    assert f"{surrogate} → {victim}" in page
    assert page.count("<article") == LARGE
    assert page.count("<tr") < 20 * PAGE_ROWS[0]
    assert "median" in page


def test_nothing_of_a_large_fleet_is_wider_than_its_window(page, make_report, look):
    others = make_report([f"cam-{k:04}" for k in range(LARGE + 1)], eps=(0.1,))
    pages = [page, render_html(others, draw_figures(others))]
    assert len(pages[1]) < 3 * MEGABYTE
    seen = look(*((text, width, 800) for text in pages for width in (1280, 400)))
    found = [[w for w in one["wide"] if k % 2 < 1 or w[0] is None] for k, one in enumerate(seen)]
    assert found == [[]] * 4


def test_a_terminal_and_a_pipe_get_the_worst_and_how_the_rest_spreads(hundreds):
    stream = io.StringIO()
    Console(file=stream, width=100).print(report_view(hundreds, full=True))
    text = stream.getvalue()
    assert len(text.splitlines()) < 250
    assert max(map(len, text.splitlines())) <= 100
    assert all(name in text for name in worst_pair(DEVICES))
    assert "median" in text


def test_files_of_a_large_fleet_say_that_they_hold_the_worst(hundreds):
    audit = hundreds.audits["transfer"]
    files = report_of(audit).tables["transfer.csv"](audit).files("transfer.csv")
    assert set(files) == {"transfer-worst.csv", "transfer-devices.csv"}
    first, *rest = csv.DictReader(io.StringIO(files["transfer-worst.csv"]))
    assert (first["surrogate"], first["victim"]) == worst_pair(DEVICES)
    assert len(rest) == 999  # of the 1,000 worst
    ends = list(csv.DictReader(io.StringIO(files["transfer-devices.csv"])))
    assert len(ends) == 2 * DEVICES
    (end,) = [e for e in ends if (e["device"], e["as"]) == (worst_pair(DEVICES)[0], "surrogate")]
    assert (end["pairs"], end["highest_with"]) == (str(DEVICES - 1), worst_pair(DEVICES)[1])


def test_a_report_reads_each_pair_a_fixed_number_of_times():
    """Operations, not seconds: twice the devices, at most about four times the calls."""

    def calls(count):
        report = AuditReport.of(large_certify(count), large_transfer(count))
        number = 0

        def counted(frame, event, _):
            nonlocal number
            number += event in {"call", "c_call"}

        sys.setprofile(counted)
        try:
            render_html(report)
        finally:
            sys.setprofile(None)
        return number

    small, large = calls(100), calls(200)
    assert large < 4 * small
    assert large < 60 * 200**2


def test_up_to_the_limit_every_device_and_pair_is_shown(make_audit):
    audit = make_audit([f"cam-{k:02}" for k in range(LARGE)], eps=(0.1,))
    text = render_html(AuditReport.of(audit))
    assert text.count("<article") == LARGE
    assert "whole in transfer.csv" in text


def test_like_devices_stand_together_on_the_map():
    matrix = large_transfer(100).matrix("adaptive", 0.1)
    order = order_by_likeness(RateMap.of(matrix).between(set(RateMap.of(matrix).names)))
    groups = [place % GROUPS for place in order]
    assert sorted(order) == list(range(100))
    assert sum(one != other for one, other in pairwise(groups)) == GROUPS - 1


def test_the_adaptive_matrix_of_the_largest_eps_orders_the_maps():
    audit = large_transfer(30, eps=(0.1, 0.2), protocols=("paper", "adaptive"))
    matrix = guide(audit)
    assert (matrix.protocol, matrix.eps) == ("adaptive", 0.2)
    assert sorted(ordered(audit)) == names_of(30)


def test_a_tile_has_the_mean_and_the_highest_of_its_pairs():
    rates = np.array([[np.nan, 0.2, 0.4], [0.6, np.nan, 0.0], [1.0, 0.5, np.nan]])
    means, highest, step = tiles(rates, most=2)
    assert step == 2
    np.testing.assert_allclose(means, [[0.4, 0.2], [0.75, np.nan]])
    np.testing.assert_allclose(highest, [[0.6, 0.4], [1.0, np.nan]])


def test_arrays_hold_what_the_cells_hold_in_whatever_order(make_audit):
    audit = make_audit(with_control=True)
    matrix = audit.matrix("adaptive", 0.1)
    turned = replace(matrix, cells=matrix.cells[::-1])
    for one in (matrix, turned):
        read = RateMap.of(one)
        for i, surrogate in enumerate(read.names):
            for j, victim in enumerate(read.names):
                rate = matrix.cell(surrogate, victim).outcome.rate("evade")
                assert read.rates[i, j] == rate
    fleet = set(audit.fleet)
    ranked = RateMap.of(matrix).worst(fleet, 99)
    worst = [matrix.cells[place].outcome.rate("evade") for place in ranked]
    assert worst == sorted(RateMap.of(matrix).listed(fleet), reverse=True)
    assert len(worst) == len(fleet) * (len(fleet) - 1)


def test_a_long_table_keeps_its_worst_rows_and_says_how_many_there_were():
    rows = [(k, k / 1000 if k % 2 else None) for k in range(1000)]
    columns = (Column(lambda r: r[0], COUNT, "row"), Column(lambda r: r[1], RATE, "rate"))
    table = Table("All", rows, columns, worst=lambda row: row[1])
    cut, spread = table.fitted((500, 3))
    assert [row[0] for row in cut.rows] == [999, 997, 995]
    assert cut.title == "All. The worst 3 of 1,000 rows."
    (found,) = spread.rows
    assert (found.n, found.quantiles[0], found.quantiles[-1]) == (500, 0.001, 0.999)
    assert table.fitted((1000, 3)) == [table]


def test_names_and_items_of_many_are_cut():
    assert named(("a", "b")) == "a+b"
    assert named([f"d{k}" for k in range(40)]) == "d0+d1+d2 and 37 more"
    assert worst_of([3, 1, 2], lambda item: item, 2) == [3, 2]


def test_a_picture_is_sent_to_many_in_one_line():
    audit = large_transfer(40)
    names = [device.name for device in audit.devices]
    decoded = {name: 1 if k % 3 else None for k, name in enumerate(names)}
    picture = io.BytesIO()
    Image.new("L", (2, 2)).save(picture, "png")
    seen = [base64.b64encode(picture.getvalue()).decode()] * 3
    shown = Exhibit(names[0], 0.1, 0, 3, 2, decoded, *seen, 4.0)
    text = render_html(AuditReport.of(replace(audit, exhibits=(shown,))))
    assert "Sent to others: class 1 on 26; none on 13." in text


def test_the_notebook_shows_the_worst_of_a_large_fleet():
    from fleet.reports.notebook import html

    text = html(large_transfer(100))
    assert len(text) < 100_000
    assert worst_pair(100)[0] in text


def test_two_large_fleets_are_compared(tmp_path):
    for name, count in (("before", 60), ("after", 60)):
        large_transfer(count).save(tmp_path / f"{name}.json")
    found = compare(tmp_path / "before.json", tmp_path / "after.json")
    from fleet.reports import render_comparison

    assert len(render_comparison(found)) < 200_000


def sample(surrogates=16, victims=64):
    strata = dict.fromkeys(names_of(1000), "int cnn softmax certified")
    rows = draw_devices(strata, surrogates, 0, "surrogates")
    columns = draw_devices(strata, victims, 0, "victims")
    evaded = np.random.default_rng(0).random((len(rows.names), len(columns.names), 50)) < 0.1
    estimate = estimate_transfer(evaded, np.ones((len(columns.names), 50), bool), rows, columns)
    worst = ((rows.names[0], columns.names[1], 0.3),)
    at = SampledPairs(0.1, estimate, (0.0, 0.05, 0.1, 0.15, 0.3), worst)
    return PairSample(1000, {}, rows, columns, (at,))


def test_a_sample_says_what_was_tried_what_that_means_and_what_was_not(look, tmp_path):
    found = sample()
    both = set(found.surrogates.names) & set(found.victims.names)
    assert found.tried == 16 * 64 - len(both)
    text = render_html(replace(AuditReport.of(large_certify(30)), sample=found))
    estimate = found.at[0].estimate
    assert f"{found.tried:,} of 999,000 pairs of surrogate and victim" in text
    assert f"{estimate.low:.3f}–{estimate.high:.3f}" in text
    assert f"Not tried: {999_000 - found.tried:,} pairs" in text
    assert all(name in text for name in (*found.surrogates.names, *found.victims.names))
    (seen,) = look((text, 400, 800))
    assert [wide for wide in seen["wide"] if wide[0] is None] == []
    assert f"{found.tried:,} of 999,000" in render_sample(found)
    found.save(tmp_path / "sample.json")
    assert PairSample.load(tmp_path / "sample.json") == found


def test_a_sample_that_contradicts_itself_is_refused(tmp_path):
    few = replace(sample(), devices=10)
    few.save(tmp_path / "sample.json")
    with pytest.raises(AuditError, match="devices drawn of 10"):
        PairSample.load(tmp_path / "sample.json")
