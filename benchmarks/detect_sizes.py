"""Which sizes of face the detector finds: one look of the network, and the whole detector.

One frame of each person of the landmark set, whose faces are some 100 pixels wide, which is easy;
the box found there around the annotated nose is the truth and its shorter side the face's size.
First each face, with what surrounds it, is scaled to the size asked for, and the network looks
once. Then each face is cut out tight, the cut is scaled to the longest side asked for, and the
whole detector searches it. A face counts as found by a box of more than half intersection over
union with the truth.
"""

from __future__ import annotations

import sys
from typing import Any

import cv2
import numpy as np
from common import arguments, landmark_frames, report
from numpy.typing import NDArray

from facekeep.pipeline.detect import Detector
from facekeep.runtime import RuntimeOptions

SIZES = (8, 10, 12, 14, 16, 20, 32, 64, 128, 256, 384, 448, 512, 640, 800)
SCORES = (0.5, 0.6, 0.7)
SURROUNDINGS = 2.5
CUTS = (1.5, 1.2, 1.0, 0.8)
LONGEST_SIDES = (160, 256, 448, 640, 4000)

Box = NDArray[np.float64]
Sample = tuple[NDArray[np.uint8], Box]


def find(detector: Detector, frame: NDArray[np.uint8], nose: NDArray[np.float64]) -> list[Sample]:
    """Return the frame and the box of the annotated face, if it is found."""
    for face in detector.detect(frame):
        if (face.bbox[:2] < nose).all() and (face.bbox[2:] > nose).all():
            return [(frame, face.bbox.astype(np.float64))]
    return []


def cut(sample: Sample, share: float) -> Sample:
    """Cut out a box ``share`` times as wide and high as the face, as far as the frame goes."""
    frame, box = sample
    center, half = (box[:2] + box[2:]) / 2, share * (box[2:] - box[:2]) / 2
    x, y = np.maximum(np.round(center - half), 0).astype(int)
    right, bottom = np.round(center + half).astype(int)
    return frame[y:bottom, x:right], box - [x, y, x, y]


def scaled(sample: Sample, factor: float) -> Sample:
    """Scale a picture and the box in it."""
    image, box = sample
    method = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    size = np.maximum(np.round(np.array(image.shape[1::-1]) * factor), 1).astype(int)
    larger = cv2.resize(image, size.tolist(), interpolation=method)
    return np.asarray(larger, np.uint8), box * np.tile(size / image.shape[1::-1], 2)


def matches(boxes: NDArray[np.float32], truth: Box) -> NDArray[np.bool_]:
    """Tell which boxes are the true one."""
    low, high = np.maximum(boxes[:, :2], truth[:2]), np.minimum(boxes[:, 2:], truth[2:])
    shared = (high - low).clip(min=0).prod(axis=1)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1) + (truth[2:] - truth[:2]).prod()
    return np.asarray(shared > 0.5 * (areas - shared))


def one_look(detector: Detector, samples: list[Sample], size: int) -> dict[str, Any]:
    """Show each face to the bare network at one size; the share found at each score."""
    best = []
    for sample in samples:
        shorter = (sample[1][2:] - sample[1][:2]).min()
        image, truth = scaled(cut(sample, SURROUNDINGS), size / shorter)
        points, scores = detector._detect_level(image.shape, image, min(SCORES))
        best.append(scores[matches(points[:, :2].reshape(-1, 4), truth)].max(initial=0))
    return {"face, pixels": size} | {
        f"at score {score}": 100 * float((np.array(best) >= score).mean()) for score in SCORES
    }


def close_up(detector: Detector, samples: list[Sample], share: float) -> dict[str, Any]:
    """Search pictures that a face fills; the share found at each size of picture."""
    row: dict[str, Any] = {"picture / face": share}
    for side in LONGEST_SIDES:
        found = 0
        for sample in samples:
            tight = cut(sample, share)
            image, truth = scaled(tight, side / max(tight[0].shape[:2]))
            boxes = np.array([face.bbox for face in detector.detect(image)]).reshape(-1, 4)
            found += bool(matches(boxes, truth).any())
        row[f"{side} pixels"] = 100 * found / len(samples)
    return row


def main() -> int:
    """Run from the command line."""
    parser = arguments(__doc__)
    parser.add_argument("--step", type=int, default=1, help="use every so many-th person only")
    args = parser.parse_args()
    frames, points, people = landmark_frames(args.shared)
    chosen = np.unique(people, return_index=True)[1][:: args.step]
    with Detector(options=RuntimeOptions(threads=args.threads)) as detector:
        samples = [sample for i in chosen for sample in find(detector, frames[i], points[i, 30])]
        close = [close_up(detector, samples, share) for share in CUTS]
    with Detector(options=RuntimeOptions(threads=args.threads), score=min(SCORES)) as sensitive:
        looks = [one_look(sensitive, samples, size) for size in SIZES]
    title = f"one look of the network at {len(samples)} of {len(chosen)} faces: found, %"
    report(args, title, looks)
    report(args, f"close-ups, detector at score {detector.score}: found, %", close)
    return 0


if __name__ == "__main__":
    sys.exit(main())
