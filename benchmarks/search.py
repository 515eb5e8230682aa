"""Search at size: recall, time and memory of the index against exact search and other indexes.

    python benchmarks/search.py impostors --model edgeface-xs-q
    python benchmarks/search.py recall --people 1000000 --model edgeface-xs-q
    python benchmarks/search.py mates --people 1000000 --probes 6000
    python benchmarks/search.py crossover --people 5000 10000 20000 50000
    python benchmarks/search.py gallery --people 1000000
    python benchmarks/search.py compare --people 100000
    python benchmarks/search.py compare --people 1000000 --others faiss-flat sqlite-vec
    python benchmarks/search.py huge --people 10000000 --probes 1000

Probes and their mates are real faces (``data/faces``, never LFW); everybody else is made up in the
likeness of others of them (search_people.py; ``impostors`` compares their scores). Times are of the
processor, medians over the probes.
"""

from __future__ import annotations

import argparse
import sys

import numpy as np
from common import arguments, report
from numpy.typing import NDArray
from search_compare import compare
from search_files import gallery, huge, in_child
from search_indexes import OTHERS, Ours, timed
from search_people import Strangers, exact_best, people_blocks, real_faces, strange_scores

from facekeep.gallery.sqlite.index import binary_codes
from facekeep.gallery.sqlite.index import search_index as index_module
from facekeep.gallery.sqlite.index.binary_codes import encode
from facekeep.gallery.sqlite.index.blocks import BLOCK_ROWS, Block, widen
from facekeep.gallery.sqlite.index.search_index import SearchIndex

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
    """Measure how many rows have binary codes nearer to the probe than the exact answer's."""
    real = real_faces(args)
    for count in args.people:
        blocks = list(people_blocks(real, count))
        best = exact_best(blocks, real.probes)
        probes = encode(real.probes)
        words = np.concatenate([block.codes for block in blocks])
        depth = np.array([_nearer(words, *pair) for pair in zip(probes, words[best], strict=True)])
        mated = best == real.owner
        ways = {"rank 1 is the mate": depth[mated], "rank 1 is anybody": depth}
        if args.templates > 1:
            own = encode(real.singles.reshape(-1, real.singles.shape[2]))
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
        title = (
            f"Recall by binary codes: {args.model}, {count} people, {args.templates} templates each"
        )
        report(args, title, table)


def _nearer(words: Words, probe: Words, own: Words) -> int:
    """Count the binary codes that are nearer to the probe than ``own``, or as near."""
    limit = int(np.bitwise_count(probe ^ own).sum())
    nearer = 0
    for first in range(0, len(words), BLOCK_ROWS):
        part = words[first : first + BLOCK_ROWS]
        counts = np.bitwise_count(part ^ probe).view(np.uint64)[:, 0]
        nearer += int((binary_codes._sum_bytes(counts, counts.copy()) <= limit).sum())
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
    scores: Rows = np.einsum("ij,ij->i", widen(rows), probes)
    return scores


def crossover(args: argparse.Namespace) -> None:
    """Compare the two ways of the index at sizes where either could be chosen."""
    real = real_faces(args)
    table = []
    for count in args.people:
        index = SearchIndex(tuple(people_blocks(real, count)), 0, 0, 0)
        times: dict[str, list[float]] = {"exact ms": [], "binary codes ms": []}
        for probe in real.probes[: args.turns]:
            for name, limit in zip(times, (count + 1, 0), strict=True):
                index_module.EXACT_BELOW = limit
                times[name] += timed(
                    lambda one, index=index: index.search(one[None], 9), probe[None]
                )[1]
        row: dict[str, object] = {"people": count}
        table.append(row | {name: float(np.median(taken)) for name, taken in times.items()})
    report(args, f"Exact or by binary codes, {args.model}", table)


COMMANDS = (impostors, recall, mates, crossover, compare, huge, gallery, in_child)


def main() -> int:
    """Run from the command line."""
    parser = arguments(__doc__)
    parser.add_argument("what", choices=[command.__name__ for command in COMMANDS])
    parser.add_argument("--people", type=int, nargs="+", default=[1_000_000])
    parser.add_argument("--probes", type=int, default=2000, help="mated probes at most")
    parser.add_argument("--turns", type=int, default=200, help="probes that are timed")
    parser.add_argument("--templates", type=int, default=1, help="templates of a real person")
    parser.add_argument("--ef", type=int, default=256, help="how far graphs are searched")
    parser.add_argument("--numpy", action="store_true", help="compare codes by NumPy (in_child)")
    parser.add_argument("--others", nargs="*", choices=OTHERS, default=list(OTHERS))
    args = parser.parse_args()
    {command.__name__: command for command in COMMANDS}[args.what](args)
    return 0


if __name__ == "__main__":
    sys.exit(main())
