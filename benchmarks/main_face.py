"""Whose photo is it: how often one face is the main one, and how often it is the wrong one.

The rule (``choose_main_face``) was chosen on ``frames`` (video frames of which one person's
face is annotated), ``crops`` (cut out of group photos about one face, so that it is known which is
meant) and ``groups`` (the group photos as they are, of which nobody in particular is the subject).
``pairs`` puts two portraits side by side at about the same size, so that taking either is a guess.
``lfw`` is the test: one photo a person, whose face is the one nearest to the middle; no number was
chosen on it. "before" is the rule that refused every face of 0.4 times the largest.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from common import Crops, arguments, landmark_frames, report, tar_members

from facekeep.pipeline.detect import Detector
from facekeep.pipeline.enrollment_rules import choose_main_face, find_fault
from facekeep.pipeline.image import load_image
from facekeep.pipeline.quality import POLICIES, assess
from facekeep.runtime import RuntimeOptions
from facekeep.types import Face

Case = tuple[Crops, tuple[float, float] | None]
SIDE = 250


def scenes(shared: Path) -> Iterator[Crops]:
    """Yield the photos of people and groups."""
    for name, content in tar_members(shared / "data" / "scenes" / "scenes.tar"):
        if Path(name).name.startswith("p"):
            yield load_image(content)


def frames(shared: Path, detector: Detector) -> Iterator[Case]:
    """Yield video frames; the middle of the annotated points says who is meant."""
    images, points, _ = landmark_frames(shared)
    for image, marked in zip(images, points, strict=True):
        x, y = marked.mean(axis=0).tolist()
        yield image, (x, y)


def crops(shared: Path, detector: Detector) -> Iterator[Case]:
    """Yield squares of 2.4, 3.2 and 4.5 times the size of a face about each face of a group."""
    rng = np.random.default_rng(0)
    for image in scenes(shared):
        faces = detector.detect(image)
        for face in faces[:12] if len(faces) > 1 else []:
            for factor in (2.4, 3.2, 4.5):
                yield from _square(image, face, factor * face.size, rng)


def _square(image: Crops, face: Face, side: float, rng: np.random.Generator) -> Iterator[Case]:
    height, width = image.shape[:2]
    middle = face.bbox.reshape(2, 2).mean(axis=0)
    low = (middle + rng.normal(0, 0.04, 2) * side - side / 2).astype(int)
    high = low + int(side)
    if (
        face.size < 24
        or low.min() < -0.1 * side
        or (high > np.add((width, height), 0.1 * side)).any()
    ):
        return
    low, high = np.maximum(low, 0), np.minimum(high, (width, height))
    cut = np.ascontiguousarray(image[low[1] : high[1], low[0] : high[0]])
    scale = SIDE / max(cut.shape[:2])
    x, y = ((middle - low) * scale).tolist()
    yield cv2.resize(cut, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), (x, y)


def groups(shared: Path, detector: Detector) -> Iterator[Case]:
    """Yield group photos as they are; nobody is meant."""
    for image in scenes(shared):
        if len(detector.detect(image)) > 1:
            yield image, None


def pairs(shared: Path, detector: Detector) -> Iterator[Case]:
    """Yield two portraits side by side, one 0.7 to 1 times as large; nobody is meant."""
    rng = np.random.default_rng(0)
    members = tar_members(shared / "data" / "portraits" / "portraits.tar")
    portraits = [load_image(c) for n, c in members if n.endswith(".webp")][:400]
    for left, right in zip(portraits[::2], portraits[1::2], strict=True):
        small = int(160 * rng.uniform(0.7, 1))
        sheet = np.full((200, 360, 3), 128, np.uint8)
        top, aside = rng.integers(0, 200 - small), 180 + rng.integers(0, 180 - small)
        sheet[20:180, 10:170] = left
        sheet[top : top + small, aside : aside + small] = cv2.resize(
            right, (small, small), interpolation=cv2.INTER_AREA
        )
        yield np.ascontiguousarray(sheet[:, ::-1] if rng.random() < 0.5 else sheet), None


def lfw(shared: Path, detector: Detector) -> Iterator[Case]:
    """Yield the first photo of each person of LFW; who is in the middle is meant."""
    for folder in sorted((shared / "data" / "lfw" / "images").iterdir()):
        image = load_image(min(folder.iterdir()))
        yield image, (image.shape[1] / 2, image.shape[0] / 2)


KINDS = {each.__name__: each for each in (frames, crops, groups, pairs, lfw)}


def meant(faces: Sequence[Face], point: tuple[float, float] | None) -> int | None:
    """The face nearest to a point."""
    away = [float(np.hypot(*(face.bbox.reshape(2, 2).mean(axis=0) - point))) for face in faces]
    return int(np.argmin(away)) if point is not None and faces else None


def before(faces: Sequence[Face]) -> int | None:
    """The rule that was in use before: a face of 0.4 times the largest competes with it."""
    return 0 if all(face.size < 0.4 * faces[0].size for face in faces[1:]) else None


def look(kind: str, args: Any, detector: Detector) -> list[dict[str, Any]]:
    """Count what becomes of the photos of one kind under each rule."""
    rules = ("before", "standard", "strict")
    counts = {rule: Counter[str]() for rule in rules}
    total = several = 0
    for image, point in KINDS[kind](args.shared, detector):
        faces = detector.refine(image, detector.detect(image))
        if args.limit and total >= args.limit:
            break
        if not faces:
            continue
        total += 1
        several += len(faces) > 1
        measured = [face.replace(quality=assess(image, face)) for face in faces]
        for rule in rules:
            policy = POLICIES["standard" if rule == "before" else rule]
            main = (
                before(faces) if rule == "before" else choose_main_face(faces, image.shape, policy)
            )
            fault = find_fault(measured, main, policy)
            counts[rule]["refused" if main is None else "taken"] += 1
            counts[rule]["wrong"] += (
                main is not None and point is not None and main != meant(faces, point)
            )
            counts[rule]["reviewed"] += fault is None
    return [
        {
            "photos": kind,
            "rule": rule,
            "n": total,
            "with several faces": several,
            "refused as several": found["refused"],
            "wrong face": None if kind in ("groups", "pairs") else found["wrong"],
            "accepted by the whole review": found["reviewed"] / total,
        }
        for rule, found in counts.items()
    ]


def main() -> int:
    """Run from the command line."""
    parser = arguments(__doc__)
    parser.add_argument(
        "kinds", nargs="*", default=list(KINDS), metavar="KIND", help=", ".join(KINDS)
    )
    parser.add_argument("--limit", type=int, default=0, help="look at no more photos of a kind")
    args = parser.parse_args()
    with Detector(options=RuntimeOptions(threads=args.threads)) as detector:
        for kind in args.kinds:
            report(args, kind, look(kind, args, detector))
    return 0


if __name__ == "__main__":
    sys.exit(main())
