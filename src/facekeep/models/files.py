"""Writing files so that no reader ever sees half of one."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path

from facekeep.errors import FacekeepError, ModelError, StorageFull

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def write_whole(path: Path, content: bytes) -> None:
    """Write a file whole or not at all, whoever else writes it at the same time.

    Raises:
        StorageFull: There is no room.
        ModelError: The folder cannot be written.
    """
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(
            dir=path.parent, prefix=f".{path.name}.", delete=False
        ) as stream:
            temporary = Path(stream.name)
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except BaseException as error:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise cannot_write(path, error) from error
        raise


def cannot_write(path: Path, error: OSError) -> FacekeepError:
    """Say in one line why a file could not be written."""
    if error.errno in _FULL:
        return StorageFull(f"no room to write {path}; free some space, nothing was half written")
    return ModelError(f"cannot write {path}: {reason(error)}")


def reason(error: OSError) -> str:
    """Return the operating system's words for an error, without its number and path."""
    return os.strerror(error.errno) if error.errno else " ".join(str(error).split())
