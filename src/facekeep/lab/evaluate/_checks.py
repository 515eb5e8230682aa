"""What every metric refuses: scores that are no cosines, rows that are no templates, odd rates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from facekeep.errors import InputError

__all__ = [
    "FAILED",
    "check_cosines",
    "check_labels",
    "check_rates",
    "check_templates",
    "find_acquired",
    "number_people",
]

FAILED: Final = -2.0
"""Score of a comparison in which a sample failed to acquire: it never matches."""

_ROUNDING: Final = 1e-3  # far more than float32 needs, far less than another measure would show

Floats = NDArray[np.floating[Any]]


def check_cosines(values: ArrayLike, what: str = "scores") -> Floats:
    """Return scores as a one-dimensional array of float32 or float64.

    Raises:
        InputError: One of them is neither a cosine nor ``FAILED``.
    """
    scores = np.asarray(values)
    if scores.dtype not in (np.float32, np.float64):
        scores = scores.astype(np.float64)
    if scores.ndim != 1:
        raise InputError(f"{what} must have one dimension, not {scores.ndim}")
    # The negation catches NaN as well, which is within no bounds.
    wrong = ~((np.abs(scores) <= 1 + _ROUNDING) | (scores == FAILED))
    if wrong.any():
        place = int(wrong.argmax())
        raise InputError(f"{what} must be cosines, -1 to 1: number {place} is {scores[place]}")
    return scores


def check_labels(values: ArrayLike, count: int, what: str) -> NDArray[Any]:
    """Return labels as an array; InputError unless there are ``count``, in one dimension."""
    array = np.asarray(values)
    if array.shape != (count,):
        raise InputError(f"{what} must have the shape ({count},), not {array.shape}")
    return array


def number_people(person: ArrayLike, count: int) -> tuple[NDArray[np.int32], int]:
    """Number people from 0 in the order of their names: ``(n,)`` int32, and how many there are."""
    names, numbers = np.unique(check_labels(person, count, "person"), return_inverse=True)
    return numbers.astype(np.int32), len(names)


def check_templates(rows: ArrayLike) -> NDArray[np.float32]:
    """Return templates as float32 ``(n, d)``.

    Raises:
        InputError: A row is neither of unit length nor zero, which says that it failed.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        matrix = np.asarray(rows, np.float32)
        if matrix.ndim != 2:
            raise InputError(f"templates must have two dimensions, not {matrix.ndim}")
        squares = np.einsum("ij,ij->i", matrix, matrix)
    wrong = ~((np.abs(squares - 1) <= _ROUNDING) | (squares == 0))
    if wrong.any():
        place = int(wrong.argmax())
        raise InputError(
            f"templates must be rows of unit length, or zeros where acquiring failed: "
            f"row {place} is neither"
        )
    return matrix


def check_rates(values: Sequence[float], what: str = "FMR") -> tuple[float, ...]:
    """Return target rates as floats; InputError for one that is not between 0 and 1."""
    for value in values:
        if not 0 < value < 1:
            raise InputError(f"a target {what} must lie between 0 and 1, and {value} does not")
    return tuple(map(float, values))


def find_acquired(matrix: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Tell which templates are not zeros: bool ``(n,)``."""
    return np.asarray(matrix.any(axis=1), np.bool_)
