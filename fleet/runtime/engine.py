"""The seam between a bundle and what computes it."""

from __future__ import annotations

from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from fleet.bundle import Bundle
from fleet.errors import BackendError

FloatArray = NDArray[np.float32]
EngineName = Literal["torch"]


class Engine(Protocol):
    """Computes the outputs of one device's network."""

    def outputs(self, images: FloatArray) -> FloatArray:
        """Compute what is decoded.

        Args:
            images: float32 (B, C, H, W) in [0, 1].

        Returns:
            float32: the scalar (B,) for task ``int``, the logits (B, K) otherwise.
        """


def load_engine(name: EngineName, bundle: Bundle) -> Engine:
    """Start an engine on a bundle's weights.

    Raises:
        BackendError: There is no such engine, or this machine lacks what it needs.
        BundleError: The weights do not fit the manifest.
    """
    if name != "torch":
        raise BackendError(f"there is no engine {name!r}", hint="the engines are: torch")
    try:
        from fleet.runtime.torch_engine import TorchEngine  # noqa: PLC0415
    except (ImportError, OSError) as error:
        raise BackendError(
            f"the torch engine cannot start: {error}",
            hint="pip install 'interval-fleet[train]'; `fleet doctor` looks further",
        ) from error
    return TorchEngine(bundle)
