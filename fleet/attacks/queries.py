"""Results of attacks that only ask: what they found, and how many questions it took."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, eq=False)
class Queried:
    """What an attacker with a budget of queries reached; all images are 8-bit images.

    Attributes:
        images: The first image that met the criterion; where none did, the best that was found,
            uint8 (B, C, H, W).
        success: Whether the criterion was met, bool (B,).
        queries: Images sent until then, that one included, int64 (B,); all of them where none met
            it.
    """

    images: Tensor
    success: Tensor
    queries: Tensor
