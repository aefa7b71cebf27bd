"""Attacks on classifiers: what to ascend, what counts, and how to step are separate parts.

An attack is a small frozen value; calling it makes adversarial images::

    attack = PGD(Directions(), eps=8 / 255, steps=20)
    images = attack(classifier, images, labels, SampleKeys(0, "door-1", indices))
"""

from fleet.attacks.adapter import PseudoLogits
from fleet.attacks.ball import L2Ball, LinfBall, ball, distance, quantise
from fleet.attacks.diversity import InputDiversity
from fleet.attacks.exits import Outside, exits
from fleet.attacks.gradient import Attack, attackable, gradient_faults
from fleet.attacks.joint import ArcAttack, JointAscent, JointAttack
from fleet.attacks.keys import SampleKeys
from fleet.attacks.minimum import DeepFool
from fleet.attacks.noise import SignNoise, UniformNoise
from fleet.attacks.objectives import (
    CrossEntropy,
    Directions,
    LogitRatio,
    Margin,
    Objective,
    OutputValue,
    Targets,
    TaskLoss,
)
from fleet.attacks.outcomes import CORRECT, FLIP, REJECT, decide
from fleet.attacks.penalty import CarliniWagner, ElasticNet
from fleet.attacks.pgd import FGSM, PGD
from fleet.attacks.pixels import at_once, exact_eps, radius, reproject, to_bytes
from fleet.attacks.portfolio import Entry, TargetChoice, portfolio
from fleet.attacks.rays import RayS
from fleet.attacks.segment import SegmentSearch, settle
from fleet.attacks.square import Square
from fleet.attacks.steps import HalvingStep, Momentum, SignStep, StepRule
from fleet.vocabulary import Norm, Precision

__all__ = [
    "CORRECT",
    "FGSM",
    "FLIP",
    "PGD",
    "REJECT",
    "ArcAttack",
    "Attack",
    "CarliniWagner",
    "CrossEntropy",
    "DeepFool",
    "Directions",
    "ElasticNet",
    "Entry",
    "HalvingStep",
    "InputDiversity",
    "JointAscent",
    "JointAttack",
    "L2Ball",
    "LinfBall",
    "LogitRatio",
    "Margin",
    "Momentum",
    "Norm",
    "Objective",
    "OutputValue",
    "Outside",
    "Precision",
    "PseudoLogits",
    "RayS",
    "SampleKeys",
    "SegmentSearch",
    "SignNoise",
    "SignStep",
    "Square",
    "StepRule",
    "TargetChoice",
    "Targets",
    "TaskLoss",
    "UniformNoise",
    "at_once",
    "attackable",
    "ball",
    "decide",
    "distance",
    "exact_eps",
    "exits",
    "gradient_faults",
    "portfolio",
    "quantise",
    "radius",
    "reproject",
    "settle",
    "to_bytes",
]
