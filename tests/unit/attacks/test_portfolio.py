"""Which attacks an audit runs."""

from collections.abc import Callable
from typing import get_args

import pytest
import torch

from fleet.attacks import FGSM, PGD, Norm, SampleKeys, TargetChoice, portfolio
from fleet.models import Classifier

Make = Callable[..., Classifier]


def names(classifier: Classifier, targets: str = "neighbours") -> list[tuple[str, str]]:
    entries = portfolio(classifier, 0.1, steps=4, restarts=2, targets=targets, precision="fp32")
    return [(entry.protocol, name) for entry in entries for name in entry.names]


PAPER = [("paper", "fgsm"), ("paper", "pgd")]


def test_scalar_devices_get_directions_and_targets(linear: Make) -> None:
    out = [("adaptive", name) for name in ("up", "down", "mi-di-up", "mi-di-down")]
    sides = [("adaptive", "target-lower"), ("adaptive", "target-upper")]
    slots = [("adaptive", f"target-{slot}") for slot in range(3)]
    assert names(linear([0.0] * 4, 0.0)) == PAPER + out + sides
    assert names(linear([0.0] * 4, 0.0), "none") == PAPER + out
    assert names(linear([0.0] * 4, 0.0), "all") == PAPER + out + slots


@pytest.mark.parametrize("task", ["tra", "hin"])
def test_logit_devices_get_margin_and_cross_entropy(logits: Make, task: str) -> None:
    wanted = [*PAPER, *(("adaptive", name) for name in ("margin", "cross-entropy", "mi-di"))]
    assert names(logits([[0.0] * 4] * 3, task)) == wanted


def test_logit_devices_are_aimed_at_every_class_on_request(logits: Make) -> None:
    wanted = [("adaptive", f"target-{slot}") for slot in range(3)]
    assert names(logits([[0.0] * 4] * 3), "all")[5:] == wanted
    assert names(logits([[0.0] * 4] * 3), "none") == names(logits([[0.0] * 4] * 3))


def test_up_and_down_are_crossed_and_pursue_what_stands(linear: Make) -> None:
    _, _, out, carry, aimed = portfolio(
        linear([0.0] * 4, 0.0), 0.1, steps=4, restarts=2, targets="neighbours", precision="bf16"
    )
    assert isinstance(out.attack, PGD)
    assert out.attack.crossed
    assert [entry.transfer for entry in (out, carry, aimed)] == [False, True, False]
    assert out.attack.pursuit == 8
    assert isinstance(aimed.attack, PGD)
    assert (aimed.attack.restarts, aimed.attack.pursuit) == (1, 0)


@pytest.mark.parametrize("norm", get_args(Norm))
def test_every_attack_of_a_portfolio_is_of_its_norm(logits: Make, norm: Norm) -> None:
    entries = portfolio(
        logits([[0.0] * 4] * 3),
        1.5 if norm == "l2" else 0.1,
        steps=4,
        restarts=2,
        targets="all",
        precision="fp32",
        norm=norm,
    )
    assert {getattr(entry.attack, "norm", None) for entry in entries} == {norm}


@pytest.mark.parametrize("targets", get_args(TargetChoice))
def test_every_attack_gives_one_image_for_each_of_its_names(linear: Make, targets: str) -> None:
    classifier = linear([1.0, -1.0, 2.0, 1.0], 0.0)
    x, keys = torch.full((2, 1, 2, 2), 0.5), SampleKeys(0, "a", torch.arange(2))
    for entry in portfolio(classifier, 0.1, steps=2, restarts=1, targets=targets, precision="fp32"):
        made = entry.attack(classifier, x, torch.tensor([0, 2]), keys)
        assert made.shape == (len(entry.names), 2, 1, 2, 2)
        assert entry.attack.variants == len(entry.names)


@pytest.mark.parametrize(("steps", "share"), [(40, 0.1), (20, 0.2), (1, 1.0)])
def test_the_papers_protocol_is_fgsm_and_pgd_on_a_path_of_4_eps(
    linear: Make, steps: int, share: float
) -> None:
    fgsm, pgd, *_ = portfolio(
        linear([0.0] * 4, 0.0), 0.3, steps=steps, restarts=1, targets="none", precision="fp32"
    )
    assert isinstance(fgsm.attack, FGSM)
    assert isinstance(pgd.attack, PGD)
    assert pgd.attack.random_start
    assert pgd.attack.rule.share == pytest.approx(share)
