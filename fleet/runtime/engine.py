"""The seam between a bundle and what computes it."""

from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]
EngineName = Literal["auto", "edge", "torch"]


class Engine(Protocol):
    """Computes the outputs of one device's network."""

    def outputs(self, images: FloatArray) -> FloatArray:
        """Compute what is decoded.

        Args:
            images: float32 (B, C, H, W) in [0, 1].

        Returns:
            float32: the scalar (B,) for task ``int``, the logits (B, K) otherwise.
        """
