"""Exact search in memory: a flat float32 matrix, one product per probe, a score per person.

A person's score is the cosine to the mean of their templates, brought back to unit length: of the
rules compared on real faces it misses fewest people for the same false matches among those that
search the templates once (benchmarks/person_score.py, docs/accuracy.md).

The index is disposable: SQLite holds the truth. Additions are appended; after any other change it
is built anew. A search works on an immutable ``Flat`` and is not disturbed by a refresh.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from facekeep.gallery.records import Hit
from facekeep.gallery.rows import VectorBatch

__all__ = ["Builder", "Flat"]

Floats = NDArray[np.float32]
Ints = NDArray[np.intp]

_MAX_PRODUCT = 1 << 24
"""Similarities computed at once, to bound memory (64 MiB) when many probes meet a large gallery."""


_PEOPLE_AT_ONCE = 4096
"""People whose templates are summed at once, to bound memory."""


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
        lengths = np.ones(len(self.starts), np.float32)
        several = np.flatnonzero(self.ends - self.starts > 1)
        for first in range(0, len(several), _PEOPLE_AT_ONCE):
            people = several[first : first + _PEOPLE_AT_ONCE]
            counts = self.ends[people] - self.starts[people]
            begins = np.cumsum(counts) - counts
            rows = np.repeat(self.starts[people] - begins, counts) + np.arange(counts.sum())
            sums = np.add.reduceat(self.vectors[self.order[rows]], begins)
            lengths[people] = np.linalg.norm(sums, axis=1)
        return np.maximum(lengths, 1e-6)

    def search(self, probes: Floats, top_k: int) -> list[list[Hit]]:
        """Return for each probe the people it is most like, best first.

        Args:
            probes: float32 ``(n, d)`` of unit length.
            top_k: The most people to return for each probe.
        """
        if not len(self.order):
            return [[] for _ in probes]
        step = max(1, _MAX_PRODUCT // len(self.order))
        found: list[list[Hit]] = []
        for first in range(0, len(probes), step):
            chunk = probes[first : first + step]
            products = self._multiply(chunk)
            pairs = zip(chunk, products, strict=True)
            found.extend(self._rank(probe, row, top_k) for probe, row in pairs)
        return found

    def _multiply(self, probes: Floats) -> Floats:
        # For one probe the product of matrix and vector is much faster than that of two matrices.
        single = len(probes) == 1
        product: Floats = self.vectors @ probes[0] if single else probes @ self.vectors.T
        return product.reshape(len(probes), -1)

    def _rank(self, probe: Floats, product: Floats, top_k: int) -> list[Hit]:
        grouped = product[self.order]
        # The cosine to the re-normalised mean is the sum of the cosines over the length of the sum.
        scores = np.add.reduceat(grouped, self.starts) / self.mean_lengths
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
            templates=int(end - start),
            negative_similarity=_cosine(float(against.max())) if len(against) else None,
        )


def _cosine(value: float) -> float:
    return min(1.0, max(-1.0, value))
