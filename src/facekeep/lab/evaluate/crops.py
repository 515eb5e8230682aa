"""From an image of a test set to the one aligned face that stands for it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

import facekeep.pipeline.align
import facekeep.pipeline.detect
import facekeep.pipeline.orientation
import facekeep.pipeline.refine
import facekeep.pipeline.warp
from facekeep._version import __version__
from facekeep.errors import ImageError, InputError
from facekeep.lab.evaluate.crop_cache import CropCache
from facekeep.lab.evaluate.data import Samples
from facekeep.pipeline.align import align, template
from facekeep.pipeline.detect import Detector
from facekeep.types import Face

__all__ = ["cropper", "holds_face", "main_face"]

# Landmarks of a face in its place lie nearer to the template on average, in distances of the eyes.
_STRAY = 0.5


def cropper(
    samples: Samples, size: int, detector: Detector | None, cache: CropCache | None
) -> Callable[[int], NDArray[np.uint8]]:
    """Return what cuts the face out of a sample, by its place, as the samples ask for it.

    Aligned crops are only brought to the size, and with a detector those without a face in its
    place refused; where landmarks are published, the face is aligned by them; otherwise it is
    looked for (``main_face``), and its landmarks are refined.

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
            return lambda place: _resized(samples.load(place), size)
        return lambda place: _checked(detector, _resized(samples.load(place), size))
    if landmarks is not None:
        return lambda place: _aligned(samples.load(place), landmarks[place], size)
    if detector is None:
        raise InputError("faces have to be looked for in these samples; give a detector")
    search = _Search(detector, size, cache)
    return lambda place: search.crop(samples.load(place))


class _Search:
    """Looks for the main face of an image, unless its crop is known."""

    def __init__(self, detector: Detector, size: int, cache: CropCache | None) -> None:
        self._detector = detector
        self._size = size
        self._cache = cache
        self._recipe = _recipe(detector, size)

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
        face = main_face(faces, np.array(image.shape[1::-1]) / 2)
        return _aligned(image, face.landmarks, self._size).tobytes()


def main_face(faces: Iterable[Face], centre: ArrayLike) -> Face:
    """Choose the face that a photo is about: the largest area less twice its squared distance.

    Test sets are cropped about the person they name, who may stand before larger faces.

    Args:
        faces: At least one face.
        centre: Where the photo is centred, x and y in pixels.
    """

    def weight(face: Face) -> float:
        distance = (face.bbox[:2] + face.bbox[2:]) / 2 - np.asarray(centre)
        return float((face.bbox[2:] - face.bbox[:2]).prod() - 2 * distance @ distance)

    return max(faces, key=weight)


def holds_face(detector: Detector, crop: NDArray[np.uint8]) -> bool:
    """Tell whether a face is found in an aligned crop about where the template has it."""
    expected = template(len(crop))
    farthest = _STRAY * (expected[1, 0] - expected[0, 0])
    distances = (
        np.linalg.norm(face.landmarks - expected, axis=1) for face in detector.detect(crop)
    )
    return any(each.mean() < farthest for each in distances)


def _checked(detector: Detector, crop: NDArray[np.uint8]) -> NDArray[np.uint8]:
    if not holds_face(detector, crop):
        raise ImageError("no face was found where an aligned crop has it")
    return crop


def _aligned(image: NDArray[np.uint8], landmarks: ArrayLike, size: int) -> NDArray[np.uint8]:
    try:
        return align(image, landmarks, size)
    except InputError as error:  # published landmarks that lie in one place, and the like
        raise ImageError(str(error)) from error


def _resized(crop: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    import cv2

    height, width = crop.shape[:2]
    if height != width:
        raise ImageError(f"an aligned crop must be square, not {width} x {height} pixels")
    if height == size:
        return crop
    method = cv2.INTER_AREA if height > size else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(crop, (size, size), interpolation=method), np.uint8)


def _recipe(detector: Detector, size: int) -> bytes:
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
        [file.sha256 for model in detector.models for file in model.files],
        [detector.score, detector.min_face, detector.max_faces],
        [detector.longest_side, detector.overlap, size],
        [hashlib.sha256(each).hexdigest() for each in [*code, Path(__file__).read_bytes()]],
    ]
    return hashlib.sha256(json.dumps(settings).encode()).digest()
