"""Other indexes: each function builds one and returns how it finds the row most like a probe."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.float32]


def faiss_flat(rows: Rows, args: argparse.Namespace) -> Callable[[Rows], int]:
    """Exact search by faiss in float32."""
    import faiss

    index = faiss.IndexFlatIP(rows.shape[1])
    index.add(rows)
    return lambda probe: int(index.search(probe[None], 5)[1][0, 0])


def faiss_hnsw(rows: Rows, args: argparse.Namespace) -> Callable[[Rows], int]:
    """A graph by faiss."""
    import faiss

    index = faiss.IndexHNSWFlat(rows.shape[1], 32, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction, index.hnsw.efSearch = 128, args.ef
    index.add(rows)
    return lambda probe: int(index.search(probe[None], 5)[1][0, 0])


def usearch_hnsw(rows: Rows, args: argparse.Namespace) -> Callable[[Rows], int]:
    """A graph by usearch, in int8."""
    from usearch.index import Index as Graph

    graph = Graph(ndim=rows.shape[1], metric="cos", dtype="i8", connectivity=16)
    graph.expansion_search = args.ef
    graph.add(np.arange(len(rows)), rows, threads=1)
    return lambda probe: int(graph.search(probe, 5, threads=1).keys[0])


def sqlite_vec(rows: Rows, args: argparse.Namespace) -> Callable[[Rows], int]:
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


OTHERS = {
    "faiss-flat": faiss_flat,
    "sqlite-vec": sqlite_vec,
    "faiss-hnsw": faiss_hnsw,
    "usearch-hnsw": usearch_hnsw,
}
