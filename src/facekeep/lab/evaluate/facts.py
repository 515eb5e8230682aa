"""Facts about the faces of a test set: how large, sharp, bright and turned they are.

They are those of ``facekeep.pipeline.quality``, measured on the face that stands for an image.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from facekeep.errors import ImageError
from facekeep.lab.evaluate.crops import main_face
from facekeep.lab.evaluate.data import Samples
from facekeep.lab.evaluate.extract import CHUNK, Progress, side_by_side
from facekeep.pipeline.align import template
from facekeep.pipeline.detect import Detector
from facekeep.pipeline.quality import assess
from facekeep.runtime import usable_cores
from facekeep.types import Face

__all__ = ["Facts", "measure_facts"]

Facts = Mapping[str, NDArray[np.float64]]
"""Facts by their names, float64 ``(n,)`` each: a value for each sample, NaN where none is known."""


class _Face(NamedTuple):
    """What is measured on one face; the units are those of ``Quality``."""

    size: float
    sharpness: float
    brightness: float
    contrast: float
    yaw: float


_NOTHING = _Face(*[math.nan] * len(_Face._fields))


def measure_facts(
    samples: Samples, detector: Detector, *, threads: int = 0, progress: Progress | None = None
) -> Facts:
    """Look at the face that stands for each sample, and measure it.

    Args:
        samples: The images. Of aligned crops the size is not known: it is that of a photo.
        detector: Finds the faces; open it with ``threads=1``.
        threads: How many images to work on at once; 0 for as many as there are cores.
        progress: Told after each few images.

    Returns:
        ``size``, ``sharpness``, ``brightness``, ``contrast`` and ``yaw``; NaN where an image cannot
        be read or no face is found in it.
    """
    find = _in_crop if samples.aligned else _in_photo

    def work(places: range) -> list[_Face]:
        return [_measured(samples, place, detector, find) for place in places]

    chunks = [range(at, min(at + CHUNK, len(samples))) for at in range(0, len(samples), CHUNK)]
    rows: list[_Face] = []
    for part in side_by_side(work, chunks, threads or usable_cores()):
        rows += part
        if progress:
            progress(len(rows), len(samples))
    columns = np.array(rows, np.float64).reshape(-1, len(_Face._fields)).T
    return dict(zip(_Face._fields, columns, strict=True))


_Find = Callable[[Detector, NDArray[np.uint8]], Face | None]


def _measured(samples: Samples, place: int, detector: Detector, find: _Find) -> _Face:
    try:
        image = samples.load(place)
    except ImageError:
        return _NOTHING
    face = find(detector, image)
    if face is None:
        return _NOTHING
    found = assess(image, face, crop=image if samples.aligned else None)
    size = math.nan if samples.aligned else found.size
    return _Face(size, found.sharpness, found.brightness, found.contrast, found.yaw)


def _in_photo(detector: Detector, image: NDArray[np.uint8]) -> Face | None:
    faces = detector.find(image)
    return main_face(faces, np.array(image.shape[1::-1]) / 2) if faces else None


def _in_crop(detector: Detector, crop: NDArray[np.uint8]) -> Face | None:
    """The face whose landmarks lie nearest to where an aligned crop has them."""
    expected = template(len(crop))
    faces = detector.detect(crop)
    if not faces:
        return None
    nearest = min(faces, key=lambda face: float(np.abs(face.landmarks - expected).sum()))
    return detector.refine(crop, [nearest])[0]
