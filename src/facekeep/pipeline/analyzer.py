"""The pipeline from an image to embeddings: find faces, align, assess the quality, embed."""

from __future__ import annotations

import dataclasses
import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Generic, TypedDict, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from facekeep._internal.closing import Closing
from facekeep._internal.fork import Forking, watch
from facekeep.errors import FacekeepError, InputError, ModelError
from facekeep.pipeline.align import align_batch
from facekeep.pipeline.detect import Detector
from facekeep.pipeline.embed import Embedder
from facekeep.pipeline.image import MAX_BYTES, ImageSource, Reduced, load_image
from facekeep.pipeline.quality import POLICIES, USABLE, Reason, assess, with_reasons
from facekeep.pipeline.quality_network import QualityNetwork
from facekeep.types import Face, FaceDetector, FaceEmbedder, Quality

__all__ = ["Analyzer", "Limits"]

# Images whose faces are embedded together in a batch run; bounds the memory of long runs.
_CHUNK = 8
# A limit on the faces of an image that cuts off fewer than so many was meant to.
_MANY = 100
# Degrees that a face of a video may be turned in the picture.
_MOST_ROLL = 60.0
# How far from 1 the length of an embedding may be.
_UNIT = 1e-3

_log = logging.getLogger(__name__)


class Limits(TypedDict):
    """How pictures are loaded; see ``load_image``."""

    max_pixels: int
    max_bytes: int
    reduce: bool


_T = TypeVar("_T")


class _Lazy(Generic[_T], Forking):
    """Something that is opened when it is first needed, once, whichever thread asks.

    What was opened here is closed here; what a caller opened is the caller's to close.
    """

    def __init__(self, factory: Callable[[], _T], *, owned: bool) -> None:
        self._factory = factory
        self._owned = owned
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
            if isinstance(self._value, Closing) and self._owned:
                self._value.close()
            self._value = None


def _scale_to_full(face: Face, factor: int) -> Face:
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


class Analyzer:
    """A detector, an embedder and its quality network together, opened when first needed.

    Args:
        detector: The detector, or what opens it.
        embedder: The embedder, or what opens it.
        quality: Opens what tells from an embedding how recognizable a face is; None for none. It
            needs an embedder of the class ``Embedder``.
        size: The side of the crops that the embedder takes, in pixels.
        width: How many numbers one embedding has.
        min_face: Smallest face wanted, in pixels.
        max_faces: The most faces of an image, the largest; None for all.
        max_pixels: Refuse larger images.
        max_bytes: Refuse picture files with more bytes.
        reduce: Look at huge JPEG files at half of their size; what is found is in full pixels.
        any_quality: Take every face for usable.
    """

    def __init__(  # noqa: PLR0913 - what the engine was given, all by keyword
        self,
        detector: FaceDetector | Callable[[], FaceDetector],
        embedder: FaceEmbedder | Callable[[], FaceEmbedder],
        quality: Callable[[], QualityNetwork] | None,
        *,
        size: int,
        width: int,
        min_face: float | None = None,
        max_faces: int | None = None,
        max_pixels: int,
        max_bytes: int = MAX_BYTES,
        reduce: bool = False,
        any_quality: bool = False,
    ) -> None:
        self._detector: _Lazy[FaceDetector] = _open_late(detector)
        self._embedder: _Lazy[FaceEmbedder] = _open_late(embedder)
        self._quality_network = None if quality is None else _Lazy(quality, owned=True)
        self._size = size
        self._width = width
        self._min_face = min_face or 0.0
        self._max_faces = max_faces
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

    def find(self, image: NDArray[np.uint8]) -> list[Face]:
        """Find the faces of a loaded image, the largest first.

        They have refined landmarks, quality, reasons and the aligned crop. The reasons are those
        that the facts give; what only an embedding tells, ``embed`` adds.

        Raises:
            ModelError: The detector gave something that is no face.
        """
        faces = self._select(self._detector.get().find(image))
        if len(faces) == self._max_faces and len(faces) >= _MANY:
            _log.warning("only the %d largest faces of a picture were looked at", len(faces))
        return self._measure(image, faces)

    def locate(self, image: NDArray[np.uint8]) -> list[Face]:
        """Find only where the upright faces of a loaded image are, the largest first.

        A detector object of another class has only ``find``.
        """
        detector = self._detector.get()
        look = detector.detect if isinstance(detector, Detector) else detector.find
        return self._select(look(image))

    def describe(self, image: NDArray[np.uint8], faces: Sequence[Face]) -> list[Face]:
        """Add to faces that ``locate`` found what ``find`` would give them.

        Turned ones are unusable: where they were found, upright ones were looked for.
        """
        detector = self._detector.get()
        if isinstance(detector, Detector):
            faces = detector.describe(image, faces)
        return [self._without_turned(face) for face in self._measure(image, faces)]

    def _without_turned(self, face: Face) -> Face:
        """Return a face that is turned as in a camera that hangs so with the reason for it."""
        turned = face.quality is not None and abs(face.quality.roll) > _MOST_ROLL
        if not turned or self._usable is POLICIES["off"]:
            return face
        return face.replace(reasons=tuple(dict.fromkeys((Reason.EXTREME_POSE, *face.reasons))))

    def _measure(self, image: NDArray[np.uint8], faces: Sequence[Face]) -> list[Face]:
        """Add quality, reasons and the aligned crops."""
        factor = image.factor if isinstance(image, Reduced) else 1
        crops = align_batch(image, [face.landmarks for face in faces], self._size)
        measured = [
            face.replace(quality=assess(image, face, crop=crop), crop=crop)
            for face, crop in zip(faces, crops, strict=True)
        ]
        return self.with_reasons(_scale_to_full(face, factor) for face in measured)

    def _select(self, faces: Sequence[Face]) -> list[Face]:
        """Return the faces that are large enough, the largest first, up to the limit."""
        if not isinstance(faces, Sequence) or not all(isinstance(face, Face) for face in faces):
            raise ModelError("the detector gave something that is not a list of facekeep.Face")
        for face in faces:
            if not (isinstance(face.bbox, np.ndarray) and isinstance(face.landmarks, np.ndarray)):
                raise ModelError("the detector gave a face whose bbox or landmarks are no array")
            if face.bbox.shape != (4,) or face.landmarks.shape != (5, 2):
                raise ModelError(
                    "the detector gave a face whose bbox is not (4,) or whose landmarks are not"
                    f" (5, 2): {face.bbox.shape} and {face.landmarks.shape}"
                )
        large = [face for face in faces if face.size >= self._min_face]
        return sorted(large, key=lambda face: -face.size)[: self._max_faces]

    def with_reasons(self, faces: Iterable[Face]) -> list[Face]:
        """Fill in why faces whose quality is known are unusable; see ``quality.with_reasons``."""
        return with_reasons(faces, self._usable)

    def embed_crops(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Embed aligned crops; see ``Embedder.embed``.

        Raises:
            ModelError: The embedder gave something that is not an embedding.
        """
        rows = np.asarray(self._embedder.get().embed(crops), np.float32)
        if rows.shape != (len(crops), self._width):
            raise ModelError(
                f"the embedder gave {rows.shape} for {len(crops)} crops, not "
                f"{self._width} numbers each"
            )
        if not np.allclose(np.linalg.norm(rows, axis=1), 1, atol=_UNIT):
            raise ModelError("the embedder gave vectors that are not of unit length")
        return rows

    def embed(self, faces: Sequence[Face], *, keep_crops: bool = True) -> list[Face]:
        """Add the embeddings of found faces, and what these tell of their quality.

        Args:
            faces: As ``find`` gave them.
            keep_crops: Leave the crops with the faces; without, long runs take less memory.

        Raises:
            InputError: A face has no crop.
            ModelError: The embedder gave something that is not an embedding.
        """
        if not faces:
            return []
        crops = [face.crop for face in faces if face.crop is not None]
        if len(crops) != len(faces):
            raise InputError("a face without a crop cannot be embedded: find it with find")
        known: Sequence[Quality | None] = [face.quality for face in faces]
        if self._quality_network is None:
            rows = self.embed_crops(np.stack(crops))
        else:
            rows, known = self._embed_and_rate(np.stack(crops), known)
        return self.with_reasons(
            face.replace(embedding=row, quality=quality, crop=face.crop if keep_crops else None)
            for face, row, quality in zip(faces, rows, known, strict=True)
        )

    def _embed_and_rate(
        self, crops: NDArray[np.uint8], known: Sequence[Quality | None]
    ) -> tuple[NDArray[np.float32], Sequence[Quality | None]]:
        """Embed crops, and fill in how recognizable each face is, where the facts are known."""
        embedder, network = self._embedder.get(), self._quality_network
        assert isinstance(embedder, Embedder)  # noqa: S101 - see the class
        rows, norms = embedder.embed_and_measure(crops)
        facts = [quality for quality in known if quality is not None]
        if network is None or len(facts) < len(known):
            return rows, known
        shares = network.get().recognizability(rows, norms, facts, crops).tolist()
        return rows, [
            dataclasses.replace(quality, recognizability=share)
            for quality, share in zip(facts, shares, strict=True)
        ]

    def analyze(self, images: Iterable[ImageSource]) -> Iterator[list[Face]]:
        """Yield the faces of each image with their embeddings, in order, at constant memory.

        An image that cannot be read ends the run with its error, after those before it.
        """
        remaining = iter(images)
        while True:
            found, failure = self._find_some(remaining)
            yield from self._embed_some(found)
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

    def _find_some(
        self, images: Iterator[ImageSource]
    ) -> tuple[list[list[Face]], FacekeepError | None]:
        """Find the faces of the next few images, up to one that fails."""
        found: list[list[Face]] = []
        try:
            for image in islice(images, _CHUNK):
                pixels = self.load(image)
                self.prepare()
                found.append(self.find(pixels))
                del image, pixels  # before the next one is decoded
        except FacekeepError as error:
            return found, error
        return found, None

    def _embed_some(self, found: Sequence[list[Face]]) -> Iterator[list[Face]]:
        """Add the embeddings to the faces of several images, in one batch; crops are let go."""
        together = [face for faces in found for face in faces]
        embedded = iter(self.embed(together, keep_crops=False))
        for faces in found:
            yield [next(embedded) for _ in faces]


def _open_late(source: _T | Callable[[], _T]) -> _Lazy[_T]:
    """Wrap what is there already, or what opens it."""
    if isinstance(source, FaceDetector | FaceEmbedder):
        return _Lazy(lambda: cast("_T", source), owned=False)
    return _Lazy(cast("Callable[[], _T]", source), owned=True)
