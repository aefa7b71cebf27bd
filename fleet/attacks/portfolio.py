"""Which attacks an audit runs on a device under each protocol."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fleet.attacks.gradient import FGSM, PGD, Attack, Precision
from fleet.attacks.objectives import CrossEntropy, Directions, Margin, Objective, Targets, TaskLoss
from fleet.attacks.steps import SignStep
from fleet.models import Classifier

TargetChoice = Literal["neighbours", "all", "none"]

PATH = 4.0
"""Length of PGD's path in eps: 40 steps of eps/10 (Madry et al. 2018), whatever the steps."""


ADAPTIVE_STEPS = SignStep(2.0, 0.02)
"""From 2 eps down to eps/50. Measured with UP and DOWN at eps 0.1 on 290 validation images of an
undefended `linear` device, 20 steps and 5 restarts: evades 228, from eps 214, from 4 eps 223; 100
constant steps of eps/10 evade about 150. A long first step leaves the flat parts of sigmoids."""


@dataclass(frozen=True)
class Entry:
    """One attack of a portfolio.

    Attributes:
        protocol: ``paper`` (ascends the task's loss) or ``adaptive``.
        names: One for each variant.
        attack: What makes the images.
    """

    protocol: Literal["paper", "adaptive"]
    names: tuple[str, ...]
    attack: Attack


def portfolio(
    classifier: Classifier,
    eps: float,
    *,
    steps: int,
    restarts: int,
    targets: TargetChoice,
    precision: Precision,
) -> tuple[Entry, ...]:
    """Choose the attacks for a device.

    ========== ==================== ===================================================
    protocol   task                 attacks
    ========== ==================== ===================================================
    paper      any                  FGSM from the image, PGD from a random start
    adaptive   int                  up, down; targets; from the image, then at random
    adaptive   tra, hin             margin, cross-entropy; the same starts
    ========== ==================== ===================================================

    Args:
        classifier: The device.
        eps: Linf radius in pixel units, (0, 1].
        steps: Steps of each iterative run.
        restarts: Runs of each iterative attack.
        targets: Which slots TARGET aims at.
        precision: Of forward and backward passes.
    """
    loss = TaskLoss()
    paper = PGD(loss, eps, steps, SignStep(PATH / max(steps, 4)), restarts, True, precision)
    entries = [
        Entry("paper", ("fgsm",), FGSM(loss, eps, precision)),
        Entry("paper", ("pgd",), paper),
    ]
    for names, objective in _adaptive(classifier, targets):
        attack = PGD(objective, eps, steps, ADAPTIVE_STEPS, restarts, False, precision)
        entries.append(Entry("adaptive", names, attack))
    return tuple(entries)


def _adaptive(
    classifier: Classifier, targets: TargetChoice
) -> list[tuple[tuple[str, ...], Objective]]:
    if classifier.encoding is None:
        return [(("margin",), Margin()), (("cross-entropy",), CrossEntropy())]
    chosen: list[tuple[tuple[str, ...], Objective]] = [(("up", "down"), Directions())]
    if targets == "neighbours":
        chosen.append((("target-lower", "target-upper"), Targets()))
    if targets == "all":
        # One attack for each slot, so that memory does not grow with the number of classes.
        chosen += [((f"target-{s}",), Targets((s,))) for s in range(classifier.num_classes)]
    return chosen
