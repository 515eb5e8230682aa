"""Properties of the faces of a test set: how large, sharp, bright and turned they are.

They are those of ``facekeep.pipeline.quality``, measured on the face that stands for an image.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from facekeep.errors import ImageError
from facekeep.lab.datasets.test_sets import Samples
from facekeep.lab.evaluate.crops import choose_central_face
from facekeep.lab.evaluate.extract import CHUNK, Progress, run_in_threads
from facekeep.pipeline.align import template
from facekeep.pipeline.detect import Detector
from facekeep.pipeline.quality import assess
from facekeep.runtime import usable_cores
from facekeep.types import Face

__all__ = ["FaceMeasures", "measure_faces"]

FaceMeasures = Mapping[str, NDArray[np.float64]]
"""Properties by name, float64 ``(n,)`` each: a value for each sample, NaN where it is unknown."""


class _Measures(NamedTuple):
    """What is measured on one face; the units are those of ``Quality``."""

    size: float
    sharpness: float
    brightness: float
    contrast: float
    yaw: float


_UNKNOWN = _Measures(*[math.nan] * len(_Measures._fields))


def measure_faces(
    samples: Samples, detector: Detector, *, threads: int = 0, progress: Progress | None = None
) -> FaceMeasures:
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
    find = _find_in_crop if samples.aligned else _find_in_photo

    def work(places: range) -> list[_Measures]:
        return [_measure_sample(samples, place, detector, find) for place in places]

    chunks = [range(at, min(at + CHUNK, len(samples))) for at in range(0, len(samples), CHUNK)]
    rows: list[_Measures] = []
    for part in run_in_threads(work, chunks, threads or usable_cores()):
        rows += part
        if progress:
            progress(len(rows), len(samples))
    columns = np.array(rows, np.float64).reshape(-1, len(_Measures._fields)).T
    return dict(zip(_Measures._fields, columns, strict=True))


_Find = Callable[[Detector, NDArray[np.uint8]], Face | None]


def _measure_sample(samples: Samples, place: int, detector: Detector, find: _Find) -> _Measures:
    try:
        image = samples.load(place)
    except ImageError:
        return _UNKNOWN
    face = find(detector, image)
    if face is None:
        return _UNKNOWN
    found = assess(image, face, crop=image if samples.aligned else None)
    size = math.nan if samples.aligned else found.size
    return _Measures(size, found.sharpness, found.brightness, found.contrast, found.yaw)


def _find_in_photo(detector: Detector, image: NDArray[np.uint8]) -> Face | None:
    faces = detector.find(image)
    return choose_central_face(faces, np.array(image.shape[1::-1]) / 2) if faces else None


def _find_in_crop(detector: Detector, crop: NDArray[np.uint8]) -> Face | None:
    """The face whose landmarks lie nearest to where an aligned crop has them."""
    expected = template(len(crop))
    faces = detector.detect(crop)
    if not faces:
        return None
    nearest = min(faces, key=lambda face: float(np.abs(face.landmarks - expected).sum()))
    return detector.refine(crop, [nearest])[0]
