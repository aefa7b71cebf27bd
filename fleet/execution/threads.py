"""Thread limits, the one thing of torch that execution knows."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager


def limit_threads(threads: int) -> None:
    """Limit this process for good; call it before torch is first imported.

    Spawned processes do not inherit ``torch.set_num_threads``, and OpenMP reads its variable once.
    """
    os.environ["OMP_NUM_THREADS"] = str(threads)
    os.environ["MKL_NUM_THREADS"] = str(threads)
    import torch

    torch.set_num_threads(threads)


@contextmanager
def limited_threads(threads: int) -> Iterator[None]:
    """Limit torch's threads inside a block and restore them after it."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
