"""Tell turned heads from moved pictures: how many living people pass, and how many flat photos.

    python benchmarks/liveness_turns.py faces68.tar [--people N] [--landmarks FILE.npz]

FACES68 is a tar of annotated frames of people in motion (``points68`` and ``person`` in a .json
beside each). The landmarks are those of facekeep's own detector and refiner, as they run. Living:
every frame of a person against the most frontal one. Pictures: the most frontal frame, moved,
tilted by up to 50 degrees, and bent around a cylinder besides.
"""

from __future__ import annotations

import argparse
import io
import json
import tarfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from facekeep.errors import InputError
from facekeep.liveness.head_motion import nose_parallax, nose_shift
from facekeep.pipeline.detect import Detector
from facekeep.runtime import RuntimeOptions

SIZES = {"small": (0.12, 0.2), "middle": (0.2, 0.35), "large": (0.35, 2.0)}
"""True turns: how far the nose moves against eyes and mouth, in distances of the eyes."""
POSES = 24  # of each picture and kind
FLAT = ("moved", "tilted", "bent")


def main() -> None:
    """Measure and report."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("faces68", type=Path)
    arguments.add_argument("--people", type=int, default=10_000)
    arguments.add_argument("--landmarks", type=Path, help="keep what was found here")
    given = arguments.parse_args()
    rows = measure(given.faces68, given.people, given.landmarks)
    report(rows)


def measure(tar: Path, people: int, kept: Path | None) -> NDArray[np.float64]:
    """Return rows: person, kind (0 living, 1 to 3 `FLAT`), true turn x 2, parallax x 2."""
    if kept is not None and kept.exists():
        return np.load(kept)["rows"]
    rows = []
    with Detector(max_faces=1, orienter="none", options=RuntimeOptions(threads=1)) as detector:
        for number, frames in enumerate(list(read_people(tar).values())[:people]):
            rows += [(number, *row) for row in measure_person(frames, number, detector)]
    table = np.array(rows)
    if kept is not None:
        np.savez(kept, rows=table)
    return table


def read_people(tar: Path) -> dict[str, list[tuple[NDArray[np.uint8], NDArray[np.float64]]]]:
    """Return each person's frames with five annotated landmarks."""
    found = defaultdict(list)
    with tarfile.open(tar) as archive:
        names = archive.getnames()
        for name in sorted(names):
            if not name.endswith(".json"):
                continue
            facts = json.loads(archive.extractfile(name).read())
            points = np.array(facts["points68"], float)
            eyes = points[36:42].mean(0), points[42:48].mean(0)
            picture = archive.extractfile(name.removesuffix(".json") + ".webp").read()
            image = np.asarray(Image.open(io.BytesIO(picture)).convert("RGB"))
            found[facts["person"]].append((image, np.array([*eyes, *points[[30, 48, 54]]])))
    return found


def measure_person(frames: list, seed: int, detector: Detector) -> Iterator[tuple]:
    """Compare a person's frames, and views of a picture of them, with the most frontal frame."""
    turns = [abs(nose_shift(mirror(points), points)[0]) for _, points in frames]
    front = int(np.argmin(turns))
    image, truth = frames[front]
    base = find(detector, image, truth)
    if base is None:
        return
    for place, (other, points) in enumerate(frames):
        if place == front:
            continue
        found = find(detector, other, points)
        if found is not None:
            yield 0, *nose_shift(truth, points), *compare(base, found)
    rng = np.random.default_rng(seed)
    for kind, name in enumerate(FLAT, 1):
        for _ in range(POSES):
            view, points = show(image, truth, name, rng)
            found = find(detector, view, points)
            if found is not None:
                yield kind, 0.0, 0.0, *compare(base, found)


def mirror(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the landmarks of the mirror image; against it a frontal face has no shift."""
    return points[[1, 0, 2, 4, 3]] * [-1, 1]


def compare(before: NDArray, after: NDArray) -> tuple:
    """Return what a comparison gives; zeros where there is none."""
    try:
        return tuple(nose_parallax(before, after))
    except InputError:
        return 0.0, 0.0


def find(detector: Detector, image: NDArray[np.uint8], points: NDArray) -> NDArray | None:
    """Return the landmarks of the face that the annotated points belong to."""
    for face in detector.find(image):
        x1, y1, x2, y2 = face.bbox
        x, y = points.mean(axis=0)
        if x1 < x < x2 and y1 < y < y2:
            return face.landmarks.astype(float)
    return None


def show(image: NDArray[np.uint8], points: NDArray, kind: str, rng: np.random.Generator) -> tuple:
    """Show a picture to a camera: moved, tilted, or bent and tilted."""
    height, width = image.shape[:2]
    if kind == "bent":
        image, points = bend(image, points, rng.uniform(0.2, 1.0))
    yaw, pitch = (0, 0) if kind == "moved" else np.radians(rng.uniform(-50, 50, 2) * [1, 0.6])
    roll = np.radians(rng.uniform(-15, 15))
    distance = rng.uniform(1.8, 3.5) * width
    matrix = view_matrix((width, height), yaw, pitch, roll, distance)
    return (
        cv2.warpPerspective(image, matrix, (width, height), flags=cv2.INTER_AREA),
        cv2.perspectiveTransform(points[None], matrix)[0],
    )


def bend(image: NDArray[np.uint8], points: NDArray, half: float) -> tuple:
    """Bend a picture around an upright cylinder, seen from afar; half its angle in radians."""
    height, width = image.shape[:2]
    rows, columns = np.indices((height, width), np.float32)
    source = np.arcsin((columns / (width - 1) * 2 - 1) * np.sin(half)) / half
    bent = cv2.remap(
        image, ((source + 1) / 2 * (width - 1)).astype(np.float32), rows, cv2.INTER_LINEAR
    )
    x = np.sin((points[:, 0] / (width - 1) * 2 - 1) * half) / np.sin(half)
    return bent, np.column_stack([(x + 1) / 2 * (width - 1), points[:, 1]])


def view_matrix(size: tuple, yaw: float, pitch: float, roll: float, distance: float) -> NDArray:
    """Return the homography of a flat picture turned in space before a pinhole camera."""
    width, height = size
    cy, sy, cp, sp, cr, sr = (f(a) for a in (yaw, pitch, roll) for f in (np.cos, np.sin))
    turn = (
        np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
        @ np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
        @ np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    )
    focal = 2.4 * width
    center = np.array([[1, 0, -width / 2], [0, 1, -height / 2], [0, 0, 1]])
    place = np.column_stack([turn[:, 0], turn[:, 1], [0, 0, distance]])
    camera = np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])
    return camera @ place @ center


def report(rows: NDArray[np.float64]) -> None:
    """Print what passes at bounds chosen on the first half of the people."""
    half = rows[:, 0] % 2 == 0
    for name, axis in (("left and right", 4), ("up", 5)):
        flat = np.abs(rows[half & (rows[:, 1] > 0) & (rows[:, 1] < 3), axis])
        bounds = np.percentile(flat, [95, 99, 99.9])
        print(f"{name}: parallax of flat pictures, 95, 99, 99.9 %: {bounds.round(3)}")
        other = rows[~half]
        for bound in (*bounds, 0.15, 0.2):
            print(f"  bound {bound:.3f}:", describe(other, axis, bound))


def describe(rows: NDArray[np.float64], axis: int, bound: float) -> str:
    """Return the pass rates of one bound."""
    parts = []
    for kind, name in enumerate(FLAT, 1):
        of = rows[rows[:, 1] == kind]
        parts.append(f"{name} {100 * (np.abs(of[:, axis]) >= bound).mean():.2f} %")
    living = rows[rows[:, 1] == 0]
    turn, seen = (living[:, at] if axis == 4 else -living[:, at] for at in (axis - 2, axis))
    if axis == 4:  # either side
        turn, seen = np.abs(turn), seen * np.sign(turn)
    for name, (low, high) in SIZES.items():
        of = seen[(turn >= low) & (turn < high)]
        if len(of):
            parts.append(f"{name} turns {100 * (of >= bound).mean():.1f} % of {len(of)}")
    return ", ".join(parts)


if __name__ == "__main__":
    main()
