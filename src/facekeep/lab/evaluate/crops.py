"""From an image of a test set to the one aligned face that stands for it, and a cache of these.

The cache is a folder with a small file for each image, named by the digest of the image's pixels
and of how the face was cut out of it. **It holds pictures of faces**: folder and files are their
owner's alone, and deleting the folder erases it. It carries no names.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

import facekeep.pipeline.align
import facekeep.pipeline.detect
import facekeep.pipeline.orientation
import facekeep.pipeline.refine
import facekeep.pipeline.warp
from facekeep._internal.files import open_regular, path_text, printable, replacing, why
from facekeep._version import __version__
from facekeep.errors import ImageError, InputError
from facekeep.lab.datasets.test_sets import Samples
from facekeep.pipeline.align import align, template
from facekeep.pipeline.detect import Detector
from facekeep.pipeline.warp import resize
from facekeep.types import Face

__all__ = ["CropCache", "choose_central_face", "has_face_in_place", "make_cropper"]

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


# Landmarks of a face in its place lie nearer to the template on average, in distances of the eyes.
_STRAY = 0.5


def make_cropper(
    samples: Samples, size: int, detector: Detector | None, cache: CropCache | None
) -> Callable[[int], NDArray[np.uint8]]:
    """Return what cuts the face out of a sample, by its place, as the samples ask for it.

    Aligned crops are only brought to the size, and with a detector those without a face in its
    place refused; where landmarks are published, the face is aligned by them; otherwise it is
    looked for (``choose_central_face``), and its landmarks are refined.

    Args:
        samples: The images.
        size: The side of the crops, in pixels.
        detector: Finds faces; needed where they have to be looked for, and where aligned crops are
            to be checked.
        cache: Remembers the crops of faces that had to be looked for.

    Returns:
        A function that several threads may call. It returns uint8 ``(size, size, 3)`` RGB, and
        raises ImageError when the image cannot be read or no face can be taken from it.

    Raises:
        InputError: There is no detector, and one is needed.
    """
    landmarks = samples.landmarks
    if samples.aligned:
        if detector is None:
            return lambda place: _resize_square(samples.load(place), size)
        return lambda place: _require_face(detector, _resize_square(samples.load(place), size))
    if landmarks is not None:
        return lambda place: _align_face(samples.load(place), landmarks[place], size)
    if detector is None:
        raise InputError("faces have to be looked for in these samples; give a detector")
    search = _FaceFinder(detector, size, cache)
    return lambda place: search.crop(samples.load(place))


class _FaceFinder:
    """Looks for the main face of an image, unless its crop is known."""

    def __init__(self, detector: Detector, size: int, cache: CropCache | None) -> None:
        self._detector = detector
        self._size = size
        self._cache = cache
        self._recipe = _digest_settings(detector, size)

    def crop(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the crop; ImageError when there is no face."""
        packed = self._found(image) if self._cache is None else self._known(image, self._cache)
        if not packed:
            raise ImageError("no face was found")
        return np.frombuffer(packed, np.uint8).reshape(self._size, self._size, 3)

    def _known(self, image: NDArray[np.uint8], cache: CropCache) -> bytes:
        shape = repr(image.shape).encode()
        key = hashlib.sha256(self._recipe + shape + image.tobytes()).digest()
        packed = cache.find(key)
        if packed is None:
            packed = self._found(image)
            cache.keep(key, packed)
        return packed

    def _found(self, image: NDArray[np.uint8]) -> bytes:
        """Look for the face; empty bytes when there is none."""
        faces = self._detector.find(image)
        if not faces:
            return b""
        face = choose_central_face(faces, np.array(image.shape[1::-1]) / 2)
        return _align_face(image, face.landmarks, self._size).tobytes()


def choose_central_face(faces: Iterable[Face], center: ArrayLike) -> Face:
    """Choose the face that a photo is about: the largest area less twice its squared distance.

    Test sets are cropped about the person they name, who may stand before larger faces.

    Args:
        faces: At least one face.
        center: Where the photo is centerd, x and y in pixels.
    """

    def weight(face: Face) -> float:
        distance = (face.bbox[:2] + face.bbox[2:]) / 2 - np.asarray(center)
        return float((face.bbox[2:] - face.bbox[:2]).prod() - 2 * distance @ distance)

    return max(faces, key=weight)


def has_face_in_place(detector: Detector, crop: NDArray[np.uint8]) -> bool:
    """Tell whether a face is found in an aligned crop about where the template has it."""
    expected = template(len(crop))
    farthest = _STRAY * (expected[1, 0] - expected[0, 0])
    distances = (
        np.linalg.norm(face.landmarks - expected, axis=1) for face in detector.detect(crop)
    )
    return any(each.mean() < farthest for each in distances)


def _require_face(detector: Detector, crop: NDArray[np.uint8]) -> NDArray[np.uint8]:
    if not has_face_in_place(detector, crop):
        raise ImageError("no face was found where an aligned crop has it")
    return crop


def _align_face(image: NDArray[np.uint8], landmarks: ArrayLike, size: int) -> NDArray[np.uint8]:
    try:
        return align(image, landmarks, size)
    except InputError as error:  # published landmarks that lie in one place, and the like
        raise ImageError(str(error)) from error


def _resize_square(crop: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    height, width = crop.shape[:2]
    if height != width:
        raise ImageError(f"an aligned crop must be square, not {width} x {height} pixels")
    return resize(crop, size, size)


def _digest_settings(detector: Detector, size: int) -> bytes:
    """Digest all that decides which crop is cut out of an image: weights, settings and code."""
    modules = (
        facekeep.pipeline.warp,
        facekeep.pipeline.align,
        facekeep.pipeline.detect,
        facekeep.pipeline.refine,
        facekeep.pipeline.orientation,
    )
    code = [Path(str(module.__file__)).read_bytes() for module in modules]
    settings = [
        __version__,
        [file.published for model in detector.models for file in model.files],
        [detector.score, detector.min_face, detector.max_faces],
        [detector.longest_side, detector.overlap, size],
        [hashlib.sha256(each).hexdigest() for each in [*code, Path(__file__).read_bytes()]],
    ]
    return hashlib.sha256(json.dumps(settings).encode()).digest()
