"""Which attacks an audit runs on a device under each protocol."""

from dataclasses import dataclass, replace
from typing import Literal

from fleet.attacks.diversity import InputDiversity
from fleet.attacks.gradient import Attack
from fleet.attacks.objectives import CrossEntropy, Directions, Margin, Objective, Targets, TaskLoss
from fleet.attacks.pgd import FGSM, PGD
from fleet.attacks.steps import HalvingStep, Momentum, SignStep
from fleet.models import Classifier
from fleet.vocabulary import Norm, Precision, Protocol

TargetChoice = Literal["neighbours", "all", "none"]

PATH = 4.0
"""Length of PGD's path in eps: 40 steps of eps/10 (Madry et al. 2018), whatever the steps."""


ADAPTIVE_STEPS = HalvingStep(1.0)
"""APGD's steps from eps on; measured in ``docs/decisions/0007-attack-portfolio.md``."""

PURSUIT = 4
"""Further runs for each restart, of the images that neither UP nor DOWN has made evade."""


TRANSFER_STEPS = Momentum(SignStep(0.5))
"""MI-FGSM with long steps; measured in ``docs/decisions/0007-attack-portfolio.md``."""


@dataclass(frozen=True)
class Entry:
    """One attack of a portfolio.

    Attributes:
        protocol: ``paper`` (ascends the task's loss) or ``adaptive``.
        names: One for each variant.
        attack: What makes the images.
        transfer: Made to work on other devices; on the attacked one it is the weaker.
    """

    protocol: Protocol
    names: tuple[str, ...]
    attack: Attack
    transfer: bool = False


def portfolio(
    classifier: Classifier,
    eps: float,
    *,
    steps: int,
    restarts: int,
    targets: TargetChoice,
    precision: Precision,
    norm: Norm = "linf",
) -> tuple[Entry, ...]:
    """Choose the attacks for a device.

    ========== ==================== ==========================================================
    protocol   task                 attacks
    ========== ==================== ==========================================================
    paper      any                  FGSM from the image, PGD from a random start
    adaptive   int                  up and down, crossed, with a pursuit; targets, one run
    adaptive   tra, hin             margin, cross-entropy; from the image, then at random
    adaptive   any                  mi-di: momentum and input diversity, one run, for transfer
    ========== ==================== ==========================================================

    Crossed: the first run starts at the image, UP's next one where DOWN ended and DOWN's where UP
    did, and every fourth at random. Pursuit: the images that still stand get more runs; every
    image has the runs before it, so sets for transfer are complete.

    The measurements behind these choices are in ``docs/decisions/0007-attack-portfolio.md``.

    Args:
        classifier: The device.
        eps: Radius in pixel units.
        steps: Steps of each iterative run.
        restarts: Runs of each iterative attack, of every image.
        targets: Which slots TARGET aims at.
        precision: Of forward and backward passes.
        norm: How the radius is measured.
    """
    loss = TaskLoss()
    path = SignStep(PATH / max(steps, 4))
    paper = PGD(loss, eps, steps, path, restarts, True, precision, norm)
    entries = [
        Entry("paper", ("fgsm",), FGSM(loss, eps, precision, norm)),
        Entry("paper", ("pgd",), paper),
    ]
    once = PGD(loss, eps, steps, ADAPTIVE_STEPS, 1, False, precision, norm)
    again = replace(once, restarts=restarts)
    carry = replace(once, rule=TRANSFER_STEPS, view=InputDiversity())
    if classifier.encoding is None:
        entries += [
            Entry("adaptive", ("margin",), replace(again, objective=Margin())),
            Entry("adaptive", ("cross-entropy",), replace(again, objective=CrossEntropy())),
            Entry("adaptive", ("mi-di",), replace(carry, objective=Margin()), transfer=True),
        ]
    else:
        ways = Directions()
        out = replace(again, objective=ways, crossed=True, pursuit=PURSUIT * restarts)
        names = ("mi-di-up", "mi-di-down")
        entries += [
            Entry("adaptive", ("up", "down"), out),
            Entry("adaptive", names, replace(carry, objective=ways), transfer=True),
        ]
    entries += [
        Entry("adaptive", aims, replace(once, objective=objective))
        for aims, objective in _targets(classifier, targets)
    ]
    return tuple(entries)


def _targets(
    classifier: Classifier, targets: TargetChoice
) -> list[tuple[tuple[str, ...], Objective]]:
    """Names and objectives of TARGET; logits have no neighbours."""
    if targets == "all":
        # One attack for each slot, so that memory does not grow with the number of classes.
        return [((f"target-{s}",), Targets((s,))) for s in range(classifier.num_classes)]
    if targets == "neighbours" and classifier.encoding is not None:
        return [(("target-lower", "target-upper"), Targets())]
    return []
