"""Landmarks against annotated ones: raw, less their mean bias, refined; and what recognition gains.

Frames with 68 annotated points each; of these the eye centres, the nose tip and the corners of the
mouth count as the truth; errors are in % of their eye distance. The bias is fitted on one half of
the people and taken off the other half, both ways round, in the frame that the two detected eyes
span. TAR counts all mated pairs of frames; its gain over the raw landmarks comes with a 95 %
interval from a bootstrap over the people. "mirrored" is found in the mirror images and brought
back: a bias of the detector to one side turns round there, one of the annotations stays.
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
    landmark_frames,
    report,
)
from numpy.typing import NDArray

from facekeep.align import align
from facekeep.detect import Detector
from facekeep.evaluate import all_pairs, at_rates
from facekeep.evaluate.crops import main_face

Points = NDArray[np.float64]
FMR = 1e-3
RESAMPLES = 2000


def five(points68: Points) -> Points:
    """Reduce 68 points in the order of iBUG to the five of a ``Face``."""
    eyes = [points68[:, 36:42].mean(axis=1), points68[:, 42:48].mean(axis=1)]
    return np.stack([*eyes, points68[:, 30], points68[:, 48], points68[:, 54]], axis=1)


def find(
    args: argparse.Namespace, frames: list[NDArray[np.uint8]], truth: Points
) -> dict[str, Points]:
    """Detect the annotated face of each frame: its landmarks, raw and refined, NaN if not found."""
    raw, refined = np.full((2, *truth.shape), np.nan)
    with Detector(threads=args.threads) as detector:
        for i, frame in enumerate(frames):
            nose = truth[i, 2]
            faces = detector.detect(frame)
            around = [f for f in faces if (f.bbox[:2] < nose).all() and (f.bbox[2:] > nose).all()]
            if around:
                face = main_face(around, truth[i].mean(axis=0))
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
    return find(args, frames, truth) | {"mirrored": mirror(frames, there["raw"])}


def less_bias(points: Points, truth: Points, people: NDArray[np.str_]) -> Points:
    """Take off the mean error, fitted on the other half of the people."""
    p, t = (each @ np.array([1, 1j]) for each in (points, truth))
    span = (p[:, 1] - p[:, 0])[:, None]
    error = (p - t) / span
    half = np.unique(people, return_inverse=True)[1] % 2
    for side in (0, 1):
        p[half == side] -= error[half != side].mean(axis=0) * span[half == side]
    return np.stack([p.real, p.imag], axis=2)


def errors(found: Points, truth: Points) -> dict[str, float]:
    """Return the mean distance to the truth and the mean error to the right and down, in %."""
    eyes = np.linalg.norm(truth[:, 1] - truth[:, 0], axis=1)
    error = 100 * (found - truth) / eyes[:, None, None]
    right, down = np.nanmean(error, axis=(0, 1))
    distance = np.nanmean(np.linalg.norm(error, axis=2))
    return {"error %": float(distance), "right %": float(right), "down %": float(down)}


def recognise(
    args: argparse.Namespace, crops: NDArray[np.uint8], people: NDArray[np.str_]
) -> tuple[NDArray[np.float64], float, int]:
    """Return which mated pairs match at the FMR, d', and the number of non-mated pairs."""
    # Up to one half, so that all non-mated scores are kept.
    pairs = all_pairs(embed_all(args, "landmarks-rows", crops), people, fmr=0.5)
    (point,) = at_rates(pairs.scores, (FMR,), resamples=0)
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


def main() -> int:
    """Run from the command line."""
    args = arguments(__doc__).parse_args()
    frames, points68, people = landmark_frames(args.shared)
    truth = five(points68)
    settings = [len(frames), cropping_code()]
    found = cached(args.cache, "landmarks", settings, lambda: find_both(args, frames, truth))
    seen = np.flatnonzero(~np.isnan(found["raw"]).any(axis=(1, 2)))
    truth, people, raw, refined = (x[seen] for x in (truth, people, found["raw"], found["refined"]))
    kinds = {
        "raw": raw,
        "raw less bias": less_bias(raw, truth, people),
        "refined": refined,
        "refined less bias": less_bias(refined, truth, people),
        "annotated": truth,
    }
    rows: list[dict[str, Any]] = []
    reference = np.zeros(0)
    for name, landmarks in kinds.items():
        crops = np.stack([align(frames[i], p) for i, p in zip(seen, landmarks, strict=True)])
        hits, apart, comparisons = recognise(args, crops, people)
        reference = reference if rows else hits
        low, high = interval(hits - reference, people)
        row = {"landmarks": name} | errors(landmarks, truth)
        row |= {"d'": apart, "TAR %": 100 * float(hits.mean())}
        row["gain over raw"] = f"{100 * (hits - reference).mean():+.2f}"
        row["95 % interval"] = f"{100 * low:+.2f} to {100 * high:+.2f}"
        rows.append(row)
    rows.append({"landmarks": "mirrored"} | errors(found["mirrored"][seen], truth))
    title = (
        f"{len(seen)} of {len(frames)} frames found, {len(np.unique(people))} people; "
        f"{len(hits)} mated and {comparisons} non-mated pairs; TAR at FMR {FMR:g}"
    )
    report(args, title, rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
