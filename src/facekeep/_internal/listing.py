"""Folders of pictures: what is in them, whatever of it can be read."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import stat
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from facekeep._internal.files import path_text, printable, why
from facekeep.errors import ImageError

__all__ = ["Skip", "is_picture", "list_files", "list_images", "list_people", "walk_files"]

_log = logging.getLogger(__name__)

_JPEG = (".jpg", ".jpeg", ".jpe", ".jfif")
_OTHERS = (".png", ".webp", ".bmp", ".dib", ".tif", ".tiff", ".gif", ".heic", ".heif", ".avif")
_EXTENSIONS = frozenset((*_JPEG, *_OTHERS))
_GONE = (errno.ENOENT, errno.ENOTDIR)  # it vanished, or became a file, since its name was read
_NO_FILE = (*_GONE, errno.ELOOP)
_SHOWN = 3  # folders that a warning names

Skip = Callable[[Path, str], object]
"""Called with a folder that is left out, and why it cannot be read."""


def list_images(
    folder: str | os.PathLike[str], *, recursive: bool = True, on_skip: Skip | None = None
) -> list[Path]:
    """List the picture files of a folder, by their extension, sorted by path.

    Hidden files and folders (names that begin with a dot) are left out, links to folders are not
    followed, and links to files count as files. A folder below that cannot be read is left out.

    Args:
        folder: The folder.
        recursive: Look into the folders below, too.
        on_skip: Called for each folder that is left out; None to log a warning that counts them.

    Raises:
        ImageError: The folder itself does not exist or cannot be read.
    """
    return list_files(folder, is_picture, recursive=recursive, on_skip=on_skip)


def list_people(
    folder: str | os.PathLike[str], *, on_skip: Skip | None = None
) -> Iterator[tuple[str, list[Path]]]:
    """Yield the name and the pictures of each person's folder in a folder, sorted by name.

    Links to folders count as folders, unless they lead back to the folder itself. The rest is as
    for ``list_images``.

    Raises:
        ImageError: The folder itself does not exist or cannot be read.
    """
    top = Path(path_text(folder))
    with _skipping(top, on_skip) as skip:
        try:
            names = sorted(each.name for each in top.iterdir() if each.name[0] != ".")
            whole = os.path.realpath(top)
        except (OSError, ValueError) as error:
            raise _unlisted(top, error) from error
        for name in names:
            person = top / name
            if Path(whole).is_relative_to(os.path.realpath(person)):
                continue
            try:
                yield name, sorted(walk_files(os.fspath(person), is_picture, on_skip=skip))
            except ImageError as error:
                cause = error.__cause__
                if isinstance(cause, OSError) and cause.errno not in _GONE:
                    skip(person, why(cause))


def list_files(
    folder: str | os.PathLike[str],
    wanted: Callable[[str], bool],
    *,
    recursive: bool = True,
    on_skip: Skip | None = None,
) -> list[Path]:
    """List the files of a folder whose names are wanted; the rest is as for ``list_images``."""
    with _skipping(folder, on_skip) as skip:
        return sorted(walk_files(path_text(folder), wanted, recursive=recursive, on_skip=skip))


def walk_files(
    top: str,
    wanted: Callable[[str], bool],
    *,
    recursive: bool = True,
    leave_out: Collection[str] = (),
    on_skip: Skip,
) -> Iterator[Path]:
    """Yield the files of a folder whose names are wanted, folder by folder, each sorted by name.

    Memory does not grow with the number of files; the rest is as for ``list_images``.

    Args:
        top: The folder.
        wanted: Tells by its name whether a file is wanted.
        recursive: Look into the folders below, too.
        leave_out: Real paths of folders below that are not looked into.
        on_skip: Called for each folder that cannot be read.

    Raises:
        ImageError: The folder itself does not exist or cannot be read.
    """

    def failed(error: OSError) -> None:
        if error.filename == top:
            raise _unlisted(top, error) from error
        if error.errno not in _GONE:  # one that vanished meanwhile is no fault
            on_skip(Path(os.fsdecode(error.filename)), why(error))

    try:
        for base, folders, files in os.walk(top, onerror=failed):
            folders[:] = sorted(
                each
                for each in folders
                if recursive
                and not each.startswith(".")
                and not (leave_out and os.path.realpath(Path(base, each)) in leave_out)
            )
            paths = (Path(base, each) for each in sorted(files) if wanted(each))
            yield from (path for path in paths if _is_file(path))
    except ValueError as error:
        raise _unlisted(top, error) from error


def _is_file(path: Path) -> bool:
    """Tell whether a name in a folder is that of a file, or of what only reading tells about."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except OSError as error:
        return error.errno not in _NO_FILE


def _unlisted(top: str | Path, error: OSError | ValueError) -> ImageError:
    where = printable(top)
    if isinstance(error, NotADirectoryError) and Path(top).is_file():
        return ImageError(f"{where}: is a file; name a folder")
    return ImageError(f"{where}: the folder cannot be read: {why(error)}")


@contextlib.contextmanager
def _skipping(folder: object, on_skip: Skip | None) -> Iterator[Skip]:
    """Give what is called for folders that are left out; warn of them where nobody else asks."""
    skipped: list[str] = []
    yield on_skip or (lambda path, reason: skipped.append(f"{printable(path)}: {reason}"))
    if skipped:
        shown = [*skipped[:_SHOWN], *["..."][: len(skipped) - _SHOWN]]
        folders = "1 folder" if len(skipped) == 1 else f"{len(skipped)} folders"
        _log.warning(
            "left out %s below %s that cannot be read: %s",
            folders,
            printable(folder),
            "; ".join(shown),
        )


def is_picture(path: str | os.PathLike[str]) -> bool:
    """Tell by its name alone whether a file is a picture; hidden files are not."""
    name = Path(path).name
    return not name.startswith(".") and Path(name).suffix.lower() in _EXTENSIONS
