"""Let people, and pictures of them, answer challenges: how many are live, and why others are not.

    python benchmarks/liveness_sessions.py faces68.tar [--people N]

FACES68 is as for ``liveness_turns.py``. A living person is footage of real frames: the most frontal
one, the one turned farthest to each side, and the frontal one again, each held, moved a little and
with a camera's noise; people whose frames show no turn to both sides of at least a middle size are
left out. An attack is the frontal frame alone: moved, tilted or bent to the side that is asked for,
all of it through the pipeline as it runs.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter, defaultdict
from pathlib import Path

import cv2
import numpy as np
from liveness_turns import SIZES, bend, mirror, read_people, view_matrix
from numpy.typing import NDArray

from facekeep.engine import FaceEngine
from facekeep.liveness.active import ActiveLiveness
from facekeep.liveness.checking import SAME_PERSON_FMR, check_liveness
from facekeep.liveness.head_motion import nose_shift

SIDE = 240
RATE = 12  # frames a second
KINDS = ("living", "moved", "tilted", "bent")


def main() -> None:
    """Measure and report."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("faces68", type=Path)
    arguments.add_argument("--people", type=int, default=40)
    given = arguments.parse_args()
    found: dict[str, Counter[str]] = defaultdict(Counter)
    seconds, spent, frames = [], 0.0, 0
    with FaceEngine(threads=1) as engine:
        cosine = engine.threshold(SAME_PERSON_FMR).cosine
        for number, views in enumerate(choose(given.faces68, given.people)):
            for kind in KINDS:
                order = ("left", "right") if number % 2 else ("right", "left")
                active = ActiveLiveness(same_person=cosine, challenges=order)
                footage = Footage(views, kind, active, number)
                begun = time.process_time()
                result = check_liveness(engine, footage, active=active)
                spent, frames = spent + time.process_time() - begun, frames + footage.count
                found[kind][" ".join((result.verdict, *result.reasons))] += 1
                if kind == "living" and result.live:
                    seconds.append(footage.count / RATE)
            print(number + 1, {kind: dict(found[kind]) for kind in KINDS}, file=sys.stderr)
    for kind in KINDS:
        print(f"{kind}: {dict(found[kind].most_common())}")
    print(f"until live: median {np.median(seconds):.1f} s; {1000 * spent / frames:.0f} ms a frame")


def choose(tar: Path, most: int) -> list[dict[str, NDArray[np.uint8]]]:
    """Return the frontal view and those turned to each side of people who turn far enough."""
    chosen = []
    for frames in read_people(tar).values():
        shifts = np.array([nose_shift(mirror(points), points)[0] / 2 for _, points in frames])
        front = int(np.argmin(np.abs(shifts)))
        turns = np.array([nose_shift(frames[front][1], points)[0] for _, points in frames])
        if turns.max() >= SIZES["middle"][0] and -turns.min() >= SIZES["middle"][0]:
            places = {"straight": front, "left": turns.argmax(), "right": turns.argmin()}
            chosen.append({name: centered(*frames[at]) for name, at in places.items()})
        if len(chosen) == most:
            break
    return chosen


def centered(image: NDArray[np.uint8], points: NDArray) -> NDArray[np.uint8]:
    """Move and scale a frame so that the eyes and mouth of all frames lie in one place."""
    middle, low = points[:2].mean(axis=0), points[3:].mean(axis=0)
    scale = 55 / max(np.hypot(*(low - middle)), 1)
    matrix = np.array([[scale, 0, SIDE / 2], [0, scale, SIDE * 0.42]])
    matrix[:, 2] -= scale * middle
    return cv2.warpAffine(image, matrix, (SIDE, SIDE), borderMode=cv2.BORDER_REPLICATE)


class Footage:
    """Frames of somebody who does what is asked, or of a picture that is shown so."""

    def __init__(self, views: dict, kind: str, active: ActiveLiveness, seed: int) -> None:
        self.views, self.kind, self.active = views, kind, active
        self.rng, self.count, self.angle = np.random.default_rng(seed), 0, 0.0

    def __iter__(self):
        """Yield pictures until the deadline of the last prompt is surely over."""
        for _ in range(40 * RATE):
            self.count += 1
            yield self.shoot(), self.count / RATE

    def shoot(self) -> NDArray[np.uint8]:
        """Take the next picture."""
        prompt = self.active.prompt
        aim = {"left": 1.0, "right": -1.0}.get(prompt, 0.0)
        self.angle += np.clip(aim - self.angle, -0.25, 0.25)
        if self.kind == "living":
            side = "left" if self.angle > 0.5 else "right" if self.angle < -0.5 else "straight"
            image = self.views[side]
        else:
            image = self.picture()
        shift = np.float32([[1, 0, 0], [0, 1, 0]])
        shift[:, 2] = self.rng.normal(0, 1.5, 2)
        moved = cv2.warpAffine(image, shift, (SIDE, SIDE), borderMode=cv2.BORDER_REPLICATE)
        noisy = moved + self.rng.normal(0, 3, moved.shape)
        return noisy.clip(0, 255).astype(np.uint8)

    def picture(self) -> NDArray[np.uint8]:
        """Show the frontal frame, moved, tilted or bent as far as the answer has come."""
        image = self.views["straight"]
        if self.kind == "moved":
            return np.roll(image, round(30 * self.angle), axis=1)
        if self.kind == "bent" and self.angle:
            image, _ = bend(image, np.zeros((1, 2)), 0.05 + 0.9 * abs(self.angle))
        matrix = view_matrix((SIDE, SIDE), np.radians(48 * self.angle), 0, 0, 2.4 * SIDE)
        return cv2.warpPerspective(image, matrix, (SIDE, SIDE), borderMode=cv2.BORDER_REPLICATE)


if __name__ == "__main__":
    main()
