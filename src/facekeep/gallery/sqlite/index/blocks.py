"""Blocks: people as the search sees them, one row for each.

A row is a person's number in the gallery, a mark of the templates it was made from, and the mean of
these templates, as a binary code and in float16. Nothing in a block changes: who searches in one is
not disturbed by those who build the next.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from facekeep.gallery.sqlite.index.binary_codes import encode
from facekeep.gallery.sqlite.index.file_reader import FileReader
from facekeep.gallery.sqlite.repository import Repository

__all__ = [
    "BLOCK_ROWS",
    "Block",
    "Truth",
    "Vectors",
    "average",
    "encode_block",
    "find_places",
    "gather",
    "join_small_blocks",
    "keep_valid",
    "mark_templates",
    "read_blocks",
    "read_truth",
    "remove_people",
    "split_by_block",
    "widen",
]

Floats = NDArray[np.float32]
Halves = NDArray[np.float16]
Ints = NDArray[np.intp]
Numbers = NDArray[np.int64]
Words = NDArray[np.uint64]
Truth = tuple[Numbers, Words]
"""All people with templates, sorted, and the marks of their templates."""

BLOCK_ROWS = 65536
"""The most rows of a block, on disk and in memory."""

_PEOPLE_AT_ONCE = 512


class Vectors(Protocol):
    """Rows of float16 vectors ``(n, d)``, in memory or in a file."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The number of rows, and the width."""

    @property
    def nbytes(self) -> int:
        """The bytes they take, wherever they lie."""

    def __getitem__(self, rows: Any, /) -> Halves:
        """Return some rows, by a slice or by their places."""


@dataclass(frozen=True, eq=False)
class Block:
    """Up to ``BLOCK_ROWS`` people.

    Attributes:
        people: int64 ``(n,)``, their numbers in the gallery; 0 where the row no longer holds.
        marks: uint64 ``(n,)``, which templates each row was made from.
        codes: uint64 ``(n, 8)``.
        vectors: float16 ``(n, d)``, mean templates of unit length.
        file: The file its vectors lie in; None for a block in memory.
    """

    people: Numbers
    marks: Words
    codes: Words
    vectors: Vectors
    file: FileReader | None = None

    @property
    def stored(self) -> bool:
        """Whether its vectors lie in a file."""
        return self.file is not None

    @property
    def is_intact(self) -> bool:
        """Whether its rows are still what they were: nobody overwrote any under it."""
        return self.file is None or self.file.is_intact

    @property
    def nbytes(self) -> int:
        """The memory it takes; for a block in a file, what it would take."""
        return sum(column.nbytes for column in self.columns)

    def __len__(self) -> int:
        return len(self.people)

    @property
    def columns(self) -> tuple[Any, ...]:
        """People, marks, codes and vectors."""
        return self.people, self.marks, self.codes, self.vectors

    def without(self, dead: NDArray[np.bool_]) -> Block:
        """Return the block without some of its rows; what is in memory is forgotten."""
        if not dead.any():
            return self
        if self.stored:
            people = np.where(dead, 0, self.people)
            return Block(people, self.marks, self.codes, self.vectors, self.file)
        return _make_block(column[~dead] for column in self.columns)


def _make_block(columns: Iterable[NDArray[Any]]) -> Block:
    people, own_marks, codes, vectors = columns
    return Block(people, own_marks, codes, vectors)


def encode_block(people: Numbers, own_marks: Words, vectors: Floats) -> Block:
    """Return the block of people with these mean templates."""
    return Block(people, own_marks, encode(vectors), vectors.astype(np.float16))


def gather(parts: Iterable[Block], count: int) -> list[Block]:
    """Return the rows of many small blocks in few large ones.

    Args:
        parts: The small blocks.
        count: How many rows they have at most; their memory is taken once, before they come, so
            that what making them needs leaves no holes in the memory of the process.
    """
    large: list[Block] = []
    used = 0
    for part in parts:
        taken = 0
        while taken < len(part):
            if not large or used == len(large[-1]):
                large.append(_reserve(part, min(count, BLOCK_ROWS)))
                count -= len(large[-1])
                used = 0
            step = min(len(large[-1]) - used, len(part) - taken)
            for target, column in zip(large[-1].columns, part.columns, strict=True):
                target[used : used + step] = column[taken : taken + step]
            used, taken = used + step, taken + step
    return [*large[:-1], *(_make_block(c[:used] for c in each.columns) for each in large[-1:])]


def _reserve(like: Block, rows: int) -> Block:
    return _make_block(np.empty((rows, *column.shape[1:]), column.dtype) for column in like.columns)


def join_small_blocks(blocks: Sequence[Block]) -> list[Block]:
    """Join neighbors in memory so that there are few, at little copying for each addition."""
    result: list[Block] = []
    for block in blocks:
        parts = [block]
        size = len(block)
        while result and _can_join(result[-1], size):
            size += len(result[-1])
            parts.insert(0, result.pop())
        result.extend(gather(parts, size) if len(parts) > 1 else [block])
    return [block for block in result if len(block)]


def _can_join(block: Block, size: int) -> bool:
    return not block.stored and len(block) <= 2 * size and len(block) + size <= BLOCK_ROWS


def mark_templates(people: Numbers, templates: Numbers) -> tuple[Numbers, Words]:
    """Return each person and the mark of the person's templates.

    A template never changes and its number is never used again, so a row whose mark is that of
    the person's present templates holds.

    Args:
        people: int64 ``(n,)``, the person of each template, sorted.
        templates: int64 ``(n,)``, the numbers of the templates.
    """
    starts = _find_starts(people)
    if not len(starts):
        return np.empty(0, np.int64), np.empty(0, np.uint64)
    return people[starts], np.add.reduceat(_hash(templates.astype(np.uint64)), starts)


def find_places(people: Numbers, own_marks: Words, truth: Truth) -> Ints:
    """Return the place in ``truth`` of each row's person; -1 where the row no longer holds."""
    everybody, their_marks = truth
    if not len(everybody):
        return np.full(len(people), -1, np.intp)
    places = np.minimum(np.searchsorted(everybody, people), len(everybody) - 1)
    holds = (everybody[places] == people) & (their_marks[places] == own_marks)
    return np.where(holds, places, -1)


def _find_starts(people: Numbers) -> Ints:
    return np.flatnonzero(np.diff(people, prepend=-1))


def _hash(words: Words) -> Words:
    """Return hashes (the finalizer of SplitMix64, Steele et al. 2014)."""
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))


def average(people: Numbers, vectors: Floats) -> tuple[Numbers, Floats]:
    """Return each person and the mean of the person's templates, brought back to unit length.

    Args:
        people: int64 ``(n,)``, the person of each template, sorted.
        vectors: float32 ``(n, d)``.
    """
    starts = _find_starts(people)
    if not len(starts):
        return np.empty(0, np.int64), np.empty((0, vectors.shape[1]), np.float32)
    sums = np.add.reduceat(vectors, starts)
    lengths = np.linalg.norm(sums, axis=1, keepdims=True)
    return people[starts], sums / np.maximum(lengths, 1e-6)


def widen(vectors: Halves) -> Floats:
    """Return float16 values as float32.

    For finite values the same as ``astype``, which takes seven times as long without instructions
    that NumPy's wheels do not use: exponent and fraction are moved to their place, and the product
    puts the other bias of the exponent right.
    """
    bits = vectors.view(np.int16).astype(np.int32)
    bits <<= 13
    bits &= np.int32(-0x70002000)  # the sign was copied into the upper bits of the exponent
    values = bits.view(np.float32)
    values *= np.float32(2.0**112)
    return values


def split_by_block(rows: Ints, blocks: Sequence[Block]) -> Iterator[tuple[Block, Ints]]:
    """Yield blocks with the places in them of rows that are counted through all blocks.

    Args:
        rows: Sorted.
        blocks: The blocks.
    """
    first = begin = 0
    for block in blocks:
        end = int(np.searchsorted(rows, first + len(block)))
        if end > begin:
            yield block, rows[begin:end] - first
        first, begin = first + len(block), end


def keep_valid(blocks: Sequence[Block], truth: Truth) -> tuple[list[Block], Numbers]:
    """Return the blocks without the rows that no longer hold, and the people without a row."""
    everybody = truth[0]
    found = np.zeros(len(everybody), np.bool_)
    kept = []
    for block in blocks:
        places = find_places(block.people, block.marks, truth)
        # A person who got back to earlier templates has two rows that hold; one is enough.
        _, rows = np.unique(places, return_index=True)
        rows = rows[places[rows] >= 0]
        rows = rows[~found[places[rows]]]
        found[places[rows]] = True
        dead = np.ones(len(block), np.bool_)
        dead[rows] = False
        kept.append(block.without(dead))
    return join_small_blocks(kept), everybody[~found]


def remove_people(blocks: Sequence[Block], people: Sequence[int]) -> list[Block]:
    """Return the blocks without the rows of these people."""
    return [block.without(np.isin(block.people, people)) for block in blocks]


def read_truth(repo: Repository) -> Truth:
    """Return the numbers of all people with templates, sorted, and the marks of their templates."""
    return mark_templates(*repo.owners())


def read_blocks(repo: Repository, people: Sequence[int]) -> Iterator[Block]:
    """Yield small blocks of those of these people who have a template that is not negative."""
    for first in range(0, len(people), _PEOPLE_AT_ONCE):
        batch = repo.vectors(people[first : first + _PEOPLE_AT_ONCE])
        if batch is not None:
            everybody, own_marks = mark_templates(batch.people, batch.rows)
            positive = ~batch.negatives
            found, vectors = average(batch.people[positive], batch.vectors[positive])
            yield encode_block(found, own_marks[np.isin(everybody, found)], vectors)
