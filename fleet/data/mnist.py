"""MNIST and Fashion-MNIST from the four original files.

torchvision's classes want the files unpacked beside the .gz; these here are read as they came, in
half a second and without writing to ``root``, which may be read-only. Files that are not there
are fetched by torchvision.
"""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

import numpy as np

from fleet.data.idx import damaged, read_idx
from fleet.data.raw import Arrays, RawDataset, array_dataset
from fleet.errors import DataError

_FILES = tuple(
    f"{part}-{kind}-ubyte" for part in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")
)
_FASHION = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker")


def read_mnist(root: Path) -> RawDataset:
    """Read MNIST from ``root/MNIST/raw``.

    Raises:
        DataError: Files are absent and cannot be fetched, or damaged.
    """
    return _read(
        root,
        "MNIST",
        tuple(str(digit) for digit in range(10)),
        "MNIST by Y. LeCun, C. Cortes and C. J. C. Burges, CC BY-SA 3.0",
    )


def read_fashion_mnist(root: Path) -> RawDataset:
    """Read Fashion-MNIST from ``root/FashionMNIST/raw``.

    Raises:
        DataError: Files are absent and cannot be fetched, or damaged.
    """
    return _read(
        root,
        "FashionMNIST",
        (*_FASHION, "Bag", "Ankle boot"),
        "Fashion-MNIST by H. Xiao, K. Rasul and R. Vollgraf, MIT licence",
    )


def _read(root: Path, name: str, class_names: tuple[str, ...], credit: str) -> RawDataset:
    files = _find(root, name)
    return array_dataset(_read_split(*files[:2]), _read_split(*files[2:]), class_names, credit)


def _read_split(images: Path, labels: Path) -> Arrays:
    pictures = read_idx(images, (28, 28))
    classes = read_idx(labels, ()).astype(np.int64)
    if len(pictures) != len(classes):
        raise damaged(labels, f"{len(classes)} labels for {len(pictures)} images")
    if classes.max() > 9:
        raise damaged(labels, f"it holds the label {classes.max()}")
    return pictures, classes


def _find(root: Path, name: str) -> list[Path]:
    folder = root / name / "raw"
    found = [_present(folder, file) for file in _FILES]
    if None in found:
        _fetch(root, name, folder)
        found = [_present(folder, file) for file in _FILES]
    return [path for path in found if path is not None]


def _present(folder: Path, file: str) -> Path | None:
    """Find a file, packed or unpacked."""
    return next((p for p in (folder / f"{file}.gz", folder / file) if p.is_file()), None)


def _fetch(root: Path, name: str, folder: Path) -> None:
    # torchvision takes seconds to import; nothing of it is needed when the files are there.
    from torchvision import datasets  # noqa: PLC0415

    try:
        with contextlib.redirect_stderr(io.StringIO()):  # its progress bars
            getattr(datasets, name)(str(root), download=True)
    except (OSError, RuntimeError) as error:
        for created in (folder, folder.parent):
            with contextlib.suppress(OSError):
                created.rmdir()  # only if empty
        reason = str(error).strip().splitlines()[-1]
        raise DataError(
            f"no {name} in {folder}, and it cannot be fetched: {reason}",
            hint=f"put {', '.join(f'{file}.gz' for file in _FILES)} into {folder}",
        ) from error
