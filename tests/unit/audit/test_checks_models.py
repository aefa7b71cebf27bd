"""Each check, tripped by a whole audit of a network that must trip it, and silent on a sound one.

M12 and M16 watch the audit itself, not a network: they are in test_checks.py and
test_checks_comparisons.py. Networks see 2x2 grey images; interval p is [20 p, 20 p + 10] and
pixels count in 8-bit levels, so that what an attack can reach is known on paper.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fleet.audit.core.members import Member, TransferSettings
from fleet.audit.core.result import Check
from fleet.audit.transfer.audit import audit_transfer
from fleet.encoding import IntervalEncoding
from fleet.models import Classifier
from fleet.models.heads import LogitsHead

SHAPE = (1, 2, 2)
COUNT = 40
CENTER = 5.0
Checks = dict[tuple[str, str], Check]


class Scalar(nn.Module):
    """``o = f(t)`` of how many levels each pixel is away from 128; every clean image is class 0."""

    def __init__(self, f: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.f = f

    def forward(self, x: Tensor) -> Tensor:
        return self.f(x.flatten(1).float() * 255 - 128)


def scalar(name: str, f: Callable[[Tensor], Tensor]) -> Member:
    encoding = IntervalEncoding(3, alpha=10.0, beta=10.0)
    return Member(name, Classifier.from_module(Scalar(f), encoding, SHAPE))


def examine(
    *members: Member,
    eps: tuple[float, ...] = (12 / 255,),
    labels: Tensor | None = None,
    **settings: Any,
) -> Checks:
    """Audit devices on images whose pixels are all 128."""
    chosen = {"steps": 8, "restarts": 2, "precision": "fp32", "targets": "none", **settings}
    images = torch.full((COUNT, *SHAPE), 128, dtype=torch.uint8)
    labels = torch.zeros(COUNT, dtype=torch.int64) if labels is None else labels
    audit = audit_transfer(members, images, labels, TransferSettings(eps=eps, **chosen))
    return {(check.id, check.subject): check for check in audit.checks}


def straight(t: Tensor) -> Tensor:
    """Leaves the interval at 6 levels, and reaches the next one at 15."""
    return CENTER + t[:, 0]


def stairs(t: Tensor) -> Tensor:
    """The same in whole steps, so without a gradient."""
    return CENTER + t[:, 0].round() + 0 * t.sum(1)


@cache
def sound() -> Checks:
    """Audit a linear device at an eps that evades and one that flips."""
    return examine(scalar("sound", straight), eps=(8 / 255, 20 / 255))


@cache
def stepped() -> Checks:
    """Audit a device without gradients beside a sound one that decides alike."""
    return examine(scalar("stairs", stairs), scalar("sound", straight), eps=(8 / 255, 20 / 255))


def test_a_sound_device_fails_nothing_but_the_papers_protocol() -> None:
    """Eq. 3 has no gradient inside the interval; whatever fails is about that."""
    failed = {key for key, check in sound().items() if check.verdict == "fail"}
    assert failed == {
        ("M1", "paper"), ("M2", "paper"), ("M7", "paper"), ("M13", "paper"), ("M6", "paper"),
        ("M6", "paper uniform"), ("BT", "paper"),
    } & failed  # fmt: skip
    assert {("M1", "paper"), ("M2", "paper"), ("M7", "paper"), ("M13", "paper")} <= failed
    ids = {check.id for check in sound().values()}
    assert ids == {f"M{number}" for number in range(1, 19)} - {"M8"} | {"BT"}


def test_a_device_without_gradients_trips_the_checks_of_masking() -> None:
    """Gradients find nothing; noise, random search and the neighbour's images do."""
    failed = {key for key, check in stepped().items() if check.verdict == "fail"}
    assert failed >= {
        ("M1", "adaptive"), ("M2", "adaptive"), ("M3", ""), ("M6", "adaptive"),
        ("M6", "adaptive uniform"), ("M7", "adaptive"), ("M8", "adaptive"),
    }  # fmt: skip
    assert "stairs" in stepped()["M7", "adaptive"].finding
    assert "sound on stairs" in stepped()["M8", "adaptive"].finding


def test_m2_sees_values_that_have_nothing_to_do_with_success() -> None:
    """A network that answers at random: a success is no higher than its original."""
    torch.manual_seed(0)
    check = examine(scalar("dice", lambda t: 14 * torch.rand(len(t)) + 0 * t[:, 0]))
    assert check["M2", "adaptive"].verdict == "fail"
    assert "successes than at their originals" in check["M2", "adaptive"].finding
    assert check["M11", ""].verdict == "fail"


def test_m3_sees_a_network_that_explodes_under_attack() -> None:
    checks = examine(scalar("root", lambda t: CENTER + (10 - t[:, 0]).sqrt() - 10**0.5))
    assert checks["M3", ""].verdict == "fail"
    assert "NaN or infinite: root" in checks["M3", ""].finding


def trap(t: Tensor) -> Tensor:
    """Rises until 3 levels, falls until 11, and is out at 12 alone, where one full step lands."""
    near = 3 - (t[:, 0] - 3).abs()
    return torch.where(t[:, 0] > 11.5, 30 + 0 * t[:, 0], near)


class Pair(nn.Module):
    """Logits (0, f(t) - 10): class 0 unless f is above 10."""

    def __init__(self, f: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.f = f

    def forward(self, x: Tensor) -> Tensor:
        value = self.f(x.flatten(1).float() * 255 - 128) - 10
        return torch.stack([torch.zeros_like(value), value], dim=1)


def logits(name: str, f: Callable[[Tensor], Tensor], role: Any = "device") -> Member:
    head = LogitsHead(2, 2)
    head.linear.weight.data = torch.eye(2)
    head.linear.bias.data.zero_()
    classifier = Classifier(
        backbone=Pair(f), head=head, task="tra", head_name="logits", encoding=None, num_classes=2,
        input_shape=SHAPE, mean=(0.0,), std=(1.0,),
    )  # fmt: skip
    return Member(name, classifier, role=role)


def test_m4_sees_one_step_that_beats_many() -> None:
    checks = examine(logits("trap", trap))
    assert checks["M4", "paper"].verdict == "fail"
    assert "trap at eps 0.04706" in checks["M4", "paper"].finding
    assert examine(logits("straight", straight))["M4", "paper"].verdict == "pass"


def test_m5_sees_a_device_that_hides_from_long_steps() -> None:
    """From 4 levels on the output is the clean one again, flat: small eps evade, large do not."""

    def gated(t: Tensor) -> Tensor:
        return torch.where(t.abs().amax(1) > 4, CENTER + 0 * t[:, 0], CENTER + 2 * t[:, 0])

    checks = examine(scalar("gated", gated), eps=(4 / 255, 250 / 255))
    assert checks["M5", "adaptive"].verdict == "fail"
    assert checks["M5", "adaptive large"].verdict == "fail"
    sure = examine(scalar("sound", straight), eps=(4 / 255, 250 / 255))
    assert sure["M5", "adaptive"].verdict == sure["M5", "adaptive large"].verdict == "pass"


def test_m9_sees_an_attack_that_is_stopped_too_early() -> None:
    """A lock: each pixel has a gradient once the one before it is up, and two are too few."""

    def lock(t: Tensor) -> Tensor:
        done = torch.cat([torch.ones_like(t[:, :1]), (t[:, :-1] > 11).cumprod(1)], dim=1)
        return 1 + 0.35 * (t.clamp(min=0) * done.detach()).sum(1)

    checks = examine(scalar("lock", lock), steps=2, restarts=1)
    assert checks["M9", "adaptive steps"].verdict == "fail"
    enough = examine(scalar("lock", lock), steps=8, restarts=1)
    assert enough["M9", "adaptive steps"].verdict == "pass"


def test_m9_sees_an_attack_that_starts_too_seldom() -> None:
    """Flat at the image: only a random start in the upper part has a gradient to follow."""

    def flat(t: Tensor) -> Tensor:
        return 3 * nn.functional.relu(t[:, 0] - 8)

    checks = examine(logits("flat", flat), restarts=1)
    assert checks["M9", "adaptive restarts"].verdict in {"warn", "fail"}
    assert sound()["M9", "adaptive restarts"].verdict == "pass"


def test_m10_sees_a_best_iterate_that_was_chosen_by_rounded_values(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In bf16 an output near 1000 moves in steps of 4: the attack cannot see its own success."""
    monkeypatch.setattr("fleet.accelerator.multiplies_bf16", lambda _: True)  # on any processor

    class Offset(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(4, 1)
            self.linear.weight.data = torch.tensor([[255 * 0.1, 0.0, 0.0, 0.0]])
            self.linear.bias.data.fill_(1000 - 128 * 0.1)

        def forward(self, x: Tensor) -> Tensor:
            return self.linear(x.flatten(1))

    def member() -> Member:
        encoding = IntervalEncoding(3, alpha=2.0, beta=2.0, s0=999.0)
        return Member("offset", Classifier.from_module(Offset(), encoding, SHAPE))

    assert examine(member(), precision="bf16")["M10", "paper"].verdict == "fail"
    assert examine(member(), precision="fp32")["M10", "paper"].verdict == "pass"


def test_m11_passes_a_network_that_repeats() -> None:
    assert sound()["M11", ""].verdict == "pass"


def test_m15_and_m18_see_a_device_whose_outputs_fall_into_gaps() -> None:
    """Of four labels' images one is decoded as None; the floor rule takes it for class 0."""

    def gaps(t: Tensor) -> Tensor:
        quarter = torch.arange(len(t)) % 4 == 0
        return torch.where(quarter, 12.0, CENTER) + 0 * t[:, 0]

    checks = examine(scalar("gaps", gaps))
    assert checks["M15", ""].verdict == "warn"
    assert "at most 25.0 % (gaps)" in checks["M15", ""].finding
    assert checks["M18", ""].verdict == "warn"
    assert "clean accuracy 75.0 % and 100.0 %" in checks["M18", ""].finding
    assert sound()["M15", ""].verdict == "pass"


def test_m17_wants_a_control_that_falls() -> None:
    device = scalar("device", straight)
    assert sound()["M17", "adaptive"].verdict == "warn"
    two = torch.zeros(COUNT, dtype=torch.int64)

    def with_control(f: Callable[[Tensor], Tensor]) -> Check:
        control = logits("control", f, role="control")
        encoding = IntervalEncoding(2, alpha=10.0, beta=10.0)
        small = Member("device", Classifier.from_module(Scalar(straight), encoding, SHAPE))
        return examine(small, control, labels=two)["M17", "adaptive"]

    assert device.role == "device"
    assert with_control(straight).verdict == "pass"
    strong = with_control(lambda t: 0.5 * t[:, 0])
    assert strong.verdict == "fail"
    assert "does not even break an undefended network" in strong.finding


@pytest.mark.parametrize("protocol", ["paper", "adaptive"])
def test_members_are_left_as_they_were(protocol: str) -> None:
    member = scalar("sound", straight)
    member.classifier.train()
    examine(replace(member))
    assert all(part.training for part in member.classifier.modules())
