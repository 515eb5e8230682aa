"""Find the faces of many photos: those seen before come from the cache, the others are analyzed."""

from __future__ import annotations

import dataclasses
import logging
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facekeep._internal.files import printable, why
from facekeep._internal.memory import can_allocate
from facekeep.apps.photo_cache import PhotoCache, stamp_of
from facekeep.engine import FaceEngine
from facekeep.errors import ImageError
from facekeep.pipeline.image import content_digest, count_pixels, list_images, load_image
from facekeep.types import Face

__all__ = ["Photo", "Photos", "Progress", "Unreadable", "read_folder", "read_photos"]

_log = logging.getLogger(__name__)

# Photos are read and decoded so far ahead of the networks, by so many threads: enough to keep the
# networks busy, few enough to bound memory where photos are large.
_AHEAD = 3
# Bytes for each pixel that any decoder takes. Where there are fewer, one may have failed for it.
_DECODING = 16
_THREADS = 2
# Photos of more pixels are decoded when it is their turn, one at a time.
_LARGE = 25_000_000

Progress = Callable[[int, int], object]
"""Called with the number of photos done, at first 0, and of all photos."""


@dataclass(frozen=True, slots=True)
class Photo:
    """A photo and its faces, the largest first, each with quality and embedding."""

    path: Path
    faces: tuple[Face, ...]


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A photo or folder that cannot be read, and why."""

    path: Path
    reason: str


@dataclass(frozen=True, slots=True)
class Photos:
    """What was found in many photos, in their order.

    Attributes:
        photos: Those that could be read.
        unreadable: The others. Photos that vanished meanwhile are in neither.
        analyzed: How many had to be looked at; the others were known.
        skipped: Folders that cannot be read; nothing is known of what is in them.
    """

    photos: tuple[Photo, ...]
    unreadable: tuple[Unreadable, ...]
    analyzed: int
    skipped: tuple[Unreadable, ...] = ()

    @property
    def faces(self) -> int:
        """The number of all faces."""
        return sum(len(photo.faces) for photo in self.photos)

    @property
    def unusable(self) -> int:
        """The number of faces too poor to be recognized; see ``Face.reasons``."""
        return sum(not face.usable for photo in self.photos for face in photo.faces)

    def to_dict(self) -> dict[str, Any]:
        """Return the counts, and what could not be read, for JSON."""
        return {
            "photos": len(self.photos),
            "faces": self.faces,
            "unusable": self.unusable,
            "analysed": self.analyzed,
            "unreadable": [{"image": str(e.path), "reason": e.reason} for e in self.unreadable],
            "skipped": [{"folder": str(e.path), "reason": e.reason} for e in self.skipped],
        }


@dataclass(slots=True)
class _Task:
    """A photo on its way: what a thread found out, or the pixels to look at."""

    path: Path
    digest: str = ""
    known: list[Face] | str | None = None
    image: NDArray[np.uint8] | None = field(default=None, repr=False)
    vanished: bool = False
    late: bool = False


def read_folder(
    engine: FaceEngine,
    folder: str | os.PathLike[str],
    *,
    cache: PhotoCache | None = None,
    progress: Progress | None = None,
) -> Photos:
    """Find the faces of all photos of a folder and those below it; see ``read_photos``.

    Raises:
        ImageError: The folder cannot be read, or holds no pictures.
    """
    skipped: list[Unreadable] = []

    def skip(path: Path, reason: str) -> None:
        skipped.append(Unreadable(path, f"the folder cannot be read: {reason}"))

    paths = list_images(folder, on_skip=skip)
    if not paths:
        where = f"{printable(folder)}: the folder holds no pictures"
        raise ImageError(f"{where} that can be read; name another one")
    photos = read_photos(engine, paths, cache=cache, progress=progress)
    return dataclasses.replace(photos, skipped=tuple(skipped))


def read_photos(
    engine: FaceEngine,
    paths: Iterable[Path],
    *,
    cache: PhotoCache | None = None,
    progress: Progress | None = None,
) -> Photos:
    """Find the faces of photos; one that cannot be read does not keep the others from it.

    What was found in a photo is in the cache before the next is looked at, so that a run that was
    interrupted, even killed, goes on where it stopped.

    Args:
        engine: Analyses what the cache does not know; its networks are loaded only then.
        paths: The photos.
        cache: Remembers faces between runs; None for not at all.
        progress: Told after each photo.
    """
    return _Reader(engine, list(paths), cache, progress).read()


class _Reader:
    def __init__(
        self,
        engine: FaceEngine,
        paths: list[Path],
        cache: PhotoCache | None,
        progress: Progress | None,
    ) -> None:
        self._engine = engine
        self._recipe = engine.fingerprint
        self._paths = paths
        self._cache = cache
        self._progress = progress
        self._done = 0
        self._analyzed = 0
        self._found: dict[Path, list[Face] | str] = {}

    def read(self) -> Photos:
        """Read all photos."""
        self._report()
        pool = ThreadPoolExecutor(_THREADS, "facekeep-photos")
        try:
            self._analyze(pool)
        finally:
            pool.shutdown(cancel_futures=True)
        found = [(path, self._found[path]) for path in self._paths if path in self._found]
        return Photos(
            tuple(Photo(path, tuple(each)) for path, each in found if not isinstance(each, str)),
            tuple(Unreadable(path, each) for path, each in found if isinstance(each, str)),
            self._analyzed,
        )

    def _analyze(self, pool: ThreadPoolExecutor) -> None:
        waiting: deque[_Task] = deque()
        for faces in self._engine.analyze_batch(self._images(pool, waiting)):
            task = waiting.popleft()
            self._keep(task.digest, faces)
            self._analyzed += 1
            task.known = faces
            self._settle(task)

    def _images(
        self, pool: ThreadPoolExecutor, waiting: deque[_Task]
    ) -> Iterator[NDArray[np.uint8]]:
        """Yield the pixels of photos that must be analyzed; settle the others on the way."""
        for task in self._ahead(pool):
            if task.late:
                self._prepare(task)
            if task.image is None:
                self._settle(task)
                continue
            waiting.append(task)
            image, task.image = task.image, None
            yield image
            del image  # before the next one is decoded

    def _ahead(self, pool: ThreadPoolExecutor) -> Iterator[_Task]:
        """Prepare photos in threads, a few ahead of their use, in order."""
        queue: deque[Future[_Task]] = deque()
        for path in self._paths:
            queue.append(pool.submit(self._prepare, _Task(path)))
            if len(queue) > _AHEAD:
                yield queue.popleft().result()
        while queue:
            yield queue.popleft().result()

    def _prepare(self, task: _Task) -> _Task:
        """Find out what is known about a photo, and load it if that is nothing.

        A large one is loaded the second time only, when it is its turn.
        """
        path, turn = task.path, task.late
        task.late = False
        try:
            stamp = stamp_of(path)
            self._look_up(task, stamp)
            if task.known is None:
                self._load(task, stamp, turn=turn)
        except (OSError, ValueError) as error:
            task.known = f"cannot be read: {why(error)}"
        except ImageError as error:
            task.known = _reason(error, path)
        task.vanished = isinstance(task.known, str) and not os.path.lexists(path)
        return task

    def _look_up(self, task: _Task, stamp: bytes) -> None:
        if self._cache is None:
            return
        task.digest = self._cache.digest_of(stamp) or ""
        if not task.digest:
            task.digest = content_digest(task.path, max_bytes=self._engine.max_bytes)
            if stamp_of(task.path) == stamp:
                self._cache.link(stamp, task.digest)
        known = self._cache.find(task.digest, self._recipe)
        task.known = self._engine.with_reasons(known) if isinstance(known, list) else known

    def _load(self, task: _Task, stamp: bytes, *, turn: bool) -> None:
        """Load a photo; why it cannot be read is remembered where the photo is the reason."""
        fault = self._try(task, turn=turn)
        certain = fault is not None and self._is_the_photos(fault)
        if certain:  # decoders do not always say that they lacked memory: another thread had it
            again = self._try(task, turn=turn)
            certain = again is not None and self._is_the_photos(again) and str(again) == str(fault)
            fault = again
        if fault is not None:
            task.known = _reason(fault, task.path)
        if stamp_of(task.path) != stamp:  # changed meanwhile: the digest may be of other bytes
            task.digest = ""
        if certain and isinstance(task.known, str):
            self._keep(task.digest, task.known)

    def _try(self, task: _Task, *, turn: bool) -> ImageError | None:
        limits = self._engine.limits
        try:
            pixels = 0 if turn else count_pixels(task.path, max_bytes=limits["max_bytes"])
            if _LARGE < pixels <= limits["max_pixels"]:
                task.late = True
                return None
            task.image = load_image(task.path, **limits)
        except ImageError as error:
            return error
        return None

    def _is_the_photos(self, error: ImageError) -> bool:
        """Tell whether the bytes of a photo are why it cannot be read, not this machine."""
        return _is_the_bytes(error) and can_allocate(_DECODING * self._engine.max_pixels)

    def _keep(self, digest: str, found: list[Face] | str) -> None:
        if self._cache is not None and digest:
            self._cache.keep(digest, self._recipe, found)

    def _settle(self, task: _Task) -> None:
        """Count a photo as done."""
        if task.vanished:
            _log.info("%s vanished before it was read", printable(task.path))
        elif task.known is not None:
            self._found[task.path] = task.known
        self._done += 1
        self._report()

    def _report(self) -> None:
        if self._progress is not None:
            self._progress(self._done, len(self._paths))


def _is_the_bytes(error: ImageError) -> bool:
    """Tell whether the bytes themselves are why a photo cannot be read.

    They are not where this machine lacked memory, could not read them, or lacks a library: what
    decoders say of that, in errors of all kinds, stands behind the error.
    """
    cause: BaseException | None = error
    while cause is not None:
        system = isinstance(cause, OSError) and cause.errno is not None
        if system or isinstance(cause, MemoryError | ImportError) or "memory" in str(cause).lower():
            return False
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
    return True


def _reason(error: ImageError, path: Path) -> str:
    """Say why a photo cannot be read, without its name: the same bytes may be elsewhere too."""
    return str(error).removeprefix(f"{printable(path)}: ")
