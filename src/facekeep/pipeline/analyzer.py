"""The road from an image to embeddings: detect, refine, align, embed, and tell the quality."""

from __future__ import annotations

import dataclasses
import logging
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import BinaryIO, Generic, NamedTuple, TypedDict, TypeVar

import numpy as np
from numpy.typing import NDArray

from facekeep._internal.closing import Closing
from facekeep._internal.fork import Forking, watch
from facekeep.errors import FacekeepError
from facekeep.models import ModelEntry
from facekeep.pipeline.align import align_batch
from facekeep.pipeline.detect import Detector
from facekeep.pipeline.embed import Embedder
from facekeep.pipeline.image import MAX_BYTES, Reduced, load_image
from facekeep.pipeline.quality import POLICIES, USABLE, assess, with_reasons
from facekeep.pipeline.quality_network import QualityNetwork
from facekeep.types import Face

__all__ = ["Analyser", "Found", "ImageSource", "Limits"]

ImageSource = str | os.PathLike[str] | bytes | BinaryIO | NDArray[np.uint8]

# Images whose faces are embedded together in a batch run; bounds the memory of long runs.
_CHUNK = 8
# A limit on the faces of an image that cuts off fewer than so many was meant to.
_MANY = 100

_log = logging.getLogger(__name__)


class Found(NamedTuple):
    """The faces of one image, the largest first, and their aligned crops, uint8 (n, s, s, 3)."""

    faces: list[Face]
    crops: NDArray[np.uint8]


class Limits(TypedDict):
    """How pictures are loaded; see ``load_image``."""

    max_pixels: int
    max_bytes: int
    reduce: bool


_T = TypeVar("_T", bound=Closing)


class _Lazy(Generic[_T], Forking):
    """Something that is opened when it is first needed, once, whichever thread asks."""

    def __init__(self, factory: Callable[[], _T]) -> None:
        self._factory = factory
        self._lock = threading.Lock()
        self._value: _T | None = None
        watch(self)

    def after_fork(self, *, child: bool) -> None:
        if child:
            self._lock = threading.Lock()

    def get(self) -> _T:
        value = self._value
        if value is None:
            with self._lock:
                value = self._value = self._value or self._factory()
        return value

    def close(self) -> None:
        with self._lock:
            if self._value is not None:
                self._value.close()
            self._value = None


def _in_full(face: Face, factor: int) -> Face:
    """Return a face that was found in a reduced picture, in pixels of the whole one."""
    if factor == 1:
        return face
    quality = face.quality and dataclasses.replace(
        face.quality,
        size=face.quality.size * factor,
        eye_distance=face.quality.eye_distance * factor,
    )
    return face.replace(
        bbox=face.bbox * np.float32(factor),
        landmarks=face.landmarks * np.float32(factor),
        quality=quality,
    )


class Analyser:
    """A detector, an embedder and its quality network together, opened when first needed.

    Args:
        detector: Makes the detector.
        quality: Makes what tells from an embedding how recognizable a face is; None for none.
        embedder: Makes the embedder.
        model: The embedder's catalogue entry, which is known before its weights are loaded.
        max_pixels: Refuse larger images.
        max_bytes: Refuse picture files with more bytes.
        reduce: Look at huge JPEG files at half of their size; what is found is in full pixels.
        any_quality: Take every face for usable.
    """

    def __init__(
        self,
        detector: Callable[[], Detector],
        quality: Callable[[], QualityNetwork] | None,
        embedder: Callable[[], Embedder],
        model: ModelEntry,
        *,
        max_pixels: int,
        max_bytes: int = MAX_BYTES,
        reduce: bool = False,
        any_quality: bool = False,
    ) -> None:
        self._detector = _Lazy(detector)
        self._quality_network = None if quality is None else _Lazy(quality)
        self._embedder = _Lazy(embedder)
        self._size = model.input_size or 112
        self._limits: Limits = {
            "max_pixels": max_pixels,
            "max_bytes": max_bytes,
            "reduce": reduce,
        }
        self._usable = POLICIES["off"] if any_quality else USABLE

    def load(self, image: ImageSource) -> NDArray[np.uint8]:
        """Load an image as uint8 ``(H, W, 3)`` RGB."""
        return load_image(image, **self._limits)

    @property
    def limits(self) -> Limits:
        """How pictures are loaded."""
        return self._limits

    def prepare(self) -> None:
        """Open the embedder; before the detector, as opening takes more memory than running."""
        self._embedder.get()

    def find(self, image: NDArray[np.uint8]) -> Found:
        """Find the faces of a loaded image, with refined landmarks, quality and reasons.

        The reasons are those that the facts give; what only an embedding tells, ``embed_faces``
        adds.
        """
        factor = image.factor if isinstance(image, Reduced) else 1
        detector = self._detector.get()
        faces = detector.find(image)
        if len(faces) == detector.max_faces and len(faces) >= _MANY:
            _log.warning("only the %d largest faces of a picture were looked at", len(faces))
        crops = align_batch(image, [face.landmarks for face in faces], self._size)
        measured = [
            face.replace(quality=assess(image, face, crop=crop))
            for face, crop in zip(faces, crops, strict=True)
        ]
        return Found(self.with_reasons(_in_full(face, factor) for face in measured), crops)

    def with_reasons(self, faces: Iterable[Face]) -> list[Face]:
        """Fill in why faces whose quality is known are unusable; see ``quality.with_reasons``."""
        return with_reasons(faces, self._usable)

    def embed(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Embed aligned crops; see ``Embedder.embed``."""
        return self._embedder.get().embed(crops)

    def embed_faces(self, faces: Sequence[Face], crops: NDArray[np.uint8]) -> list[Face]:
        """Add the embeddings of found faces, and what these tell of their quality."""
        if not faces:
            return []
        rows, norms = self._embedder.get().embed_and_measure(crops)
        known = [face.quality for face in faces if face.quality is not None]
        if self._quality_network is not None and len(known) == len(faces):
            clear = self._quality_network.get().recognizability(rows, norms, known, crops).tolist()
            known = [
                dataclasses.replace(q, recognizability=c) for q, c in zip(known, clear, strict=True)
            ]
        return self.with_reasons(
            face.replace(embedding=row, quality=quality)
            for face, row, quality in zip(faces, rows, known, strict=True)
        )

    def analyse(self, images: Iterable[ImageSource]) -> Iterator[list[Face]]:
        """Yield the faces of each image with their embeddings, in order, at constant memory.

        An image that cannot be read ends the run with its error, after those before it.
        """
        remaining = iter(images)
        while True:
            found, failure = self._find_some(remaining)
            yield from self._embedded(found)
            if failure is not None:
                raise failure
            if len(found) < _CHUNK:
                return

    def close(self) -> None:
        """Let go of the networks; they are opened again if they are needed again."""
        self._detector.close()
        if self._quality_network is not None:
            self._quality_network.close()
        self._embedder.close()

    def _find_some(self, images: Iterator[ImageSource]) -> tuple[list[Found], FacekeepError | None]:
        """Find the faces of the next few images, up to one that fails."""
        found: list[Found] = []
        try:
            for image in islice(images, _CHUNK):
                pixels = self.load(image)
                self.prepare()
                found.append(self.find(pixels))
                del image, pixels  # before the next one is decoded
        except FacekeepError as error:
            return found, error
        return found, None

    def _embedded(self, found: Sequence[Found]) -> Iterator[list[Face]]:
        """Add the embeddings to the faces of several images, in one batch."""
        crops = [each.crops for each in found if each.faces]
        faces = [face for each in found for face in each.faces]
        embedded = iter(self.embed_faces(faces, np.concatenate(crops)) if crops else ())
        for each in found:
            yield [next(embedded) for _ in each.faces]
