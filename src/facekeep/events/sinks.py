"""Where events go: what a sink is, and those on this machine: a CSV file, a command."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import signal
import stat
import subprocess
import threading
import time
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

from facekeep._internal.closing import Closing
from facekeep._internal.files import is_full, open_regular, printable, why
from facekeep.errors import InputError, SinkError
from facekeep.events.event import Event

__all__ = [
    "CommandSink",
    "CsvSink",
    "Sink",
    "encode_event",
    "load_secret",
    "require_timeout",
    "split_url",
]

_MAX_SECRET = 4096
_LOCKED = 5.0
"""Seconds to wait for another process that writes to the same file."""
# A cell that begins with one of these is run as a formula by spreadsheets.
_FORMULA = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")


class Sink(Closing):
    """Takes events, one at a time and in order. ``Delivery`` calls it from one thread.

    Attributes:
        name: Tells the sink from others, also after a restart, when it goes on where it was; never
            holds a secret.
        tries: How often an event is offered before it counts as refused; None for as often as it
            takes.
    """

    name: str
    tries: int | None = None

    def open(self) -> None:
        """Connect, unless that is done already; called before each event and now and then.

        Raises:
            SinkError: It cannot be done now.
        """

    @abstractmethod
    def deliver(self, event: Event) -> None:
        """Hand over an event; when this returns the sink has it.

        Raises:
            SinkRefused: It never will.
            SinkError: It may later.
        """

    def close(self) -> None:
        """Let go for good, from any thread; a ``deliver`` that is going on ends soon."""


def encode_event(event: Event) -> str:
    """Return an event as JSON on one line, in ASCII."""
    return json.dumps(event.to_dict(), separators=(",", ":"))


def load_secret(spec: str, what: str) -> str:
    """Return a secret that is kept elsewhere, without white space at its ends.

    Args:
        spec: ``env:NAME`` or ``file:PATH``.
        what: What it is, for messages, which never repeat it nor ``spec``.

    Raises:
        InputError: It is not there, or empty.
    """
    kind, _, value = spec.partition(":")
    if kind not in ("env", "file") or not value:
        raise InputError(f"{what} is named as env:NAME or file:PATH")
    try:
        text = os.environ.get(value, "") if kind == "env" else _read_secret(value)
    except (OSError, ValueError, RuntimeError) as error:
        reason = "it has no home folder" if isinstance(error, RuntimeError) else why(error)
        raise InputError(f"{what} cannot be read from its file: {reason}") from None
    if not text.strip():
        place = "environment variable is not set or" if kind == "env" else "file"
        raise InputError(f"{what} is missing: its {place} is empty")
    return text.strip()


def _read_secret(value: str) -> str:
    with open_regular(Path(value).expanduser()) as file:
        return file.read(_MAX_SECRET).decode()


def split_url(
    url: str, schemes: Mapping[str, int], what: str
) -> tuple[SplitResult, str, int, str | None, str | None]:
    """Take a URL apart: the parts, host, port, user and password, these two without ``%XX``.

    Args:
        url: The URL.
        schemes: The schemes that are allowed, with their usual ports.
        what: What it is, for messages, which never repeat the URL: it may hold a secret.

    Raises:
        InputError: It cannot be used.
    """
    example = f"{min(schemes, key=len)}://host"
    try:
        if not (url.isascii() and url.isprintable()) or " " in url:
            raise ValueError
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise InputError(f"{what} is no URL: give one such as {example}") from None
    if parts.scheme not in schemes or not host:
        raise InputError(f"{what} must begin with {' or '.join(schemes)}:// and name a host")
    user, password = (
        None if part is None else unquote(part) for part in (parts.username, parts.password)
    )
    return parts, host, port or schemes[parts.scheme], user, password


def require_timeout(value: float) -> float:
    """Return a time-out in seconds; InputError unless it is above 0 and an hour at most."""
    if not 0 < value <= 3600:
        raise InputError(f"timeout lies between 0 and 3600 seconds; got {value!r}")
    return value


class CsvSink(Sink):
    """Appends each event as a row to a CSV file, with a header row where the file is new.

    The columns are the keys of the events' JSON. Texts that a spreadsheet would run as a formula
    begin with an apostrophe; control characters are escaped. The file gets the permissions 0600,
    and may be moved away at any time. A row that was cut off, as by a loss of power, is removed
    before the next one.
    """

    def __init__(self, path: str | os.PathLike[str], *, name: str | None = None) -> None:
        """Check the file.

        Args:
            path: The file; one that is there must be a table of events.
            name: The sink's name; ``csv:`` and the path, if None.

        Raises:
            InputError: The file is something else, or cannot be written.
        """
        self._path = Path(os.path.abspath(path))  # noqa: PTH100 - links are not resolved
        self.name = name or f"csv:{printable(self._path)}"
        columns = Event("arrived", "", datetime.now(UTC)).to_dict()
        self._header = _row(list(columns))
        try:
            os.close(self._open_end())
        except (OSError, ValueError) as error:
            raise InputError(f"{printable(self._path)} cannot be written: {why(error)}") from error
        except SinkError as error:
            raise InputError(str(error)) from None

    def deliver(self, event: Event) -> None:
        """Append a row; when this returns it is on the disk."""
        try:
            handle = self._open_end()
            try:
                _append(handle, _row([_cell(value) for value in event.to_dict().values()]))
            finally:
                os.close(handle)
        except OSError as error:
            mend = "no room is left; free some space" if is_full(error) else why(error)
            raise SinkError(f"{printable(self._path)} cannot be written: {mend}") from error

    def _open_end(self) -> int:
        """Open the file at the end of its last whole row."""
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_CLOEXEC", 0)
        # A pipe must not hang, and a link must not lead to a file of somebody else.
        flags |= getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
        handle = os.open(self._path, flags, 0o600)
        try:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise SinkError(f"{printable(self._path)} is no regular file: name another one")
            self._lock(handle)
            self._mend(handle)
        except BaseException:
            os.close(handle)
            raise
        return handle

    def _lock(self, handle: int) -> None:
        """Keep other processes out until the file is closed: a row they write is no half row."""
        try:
            import fcntl
        except ImportError:
            return
        until = time.monotonic() + _LOCKED
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > until:
                    raise SinkError(f"{printable(self._path)} is locked by a process") from None
                time.sleep(0.01)
            else:
                return

    def _mend(self, handle: int) -> None:
        """Write the header, or cut off the half row that a killed process left."""
        begin = os.pread(handle, len(self._header), 0)
        if begin != self._header:
            if begin and not (len(begin) > 5 and self._header.startswith(begin)):
                raise SinkError(
                    f"{printable(self._path)} is no table of events with the columns of this"
                    " version: name another file"
                )
            os.ftruncate(handle, 0)
            _append(handle, self._header)
            return
        size = end = os.fstat(handle).st_size
        while os.pread(handle, 1, end - 1) != b"\n":
            end -= 1
        if end < size:
            os.ftruncate(handle, end)


class CommandSink(Sink):
    """Runs a command for each event.

    The command gets the event as JSON on its standard input, and each fact that applies as an
    environment variable: ``FACEKEEP_EVENT_NAME``, ``FACEKEEP_EVENT_CAMERA`` and so on, after the
    keys of the JSON; its output goes nowhere. It is no line for a shell, so that nothing in a name
    can be run.
    """

    def __init__(
        self,
        command: Sequence[str | os.PathLike[str]],
        *,
        timeout: float = 10.0,
        tries: int = 3,
        name: str | None = None,
    ) -> None:
        """Look for the command.

        Args:
            command: The program and its arguments.
            timeout: Seconds after which it is killed, with all that it started.
            tries: How often it is run for an event before it counts as refused.
            name: The sink's name; ``exec:`` and the program, if None.

        Raises:
            InputError: There is no such program, or a number is out of range.
        """
        if isinstance(command, str) or not command:
            raise InputError("a command is a list: the program and its arguments")
        self._command = [os.fspath(each) for each in command]
        program = shutil.which(self._command[0])
        if program is None:
            raise InputError(f"there is no program {printable(self._command[0])}: check the path")
        self.tries = max(int(tries), 1)
        self.name = name or f"exec:{printable(self._command[0])}"
        self._timeout = require_timeout(timeout)
        self._lock = threading.Lock()
        self._running: subprocess.Popen[bytes] | None = None
        self._closed = False

    def deliver(self, event: Event) -> None:
        """Run the command, which must end with status 0."""
        try:
            with self._lock:
                if self._closed:
                    raise SinkError(f"{self.name} was closed")
                process = self._running = subprocess.Popen(
                    self._command,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    env=os.environ | _variables(event),
                    start_new_session=True,
                )
        except (OSError, ValueError) as error:
            raise SinkError(f"{self.name} cannot be run: {why(error)}") from error
        try:
            process.communicate(encode_event(event).encode(), self._timeout)
        except subprocess.TimeoutExpired:
            raise SinkError(f"{self.name} was killed after {self._timeout:g} seconds") from None
        finally:
            self._end(process)
        if process.returncode:
            raise SinkError(f"{self.name} ended with status {process.returncode}")

    def close(self) -> None:
        """Kill the command that is running, if there is one."""
        with self._lock:
            self._closed = True
            if self._running is not None:
                _kill(self._running)

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        """Leave nothing of a command behind that did not end by itself."""
        with self._lock:
            if process.poll() is None:
                _kill(process)
            self._running = None
        process.wait()
        if process.stdin is not None:
            with suppress(OSError):
                process.stdin.close()


def _kill(process: subprocess.Popen[bytes]) -> None:
    if os.name != "posix":
        process.kill()
        return
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def _variables(event: Event) -> dict[str, str]:
    return {
        f"FACEKEEP_EVENT_{key.upper()}": printable(value)
        for key, value in event.to_dict().items()
        if value is not None
    }


def _append(handle: int, data: bytes) -> None:
    """Append all of ``data``, or nothing."""
    size = os.fstat(handle).st_size
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(handle, view) :]
        os.fsync(handle)
    except BaseException:
        with suppress(OSError):
            os.ftruncate(handle, size)
        raise


def _row(cells: Sequence[object]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue().encode()


def _cell(value: Any) -> object:
    """One cell: yes and no in words, texts that are no formulas."""
    if value is None or isinstance(value, bool):
        return "" if value is None else "yes" if value else "no"
    if isinstance(value, int | float):
        return value
    text = printable(value)
    return f"'{text}" if text.lstrip().startswith(_FORMULA) else text
