"""Disks that are full, absent or in the way: the old file or the new one, and nothing else."""

import errno
import os
from pathlib import Path

import pytest

from fleet.bundle import read_bundle
from fleet.bundle.package import package_run, write_bundle
from fleet.errors import StorageError
from unit.bundle import bundle_samples as samples


def big_model() -> bytes:
    header = {"__metadata__": {"format": "pt"}, "w": samples.tensor([600_000], 0, 2_400_000)}
    model: bytes = samples.safetensors(header, bytes(2_400_000))
    return model


def test_a_full_disk_leaves_nothing_behind(small_disk: Path) -> None:
    model = big_model()
    with pytest.raises(StorageError, match="No space left") as caught:
        write_bundle(small_disk / "a.fleet", samples.manifest(model), model)
    assert "free some disk space" in str(caught.value.hint)
    assert list(small_disk.iterdir()) == []


def test_a_full_disk_keeps_the_old_bundle(small_disk: Path) -> None:
    path, model = small_disk / "a.fleet", samples.tiny_model()
    write_bundle(path, samples.manifest(model), model)
    before = path.read_bytes()
    with pytest.raises(StorageError):
        write_bundle(path, samples.manifest(big_model()), big_model())
    assert list(small_disk.iterdir()) == [path]
    assert path.read_bytes() == before


def test_a_failing_sync_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    model = samples.tiny_model()
    with pytest.raises(StorageError, match="No space left"):
        write_bundle(tmp_path / "out" / "a.fleet", samples.manifest(model), model)
    assert list((tmp_path / "out").iterdir()) == []


def test_packaging_that_fails_half_way_keeps_whole_bundles_and_can_be_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = samples.finished_run(tmp_path / "20261122-000000-demo", "cam-01", "cam-02")
    real, calls = os.fsync, iter(range(100))

    def fail_later(descriptor: int) -> None:
        if next(calls) >= 2:
            raise OSError(errno.EIO, "Input/output error")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fail_later)
    with pytest.raises(StorageError, match="Input/output error"):
        package_run(run, "r1")
    assert [path.name for path in run.bundles.iterdir()] == ["cam-01-r1.fleet"]
    assert read_bundle(run.bundles / "cam-01-r1.fleet")
    monkeypatch.setattr(os, "fsync", real)
    assert len(package_run(run, "r1")) == 2


def test_a_file_where_a_directory_must_be_is_a_clear_error(tmp_path: Path) -> None:
    run = samples.finished_run(tmp_path / "20261122-000000-demo", "cam-01")
    (tmp_path / "out").write_text("in the way")
    with pytest.raises(StorageError, match="out"):
        package_run(run, "r1", tmp_path / "out")
    assert (tmp_path / "out").read_text() == "in the way"


def test_a_directory_where_the_bundle_must_be_is_a_clear_error(tmp_path: Path) -> None:
    run = samples.finished_run(tmp_path / "20261122-000000-demo", "cam-01")
    (run.bundles / "cam-01-r1.fleet").mkdir(parents=True)
    with pytest.raises(StorageError, match=r"cam-01-r1\.fleet"):
        package_run(run, "r1", force=True)
    assert [path.name for path in run.bundles.iterdir()] == ["cam-01-r1.fleet"]
