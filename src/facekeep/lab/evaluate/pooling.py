"""Pool the images of a template into one row, as results on IJB-B and IJB-C are commonly made.

Each image's feature is the sum of its embedding and its mirror image's, not brought to unit length;
it may be weighted by how sure the face detector was. Features of one photo or video (media) are
averaged, the averages of a template are summed, and the sum is brought to unit length.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from facekeep.errors import InputError
from facekeep.lab.evaluate._checks import acquired, labels

__all__ = ["Pooled", "pool"]

_BLOCK: Final = 8192

Rows = NDArray[np.float32]
Ints = NDArray[np.integer[Any]]


@dataclass(frozen=True, slots=True, eq=False)
class Pooled:
    """Templates, t of them.

    Attributes:
        ids: int ``(t,)``, rising.
        rows: float32 ``(t, d)`` of unit length; zeros for one of which no image was acquired.
        images: int64 ``(t,)``, how many images each was made of.
        failed: How many are zeros.
    """

    ids: NDArray[np.integer[Any]]
    rows: NDArray[np.float32]
    images: NDArray[np.int64]
    failed: int

    def places(self, ids: ArrayLike) -> NDArray[np.int32]:
        """Find templates by their ids: int32, the places of their rows.

        Raises:
            InputError: There is no template with one of the ids.
        """
        wanted = np.asarray(ids)
        found = np.searchsorted(self.ids, wanted).clip(max=max(len(self.ids) - 1, 0))
        wrong = self.ids[found] != wanted if len(self.ids) else np.ones(wanted.shape, bool)
        if wrong.any():
            raise InputError(f"there is no template {wanted[int(wrong.argmax())]}")
        return found.astype(np.int32)


def pool(
    features: ArrayLike, template: ArrayLike, media: ArrayLike, *, weights: ArrayLike | None = None
) -> Pooled:
    """Pool images into templates; see above.

    Args:
        features: float32 ``(n, d)``, of any length; zeros where an image failed to acquire, which
            is then as if it were not there.
        template: int ``(n,)``, the template of each image.
        media: int ``(n,)``, the photo or video it was taken from, numbered within a template.
        weights: float ``(n,)``, what each feature is multiplied by: the detector's score, and the
            feature's length where features are of unit length.

    Raises:
        InputError: Shapes do not fit, or a number is not finite.
    """
    matrix = np.asarray(features, np.float32)
    if matrix.ndim != 2:
        raise InputError(f"features must have two dimensions, not {matrix.ndim}")
    owner = labels(template, len(matrix), "template")
    source = labels(media, len(matrix), "media")
    factors = labels(np.ones(len(matrix)) if weights is None else weights, len(matrix), "weights")
    ids = np.unique(owner)
    rows = np.zeros((len(ids), matrix.shape[1]), np.float32)
    images = np.zeros(len(ids), np.int64)
    order = np.lexsort((source, owner))
    order = order[acquired(matrix)[order]]
    for here in _blocks(owner[order], order):
        with np.errstate(over="ignore", invalid="ignore"):
            sums, found, counts = _pooled(matrix[here], factors[here], owner[here], source[here])
            lengths = np.linalg.norm(sums, axis=1, keepdims=True)
        if not np.isfinite(lengths).all():
            raise InputError("features and weights must be finite numbers")
        places = np.searchsorted(ids, found)
        rows[places] = sums / np.where(lengths > 0, lengths, 1)
        images[places] = counts
    return Pooled(ids, rows, images, int((~acquired(rows)).sum()))


def _blocks(owner: Ints, order: NDArray[np.intp]) -> Iterator[NDArray[np.intp]]:
    """Cut images, grouped by template, into blocks of whole templates."""
    ends = np.append(np.flatnonzero(owner[1:] != owner[:-1]) + 1, len(owner))
    start = 0
    while start < len(order):
        fits = np.searchsorted(ends, start + _BLOCK, side="right") - 1
        end = max(int(ends[fits]), int(ends[np.searchsorted(ends, start, side="right")]))
        yield order[start:end]
        start = end


def _pooled(
    features: Rows, factors: NDArray[Any], owner: Ints, media: Ints
) -> tuple[NDArray[np.float64], Ints, NDArray[np.int64]]:
    """Sum the means over media of grouped images: sums, their templates, and images of each."""
    weighted = features * np.asarray(factors, np.float64)[:, None]
    new_template = np.append(True, owner[1:] != owner[:-1])
    starts = np.flatnonzero(new_template | np.append(True, media[1:] != media[:-1]))
    means = np.add.reduceat(weighted, starts) / np.diff(starts, append=len(owner))[:, None]
    firsts = np.flatnonzero(new_template)
    sums = np.add.reduceat(means, np.searchsorted(starts, firsts))
    return sums, owner[firsts], np.diff(firsts, append=len(owner)).astype(np.int64)
