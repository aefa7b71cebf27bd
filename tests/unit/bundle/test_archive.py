import io
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from fleet.bundle import archive
from fleet.errors import BundleError
from unit.bundle import bundle_samples as samples

MEMBERS = {"version": b"v", "manifest.json": b"m" * 513, "model.safetensors": b"x" * 1024}


def test_the_container_is_an_ordinary_tar_with_three_plain_members() -> None:
    with tarfile.open(fileobj=io.BytesIO(archive.pack(MEMBERS))) as tar:
        entries = tar.getmembers()
        contents = {entry.name: tar.extractfile(entry).read() for entry in entries}  # type: ignore[union-attr]
    assert [entry.name for entry in entries] == list(archive.MEMBERS)
    assert contents == MEMBERS
    for entry in entries:
        assert entry.isreg()
        assert (entry.mode, entry.uid, entry.gid, entry.mtime) == (0o644, 0, 0, 0)
        assert (entry.uname, entry.gname, entry.linkname) == ("", "", "")


@pytest.mark.skipif(shutil.which("tar") is None, reason="no tar command on this machine")
def test_the_tar_command_lists_and_reads_a_bundle(tmp_path: Path) -> None:
    path = tmp_path / "a.fleet"
    path.write_bytes(samples.tiny_bundle())
    listed = subprocess.run(["tar", "-tf", path], capture_output=True, text=True, check=True)
    assert listed.stdout.split() == list(archive.MEMBERS)
    assert listed.stderr == ""


@pytest.fixture
def gnu_tar() -> str:
    found = shutil.which("tar")
    if found is None:
        pytest.skip("no tar command on this machine")
    said = subprocess.run([found, "--version"], capture_output=True, text=True, check=False)
    if "GNU tar" not in said.stdout:
        pytest.skip("the tar command is not GNU tar")
    return found


def test_gnu_tar_writes_the_same_bytes(tmp_path: Path, gnu_tar: str) -> None:
    for name, data in MEMBERS.items():
        (tmp_path / name).write_bytes(data)
    flags = [
        "--format=ustar",
        "--mtime=@0",
        "--owner=0",
        "--group=0",
        "--numeric-owner",
        "--mode=644",
        "-b1",
    ]
    command = [gnu_tar, *flags, "-cf", "-", *MEMBERS]
    made = subprocess.run(command, cwd=tmp_path, capture_output=True, check=True).stdout
    assert made == archive.pack(MEMBERS)


def test_members_come_back_in_order_and_the_end_is_checked() -> None:
    stream = io.BytesIO(archive.pack(MEMBERS))
    for name, data in MEMBERS.items():
        assert archive.read_member(stream, name, 2048) == data
    archive.read_end(stream)


@pytest.mark.parametrize("size", [0, 1, 511, 512, 513])
def test_members_of_every_padding_come_back(size: int) -> None:
    members = dict.fromkeys(archive.MEMBERS, b"\xff" * size)
    data = archive.pack(members)
    assert len(data) % 512 == 0
    stream = io.BytesIO(data)
    for name in archive.MEMBERS:
        assert archive.read_member(stream, name, size) == members[name]
    archive.read_end(stream)


def test_a_member_at_the_limit_is_read_and_one_byte_more_is_refused() -> None:
    data = archive.pack(MEMBERS)
    assert archive.read_member(io.BytesIO(data), "version", 1) == b"v"
    with pytest.raises(BundleError, match="says it has 1 bytes; the limit is 0"):
        archive.read_member(io.BytesIO(data), "version", 0)


def test_what_the_size_field_cannot_say_is_not_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "_MAX_TAR_SIZE", 1000)
    with pytest.raises(BundleError, match=r"model\.safetensors has 1024 bytes"):
        archive.pack(MEMBERS)
