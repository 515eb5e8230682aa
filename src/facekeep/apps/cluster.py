"""Group embeddings of the same person by average linkage.

Two groups become one when the mean cosine over all pairs of a face of the one and a face of the
other reaches the threshold. Of single linkage, Chinese whispers and average linkage this one had
the best pairwise and BCubed F on labelled faces of thousands of people, at every false-match rate
up to 1e-3 (benchmarks/cluster.py); the others chain people together, more so as there are more.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["group_faces", "neighbours"]

_BLOCK = 256
# A group remembers only so many others, its most similar: bounds time and memory where one person
# has thousands of faces, and far exceeds what a step looks at, which is the nearest.
_NEIGHBOURS = 64
# Similarities this close are ties: rounding must not lead the walk in a circle.
_TIE = 1e-9


def group_faces(embeddings: NDArray[np.float32], cosine: float) -> list[NDArray[np.intp]]:
    """Group faces of the same person.

    The result does not depend on the order of the faces. Memory grows with their number, not with
    its square.

    Args:
        embeddings: float32 ``(n, d)``, rows of unit length; n may be 0.
        cosine: The mean similarity, above 0, at which groups are of one person.

    Returns:
        For each person the indices of the faces, rising; the largest groups first, faces that are
        like no other as groups of one.
    """
    order = np.array(sorted(range(len(embeddings)), key=lambda i: embeddings[i].tobytes()), np.intp)
    rows = np.ascontiguousarray(embeddings[order])
    groups = _Groups(rows, neighbours(rows, cosine), cosine)
    for start in range(len(rows)):
        groups.grow(start)
    found = [np.sort(order[members]) for members in groups.members if members]
    return sorted(found, key=len, reverse=True)


def neighbours(
    rows: NDArray[np.float32], cosine: float, most: int = _NEIGHBOURS
) -> list[NDArray[np.intp]]:
    """For each row find the other rows whose similarity reaches ``cosine``, ``most`` at most.

    Works on blocks of rows, so that memory stays linear in their number.
    """
    found: list[NDArray[np.intp]] = []
    for start in range(0, len(rows), _BLOCK):
        block = rows[start : start + _BLOCK] @ rows.T
        np.fill_diagonal(block[:, start:], -np.inf)
        for similarities in block:
            near = np.flatnonzero(similarities >= cosine)
            found.append(_best(near, similarities[near], most))
    return found


def _best(items: NDArray[np.intp], values: NDArray[np.floating], most: int) -> NDArray[np.intp]:
    if len(items) <= most:
        return items
    return items[np.argsort(-values, kind="stable")[:most]]


class _Groups:
    """Groups that grow by joining the two that are nearest to each other.

    The mean similarity of two groups is the product of their mean vectors, so sums of vectors are
    all that is needed. Joining mutually nearest groups in any order gives the same tree as always
    joining the two nearest of all (Murtagh 1983), because with average linkage a joined group is
    never nearer to a third than the nearer of its parts was. For the same reason a neighbour below
    the threshold can be forgotten.
    """

    def __init__(
        self, rows: NDArray[np.float32], near: list[NDArray[np.intp]], cosine: float
    ) -> None:
        self.members = [[i] for i in range(len(rows))]
        self._group_of = np.arange(len(rows))
        self._sums = rows.astype(np.float64)
        self._sizes = np.ones(len(rows))
        self._near = near
        self._cosine = cosine

    def grow(self, start: int) -> None:
        """Join pairs of groups until nothing more can be joined to group ``start``."""
        while self._group_of[start] == start and (pair := self._mutually_nearest(start)):
            self._join(*pair)

    def _mutually_nearest(self, start: int) -> tuple[int, int] | None:
        """Walk from a group to its nearest, and on, to two that are nearest to each other."""
        before, here = -1, start
        while True:
            nearest, similarity = self._nearest(here)
            if before >= 0 and self._similarities(here, before) >= similarity - _TIE:
                return before, here
            if nearest < 0:
                return None
            before, here = here, nearest

    def _nearest(self, group: int) -> tuple[int, float]:
        """The nearest group at or above the threshold, or -1; the smaller index where two tie."""
        near = np.unique(self._group_of[self._near[group]])
        near = near[near != group]
        similarities = self._similarities(group, near)
        enough = similarities >= self._cosine
        near, similarities = near[enough], similarities[enough]
        self._near[group] = _best(near, similarities, _NEIGHBOURS)
        if not len(near):
            return -1, -np.inf
        best = int(similarities.argmax())
        return int(near[best]), float(similarities[best])

    def _similarities(self, group: int, others: NDArray[np.intp] | int) -> NDArray[np.float64]:
        products = self._sums[others] @ self._sums[group]
        return np.asarray(products / (self._sizes[others] * self._sizes[group]))

    def _join(self, first: int, second: int) -> None:
        kept, gone = sorted((first, second), key=lambda i: (-self._sizes[i], i))
        self._group_of[self.members[gone]] = kept
        self.members[kept] += self.members[gone]
        self.members[gone] = []
        self._sums[kept] += self._sums[gone]
        self._sizes[kept] += self._sizes[gone]
        self._near[kept] = np.concatenate([self._near[kept], self._near[gone]])
