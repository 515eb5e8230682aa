"""LFW by its official protocol, from the raw images: ten folds of 300 + 300 pairs.

The threshold of each fold is the most accurate one of the other nine. A pair with an image in which
no face was found is scored -1: it never matches. LFW is for testing only; nothing is chosen on it.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from common import add_road, arguments, lfw_faces, pair_scores, rate, report, threshold
from numpy.typing import NDArray

from facekeep.models import default_model, entry


def read_pairs(path: Path) -> tuple[list[tuple[str, str]], NDArray[np.bool_]]:
    """Return the pairs of image names in the order of the folds, and which are mated."""
    pairs, mated = [], []
    for line in path.read_text("utf-8").splitlines()[1:]:
        words = line.split("\t")
        mated.append(len(words) == 3)
        first, i, second, j = words if len(words) == 4 else (*words[:2], words[0], words[2])
        pairs.append((f"{first}_{int(i):04d}", f"{second}_{int(j):04d}"))
    return pairs, np.array(mated)


def best_threshold(scores: NDArray[np.float32], mated: NDArray[np.bool_]) -> float:
    """Return the cosine that separates mated from non-mated pairs with the fewest errors."""
    order = np.argsort(scores)
    # Errors when everything from place k on counts as a match.
    missed = np.concatenate([[0], np.cumsum(mated[order])])
    taken = np.concatenate([[0], np.cumsum(~mated[order])])
    k = int(np.argmin(missed + taken[-1] - taken))
    edges = np.concatenate([[-1], scores[order], [1]])
    return float((edges[k] + edges[k + 1]) / 2)


def ten_folds(scores: NDArray[np.float32], mated: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the accuracy of each fold at the threshold of the other nine."""
    fold = np.arange(len(scores)) // 600
    limits = [best_threshold(scores[fold != i], mated[fold != i]) for i in range(10)]
    return np.array(
        [((scores >= limits[i]) == mated)[fold == i].mean() for i in range(10)], np.float64
    )


def at_published(
    args: argparse.Namespace, names: list[str], rows: NDArray[np.float32]
) -> tuple[str, list[dict[str, float]]]:
    """Tell what the thresholds of the catalogue do to all pairs of all images."""
    mated, other = pair_scores(rows, np.array([name.rpartition("_")[0] for name in names]))
    title = f"catalogue's thresholds, all {len(mated)} mated and {len(other)} non-mated pairs"
    return title, [
        {
            "FMR": fmr,
            "cosine": limit,
            "FMR here": rate(other, limit),
            "FNMR % here": 100 * (1 - rate(mated, limit)),
        }
        for fmr, limit in entry(args.model or default_model("embed")).thresholds
    ]


def main() -> int:
    """Run from the command line."""
    parser = arguments(__doc__)
    add_road(parser)
    args = parser.parse_args()
    names, rows, found = lfw_faces(args)
    pairs, mated = read_pairs(args.shared / "data" / "lfw" / "pairs.txt")
    place = {name: i for i, name in enumerate(names)}
    left, right = (np.array([place[pair[side]] for pair in pairs]) for side in (0, 1))
    scores = (rows[left] * rows[right]).sum(axis=1)
    scores[~(found[left] & found[right])] = -1
    folds = ten_folds(scores, mated)
    row = {
        "refine": args.refine,
        "flip": args.flip,
        "accuracy %": 100 * folds.mean(),
        "sd of the folds": 100 * folds.std(ddof=1),
        "mated": int(mated.sum()),
        "non-mated": int((~mated).sum()),
        "images": len(names),
        "no face": int((~found).sum()),
    }
    for fmr in (1e-2, 1e-3):
        limit = threshold(scores[~mated], fmr)
        row[f"TAR % at FMR {fmr:g}"] = 100 * rate(scores[mated], limit)
    report(args, "LFW, 10 folds, from the raw images", [row])
    report(args, *at_published(args, names, rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
