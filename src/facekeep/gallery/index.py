"""Exact search in memory: a flat float32 matrix, one product per probe, a score per person.

The index is disposable: SQLite holds the truth. Additions are appended; after any other change it
is built anew. A search works on an immutable ``Flat`` and is not disturbed by a refresh.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from facekeep.gallery.records import Hit
from facekeep.gallery.rows import VectorBatch

__all__ = ["Builder", "Flat", "Score"]

Score = Literal["max", "mean", "top2"]
"""A person's score from several templates: the best, the mean template, mean of the best two."""

Floats = NDArray[np.float32]
Ints = NDArray[np.intp]

_MAX_PRODUCT = 1 << 24
"""Similarities computed at once, to bound memory (64 MiB) when many probes meet a large gallery."""


class _Block:
    """Vectors with their template and person; grows at its end, where no earlier view looks."""

    def __init__(self, width: int, capacity: int) -> None:
        self.size = 0
        self.vectors: Floats = np.empty((capacity, width), np.float32)
        self.people: Ints = np.empty(capacity, np.intp)
        self.templates: list[str] = []

    def extend(self, vectors: Floats, people: Ints, templates: Iterable[str]) -> None:
        end = self.size + len(vectors)
        if end > len(self.vectors):
            self._grow(max(end, len(self.vectors) * 5 // 4))
        self.vectors[self.size : end] = vectors
        self.people[self.size : end] = people
        self.templates.extend(templates)
        self.size = end

    def _grow(self, capacity: int) -> None:
        vectors, people = self.vectors, self.people
        self.vectors = np.empty((capacity, vectors.shape[1]), np.float32)
        self.people = np.empty(capacity, np.intp)
        self.vectors[: self.size] = vectors[: self.size]
        self.people[: self.size] = people[: self.size]


class Builder:
    """Collects the templates of a gallery and gives out searchable states."""

    def __init__(self, width: int, capacity: int) -> None:
        """Start empty, with room for ``capacity`` templates of ``width`` dimensions."""
        self.last_row = 0
        self._positive = _Block(width, capacity)
        self._negative = _Block(width, 0)
        self._people: dict[str, int] = {}
        self._names: list[tuple[str, str]] = []

    def extend(self, batch: VectorBatch) -> None:
        """Append templates."""
        people = np.fromiter(map(self._number, batch.people, batch.names), np.intp)
        negative = np.array(batch.negatives, dtype=bool)
        for block, chosen in ((self._positive, ~negative), (self._negative, negative)):
            templates = [batch.templates[i] for i in np.flatnonzero(chosen)]
            block.extend(batch.vectors[chosen], people[chosen], templates)
        self.last_row = batch.rows[-1]

    def _number(self, person: str, name: str) -> int:
        number = self._people.setdefault(person, len(self._names))
        if number == len(self._names):
            self._names.append((person, name))
        return number

    def state(self) -> Flat:
        """Return what was collected so far, ready for search."""
        positive, negative = self._positive, self._negative
        return Flat(
            vectors=positive.vectors[: positive.size],
            people=positive.people[: positive.size],
            templates=positive.templates,
            negatives=negative.vectors[: negative.size],
            negative_people=negative.people[: negative.size],
            names=self._names,
        )


@dataclass(frozen=True, eq=False)
class Flat:
    """One searchable state of a gallery.

    Attributes:
        vectors: float32 ``(n, d)``, the templates.
        people: ``(n,)``, the number of each template's person.
        templates: UUID of each template.
        negatives: float32 ``(m, d)``, the "this is not" templates.
        negative_people: ``(m,)``, the number of each negative template's person.
        names: UUID and name of each person.
    """

    vectors: Floats
    people: Ints
    templates: list[str]
    negatives: Floats
    negative_people: Ints
    names: list[tuple[str, str]]
    order: Ints = field(init=False)
    starts: Ints = field(init=False)
    ends: Ints = field(init=False)

    def __post_init__(self) -> None:
        # Grouping by person is a permutation of the scores; the matrix itself is never moved.
        order = np.argsort(self.people, kind="stable")
        starts = np.flatnonzero(np.diff(self.people[order], prepend=-1))
        object.__setattr__(self, "order", order)
        object.__setattr__(self, "starts", starts)
        object.__setattr__(self, "ends", np.append(starts[1:], len(order)).astype(np.intp))

    @cached_property
    def mean_lengths(self) -> Floats:
        """Length of the sum of each person's templates."""
        sums = (self.vectors[self.order[a:b]].sum(axis=0) for a, b in self._groups())
        return np.array([np.linalg.norm(total) for total in sums], dtype=np.float32)

    def _groups(self) -> Iterator[tuple[int, int]]:
        return zip(self.starts.tolist(), self.ends.tolist(), strict=True)

    def search(self, probes: Floats, top_k: int, score: Score) -> list[list[Hit]]:
        """Return for each probe the people it is most like, best first.

        Args:
            probes: float32 ``(n, d)`` of unit length.
            top_k: The most people to return for each probe.
            score: How a person's score comes from several templates.
        """
        if not len(self.order):
            return [[] for _ in probes]
        step = max(1, _MAX_PRODUCT // len(self.order))
        found: list[list[Hit]] = []
        for first in range(0, len(probes), step):
            chunk = probes[first : first + step]
            products = self._multiply(chunk)
            pairs = zip(chunk, products, strict=True)
            found.extend(self._rank(probe, row, top_k, score) for probe, row in pairs)
        return found

    def _multiply(self, probes: Floats) -> Floats:
        # For one probe the product of matrix and vector is much faster than that of two matrices.
        single = len(probes) == 1
        product: Floats = self.vectors @ probes[0] if single else probes @ self.vectors.T
        return product.reshape(len(probes), -1)

    def _rank(self, probe: Floats, product: Floats, top_k: int, score: Score) -> list[Hit]:
        grouped = product[self.order]
        scores = SCORES[score](self, grouped)
        best = np.arange(len(scores))
        if top_k < len(scores):
            best = np.argpartition(scores, -top_k)[-top_k:]
        best = best[np.argsort(-scores[best], kind="stable")]
        refused = self.negatives @ probe
        return [self._hit(int(group), float(scores[group]), grouped, refused) for group in best]

    def _hit(self, group: int, score: float, grouped: Floats, refused: Floats) -> Hit:
        start, end = self.starts[group], self.ends[group]
        row = self.order[start + int(np.argmax(grouped[start:end]))]
        person = self.people[row]
        against = refused[self.negative_people == person]
        person_id, name = self.names[person]
        return Hit(
            person_id=person_id,
            name=name,
            similarity=_cosine(score),
            template_id=self.templates[row],
            negative_similarity=_cosine(float(against.max())) if len(against) else None,
        )


def _cosine(value: float) -> float:
    return min(1.0, max(-1.0, value))


def _score_max(flat: Flat, grouped: Floats) -> NDArray[np.floating]:
    return np.maximum.reduceat(grouped, flat.starts)


def _score_mean(flat: Flat, grouped: Floats) -> NDArray[np.floating]:
    # The cosine to the re-normalised mean is the sum of the cosines over the length of the sum.
    return np.add.reduceat(grouped, flat.starts) / np.maximum(flat.mean_lengths, 1e-6)


def _score_top2(flat: Flat, grouped: Floats) -> NDArray[np.floating]:
    ranked = grouped[np.lexsort((grouped, flat.people[flat.order]))]
    second = np.maximum(flat.ends - 2, flat.starts)
    return (ranked[flat.ends - 1] + ranked[second]) / 2


SCORES: dict[Score, Callable[[Flat, Floats], NDArray[np.floating]]] = {
    "max": _score_max,
    "mean": _score_mean,
    "top2": _score_top2,
}
