import csv
import io

import pytest

from fleet.reports import render_csv


def read(audit):
    return list(csv.DictReader(io.StringIO(render_csv(audit), newline="")))


def test_every_cell_of_every_matrix_is_a_row(audit):
    table = read(audit)
    assert len(table) == 6 * 2 * 4 * 4  # attacks, radii, surrogates, victims
    keys = [(r["protocol"], r["attack"], r["eps"], r["surrogate"], r["victim"]) for r in table]
    assert len(set(keys)) == len(table)


def test_figures_are_those_of_the_audit(audit):
    for row in read(audit):
        eps = float(row["eps"])
        cell = audit.matrix(row["protocol"], eps, row["attack"]).cell(
            row["surrogate"], row["victim"]
        )
        for prefix, outcome in (
            ("", cell.outcome),
            ("joint_", cell.joint),
            ("given_success_", cell.given_success),
            ("noise_", audit.noise_floor(cell.victim, eps).outcome),
        ):
            assert int(row[f"{prefix}n"]) == outcome.n
            for kind in ("flip", "reject", "evade"):
                assert int(row[f"{prefix}{kind}"]) == getattr(outcome, kind)
                low, high = outcome.interval(kind)
                assert float(row[f"{prefix}{kind}_low"]) == pytest.approx(low, abs=1e-6)
                assert float(row[f"{prefix}{kind}_high"]) == pytest.approx(high, abs=1e-6)
                rate = row[f"{prefix}{kind}_rate"]
                assert (rate == "") == (outcome.n == 0)
                if rate:
                    assert float(rate) == pytest.approx(outcome.rate(kind), abs=1e-6)
        lift = float(row["evade_rate"]) - float(row["noise_evade_rate"])
        assert float(row["evade_lift"]) == pytest.approx(lift, abs=2e-6)
        assert row["white_box"] == str(int(row["surrogate"] == row["victim"]))


def test_a_masked_protocol_says_so_in_every_row(audit):
    marks = {(row["protocol"], row["failed_checks"]) for row in read(audit)}
    assert marks == {("paper", "M1 M8"), ("adaptive", "")}


def test_names_survive_quoting_and_start_no_formula(make_audit):
    names = ['a,"b"', "=HYPERLINK(1)", "@x", "-y", "+z", "two\nlines"]
    found = {row["victim"] for row in read(make_audit(names, eps=(0.1,)))}
    assert found == {'a,"b"', "'=HYPERLINK(1)", "'@x", "'-y", "'+z", "two\ufffdlines"}


def test_lines_end_the_same_everywhere(audit):
    text = render_csv(audit)
    assert text.endswith("\n")
    assert "\r" not in text
    assert text == render_csv(audit)


def test_an_audit_without_matrices_is_empty(make_audit):
    assert render_csv(make_audit(protocols=())) == ""
