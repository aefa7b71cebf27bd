"""Hostile tar files: nothing but three plain members in their one canonical form."""

import gzip
import io
import os
import tarfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from fleet.bundle import archive, read_bundle, verify_bundle
from fleet.errors import BundleError
from unit.bundle import bundle_samples as samples

BLOCK = 512


def tar_of(*entries: tuple[tarfile.TarInfo, bytes], form: int = tarfile.USTAR_FORMAT) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as tar:
        for info, data in entries:
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def info(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = kind, link
    return entry


def header_change(at: int, value: bytes) -> Callable[[bytes], bytes]:
    """Change one header field of the first member and mend its checksum."""

    def change(data: bytes) -> bytes:
        header = bytearray(data[:BLOCK])
        header[at : at + len(value)] = value
        header[148:156] = b" " * 8
        header[148:156] = b"%06o\0 " % sum(header)
        return bytes(header) + data[BLOCK:]

    return change


ABUSES: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "parent directory": (header_change(0, b"../x\0\0\0"), "member '../x' where 'version' must be"),
    "absolute path": (header_change(0, b"/etc/xy"), "member '/etc/xy' where 'version' must be"),
    "prefix": (header_change(345, b"../.."), "not in canonical form"),
    "symbolic link": (header_change(156, b"2/etc/passwd"), "not a regular file"),
    "hard link": (header_change(156, b"1manifest.json"), "not a regular file"),
    "character device": (header_change(156, b"3"), "not a regular file"),
    "block device": (header_change(156, b"4"), "not a regular file"),
    "directory": (header_change(156, b"5"), "not a regular file"),
    "pipe": (header_change(156, b"6"), "not a regular file"),
    "contiguous file": (header_change(156, b"7"), "not a regular file"),
    "pax header": (header_change(156, b"x"), "not a regular file"),
    "pax global header": (header_change(156, b"g"), "not a regular file"),
    "gnu long name": (header_change(156, b"L"), "not a regular file"),
    "gnu sparse": (header_change(156, b"S"), "not a regular file"),
    "old regular file": (header_change(156, b"\0"), "not a regular file"),
    "link name on a file": (header_change(157, b"/etc/passwd"), "not in canonical form"),
    "setuid": (header_change(100, b"0004755\0"), "not in canonical form"),
    "owner": (header_change(108, b"0001750\0"), "not in canonical form"),
    "owner name": (header_change(265, b"root"), "not in canonical form"),
    "time": (header_change(136, b"14000000000\0"), "not in canonical form"),
    "device number": (header_change(329, b"0000001\0"), "not in canonical form"),
    "size in base 256": (header_change(124, b"\x80" + b"\0" * 11), "not in canonical form"),
    "negative size": (header_change(124, b"-0000000010\0"), "not in canonical form"),
    "size with spaces": (header_change(124, b"        127\0"), "not in canonical form"),
    "size of 8 GiB": (header_change(124, b"7" * 11 + b"\0"), "the limit is 1024"),
    "size beyond its limit": (
        header_change(124, b"00000002001\0"),
        "1025 bytes; the limit is 1024",
    ),
    "gnu magic": (header_change(257, b"ustar  \0"), "not in canonical form"),
    "terminal codes as a name": (header_change(0, b"\x1b[2J\0\0\0"), r"member '\\x1b\[2J'"),
    "gzip": (lambda data: gzip.compress(data, mtime=0), "no fleet bundle.*no tar header"),
    "a small picture": (lambda _: b"\x89PNG\r\n\x1a\n" + bytes(90), "no fleet bundle"),
    "zip": (lambda data: b"PK\x03\x04" + data, "no tar header"),
    "empty": (lambda _: b"", "the file ends before member 'version'"),
    "only the end marker": (lambda _: bytes(1024), "no tar header"),
    "pickle": (lambda data: b"\x80\x04\x95" + data, "no tar header"),
}


@pytest.mark.parametrize("name", ABUSES)
def test_an_abused_container_is_refused(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    change, message = ABUSES[name]
    path = tmp_path / "in" / "a.fleet"
    path.parent.mkdir()
    path.write_bytes(change(samples.tiny_bundle()))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(BundleError, match=message):
        read_bundle(path)
    found = verify_bundle(path)
    assert not found.ok
    assert [check.ok for check in found.checks] == [False]
    assert "\x1b" not in found.checks[0].detail
    assert list((tmp_path / "here").iterdir()) == [], "nothing is ever extracted"
    assert sorted(tmp_path.iterdir()) == [tmp_path / "here", tmp_path / "in"]


def parts(data: bytes) -> list[bytes]:
    """Header, content and padding of each member, and the end marker."""
    found, position = [], 0
    for _ in archive.MEMBERS:
        size = int(data[position + 124 : position + 135], 8)
        end = position + BLOCK + size + -size % BLOCK
        found.append(data[position:end])
        position = end
    return [*found, data[position:]]


def test_members_may_not_change_places_repeat_or_be_missing(tmp_path: Path) -> None:
    version, manifest, model, end = parts(samples.tiny_bundle())
    orders = [
        [manifest, version, model, end],
        [version, model, manifest, end],
        [version, manifest, end],
        [version, manifest, model, model, end],
        [version, version, manifest, model, end],
        [version, manifest, manifest, model, end],
        [version, manifest, model, end, version, manifest, model, end],
        [version, manifest, model],
        [version, manifest, model, end[:512]],
    ]
    path = tmp_path / "a.fleet"
    for order in orders:
        path.write_bytes(b"".join(order))
        with pytest.raises(BundleError):
            read_bundle(path)
    path.write_bytes(b"".join([version, manifest, model, end]))
    assert read_bundle(path)


def test_a_fourth_member_is_refused(tmp_path: Path) -> None:
    version, manifest, model, end = parts(samples.tiny_bundle())
    fourth = archive.member_header("run.sh", 5) + b"#!/bi".ljust(BLOCK, b"\0")
    path = tmp_path / "a.fleet"
    for order in ([fourth, version, manifest, model, end], [version, manifest, model, fourth, end]):
        path.write_bytes(b"".join(order))
        with pytest.raises(BundleError, match=r"run\.sh|surplus member"):
            read_bundle(path)


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_a_repacked_bundle_is_refused(form: int, tmp_path: Path) -> None:
    with tarfile.open(fileobj=io.BytesIO(samples.tiny_bundle())) as tar:
        entries = [(info(e.name), tar.extractfile(e).read()) for e in tar]  # type: ignore[union-attr]
    path = tmp_path / "a.fleet"
    path.write_bytes(tar_of(*entries, form=form))
    with pytest.raises(BundleError, match=r"canonical form|surplus"):
        read_bundle(path)


def test_pax_records_in_front_are_refused(tmp_path: Path) -> None:
    entry = info("version")
    entry.pax_headers = {"path": "../../escape", "size": "99999999999"}
    path = tmp_path / "a.fleet"
    path.write_bytes(tar_of((entry, b"{}"), form=tarfile.PAX_FORMAT))
    with pytest.raises(BundleError, match=r"where 'version' must be|not a regular file"):
        read_bundle(path)


def test_a_hundred_thousand_members_end_at_the_first_surplus_one(tmp_path: Path) -> None:
    version, manifest, model, end = parts(samples.tiny_bundle())
    many = archive.member_header("x", 0) * 100_000
    path = tmp_path / "a.fleet"
    path.write_bytes(b"".join([version, manifest, model, many, end]))
    with pytest.raises(BundleError, match="surplus member"):
        read_bundle(path)


def test_claimed_sizes_are_never_allocated(tmp_path: Path) -> None:
    """A model that claims 900 MiB in a file of 5 KB, and one that really is a sparse 20 GiB."""
    version, manifest, _, end = parts(samples.tiny_bundle())
    claim = archive.member_header("model.safetensors", 900 * 1024**2)
    huge = archive.member_header("model.safetensors", 8 * 1024**3 - 1)
    path = tmp_path / "a.fleet"
    path.write_bytes(version + manifest + claim + end)
    tracemalloc.start()
    with pytest.raises(BundleError, match=r"the file ends inside member 'model\.safetensors'"):
        read_bundle(path)
    path.write_bytes(version + manifest + huge)
    os.truncate(path, 20 * 1024**3)
    with pytest.raises(BundleError, match="the limit is 1073741824"):
        read_bundle(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    path.unlink()
    assert peak < 4 * 2**20, f"{peak} bytes at the peak"


@pytest.mark.parametrize("device", ["/dev/zero", "/dev/full"])
def test_devices_are_not_read(device: str) -> None:
    if not Path(device).exists():
        pytest.skip(f"no {device} on this machine")
    with pytest.raises(BundleError, match="is not a file"):
        verify_bundle(Path(device))
