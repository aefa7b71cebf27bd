"""Read a dataset by name, as it lies on disk; without torch, but for what is CIFAR-10's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from fleet.data.folder import read_folder, read_imagenet10
from fleet.data.mnist import read_fashion_mnist, read_mnist
from fleet.data.raw import RawDataset
from fleet.errors import DataError


def _read_cifar10(root: Path) -> RawDataset:
    # torchvision takes seconds to import; no other dataset needs it.
    from fleet.data.cifar import read_cifar10  # noqa: PLC0415

    return read_cifar10(root)


_READERS: dict[str, tuple[str, Callable[[Path], RawDataset]]] = {
    "mnist": ("MNIST/raw", read_mnist),
    "fashion-mnist": ("FashionMNIST/raw", read_fashion_mnist),
    "cifar10": ("cifar-10-batches-py", _read_cifar10),
    "folder": ("train", read_folder),
    "imagenet10": ("train", read_imagenet10),
}


def read_dataset(dataset: str, root: Path) -> RawDataset:
    """Read or list a dataset, whole.

    Raises:
        DataError: It is unknown, absent and not to be fetched, or damaged.
    """
    if dataset not in _READERS:
        raise DataError(f"unknown dataset {dataset!r}", hint=f"one of {', '.join(_READERS)}")
    return _READERS[dataset][1](root)


def lies_in(dataset: str, root: Path) -> bool:
    """Whether there is anything of a dataset under ``root``, so that it need not be fetched."""
    return (root / _READERS[dataset][0]).is_dir()
