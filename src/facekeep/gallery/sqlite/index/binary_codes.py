"""Binary codes: 512 signs of a template, whose Hamming distance tells who may be near.

Two vectors at an angle t differ in the share t / pi of their signs (Charikar 2002, "Similarity
estimation techniques from rounding algorithms"), so a scan over 64 bytes a person finds those worth
an exact comparison. Vectors of 512 dimensions give their own signs; those of any other width are
first multiplied with a fixed matrix of plus and minus one, because fewer signs tell too little.
"""

from __future__ import annotations

import hashlib
import importlib.util
import itertools
import logging
import threading
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facekeep._internal.files import one_line

__all__ = ["BITS", "WORDS", "encode", "find_nearest", "score_agreement"]

_log = logging.getLogger(__name__)

Floats = NDArray[np.float32]
Ints = NDArray[np.intp]
Words = NDArray[np.uint64]

BITS = 512
WORDS = BITS // 64

_ROWS_AT_ONCE = 16384
"""Codes compared at once: enough that NumPy's calls do not count, and what they need stays in
the cache."""

_FEW = 64
"""Rows that each block is asked for besides its share."""

_EVEN = np.uint64(0x00FF00FF00FF00FF)
_SUM = np.uint64(0x0001000100010001)


@cache
def _directions(width: int) -> Floats:
    # From a hash function, so that codes on disk mean the same whatever NumPy draws.
    data = hashlib.shake_256(f"facekeep sketch 1|{width}".encode()).digest(width * BITS // 8)
    bits = np.unpackbits(np.frombuffer(data, np.uint8)).reshape(width, BITS)
    return bits.astype(np.float32) * 2 - 1


def encode(vectors: Floats) -> Words:
    """Return the binary codes of vectors.

    Args:
        vectors: float32 ``(n, d)``.

    Returns:
        uint64 ``(n, 8)``.
    """
    return np.packbits(_project(vectors) > 0, axis=1).view(np.uint64)


def _project(vectors: Floats) -> Floats:
    width = vectors.shape[-1]
    return vectors if width == BITS else vectors @ _directions(width)


def score_agreement(codes: Words, probe: Floats) -> Floats:
    """Return how well codes agree with a probe whose numbers are known, not only their signs.

    That halves what comparing two codes errs. A table holds, for each byte of a code and each
    value of it, the sum of the probe's numbers where the byte has a one.

    Args:
        codes: uint64 ``(n, 8)``.
        probe: float32 ``(d,)``.

    Returns:
        float32 ``(n,)``, higher where a code agrees more.
    """
    ones = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1)
    table = _project(probe).reshape(-1, 8) @ ones.T.astype(np.float32)
    places = codes.view(np.uint8).astype(np.intp)
    places += np.arange(0, table.size, 256)
    sums: Floats = table.reshape(-1)[places].sum(axis=1)
    return sums


def find_nearest(blocks: Sequence[Words], probe: Words, depth: int) -> Ints:
    """Return the rows nearest to a probe, counted through all blocks, in no order.

    Args:
        blocks: Binary codes, uint64 ``(n, 8)`` each, contiguous.
        probe: One code, uint64 ``(8,)``.
        depth: How many rows to return, or all there are where there are fewer.
    """
    best = _Nearest(depth)
    scan = _scan_with_faiss if _has_faiss() else _scan
    scan(blocks, probe, best)
    return best.rows()


class _Nearest:
    """The nearest rows so far.

    Attributes:
        depth: How many there should be.
        limit: The distance from which on a row is not among them.
    """

    def __init__(self, depth: int) -> None:
        self.limit = BITS + 1
        self.depth = depth
        self._found = [(np.empty(0, np.uint16), np.empty(0, np.intp))]
        self._held = 0

    def add(self, distances: NDArray[Any], rows: Ints) -> None:
        self._found.append((distances.astype(np.uint16), rows))
        self._held += len(rows)
        if self._held > 2 * self.depth:
            self._choose()

    def rows(self) -> Ints:
        self._choose()
        return self._found[0][1]

    def _choose(self) -> None:
        distances, rows = map(np.concatenate, zip(*self._found, strict=True))
        if len(rows) > self.depth:
            # Several times as fast as argpartition, which jumps with each number.
            self.limit = int(np.partition(distances, self.depth - 1)[self.depth - 1])
            nearer = np.flatnonzero(distances < self.limit)
            as_near = np.flatnonzero(distances == self.limit)[: self.depth - len(nearer)]
            chosen = np.concatenate([nearer, as_near])
            distances, rows = distances[chosen], rows[chosen]
        self._found, self._held = [(distances, rows)], len(rows)


class _Buffers(threading.local):
    """The memory in which a thread compares; kept, because getting it page by page is slow."""

    def __init__(self) -> None:
        self.probes = np.empty((_ROWS_AT_ONCE, WORDS), np.uint64)
        self.differing = np.empty_like(self.probes)
        self.counts = np.empty(self.probes.shape, np.uint8)
        self.sums = np.empty(_ROWS_AT_ONCE, np.uint64)


_buffers = _Buffers()


def _scan(blocks: Sequence[Words], probe: Words, best: _Nearest) -> None:
    # Repeated, because NumPy is slow where one operand is eight words long.
    _buffers.probes[:] = probe
    for first, block in zip(_block_starts(blocks), blocks, strict=True):
        for begin in range(0, len(block), _ROWS_AT_ONCE):
            distances = _compute_distances(block[begin : begin + _ROWS_AT_ONCE])
            near = np.flatnonzero(distances < best.limit)
            best.add(distances[near], near + (first + begin))


def _compute_distances(words: Words) -> Words:
    """Return the distances to the probe in the buffers; they hold until the next are asked for."""
    size = len(words)
    differing, counts = _buffers.differing[:size], _buffers.counts[:size]
    np.bitwise_xor(words, _buffers.probes[:size], out=differing)
    np.bitwise_count(differing, out=counts)
    return _sum_bytes(counts.view(np.uint64)[:, 0], _buffers.sums)


def _block_starts(blocks: Sequence[Words]) -> list[int]:
    return list(itertools.accumulate(map(len, blocks), initial=0))[:-1]


def _sum_bytes(counts: Words, out: Words) -> Words:
    """Add the eight bytes of each word, which are 64 at most, in ``out``."""
    sums = np.right_shift(counts, np.uint64(8), out=out[: len(counts)])
    sums += counts  # of two each, which a byte still holds
    sums &= _EVEN
    sums *= _SUM
    sums >>= np.uint64(48)
    return sums


@cache
def _has_faiss() -> bool:
    if importlib.util.find_spec("faiss") is None:
        return False
    try:
        import faiss  # noqa: F401 - installed is not yet usable
    except ImportError as error:
        _log.warning("faiss cannot be imported (%s); NumPy searches instead", one_line(error))
        return False
    return True


def _scan_with_faiss(blocks: Sequence[Words], probe: Words, best: _Nearest) -> None:
    """Ask each block for twice its share of the nearest, and for more where that was too few.

    For each row that it is asked for, faiss takes 4 kB of memory.
    """
    share = 2 * best.depth / max(1, sum(map(len, blocks)))
    cut = []
    for first, block in zip(_block_starts(blocks), blocks, strict=True):
        wanted = min(best.depth, len(block))
        asked = min(wanted, int(share * len(block)) + _FEW)
        distances, rows = _search_with_faiss(block, probe, asked)
        best.add(distances, rows + first)
        if asked < wanted:
            cut.append((first, block, wanted, rows, distances[-1]))
    best.rows()  # the limit is known from here on
    for first, block, wanted, known, farthest in cut:
        if farthest < best.limit:
            distances, rows = _search_with_faiss(block, probe, wanted)
            new = np.isin(rows, known, invert=True)
            best.add(distances[new], rows[new] + first)


def _search_with_faiss(block: Words, probe: Words, count: int) -> tuple[NDArray[Any], Ints]:
    """The rows of a block that are nearest to a probe, and their distances, the least first."""
    import faiss

    found = faiss.knn_hamming(probe.view(np.uint8)[None], block.view(np.uint8), count, variant="mc")
    return found[0][0], found[1][0].astype(np.intp)
