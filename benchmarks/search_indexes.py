"""Indexes: each function builds one and returns how it finds the row most like a probe."""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from facekeep.gallery.sqlite.index import binary_codes
from facekeep.gallery.sqlite.index.block_file import BlockFile
from facekeep.gallery.sqlite.index.blocks import BLOCK_ROWS, Block, encode_block
from facekeep.gallery.sqlite.index.search_index import SearchIndex

Rows = NDArray[np.float32]
Search = Callable[[Rows], int]


class Ours:
    """The index of facekeep."""

    def __init__(self, blocks: Sequence[Block], faiss: bool) -> None:
        self.index = SearchIndex(tuple(blocks), 0, 0, 0)
        self.faiss = faiss

    def __call__(self, probe: Rows) -> int:
        """Return the row that is most like the probe."""
        with use_faiss(self.faiss):
            return self.index.search(probe[None], 5)[0][0] - 1


@contextmanager
def use_faiss(wanted: bool) -> Iterator[None]:
    """Have binary codes compared by faiss or by NumPy."""
    before = binary_codes._has_faiss
    binary_codes._has_faiss = lambda: wanted
    try:
        yield
    finally:
        binary_codes._has_faiss = before


def on_disk(file: BinaryIO, width: int, blocks: Iterable[Block]) -> list[Block]:
    """Write blocks to an empty file as a gallery does, and return them."""
    whole = BlockFile(file, width)
    whole.header = b"benchmark"
    whole.append(blocks)
    return whole.blocks()


def blocks_of(rows: Rows) -> Iterator[Block]:
    """Yield the blocks of rows, numbered from 1."""
    for first in range(0, len(rows), BLOCK_ROWS):
        part = rows[first : first + BLOCK_ROWS]
        numbers = np.arange(first + 1, first + len(part) + 1)
        yield encode_block(numbers, numbers.astype(np.uint64), part)


def ours(rows: Rows, args: argparse.Namespace, faiss: bool) -> Search:
    """Sketches in memory and float16 vectors in a file."""
    with tempfile.TemporaryFile(dir=args.cache, buffering=0) as file:
        return Ours(on_disk(file, rows.shape[1], blocks_of(rows)), faiss)


def timed(search: Callable[[Rows], object], probes: Rows) -> tuple[list[object], list[float]]:
    """Return what each search found and how many milliseconds of the processor it took."""
    search(probes[0])
    found, times = [], []
    for probe in probes:
        begin = time.process_time()
        found.append(search(probe))
        times.append((time.process_time() - begin) * 1e3)
    return found, times


def faiss_flat(rows: Rows, args: argparse.Namespace) -> Search:
    """Exact search by faiss in float32."""
    import faiss

    index = faiss.IndexFlatIP(rows.shape[1])
    index.add(rows)
    return lambda probe: int(index.search(probe[None], 5)[1][0, 0])


def faiss_hnsw(rows: Rows, args: argparse.Namespace) -> Search:
    """A graph by faiss."""
    import faiss

    index = faiss.IndexHNSWFlat(rows.shape[1], 32, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction, index.hnsw.efSearch = 128, args.ef
    index.add(rows)
    return lambda probe: int(index.search(probe[None], 5)[1][0, 0])


def usearch_hnsw(rows: Rows, args: argparse.Namespace) -> Search:
    """A graph by usearch, in int8."""
    from usearch.index import SearchIndex as Graph

    graph = Graph(ndim=rows.shape[1], metric="cos", dtype="i8", connectivity=16)
    graph.expansion_search = args.ef
    graph.add(np.arange(len(rows)), rows, threads=1)
    return lambda probe: int(graph.search(probe, 5, threads=1).keys[0])


def sqlite_vec(rows: Rows, args: argparse.Namespace) -> Search:
    """Exact search by sqlite-vec, from a file."""
    import apsw  # the sqlite3 of many Pythons cannot load extensions
    import sqlite_vec as extension

    file = tempfile.NamedTemporaryFile(suffix=".db", dir=args.cache)  # noqa: SIM115 - kept
    connection = apsw.Connection(file.name)
    connection.enable_load_extension(True)
    connection.load_extension(extension.loadable_path())
    width = rows.shape[1]
    connection.execute(
        f"CREATE VIRTUAL TABLE v USING vec0(x float[{width}] distance_metric=cosine)"
    )
    with connection:
        connection.executemany(
            "INSERT INTO v (rowid, x) VALUES (?, ?)", ((i, r.tobytes()) for i, r in enumerate(rows))
        )
    query = "SELECT rowid FROM v WHERE x MATCH ? AND k = 5 ORDER BY distance"

    def search(probe: Rows, kept: object = file) -> int:
        return int(next(iter(connection.execute(query, (probe.tobytes(),))))[0])

    return search


OURS = {
    "facekeep, NumPy": lambda rows, args: ours(rows, args, faiss=False),
    "facekeep, faiss-cpu": lambda rows, args: ours(rows, args, faiss=True),
}
OTHERS = {
    "faiss-flat": faiss_flat,
    "sqlite-vec": sqlite_vec,
    "faiss-hnsw": faiss_hnsw,
    "usearch-hnsw": usearch_hnsw,
}
