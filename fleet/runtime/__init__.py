"""The device side: from a bundle to decisions. torch is loaded only when its engine starts."""

from fleet.runtime.classifier import (
    DeviceClassifier,
    Prediction,
    RawPrediction,
    load_bundle,
    load_engine,
)
from fleet.runtime.engine import Engine

__all__ = [
    "DeviceClassifier",
    "Engine",
    "Prediction",
    "RawPrediction",
    "load_bundle",
    "load_engine",
]
