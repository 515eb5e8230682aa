"""Group embeddings of the same person by agglomeration, between average and centroid linkage.

Of single linkage, Chinese whispers, average linkage, centroid linkage and the way between the two,
the last has the best F, by pairs and by BCubed, on faces of 5,557 people at the default false-match
rate (benchmarks/cluster.py). Among so many people single linkage, centroid linkage and whispers
chain some together, and average linkage splits people of whom there are many photos.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["find_neighbors", "group_faces"]

_BLOCK = 256
# A group remembers only so many others, its most similar: bounds time and memory where one person
# has thousands of faces, and far exceeds what a step looks at, which is the nearest.
_NEIGHBORS = 64
# Similarities this close are ties: rounding must not lead a walk in a circle.
_TIE = 1e-5


def group_faces(
    embeddings: NDArray[np.float32],
    cosine: float,
    *,
    photos: Sequence[int] | None = None,
    linkage: float = 0.5,
) -> list[NDArray[np.intp]]:
    """Group faces of the same person.

    The result does not depend on the order of the faces. Memory grows with their number, not with
    its square.

    Args:
        embeddings: float32 ``(n, d)``, rows of unit length; n may be 0.
        cosine: The similarity, above 0, from which on faces, and groups, are of one person.
        photos: The number of the photo that each face is in: no two faces of one photo come into
            one group. None: any two may.
        linkage: What the similarity of two groups is: 0 for the mean over all pairs of a face of
            each (average linkage), 1 for the cosine between their mean vectors (centroid linkage),
            something between for something between.

    Returns:
        For each person the indices of the faces, rising; the largest groups first, faces that are
        like no other as groups of one.
    """
    order = np.array(sorted(range(len(embeddings)), key=lambda i: embeddings[i].tobytes()), np.intp)
    rows = np.ascontiguousarray(embeddings[order])
    seen = None if photos is None else [{photos[i]} for i in order.tolist()]
    groups = _Groups(rows, find_neighbors(rows, cosine), cosine, linkage, seen)
    for start in range(len(rows)):
        groups.grow(start)
    found = [np.sort(order[members]) for members in groups.members if members]
    return sorted(found, key=len, reverse=True)


def find_neighbors(
    rows: NDArray[np.float32], cosine: float, most: int = _NEIGHBORS
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
    """Groups that grow by joining two that are nearest to each other (Murtagh 1983).

    A group is a vector: the mean of its faces, divided by its own length to the power of
    ``linkage``. The product of two such vectors is the similarity of the groups. A mean gets
    shorter as a group grows more varied, so dividing by some of its length lets large groups take
    in what resembles all of them a little.
    """

    def __init__(
        self,
        rows: NDArray[np.float32],
        near: list[NDArray[np.intp]],
        cosine: float,
        linkage: float,
        photos: list[set[int]] | None,
    ) -> None:
        self.members = [[i] for i in range(len(rows))]
        self._group_of = np.arange(len(rows))
        self._sums = rows.copy()
        self._vectors = rows.copy()
        self._near = near
        self._cosine = cosine
        self._linkage = linkage
        self._photos = photos

    def grow(self, start: int) -> None:
        """Join pairs of groups until nothing more can be joined to group ``start``."""
        while self._group_of[start] == start and (pair := self._mutually_nearest(start)):
            self._join(*pair)

    def _mutually_nearest(self, start: int) -> tuple[int, int] | None:
        """Walk from a group to its nearest, and on, to two that are nearest to each other.

        Similarity rises with each step, so the walk ends.
        """
        before, here = -1, start
        while True:
            nearest, similarity = self._nearest(here)
            if before >= 0 and self._vectors[here] @ self._vectors[before] >= similarity - _TIE:
                return before, here
            if nearest < 0:
                return None
            before, here = here, nearest

    def _nearest(self, group: int) -> tuple[int, float]:
        """Find the nearest group at or above the threshold, or -1; the first where two tie."""
        near = np.unique(self._group_of[self._near[group]])
        near = self._apart(group, near[near != group])
        similarities = self._vectors[near] @ self._vectors[group]
        enough = similarities >= self._cosine
        near, similarities = near[enough], similarities[enough]
        self._near[group] = _best(near, similarities, _NEIGHBORS)
        if not len(near):
            return -1, -np.inf
        best = int(similarities.argmax())
        return int(near[best]), float(similarities[best])

    def _apart(self, group: int, others: NDArray[np.intp]) -> NDArray[np.intp]:
        """Leave out those that have a face in a photo in which the group has one too."""
        photos = self._photos
        if photos is None:
            return others
        own = photos[group]
        return others[[own.isdisjoint(photos[other]) for other in others.tolist()]]

    def _join(self, first: int, second: int) -> None:
        kept, gone = sorted((first, second), key=lambda i: (-len(self.members[i]), i))
        self._group_of[self.members[gone]] = kept
        self.members[kept] += self.members[gone]
        self.members[gone] = []
        if self._photos is not None:
            self._photos[kept] |= self._photos[gone]
        self._sums[kept] += self._sums[gone]
        mean = self._sums[kept] / len(self.members[kept])
        self._vectors[kept] = mean / np.linalg.norm(mean) ** self._linkage
        self._near[kept] = np.concatenate([self._near[kept], self._near[gone]])
