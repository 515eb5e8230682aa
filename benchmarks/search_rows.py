"""Reading float16 vectors here and there of a file: through a map, and as the index file does."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from facekeep.gallery.sqlite.index import file_reader
from facekeep.gallery.sqlite.index.file_reader import FileReader

PEOPLE, WIDTH, TURNS = 200_000, 512, 100


def best(read: Callable[[Any], object], chosen: list[Any]) -> float:
    """Return the shortest time of some readings, in milliseconds."""
    times = []
    for rows in chosen:
        begin = time.perf_counter()
        read(rows)
        times.append(time.perf_counter() - begin)
    return min(times) * 1e3


def main() -> None:
    """Print the times for several numbers of rows."""
    random = np.random.default_rng(0)
    with tempfile.NamedTemporaryFile() as file:
        vectors = random.normal(size=(PEOPLE, WIDTH)).astype("<f2")
        vectors.tofile(file.name)
        mapped = np.memmap(file.name, "<f2", "r", shape=vectors.shape)
        size = 2 * WIDTH
        print("rows | mapped ms | at once ms | one by one ms")
        for count in (250, 1000, 5000):
            chosen = [np.sort(random.choice(PEOPLE, count, replace=False)) for _ in range(TURNS)]
            line = [best(lambda rows: mapped[rows], chosen)]
            for one_by_one in (False, True):
                if one_by_one:
                    file_reader._find_copy = lambda: None  # type: ignore[assignment]
                with open(file.name, "rb") as opened:  # noqa: PTH123
                    source = FileReader(os.dup(opened.fileno()), vectors.nbytes)
                line.append(best(lambda rows: source.rows(rows * size, size), chosen))  # noqa: B023
            file_reader._find_copy = _find_copy
            print(count, "|", " | ".join(f"{ms:.2f}" for ms in line))


_find_copy = file_reader._find_copy

if __name__ == "__main__":
    main()
