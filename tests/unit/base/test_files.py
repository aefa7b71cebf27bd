"""Whole files or nothing, and errors that say how to mend them."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fleet.errors import StorageError
from fleet.files import canonical_json, make_directory, write_bytes, write_json


def test_write_replaces_a_file_whole_and_sets_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "er" / "file"
    write_bytes(path, b"old")
    write_bytes(path, b"new", mode=0o600)
    assert path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o777 == 0o600
    assert [p.name for p in path.parent.iterdir()] == ["file"]


def test_a_full_disk_leaves_the_old_file_and_no_rubbish(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    write_bytes(path, b"old")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="No space left") as caught:
        write_bytes(path, b"new")
    assert caught.value.hint is not None
    assert "free some disk space" in caught.value.hint
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_a_real_full_file_system_is_a_storage_error(small_disk: Path) -> None:
    with pytest.raises(StorageError, match="No space left"):
        write_bytes(small_disk / "big", b"x" * (4 << 20))
    assert list(small_disk.iterdir()) == []


def test_a_file_in_the_way_of_a_directory_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match="cannot write"):
        make_directory(tmp_path / "file" / "sub")


def test_a_kill_while_writing_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_bytes(path, b"old")
    code = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from fleet import files\n"
        "os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)\n"
        "files.write_bytes(Path(sys.argv[1]), b'new')\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], check=False)
    assert done.returncode == -9
    assert path.read_bytes() == b"old"


def test_json_is_canonical_and_refuses_what_json_cannot_carry(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"b": 1, "a": [1.5, None]})
    assert (tmp_path / "a.json").read_text() == canonical_json({"a": [1.5, None], "b": 1})
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "nan.json", {"x": float("nan")})
    assert not (tmp_path / "nan.json").exists()
