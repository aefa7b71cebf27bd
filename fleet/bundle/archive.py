"""The container: an uncompressed USTAR tar with exactly three members, byte for byte predictable.

There is no tar parser here. A reader knows the name of each member beforehand, so the only field
of a header that it takes from the file is the size; it then writes the header that must be there
and compares all 512 bytes. Links, devices, other names, sparse files, pax records and odd owners
all fail that one comparison.

The header is laid out by hand because the bytes of ``tarfile`` depend on the Python version
(3.11.7 leaves the device numbers empty, earlier releases write zeros).
"""

import io
from collections.abc import Mapping, Sequence
from typing import BinaryIO

from fleet.errors import BundleError

VERSION_MEMBER = "version"
MANIFEST_MEMBER = "manifest.json"
MODEL_MEMBER = "model.safetensors"
MEMBERS = (VERSION_MEMBER, MANIFEST_MEMBER, MODEL_MEMBER)

MAX_VERSION_BYTES = 1024
MAX_MANIFEST_BYTES = 1024**2
MAX_MODEL_BYTES = 1024**3

_BLOCK = 512
_END = bytes(2 * _BLOCK)
_SIZE_FIELD = slice(124, 136)
_MAX_TAR_SIZE = 8**11 - 1


def member_header(name: str, size: int) -> bytes:
    """Lay out the one canonical 512-byte header of a member.

    Args:
        name: Member name, ASCII, at most 100 characters.
        size: Bytes of content, at most 8 GiB - 1.
    """
    fields = (
        name.encode("ascii").ljust(100, b"\0"),
        b"0000644\0",  # mode
        b"0000000\0" * 2,  # uid, gid
        b"%011o\0" % size,
        b"00000000000\0",  # mtime
        b" " * 8,  # checksum, counted as spaces
        b"0".ljust(101, b"\0"),  # regular file, no link name
        b"ustar\00000",
        bytes(64),  # no user and group names
        b"0000000\0" * 2,  # device numbers
        bytes(155 + 12),  # no prefix; padding
    )
    header = b"".join(fields)
    checksum = b"%06o\0 " % sum(header)
    return header[:148] + checksum + header[156:]


def pack(members: Mapping[str, bytes], order: Sequence[str] = MEMBERS) -> bytes:
    """Lay out a whole bundle file.

    Args:
        members: Content of each member.
        order: Names of the members, as they lie in the file.

    Raises:
        BundleError: A member is larger than the format can say.
    """
    parts = []
    for name in order:
        data = members[name]
        if len(data) > _MAX_TAR_SIZE:
            raise BundleError(f"{name} has {len(data)} bytes; a bundle holds at most 8 GiB")
        parts += [member_header(name, len(data)), data, bytes(-len(data) % _BLOCK)]
    return b"".join([*parts, _END])


def read_member(stream: BinaryIO, name: str, limit: int) -> bytes:
    """Read the next member, which must be ``name``.

    Args:
        stream: Seekable file at the start of a header.
        name: The only name allowed here.
        limit: Largest size allowed; checked before anything of that size is allocated.

    Raises:
        BundleError: The header is not the canonical one, the size exceeds ``limit`` or the file,
            or the padding is not zero.
    """
    header = stream.read(_BLOCK)
    size = _size(header)
    if size is None or header != member_header(name, size):
        raise BundleError(_explain(header, name))
    if size > limit:
        raise BundleError(
            f"member {name!r} says it has {size} bytes; the limit is {limit}",
            hint="it is damaged or no fleet bundle; a larger model needs max_model_bytes",
        )
    if size > _remaining(stream):
        raise BundleError(f"the file ends inside member {name!r}", hint=_FETCH_AGAIN)
    data = stream.read(size)
    padding = -size % _BLOCK
    if stream.read(padding) != bytes(padding):
        raise BundleError(f"the padding after member {name!r} is damaged", hint=_FETCH_AGAIN)
    return data


def read_end(stream: BinaryIO) -> None:
    """Check that exactly the end marker is left.

    Raises:
        BundleError: Bytes are missing, changed or added.
    """
    if stream.read(len(_END)) != _END:
        raise BundleError(
            "the end marker is damaged or a surplus member follows", hint=_FETCH_AGAIN
        )
    if surplus := _remaining(stream):
        raise BundleError(f"{surplus} surplus bytes after the end", hint=_FETCH_AGAIN)


_FETCH_AGAIN = "copy the bundle again, or make it again with `fleet package`"


def _size(header: bytes) -> int | None:
    digits = header[_SIZE_FIELD][:-1]
    if len(digits) != 11 or not all(48 <= digit < 56 for digit in digits):
        return None
    return int(digits, 8)


def _remaining(stream: BinaryIO) -> int:
    here = stream.tell()
    end = stream.seek(0, io.SEEK_END)
    stream.seek(here)
    return end - here


def _explain(header: bytes, name: str) -> str:
    """Say what is wrong with a header that is not the canonical one of ``name``."""
    if not header:
        return f"the file ends before member {name!r}"
    if header[257:262] != b"ustar":
        return f"no fleet bundle, or a damaged one: no tar header where {name!r} should begin"
    found = header[:100].rstrip(b"\0").decode("ascii", errors="backslashreplace")
    if found != name:
        return f"member {found!r} where {name!r} must be"
    if header[156:157] != b"0":
        return f"member {name!r} is not a regular file"
    return f"the header of member {name!r} is not in canonical form"
