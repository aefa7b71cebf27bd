"""Bytes from a repository: over HTTP, or from a stick; a broken link goes on where it broke."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import urllib3
from tuf.api.exceptions import DownloadError as TufDownloadError
from tuf.api.exceptions import DownloadHTTPError
from tuf.ngclient import FetcherInterface

CHUNK = 2**16
TIMEOUT = 30
"""Seconds without a byte before a link counts as broken."""


class Fetcher(FetcherInterface):
    """Fetches ``http``, ``https`` and ``file`` addresses.

    A link that breaks is taken up again with a ``Range`` request, as long as each try brings at
    least one byte. What arrives is believed by nobody until its length and digest are checked.

    Args:
        tries: Tries in a row that may bring nothing.
        timeout: Seconds without a byte before a link counts as broken.
    """

    def __init__(self, tries: int = 3, timeout: float = TIMEOUT) -> None:
        self._pool = urllib3.PoolManager(retries=False, timeout=urllib3.Timeout(timeout))
        self._tries = tries

    def _fetch(self, url: str) -> Iterator[bytes]:
        return self.fetch_from(url, 0)

    def fetch_from(self, url: str, offset: int) -> Iterator[bytes]:
        """Fetch an address from a byte on.

        Args:
            url: Address.
            offset: First byte wanted.

        Raises:
            tuf.api.exceptions.DownloadError: There is no such file, or the link stays broken.
        """
        parts = urlsplit(url)
        if parts.scheme == "file":
            return _read_file(Path(unquote(parts.path)), offset)
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
                if idle >= self._tries:
                    raise TufDownloadError(f"{url}: the link broke: {error}") from error
            else:
                return

    def _one_request(self, url: str, offset: int) -> Iterator[bytes]:
        headers = {"Range": f"bytes={offset}-"} if offset else {}
        response = self._pool.request(
            "GET", url, headers=headers, preload_content=False, redirect=5, decode_content=False
        )
        try:
            if response.status == 416:  # nothing is left after what we have
                return
            if response.status >= 400:
                raise DownloadHTTPError(f"{url}: HTTP status {response.status}", response.status)
            skip = offset if response.status == 200 else 0  # a server that knows no ranges
            for chunk in response.stream(CHUNK, decode_content=False):
                if kept := chunk[skip:]:
                    yield kept
                skip = max(0, skip - len(chunk))
        finally:
            response.close()
            response.release_conn()


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
