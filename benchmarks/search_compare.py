"""``compare``: facekeep's index and others, one after another over the same probes."""

from __future__ import annotations

import argparse
import gc
import time
from pathlib import Path

import numpy as np
from common import report
from numpy.typing import NDArray
from search_indexes import OTHERS, OURS, Rows, timed
from search_people import Real, exact_best, people_blocks, real_faces

from facekeep._internal.memory import give_memory_back
from facekeep.gallery.sqlite.index.blocks import widen


def compare(args: argparse.Namespace) -> None:
    """Compare with other indexes in one process."""
    limit_threads()
    real = real_faces(args)
    for count in args.people:
        blocks = list(people_blocks(real, count))
        best = exact_best(blocks, real.probes[: args.turns])
        rows = np.concatenate([widen(block.vectors) for block in blocks])
        del blocks
        for name in [*OURS, *args.others]:
            row = _measured(name, rows, args, real, best)
            report(args, f"{args.model}, {count} people, {len(best)} mated probes", [row])
            gc.collect()


def _measured(
    name: str, rows: Rows, args: argparse.Namespace, real: Real, best: NDArray[np.intp]
) -> dict[str, object]:
    give_memory_back()
    begin, before = time.process_time(), anonymous()
    search = (OURS | OTHERS)[name](rows, args)
    built = time.process_time() - begin
    give_memory_back()
    taken = anonymous() - before
    found, times = timed(search, real.probes[: len(best)])
    right = np.array(found) == best
    mated = best == real.owner[: len(best)]
    return {
        "index": name,
        "build s": built,
        "bytes of memory a row": taken / len(rows),
        "mates": int(mated.sum()),
        "recall, mates": float(right[mated].mean()),
        "recall, all": float(right.mean()),
        "ms": float(np.median(times)),
        "p95 ms": float(np.quantile(times, 0.95)),
    }


def limit_threads() -> None:
    """Keep faiss to one thread, as the environment variable OMP_NUM_THREADS keeps NumPy."""
    import faiss

    faiss.omp_set_num_threads(1)


def anonymous() -> int:
    """Return the bytes of memory that belong to this process and to no file."""
    return resident("RssAnon")


def resident(kind: str) -> int:
    """Return the bytes of one kind of memory that this process has: RssAnon, RssFile."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(f"{kind}:"))
