"""Remember the faces of photos, so that a folder seen before costs seconds.

The cache is one SQLite file that only its owner may read. **It holds biometric templates**: for
each photo its faces, as ``FaceEngine.analyze`` found them (boxes, landmarks, quality, embeddings),
or why it could not be read; no pixels, no names and no paths. With a key the faces are encrypted as
those of a gallery are. A photo that no run has met for 90 days is forgotten, and ``clear_cache``
forgets everything.

A photo is known by the SHA-256 of its bytes, so that moved and copied files are recognized and
changed ones are looked at anew; a second table leads from a file's path, size and times to that
digest, so that files which were not touched are not even read. What was found is kept for one
fingerprint (``FaceEngine.fingerprint``): other models or settings begin anew.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import importlib.metadata
import logging
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from facekeep._internal.closing import Closing
from facekeep._internal.files import why
from facekeep._internal.fork import Forking, keep_forever, watch
from facekeep.apps.photo_cache_file import (
    UnusableCacheError,
    cache_path,
    clear_cache,
    is_broken,
    open_cache_file,
    patiently,
    transaction,
)
from facekeep.errors import ConfigError, InputError, TemplateTampered
from facekeep.gallery.keys import Key
from facekeep.types import Face, Quality

__all__ = ["PhotoCache", "pack_faces", "stamp_of", "unpack_faces"]

_log = logging.getLogger(__name__)

_KEPT_DAYS = 90
_FACTS = len(dataclasses.fields(Quality))
_FIXED = 4 + 10 + 1 + _FACTS  # numbers of a face before its embedding
_HEADER = 4  # bytes of the number of faces
_PATIENCE = 2.0  # seconds that a fork waits for other threads to end what they do

_T = TypeVar("_T")


class PhotoCache(Closing, Forking):
    """The faces of photos that were looked at before. Threads and processes may share one.

    The cache is never in the way: every fault of the file ends in a warning and a cache that knows
    nothing, and a damaged file is discarded.

    Args:
        path: The file; ``cache_path()`` when None. It is created when it is not there.
        key: Encrypts the faces. A cache without encryption is discarded when a key is given; one
            that is encrypted with another key is done without.
    """

    def __init__(self, path: Path | None = None, *, key: Key | None = None) -> None:
        self._key = key
        self._lock = threading.Lock()
        self._met: set[tuple[str, str]] = set()
        self._connection: sqlite3.Connection | None = None
        self._reopens = False
        try:
            self.path = path or cache_path()
        except ConfigError as error:
            _log.warning("going without a cache of photos: %s", error)
        else:
            self._open()
        self._run(_forget_unused)
        watch(self)

    def before_fork(self) -> None:
        """Close the file, which is opened again when it is needed next: SQLite must not be carried.

        One that another thread keeps is left to the parent, and the child goes without.
        """
        if self._lock.acquire(timeout=_PATIENCE):
            if self._connection is not None:
                self._connection.close()
                self._connection, self._reopens = None, True
            self._lock.release()

    def after_fork(self, *, child: bool) -> None:
        """Leave alone, in the child, a file that could not be closed before."""
        if child:
            self._lock = threading.Lock()
            keep_forever(self._connection)
            self._connection = None

    def digest_of(self, stamp: bytes) -> str | None:
        """Return the SHA-256 of the file with this stamp, as hex, if it was met before."""
        rows = self._execute("SELECT digest FROM files WHERE stamp = ?", (stamp,))
        return rows[0][0] if rows else None

    def find(self, digest: str, recipe: str) -> list[Face] | str | None:
        """Return the faces of a photo, or why it cannot be read; None when it is not known."""
        rows = self._execute(
            "SELECT faces, CASE WHEN readers = ? THEN reason END FROM photos"
            " WHERE digest = ? AND recipe = ?",
            (_readers(), digest, recipe),
        )
        if not rows:
            return None
        sealed, reason = rows[0]
        known = reason if sealed is None else self._unseal(sealed, digest, recipe)
        if known is not None:
            self._met.add((digest, recipe))
        return known

    def keep(self, digest: str, recipe: str, found: Sequence[Face] | str) -> None:
        """Remember the faces of a photo, or why it cannot be read, at once and for good."""
        if self._connection is None and not self._reopens:
            return
        faces = reason = readers = None
        if isinstance(found, str):
            reason, readers = found, _readers()
        else:
            faces = self._cipher.seal(pack_faces(found), f"{digest} {recipe}")
        self._execute(
            "INSERT OR REPLACE INTO photos VALUES (?, ?, ?, ?, ?, ?)",
            (digest, recipe, faces, reason, readers, _today()),
        )

    def link(self, stamp: bytes, digest: str) -> None:
        """Remember that the file with this stamp has this digest."""
        self._execute("INSERT OR REPLACE INTO files VALUES (?, ?)", (stamp, digest))

    def close(self) -> None:
        """Note which photos were met, and let go of the file; doing it twice does no harm."""
        self._run(lambda connection: _note_used(connection, self._met))
        self._met.clear()
        with self._lock:
            if self._connection is not None:
                self._connection.close()
            self._connection, self._reopens = None, False

    def _open(self) -> None:
        """Open the file; where that fails, do without the cache from now on."""
        self._reopens = False
        try:
            self._connection, self._cipher = open_cache_file(self.path, self._key)
        except (sqlite3.Error, OSError, ValueError, UnusableCacheError) as error:
            self._give_up(error)

    def _unseal(self, sealed: bytes, digest: str, recipe: str) -> list[Face] | None:
        """Return faces as they were kept; None when somebody changed them."""
        try:
            return unpack_faces(self._cipher.unseal(sealed, f"{digest} {recipe}"))
        except TemplateTampered:
            return None

    def _execute(self, statement: str, values: Sequence[object]) -> list[Any]:
        return self._run(lambda each: each.execute(statement, values).fetchall()) or []

    def _run(self, action: Callable[[sqlite3.Connection], _T]) -> _T | None:
        """Do something with the file; where that fails, do without the cache from now on."""
        with self._lock:
            if self._reopens:
                self._open()
            connection = self._connection
            if connection is None:
                return None
            try:
                return patiently(lambda: action(connection))
            except sqlite3.Error as error:
                self._give_up(error)
                return None

    def _give_up(self, error: Exception) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = None
        if is_broken(error):
            _log.warning("%s was damaged and was discarded; this run goes without it", self.path)
            with contextlib.suppress(OSError, InputError):
                clear_cache(self.path)
            return
        hint = {"hint": getattr(error, "hint", None)}
        reason = why(error) if isinstance(error, OSError | ValueError) else error
        _log.warning("going without the cache of photos %s: %s", self.path, reason, extra=hint)


def stamp_of(path: str | os.PathLike[str]) -> bytes:
    """Return a digest of a file's path, size, times and number, which changes when the file does.

    Raises:
        OSError: There is no such file.
        ValueError: No file can have this name.
    """
    state = os.stat(path)  # noqa: PTH116 - the path is not ours to normalize
    facts = (state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino, state.st_dev)
    whole = os.path.abspath(path)  # noqa: PTH100 - in bytes, whatever the name holds
    return hashlib.sha256(os.fsencode(whole) + repr(facts).encode()).digest()


def _forget_unused(connection: sqlite3.Connection) -> None:
    oldest = _today() - _KEPT_DAYS
    if connection.execute("DELETE FROM photos WHERE used < ?", (oldest,)).rowcount:
        connection.execute("DELETE FROM files WHERE digest NOT IN (SELECT digest FROM photos)")


def _note_used(connection: sqlite3.Connection, met: set[tuple[str, str]]) -> None:
    today = _today()
    statement = "UPDATE photos SET used = ? WHERE digest = ? AND recipe = ? AND used < ?"
    with transaction(connection):
        connection.executemany(statement, [(today, *key, today) for key in met])


def _today() -> int:
    return int(time.time() // 86400)


@functools.cache
def _readers() -> str:
    """Name the versions of what reads pictures: what one cannot read another may."""
    versions = []
    for name in ("pillow", "pillow-heif"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions.append(f"{name} {importlib.metadata.version(name)}")
    return ", ".join(versions)


def pack_faces(faces: Sequence[Face]) -> bytes:
    """Write faces with quality and embedding as their number and rows of little-endian float32.

    A row holds box, landmarks, score, the facts of ``Quality`` in their order, and the embedding.
    """
    header = len(faces).to_bytes(_HEADER, "little")
    return header + b"".join(_to_row(face).astype("<f4").tobytes() for face in faces)


def unpack_faces(data: bytes) -> list[Face] | None:
    """Read what ``pack_faces`` wrote; None when it is something else, or of another version."""
    count = int.from_bytes(data[:_HEADER], "little")
    numbers = np.frombuffer(data, "<f4", offset=_HEADER) if len(data) % 4 == 0 < len(data) else None
    if numbers is None or not np.isfinite(numbers).all():
        return None
    if count == 0:
        return None if len(numbers) else []
    if len(numbers) % count or len(numbers) // count <= _FIXED:
        return None
    return [_to_face(row) for row in numbers.reshape(count, -1).astype(np.float32)]


def _to_row(face: Face) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    assert face.quality is not None  # noqa: S101 - analyzed faces have both
    assert face.embedding is not None  # noqa: S101
    facts = dataclasses.astuple(face.quality)
    parts = (face.bbox, face.landmarks.ravel(), [face.score], facts, face.embedding)
    return np.concatenate(parts, dtype=np.float32)


def _to_face(row: np.ndarray[tuple[int], np.dtype[np.float32]]) -> Face:
    return Face(
        bbox=row[:4],
        landmarks=row[4:14].reshape(5, 2),
        score=float(row[14]),
        quality=Quality(*row[15:_FIXED].tolist()),
        embedding=row[_FIXED:],
    )
