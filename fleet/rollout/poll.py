"""Ask the repository, through the TUF client, which bundle is this device's; and fetch it.

Over HTTP, or from a stick; a broken download goes on where it stopped.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import unquote, urlsplit

import urllib3
from tuf.api import exceptions as tuf
from tuf.api.exceptions import DownloadError as TufDownloadError
from tuf.api.exceptions import DownloadHTTPError
from tuf.api.metadata import TargetFile
from tuf.ngclient import FetcherInterface, Updater
from urllib3.exceptions import HTTPError

from fleet import errors
from fleet.rollout.repository import target_path
from fleet.rollout.slots import Slots, disk_error

CHUNK = 2**16
TIMEOUT = 30
"""Seconds without a byte before a link counts as broken."""

SLOWEST = 1000
"""Bytes a second that a link has to bring over each :data:`TIMEOUT`; a slower one is given up."""

REDIRECTS = 5

TRIES = 3
"""Tries in a row that may bring nothing."""


class Fetcher(FetcherInterface):
    """Fetches ``http``, ``https`` and ``file`` addresses.

    A link that breaks is taken up again with a ``Range`` request, as long as each try brings at
    least one byte. Nothing that arrives is trusted until its length and digest are checked.
    """

    def __init__(self) -> None:
        once = urllib3.Retry(connect=0, read=0, redirect=REDIRECTS, status=0, other=0)
        self._pool = urllib3.PoolManager(retries=once, timeout=urllib3.Timeout(TIMEOUT))

    def _fetch(self, url: str) -> Iterator[bytes]:
        return self.fetch_from(url, 0)

    def fetch_from(self, url: str, offset: int) -> Iterator[bytes]:
        """Fetch an address from a byte on.

        Args:
            url: Address.
            offset: First byte wanted.

        Raises:
            tuf.api.exceptions.DownloadError: There is no such file, or the link stays broken, is
                too slow, or leads in a circle.
        """
        parts = urlsplit(url)
        if parts.scheme == "file":
            return _read_file(Path(unquote(parts.path)), offset)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise TufDownloadError(f"{url} is no address that begins with http, https or file")
        return self._read_http(url, offset)

    def _read_http(self, url: str, offset: int) -> Iterator[bytes]:
        idle = 0
        while True:
            before = offset
            try:
                for chunk in self._one_request(url, offset):
                    offset += len(chunk)
                    yield chunk
            except urllib3.exceptions.HTTPError as error:
                idle = 0 if offset > before else idle + 1
                if idle >= TRIES or _leads_in_a_circle(error):
                    raise TufDownloadError(f"{url}: {_reason(error)}") from error
            else:
                return

    def _one_request(self, url: str, offset: int) -> Iterator[bytes]:
        headers = {"Range": f"bytes={offset}-"} if offset else {}
        response = self._pool.request(
            "GET", url, headers=headers, preload_content=False, decode_content=False
        )
        try:
            if response.status == 416:  # nothing is left after what we have
                return
            if response.status >= 400:
                raise DownloadHTTPError(f"{url}: HTTP status {response.status}", response.status)
            skip = offset if response.status == 200 else 0  # a server that knows no ranges
            for chunk in self._paced(response, url):
                if kept := chunk[skip:]:
                    yield kept
                skip = max(0, skip - len(chunk))
        finally:
            response.close()
            response.release_conn()

    def _paced(self, response: urllib3.BaseHTTPResponse, url: str) -> Iterator[bytes]:
        """What arrives, as it arrives; a server that drips for ever is given up."""
        since, got = time.monotonic(), 0
        while chunk := response.read1(CHUNK, decode_content=False):
            yield chunk
            got += len(chunk)
            if (spent := time.monotonic() - since) >= TIMEOUT:
                if got < SLOWEST * spent:
                    raise TufDownloadError(f"{url}: too slow, {got} bytes in {spent:.0f} s")
                since, got = time.monotonic(), 0


def _leads_in_a_circle(error: urllib3.exceptions.HTTPError) -> bool:
    reason = getattr(error, "reason", None)
    return isinstance(reason, urllib3.exceptions.ResponseError)


def _reason(error: urllib3.exceptions.HTTPError) -> str:
    if _leads_in_a_circle(error):
        return f"more than {REDIRECTS} redirections"
    return f"the link broke: {getattr(error, 'reason', None) or error}"


def _read_file(path: Path, offset: int) -> Iterator[bytes]:
    try:
        with path.open("rb") as stream:
            stream.seek(offset)
            while chunk := stream.read(CHUNK):
                yield chunk
    except FileNotFoundError as error:
        # The TUF client takes 404 for "there is no newer root".
        raise DownloadHTTPError(f"{path}: there is no such file", 404) from error
    except OSError as error:
        raise TufDownloadError(f"{path}: {error.strerror or error}") from error


@dataclass(frozen=True)
class Offer:
    """What the repository gives this device.

    Attributes:
        release: Release name.
        counter: Counter of the release.
        target: Length and digest of the bundle.
        url: Where it lies.
    """

    release: str
    counter: int
    target: TargetFile
    url: str

    @property
    def sha256(self) -> str:
        """Digest of the bundle."""
        return str(self.target.hashes["sha256"])


def poll(home: Path, device_id: str, url: str, slots: Slots, clock: datetime) -> Offer:
    """Bring the metadata up to date, and look this device's bundle up.

    The time is the machine's, or the latest that this device has seen if the machine's is earlier:
    a clock that fell back to 1970 does not make expired metadata valid again.

    Args:
        home: The device's directory, with ``trust/root.json`` from its enrolment.
        device_id: Opaque name of the device.
        url: Address of the repository, ``http``, ``https`` or ``file``.
        slots: Where the floor is kept.
        clock: What the machine's clock says, in UTC.

    Raises:
        SignatureError, ExpiredError, RollbackError: What the metadata are guilty of.
        WrongDeviceError: The repository has nothing for this device.
        DownloadError: The repository cannot be reached.
        DiskError: The device cannot write.
    """
    base = url.rstrip("/")
    try:
        updater = _updater(home, f"{base}/metadata/", slots.now(clock))
        updater.refresh()
        target = updater.get_targetinfo(target_path(device_id))
    except OSError as error:
        raise disk_error(home / "tuf", error) from error
    except (tuf.RepositoryError, tuf.DownloadError, HTTPError) as error:
        raise _explain(error, base) from error
    _check_version(updater, slots)
    if clock > slots.now(datetime.fromtimestamp(0, UTC)):
        slots.raise_floor(clock=int(clock.timestamp()))
    if target is None:
        raise errors.WrongDeviceError(
            f"the repository has no bundle for this device (id {device_id})",
            hint="it was revoked, was never published, or this is another fleet's repository",
        )
    custom = target.custom or {}
    digest = target.hashes["sha256"]
    return Offer(
        custom["release"],
        custom["counter"],
        target,
        f"{base}/targets/devices/{device_id}/{digest}.bundle",
    )


def download(offer: Offer, partial: Path) -> bytes:
    """Fetch a bundle, going on with what an earlier try left, and check length and digest.

    Args:
        offer: What to fetch.
        partial: Where unfinished downloads are kept; a finished one is removed by the caller.

    Raises:
        DownloadError: The link broke; what arrived is kept for the next try.
        SignatureError: It is not what was signed; what arrived is thrown away.
        DiskError: The device cannot write.
    """
    fetcher = Fetcher()
    resumed = partial.exists() and partial.stat().st_size > 0
    try:
        return _fetch_and_check(offer, partial, fetcher)
    except errors.SignatureError:
        if not resumed:
            raise
        return _fetch_and_check(offer, partial, fetcher)  # what was left was no part of it


def _fetch_and_check(offer: Offer, partial: Path, fetcher: Fetcher) -> bytes:
    have, length = partial.stat().st_size if partial.exists() else 0, offer.target.length
    try:
        with partial.open("ab") as stream:
            for chunk in fetcher.fetch_from(offer.url, have) if have < length else ():
                have += len(chunk)
                stream.write(chunk[: max(0, length + 1 - have + len(chunk))])
                if have > length:  # endless, or another file
                    break
        data = partial.read_bytes()
    except OSError as error:
        raise disk_error(partial, error) from error
    except tuf.DownloadHTTPError as error:
        raise errors.DownloadError(
            f"the repository signed a bundle that it does not serve: {error}",
            hint="use another mirror, or ask the operator",
        ) from error
    except (tuf.DownloadError, HTTPError) as error:
        raise errors.DownloadError(
            f"cannot fetch the bundle: {error}",
            hint="run the command again: it goes on where the link broke",
        ) from error
    if len(data) < length:
        raise errors.DownloadError(
            f"{offer.url} ended after {len(data)} of {length} bytes",
            hint="run the command again: it goes on where the link broke",
        )
    try:
        offer.target.verify_length_and_hashes(data)
    except tuf.LengthOrHashMismatchError as error:
        partial.unlink()
        raise errors.SignatureError(
            f"{offer.url} is not the bundle that was signed: {error}",
            hint="somebody or something changed it on the way; fetch it from another mirror",
        ) from error
    return data


def _updater(home: Path, metadata_url: str, now: datetime) -> Updater:
    try:
        root = (home / "trust" / "root.json").read_bytes()
    except OSError as error:
        raise errors.RolloutError(
            f"this device trusts no repository yet: {home / 'trust' / 'root.json'} is absent",
            hint=f"copy the operator's root.json to {home / 'trust' / 'root.json'}",
        ) from error
    cache = home / "tuf"
    cache.mkdir(exist_ok=True)
    updater = Updater(str(cache), metadata_url, fetcher=Fetcher(), bootstrap=root)
    # One time for the whole poll; ngclient has no public way to give it one (7.0.1).
    updater._trusted_set.reference_time = now
    return updater


def _check_version(updater: Updater, slots: Slots) -> None:
    """Refuse a repository older than one that was seen, also after the cache was lost."""
    version = updater._trusted_set.timestamp.version
    seen = slots.floor().version
    if version < seen:
        raise errors.RollbackError(
            f"the repository is at version {version}; this device has seen {seen}",
            hint="a mirror serves old metadata; use another, or ask the operator",
        )
    slots.raise_floor(version=version)


def _explain(error: Exception, url: str) -> errors.RolloutError:
    """Name the attack, or the accident, behind an error of the TUF client."""
    text = str(error) or type(error).__name__
    if isinstance(error, tuf.ExpiredMetadataError):
        return errors.ExpiredError(
            f"the metadata of {url} are expired: {text}",
            hint="the operator runs `fleet repo refresh`; or this device's clock runs ahead",
        )
    if isinstance(error, tuf.BadVersionNumberError):
        return errors.RollbackError(
            f"{url} serves older metadata than this device has seen: {text}",
            hint="a mirror serves old metadata; use another, or ask the operator",
        )
    if isinstance(error, tuf.RepositoryError):
        return errors.SignatureError(
            f"the metadata of {url} are not to be trusted: {text}",
            hint="somebody or something changed them; use another mirror, or ask the operator",
        )
    if isinstance(error, tuf.DownloadHTTPError):
        return errors.DownloadError(
            f"there is no repository at {url}: {text}",
            hint="give the address under which the operator's DEPOT/public is served",
        )
    return errors.DownloadError(
        f"cannot reach {url}: {text}", hint="check the address and the network, and try again"
    )
