"""Read a dataset by name, as it lies on disk, without torch.

MNIST's files are read as they came, packed or not, in half a second and without writing to
``root``, which may be read-only; what is not there is fetched by torchvision. CIFAR-10 comes
through torchvision: its files are pickles, and torchvision compares the MD5 of each with the
published one before it unpickles it, so that a damaged or swapped one is never executed.

MNIST's format (IDX): two zero bytes, the type (8 is uint8), the number of axes, one big-endian
uint32 for each axis, then the values.
"""

import contextlib
import gzip
import io
import math
import struct
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fleet.data.folder import read_folder, read_imagenet10
from fleet.data.pictures import RawDataset, RawSplit
from fleet.data.survey import without_broken
from fleet.errors import DataError

MAX_ITEMS = 1_000_000
"""More images than any dataset of this format has; a header that claims more is damaged."""

_FILES = tuple(
    f"{part}-{kind}-ubyte" for part in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")
)
_FASHION = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker")


def read_dataset(dataset: str, root: Path, *, skip_broken: bool = False) -> RawDataset:
    """Read or list a dataset, whole.

    Args:
        dataset: Its name.
        root: Where it lies.
        skip_broken: Decode the pictures of a folder now, and leave out those that cannot be read.

    Raises:
        DataError: It is unknown, absent and not to be fetched, or damaged.
    """
    if dataset not in _READERS:
        raise DataError(f"unknown dataset {dataset!r}", hint=f"one of {', '.join(_READERS)}")
    raw = _READERS[dataset][1](root)
    return without_broken(raw) if skip_broken else raw


def lies_in(dataset: str, root: Path) -> bool:
    """Whether there is anything of a dataset under ``root``, so that it need not be fetched."""
    return (root / _READERS[dataset][0]).is_dir()


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
    return RawDataset(_read_split(*files[:2]), _read_split(*files[2:]), class_names, credit)


def _read_split(images: Path, labels: Path) -> RawSplit:
    pictures = read_idx(images, (28, 28))
    classes = read_idx(labels, ()).astype(np.int64)
    if len(pictures) != len(classes):
        raise damaged(labels, f"{len(classes)} labels for {len(pictures)} images")
    if classes.max() > 9:
        raise damaged(labels, f"it holds the label {classes.max()}")
    return RawSplit(classes, pictures)


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


def read_idx(path: Path, item_shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Read one IDX file of bytes.

    Args:
        path: The file; a name that ends in ``.gz`` is unpacked on the way.
        item_shape: Shape of one item: ``(28, 28)`` for images, ``()`` for labels.

    Returns:
        uint8 (N, *item_shape).

    Raises:
        DataError: The file is unreadable, truncated, longer than it says, or of another shape.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
            axes = 1 + len(item_shape)
            header = stream.read(4 + 4 * axes)
            count = _count(path, header, item_shape)
            expected = count * math.prod(item_shape)
            content = stream.read(expected)
            surplus = stream.read(1)
    except (OSError, EOFError, zlib.error) as error:
        raise damaged(path, str(error)) from error
    if len(content) < expected or surplus:
        found = "more" if surplus else str(len(content))
        raise damaged(path, f"{expected} bytes of data expected, {found} found")
    return np.frombuffer(content, dtype=np.uint8).reshape(count, *item_shape).copy()


def damaged(path: Path, what: str) -> DataError:
    """Make the error for a file that is not what it should be."""
    return DataError(
        f"{path} is damaged: {what}",
        hint="delete the file and fetch it again; with a network, the next run does so",
    )


def _count(path: Path, header: bytes, item_shape: tuple[int, ...]) -> int:
    """Check the header and give the number of items."""
    axes = 1 + len(item_shape)
    magic = bytes((0, 0, 8, axes))
    if len(header) < 4 + 4 * axes or header[:4] != magic:
        raise damaged(path, f"it begins with {header[:4].hex() or 'nothing'}, not {magic.hex()}")
    count, *shape = struct.unpack(f">{axes}I", header[4:])
    if tuple(shape) != item_shape:
        raise damaged(path, f"items have shape {tuple(shape)}, not {item_shape}")
    if not 0 < count <= MAX_ITEMS:
        raise damaged(path, f"it claims to hold {count} items")
    return int(count)


def _fetch(root: Path, name: str, folder: Path) -> None:
    # torchvision takes seconds to import; nothing of it is needed when the files are there.
    from torchvision import datasets  # noqa: PLC0415

    absent = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        with contextlib.redirect_stderr(io.StringIO()):  # its progress bars
            getattr(datasets, name)(str(root), download=True)
    except (OSError, RuntimeError) as error:
        for created in absent:
            with contextlib.suppress(OSError):
                created.rmdir()  # only if empty
        reason = str(error).strip().splitlines()[-1]
        raise DataError(
            f"no {name} in {folder}, and it cannot be fetched: {reason}",
            hint=f"put {', '.join(f'{file}.gz' for file in _FILES)} into {folder}",
        ) from error


def read_cifar10(root: Path) -> RawDataset:
    """Read CIFAR-10 from ``root/cifar-10-batches-py``, fetching it if it is not there.

    Raises:
        DataError: It is absent and cannot be fetched, or damaged.
    """
    # torchvision takes seconds to import; no other dataset needs it.
    from torchvision.datasets import CIFAR10  # noqa: PLC0415

    folder = root / CIFAR10.base_folder
    parts = []
    try:
        for train in (True, False):
            with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
                # The pickles are from 2009: NumPy 2.4 warns of an old way to write a dtype.
                warnings.simplefilter("ignore", np.exceptions.VisibleDeprecationWarning)
                found = CIFAR10(str(root), train=train, download=train and not folder.exists())
            labels = np.asarray(found.targets, dtype=np.int64)
            parts.append(RawSplit(labels, np.ascontiguousarray(found.data)))
    except (OSError, RuntimeError) as error:
        state = "is incomplete or damaged" if folder.exists() else "is not there"
        raise DataError(
            f"CIFAR-10: {folder} {state}: {error}",
            hint=f"unpack cifar-10-python.tar.gz ({CIFAR10.url}) into {root}",
        ) from error
    credit = "CIFAR-10 by A. Krizhevsky, V. Nair and G. Hinton"
    return RawDataset(parts[0], parts[1], tuple(found.classes), credit)


_READERS: dict[str, tuple[str, Callable[[Path], RawDataset]]] = {
    "mnist": ("MNIST/raw", read_mnist),
    "fashion-mnist": ("FashionMNIST/raw", read_fashion_mnist),
    "cifar10": ("cifar-10-batches-py", read_cifar10),
    "folder": (".", read_folder),
    "imagenet10": ("train", read_imagenet10),
}
"""What each dataset's files lie in, and its reader."""
