"""Landmarks against annotated ones, as detected and refined; and what recognition gains.

Photos of the people whom the refiner never saw (``split_by_person``, 70 people, seed 0). Of the 68
annotated points the eye centers, the nose tip and the corners of the mouth count as the truth;
errors are in % of their eye distance. TAR counts all mated pairs of photos; its gain over the
landmarks as detected comes with a 95 % interval from a bootstrap over the people. "mirrored" is
found in the mirror images and brought back: a bias of the detector to one side turns round there,
one of the annotations stays.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

import numpy as np
from common import (
    arguments,
    cached,
    cropping_code,
    embed_all,
    report,
)
from numpy.typing import NDArray

from facekeep.lab.datasets.annotated import open_annotated, split_by_person
from facekeep.lab.evaluate import measure_at_rates, score_all_pairs
from facekeep.lab.evaluate.crops import choose_central_face
from facekeep.pipeline.align import align
from facekeep.pipeline.detect import Detector
from facekeep.runtime import RuntimeOptions

Points = NDArray[np.float64]
FMR = 1e-3
RESAMPLES = 2000


def find(
    args: argparse.Namespace, frames: list[NDArray[np.uint8]], truth: Points
) -> dict[str, Points]:
    """Detect the annotated face of each frame: its landmarks, raw and refined, NaN if not found."""
    raw, refined = np.full((2, *truth.shape), np.nan)
    with Detector(options=RuntimeOptions(threads=args.threads)) as detector:
        for i, frame in enumerate(frames):
            nose = truth[i, 2]
            faces = detector.detect(frame)
            around = [f for f in faces if (f.bbox[:2] < nose).all() and (f.bbox[2:] > nose).all()]
            if around:
                face = choose_central_face(around, truth[i].mean(axis=0))
                raw[i] = face.landmarks
                refined[i] = detector.refine(frame, [face])[0].landmarks
    return {"raw": raw, "refined": refined}


def mirror(frames: list[NDArray[np.uint8]], points: Points) -> Points:
    """Return where points lie in the mirror images; left and right change places."""
    widths = np.array([frame.shape[1] for frame in frames])
    flipped = points[:, [1, 0, 2, 4, 3]]
    flipped[..., 0] = widths[:, None] - 1 - flipped[..., 0]
    return flipped


def find_both(
    args: argparse.Namespace, frames: list[NDArray[np.uint8]], truth: Points
) -> dict[str, Points]:
    """Detect in the frames and in their mirror images."""
    turned = [np.ascontiguousarray(frame[:, ::-1]) for frame in frames]
    there = find(args, turned, mirror(frames, truth))
    back = {f"{kind}, mirrored": mirror(frames, points) for kind, points in there.items()}
    return find(args, frames, truth) | back


def errors(found: Points, truth: Points) -> dict[str, float]:
    """Return in % how far landmarks are off.

    The mean distance, its 95th percentile over faces, the mean error to the right and down, and
    the distance without that.
    """
    eyes = np.linalg.norm(truth[:, 1] - truth[:, 0], axis=1)
    error = 100 * (found - truth) / eyes[:, None, None]
    right, down = np.nanmean(error, axis=(0, 1))
    distance = np.linalg.norm(error, axis=2).mean(axis=1)
    shape = np.linalg.norm(error - [right, down], axis=2)
    return {
        "error %": float(np.nanmean(distance)),
        "95th": float(np.nanpercentile(distance, 95)),
        "right %": float(right),
        "down %": float(down),
        "without": float(np.nanmean(shape)),
    }


def recognize(
    args: argparse.Namespace, crops: NDArray[np.uint8], people: NDArray[np.str_]
) -> tuple[NDArray[np.float64], float, int]:
    """Return which mated pairs match at the FMR, d', and the number of non-mated pairs."""
    # Up to one half, so that all non-mated scores are kept.
    pairs = score_all_pairs(embed_all(args, "landmarks-rows", crops), people, fmr=0.5)
    (point,) = measure_at_rates(pairs.scores, (FMR,), resamples=0)
    mated = pairs.mated.take(np.lexsort((pairs.mated.second, pairs.mated.first))).scores
    other = pairs.scores.tail
    apart = (mated.mean() - other.mean()) / np.sqrt((mated.var() + other.var()) / 2)
    return (mated >= point.threshold).astype(float), float(apart), len(other)


def interval(gain: NDArray[np.float64], people: NDArray[np.str_]) -> tuple[float, float]:
    """Return a 95 % interval of the mean gain of the mated pairs, by drawing people anew."""
    owner = np.unique(people, return_inverse=True)[1]
    # The person of each mated pair, in the order of the first frame.
    later = [(owner[i + 1 :] == who).sum() for i, who in enumerate(owner)]
    person = np.repeat(owner, later)
    count = owner.max() + 1
    sums, sizes = np.bincount(person, gain, count), np.bincount(person, minlength=count)
    drawn = np.random.default_rng(0).integers(count, size=(RESAMPLES, count))
    means = sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def photos(
    args: argparse.Namespace,
) -> tuple[list[NDArray[np.uint8]], Points, NDArray[np.str_]]:
    """Load the photos of the people kept out: images, landmarks, and who they show."""
    path = args.shared / "data" / "landmarks" / "faces68.tar"
    kept_out = split_by_person(open_annotated(path), holdout=70, seed=0)[1]
    every = range(len(kept_out))
    truth = np.concatenate([kept_out.landmarks(i) for i in every]).astype(np.float64)
    people = np.array([kept_out.person(i) for i in every])
    return [kept_out.image(i) for i in every], truth, people


def main() -> int:
    """Run from the command line."""
    args = arguments(__doc__).parse_args()
    frames, truth, people = photos(args)
    settings = [len(frames), cropping_code()]
    found = cached(args.cache, "landmarks", settings, lambda: find_both(args, frames, truth))
    seen = np.flatnonzero(~np.isnan(found["raw"]).any(axis=(1, 2)))
    truth, people, raw, refined = (x[seen] for x in (truth, people, found["raw"], found["refined"]))
    rows: list[dict[str, Any]] = []
    reference = np.zeros(0)
    for name, landmarks in {"raw": raw, "refined": refined, "annotated": truth}.items():
        crops = np.stack([align(frames[i], p) for i, p in zip(seen, landmarks, strict=True)])
        hits, apart, comparisons = recognize(args, crops, people)
        reference = reference if rows else hits
        low, high = interval(hits - reference, people)
        row = {"landmarks": name} | errors(landmarks, truth)
        row |= {"d'": apart, "TAR %": 100 * float(hits.mean())}
        row["gain over raw"] = f"{100 * (hits - reference).mean():+.2f}"
        row["95 % interval"] = f"{100 * low:+.2f} to {100 * high:+.2f}"
        rows.append(row)
    for name in ("raw", "refined"):
        rows.append(
            {"landmarks": f"{name}, mirrored"} | errors(found[f"{name}, mirrored"][seen], truth)
        )
    title = (
        f"{len(seen)} of {len(frames)} frames found, {len(np.unique(people))} people; "
        f"{len(hits)} mated and {comparisons} non-mated pairs; TAR at FMR {FMR:g}"
    )
    report(args, title, rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
