"""Remember the faces cut out of test images, so that a second model is evaluated much sooner.

A folder with a small file for each image, named by the digest of the image's pixels and of how the
face was cut out of it. **It holds pictures of faces**: folder and files are their owner's alone,
and deleting the folder erases it. It carries no names.
"""

from __future__ import annotations

import hashlib
import logging
import os
from pathlib import Path

from facekeep._internal.files import open_regular, path_text, printable, replacing, why
from facekeep.errors import InputError

__all__ = ["CropCache"]

_log = logging.getLogger(__name__)


class CropCache:
    """Crops by the digest of what they were made from. Threads and processes may share one.

    A damaged file counts as none. When the folder cannot be written any more, a warning is logged
    and nothing more is kept: the cache is never in the way.

    Args:
        folder: Where to; created when it is not there.

    Raises:
        InputError: The folder cannot be created or used.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self._folder = Path(path_text(folder))
        self._writes = True
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except (OSError, ValueError) as error:
            where = printable(self._folder)
            raise InputError(f"{where}: crops cannot be kept there: {why(error)}") from error

    def find(self, key: bytes) -> bytes | None:
        """Return what was kept, or None."""
        try:
            with open_regular(self._file(key)) as stream:
                content = stream.read()
        except OSError:
            return None
        packed = content[_DIGEST:]
        return packed if content[:_DIGEST] == _digest(key, packed) else None

    def keep(self, key: bytes, packed: bytes) -> None:
        """Keep a crop; empty bytes say that there is none to be had."""
        if not self._writes:
            return
        try:
            target = self._file(key)
            target.parent.mkdir(mode=0o700, exist_ok=True)
            with replacing(target, private=True) as stream:
                stream.write(_digest(key, packed) + packed)
        except OSError as error:
            self._writes = False
            _log.warning("no more crops are kept in %s: %s", printable(self._folder), why(error))

    def _file(self, key: bytes) -> Path:
        name = key.hex()
        return self._folder / name[:2] / f"{name[2:]}.crop"


_DIGEST = 32


def _digest(key: bytes, packed: bytes) -> bytes:
    """Digest key and content, so that neither a torn file nor one of another name is taken."""
    return hashlib.sha256(key + packed).digest()
