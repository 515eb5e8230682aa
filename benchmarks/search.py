"""Search at size: recall, time and memory of the index against exact search and other indexes.

    python benchmarks/search.py impostors --model edgeface-xs-q
    python benchmarks/search.py recall --people 1000000 --model edgeface-xs-q
    python benchmarks/search.py mates --people 1000000 --probes 6000
    python benchmarks/search.py crossover --people 5000 10000 20000 50000
    python benchmarks/search.py gallery --people 1000000
    python benchmarks/search.py compare --people 100000
    python benchmarks/search.py compare --people 1000000 --others faiss-flat sqlite-vec
    python benchmarks/search.py huge --people 10000000

Probes and their mates are real faces (``data/faces``, never LFW); everybody else is made up in the
likeness of others of them (search_people.py; ``impostors`` compares their scores). Times are of the
processor, medians over the probes.
"""

from __future__ import annotations

import argparse
import gc
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from common import arguments, report
from numpy.typing import NDArray
from search_others import OTHERS
from search_people import (
    Real,
    Strangers,
    exact_best,
    people_blocks,
    real_faces,
    strange_scores,
    unit,
)

from facekeep.gallery import Gallery, Space
from facekeep.gallery import index as index_module
from facekeep.gallery import sketch as sketch_module
from facekeep.gallery.blocks import BLOCK_ROWS, Block, widened
from facekeep.gallery.index import Index
from facekeep.gallery.sketch import sketches

Rows = NDArray[np.float32]
Words = NDArray[np.uint64]
DEPTHS = (100, 300, 1000, 3000, 10000)


def impostors(args: argparse.Namespace) -> None:
    """Show scores of strangers, real and made up."""
    real = real_faces(args)
    made_up = Strangers(real.donors).draw(50_000, 1)
    mates = np.einsum("ij,ij->i", real.probes, real.templates[real.owner])
    table = [
        _statistics("real probes, real strangers", strange_scores(real)),
        _statistics("real probes, made-up strangers", (real.probes[:500] @ made_up.T).ravel()),
        _statistics("made-up against made-up", (made_up[:500] @ made_up[500:].T).ravel()),
        _statistics("real probes, their mates", mates),
    ]
    report(args, f"Scores: {args.model}", table)


def _statistics(what: str, scores: Rows) -> dict[str, object]:
    high = {f"1 - {p:g}": float(np.quantile(scores, 1 - p)) for p in (1e-2, 1e-3, 1e-4, 1e-5)}
    return {"scores": what, "mean": float(scores.mean()), "sd": float(scores.std())} | high


def recall(args: argparse.Namespace) -> None:
    """Measure how many rows have sketches nearer to the probe than the exact answer's."""
    real = real_faces(args)
    for count in args.people:
        blocks = list(people_blocks(real, count))
        best = exact_best(blocks, real.probes)
        probes = sketches(real.probes)
        words = np.concatenate([block.sketches for block in blocks])
        depth = np.array([_nearer(words, *pair) for pair in zip(probes, words[best], strict=True)])
        mated = best == real.owner
        ways = {"rank 1 is the mate": depth[mated], "rank 1 is anybody": depth}
        if args.templates > 1:
            own = sketches(real.singles.reshape(-1, real.singles.shape[2]))
            own = own.reshape(len(real.singles), args.templates, -1)[real.owner]
            ways["the same by the nearest template"] = np.array(
                [
                    min(_nearer(words, probe, one) for one in mine)
                    for probe, mine, hit in zip(probes, own, mated, strict=True)
                    if hit
                ]
            )
        table = [
            {"what": name, "probes": len(ranks)}
            | {f"in {limit}": float((ranks < limit).mean()) for limit in DEPTHS}
            for name, ranks in ways.items()
        ]
        title = f"Recall by sketches: {args.model}, {count} people, {args.templates} templates each"
        report(args, title, table)


def _nearer(words: Words, probe: Words, own: Words) -> int:
    """Count the sketches that are nearer to the probe than ``own``, or as near."""
    limit = int(np.bitwise_count(probe ^ own).sum())
    nearer = 0
    for first in range(0, len(words), BLOCK_ROWS):
        part = words[first : first + BLOCK_ROWS]
        counts = np.bitwise_count(part ^ probe).view(np.uint64)[:, 0]
        nearer += int((sketch_module._sums(counts, counts.copy()) <= limit).sum())
    return nearer - 1


def mates(args: argparse.Namespace) -> None:
    """Count the mates that the index misses though they are more like the probe than what it finds.

    No exact search is needed for that: who is less like the probe than what the index found is not
    the best answer of an exact search either.
    """
    real = real_faces(args)
    for count in args.people:
        blocks = list(people_blocks(real, count))
        ours = Ours(blocks, faiss=True)
        found = np.array([ours(probe) for probe in real.probes])
        lost = _scores(blocks, real.owner, real.probes) > _scores(blocks, found, real.probes)
        hits = int((found == real.owner).sum())
        row = {"people": count, "probes": len(found), "found": hits, "missed": int(lost.sum())}
        report(args, f"Mates: {args.model}", [row | {"recall": hits / (hits + lost.sum())}])


def _scores(blocks: list[Block], people: NDArray[np.intp], probes: Rows) -> Rows:
    places = (divmod(int(person), BLOCK_ROWS) for person in people)
    rows = np.stack([blocks[block].vectors[row] for block, row in places])
    scores: Rows = np.einsum("ij,ij->i", widened(rows), probes)
    return scores


def cpu_ms(search: Callable[[Rows], object], probes: Rows) -> list[float]:
    """Time each search."""
    search(probes[0])
    times = []
    for probe in probes:
        begin = time.process_time()
        search(probe)
        times.append((time.process_time() - begin) * 1e3)
    return times


class Ours:
    """The index of facekeep."""

    def __init__(self, blocks: list[Block], faiss: bool) -> None:
        self.index = Index(tuple(blocks), 0, 0, 0)
        self.faiss = faiss

    def __call__(self, probe: Rows) -> int:
        """Return the row that is most like the probe."""
        with use_faiss(self.faiss):
            return self.index.search(probe[None], 5)[0][0] - 1


@contextmanager
def use_faiss(wanted: bool) -> Iterator[None]:
    """Have sketches compared by faiss or by NumPy."""
    before = sketch_module._has_faiss
    sketch_module._has_faiss = lambda: wanted
    try:
        yield
    finally:
        sketch_module._has_faiss = before


def compare(args: argparse.Namespace) -> None:
    """Compare with other indexes, one after another over the same probes, in one process."""
    limit_threads()
    real = real_faces(args)
    for count in args.people:
        blocks = list(people_blocks(real, count))
        best = exact_best(blocks, real.probes)
        searches: dict[str, Callable[[Rows], int]] = {
            "facekeep, NumPy": Ours(blocks, faiss=False),
            "facekeep, faiss-cpu": Ours(blocks, faiss=True),
        }
        title = f"{args.model}, {count} people, {len(real.probes)} mated probes"
        table = [_row(name, search, args, real, best) for name, search in searches.items()]
        report(args, title, table)
        rows = np.concatenate([widened(block.vectors) for block in blocks])
        for name in args.others:
            begin = time.process_time(), anonymous()
            search = OTHERS[name](rows, args)
            facts = {
                "build s": time.process_time() - begin[0],
                "bytes a row": (anonymous() - begin[1]) / count,
            }
            report(args, title, [_row(name, search, args, real, best) | facts])
            del search
            gc.collect()


def _row(
    name: str,
    search: Callable[[Rows], int],
    args: argparse.Namespace,
    real: Real,
    best: NDArray[np.intp],
) -> dict[str, object]:
    probes = real.probes[: args.turns] if name in OTHERS else real.probes
    best = best[: len(probes)]
    found = np.array([search(probe) for probe in probes])
    mated = best == real.owner[: len(probes)]
    times = cpu_ms(search, probes[: args.turns])
    return {
        "index": name,
        "probes": len(probes),
        "recall, mates": float((found == best)[mated].mean()),
        "recall, all": float((found == best).mean()),
        "ms": float(np.median(times)),
        "p95 ms": float(np.quantile(times, 0.95)),
    }


def limit_threads() -> None:
    """Keep faiss to one thread, as the environment variable OMP_NUM_THREADS keeps NumPy."""
    import faiss

    faiss.omp_set_num_threads(1)


def huge(args: argparse.Namespace) -> None:
    """Show the search among so many that the vectors have to stay on the disk."""
    real = real_faces(args)
    for count in args.people:
        with tempfile.TemporaryFile(dir=args.cache) as file:
            width = real.templates.shape[1]
            in_memory = []
            for block in people_blocks(real, count):
                file.write(block.vectors)
                in_memory.append(block)
            file.flush()
            vectors = np.memmap(file, np.float16, "r", shape=(count, width))
            parts = np.split(vectors, range(BLOCK_ROWS, count, BLOCK_ROWS))
            blocks = [
                replace(block, vectors=part) for block, part in zip(in_memory, parts, strict=True)
            ]
            del in_memory
            ours = Ours(blocks, faiss=False)
            found = np.array([ours(probe) for probe in real.probes])
            row = {"people": count, "found the mate": float((found == real.owner).mean())}
            for name, faiss in (("NumPy ms", False), ("faiss-cpu ms", True)):
                row[name] = float(np.median(cpu_ms(Ours(blocks, faiss), real.probes[:50])))
            report(args, f"{args.model}, {len(real.probes)} mated probes", [row])


def gallery(args: argparse.Namespace) -> None:
    """Measure the whole gallery: SQLite file, index file, search by another process."""
    real = real_faces(args)
    for count in args.people:
        with tempfile.TemporaryDirectory(dir=args.cache) as folder:
            path = Path(folder) / "people.db"
            fill(path, real, count)
            np.save(Path(folder) / "probes.npy", real.probes[: args.turns])
            for when in ("first", "second"):
                command = [sys.executable, __file__, "probe", "--cache", folder]
                output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
                row = {"process": when, "people": count} | json.loads(output)
                report(args, f"One process after another, {args.model}", [row])


def fill(path: Path, real: Real, count: int) -> None:
    """Write a gallery of people with a template each, in one transaction."""
    space = Space("0" * 64, "benchmark", real.templates.shape[1])
    person = "INSERT INTO people (uuid, name, metadata, created_at) VALUES (?, ?, '{}', ?)"
    template = (
        "INSERT INTO templates (uuid, person, space, negative, created_at, vector)"
        " VALUES (?, ?, 1, 0, ?, ?)"
    )
    at = datetime.now(UTC).isoformat(timespec="microseconds")
    with Gallery.open(path, space=space, create=True) as opened, opened._write() as rows:
        for block in people_blocks(real, count):
            numbers = block.people.tolist()
            vectors = unit(widened(block.vectors))
            people = ((f"{n:032x}", f"Person {n}", at) for n in numbers)
            templates = (
                (f"{n:032x}", n, at, v.tobytes()) for n, v in zip(numbers, vectors, strict=True)
            )
            rows.connection.executemany(person, people)
            rows.connection.executemany(template, templates)


def anonymous() -> int:
    """Return the bytes of memory that belong to this process and to no file."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("RssAnon:"))


def probe(args: argparse.Namespace) -> None:
    """Search a gallery and tell what it took: the child process of ``gallery``."""
    probes = np.load(args.cache / "probes.npy")
    begin, before = time.process_time(), anonymous()
    with Gallery.open(
        args.cache / "people.db", space=Space("0" * 64, "benchmark", probes.shape[1])
    ) as opened:
        opened.search(probes[:1])
        first = time.process_time() - begin
        opened.search(probes[:1])
        after = anonymous()
        times = cpu_ms(lambda one: opened.search(one[None]), probes)
        files = {name: Path(f"{opened.path}{name}") for name in ("", "-index")}
        sizes = {name: file.stat().st_size for name, file in files.items() if file.exists()}
        print(
            json.dumps(
                {
                    "first search s": first,
                    "ms": float(np.median(times)),
                    "p95 ms": float(np.quantile(times, 0.95)),
                    "bytes of memory a person": (after - before) / opened.count(),
                    "bytes of sketches, marks and numbers in the file": 80,
                    "gallery MB": sizes[""] / 1e6,
                    "index MB": sizes.get("-index", 0) / 1e6,
                }
            )
        )


def crossover(args: argparse.Namespace) -> None:
    """Compare the two ways of the index at sizes where either could be chosen."""
    real = real_faces(args)
    table = []
    for count in args.people:
        index = Index(tuple(people_blocks(real, count)), 0, 0, 0)
        row: dict[str, object] = {"people": count}
        times: dict[str, list[float]] = {"exact ms": [], "sketches ms": []}
        for probe in real.probes[: args.turns]:
            for name, limit in zip(times, (count + 1, 0), strict=True):
                index_module.EXACT_BELOW = limit
                times[name] += cpu_ms(
                    lambda one, index=index: index.search(one[None], 9), probe[None]
                )
        table.append(row | {name: float(np.median(taken)) for name, taken in times.items()})
    report(args, f"Exact or by sketches, {args.model}", table)


COMMANDS = (impostors, recall, mates, crossover, compare, huge, gallery, probe)


def main() -> int:
    """Run from the command line."""
    parser = arguments(__doc__)
    parser.add_argument("what", choices=[command.__name__ for command in COMMANDS])
    parser.add_argument("--people", type=int, nargs="+", default=[1_000_000])
    parser.add_argument("--probes", type=int, default=2000, help="mated probes at most")
    parser.add_argument("--turns", type=int, default=200, help="probes that are timed")
    parser.add_argument("--templates", type=int, default=1, help="templates of a real person")
    parser.add_argument("--ef", type=int, default=256, help="how far graphs are searched")
    parser.add_argument("--others", nargs="*", choices=OTHERS, default=list(OTHERS))
    args = parser.parse_args()
    {command.__name__: command for command in COMMANDS}[args.what](args)
    return 0


if __name__ == "__main__":
    sys.exit(main())
