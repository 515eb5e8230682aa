"""Reading and writing the files of models, with errors that say what happened in one line."""

from __future__ import annotations

from pathlib import Path

from facekeep._internal.files import is_full, open_regular, path_text, printable, why, write_whole
from facekeep.errors import FacekeepError, InputError, ModelError, ModelNotFound, StorageFull


def read_model(file: str | Path) -> bytes:
    """Read a file that the user names.

    Raises:
        ModelNotFound: There is no such file.
        InputError: It cannot be read.
    """
    shown = printable(path_text(file))
    try:
        with open_regular(file) as stream:
            return stream.read()
    except FileNotFoundError as error:
        raise ModelNotFound(f"no model file at {shown}; check the path") from error
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {shown}: {why(error)}") from error


def keep(path: Path, content: bytes, *, follow: bool = True) -> None:
    """Write a file whole or not at all, and its folder where it is missing.

    Args:
        path: The file.
        content: What to write.
        follow: Where a link has this name, write the file that it leads to, not in its place.

    Raises:
        StorageFull: There is no room.
        ModelError: The folder cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, content, follow=follow)
    except (OSError, ValueError) as error:
        raise cannot_write(path, error) from error


def cannot_write(path: Path, error: OSError | ValueError) -> FacekeepError:
    """Make the error that says why a file could not be written."""
    if is_full(error):
        return StorageFull(f"no room to write {path}; free some space, nothing was half written")
    return ModelError(f"cannot write {path}: {why(error)}")
