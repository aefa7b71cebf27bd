"""What several reports say of the same figures is defined once."""

import ast
from dataclasses import replace
from pathlib import Path

import pytest

import fleet
from fleet.audit.core.result import Outcome, mean_rate
from fleet.reports import AuditReport
from fleet.reports.figures import encoded
from fleet.reports.findings import find
from fleet.reports.ladder import ladder
from fleet.reports.views import summary_lines

DEAD = Outcome(0, 0, 0)


def test_a_rate_over_no_image_is_left_out_of_a_mean():
    assert mean_rate([0.2, None, 0.6]) == pytest.approx(0.4)
    assert mean_rate([0.0, None]) == 0.0
    assert mean_rate([None]) is None
    assert mean_rate([]) is None


def test_no_other_module_computes_a_mean_of_rates():
    """``sum(values) / len(values)`` stands in one module; shares of a count are no mean."""
    offences = []
    for path in sorted(Path(fleet.__file__).parent.rglob("*.py")):
        found = [
            node
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.BinOp)
            and isinstance(node.op, ast.Div)
            and ast.unparse(node.left).startswith("sum(")
            and ast.unparse(node.right).startswith("len(")
            and not any(isinstance(part, ast.Compare) for part in ast.walk(node.left))
        ]
        offences += [f"{path.name}: {ast.unparse(node)}" for node in found]
    others = {"trainings.py", "progress.py"}  # of epochs, and of a bar
    assert [line for line in offences if line.split(":")[0] not in others] == [
        "result.py: sum(known) / len(known)"
    ]


def test_a_device_that_decodes_nothing_is_left_out_of_every_mean(make_audit, make_query):
    audit = make_audit(["a", "b", "c"], eps=(0.1,), protocols=("adaptive",))
    dead = tuple(
        replace(
            matrix,
            cells=tuple(replace(c, outcome=DEAD) if c.victim == "b" else c for c in matrix.cells),
        )
        for matrix in audit.matrices
    )
    found = replace(audit, matrices=dead)
    mean = find(found, found.matrix("adaptive", 0.1)).mean
    alive = [c for c in found.matrix("adaptive", 0.1).cells if c.surrogate != c.victim != "b"]
    assert mean == pytest.approx(sum(c.outcome.evade / c.outcome.n for c in alive) / 4)
    (rungs,) = ladder(AuditReport.of(found).audits.values()).values()
    assert next(rung for rung in rungs if rung.level == "T1").mean == mean


def test_a_coalition_figure_names_the_attack_that_it_draws(make_coalition):
    audit = make_coalition(eps=(0.1,))
    several = replace(
        audit,
        attacks=("uniform", "min-max", "picked"),
        trials=tuple(
            replace(t, attack=a) for t in audit.trials for a in ("uniform", "min-max", "picked")
        ),
        curve=tuple(
            replace(p, attack=a) for p in audit.curve for a in ("uniform", "min-max", "picked")
        ),
        half=(),
        risks=tuple(
            replace(r, attack=a) for r in audit.risks for a in ("uniform", "min-max", "picked")
        ),
        effective=tuple(
            replace(e, attack=a) for e in audit.effective for a in ("uniform", "min-max", "picked")
        ),
    )
    (svg,) = encoded("fleet.reports.coalition_figure:draw", (several,), "svg")
    text = svg.decode("utf-8")
    assert "Worst case" not in text
    assert (
        "Attack: picked: for each image the best on the owned devices of uniform, min-max." in text
    )
    (single,) = encoded("fleet.reports.coalition_figure:draw", (audit,), "svg")
    assert "Attack: uniform. Fleet of 4." in single.decode("utf-8")


def test_the_trace_figure_shows_the_combined_score_whatever_did_best(make_trace):
    audit = make_trace(eps=(0.1,))
    better = {"combined": "alignment", "alignment": "combined"}
    swapped = replace(
        audit, rates=tuple(replace(r, score=better.get(r.score, r.score)) for r in audit.rates)
    )
    rate = swapped.rate(0.1, "combined")
    assert rate.top1 < swapped.rate(0.1, "alignment").top1
    (svg,) = encoded("fleet.reports.trace_figure:draw", (swapped,), "svg")
    assert f"eps 0.1: combined, top-1 {rate.top1:.3f}" in svg.decode("utf-8")
    assert f"names its device in {rate.top1:.3f}" in summary_lines(swapped)[0]
