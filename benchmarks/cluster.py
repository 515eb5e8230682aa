"""Which way of grouping faces is best, and what it costs: the choice behind agglomeration.py.

Five ways to group labeled faces by person, at the thresholds of several false-match rates, scored
by pairs and by BCubed (Amigo et al. 2009); then seconds and peak memory for many faces.

python benchmarks/cluster.py --threads 2
"""

from __future__ import annotations

import argparse
import multiprocessing
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from common import Rows, arguments, embed_all, labeled_faces, report
from numpy.typing import NDArray

from facekeep.apps.agglomeration import find_neighbors, group_faces
from facekeep.models import default_model, entry
from facekeep.pipeline.decide import threshold

Labels = NDArray[np.intp]


def single_linkage(rows: Rows, cosine: float) -> Labels:
    """Join all that a chain of similar pairs connects."""
    near = find_neighbors(rows, cosine, len(rows))
    labels = np.full(len(rows), -1)
    for start in range(len(rows)):
        waiting = [start] if labels[start] < 0 else []
        while waiting:
            here = waiting.pop()
            labels[here] = start
            fresh = near[here][labels[near[here]] < 0]
            labels[fresh] = start
            waiting += fresh.tolist()
    return labels


def chinese_whispers(rows: Rows, cosine: float) -> Labels:
    """Let each face take the label that weighs most among its find_neighbors (Biemann 2006)."""
    near = find_neighbors(rows, cosine, len(rows))
    weights = [rows[others] @ rows[here] for here, others in enumerate(near)]
    labels = np.arange(len(rows))
    rng = np.random.default_rng(0)
    for _ in range(20):
        before = labels.copy()
        for here in rng.permutation(len(rows)):
            if len(near[here]):
                around, place = np.unique(labels[near[here]], return_inverse=True)
                labels[here] = around[np.bincount(place, weights[here]).argmax()]
        if (labels == before).all():
            break
    return labels


def agglomeration(linkage: float) -> Callable[[Rows, float], Labels]:
    """Group as facekeep does, with another linkage."""

    def group(rows: Rows, cosine: float) -> Labels:
        labels = np.empty(len(rows), np.intp)
        for number, members in enumerate(group_faces(rows, cosine, linkage=linkage)):
            labels[members] = number
        return labels

    return group


WAYS: dict[str, Callable[[Rows, float], Labels]] = {
    "single": single_linkage,
    "whispers": chinese_whispers,
    "average": agglomeration(0),
    "between": agglomeration(0.5),
    "centroid": agglomeration(1),
}


def score(labels: Labels, people: NDArray[Any]) -> dict[str, float]:
    """Precision, recall and F over pairs of faces, and by BCubed over faces."""
    _, people = np.unique(people, return_inverse=True)
    _, labels = np.unique(labels, return_inverse=True)
    _, both = np.unique(people * (labels.max() + 1) + labels, return_inverse=True)
    of_both, of_person, of_group = (np.bincount(each) for each in (both, people, labels))
    pairs, mated, grouped = ((n * (n - 1) / 2).sum() for n in (of_both, of_person, of_group))
    precision, recall = pairs / max(grouped, 1), pairs / mated
    cubed = (of_both[both] / of_group[labels]).mean(), (of_both[both] / of_person[people]).mean()
    return {
        "pair P": precision,
        "pair R": recall,
        "pair F": harmonic(precision, recall),
        "B3 P": cubed[0],
        "B3 R": cubed[1],
        "B3 F": harmonic(*cubed),
    }


def harmonic(first: float, second: float) -> float:
    """Return the harmonic mean, 0 where both are."""
    return 2 * first * second / max(first + second, 1e-12)


def many_faces(rows: Rows, count: int) -> Rows:
    """Draw embeddings and vary each a little, as many as are wanted."""
    rng = np.random.default_rng(0)
    drawn = rows[rng.integers(len(rows), size=count)]
    drawn = drawn + 0.5 * rng.normal(size=drawn.shape).astype(np.float32) / drawn.shape[1] ** 0.5
    return np.asarray(drawn / np.linalg.norm(drawn, axis=1, keepdims=True), np.float32)


def cost(rows: Rows, cosine: float) -> dict[str, float]:
    """Seconds to group faces, and the memory of a fresh process before and at its peak, in MB."""
    before = psutil.Process().memory_info().rss
    start = time.perf_counter()
    groups = group_faces(rows, cosine)
    seconds = time.perf_counter() - start
    return {"groups": len(groups), "s": seconds, "MB before": before / 2**20, "MB peak": peak()}


def peak() -> float:
    """Return the peak memory of this process in MB; unlike getrusage's, not that of its parent."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def options() -> argparse.Namespace:
    """Read the command line."""
    parser = arguments(__doc__)
    parser.add_argument("--fmr", type=float, nargs="+", default=[1e-3, 1e-4, 1e-5])
    parser.add_argument("--counts", type=int, nargs="*", default=[10_000, 30_000])
    return parser.parse_args()


def main() -> None:
    """Print both tables."""
    args = options()
    model = entry(args.model or default_model("embed"))
    sets = {}
    for source in ("celeba", "glint"):
        crops, people = labeled_faces(args.shared, [source])
        sets[source] = embed_all(args, "labeled", crops), people
    table = []
    for name, (rows, people) in sets.items():
        for fmr in args.fmr:
            for way, group in WAYS.items():
                start = time.perf_counter()
                labels = group(rows, threshold(model, fmr).cosine)
                row = {"faces": name, "count": len(rows), "people": len(set(people)), "fmr": fmr}
                seconds = time.perf_counter() - start
                table.append({**row, "way": way, **score(labels, people), "s": seconds})
    report(args, f"grouping the faces of {model.name}", table)
    costs = []
    cosine = threshold(model, 1e-4).cosine
    for count in args.counts:
        rows = many_faces(sets["celeba"][0], count)
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            costs.append({"faces": count, **pool.apply(cost, (rows, cosine))})
    if costs:
        report(args, "what the way between costs", costs)


if __name__ == "__main__":
    main()
