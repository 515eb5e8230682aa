"""Whether a head was turned, or a flat picture of one: told from five landmarks of two frames.

The eyes and the corners of the mouth lie almost in a plane, and the nose stands out of it. A
homography describes how any flat picture changes before a camera: moved, turned, tilted. The one
that takes eyes and mouth from one frame to the other also takes the nose of a picture to where it
is seen; the nose of a head that was turned is elsewhere.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from facekeep.errors import InputError

__all__ = ["nose_parallax", "nose_shift"]

Points = NDArray[np.floating]

_PLANE: Final = [0, 1, 3, 4]  # eyes and corners of the mouth
_NOSE: Final = 2


def nose_parallax(before: Points, after: Points) -> NDArray[np.float64]:
    """Return how far the nose left the plane of eyes and mouth between two frames.

    Args:
        before: Five landmarks ``(5, 2)`` in pixels of the first frame; see ``Face.landmarks``.
        after: Those of the second.

    Returns:
        float64 ``(2,)`` in distances of the eyes in the second frame: along the eyes, above 0
        where the nose went toward the right eye as seen in the image, that is to the person's left;
        and from the eyes to the mouth, below 0 where it went up. About 0 for a flat picture,
        however it is moved.

    Raises:
        InputError: The landmarks allow no such comparison: three lie in one line, or
            are no numbers.
    """
    first, second = (np.array(each, np.float64) for each in (before, after))
    homography = _homography(first[_PLANE], second[_PLANE])
    x, y, weight = homography @ (*first[_NOSE], 1.0)
    if not np.isfinite([x, y, weight]).all() or abs(weight) < 1e-9:
        raise InputError("the landmarks of the two frames cannot be compared")
    return _in_face(second, second[_NOSE] - np.array([x, y]) / weight)


def nose_shift(before: Points, after: Points) -> NDArray[np.float64]:
    """Return how far the nose moved against eyes and mouth, as turned heads and tilted pictures do.

    The same as `nose_parallax`, but against a face that is only moved, scaled and rolled: what a
    picture can also do that is tilted.
    """
    first, second = (np.array(each, np.float64) for each in (before, after))
    places = [_in_face(each, each[_NOSE] - each[_PLANE].mean(axis=0)) for each in (first, second)]
    return np.asarray(places[1] - places[0])


def _in_face(points: NDArray[np.float64], way: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a way in the image along and across the eyes of a face, in distances of the eyes."""
    eyes = points[1] - points[0]
    length = float(np.hypot(*eyes))
    if not length > 0:
        raise InputError("both eyes lie in one place")
    along = eyes / length
    return np.array([way @ along, way @ [-along[1], along[0]]]) / length


def _homography(source: NDArray[np.float64], target: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the ``(3, 3)`` that takes four points to four others."""
    rows = np.zeros((8, 8))
    for place, ((x, y), (u, v)) in enumerate(zip(source, target, strict=True)):
        rows[2 * place] = [x, y, 1, 0, 0, 0, -u * x, -u * y]
        rows[2 * place + 1] = [0, 0, 0, x, y, 1, -v * x, -v * y]
    try:
        solved = np.linalg.solve(rows, target.reshape(-1))
    except np.linalg.LinAlgError as error:
        raise InputError("three landmarks of a face lie in one line") from error
    return np.append(solved, 1.0).reshape(3, 3)
