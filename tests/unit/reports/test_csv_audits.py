import csv
import io

from fleet.reports import coalition, query, trace, whitebox


def read(text):
    return list(csv.DictReader(io.StringIO(text)))


def test_white_box_rows_hold_the_figures(make_whitebox):
    audit = make_whitebox(["a", "=cmd"], eps=(0.1, 0.2))
    rows = read(whitebox.details(audit).csv())
    assert len(rows) == 3 * 2 * 3 * 2
    (row,) = [
        r
        for r in rows
        if (r["device"], r["protocol"], r["attack"], r["eps"]) == ("a", "paper", "worst", "0.1")
    ]
    outcome = audit.figure("a", "paper", 0.1).outcome
    assert (row["n"], row["flip"]) == (str(outcome.n), str(outcome.flip))
    assert row["evade_rate"] == f"{outcome.rate('evade'):.6f}"
    assert row["failed_checks"] == "M1 M8"
    assert {r["device"] for r in rows} == {"a", "'=cmd", "tra-nn"}
    assert {r["role"] for r in rows if r["device"] == "tra-nn"} == {"control"}


def test_every_margin_is_a_row(make_whitebox):
    audit = make_whitebox(["a"], eps=(0.1,))
    rows = read(whitebox.margins(audit).csv())
    assert len(rows) == 600
    assert float(rows[0]["margin"]) == audit.margins[0].values[0]


def test_coalition_rows_are_the_points_of_the_curve(make_coalition):
    audit = make_coalition(eps=(0.1,))
    rows = read(coalition.curve(audit).csv())
    assert [(r["choice"], r["owned"]) for r in rows][:3] == [
        ("control", "0"),
        ("random", "1"),
        ("greedy", "1"),
    ]
    assert rows[0]["owned_evade"] == ""
    assert float(rows[1]["others_evade"]) == round(audit.curve[1].share, 6)


def test_query_rows_are_the_points_of_every_curve(make_query):
    audit = make_query(["a", "b"], eps=(0.1,))
    rows = read(query.curves(audit).csv())
    assert len(rows) == sum(len(curve.points) for curve in audit.curves)
    assert {r["owned"] for r in rows if r["method"] == "transfer+queries"} == {"a", "b"}


def test_trace_rows_add_up_to_the_evidence(make_trace):
    audit = make_trace(["a", "b", "c"], eps=(0.1,))
    rows = read(trace.confusions(audit).csv())
    assert len(rows) == len(audit.rates) * 9
    chosen = [
        r for r in rows if (r["attacker"], r["score"], r["evidence"]) == ("naive", "combined", "1")
    ]
    assert sum(int(r["count"]) for r in chosen) == audit.rate(0.1, "combined").n
    assert {r["chance"] for r in chosen} == {"0.333333"}
