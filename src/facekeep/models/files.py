"""Writing into the folders of models, with errors that say what happened in one line."""

from __future__ import annotations

from pathlib import Path

from facekeep._files import is_full, why, write_whole
from facekeep.errors import FacekeepError, ModelError, StorageFull


def keep(path: Path, content: bytes) -> None:
    """Write a file whole or not at all, and its folder where it is missing.

    Raises:
        StorageFull: There is no room.
        ModelError: The folder cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, content)
    except (OSError, ValueError) as error:
        raise cannot_write(path, error) from error


def cannot_write(path: Path, error: OSError | ValueError) -> FacekeepError:
    """Make the error that says why a file could not be written."""
    if is_full(error):
        return StorageFull(f"no room to write {path}; free some space, nothing was half written")
    return ModelError(f"cannot write {path}: {why(error)}")
