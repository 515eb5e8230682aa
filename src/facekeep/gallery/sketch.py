"""Sketches: 512 signs of a template, whose Hamming distance tells who may be near.

Two vectors at an angle t differ in the share t / pi of their signs (Charikar 2002, "Similarity
estimation techniques from rounding algorithms"), so a scan over 64 bytes a person finds those worth
an exact comparison. Vectors of 512 dimensions give their own signs; those of any other width are
first multiplied with a fixed matrix of plus and minus one, because fewer signs tell too little.
"""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

__all__ = ["BITS", "WORDS", "agreement", "nearest", "sketches"]

Floats = NDArray[np.float32]
Ints = NDArray[np.intp]
Words = NDArray[np.uint64]

BITS = 512
WORDS = BITS // 64

_ROWS_AT_ONCE = 8192
"""Sketches compared at once: what they need stays in the second-level cache of a core."""

_EVEN = np.uint64(0x00FF00FF00FF00FF)
_SUM = np.uint64(0x0001000100010001)


@cache
def _directions(width: int) -> Floats:
    # From a hash function, so that sketches on disk mean the same whatever NumPy draws.
    data = hashlib.shake_256(f"facekeep sketch 1|{width}".encode()).digest(width * BITS // 8)
    bits = np.unpackbits(np.frombuffer(data, np.uint8)).reshape(width, BITS)
    return bits.astype(np.float32) * 2 - 1


def sketches(vectors: Floats) -> Words:
    """Return the sketches of vectors.

    Args:
        vectors: float32 ``(n, d)``.

    Returns:
        uint64 ``(n, 8)``.
    """
    return np.packbits(_turned(vectors) > 0, axis=1).view(np.uint64)


def _turned(vectors: Floats) -> Floats:
    width = vectors.shape[-1]
    return vectors if width == BITS else vectors @ _directions(width)


def agreement(words: Words, probe: Floats) -> Floats:
    """Return how well sketches agree with a probe whose numbers are known, not only their signs.

    That halves what comparing two sketches errs. A table holds, for each byte of a sketch and each
    value of it, the sum of the probe's numbers where the byte has a one.

    Args:
        words: Sketches, uint64 ``(n, 8)``.
        probe: float32 ``(d,)``.

    Returns:
        float32 ``(n,)``, higher where a sketch agrees more.
    """
    ones = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1)
    table = _turned(probe).reshape(-1, 8) @ ones.T.astype(np.float32)
    places = words.view(np.uint8).astype(np.intp)
    places += np.arange(0, table.size, 256)
    sums: Floats = table.reshape(-1)[places].sum(axis=1)
    return sums


def nearest(blocks: Sequence[Words], probe: Words, depth: int) -> Ints:
    """Return the rows nearest to a probe, counted through all blocks, in no order.

    Args:
        blocks: Sketches, uint64 ``(n, 8)`` each, contiguous.
        probe: One sketch, uint64 ``(8,)``.
        depth: How many rows to return, or all there are where there are fewer.
    """
    scan = _scan_with_faiss if _has_faiss() else _scan
    distances, rows = np.empty(0, np.uint16), np.empty(0, np.intp)
    first, limit = 0, BITS + 1
    for block in blocks:
        near, found = scan(block, probe, depth, limit)
        distances, rows = np.append(distances, near), np.append(rows, found + first)
        distances, rows = _best(distances, rows, depth)
        if len(rows) == depth:
            limit = int(distances.max())
        first += len(block)
    return rows


def _best(distances: NDArray[np.uint16], rows: Ints, depth: int) -> tuple[NDArray[np.uint16], Ints]:
    if len(rows) <= depth:
        return distances, rows
    chosen = np.argpartition(distances, depth - 1)[:depth]
    return distances[chosen], rows[chosen]


def _scan(block: Words, probe: Words, depth: int, limit: int) -> tuple[NDArray[np.uint16], Ints]:
    """Return distances and rows of a block's nearest that are nearer than ``limit``."""
    size = max(1, min(_ROWS_AT_ONCE, len(block)))
    # Repeated, because NumPy is slow where one operand is eight words long.
    probes = np.tile(probe, size)
    differing = np.empty(size * WORDS, np.uint64)
    counts = np.empty(size * WORDS, np.uint8)
    distances, rows = np.empty(0, np.uint16), np.empty(0, np.intp)
    for first in range(0, len(block), size):
        words = block[first : first + size].reshape(-1)
        np.bitwise_xor(words, probes[: len(words)], out=differing[: len(words)])
        np.bitwise_count(differing[: len(words)], out=counts[: len(words)])
        near = _sums(counts[: len(words)].view(np.uint64))
        below = np.flatnonzero(near < limit)
        distances = np.append(distances, near[below].astype(np.uint16))
        rows = np.append(rows, below + first)
        if len(rows) > 2 * depth:
            distances, rows = _best(distances, rows, depth)
            limit = int(distances.max())
    return _best(distances, rows, depth)


def _sums(counts: Words) -> Words:
    """Add the eight bytes of each word; the words are overwritten."""
    odd = counts >> np.uint64(8)
    odd &= _EVEN
    counts &= _EVEN
    counts += odd
    counts *= _SUM
    counts >>= np.uint64(48)
    return counts


@cache
def _has_faiss() -> bool:
    return importlib.util.find_spec("faiss") is not None


def _scan_with_faiss(
    block: Words, probe: Words, depth: int, limit: int
) -> tuple[NDArray[np.uint16], Ints]:
    """Do the same, whatever the limit."""
    import faiss

    depth = min(depth, len(block))
    probes, rows = probe.view(np.uint8)[None], block.view(np.uint8)
    distances, found = faiss.knn_hamming(probes, rows, depth, variant="mc")
    return distances[0].astype(np.uint16), found[0].astype(np.intp)
