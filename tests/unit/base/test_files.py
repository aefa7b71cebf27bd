"""Whole files or nothing, and errors that say how to mend them."""

import errno
import fcntl
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleet import files
from fleet.errors import CheckpointError, FleetWarning, StorageError
from fleet.files import canonical_json, locked, make_directory, write_bytes, write_json


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


@pytest.fixture
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


@pytest.mark.parametrize("umask", [0o077, 0o002, 0o022], indirect=True)
def test_files_obey_the_umask_and_private_ones_stay_private(tmp_path: Path, umask: int) -> None:
    write_bytes(tmp_path / "open", b"")
    write_bytes(tmp_path / "private", b"", mode=0o600)
    assert stat.S_IMODE((tmp_path / "open").stat().st_mode) == 0o666 & ~umask
    assert stat.S_IMODE((tmp_path / "private").stat().st_mode) == 0o600


@pytest.mark.parametrize("there", [True, False])
def test_a_link_is_followed_and_stays_a_link(tmp_path: Path, there: bool) -> None:
    target = tmp_path / "elsewhere" / "file"
    make_directory(target.parent)
    if there:
        target.write_bytes(b"old")
    (tmp_path / "second").symlink_to(target)
    link = tmp_path / "link"
    link.symlink_to("second")
    write_bytes(link, b"new")
    assert link.is_symlink()
    assert target.read_bytes() == b"new"
    assert not target.is_symlink()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["elsewhere", "link", "second"]


def test_links_in_a_circle_are_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    for path in (tmp_path / "a", tmp_path / "a" / "file"):
        with pytest.raises(StorageError, match="Too many levels") as caught:
            write_bytes(path, b"new")
        assert "circle" in (caught.value.hint or "")


def test_a_pipe_is_written_into_and_stays(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(pipe.read_bytes()), daemon=True)
    reader.start()
    write_bytes(pipe, b"x" * 200_000)
    reader.join(10)
    assert got == [b"x" * 200_000]
    assert pipe.is_fifo()
    assert list(tmp_path.iterdir()) == [pipe]


def test_a_device_node_is_written_into_and_stays(tmp_path: Path) -> None:
    null = tmp_path / "null"
    try:
        os.mknod(null, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("only root makes device nodes")
    write_bytes(null, b"new")
    assert null.is_char_device()
    if Path("/dev/full").is_char_device():
        with pytest.raises(StorageError, match="No space left"):
            write_bytes(Path("/dev/full"), b"new")


def test_an_open_file_behind_dev_stdout_is_not_replaced(tmp_path: Path) -> None:
    code = "from pathlib import Path; from fleet.files import write_bytes as w\n"
    code += "w(Path('/dev/stdout'), b'new')"
    with (tmp_path / "out").open("wb") as stream:
        subprocess.run([sys.executable, "-c", code], stdout=stream, check=True)
        assert os.fstat(stream.fileno()).st_size == 3
    piped = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert piped.stdout == b"new"


def test_a_directory_in_the_way_is_named_with_a_hint(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="Is a directory") as caught:
        write_bytes(tmp_path, b"new")
    assert "directory of this name" in (caught.value.hint or "")
    assert list(tmp_path.iterdir()) == []


def _refuse(code: int) -> object:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    return refuse


def test_a_second_holder_is_refused_until_the_first_lets_go(tmp_path: Path) -> None:
    with (
        locked(tmp_path, "training"),
        pytest.raises(CheckpointError, match="another training is writing"),
        locked(tmp_path, "training"),
    ):
        pass
    with locked(tmp_path, "training"):
        pass


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.EOPNOTSUPP, errno.EBADF, errno.EINVAL])
def test_work_goes_on_without_file_locks_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    monkeypatch.setattr(fcntl, "flock", _refuse(code))
    done = False
    with pytest.warns(FleetWarning, match="has no file locks .* no second training"):  # noqa: SIM117
        with locked(tmp_path, "training"):
            done = True
    assert done


@pytest.mark.parametrize("code", [errno.EINVAL, errno.EOPNOTSUPP, errno.EBADF, errno.ENOSYS])
def test_files_are_written_without_sync_and_modes_and_that_is_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    files._say_unsynced.cache_clear()
    for name in ("fsync", "fchmod", "chmod"):
        monkeypatch.setattr(os, name, _refuse(code))
    with pytest.warns(FleetWarning, match="does not sync"):
        write_bytes(tmp_path / "a", b"1")
    write_bytes(tmp_path / "b", b"2", mode=0o600)  # a second warning would be an error
    assert [(tmp_path / name).read_bytes() for name in "ab"] == [b"1", b"2"]
    files._say_unsynced.cache_clear()


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_a_sync_that_fails_because_of_the_data_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    monkeypatch.setattr(os, "fsync", _refuse(code))
    with pytest.raises(StorageError):
        write_bytes(tmp_path / "a", b"1")
    assert list(tmp_path.iterdir()) == []
