"""Files as facekeep touches them: it reads regular ones only, and writes whole ones or none."""

from __future__ import annotations

import errno
import io
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Literal

from facekeep._internal.drafts import open_draft, publish
from facekeep.errors import ConfigError, InputError

__all__ = [
    "find_existing",
    "is_full",
    "keep_permissions",
    "one_line",
    "open_regular",
    "path_text",
    "printable",
    "private_folder",
    "replaceable",
    "replacing",
    "sync_folder",
    "user_folder",
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

    mode = os.stat(path).st_mode  # noqa: PTH116 - the path is not ours to normalize
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, "is a directory")
    if not stat.S_ISREG(mode):
        raise OSError("it is a pipe, socket or device; copy it to a file first")
    return open(path, "rb", opener=without_waiting)


@contextmanager
def replacing(
    target: str | os.PathLike[str],
    *,
    private: bool = False,
    follow: bool = True,
    new: bool = False,
) -> Iterator[BinaryIO]:
    """Give a file that takes the target's place at the end, or on any error vanishes.

    So readers see the old file or the new one, never half; the new one keeps the permissions of the
    old. Until then the file has no name where the system can do without, so that nothing is left of
    it however this process ends. Elsewhere it is hidden beside the target, and the next one who
    writes the target removes what an earlier one left.

    Args:
        target: The file to write. Only a regular file is ever replaced.
        private: Nobody but the owner may read it; a link is never followed.
        follow: Where the target is a link, replace the file it leads to, not the link.
        new: Replace nothing.

    Raises:
        FileExistsError: Something has this name, and the file is to be ``new``.
        OSError: The file cannot be written; nothing is left behind.
        ValueError: No file can have this name.
    """
    final = Path(os.path.realpath(target) if follow and not private else target)
    if new and os.path.lexists(final):
        raise FileExistsError(errno.EEXIST, "exists already", str(final))
    old = replaceable(final)
    with open_draft(final, 0o600 if private else 0o666, new=new) as (stream, draft):
        yield stream
        stream.flush()
        if old is not None and not private:
            keep_permissions(stream.fileno(), old)
        os.fsync(stream.fileno())
        publish(stream, draft, final, new=new)
    sync_folder(final.parent)


def write_whole(
    target: str | os.PathLike[str], data: bytes, *, private: bool = False, follow: bool = True
) -> None:
    """Write a file whole or not at all; see ``replacing``."""
    with replacing(target, private=private, follow=follow) as stream:
        stream.write(data)


def replaceable(final: Path) -> os.stat_result | None:
    """Look at what is to be replaced, if there is something.

    Raises:
        OSError: It is no regular file, nor a link, of which only the name is replaced.
    """
    try:
        old = final.lstat()
    except FileNotFoundError:
        return None
    if stat.S_ISDIR(old.st_mode):
        raise IsADirectoryError(errno.EISDIR, "is a directory")
    if stat.S_ISLNK(old.st_mode):
        return None
    if not stat.S_ISREG(old.st_mode):
        raise OSError("it is a pipe, socket or device; name a file")
    return old


def keep_permissions(handle: int, old: os.stat_result) -> None:
    """Give an open file the owner and permissions of the one that it replaces, where we may."""
    with suppress(OSError):  # only root may give files away, and some file systems know no owners
        os.fchown(handle, old.st_uid, old.st_gid)
    with suppress(OSError):
        os.fchmod(handle, stat.S_IMODE(old.st_mode) & 0o777)


def private_folder(folder: Path) -> None:
    """Make a folder that only its owner may open; one that is there stays as it is.

    Raises:
        OSError: It cannot be made.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
    except FileExistsError as error:
        raise NotADirectoryError(errno.ENOTDIR, "not a directory", str(folder)) from error


def sync_folder(folder: Path) -> None:
    """Have the names in a folder on the disk, where the system can do that."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def user_folder(
    kind: Literal["data", "config", "cache"], mend: str, hint: str | None = None
) -> Path:
    """Return facekeep's folder among those of this user, as the system has them.

    Args:
        kind: What for.
        mend: What to do where the user has none.
        hint: What a program may add to that.

    Raises:
        ConfigError: The user has no home folder, as in a container that does not know the user.
    """
    import platformdirs

    known = {
        "data": platformdirs.user_data_path,
        "config": platformdirs.user_config_path,
        "cache": platformdirs.user_cache_path,
    }
    try:
        folder = known[kind]("facekeep", appauthor=False)
    except (RuntimeError, KeyError):
        folder = Path("~")
    if not folder.is_absolute():  # what older versions give where there is no home
        raise ConfigError(f"this user has no home folder for facekeep's {kind}: {mend}", hint)
    return folder


def find_existing(path: Path) -> Path:
    """Return the path, or the nearest folder above it that exists."""
    return next(place for place in (path, *path.absolute().parents) if place.exists())


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
