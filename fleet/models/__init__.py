"""Networks: the paper's NN, one that can be certified, torchvision's; with interval heads."""

from fleet.models.classifier import Classifier
from fleet.models.registry import build_classifier
from fleet.models.weights import load_weights, weights_bytes, weights_digest

__all__ = [
    "Classifier",
    "build_classifier",
    "load_weights",
    "weights_bytes",
    "weights_digest",
]
