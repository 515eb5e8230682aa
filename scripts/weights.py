#!/usr/bin/env python3
"""Train the networks that come with facekeep again, and compare them with the bundled ones.

    python scripts/weights.py --data ../shared/data [NAME ...]

Each file of recipes/ says how one network is made: `commands`, each the words after `facekeep`
({data} is the folder of --data, {before} the run before, {learnt} a tar of its photos; one
that trains gets an --out of its own, another ends with the name of the model it makes in the
catalog of this work, and is not done again where it is there); `result`, the file of the last run
that is shipped; `numbers`, what its weights are stored in; `teachers`, the models of the catalog
that must be here first; `threads`, on which the result depends a little; `without`, the sets of
faces that {faces} and {labels} leave out; and `wheel`, a package that {wheel} in a command stands
for: what pip is asked for, for which Python and platform, and its SHA-256. A run that was
interrupted goes on; one that is done is not done again.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
import sys
import tarfile
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice, takewhile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facekeep import load_image
from facekeep.errors import FacekeepError, InputError, ModelNotFound
from facekeep.models import ModelEntry, entry, list_models, locate
from facekeep.models.files import keep
from facekeep.models.weight_packing import Numbers, pack_weights
from facekeep.pipeline.embed import Embedder
from facekeep.runtime import open_session

ROOT = Path(__file__).resolve().parents[1]
RECIPES = ROOT / "recipes"
INTERRUPTED = 130
MODELS = "models"  # the catalog of what is made on the way
DONE = "summary.json"  # what a run writes at its end
COMPARED = 64  # images that two networks are compared on
ANY_SIZE = 320  # the side of an image for a network that takes any


@dataclass(frozen=True)
class Recipe:
    """How one network is made; see the top of this file."""

    name: str
    commands: list[list[str]]
    result: str
    numbers: Numbers = "float32"
    teachers: tuple[str, ...] = ()
    threads: int = 0
    without: tuple[str, ...] = ()
    wheel: dict[str, str] | None = None


def verbs(command: list[str]) -> list[str]:
    """Return a command without its options."""
    return list(takewhile(lambda word: not word.startswith("-"), command))


def recipes(names: list[str]) -> list[Recipe]:
    """Read the recipes of these names; of all where none is given."""
    known = {path.stem: path for path in sorted(RECIPES.glob("*.toml"))}
    unknown = set(names) - set(known)
    if unknown:
        sys.exit(f"no recipe for {', '.join(sorted(unknown))}; there are: {', '.join(known)}")
    return [
        Recipe(name, **tomllib.loads(known[name].read_text("utf-8"))) for name in names or known
    ]


def facekeep(out: Path, *words: object, threads: int = 0) -> None:
    """Run a command of facekeep on a catalog in a folder; end with it where it fails."""
    environment = os.environ | {
        "FACEKEEP_THREADS": str(threads),
        "FACEKEEP_MODELS": str(out / MODELS),
    }
    command = [sys.executable, "-m", "facekeep", *map(str, words)]
    done = subprocess.run(command, check=False, env=environment)
    if done.returncode == INTERRUPTED:
        print("interrupted; the same command goes on", file=sys.stderr)
    if done.returncode:
        sys.exit(done.returncode)


def train(recipe: Recipe, data: Path, out: Path) -> Path:
    """Run the commands of a recipe, or go on with them; return the folder of the last run."""
    for teacher in recipe.teachers:
        facekeep(out, "models", "pull", teacher)
    paths = {"data": data, **(chosen_faces(recipe, data, out) if recipe.without else {})}
    if recipe.wheel:
        paths["wheel"] = fetch_wheel(out, **recipe.wheel)
    for number, command in enumerate(recipe.commands, 1):
        if "{learnt}" in command:
            paths["learnt"] = learnt_faces(paths["faces"], paths["before"])
        if command[0] != "train":
            if not (out / MODELS / command[-1]).exists():
                facekeep(out, *(word.format(**paths) for word in command), threads=recipe.threads)
            continue
        run = out / (f"{recipe.name}-{number}" if len(recipe.commands) > 1 else recipe.name)
        if not (run / DONE).is_file():
            begin = [word.format(**paths) for word in command]
            words = [*verbs(command), "--resume"] if run.exists() else begin
            facekeep(out, *words, "--out", run, threads=recipe.threads)
        paths["before"] = run
    return paths["before"]


def fetch_wheel(out: Path, requirement: str, python: str, platform: str, sha256: str) -> Path:
    """Have pip fetch a wheel that is not installed, once; end where it is not the right one."""
    folder = out / "wheels"

    def find() -> Path | None:
        wheels = folder.glob("*.whl")
        right = (each for each in wheels if hashlib.sha256(each.read_bytes()).hexdigest() == sha256)
        return next(right, None)

    options = ["--no-deps", "--only-binary", ":all:", "--quiet", "--dest", str(folder)]
    target = ["--python-version", python, "--platform", platform]
    pip = [sys.executable, "-m", "pip", "download", *options, *target, requirement]
    wheel = find()
    if wheel is None and subprocess.run(pip, check=False).returncode:
        sys.exit(f"pip could not fetch {requirement}; try again with a network")
    wheel = wheel or find()
    if wheel is None:
        sys.exit(f"pip fetched another wheel of {requirement}: its SHA-256 is not {sha256}")
    return wheel


def chosen_faces(recipe: Recipe, data: Path, out: Path) -> dict[str, Path]:
    """Write one tar of the faces that a recipe does not leave out, and the rows that name them."""
    stem = out / f"faces-without-{'-'.join(recipe.without)}"
    faces, labels = Path(f"{stem}.tar"), Path(f"{stem}.tsv")
    head, *rows = (data / "faces" / "index.tsv").read_text("utf-8").splitlines()
    column = head.split("\t").index("set")
    kept = [row for row in rows if row.split("\t")[column] not in recipe.without]
    labels.write_text("\n".join([head, *kept, ""]), "utf-8")
    keys = {row.split("\t")[0] for row in kept}
    copy(sorted((data / "faces").glob("*.tar")), faces, keys.__contains__)
    return {"faces": faces, "labels": labels}


def learnt_faces(faces: Path, run: Path) -> Path:
    """Write a tar of the faces of a run less those of the people kept out of it."""
    rows = (run / "holdout.tsv").read_text("utf-8").splitlines()[1:]
    kept_out = {row.split("\t")[0] for row in rows}
    copy([faces], run / "learnt.tar", lambda key: key not in kept_out)
    return run / "learnt.tar"


def copy(sources: Sequence[Path], target: Path, wanted: Callable[[str], bool]) -> None:
    """Write a tar of the members of others whose names, less the ending, are wanted, once."""
    if target.exists():
        return
    part = Path(f"{target}.part")
    with tarfile.open(part, "w") as made:
        for source in sources:
            with tarfile.open(source) as tar:
                for member in tar:
                    if wanted(Path(member.name).stem):
                        made.addfile(member, tar.extractfile(member))
    part.replace(target)


def make(recipe: Recipe, data: Path, out: Path) -> Path:
    """Make the file of one network, and return its path."""
    made = out / f"{recipe.name}.onnx"
    keep(
        made, pack_weights((train(recipe, data, out) / recipe.result).read_bytes(), recipe.numbers)
    )
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
    if known.task in ("quality", "liveness"):
        fed = evidence(data, known) if known.task == "quality" else pixels(data, known)
        ours, before = (outputs(path, fed) for path in (made, bundled))
        if known.task == "quality":
            ours, before = (1 / (1 + np.exp(-each)) for each in (ours, before))
        off = np.abs(ours - before)
        return (
            f"{about}; not the bundled bytes: on {off.size} faces the answers, 0 to 1, differ by"
            f" {off.mean():.4f} in the mean, {off.max():.4f} at worst"
        )
    fed = pixels(data, known)
    agreement = cosines(outputs(made, fed), outputs(bundled, fed))
    return (
        f"{about}; not the bundled bytes: on {len(agreement)} faces the outputs agree to a cosine"
        f" of {agreement.mean():.4f} in the mean, {agreement.min():.4f} at worst"
    )


def faces(data: Path, side: int) -> list[NDArray[np.uint8]]:
    """Read some aligned faces of the data, of so many pixels a side."""
    import cv2

    tars = sorted((data / "faces").glob("*.tar"))
    if not tars:
        raise InputError(f"there are no faces in {data / 'faces'} to compare the networks on")
    with tarfile.open(tars[0]) as tar:
        pictures = (tar.extractfile(each) for each in tar if each.name.endswith(".webp"))
        images = [load_image(each.read()) for each in islice(pictures, COMPARED) if each]
    return [np.asarray(cv2.resize(image, (side, side)), np.uint8) for image in images]


def pixels(data: Path, known: ModelEntry) -> list[NDArray[np.float32]]:
    """Read some faces as a network of images is fed them."""
    mean, scale = (np.array(each, np.float32) for each in (known.mean, known.scale))
    order = slice(None, None, -1 if known.color == "bgr" else 1)
    images = faces(data, known.input_size or ANY_SIZE)
    scaled = ((image[..., order].astype(np.float32) - mean) * scale for image in images)
    return [np.ascontiguousarray(image.transpose(2, 0, 1)[None]) for image in scaled]


def evidence(data: Path, known: ModelEntry) -> list[NDArray[np.float32]]:
    """Embed some faces, and put together what a quality network is fed about each."""
    from facekeep.lab.train.quality.faces import evidence_of

    owner = next(each for each in list_models() if each.quality == known.name)
    with Embedder(owner) as embedder:
        crops = faces(data, embedder.size)
        return list(evidence_of(iter(crops), embedder, lambda done: None)[0][:, None])


def outputs(path: Path, fed: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Run a network on what it is fed, and return a row of all its numbers for each."""
    session = open_session(path)
    name = session.inputs[0].name
    runs = (session.run({name: each}) for each in fed)
    return np.stack([np.concatenate([each.ravel() for each in run]) for run in runs])


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
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
