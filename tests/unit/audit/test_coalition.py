"""Coalitions of linear devices, whose every figure is known on paper."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from math import comb
from pathlib import Path

import pytest
import torch
from torch import Tensor

from fleet.audit.coalition.audit import audit_coalition
from fleet.audit.coalition.result import CoalitionAudit
from fleet.audit.coalition.trials import (
    Coalition,
    CoalitionSettings,
    choose_coalitions,
    exhaustive,
)
from fleet.audit.core.document import from_document, to_document
from fleet.audit.core.members import Member, TransferSettings
from fleet.errors import AuditError
from fleet.reports.coalition import risks

EPS = 8 / 255
"""8 levels of each pixel."""

Make = Callable[..., Member]


def settings(**values: object) -> CoalitionSettings:
    effort = TransferSettings(
        eps=(4 / 255, EPS), steps=4, restarts=2, noise_draws=1, precision="fp32"
    )
    return CoalitionSettings(effort, **{"bootstrap": 50, **values})  # type: ignore[arg-type]


def images(count: int = 4) -> tuple[Tensor, Tensor]:
    """Grey 128 everywhere, class 1."""
    return torch.full((count, 1, 2, 2), 128, dtype=torch.uint8), torch.ones(
        count, dtype=torch.int64
    )


def family(linear: Make) -> list[Member]:
    """Outputs 26 of [20, 30]. ``a`` and ``b`` read pixel 0, ``c`` reads pixel 1.

    So images made on a or b fool a and b; images made on c fool c alone. 4 levels reach the edge
    and do not pass it, 8 do.
    """
    return [
        linear("a", [1.0, 0.0, 0.0, 0.0], -102.0),
        linear("b", [1.0, 0.0, 0.0, 0.0], -102.0),
        linear("c", [0.0, 1.0, 0.0, 0.0], -102.0),
    ]


_KEPT: list[CoalitionAudit] = []


@pytest.fixture
def audit(linear: Make) -> CoalitionAudit:
    """One audit for all tests that only read it."""
    if not _KEPT:
        _KEPT.append(audit_coalition(family(linear), *images(), settings(), held_out=images(2)))
    return _KEPT[0]


def test_exact_shares_of_every_size(audit: CoalitionAudit) -> None:
    points = {(p.eps, p.size): p for p in audit.points("picked", EPS, "random")}
    # Alone: a fools b, b fools a, c nobody: (1/2 + 1/2 + 0) / 3.
    assert points[EPS, 1].share == pytest.approx(1 / 3)
    assert points[EPS, 1].owned_share == 1.0
    assert points[EPS, 1].whole_share == pytest.approx((2 / 3 + 2 / 3 + 1 / 3) / 3)
    # In pairs: a and b leave c standing; with c, whoever is left falls.
    assert points[EPS, 2].share == pytest.approx(2 / 3)
    assert points[EPS, 2].coalitions == 3
    assert points[EPS, 2].exhaustive
    # Every image is like every other, so resampling changes nothing; leaving a victim out does.
    assert (points[EPS, 1].low, points[EPS, 1].high) == pytest.approx((1 / 3, 1 / 3))
    assert (points[EPS, 1].lowest, points[EPS, 1].highest) == pytest.approx((1 / 4, 1 / 2))


def test_half_point_blast_radius_and_exposure(audit: CoalitionAudit) -> None:
    half = {(h.eps, h.choice): h.size for h in audit.half if h.attack == "picked"}
    assert half == {
        (4 / 255, "random"): None,
        (4 / 255, "greedy"): None,
        (EPS, "random"): 2,
        (EPS, "greedy"): 1,
    }
    risks = {risk.device: risk for risk in audit.risks_of("picked", EPS)}
    assert [risks[name].blast_radius for name in "abc"] == [0.5, 0.5, 0.0]
    assert [risks[name].exposure for name in "abc"] == [0.75, 0.75, 0.0]
    assert audit.strongest("picked", EPS).device == "a"
    assert audit.weakest("picked", EPS).device == "a"


def test_the_greedy_attacker_takes_a_device_of_each_kind(audit: CoalitionAudit) -> None:
    assert audit.greedy[0].device == "a"
    # Alone a fools b of b and c at the larger eps and nobody at the smaller one.
    assert audit.greedy[0].share == pytest.approx(0.25)
    assert audit.greedy[1].device == "c"
    (pair,) = audit.trials_of("picked", EPS, "greedy", 2)
    assert pair.owned == ("a", "c")
    assert pair.choices == ("random", "greedy")
    assert pair.share == 1.0


def test_shares_of_single_images(audit: CoalitionAudit) -> None:
    found = {
        (s.eps, s.size, s.of): s
        for s in audit.inputs
        if s.attack == "picked" and s.choice == "random"
    }
    others = found[EPS, 1, "others"]
    assert others.images == 4
    assert (others.mean, others.at_least_half, others.all) == pytest.approx((1 / 3, 2 / 3, 0.0))
    assert found[EPS, 2, "fleet"].all == pytest.approx(2 / 3)


def test_fleet_that_always_falls_or_never_has_no_correlation(audit: CoalitionAudit) -> None:
    assert {(e.pairs, e.mean_correlation, e.size) for e in audit.effective} == {(0, None, None)}


def test_checks_of_a_sound_audit_pass(audit: CoalitionAudit) -> None:
    assert [(check.id, check.verdict) for check in audit.checks] == [
        ("C1", "pass"),
        ("C2", "pass"),
        ("C3", "pass"),
        ("C3", "pass"),
        ("C4", "fail"),  # a and b are one device with two names in all but the digest
        ("C5", "pass"),
        ("C6", "pass"),
        ("C7", "pass"),
    ]


def test_a_control_gives_size_0_and_is_neither_owned_nor_a_victim(
    linear: Make, logits: Make
) -> None:
    # Ties go to class 1; images made on it move pixels 0 and 1, which fools everybody.
    rows = [[0.0] * 4, [-1.0, -1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]]
    control = dataclasses.replace(logits("plain", rows), role="control")
    control.classifier.head.linear.bias.data = torch.tensor([0.0, 260.0, 0.0])
    result = audit_coalition([control, *family(linear)], *images(), settings())
    assert [device.name for device in result.devices] == ["a", "b", "c", "plain"]
    assert result.fleet == ("a", "b", "c")
    point = result.points("picked", EPS, "random")[0]
    assert (point.choice, point.size, point.owned_share) == ("control", 0, None)
    assert point.share == 1.0
    assert all("plain" not in trial.owned for trial in result.trials)
    (trial,) = result.trials_of("picked", EPS, "control", 0)
    assert trial.surrogates == ("plain",)
    assert not result.greedy
    assert all(half.size == 0 for half in result.half if half.eps == EPS)


def test_one_attack_has_no_pick(linear: Make) -> None:
    result = audit_coalition(family(linear), *images(), settings(attacks=("arc",)))
    assert result.attacks == ("arc",)
    assert result.headline == "arc"
    assert "C1" not in {check.id for check in result.checks}


def test_a_result_survives_its_file(audit: CoalitionAudit, tmp_path: Path) -> None:
    audit.save(tmp_path / "audit.json")
    assert CoalitionAudit.load(tmp_path / "audit.json") == audit


def test_results_depend_on_neither_batch_size_nor_the_order_of_devices(linear: Make) -> None:
    members = [
        linear(n, [1.0, w, 0.0, 0.0], b) for n, w, b in (("x", 0.4, -153.0), ("y", -0.3, -64.0))
    ]
    pixels = torch.randint(120, 136, (7, 1, 2, 2), generator=torch.Generator().manual_seed(1))
    data = pixels.to(torch.uint8), torch.ones(7, dtype=torch.int64)
    one = audit_coalition(members, *data, settings())
    small = settings()
    small = dataclasses.replace(small, effort=dataclasses.replace(small.effort, batch_size=3))
    other = audit_coalition(list(reversed(members)), *data, small)
    trials = {(t.owned, t.attack, t.eps): t for t in other.trials}
    for trial in one.trials:
        again = trials[trial.owned, trial.attack, trial.eps]
        assert {v.victim: v for v in trial.victims} == {v.victim: v for v in again.victims}


def test_models_are_left_as_they_were(linear: Make) -> None:
    members = family(linear)
    members[0].classifier.train()
    audit_coalition(members, *images(), settings())
    assert [member.classifier.training for member in members] == [True, True, True]
    parameters = [p for member in members for p in member.classifier.parameters()]
    assert all(p.requires_grad and p.grad is None for p in parameters)


def test_progress_is_told(linear: Make) -> None:
    told: list[str] = []
    audit_coalition(
        family(linear), *images(), settings(), progress=lambda done, total, text: told.append(text)
    )
    assert told[0] == "scout a"
    assert "attack with a+c" in told
    assert told[-1] == "done"


@pytest.mark.parametrize("values", [{"coalitions": 0}, {"held_out": 0}, {"bootstrap": 0}])
def test_settings_out_of_range(values: dict[str, int]) -> None:
    with pytest.raises(AuditError, match=" is 0"):
        settings(**values)


@pytest.mark.parametrize("attacks", [(), ("uniform", "uniform"), ("strongest",)])
def test_unknown_or_repeated_attacks(attacks: tuple[str, ...]) -> None:
    with pytest.raises(AuditError, match="attacks are"):
        settings(attacks=attacks)


def test_refusals(linear: Make) -> None:
    with pytest.raises(AuditError, match=r"1 device\(s\)"):
        audit_coalition(family(linear)[:1], *images(), settings())
    wrong = linear("wrong", [0.0] * 4, 5.0)  # class 0 always
    with pytest.raises(AuditError, match="wrong decodes none of the 4 audited images"):
        audit_coalition([*family(linear), wrong], *images(), settings())
    x, y = images(2)
    with pytest.raises(AuditError, match="none of the 2 held-out images"):
        audit_coalition(family(linear), *images(), settings(), held_out=(x, y - 1))
    broken = linear("broken", [float("nan")] * 4, 0.0)
    with pytest.raises(AuditError, match="NaN"):
        audit_coalition([*family(linear), broken], *images(), settings())


def test_few_coalitions_are_all_tried_and_many_are_drawn_without_repeats() -> None:
    names = [f"d{i}" for i in range(9)]
    chosen = choose_coalitions(names, ("d3", "d1"), settings(coalitions=9), controls=True)
    assert chosen[0] == Coalition((), ("control",))
    for size in range(1, 9):
        drawn = {c.owned for c in chosen if len(c.owned) == size and "random" in c.choices}
        assert len(drawn) == min(9, comb(9, size))
        assert all(tuple(sorted(owned)) == owned for owned in drawn)
    greedy = [c.owned for c in chosen if "greedy" in c.choices]
    assert greedy == [("d3",), ("d1", "d3")]
    assert chosen == choose_coalitions(names, ("d3", "d1"), settings(coalitions=9), controls=True)
    other = dataclasses.replace(settings().effort, seed=1)
    assert chosen != choose_coalitions(
        names, ("d3", "d1"), settings(coalitions=9).__class__(other, coalitions=9), controls=True
    )
    assert exhaustive(9, 1, 2)
    assert not exhaustive(9, 2, 35)


def test_names_of_coalitions() -> None:
    assert Coalition((), ("control",)).name == "control only"
    assert Coalition(("a", "b"), ("random",)).name == "a+b"
    assert Coalition(tuple("abcde"), ("random",)).name == "5 devices"


def damaged(audit: CoalitionAudit, table: str, **values: object) -> dict[str, object]:
    """The audit's document with one field of the last row of a table replaced."""
    document = to_document(audit, "s")
    document[table] = [*document[table][:-1], {**document[table][-1], **values}]
    return document


@pytest.mark.parametrize(
    ("table", "values", "words"),
    [
        ("curve", {"share": 0.9}, "not the mean"),
        ("curve", {"coalitions": 7}, "7 coalitions"),
        ("curve", {"low": 1.0, "high": 0.0}, "interval of the curve"),
        ("trials", {"owned": ["a"]}, "owned devices"),
        ("trials", {"surrogates": ["a"]}, "surrogates"),
        ("trials", {"eps": 0.5}, "attack picked"),
        ("trials", {"victims": []}, "victims of"),
        ("half", {"size": 5}, "m50"),
        ("risks", {"device": "z"}, "risks of"),
        ("risks", {"blast_low": 0.9}, "intervals of"),
        ("inputs", {"mean": 2.0}, "share per image"),
        ("effective", {"attack": "arc"}, "effective size"),
        ("noise", {"victim": "z"}, "noise floors"),
        ("devices", {"name": "a"}, "device names"),
        ("devices", {"correct": 9}, "clean figures"),
        ("devices", {"correct": 3}, "counted images"),
    ],
)
def test_a_file_that_contradicts_itself_is_refused(
    audit: CoalitionAudit, table: str, values: dict[str, object], words: str
) -> None:
    with pytest.raises(AuditError, match=words):
        from_document(CoalitionAudit, damaged(audit, table, **values), "s")


def test_a_joint_count_that_differs_between_victims_is_refused(audit: CoalitionAudit) -> None:
    document = to_document(audit, "s")
    document["trials"][0]["victims"][0]["joint"]["n"] = 3
    with pytest.raises(AuditError, match="jointly counted"):
        from_document(CoalitionAudit, document, "s")


def test_lookups_that_fail(audit: CoalitionAudit) -> None:
    with pytest.raises(KeyError):
        audit.noise_floor("a", 0.5)


def test_what_was_measured_does_not_bear_the_name_of_the_guarantee(audit: CoalitionAudit) -> None:
    table = risks(audit)
    words = " ".join([table.title, *(f"{c.html} {c.terminal} {c.csv}" for c in table.columns)])
    assert "damage to others" in words
    assert "blast" not in words.lower()
