"""Resident memory over many images, which must not grow, and with many people.

    python benchmarks/memory.py --images 10000
    python benchmarks/memory.py --people 10000 --model facekeep-xxs
    python benchmarks/memory.py --large

The first identifies pictures of many sizes made from the demo's portraits, one after another with
one engine, and prints the resident memory along the way; the first hundred images are warm-up. The
second prints what a new process takes that identifies a portrait six times among so many people.
The third prints what one takes that looks for small faces in a small picture, three times in a
photo of twelve megapixels, and in the small picture again: at its peak and at its end.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np
import psutil

from facekeep import FaceEngine, Gallery
from facekeep.gallery import NewTemplate, Space
from facekeep.models import default_model, entry, space_id
from facekeep.pipeline.image import save_image
from facekeep.samples import load_portraits

_WARM_UP = 100
# Goes on within the `with` at the end of what a process does.
_TELL = """
    lines = open("/proc/self/status").read().splitlines()
print(json.dumps({name: round(int(line.split()[1]) / 1024, 1)
    for line in lines for name in ("VmRSS", "VmHWM") if line.startswith(name)}))
"""
_IDENTIFY = """
import json, sys
from facekeep import FaceEngine, load_image
picture = load_image(sys.argv[1])
with FaceEngine(sys.argv[2], embedder=sys.argv[3], threads=1) as engine:
    for _ in range(6):
        engine.identify(picture)
"""
_LARGE = """
import json, sys
import numpy as np
from facekeep import Detector, RuntimeOptions, load_image
picture = load_image(sys.argv[1])
large = np.tile(picture, (8, 8, 1))[:3000, :4000]
with Detector(min_face=20, options=RuntimeOptions(threads=1)) as detector:
    detector.detect(picture)
    for _ in range(3):
        detector.detect(large)
    del large
    detector.detect(picture)
"""


def with_people(count: int, model: str) -> str:
    """Return resident memory and its peak, in MB, of a process that knows so many people."""
    network = entry(model)
    space = Space(space_id(network), network.name, network.width or 0)
    vectors = np.random.default_rng(0).standard_normal((count, space.width), np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    with tempfile.TemporaryDirectory() as folder:
        photo, path = Path(folder) / "photo.jpg", Path(folder) / "people.db"
        save_image(photo, next(iter(load_portraits().values())))
        with Gallery.open(path, space=space, create=True) as gallery:
            people = enumerate(vectors)
            gallery.enroll_many((f"Person {n}", [NewTemplate(vector)]) for n, vector in people)
        return _told(_IDENTIFY, photo, path, model)


def with_a_large_photo() -> str:
    """Return the same of a process that looked for small faces in a large photo."""
    with tempfile.TemporaryDirectory() as folder:
        photo = Path(folder) / "photo.jpg"
        save_image(photo, next(iter(load_portraits().values())))
        return _told(_LARGE, photo)


def _told(code: str, *arguments: str | Path) -> str:
    command = [sys.executable, "-c", code + _TELL, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--people", type=int, help="measure a process that knows so many people")
    parser.add_argument("--model", default=default_model("embed"), help="its embedder")
    parser.add_argument("--large", action="store_true", help="measure one with a large photo")
    options = parser.parse_args()
    if options.large:
        print(with_a_large_photo())
        return
    if options.people:
        print(with_people(options.people, options.model))
        return
    portraits = list(load_portraits().values())
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
