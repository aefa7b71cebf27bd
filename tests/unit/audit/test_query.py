"""The query audit of linear devices: who falls to whom follows from which pixels they read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from rich.console import Console
from torch import Tensor

from fleet.audit.core.members import Member
from fleet.audit.core.outsider import Attacker
from fleet.audit.core.result import Check, Outcome
from fleet.audit.query.audit import audit_query
from fleet.audit.query.checks import query_checks
from fleet.audit.query.methods import QuerySettings
from fleet.audit.query.result import (
    Fidelity,
    QueryAudit,
    QueryCurve,
    QueryMethod,
    QueryPoint,
    WhiteBox,
)
from fleet.errors import AuditError
from fleet.reports.views import audit_view, summary_lines

Make = Callable[..., Member]
ASKING: tuple[QueryMethod, ...] = ("noise", "square", "decision", "transfer+queries")
EPS = (5 / 255, 20 / 255)


def images(count: int = 4) -> tuple[Tensor, Tensor]:
    """Grey 128; the last label is wrong on every device."""
    labels = torch.ones(count, dtype=torch.int64)
    labels[-1] = 2
    return torch.full((count, 1, 2, 2), 128, dtype=torch.uint8), labels


def family(linear: Make) -> list[Member]:
    """Output 25 of [20, 30]; a and b read pixel 0, c reads pixel 1."""
    return [
        linear("a", [1.0, 0.0, 0.0, 0.0], -103.0),
        linear("b", [1.0, 0.0, 0.0, 0.0], -103.0),
        linear("c", [0.0, 1.0, 0.0, 0.0], -103.0),
    ]


def audit(members: list[Member], **values: object) -> QueryAudit:
    asked: dict[str, object] = {"eps": EPS, "queries": 20, "methods": ASKING, "steps": 2}
    settings = QuerySettings(**{**asked, **values})  # type: ignore[arg-type]
    return audit_query(members, *images(), settings)


@pytest.fixture(scope="module")
def whole(linear: Make) -> QueryAudit:
    return audit(family(linear))


def test_five_levels_reach_the_edge_and_nobody_falls(whole: QueryAudit) -> None:
    for curve in whole.curves:
        assert curve.n == 3, "the wrong label is not counted"
        if curve.eps == EPS[0]:
            assert curve.last.outcome == Outcome(3, 0, 0)
            assert curve.median_queries is None


def test_every_method_finds_the_flip_of_twenty_levels(whole: QueryAudit) -> None:
    for victim in "abc":
        assert whole.white_box_of(victim, EPS[1]).outcome == Outcome(3, 3, 0)
        for method in ("noise", "square"):
            curve = whole.curve(victim, EPS[1], method)
            assert [p.outcome.flip for p in curve.points] == [3] * len(curve.points)
            assert curve.median_queries == 1


def test_a_clone_falls_to_the_first_image_of_its_twin_and_a_stranger_does_not(
    whole: QueryAudit,
) -> None:
    """The attacker of a owns b, whose first image flips it; that of c owns nothing like it.

    So 6 candidates of a and b leave c standing, and a square of Square's has to do it.
    """
    twin = whole.curve("a", EPS[1], "transfer+queries")
    assert (twin.owned, twin.median_queries) == (("b", "c"), 1)
    stranger = whole.curve("c", EPS[1], "transfer+queries")
    assert stranger.owned == ("a", "b")
    assert stranger.median_queries is not None
    assert stranger.median_queries > 6


def test_nobody_else_can_be_owned_by_the_attacker_of_a_single_device(linear: Make) -> None:
    alone = audit(family(linear)[:1])
    assert alone.methods == ("noise", "square", "decision")


def test_controls_are_asked_and_not_owned(linear: Make) -> None:
    a, b, c = family(linear)
    result = audit([a, replace(b, role="control"), c])
    assert result.curve("a", EPS[1], "transfer+queries").owned == ("c",)
    assert result.curve("b", EPS[1], "transfer+queries").owned == ("a", "c")
    assert [device.role for device in result.devices] == ["device", "control", "device"]


def test_a_victim_that_gets_everything_wrong_has_curves_of_nothing(linear: Make) -> None:
    a, b, _ = family(linear)
    lost = linear("lost", [0.0, 0.0, 0.0, 1.0], 500.0)
    result = audit([a, b, lost])
    assert all(curve.n == 0 for curve in result.curves if curve.victim == "lost")
    assert result.devices[2].correct == 0
    assert any("no image is decoded correctly" not in line for line in summary_lines(result))


def test_results_do_not_depend_on_the_batch_size(linear: Make, whole: QueryAudit) -> None:
    again = audit(family(linear), batch_size=1)
    settings = {**again.settings, "batch_size": whole.settings["batch_size"]}
    assert replace(again, created=whole.created, settings=settings) == whole


def test_the_document_keeps_everything(whole: QueryAudit, tmp_path: Path) -> None:
    whole.save(tmp_path / "audit.json")
    assert QueryAudit.load(tmp_path / "audit.json") == whole


def test_a_damaged_document_is_refused(whole: QueryAudit) -> None:
    part = tuple(c for c in whole.curves if (c.victim, c.method) != ("c", "square"))
    with pytest.raises(ValueError, match=r"nothing of victim c, .*method square"):
        replace(whole, curves=part)
    with pytest.raises(ValueError, match="nothing of victim a"):
        replace(whole, white_box=whole.white_box[1:])
    with pytest.raises(ValueError, match="device names"):
        replace(whole, devices=whole.devices[:1] * 2)
    with pytest.raises(ValueError, match="600 agree"):
        Fidelity("a", 100, 500, 600, 0)
    points = (QueryPoint(3, Outcome(5, 0, 0)), QueryPoint(3, Outcome(5, 0, 0)))
    with pytest.raises(ValueError, match="budgets of square"):
        replace(whole.curves[0], method="square", points=points)
    with pytest.raises(ValueError, match="n of square"):
        replace(
            whole.curves[0],
            method="square",
            points=(QueryPoint(1, Outcome(5, 0, 0)), QueryPoint(3, Outcome(6, 0, 0))),
        )


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"eps": ()}, "no eps"),
        ({"eps": (2.0,)}, "not in"),
        ({"queries": 0}, "queries is 0"),
        ({"steps": 0}, "steps is 0"),
        ({"held_out": 0}, "held_out is 0"),
        ({"methods": ()}, "methods are none"),
        ({"methods": ("guess",)}, "methods are guess"),
        ({"methods": ("extraction",), "extraction": ()}, "extraction budgets"),
        ({"methods": ("extraction",), "extraction": (0, 5)}, "extraction budgets"),
    ],
)
def test_settings_out_of_range_are_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(AuditError, match=message):
        QuerySettings(**{"eps": (0.1,), **values})  # type: ignore[arg-type]


def test_budgets_are_a_ladder_up_to_the_whole() -> None:
    assert QuerySettings((0.1,), queries=1).budgets == (1,)
    assert QuerySettings((0.1,), queries=300).budgets == (1, 3, 10, 30, 100, 300)
    assert QuerySettings((0.1,), queries=45).budgets == (1, 3, 10, 30, 45)


def test_extraction_needs_an_attacker_and_nan_is_refused(linear: Make) -> None:
    with pytest.raises(AuditError, match="extraction needs an attacker"):
        audit(family(linear), methods=("extraction",))
    broken = linear("broken", [float("nan"), 0.0, 0.0, 0.0], 0.0)
    with pytest.raises(AuditError, match="broken gives NaN or infinite outputs"):
        audit([broken], methods=("noise",))


def test_extraction_counts_queries_in_total_and_measures_fidelity(
    linear: Make, logits: Make
) -> None:
    """The surrogate is handed over ready: a class beside each of the victim's three intervals."""
    victim = family(linear)[0]

    def build(task: str, head: str, encoding: object, seed: int) -> object:
        return logits("s", [[-1.0, 0, 0, 0], [0.0, 0, 0, 0], [1.0, 0, 0, 0]]).classifier

    generator = torch.Generator().manual_seed(0)
    own = torch.randint(103, 154, (60, 1, 2, 2), generator=generator, dtype=torch.uint8)
    labels = (own[:, 0, 0, 0].int() - 103).div(20, rounding_mode="floor").clamp(max=2).long()
    result = audit_query(
        [victim],
        *images(),
        QuerySettings(EPS, methods=("extraction",), extraction=(10, 20), held_out=40, steps=2),
        attacker=Attacker(own, labels, build),  # type: ignore[arg-type]
    )
    curve = result.curve("a", EPS[1], "extraction")
    assert (curve.counted, curve.median_queries) == ("total", None)
    assert [point.queries for point in curve.points] == [10, 20]
    assert [(f.victim, f.queries, f.n) for f in result.fidelity] == [("a", 10, 40), ("a", 20, 40)]
    assert curve.n == 3
    text = shown(result)
    assert "extraction, queries in total" in text


def shown(result: QueryAudit) -> str:
    console = Console(width=100, record=True)
    with console.capture() as capture:
        console.print(audit_view(result))
    return capture.get()


def test_the_terminal_shows_every_victim_and_the_summary(whole: QueryAudit) -> None:
    text = shown(whole)
    for words in ("transfer+queries", "white-box", "evade rate by queries", "checks passed"):
        assert words in text
    warned = replace(whole, checks=(Check("Q4", "Scores", "warn", "Square is behind", "any"),))
    assert "Square is behind" in shown(warned)
    assert "noise, eps 20/255 (0.0784), 20 queries on each image: evade mean 1.000" in text
    assert max(map(len, text.splitlines())) <= 100


def curve(method: QueryMethod, *evaded: int, n: int = 100) -> QueryCurve:
    points = tuple(QueryPoint(10**i, Outcome(n, 0, e)) for i, e in enumerate(evaded))
    return QueryCurve("a", 0.1, method, "label", "image", (), points, None)


def verdicts(*curves: QueryCurve, white_box: int = 90) -> dict[str, Check]:
    own = (WhiteBox("a", 0.1, Outcome(100, white_box, 0)),)
    return {check.id: check for check in query_checks(curves, own)}


def test_sound_curves_pass_every_check() -> None:
    checks = verdicts(curve("noise", 1, 5), curve("square", 3, 60), curve("decision", 0, 60))
    assert {check.verdict for check in checks.values()} == {"pass"}
    assert list(checks) == ["Q1", "Q2", "Q3", "Q4"]


def test_queries_above_white_box_mean_that_it_is_masked() -> None:
    found = verdicts(curve("square", 3, 60), white_box=40)["Q1"]
    assert (found.verdict, found.subject) == ("fail", "adaptive")
    assert "square on a at eps 0.1 evades 60.0 %, its own gradients 40.0 %" in found.finding


def test_a_falling_curve_fails() -> None:
    assert verdicts(curve("square", 60, 30))["Q2"].verdict == "fail"


def test_noise_ahead_of_an_attack_and_labels_ahead_of_scores_warn() -> None:
    curves = (curve("noise", 1, 50), curve("square", 1, 20), curve("decision", 1, 60))
    checks = verdicts(*curves)
    assert checks["Q3"].verdict == "warn"
    assert "square on a at eps 0.1 evades 20.0 %, noise 50.0 %" in checks["Q3"].finding
    assert checks["Q4"].verdict == "warn"
    assert verdicts(curve("square", 1, 20))["Q1"].verdict == "pass"
    assert "Q3" not in verdicts(curve("square", 1, 20)), "nothing to compare"


@pytest.mark.parametrize(
    ("own", "classes", "asked", "budgets", "held_out"),
    [
        (60_000, 10, (100, 300), (100, 300), 500),  # nothing to fit
        (800, 10, (100, 300), (100, 300), 500),
        (640, 10, (100, 300), (100, 300), 340),  # fidelity first,
        (500, 10, (100, 300), (100, 250), 250),  # down to half of the images
        (539, 10, (20,), (20,), 500),
        (40, 10, (20,), (20,), 20),
        (40, 10, (100, 300), (20,), 20),  # two budgets become one
        (15, 10, (20,), (10,), 5),  # a question a class
        (60_000, 200, (100, 300), (200, 300), 500),
        (11, 10, (100, 300), (10,), 1),
    ],
)
def test_extraction_is_fitted_to_the_images(
    own: int, classes: int, asked: tuple[int, ...], budgets: tuple[int, ...], held_out: int
) -> None:
    settings = QuerySettings((0.1,), extraction=asked)
    fitted, changed = settings.fitted(own, classes)
    assert (fitted.extraction, fitted.held_out) == (budgets, held_out)
    assert fitted.extraction[-1] + fitted.held_out <= own
    assert bool(changed) == ((asked, 500) != (budgets, held_out))
    assert replace(fitted, extraction=asked, held_out=500) == settings
    if changed:
        assert f"{own} training images" in changed
        assert f"on {held_out} images" in changed


def test_too_few_images_leave_extraction_out_or_are_refused() -> None:
    fitted, changed = QuerySettings((0.1,)).fitted(10, 10)
    assert "extraction" not in fitted.methods
    assert len(fitted.methods) == 4
    assert changed == "no extraction: 10 training images of 10 classes are too few"
    assert QuerySettings((0.1,), methods=("noise",)).fitted(3, 10)[1] == ""
    with pytest.raises(AuditError, match="too few for extraction"):
        QuerySettings((0.1,), methods=("extraction",)).fitted(10, 10)
