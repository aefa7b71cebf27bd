"""Random numbers keyed by sample, so that no result depends on batches, shards or processes.

A counter-based generator: the finaliser of SplitMix64 (Steele et al. 2014) over (seed, device,
purpose, image index, pixel). It is a handful of integer operations on whole tensors, so it runs on
any torch device and gives the same bits there.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from fleet.seeding import derive_seed

_GOLDEN = 0x9E3779B97F4A7C15 - 2**64
_FIRST = 0xBF58476D1CE4E5B9 - 2**64
_SECOND = 0x94D049BB133111EB - 2**64


@dataclass(frozen=True, eq=False)
class SampleKeys:
    """Names the random numbers of a batch.

    Attributes:
        seed: Seed of the whole audit.
        device: Name of the attacked device.
        indices: Number of each image in its dataset, int64 (B,).
    """

    seed: int
    device: str
    indices: Tensor

    def uniform(self, shape: torch.Size, *purpose: int | str) -> Tensor:
        """Draw from the uniform distribution.

        Args:
            shape: Shape of one sample, for example (C, H, W).
            purpose: What the numbers are for, for example ``("start", restart)``; another purpose
                gives unrelated numbers.

        Returns:
            float32 (B, *shape) in [0, 1), 24 random bits each.
        """
        return (self._bits(shape, purpose) & 0xFFFFFF).to(torch.float32) * 2.0**-24

    def signs(self, shape: torch.Size, *purpose: int | str) -> Tensor:
        """Draw -1 or +1 with equal chance, float32 (B, *shape); arguments as for uniform."""
        return (self._bits(shape, purpose) & 1).to(torch.float32) * 2 - 1

    def normal(self, shape: torch.Size, *purpose: int | str) -> Tensor:
        """Draw from the standard normal distribution (Box and Muller 1958).

        Args:
            shape: As for :meth:`uniform`.
            purpose: As for :meth:`uniform`.

        Returns:
            float32 (B, *shape); equal between torch devices up to the rounding of log and cos.
        """
        # 1 - u is in (0, 1], so its logarithm is finite.
        length = (-2 * torch.log1p(-self.uniform(shape, *purpose, "length"))).sqrt_()
        return length * torch.cos(2 * math.pi * self.uniform(shape, *purpose, "angle"))

    def _bits(self, shape: torch.Size, purpose: tuple[int | str, ...]) -> Tensor:
        stream = derive_seed(self.seed, self.device, *purpose)
        samples = _mix(self.indices * _GOLDEN + stream)
        pixels = torch.arange(1, math.prod(shape) + 1, device=samples.device) * _GOLDEN
        return _mix(samples.unsqueeze(1) + pixels).reshape(len(samples), *shape)


def _mix(z: Tensor) -> Tensor:
    z = (z ^ _shift(z, 30)) * _FIRST
    z = (z ^ _shift(z, 27)) * _SECOND
    return z ^ _shift(z, 31)


def _shift(z: Tensor, bits: int) -> Tensor:
    """Logical right shift; torch's own keeps the sign."""
    return (z >> bits) & ((1 << (64 - bits)) - 1)
