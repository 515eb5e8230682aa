#!/usr/bin/env python3
"""Train the networks that come with facekeep again, and compare them with the bundled ones.

    python scripts/weights.py --data ../shared/data [NAME ...]

Each file of recipes/ says how one network is made: `command`, the words after `facekeep` ({data} is
the folder of --data); `result`, the file of the run that is shipped; `numbers`, what its weights
are stored in; `teachers`, the models of the catalogue that must be here first; and `threads`, whose
number decides how sums are rounded. A run that was interrupted goes on; one that is done is not
done again.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
import sys
import tarfile
import tomllib
from dataclasses import dataclass
from itertools import islice, takewhile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facekeep import load_image
from facekeep.errors import FacekeepError, ModelNotFound
from facekeep.models import ModelEntry, entry, locate
from facekeep.models.files import keep
from facekeep.models.pack import Numbers, pack
from facekeep.runtime import open_session

ROOT = Path(__file__).resolve().parents[1]
RECIPES = ROOT / "recipes"
INTERRUPTED = 130
COMPARED = 64  # images that two networks are compared on
ANY_SIZE = 320  # the side of an image for a network that takes any


@dataclass(frozen=True)
class Recipe:
    """How one network is made; see the top of this file."""

    name: str
    command: list[str]
    result: str
    numbers: Numbers = "float32"
    teachers: tuple[str, ...] = ()
    threads: int = 0

    @property
    def verbs(self) -> list[str]:
        """The command without its options."""
        return list(takewhile(lambda word: not word.startswith("-"), self.command))


def recipes(names: list[str]) -> list[Recipe]:
    """Read the recipes of these names; of all where none is given."""
    known = {path.stem: path for path in sorted(RECIPES.glob("*.toml"))}
    unknown = set(names) - set(known)
    if unknown:
        sys.exit(f"no recipe for {', '.join(sorted(unknown))}; there are: {', '.join(known)}")
    return [
        Recipe(name, **tomllib.loads(known[name].read_text("utf-8"))) for name in names or known
    ]


def facekeep(*words: object, threads: int = 0) -> None:
    """Run a command of facekeep, and end with it where it fails."""
    environment = os.environ | {"FACEKEEP_THREADS": str(threads)}
    command = [sys.executable, "-m", "facekeep", *map(str, words)]
    done = subprocess.run(command, check=False, env=environment)
    if done.returncode == INTERRUPTED:
        print("interrupted; the same command goes on", file=sys.stderr)
    if done.returncode:
        sys.exit(done.returncode)


def train(recipe: Recipe, data: Path, run: Path) -> None:
    """Train a network, or go on with its training, until its result is there."""
    for teacher in recipe.teachers:
        facekeep("models", "pull", teacher)
    begin = [word.format(data=data) for word in recipe.command]
    words = [*recipe.verbs, "--resume"] if run.exists() else begin
    facekeep(*words, "--out", run, threads=recipe.threads)


def make(recipe: Recipe, data: Path, out: Path) -> Path:
    """Make the file of one network, and return its path."""
    run, made = out / recipe.name, out / f"{recipe.name}.onnx"
    if not (run / recipe.result).is_file():
        train(recipe, data, run)
    keep(made, pack((run / recipe.result).read_bytes(), recipe.numbers))
    return made


def verdict(name: str, made: Path, data: Path) -> str:
    """Say in a line how a network that was made compares with the bundled one of that name."""
    content = made.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    about = f"{name}: {made}, {len(content):,} bytes, SHA-256 {digest}"
    try:
        known = entry(name)
        bundled = locate(known)
    except ModelNotFound:
        return f"{about}; none is bundled under this name"
    if digest == known.files[0].sha256:
        return f"{about}; the same bytes as the bundled file"
    images = faces(data, known)
    agreement = cosines(outputs(made, known, images), outputs(bundled, known, images))
    return (
        f"{about}; not the bundled bytes: on {len(agreement)} faces the outputs agree to a cosine"
        f" of {agreement.mean():.4f} in the mean, {agreement.min():.4f} at worst"
    )


def faces(data: Path, known: ModelEntry) -> list[NDArray[np.uint8]]:
    """Read some aligned faces of the data, as large as the network takes them."""
    import cv2

    side = known.input_size or ANY_SIZE
    first = min((data / "faces").glob("*.tar"))
    with tarfile.open(first) as tar:
        pictures = (tar.extractfile(each) for each in tar if each.name.endswith(".webp"))
        images = [load_image(each.read()) for each in islice(pictures, COMPARED) if each]
    return [np.asarray(cv2.resize(image, (side, side)), np.uint8) for image in images]


def outputs(path: Path, known: ModelEntry, images: list[NDArray[np.uint8]]) -> NDArray[np.float32]:
    """Run a network on images as its entry says, and return a row of all its numbers for each."""
    session = open_session(path)
    mean, scale = (np.array(each, np.float32) for each in (known.mean, known.scale))
    order = slice(None, None, -1 if known.colour == "bgr" else 1)
    rows = []
    for image in images:
        pixels = (image[..., order].astype(np.float32) - mean) * scale
        fed = {session.inputs[0].name: np.ascontiguousarray(pixels.transpose(2, 0, 1)[None])}
        rows.append(np.concatenate([each.ravel() for each in session.run(fed)]))
    return np.stack(rows)


def cosines(left: NDArray[np.float32], right: NDArray[np.float32]) -> NDArray[np.float32]:
    """Compare rows with rows."""
    lengths = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
    return np.asarray((left * right).sum(axis=1) / lengths)


def main(words: list[str] | None = None) -> int:
    """Make the networks, and tell how they compare."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="a network; all if none is named")
    parser.add_argument("--data", type=Path, required=True, help="the folder of training data")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "weights", help="for the runs")
    given = parser.parse_args(words)
    chosen = recipes(given.names)
    given.out.mkdir(parents=True, exist_ok=True)
    try:
        for recipe in chosen:
            print(verdict(recipe.name, make(recipe, given.data, given.out), given.data))
    except FacekeepError as error:
        print(f"weights: {error}", file=sys.stderr)
        return error.exit_status
    return 0


if __name__ == "__main__":
    sys.exit(main())
