"""All training methods by name."""

from fleet.training.adversarial import Adversarial
from fleet.training.certified import Certified
from fleet.training.method import Method, Standard

METHODS: dict[str, type[Method]] = {
    "standard": Standard,
    "adversarial": Adversarial,
    "certified": Certified,
}
"""Class of each ``training.method``."""
