"""Networks: the paper's NN and three torchvision backbones, with interval heads."""

from __future__ import annotations

from fleet.models.classifier import Classifier
from fleet.models.registry import ARCHITECTURES, build_classifier
from fleet.models.weights import load_weights, weights_bytes, weights_digest

__all__ = [
    "ARCHITECTURES",
    "Classifier",
    "build_classifier",
    "load_weights",
    "weights_bytes",
    "weights_digest",
]
