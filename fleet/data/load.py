"""Load a dataset by name."""

from __future__ import annotations

from pathlib import Path

from fleet.data.dataset import ImageData

MEMORY_BUDGET = 2 * 1024**3
"""Bytes of uint8 images, all splits together, up to which a dataset is held in memory."""


def load_data(
    dataset: str,
    root: Path,
    *,
    channels: int,
    image_size: int,
    num_classes: int,
    validation: int,
    train_limit: int | None = None,
    split_seed: int = 0,
    memory_budget: int = MEMORY_BUDGET,
) -> ImageData:
    """Load a dataset."""
    raise NotImplementedError
