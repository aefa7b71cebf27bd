"""MNIST's files, CIFAR-10's files, splits and statistics."""

from __future__ import annotations

import functools
import gzip
import hashlib
import pickle
import socket
import struct
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torchvision.datasets import CIFAR10, MNIST

import fleet.data
from fleet.data import ImageData, load_data, to_unit
from fleet.errors import DataError

NAMES = ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")


def idx_bytes(array: NDArray[np.uint8]) -> bytes:
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


def write_idx_set(root: Path, folder: str = "MNIST", *, packed: bool = True) -> Path:
    """Write 40 training and 10 test images; image i is filled with grey level i (test: 200 + i)."""
    raw = root / folder / "raw"
    raw.mkdir(parents=True)
    arrays = []
    for first, count in ((0, 40), (200, 10)):
        levels = np.arange(first, first + count, dtype=np.uint8)
        arrays += [np.broadcast_to(levels[:, None, None], (count, 28, 28)), levels % 10]
    for name, array in zip(NAMES, arrays, strict=True):
        content = idx_bytes(np.ascontiguousarray(array))
        if packed:
            (raw / f"{name}-ubyte.gz").write_bytes(gzip.compress(content, mtime=0))
        else:
            (raw / f"{name}-ubyte").write_bytes(content)
    return raw


def load(root: Path, dataset: str = "mnist", **changes: Any) -> ImageData:
    settings = {"channels": 1, "image_size": 28, "num_classes": 10, "validation": 10}
    return load_data(dataset, root, **{**settings, **changes})


def levels(data: ImageData, part: str) -> list[int]:
    """Grey levels that tell the images of :func:`write_idx_set` apart."""
    split = getattr(data, part)
    return split.images(torch.arange(len(split)))[:, 0, 0, 0].tolist()


def test_mnist_is_what_torchvision_reads(whole_mnist: Path, tmp_path: Path) -> None:
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name in NAMES:
        packed = whole_mnist / "MNIST" / "raw" / f"{name}-ubyte.gz"
        (raw / f"{name}-ubyte").write_bytes(gzip.decompress(packed.read_bytes()))
    data = load(whole_mnist, validation=5000)
    theirs = MNIST(str(tmp_path), train=False)
    assert torch.equal(data.test.images(torch.arange(10_000))[:, 0], theirs.data)
    assert torch.equal(data.test.labels, theirs.targets)
    train = MNIST(str(tmp_path), train=True)
    ours = torch.cat([part.labels for part in (data.train, data.validation)])
    assert torch.equal(ours.bincount(), train.targets.bincount())
    total = sum(
        int(part.images(torch.arange(len(part))).sum()) for part in (data.train, data.validation)
    )
    assert total == int(train.data.sum())


def test_mnist_has_its_known_statistics_and_provenance(whole_mnist: Path) -> None:
    data = load(whole_mnist, validation=5000)
    assert data.mean == pytest.approx((0.1307,), abs=2e-3)
    assert data.std == pytest.approx((0.3081,), abs=2e-3)
    assert data.class_names == tuple("0123456789")
    assert (len(data.train), len(data.validation), len(data.test)) == (55_000, 5_000, 10_000)
    assert "CC BY-SA 3.0" in data.provenance.pop("credit")
    assert data.provenance == {
        "dataset": "mnist",
        "sha256": "c9c899568825c0192b158204e056115690ebe9e01a8a467321a8e34a416b7a26",
        "train_sha256": "7a20c28713f9dfe2c89b1c34d09b169926037fc85ad98ff0f296cde461ed23d7",
        "train": 55_000,
        "validation": 5_000,
        "test": 10_000,
        "split_seed": 0,
        "fit": "squash",
    }


def test_images_are_uint8_planes_and_labels_int64(tmp_path: Path) -> None:
    write_idx_set(tmp_path)
    data = load(tmp_path)
    images = data.train.images(torch.tensor([3, 0, 3]))
    assert (images.shape, images.dtype) == ((3, 1, 28, 28), torch.uint8)
    assert torch.equal(images[0], images[2])
    assert (data.train.labels.shape, data.train.labels.dtype) == ((30,), torch.int64)
    assert [level % 10 for level in levels(data, "train")] == data.train.labels.tolist()
    assert data.train.images(torch.arange(0)).shape == (0, 1, 28, 28)


def test_splits_are_disjoint_seeded_and_leave_the_test_set_alone(tmp_path: Path) -> None:
    write_idx_set(tmp_path)
    data = load(tmp_path)
    train, validation = levels(data, "train"), levels(data, "validation")
    assert sorted(train + validation) == list(range(40))
    assert levels(data, "test") == list(range(200, 210))
    again, other = load(tmp_path), load(tmp_path, split_seed=1)
    assert levels(again, "validation") == validation
    assert set(levels(other, "validation")) != set(validation)
    assert other.provenance["sha256"] == data.provenance["sha256"]


def test_a_limit_keeps_validation_test_and_digest(tmp_path: Path) -> None:
    write_idx_set(tmp_path)
    data, limited = load(tmp_path), load(tmp_path, train_limit=4)
    assert levels(limited, "train") == levels(data, "train")[:4]
    assert levels(limited, "validation") == levels(data, "validation")
    assert limited.provenance == {**data.provenance, "train": 4}
    assert len(load(tmp_path, train_limit=1000).train) == 30


def test_a_test_limit_draws_test_images_and_leaves_the_rest(tmp_path: Path) -> None:
    write_idx_set(tmp_path)
    data, limited = load(tmp_path), load(tmp_path, test_limit=4)
    drawn = levels(limited, "test")
    assert len(drawn) == 4
    assert drawn == sorted(set(drawn) & set(levels(data, "test")))
    assert drawn == levels(load(tmp_path, test_limit=4), "test")
    assert drawn != levels(data, "test")[:4]  # not the first: folders come class by class
    assert levels(limited, "train") == levels(data, "train")
    assert limited.provenance == {**data.provenance, "test": 4}
    assert len(load(tmp_path, test_limit=1000).test) == 10


def test_mean_and_deviation_are_those_of_the_training_split(tmp_path: Path) -> None:
    write_idx_set(tmp_path)
    data = load(tmp_path)
    values = np.array(levels(data, "train")) / 255
    assert data.mean == pytest.approx((values.mean(),))
    assert data.std == pytest.approx((values.std(),))
    assert load(tmp_path, train_limit=1).std == (pytest.approx(1 / 255),)


def test_loading_writes_nothing_into_the_root(tmp_path: Path) -> None:
    raw = write_idx_set(tmp_path)
    before = sorted(tmp_path.rglob("*")), raw.stat().st_mtime_ns
    load(tmp_path)
    assert (sorted(tmp_path.rglob("*")), raw.stat().st_mtime_ns) == before


def test_unpacked_files_are_read_too_and_have_the_same_digest(tmp_path: Path) -> None:
    write_idx_set(tmp_path / "packed")
    write_idx_set(tmp_path / "plain", packed=False)
    packed, plain = load(tmp_path / "packed"), load(tmp_path / "plain")
    assert packed.provenance == plain.provenance


def test_fashion_mnist_has_its_own_folder_and_names(tmp_path: Path) -> None:
    write_idx_set(tmp_path, "FashionMNIST")
    data = load(tmp_path, "fashion-mnist")
    assert data.class_names[0] == "T-shirt/top"
    assert data.class_names[9] == "Ankle boot"
    assert len(set(data.class_names)) == 10


def test_digest_follows_every_pixel_and_label(tmp_path: Path) -> None:
    raw = write_idx_set(tmp_path, packed=False)
    digests = {load(tmp_path).provenance["sha256"]}
    for name in NAMES:
        path = raw / f"{name}-ubyte"
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(content)
        digests.add(load(tmp_path).provenance["sha256"])
    assert len(digests) == 5


@pytest.mark.parametrize("budget", [0, 2**31], ids=["streamed", "in memory"])
def test_arrays_are_brought_to_the_asked_size_and_colours(tmp_path: Path, budget: int) -> None:
    write_idx_set(tmp_path)
    data = load(tmp_path, channels=3, image_size=64, memory_budget=budget)
    images = data.test.images(torch.tensor([4, 7]))
    assert images.shape == (2, 3, 64, 64)
    assert bool((images[0] == 204).all())
    assert bool((images[1] == 207).all())
    assert len(data.mean) == len(data.std) == 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_classes": 7}, "has 10 classes, not 7"),
        ({"validation": 40}, "cannot cut 40 validation images from 40 training images"),
        ({"validation": -1}, "cannot cut -1 validation images"),
        ({"train_limit": 0}, "train_limit is 0"),
        ({"dataset": "emnist"}, "unknown dataset 'emnist'"),
    ],
)
def test_settings_that_do_not_fit_are_refused(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    write_idx_set(tmp_path)
    with pytest.raises(DataError, match=message) as caught:
        load(tmp_path, **changes)
    assert caught.value.hint


def test_to_unit_divides_by_255_and_keeps_the_memory_format() -> None:
    levels = torch.arange(256, dtype=torch.uint8)
    unit = to_unit(levels)
    assert unit.dtype == torch.float32
    assert (unit.min(), unit.max()) == (0.0, 1.0)
    assert torch.equal((unit * 255).round().to(torch.uint8), levels)
    assert torch.equal(unit, levels.float() / 255)
    images = torch.zeros(2, 3, 4, 4, dtype=torch.uint8).contiguous(
        memory_format=torch.channels_last
    )
    assert to_unit(images).is_contiguous(memory_format=torch.channels_last)
    with pytest.raises(TypeError, match=r"torch\.float32, not torch\.uint8"):
        to_unit(unit)


def test_files_that_are_not_there_are_fetched_in_silence(
    tmp_path: Path,
    whole_mnist: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Through torchvision, from a mirror on this machine."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

    serve = functools.partial(Quiet, directory=str(whole_mnist / "MNIST" / "raw"))
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with ThreadingHTTPServer(("127.0.0.1", 0), serve) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setattr(MNIST, "mirrors", [f"http://127.0.0.1:{server.server_port}/"])
        data = load(tmp_path)
        server.shutdown()
    assert data.provenance["sha256"] == load(whole_mnist).provenance["sha256"]
    assert capfd.readouterr() == ("", "")


def test_a_failed_fetch_leaves_no_folder_under_a_root_that_was_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # a port on which nobody listens
        monkeypatch.setattr(MNIST, "mirrors", [f"http://127.0.0.1:{nobody.getsockname()[1]}/"])
        with pytest.raises(DataError, match="cannot be fetched"):
            load(tmp_path / "images" / "mine")
        assert list(tmp_path.iterdir()) == []
        (tmp_path / "kept").mkdir()
        with pytest.raises(DataError, match="cannot be fetched"):
            load(tmp_path / "kept")
    assert [path.name for path in tmp_path.rglob("*")] == ["kept"]


def test_the_package_has_no_other_public_names() -> None:
    assert fleet.data.__all__ == ["ImageData", "Split", "load_data", "to_unit"]
    with pytest.raises(AttributeError, match="no attribute 'load_dataset'"):
        fleet.data.load_dataset  # noqa: B018


class Touch:
    """A pickle that creates a file when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.path,))


class OldDtype:
    """What the pickles of 2009 hold, and what makes NumPy 2.4 warn."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (np.dtype, ("u1", 0, 1))


def write_cifar(root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write a CIFAR-10 of 12 images in its own format, and make its MD5s the published ones."""
    folder = root / "cifar-10-batches-py"
    folder.mkdir()

    def write(name: str, content: object) -> list[str]:
        encoded = pickle.dumps(content)
        (folder / name).write_bytes(encoded)
        return [name, hashlib.md5(encoded, usedforsecurity=False).hexdigest()]

    def batch(number: int) -> dict[str, Any]:
        data = np.full((2, 3072), number, dtype=np.uint8)
        data[:, 1024:2048] += 100
        data[:, 2048:] += 200
        return {"data": data, "labels": [number, 9], "dtype": OldDtype()}

    train = [write(f"data_batch_{i}", batch(i)) for i in range(1, 6)]
    test = [write("test_batch", batch(6))]
    names = [f"name{i}" for i in range(10)]
    meta = write("batches.meta", {"label_names": names})
    monkeypatch.setattr(CIFAR10, "train_list", train)
    monkeypatch.setattr(CIFAR10, "test_list", test)
    monkeypatch.setattr(CIFAR10, "meta", {**CIFAR10.meta, "md5": meta[1]})
    return folder


def test_cifar10_comes_through_torchvision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_cifar(tmp_path, monkeypatch)
    data = load(tmp_path, "cifar10", channels=3, image_size=32, validation=4)
    assert data.test.images(torch.arange(2)).shape == (2, 3, 32, 32)
    assert data.test.images(torch.arange(2))[0, :, 5, 5].tolist() == [6, 106, 206]
    assert data.test.labels.tolist() == [6, 9]
    assert data.class_names[3] == "name3"
    assert (len(data.train), len(data.validation)) == (6, 4)


def test_a_swapped_cifar10_pickle_is_never_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_cifar(tmp_path, monkeypatch)
    trap = tmp_path / "executed"
    (folder / "data_batch_3").write_bytes(pickle.dumps(Touch(trap)))
    with pytest.raises(DataError, match="is incomplete or damaged") as caught:
        load(tmp_path, "cifar10", channels=3, image_size=32)
    assert caught.value.hint
    assert not trap.exists()


def test_cifar10_as_grey_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_cifar(tmp_path, monkeypatch)
    data = load(tmp_path, "cifar10", image_size=32, validation=4)
    luma = round(0.299 * 6 + 0.587 * 106 + 0.114 * 206)
    assert data.test.images(torch.arange(1)).unique().tolist() == [luma]


def test_a_dataset_that_is_neither_there_nor_reachable_says_where_to_put_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(DataError, match=r"no MNIST in .*cannot be fetched") as mnist:
        load(tmp_path)
    assert mnist.value.hint is not None
    assert "train-images-idx3-ubyte.gz" in mnist.value.hint
    assert str(tmp_path / "MNIST" / "raw") in mnist.value.hint
    with pytest.raises(DataError, match="is not there") as cifar:
        load(tmp_path, "cifar10", channels=3, image_size=32)
    assert cifar.value.hint is not None
    assert str(tmp_path) in cifar.value.hint
    assert list(tmp_path.iterdir()) == []


def test_one_missing_file_of_four_is_missed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    raw = write_idx_set(tmp_path)
    (raw / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(DataError, match="no MNIST in"):
        load(tmp_path)
    assert len(list(raw.iterdir())) == 3
