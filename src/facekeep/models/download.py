"""Fetching one file over https: resumed, bounded, and never kept unless its digest is right."""

from __future__ import annotations

import hashlib
import http.client
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from facekeep._internal.files import one_line, printable, replaceable
from facekeep._version import __version__
from facekeep.errors import PullError
from facekeep.models.files import cannot_write

Progress = Callable[[int, int], None]
clock = time.monotonic

TIMEOUT = 30.0  # seconds without a single byte
PAUSES = (0.5, 1.0, 2.0, 4.0)  # seconds before each new attempt that follows one without progress
# Of the seconds of a download, as many at a time must bring this many bytes each, on average.
WINDOW = 300.0
LEAST_RATE = 1000
_CHUNK = 1 << 16
_PAGE_LIMIT = 32 << 20
_PASSING = (408, 425, 429, 500, 502, 503, 504)
_NUMBER = "[0-9]{1,18}"  # of bytes, in a header; longer ones are no sizes
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


class _Pace:
    """Makes sure that a download comes to an end, however little comes at a time."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._begun, self._came = clock(), 0

    def count(self, size: int) -> None:
        """Note that so many bytes came.

        Raises:
            PullError: Too few came for too long.
        """
        self._came += size
        elapsed = clock() - self._begun
        if elapsed < WINDOW:
            return
        if self._came < LEAST_RATE * elapsed:
            raise PullError(
                f"cannot fetch {self._url}: only {self._came:,} bytes came in {elapsed:.0f}"
                " seconds; pull again later, or by a faster connection"
            )
        self._begun, self._came = clock(), 0


class _Interrupted(Exception):
    """The connection failed in a way that may pass."""


class _RangeRefused(_Interrupted):
    """The server does not give the part that is missing; only a fresh start helps."""


def download(
    url: str, target: Path, *, sha256: str, size: int, progress: Progress | None = None
) -> None:
    """Fetch a file; what was fetched before an interruption stays in ``TARGET.part``.

    Args:
        url: An https address; http only of this machine.
        target: Where the file goes. Its folder exists, and nobody else writes to it.
        sha256: The digest it must have.
        size: The size in bytes it must have.
        progress: Called with the bytes fetched so far and ``size``.

    Raises:
        PullError: The server refuses, the connection keeps failing or is too slow, or the content
            is wrong.
        StorageFull: There is no room for it.
        ModelError: The folder cannot be written.
    """
    part = target.with_name(f"{target.name}.part")
    _require_file(part)
    _fetch(url, part, size, progress or (lambda done, total: None))
    if _digest(part) != sha256:
        part.unlink()
        raise PullError(f"{url} gave a file of another SHA-256; it was deleted, nothing was kept")
    try:
        part.replace(target)
    except OSError as error:
        raise cannot_write(target, error) from error


def _require_file(part: Path) -> None:
    """Make sure that nothing but a file is written to: a link of this name goes."""
    try:
        if part.is_symlink():
            part.unlink()
        replaceable(part)
    except OSError as error:
        raise cannot_write(part, error) from error


def fetch_page(url: str, accept: str) -> bytes:
    """Fetch a short document whole.

    Raises:
        PullError: The server refuses, or the connection keeps failing.
    """
    pauses = iter(PAUSES)
    pace = _Pace(url)
    while True:
        content = bytearray()
        try:
            with _reading(url, {"Accept": accept}) as response:
                while chunk := response.read1(_PAGE_LIMIT - len(content)):
                    content += chunk
                    pace.count(len(chunk))
                return bytes(content)
        except _Interrupted as error:
            _pause(pauses, f"cannot fetch {url}: {error}; try again later", error)


def _pause(pauses: Iterator[float], complaint: str, error: _Interrupted) -> None:
    """Wait before the next attempt, or give up."""
    pause = next(pauses, None)
    if pause is None:
        raise PullError(complaint) from error
    time.sleep(pause)


def _fetch(url: str, part: Path, size: int, progress: Progress) -> None:
    """Fetch until the part is whole; only attempts that bring nothing count toward giving up."""
    pauses = iter(PAUSES)
    pace = _Pace(url)
    while (before := _length(part)) != size:
        try:
            _fetch_rest(url, part, before if before < size else 0, size, progress, pace)
        except _Interrupted as error:
            if isinstance(error, _RangeRefused):
                part.unlink(missing_ok=True)
            done = _length(part)
            pace.count(0)
            pauses = iter(PAUSES) if done > before else pauses
            again = f"pull again to go on from {done:,} of {size:,} bytes"
            _pause(pauses, f"cannot fetch {url}: {error}; {again}", error)
    progress(size, size)


def _fetch_rest(
    url: str, part: Path, start: int, size: int, progress: Progress, pace: _Pace
) -> None:
    headers = {"Range": f"bytes={start}-"} if start else {}
    with _reading(url, headers) as response:
        start = _start(response, start)
        _check_size(url, part, _announced(response, start), size)
        try:
            stream = part.open("r+b" if start else "wb")
        except OSError as error:
            raise cannot_write(part, error) from error
        with stream:
            stream.seek(start)
            stream.truncate()
            came = start
            for done in _copy(response, stream, part, start):
                pace.count(done - came)
                came = done
                _check_size(url, part, max(done, size), size)
                progress(done, size)
    if _length(part) < size:
        raise _Interrupted(f"the connection ended after {_length(part):,} of {size:,} bytes")


def _copy(response: Any, stream: IO[bytes], part: Path, done: int) -> Iterator[int]:
    """Write what comes, and say after each piece how much is there."""
    while chunk := response.read1(_CHUNK):
        try:
            stream.write(chunk)
            stream.flush()
        except OSError as error:
            raise cannot_write(part, error) from error
        done += len(chunk)
        yield done


def _start(response: Any, asked: int) -> int:
    """Return the position that the answer begins at; a server may ignore the wish to resume."""
    if response.status != http.HTTPStatus.PARTIAL_CONTENT:
        return 0
    found = re.match(rf"bytes ({_NUMBER})-", response.headers.get("Content-Range", ""))
    if found is None or int(found[1]) != asked:
        raise _RangeRefused("the server gives another part than the one asked for")
    return asked


def _announced(response: Any, start: int) -> int | None:
    length = response.headers.get("Content-Length", "")
    return start + int(length) if re.fullmatch(_NUMBER, length) else None


def _check_size(url: str, part: Path, found: int | None, size: int) -> None:
    if found is not None and found != size:
        part.unlink(missing_ok=True)
        raise PullError(f"{url} gives {found:,} bytes or more where {size:,} are expected")


@contextmanager
def _reading(url: str, headers: dict[str, str]) -> Iterator[Any]:
    """Open an address, and sort the network's faults into passing ones and final ones."""
    check_address(url)
    identity = {"User-Agent": f"facekeep/{__version__}", "Accept-Encoding": "identity"}
    request = urllib.request.Request(url, headers=identity | headers)  # noqa: S310 - checked above
    try:
        with _opened(request) as response:
            yield response
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise _RangeRefused("the server cannot give the missing part") from error
        if error.code in _PASSING:
            raise _Interrupted(f"the server answers {error.code} {error.reason}") from error
        raise PullError(f"cannot fetch {url}: {error.code} {one_line(error.reason)}") from error
    except (OSError, http.client.HTTPException) as error:
        raise _Interrupted(one_line(getattr(error, "reason", error))) from error


def _opened(request: urllib.request.Request) -> Any:
    try:
        return urllib.request.build_opener(_Redirects).open(request, timeout=TIMEOUT)
    except ValueError as error:  # such as a name of a computer that is none, after a redirect
        raise PullError(
            f"cannot fetch {request.full_url}: it is, or leads to, no address that can be used"
            f" ({one_line(error)})"
        ) from error


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follow redirects to safe addresses only."""

    def http_error_302(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any
    ) -> Any:
        """Close the answer, too, where it leads to an address that cannot be parsed."""
        try:
            return super().http_error_302(req, fp, code, msg, headers)
        except ValueError:
            fp.close()
            raise

    http_error_301 = http_error_303 = http_error_307 = http_error_308 = http_error_302

    def redirect_request(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        try:
            check_address(newurl)
        except PullError:
            fp.close()
            raise
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def check_address(url: str) -> None:
    """Refuse addresses that others on the way could read or change, or that messages must not show.

    Raises:
        PullError: It is neither https nor an http address of this machine, or holds a password.
    """
    try:
        parts = urlsplit(url)
        if "@" in parts.netloc:
            host = printable(parts.netloc.rpartition("@")[2])
            raise PullError(f"refused to fetch from {host}: use an address without a password")
        local = parts.scheme == "http" and parts.hostname in _LOOPBACK
        safe = local or (parts.scheme == "https" and bool(parts.hostname))
    except ValueError:
        safe = False
    if not safe or not url.isprintable():
        raise PullError(f"refused to fetch {printable(url)}: only https addresses are safe")


def _length(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
