"""Attacks on classifiers: what to ascend, what counts, and how to step are separate parts.

An attack is a small frozen value; calling it makes adversarial images::

    attack = PGD(Directions(), eps=8 / 255, steps=20)
    images = attack(classifier, images, labels, SampleKeys(0, "door-1", indices))
"""

from __future__ import annotations

from fleet.attacks.diagnosis import GradientFaults, gradient_faults
from fleet.attacks.gradient import FGSM, PGD, Attack, Precision
from fleet.attacks.keys import SampleKeys
from fleet.attacks.noise import SignNoise
from fleet.attacks.objectives import (
    CrossEntropy,
    Directions,
    Margin,
    Objective,
    OutputValue,
    Targets,
    TaskLoss,
)
from fleet.attacks.outcomes import CORRECT, FLIP, REJECT, Decisions, decide
from fleet.attacks.pixels import exact_eps, radius, reproject, to_bytes
from fleet.attacks.portfolio import Entry, TargetChoice, portfolio
from fleet.attacks.segment import SegmentSearch, settle
from fleet.attacks.state import attackable
from fleet.attacks.steps import SignStep, StepRule

__all__ = [
    "CORRECT",
    "FGSM",
    "FLIP",
    "PGD",
    "REJECT",
    "Attack",
    "CrossEntropy",
    "Decisions",
    "Directions",
    "Entry",
    "GradientFaults",
    "Margin",
    "Objective",
    "OutputValue",
    "Precision",
    "SampleKeys",
    "SegmentSearch",
    "SignNoise",
    "SignStep",
    "StepRule",
    "TargetChoice",
    "Targets",
    "TaskLoss",
    "attackable",
    "decide",
    "exact_eps",
    "gradient_faults",
    "portfolio",
    "radius",
    "reproject",
    "settle",
    "to_bytes",
]
