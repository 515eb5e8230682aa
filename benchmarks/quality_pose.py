"""The pose that ``facekeep.pipeline.quality`` estimates from five landmarks against a fit of 68.

The generic head comes from the annotated frames of one half of the people, by factorization, its
five points then moved to where the detector sees them. The figures come from the other half, whose
68 annotated points are fitted in perspective, for the landmarks as first seen and as refined.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

import cv2
import numpy as np
from common import arguments, landmark_frames, report
from numpy.typing import NDArray

from facekeep.lab.evaluate.crops import choose_central_face
from facekeep.pipeline.detect import Detector
from facekeep.pipeline.quality import estimate_pose
from facekeep.runtime import RuntimeOptions

Values = NDArray[np.float64]


def mirror() -> NDArray[np.intp]:
    """Which of the 68 points (order of iBUG) takes the place of each in the mirror."""
    swaps = [
        *zip(range(17), range(16, -1, -1), strict=True),
        *zip(range(17, 27), range(26, 16, -1), strict=True),
        *zip(range(31, 36), range(35, 30, -1), strict=True),
        *zip((36, 37, 38, 39, 40, 41), (45, 44, 43, 42, 47, 46), strict=True),
        *zip(range(48, 55), range(54, 47, -1), strict=True),
        *zip(range(55, 60), range(59, 54, -1), strict=True),
        *zip(range(60, 65), range(64, 59, -1), strict=True),
        *zip(range(65, 68), range(67, 64, -1), strict=True),
    ]
    order = np.arange(68)
    for a, b in swaps:
        order[a], order[b] = b, a
    return order


def factorize(points: Values) -> Values:
    """The rigid head behind many views of 68 points: ``(68, 3)``, up to rotation and depth's sign.

    Tomasi and Kanade 1992: centered views of one body have rank three; the scaled orthographic
    camera, whose two axes are of one length and at right angles, fixes the rest.
    """
    flipped = points[:, mirror()] * [-1, 1]
    views = np.concatenate([points, flipped])
    views = views - views.mean(axis=1, keepdims=True)
    views /= np.sqrt((views**2).sum(axis=(1, 2), keepdims=True))
    left, size, right = np.linalg.svd(views.transpose(0, 2, 1).reshape(-1, 68), full_matrices=False)
    axes = (left[:, :3] * size[:3]).reshape(-1, 2, 3)
    i, j = np.triu_indices(3)

    def products(a: Values, b: Values) -> Values:
        return np.where(i == j, a[:, i] * b[:, j], a[:, i] * b[:, j] + a[:, j] * b[:, i])

    a, b = axes[:, 0], axes[:, 1]
    equations = np.concatenate([products(a, a) - products(b, b), products(a, b)])
    metric = np.zeros((3, 3))
    metric[i, j] = metric[j, i] = np.linalg.svd(equations, full_matrices=False)[2][-1]
    values, vectors = np.linalg.eigh(metric * np.sign(np.trace(metric)))
    return np.linalg.solve(vectors * np.sqrt(values), right[:3]).T


def upright(head: Values) -> Values:
    """Turn a head to look at the camera, eyes at ``(-0.5, 0, 0)`` and ``(0.5, 0, 0)``."""
    across = np.linalg.svd(head - head[mirror()])[2][0]
    eyes, mouth = head[36:48].mean(axis=0), head[[48, 54]].mean(axis=0)
    across *= np.sign(across @ (head[42:48].mean(axis=0) - head[36:42].mean(axis=0)))
    down = mouth - eyes - across * (across @ (mouth - eyes))
    down /= np.linalg.norm(down)
    turned = (head - eyes) @ np.stack([across, down, np.cross(across, down)], axis=1)
    turned[:, 2] *= -np.sign(turned[30, 2])
    return turned / (turned[42:48, 0].mean() - turned[36:42, 0].mean())


def five(points68: Values) -> Values:
    """The points of a ``Face`` among 68."""
    eyes = [points68[..., low : low + 6, :].mean(axis=-2) for low in (36, 42)]
    return np.stack([*eyes, *(points68[..., place, :] for place in (30, 48, 54))], axis=-2)


def fit(head: Values, points: Values, frame: NDArray[np.uint8]) -> Values:
    """The rotation matrix of the perspective fit of 68 points, the focal length taken as 1000."""
    height, width = frame.shape[:2]
    camera = np.array([[1000, 0, width / 2], [0, 1000, height / 2], [0, 0, 1.0]])
    _, turn, move = cv2.solvePnP(head, points, camera, None, flags=cv2.SOLVEPNP_SQPNP)
    _, turn, _ = cv2.solvePnP(head, points, camera, None, turn, move, True)
    return np.asarray(cv2.Rodrigues(turn)[0])


def angles(turn: Values) -> Values:
    """Yaw, pitch and roll, as ``Quality`` counts them, of rotation matrices ``(n, 3, 3)``."""
    yaw = np.arcsin(turn[:, 2, 0])
    pitch = np.arctan2(-turn[:, 2, 1], turn[:, 2, 2])
    return np.degrees(np.stack([yaw, pitch, np.arctan2(turn[:, 1, 0], turn[:, 0, 0])], axis=1))


def as_detected(start: Values, landmarks: Values, turns: Values) -> Values:
    """Move five points ``(5, 3)`` of a head to where the detector sees them on average.

    By turns each frame's scale is fitted to the points, and the points to all frames.
    """
    seen = landmarks - landmarks.mean(axis=1, keepdims=True)
    cameras = turns[:, :2]
    points = start
    for _ in range(5):
        shown = (points - points.mean(axis=0)) @ cameras.transpose(0, 2, 1)
        scale = (shown * seen).sum(axis=(1, 2)) / (shown**2).sum(axis=(1, 2))
        sums = (seen / scale[:, None, None]) @ cameras
        points = np.linalg.solve(
            (cameras.transpose(0, 2, 1) @ cameras).sum(axis=0), sums.sum(0).T
        ).T
    points = (points + points[[1, 0, 2, 4, 3]] * [-1, 1, 1]) / 2
    points = points - points[:2].mean(axis=0)
    return points / (points[1, 0] - points[0, 0])


def detected(
    args: argparse.Namespace, frames: list[NDArray[np.uint8]], points: Values
) -> tuple[Values, Values]:
    """Landmarks ``(n, 5, 2)`` of the annotated faces: at the first look, and refined."""
    first, second = [], []
    with Detector(options=RuntimeOptions(threads=args.threads)) as detector:
        for frame, annotated in zip(frames, points, strict=True):
            face = choose_central_face(detector.detect(frame), annotated.mean(axis=0))
            first.append(face.landmarks)
            second.append(detector.refine(frame, [face])[0].landmarks)
    return np.array(first, np.float64), np.array(second, np.float64)


def print_heads(args: argparse.Namespace, heads: dict[str, Values]) -> None:
    """Print the five points of generic heads."""
    names = ("left eye", "right eye", "nose", "left of the mouth", "right of the mouth")
    rows = [
        {"head": head, "point": name, **dict(zip("xyz", place.round(3).tolist(), strict=True))}
        for head, points in heads.items()
        for name, place in zip(names, points, strict=True)
    ]
    report(args, "five points in units of the eye distance", rows)


def main() -> int:
    """Print the head, and how near the estimates come."""
    args = arguments(__doc__).parse_args()
    frames, points, who = landmark_frames(args.shared)
    fitted = np.isin(who, sorted(set(who))[::2])
    head = upright(factorize(points[fitted]))
    turns = np.stack([fit(head, *each) for each in zip(points, frames, strict=True)])
    first, refined = detected(args, frames, points)
    heads = {
        "annotated": five(head),
        "annotated, the other people": five(upright(factorize(points[~fitted]))),
        "as detected": as_detected(five(head), refined[fitted], turns[fitted]),
    }
    print_heads(args, heads)
    truth = angles(turns[~fitted])
    rows = [
        compared(angle, label, found[:, column], truth[:, column])
        for label, landmarks in (("first look", first), ("refined", refined))
        for found in [np.array([estimate_pose(each) for each in landmarks[~fitted]])]
        for column, angle in enumerate(("yaw", "pitch", "roll"))
    ]
    report(args, f"degrees, {len(truth)} frames of people the head does not come from", rows)
    return 0


def compared(angle: str, label: str, found: Values, true: Values) -> dict[str, Any]:
    """One row: how far estimates lie from the truth."""
    error = (found - true + 180) % 360 - 180
    low, high = np.percentile(true, [5, 95])
    return {
        "angle": angle,
        "landmarks": label,
        "5-95 % of truth": f"{low:.0f} to {high:.0f}",
        "mean error": float(np.abs(error).mean()),
        "p95": float(np.percentile(np.abs(error), 95)),
        "bias": float(error.mean()),
        "correlation": float(np.corrcoef(found, true)[0, 1]),
    }


if __name__ == "__main__":
    sys.exit(main())
