"""The search index: everybody's mean template, compared exactly or by binary codes first.

A person's score is the cosine to the mean of their templates, brought back to unit length: of the
rules compared on real faces it misses fewest people for the same false matches among those that
search the templates once (benchmarks/person_score.py, docs/accuracy.md). So the index has a row
for each person, the mean template in float16. Up to ``EXACT_BELOW`` people a probe is multiplied
with all of them; above, with those whose binary codes are nearest (docs/search.md).

An index proposes people; ``ranking`` computes the scores that are returned from the stored
templates. So the index may round, and nothing that is wrong with it makes a wrong score.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from facekeep.gallery.sqlite.index.binary_codes import BITS, encode, find_nearest, score_agreement
from facekeep.gallery.sqlite.index.blocks import Block, split_by_block, widen
from facekeep.gallery.sqlite.index.ranking import CandidateCache

__all__ = ["DEPTH", "EXACT_BELOW", "SearchIndex", "search_exactly"]

Floats = NDArray[np.float32]
Ints = NDArray[np.intp]
Numbers = NDArray[np.int64]

EXACT_BELOW = 20_000
"""People from which on binary codes are compared first; below that it would save no time that
counts, and all people are compared exactly."""

DEPTH = 1000
"""Rows of 512 dimensions whose binary codes are compared more closely, at least."""

_SHARE = 250
"""One row in so many is looked at more closely: the more strangers, the more are near."""

_SIEVE = 8
"""One in so many of these is then compared exactly."""

_KEPT = 250
"""Rows compared exactly, at least."""

_ROWS_AT_ONCE = 2048
"""Rows brought to float32 at once: they stay in the cache of a core."""

_PROBES_AT_ONCE = 8192
"""Probes compared with everybody at once, to bound memory (64 MiB of similarities)."""


@dataclass(frozen=True, eq=False)
class SearchIndex:
    """One searchable state of a gallery; what it holds of the people never changes.

    Attributes:
        blocks: The people.
        changes: ``meta.changes`` of the state.
        rewrites: ``meta.rewrites`` of the state.
        last_template: The highest number of a template in it.
        known: People whose stored templates were read for a search in this state.
    """

    blocks: tuple[Block, ...]
    changes: int
    rewrites: int
    last_template: int
    known: CandidateCache = field(default_factory=CandidateCache)

    def __len__(self) -> int:
        return sum(map(len, self.blocks))

    @property
    def is_intact(self) -> bool:
        """Whether no file under it was overwritten."""
        return all(block.is_intact for block in self.blocks)

    def search(self, probes: Floats, count: int) -> list[list[int]]:
        """Return for each probe the numbers of the people it is most like, best first.

        Args:
            probes: float32 ``(n, d)`` of unit length.
            count: The most people to return for each probe.
        """
        if not len(self):
            return [[] for _ in probes]
        if len(self) < EXACT_BELOW:
            return search_exactly(self.blocks, probes, count)
        codes = [block.codes for block in self.blocks]
        depth = max(self._depth(probes.shape[1]), 2 * count)
        return [
            self._search_some(find_nearest(codes, code, depth), probe, count)
            for probe, code in zip(probes, encode(probes), strict=True)
        ]

    def _depth(self, width: int) -> int:
        # Narrow vectors have impostors nearer to the mates and take less time (docs/search.md).
        return max(DEPTH, len(self) // _SHARE) * BITS // width

    def _search_some(self, rows: Ints, probe: Floats, count: int) -> list[int]:
        rows.sort()
        codes = np.concatenate([b.codes[at] for b, at in split_by_block(rows, self.blocks)])
        kept = max(len(rows) // _SIEVE, _KEPT, 2 * count)
        if kept < len(rows):
            rows = np.sort(rows[np.argpartition(score_agreement(codes, probe), -kept)[-kept:]])
        parts = list(split_by_block(rows, self.blocks))
        people = np.concatenate([block.people[at] for block, at in parts])
        scores = np.concatenate([widen(block.vectors[at]) @ probe for block, at in parts])
        return _pick_best(people, scores, count)


def search_exactly(blocks: Iterable[Block], probes: Floats, count: int) -> list[list[int]]:
    """Compare probes with everybody in blocks, of which one at a time is needed.

    Args:
        blocks: The people.
        probes: float32 ``(n, d)`` of unit length.
        count: The most people to return for each probe.

    Returns:
        The numbers of the people each probe is most like, best first.
    """
    chunks = [probes[at : at + _PROBES_AT_ONCE] for at in range(0, len(probes), _PROBES_AT_ONCE)]
    found = [
        (np.empty((len(chunk), 0), np.int64), np.empty((len(chunk), 0), np.float32))
        for chunk in chunks
    ]
    for block in blocks:
        for first in range(0, len(block), _ROWS_AT_ONCE):
            rows = slice(first, first + _ROWS_AT_ONCE)
            people, vectors = block.people[rows], widen(block.vectors[rows])
            found = [
                _merge_best(known, people, _multiply(chunk, vectors), count)
                for known, chunk in zip(found, chunks, strict=True)
            ]
    return [_pick_best(*each, count) for some in found for each in zip(*some, strict=True)]


def _merge_best(
    known: tuple[Numbers, Floats], people: Numbers, scores: Floats, count: int
) -> tuple[Numbers, Floats]:
    """Return the best of the people known so far and of more, for each probe."""
    scores[:, people == 0] = -np.inf
    best = _find_highest(scores, count)
    numbers = np.hstack([known[0], people[best]])
    values = np.hstack([known[1], np.take_along_axis(scores, best, 1)])
    best = _find_highest(values, count)
    return np.take_along_axis(numbers, best, 1), np.take_along_axis(values, best, 1)


def _multiply(probes: Floats, vectors: Floats) -> Floats:
    # For one probe the product with a vector is much faster than with a matrix.
    return (vectors @ probes[0])[None] if len(probes) == 1 else probes @ vectors.T


def _find_highest(scores: Floats, count: int) -> Ints:
    """Return the places of the ``count`` highest of each row, in no order."""
    if count >= scores.shape[1]:
        return np.broadcast_to(np.arange(scores.shape[1]), scores.shape)
    return np.argpartition(scores, -count, axis=1)[:, -count:]


def _pick_best(people: Numbers, scores: Floats, count: int) -> list[int]:
    alive = people != 0
    if not alive.all():
        people, scores = people[alive], scores[alive]
    if count < len(scores):
        chosen = np.argpartition(scores, -count)[-count:]
        people, scores = people[chosen], scores[chosen]
    best: list[int] = people[np.argsort(-scores, kind="stable")].tolist()
    return best
