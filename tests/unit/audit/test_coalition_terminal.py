"""The coalition audit as a terminal shows it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from rich.console import Console

from fleet.audit.coalition.result import (
    CoalitionAudit,
    CoalitionTrial,
    CurvePoint,
    DeviceRisk,
    EffectiveSize,
    GreedyStep,
    HalfPoint,
    VictimOutcome,
)
from fleet.audit.core.result import AuditedDevice, Check, NoiseFloor, Outcome
from fleet.reports.views import audit_view, summary_lines

EPS = 0.1


def trial(owned: str, fallen: dict[str, int]) -> CoalitionTrial:
    victims = tuple(
        VictimOutcome(name, name in owned, Outcome(10, n, 0), Outcome(10, n, 0))
        for name, n in fallen.items()
    )
    choices = ("random", "greedy") if owned == "a" else ("random",)
    return CoalitionTrial(tuple(owned), tuple(owned), choices, "uniform", EPS, victims)


def point(choice: str, coalitions: int, share: float) -> CurvePoint:
    return CurvePoint(
        attack="uniform",
        eps=EPS,
        choice=choice,  # type: ignore[arg-type]
        size=1,
        coalitions=coalitions,
        exhaustive=choice == "random",
        share=share,
        low=share,
        high=share,
        lowest=share,
        highest=share,
        flip_share=share,
        owned_share=1.0,
        whole_share=(1 + share) / 2,
    )


@pytest.fixture
def audit() -> CoalitionAudit:
    """Two devices: a fools b on 6 of 10 images, b fools a on 2."""
    return CoalitionAudit(
        run="demo",
        created="",
        devices=tuple(AuditedDevice(n, "int", "nn", "linear", None, "", 10, 10, 0) for n in "ab"),
        eps=(EPS,),
        attacks=("uniform",),
        trials=(trial("a", {"a": 10, "b": 6}), trial("b", {"a": 2, "b": 10})),
        curve=(point("random", 2, 0.4), point("greedy", 1, 0.6)),
        half=(
            HalfPoint("uniform", EPS, "random", None),
            HalfPoint("uniform", EPS, "greedy", 1),
        ),
        risks=(
            DeviceRisk("a", "uniform", EPS, 0.6, 0.5, 0.7, 0.2, 0.1, 0.3),
            DeviceRisk("b", "uniform", EPS, 0.2, 0.1, 0.3, 0.6, 0.5, 0.7),
        ),
        inputs=(),
        effective=(EffectiveSize("uniform", EPS, 2, 0, None, None),),
        greedy=(GreedyStep("a", 0.6),),
        noise=tuple(NoiseFloor(name, EPS, Outcome(10, 1, 0), 1) for name in "ab"),
        checks=(
            Check("C2", "Joint attack below white-box", "warn", "by 2 points", "rule"),
            Check("C3", "More devices help more", "fail", "they do not", "rule", "greedy"),
            Check("C6", "Outputs are finite", "pass", "all are", "rule"),
        ),
        settings={},
        provenance={},
    )


def render(audit: CoalitionAudit, width: int = 80) -> str:
    console = Console(width=width, no_color=True)
    with console.capture() as capture:
        console.print(audit_view(audit))
    return capture.get()


def test_curve_devices_checks_and_summary_fit_80_columns(audit: CoalitionAudit) -> None:
    text = render(audit)
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text
    lines = text.splitlines()
    random = next(line for line in lines if "all 2" in line)
    assert "0.400" in random
    assert "0.700" in random
    greedy = next(line for line in lines if "greedy" in line and "0.600" in line)
    assert "0.800" in greedy
    assert text.index("C3 More devices") < text.index("C2 Joint attack")
    assert "C6" not in text


def test_the_summary_names_the_strongest_and_the_weakest_device(audit: CoalitionAudit) -> None:
    first, last = summary_lines(audit)
    assert "half of the rest falls with 1 owned (greedy)" in first
    assert "worst to lose: a (0.600 of the others)" in first
    assert "falls most: b (0.600)" in first
    assert last == (
        "warning: 1 of 3 reliability checks failed. With C3 failed, a low rate is no evidence of "
        "safety."
    )


def test_half_effective_size_and_clean_checks_are_told(audit: CoalitionAudit) -> None:
    sound = replace(
        audit,
        checks=audit.checks[2:],
        effective=(EffectiveSize("uniform", EPS, 2, 1, 0.5, 4 / 3),),
    )
    text = render(sound)
    assert "reliability checks\n" not in text.replace(" \n", "\n")
    assert "2 devices are worth 1.3" in text
    assert "The only reliability check passed." in text
    reached = replace(
        sound,
        trials=(
            replace(sound.trials[0], choices=("greedy",)),
            trial("b", {"a": 6, "b": 10}),
        ),
        curve=(point("random", 1, 0.6), point("greedy", 1, 0.6)),
        half=(HalfPoint("uniform", EPS, "random", 1), HalfPoint("uniform", EPS, "greedy", 1)),
    )
    assert (
        "half of the rest falls with 1 owned (random) or 1 owned (greedy)"
        in summary_lines(reached)[0]
    )


def test_a_drawn_size_says_how_many_coalitions(audit: CoalitionAudit) -> None:
    drawn = replace(audit, curve=(replace(audit.curve[0], exhaustive=False), audit.curve[1]))
    assert "2 random" in render(drawn)


def test_names_that_drive_a_terminal_are_made_visible(audit: CoalitionAudit) -> None:
    risks = (replace(audit.risks[0], device="a\x1b[2J"), audit.risks[1])
    devices = (replace(audit.devices[0], name="a\x1b[2J"), audit.devices[1])
    trials = tuple(
        replace(
            t,
            owned=tuple(n.replace("a", "a\x1b[2J") for n in t.owned),
            surrogates=tuple(n.replace("a", "a\x1b[2J") for n in t.surrogates),
            victims=tuple(replace(v, victim=v.victim.replace("a", "a\x1b[2J")) for v in t.victims),
        )
        for t in audit.trials
    )
    noise = tuple(replace(f, victim=f.victim.replace("a", "a\x1b[2J")) for f in audit.noise)
    hostile = replace(audit, devices=devices, trials=trials, risks=risks, noise=noise)
    assert "\x1b[2J" not in render(hostile)
