"""The torch engine; the only module of this package that imports torch."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load

from fleet.accelerator import halving, torch_device
from fleet.bundle import Bundle, Manifest
from fleet.bundle.tensors import TensorInfo, tensor_layout
from fleet.errors import BundleError, CheckpointError, ProfileError
from fleet.models import Classifier, build_classifier, load_weights
from fleet.runtime.engine import FloatArray
from fleet.vocabulary import ModelSpec

_HINT = "the bundle was put together wrongly; package the device again"


class TorchEngine:
    """Runs a bundle in float32, on the CPU unless ``FLEET_ACCELERATOR`` says otherwise.

    Args:
        bundle: A bundle that was read with all its checks.

    Raises:
        BundleError: The weights do not fit the manifest.
    """

    def __init__(self, bundle: Bundle) -> None:
        try:
            _check_backbone(bundle.manifest, tensor_layout(bundle.model))
            self._classifier = build_network(bundle.manifest)
            load_weights(self._classifier, load(bundle.model))
        except (CheckpointError, ProfileError, SafetensorError) as error:
            raise BundleError(
                f"the weights of {bundle.manifest.device!r} do not fit its manifest: {error}",
                hint=_HINT,
            ) from error
        self._device = torch_device()
        self._classifier.eval().to(self._device)

    def outputs(self, images: FloatArray) -> FloatArray:
        """Compute what is decoded; see :class:`fleet.runtime.engine.Engine`."""
        unit = torch.tensor(images)
        with torch.inference_mode():
            parts = halving(
                lambda rows: self._classifier(unit[rows].to(self._device)).cpu(),
                torch.arange(len(unit)),
            )
        return cast(FloatArray, torch.cat(parts).numpy())


def build_network(manifest: Manifest, **changes: Any) -> Classifier:
    """Build the manifest's network; its weights are about to be replaced."""
    model, images = manifest.model, manifest.preprocessing
    arguments: dict[str, Any] = {
        **{setting.name: getattr(model, setting.name) for setting in fields(ModelSpec)},
        "task": manifest.task,
        "encoding": manifest.encoding,
        "num_classes": model.num_classes,
        "input_shape": model.input_shape,
        "mean": images.mean,
        "std": images.std,
        "seed": 0,
    }
    return build_classifier(**{**arguments, **changes})


def _check_backbone(manifest: Manifest, layout: Mapping[str, TensorInfo]) -> None:
    """Compare shapes on the meta device first.

    A manifest of 2 KB can describe a network of terabytes; nothing of that size may be allocated
    before the weights in the bundle are known to have it. The head is small for any manifest.
    """
    with torch.device("meta"):
        wanted = build_network(
            manifest, head="logits", task="tra", encoding=None
        ).backbone.state_dict()
    for key, tensor in wanted.items():
        found = layout.get(f"backbone.{key}")
        if found is None or found.shape != tuple(tensor.shape):
            shape = "nothing" if found is None else found.shape
            raise BundleError(
                f"the manifest of {manifest.device!r} needs backbone.{key} of shape "
                f"{tuple(tensor.shape)}; the weights have {shape}",
                hint=_HINT,
            )
