"""Resident memory over many images: it must not grow.

    python benchmarks/memory.py --images 10000

Identifies pictures of many sizes made from the demo's portraits, one after another with one
engine, and prints the resident memory along the way. The first hundred images are warm-up.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import cv2
import numpy as np
import psutil

from facekeep import FaceEngine
from facekeep.apps.demo import bundled_cases

_WARM_UP = 100


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    portraits = [case.enrol[0] for case in bundled_cases()]
    random = np.random.default_rng(0)
    process = psutil.Process()
    readings: list[tuple[int, float]] = []
    with (
        tempfile.TemporaryDirectory() as folder,
        FaceEngine(Path(folder) / "people.db", threads=options.threads) as engine,
    ):
        engine.enroll("Grace Hopper", portraits[0])
        step = max(options.images // 10, 1)
        for number in range(1, options.images + 1):
            factor = random.uniform(0.25, 0.7)
            picture = portraits[number % 2]
            engine.identify(cv2.resize(picture, None, fx=factor, fy=factor))
            if number == _WARM_UP or number % step == 0:
                readings.append((number, process.memory_info().rss / 2**20))
                if not options.json:
                    print(f"{number:>7} images  {readings[-1][1]:.1f} MB", flush=True)
    growth = readings[-1][1] - readings[0][1]
    if options.json:
        print(json.dumps({"readings": readings, "growth_mb": growth}))
    else:
        print(f"growth after the first {readings[0][0]} images: {growth:+.1f} MB")


if __name__ == "__main__":
    main()
