"""The cosine of an embedder at stated false-match rates, from labelled crops, never those of LFW.

Every two crops of different people are a non-mated comparison. Some people stand in the labels
under two names, or a photo under the wrong one; such pairs are mated in truth and would set the
thresholds for the rare rates alone. So two names are not compared with each other when any two of
their crops are more alike than ``--same-person``; ``--picture`` shows what that drops, and the next
pairs below, for eyes to judge. The interval of an FMR comes from a bootstrap over the people.
"""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from common import arguments, embed_all, labelled_faces, rate, report
from numpy.typing import NDArray

from facekeep.image import save_image
from facekeep.models import default_model, entry

RATES = (1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
SAME_PERSON = 0.65  # SFace: as good as all names above are one person, half of those at 0.6
RESAMPLES = 200
BLOCK = 512

Scores = NDArray[np.float32]
Places = NDArray[np.intp]


class Tail(NamedTuple):
    """The non-mated comparisons that score highest, best first: the two crops and the cosine."""

    first: Places
    second: Places
    scores: Scores


def compare(rows: Scores, person: Places, floor: float) -> tuple[Scores, Tail]:
    """Compare all crops: the mated scores, and the non-mated ones that reach the floor."""
    mated, tails = [], []
    for start in range(0, len(rows), BLOCK):
        scores = rows[start : start + BLOCK] @ rows.T
        here = np.arange(start, start + len(scores))[:, None]
        later = np.arange(len(rows)) > here
        same = person[here] == person
        mated.append(scores[later & same])
        first, second = np.nonzero(later & ~same & (scores >= floor))
        tails.append((first + start, second, scores[first, second]))
    first, second, values = (np.concatenate(parts) for parts in zip(*tails, strict=True))
    order = np.argsort(-values, kind="stable")
    return np.concatenate(mated), Tail(first[order], second[order], values[order])


def name_pairs(tail: Tail, person: Places) -> NDArray[np.int64]:
    """Number the pair of names that each comparison is between."""
    a, b = person[tail.first].astype(np.int64), person[tail.second]
    return np.minimum(a, b) * (person.max() + 1) + np.maximum(a, b)


def figures(fmr: float, count: int, tail: Tail, person: Places, mated: Scores) -> dict[str, Any]:
    """Find the smallest cosine, in steps of 1e-4, that at most a share ``fmr`` reaches."""
    highest_refused = float(tail.scores[int(fmr * count)])
    limit = math.floor(highest_refused * 1e4 + 1) / 1e4
    above = int((tail.scores >= limit).sum())
    top = Tail(*(part[:above] for part in tail))
    low, high = interval(top, person)
    return {
        "FMR": fmr,
        "cosine": f"{limit:.4f}",
        "non-mated above": above,
        "pairs of names": len(np.unique(name_pairs(top, person))),
        "FMR from": low,
        "to": high,
        "mated above %": 100 * rate(mated, limit),
    }


def interval(top: Tail, person: Places) -> tuple[float, float]:
    """Return a 95 % interval of the share of comparisons in the tail, by drawing people anew."""
    rng = np.random.default_rng(0)
    images = np.bincount(person)
    a, b = person[top.first], person[top.second]
    shares = []
    for _ in range(RESAMPLES):
        weight = np.bincount(rng.integers(len(images), size=len(images)), minlength=len(images))
        drawn = weight * images
        comparisons = (drawn.sum() ** 2 - (drawn**2).sum()) / 2
        shares.append((weight[a] * weight[b]).sum() / comparisons)
    low, high = np.quantile(shares, [0.025, 0.975])
    return float(low), float(high)


def draw(path: Path, crops: NDArray[np.uint8], tail: Tail, person: Places) -> None:
    """Save the best comparison of each pair of names, 14 in a row, the most alike first."""
    once = np.sort(np.unique(name_pairs(tail, person), return_index=True)[1])[:84]
    pairs = np.concatenate([crops[tail.first[once]], crops[tail.second[once]]], axis=1)
    rows = [np.concatenate(list(pairs[i : i + 14]), axis=1) for i in range(0, 84, 14)]
    save_image(path, np.concatenate(rows))
    print(" ".join(f"{score:.2f}" for score in tail.scores[once]), file=sys.stderr)


def main() -> int:
    """Run from the command line."""
    parser = arguments(__doc__)
    parser.add_argument("--source", default="celeba", help="the labels to use: celeba or glint")
    parser.add_argument("--flip", action=argparse.BooleanOptionalAction, default=False)
    parser.add_argument(
        "--same-person", type=float, default=SAME_PERSON, help="a cosine; 2 drops nothing"
    )
    parser.add_argument("--floor", type=float, default=0.2, help="keep scores from here on")
    parser.add_argument("--picture", type=Path, help="save the most alike names here")
    args = parser.parse_args()
    crops, people = labelled_faces(args.shared, [args.source])
    person = np.unique(people, return_inverse=True)[1]
    rows = embed_all(args, "labelled", crops, flip=args.flip)
    mated, tail = compare(rows, person, args.floor)
    if args.picture:
        draw(args.picture, crops, tail, person)
    pairs = name_pairs(tail, person)
    dropped = np.unique(pairs[tail.scores > args.same_person])
    kept = Tail(*(part[~np.isin(pairs, dropped)] for part in tail))
    images = np.bincount(person)
    count = len(rows) * (len(rows) - 1) // 2 - len(mated)
    count -= int((images[dropped // len(images)] * images[dropped % len(images)]).sum())
    name = entry(args.model or default_model("embed")).name
    title = (
        f"{name}{' with flip' if args.flip else ''}: {len(rows)} crops under {len(images)} names; "
        f"{count} non-mated comparisons after dropping {len(dropped)} pairs of names, "
        f"{len(mated)} mated ones"
    )
    report(args, title, [figures(fmr, count, kept, person, mated) for fmr in RATES])
    return 0


if __name__ == "__main__":
    sys.exit(main())
