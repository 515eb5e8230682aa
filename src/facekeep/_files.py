"""Files as facekeep touches them: it reads regular ones only, and writes whole ones or none."""

from __future__ import annotations

import errno
import io
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from facekeep.errors import InputError

__all__ = [
    "is_full",
    "one_line",
    "open_regular",
    "path_text",
    "printable",
    "replacing",
    "why",
    "write_whole",
]

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_WHY = dict.fromkeys(_FULL, "no room is left; free some space") | {
    errno.ENOENT: "no such file or folder; check the path",
    errno.EACCES: "permission denied; check who may use it",
    errno.EPERM: "not permitted; check who may use it",
    errno.ENOTDIR: "a part of the path is not a folder; check the path",
    errno.EISDIR: "it is a folder; name a file",
    errno.ELOOP: "the links lead in a circle; name the file itself",
    errno.ENAMETOOLONG: "the name is too long; check the path",
    errno.EROFS: "the disk is read-only; choose another folder",
}


def path_text(path: object) -> str:
    """Return a path as text (undecodable bytes as surrogates).

    Raises:
        InputError: It is no path.
    """
    try:
        return os.fsdecode(path)  # type: ignore[arg-type]
    except TypeError as error:
        kind = type(path).__name__
        raise InputError(f"expected a path, got {kind}; give a str or a pathlib.Path") from error


def printable(text: object) -> str:
    """Return a path or message as one printable line, whatever bytes it holds."""
    line = path_text(text) if isinstance(text, os.PathLike) else str(text)
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in line) or "''"


def one_line(error: object) -> str:
    """Return the message of an error, whose lines may be many, as one printable line."""
    return printable(" ".join(str(error).split()) or type(error).__name__)


def open_regular(path: str | os.PathLike[str]) -> io.BufferedReader:
    """Open a regular file for reading; pipes, sockets, devices and folders are refused unopened.

    Raises:
        OSError: It cannot be opened, or it is no regular file.
        ValueError: No file can have this name (a NUL byte, a lone surrogate).
    """

    def without_waiting(file: str, flags: int) -> int:
        return os.open(file, flags | os.O_NONBLOCK)  # a pipe put here after the check must not hang

    mode = os.stat(path).st_mode  # noqa: PTH116 - the path is not ours to normalise
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, "is a directory")
    if not stat.S_ISREG(mode):
        raise OSError("it is a pipe, socket or device; copy it to a file first")
    return open(path, "rb", opener=without_waiting)


@contextmanager
def replacing(target: str | os.PathLike[str], *, private: bool = False) -> Iterator[BinaryIO]:
    """Give a file beside the target that takes its place at the end, or on any error vanishes.

    So readers see the old file or the new one, never half. Where the target is a link, the file it
    leads to is replaced.

    Args:
        target: The file to write.
        private: Nobody but the owner may read it.

    Raises:
        OSError: The file cannot be written; nothing is left behind.
        ValueError: No file can have this name.
    """
    final = Path(os.path.realpath(target))
    part = final.with_name(f".{os.urandom(8).hex()}.part")
    mode = 0o600 if private else 0o666
    try:
        with open(part, "xb", opener=lambda file, flags: os.open(file, flags, mode)) as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        part.replace(final)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def write_whole(target: str | os.PathLike[str], data: bytes) -> None:
    """Write a file whole or not at all; see ``replacing``."""
    with replacing(target) as stream:
        stream.write(data)


def is_full(error: Exception) -> bool:
    """Tell whether a write failed for want of room: disk, quota or file-size limit."""
    return isinstance(error, OSError) and error.errno in _FULL


def why(error: OSError | ValueError) -> str:
    """Say in a few words why the system refused a file, and what to do."""
    if isinstance(error, UnicodeError) or "embedded null" in str(error):
        return "no file can have this name; check the path"
    if not isinstance(error, OSError) or error.errno is None:
        return printable(error)
    return _WHY.get(error.errno) or printable(error.strerror or error).lower()
