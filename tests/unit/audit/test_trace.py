"""Tracing on linear devices that read one pixel each: their gradients are orthogonal.

An image made on one of them changes its pixel alone, so its alignment is 1 with the source and 0
with every other device, and its deviation is what it moves the source's output.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from rich.console import Console
from torch import Tensor

from fleet.audit.core.members import Member, Sample
from fleet.audit.core.result import Check, wilson_interval
from fleet.audit.core.sets import attack_surrogate
from fleet.audit.trace.audit import audit_trace, shared_images
from fleet.audit.trace.checks import trace_checks
from fleet.audit.trace.evidence import TraceSettings, hidden, raw_scores, score_source
from fleet.audit.trace.result import (
    SCORES,
    Calibration,
    Confusion,
    EvasionPrice,
    Outsider,
    Suspect,
    TraceAudit,
    TraceRate,
    Tracing,
)
from fleet.audit.trace.unknown import trace
from fleet.errors import AuditError
from fleet.reports.trace import tracing_view
from fleet.reports.views import audit_view, summary_lines

Make = Callable[..., Member]
EPS = 20 / 255
SETTINGS = TraceSettings((EPS,), evidence=(1, 3), steps=2)


def reader(linear: Make, name: str, pixel: int) -> Member:
    """Output 25 of [20, 30] where its pixel is 128."""
    weights = [0.0] * 4
    weights[pixel] = 1.0
    return linear(name, weights, -103.0)


def family(linear: Make) -> list[Member]:
    return [reader(linear, name, pixel) for pixel, name in enumerate("abc")]


def images(seed: int, count: int = 9) -> tuple[Tensor, Tensor]:
    """Levels 124 to 132, which every device decodes as class 1."""
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(124, 133, (count, 1, 2, 2), generator=generator, dtype=torch.uint8)
    return pixels, torch.ones(count, dtype=torch.int64)


def audit(linear: Make, settings: TraceSettings = SETTINGS, **values: object) -> TraceAudit:
    given: dict[str, object] = {
        "calibration": images(1),
        "known": [reader(linear, "known", 3)],
        "new": [reader(linear, "new", 3)],
    }
    return audit_trace(family(linear), *images(0), settings, **{**given, **values})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def whole(linear: Make) -> TraceAudit:
    return audit(linear)


def pushed(originals: Tensor, pixel: int, levels: int) -> Tensor:
    made = originals.clone()
    made[:, 0, pixel // 2, pixel % 2] += levels
    return made


@pytest.mark.parametrize("levels", [7, -7])
def test_scores_of_orthogonal_devices_are_exact(linear: Make, levels: int) -> None:
    originals, labels = images(0)
    moved = (originals.int() + 0).to(torch.uint8)
    moved[:, 0, 0, 1] = (originals[:, 0, 0, 1].int() + levels).to(torch.uint8)
    deviation, alignment = raw_scores(family(linear), originals, moved, labels, batch_size=4)
    assert deviation[:, 1].tolist() == pytest.approx([7] * 9, abs=1e-3)
    assert alignment[:, 1].tolist() == pytest.approx([1] * 9, abs=1e-5)
    for other in (0, 2):
        assert deviation[:, other].abs().max() < 1e-3
        assert alignment[:, other].tolist() == pytest.approx([0] * 9, abs=1e-5)


def test_an_image_of_two_devices_aligns_with_both(linear: Make) -> None:
    """delta = (3, 4, 0, 0): cosines 3/5 and 4/5."""
    originals, labels = images(0)
    moved = pushed(pushed(originals, 0, 3), 1, 4)
    _, alignment = raw_scores(family(linear), originals, moved, labels, batch_size=9)
    assert alignment[0].tolist() == pytest.approx([0.6, 0.8, 0.0], abs=1e-5)


def test_a_control_is_scored_by_its_margin(logits: Make) -> None:
    """Margin z_0 - z_1 = k1 - k0 for class 1: its gradient is (-1, 1, 0, 0)."""
    control = logits("control", [[0.0, 1.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0]])
    originals, labels = images(0)
    moved = pushed(pushed(originals, 0, -5), 1, 5)
    deviation, alignment = raw_scores([control], originals, moved, labels, batch_size=9)
    assert deviation[:, 0].tolist() == pytest.approx([10] * 9, abs=1e-3)
    assert alignment[:, 0].tolist() == pytest.approx([1] * 9, abs=1e-5)


def test_a_flat_device_gives_zeros_and_no_nan(linear: Make) -> None:
    flat = linear("flat", [0.0] * 4, 25.0)
    originals, labels = images(0)
    scores = raw_scores([flat], originals, pushed(originals, 0, 9), labels, batch_size=9)
    assert torch.equal(scores, torch.zeros(2, 9, 1, dtype=torch.float64))


def test_every_image_names_its_device_and_nobody_elses_names_none(whole: TraceAudit) -> None:
    for score in SCORES:
        for evidence, n in ((1, 9), (3, 3)):
            rate = whole.rate(EPS, score, evidence)
            assert [row.named for row in rate.confusion] == [(n, 0, 0), (0, n, 0), (0, 0, n)]
            assert (rate.top1, rate.convicted, rate.wrongly_accused) == (1.0, 3 * n, 0)
            assert rate.chance == pytest.approx(1 / 3)
            assert [(o.name, o.kind, o.n, o.accused) for o in rate.outsiders] == [
                ("new", "surrogate", n, 0)
            ]
            assert rate.false_positives == (0, n)
    low, high = whole.rate(EPS, "combined").top1_interval
    assert (round(low, 3), high) == (0.875, 1.0)


def test_prices_count_what_the_images_are_worth(whole: TraceAudit) -> None:
    """All evade their source and, orthogonal, nobody else; hidden ones bring noise of 20 levels."""
    naive, hiding = whole.prices
    assert naive == EvasionPrice(EPS, "naive", n=27, evade=27, transfers=0, pairs=54)
    assert (hiding.attacker, hiding.evade) == ("hiding", 27)
    assert hiding.transfers > 0


def test_a_control_is_judged_and_not_suspected(linear: Make) -> None:
    *devices, last = family(linear)
    result = audit_trace(
        [*devices, replace(last, role="control")],
        *images(0),
        SETTINGS,
        calibration=images(1),
    )
    assert [device.name for device in result.devices] == ["a", "b"]
    assert [(o.name, o.kind) for o in result.rates[0].outsiders] == [("c", "control")]
    assert result.settings["outsiders"] == {"c": "control"}


def test_results_do_not_depend_on_the_batch_size(linear: Make, whole: TraceAudit) -> None:
    again = audit(linear, replace(SETTINGS, batch_size=2))
    assert [r.confusion for r in again.rates] == [r.confusion for r in whole.rates]
    assert again.prices == whole.prices


def test_models_are_left_as_they_were(linear: Make) -> None:
    members = family(linear)
    for member in members:
        member.classifier.train()
    audit_trace(members, *images(0), SETTINGS, calibration=images(1))
    for member in members:
        assert member.classifier.training
        assert all(p.requires_grad and p.grad is None for p in member.classifier.parameters())


def test_hidden_images_evade_inside_the_ball_and_deviate_less(linear: Make) -> None:
    source = family(linear)[0]
    sample = Sample.of(*images(0))
    sent = pushed(sample.images, 0, 20)
    made = hidden(source, sample, sent, EPS, SETTINGS)
    assert (made.int() - sample.images.int()).abs().max() <= 20
    with torch.no_grad():
        outputs = source.classifier(made / 255)
    decoded = source.classifier.decode(outputs)
    assert (decoded != 1).all()
    naive = score_source(
        source,
        family(linear),
        attack_surrogate(source, sample, SETTINGS.attack()),
        SETTINGS,
        attackers=("naive", "hiding"),
    )
    plain, hiding = (traced.array(3) for traced in naive)
    assert hiding[0, :, 0].mean() <= plain[0, :, 0].mean()
    assert hiding[1, :, 0].mean() < plain[1, :, 0].mean() == pytest.approx(1.0)


def test_a_device_that_gets_everything_wrong_gives_no_evidence(linear: Make) -> None:
    lost = linear("lost", [0.0, 0.0, 0.0, 1.0], 500.0)
    result = audit_trace([*family(linear)[:2], lost], *images(0), SETTINGS, calibration=images(1))
    rate = result.rate(EPS, "combined")
    assert rate.confusion[2].named == (0, 0, 0)
    assert rate.n == 18


def test_one_device_cannot_be_told_from_others(linear: Make) -> None:
    with pytest.raises(AuditError, match="1 device to suspect"):
        audit_trace(family(linear)[:1], *images(0), SETTINGS, calibration=images(1))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"eps": ()}, "no eps to audit"),
        ({"evidence": ()}, "no evidence to judge"),
        ({"evidence": (0, 1)}, "evidence is 0"),
        ({"false_positives": 1.0}, "false_positives 1"),
        ({"steps": 0}, "steps is 0"),
        ({"eps": (0.001,)}, "less than one level"),
    ],
)
def test_settings_out_of_range_are_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(AuditError, match=message):
        TraceSettings(**{"eps": (0.1,), **values})  # type: ignore[arg-type]


def test_the_document_keeps_everything(whole: TraceAudit, tmp_path: Path) -> None:
    whole.save(tmp_path / "audit.json")
    assert TraceAudit.load(tmp_path / "audit.json") == whole


def test_a_damaged_document_is_refused(whole: TraceAudit) -> None:
    rate, learnt = whole.rates[0], whole.calibrations[0]
    with pytest.raises(ValueError, match="device names"):
        replace(whole, devices=whole.devices[:1])
    with pytest.raises(ValueError, match="sources of"):
        replace(whole, rates=(replace(rate, confusion=rate.confusion[::-1]),))
    short = tuple(Confusion(row.source, (1,), (0,)) for row in rate.confusion)
    with pytest.raises(ValueError, match="suspects of"):
        replace(whole, rates=(replace(rate, confusion=short),))
    with pytest.raises(ValueError, match="one calibration for each eps"):
        replace(whole, calibrations=())
    other = Calibration(EPS, ((0.0,), (0.0,)), ((1.0,), (1.0,)), (), (5,))
    with pytest.raises(ValueError, match="another number of devices"):
        replace(whole, calibrations=(other,))
    with pytest.raises(ValueError, match="not two rows of 3 devices"):
        replace(learnt, mean=((0.0,), (0.0,)))
    with pytest.raises(ValueError, match="not above 0"):
        replace(learnt, spread=((0.0,) * 3,) * 2)
    with pytest.raises(ValueError, match="accused"):
        Confusion("a", (1, 0), (2, 0))
    with pytest.raises(ValueError, match="3 of 2 accused"):
        Outsider("new", "control", 2, 3)
    with pytest.raises(ValueError, match="price of naive"):
        EvasionPrice(EPS, "naive", 1, 2, 0, 0)
    with pytest.raises(KeyError):
        whole.rate(0.5, "combined")
    with pytest.raises(KeyError):
        learnt.threshold("combined", 0)


def shown(view: object) -> str:
    console = Console(width=100)
    with console.capture() as capture:
        console.print(view)
    return capture.get()


def test_the_terminal_says_what_the_figures_cover(whole: TraceAudit) -> None:
    text = shown(audit_view(whole))
    assert "naive attackers" in text
    assert max(map(len, text.splitlines())) <= 100
    assert "one image names its device in 1.000" in summary_lines(whole)[0]
    warned = replace(whole, checks=(Check("T4", "Hiding", "warn", "it falls", "any"),))
    assert "it falls" in shown(audit_view(warned))


def checks(naive: Sequence[int], hiding: Sequence[int], shared: int = 0) -> dict[str, Check]:
    """100 images of each of two devices; so many name it; 10 of 50 outsiders accuse somebody."""
    rates = tuple(
        TraceRate(
            0.1,
            attacker,  # type: ignore[arg-type]
            "combined",
            1,
            0.0,
            tuple(
                Confusion(name, tuple(row), tuple(row))
                for name, row in zip("ab", ((hits[0], 100 - hits[0]), (100 - hits[1], hits[1])),
                                     strict=True)
            ),
            (Outsider("new", "surrogate", 50, 10), Outsider("none", "control", 0, 0)),
        )
        for attacker, hits in (("naive", naive), ("hiding", hiding))
    )  # fmt: skip
    return {check.id: check for check in trace_checks(rates, 0.05, shared)}


def test_checks_pass_on_sound_figures_and_warn_on_others() -> None:
    sound = checks((95, 90), (90, 90))
    assert [sound[i].verdict for i in ("T1", "T2", "T4")] == ["pass"] * 3
    assert sound["T3"].verdict == "warn", "10 of 50 accused where 5 % are allowed"
    assert "10 of 50 images made on new" in sound["T3"].finding
    poor = checks((52, 50), (40, 40), shared=3)
    assert [poor[i].verdict for i in ("T1", "T2", "T4")] == ["warn", "fail", "warn"]
    assert "top-1 51.0 % of 200 images" in poor["T1"].finding
    assert "3 images" in poor["T2"].finding


def test_shared_images_are_found_by_their_pixels() -> None:
    one, two = Sample.of(*images(0)), Sample.of(*images(1))
    assert shared_images(one, two) == 0
    assert shared_images(one, one.part(torch.tensor([2, 5]))) == 2


def test_images_of_unknown_origin_are_named(linear: Make, whole: TraceAudit) -> None:
    originals, labels = images(5, count=4)
    for pixel, name in enumerate("abc"):
        made = pushed(originals, pixel, 15)
        found = trace(family(linear), made, originals, labels, calibrations=whole.calibrations)
        assert (found.named, found.ranking[0].votes, found.images) == (name, 4, 4)
        assert found.distance == pytest.approx(15 / 255)
        again = trace(family(linear), made / 255, originals / 255, calibrations=whole.calibrations)
        assert again == found, "labels by majority, floats"
    stranger = trace(
        family(linear), pushed(originals, 3, 15), originals, labels, calibrations=whole.calibrations
    )
    assert stranger.named is None
    text = shown(tracing_view(found))
    assert "Made on c (score" in text
    assert "Made on none of ours; likeliest is" in shown(tracing_view(stranger))


def test_images_that_cannot_be_traced_are_refused(linear: Make, whole: TraceAudit) -> None:
    members, learnt = family(linear), whole.calibrations
    originals, labels = images(5, count=4)
    made = pushed(originals, 0, 15)
    with pytest.raises(AuditError, match=r"shape \(3, 1, 2, 2\), originals \(4, 1, 2, 2\)"):
        trace(members, made[:3], originals, labels, calibrations=learnt)
    with pytest.raises(AuditError, match="labels"):
        trace(members, made, originals, labels[:3], calibrations=learnt)
    with pytest.raises(AuditError, match="labels reach from 1 to 7"):
        trace(members, made, originals, labels + 6 * (labels.cumsum(0) > 1), calibrations=learnt)
    partly = made.clone()
    partly[1:] = originals[1:]
    with pytest.raises(AuditError, match="3 of 4 images are identical to their originals: 1, 2, 3"):
        trace(members, partly, originals, labels, calibrations=learnt)
    with pytest.raises(AuditError, match=r"farther than 0\.07843"):
        trace(members, pushed(originals, 0, 40), originals, labels, calibrations=learnt)
    with pytest.raises(AuditError, match="calibration is of 3 devices, not 2"):
        trace(members[:2], made, originals, labels, calibrations=learnt)
    with pytest.raises(AuditError, match="no device recognises 4 of the originals"):
        trace(members, made // 4, originals // 4, calibrations=learnt)
    large = torch.zeros(4, 1, 3, 3, dtype=torch.uint8)
    with pytest.raises(AuditError, match="takes images of shape"):
        trace(members, large + 1, large, labels, calibrations=learnt)


def test_the_answer_is_none_at_the_threshold() -> None:
    suspects = (Suspect("a", 1.0, 1.0, 2.0, 1), Suspect("b", 0.0, 0.0, 0.0, 0))
    assert Tracing(1, 0.1, 0.1, 2.0, suspects).named is None
    assert Tracing(1, 0.1, 0.1, 1.9, suspects).named == "a"


def rate(eps: float, hits: int, *others: Outsider, attacker: str = "naive") -> TraceRate:
    """100 images of each of two devices, of which so many name it."""
    rows = ((hits, 100 - hits), (100 - hits, hits))
    confusion = tuple(Confusion(name, row, (0, 0)) for name, row in zip("ab", rows, strict=True))
    return TraceRate(eps, attacker, "combined", 1, 0.0, confusion, others)  # type: ignore[arg-type]


def test_checks_go_on_after_an_eps_that_has_nothing_to_check() -> None:
    rates = (
        rate(0.1, 95),
        rate(0.2, 95, Outsider("new", "surrogate", 50, 10), Outsider("c", "control", 50, 9)),
        rate(0.3, 95, Outsider("none", "control", 0, 0)),
        rate(0.4, 95, Outsider("new", "surrogate", 1000, 52)),
        rate(0.2, 80, attacker="hiding"),
    )
    found = [(c.id, c.subject, c.verdict) for c in trace_checks(rates, 0.05, 0) if c.id > "T2"]
    assert found == [
        ("T3", "eps 0.2", "warn"), ("T3", "eps 0.4", "pass"), ("T4", "eps 0.2", "warn"),
    ]  # fmt: skip


def test_an_outsider_at_the_very_allowance_passes() -> None:
    low, _ = wilson_interval(10, 50)
    naive = (rate(0.1, 95, Outsider("new", "surrogate", 50, 10)),)
    assert {c.id: c.verdict for c in trace_checks(naive, low, 0)}["T3"] == "pass"
    assert {c.id: c.verdict for c in trace_checks(naive, low - 1e-6, 0)}["T3"] == "warn"


@pytest.mark.parametrize(("before", "after", "verdict"), [(80, 70, "pass"), (80, 69, "warn")])
def test_a_fall_of_ten_points_passes_whatever_its_rounding(
    before: int, after: int, verdict: str
) -> None:
    """0.8 - 0.7 is a little more than 0.1."""
    rates = (rate(0.1, before), rate(0.1, after, attacker="hiding"))
    assert {c.id: c.verdict for c in trace_checks(rates, 0.05, 0)}["T4"] == verdict
