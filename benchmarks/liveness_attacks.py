"""Make attacks from photos of faces: what ``facekeep evaluate liveness`` takes.

    python benchmarks/liveness_attacks.py PHOTOS OUT [--count N]
    facekeep evaluate liveness OUT --model minifasnet

PHOTOS is a folder of photos, one folder for each person or none. OUT gets ``live/`` and
``attack/<species>/``, a picture of each for each photo. The attacks are simulated: what is measured
on them is no certification.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from facekeep._internal.listing import list_images
from facekeep.lab.train.liveness.attacks import SPECIES, photograph, simulate
from facekeep.pipeline.detect import Detector
from facekeep.pipeline.image import load_image, save_image
from facekeep.runtime import RuntimeOptions


def main() -> None:
    """Write the pictures."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("photos", type=Path)
    arguments.add_argument("out", type=Path)
    arguments.add_argument("--count", type=int, default=100)
    given = arguments.parse_args()
    paths = one_a_person(list_images(given.photos), given.photos)
    rng = np.random.default_rng(0)
    rng.shuffle(paths)
    for folder in ("live", *(f"attack/{species}" for species in SPECIES)):
        (given.out / folder).mkdir(parents=True, exist_ok=True)
    written, previous = 0, None
    with Detector(max_faces=1, options=RuntimeOptions(threads=1)) as detector:
        for path in paths:
            image = load_image(path)
            faces = detector.find(image)
            if not faces or previous is None:
                previous = image
                continue
            frames = {"live": photograph(image, faces[0].bbox, rng, share=(1.0, 1.4))}
            for species in SPECIES:
                frame = simulate(species, image, faces[0].bbox, previous, rng)
                frames[f"attack/{species}"] = frame
            for folder, frame in frames.items():
                save_image(given.out / folder / f"{written:04}.png", frame.image)
            previous, written = image, written + 1
            if written == given.count:
                break
    print(f"{written} of each in {given.out}")


def one_a_person(paths: list[Path], folder: Path) -> list[Path]:
    """Return the first photo of each folder, or all where they lie in none."""
    first = {path.parent if path.parent != folder else path: path for path in reversed(paths)}
    return sorted(first.values())


if __name__ == "__main__":
    main()
