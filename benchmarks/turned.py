"""Photos turned by any angle, without a word in their metadata: found, told apart, and the time.

FOLDER holds a folder for each person, such as LFW's images. Of the first people with two photos,
both are turned; "before" is the detector without the orienter. For each angle:

found: photos whose main face is found where the upright photo has it; off: its landmarks' distance
from those of the upright photo, in % of the eye distance, median and 95th percentile; FMR: of the
first photos, all pairs of two people that match at the threshold of --fmr, with a 95 % interval by
drawing people anew; TAR: pairs of a person's two photos that match, of all; with upright: first
photos that match their own upright state. Photos are scaled by --scale first.

--time prints the milliseconds of the processor that a photo costs without and with the orienter, in
turns: upright photos of FOLDER and of the shared scenes, in which faces are found, and scenes in
which there is none.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from common import arguments, report, tar_members
from numpy.typing import NDArray

from facekeep import FaceEngine, load_image, threshold
from facekeep.lab.evaluate.crops import choose_central_face
from facekeep.models import default_model, entry
from facekeep.pipeline.align import align
from facekeep.pipeline.detect import Detector
from facekeep.pipeline.embed import Embedder
from facekeep.pipeline.image import list_images
from facekeep.runtime import RuntimeOptions
from facekeep.types import Face

Image = NDArray[np.uint8]
RESAMPLES = 1000
TIMED = 60


def turned(image: Image, degrees: float) -> tuple[Image, NDArray[np.float64]]:
    """Turn a photo clockwise, and return what brings its points there, ``(2, 3)``."""
    height, width = image.shape[:2]
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), -degrees, 1)
    cos, sin = np.abs(matrix[0, :2])
    size = round(width * cos + height * sin), round(width * sin + height * cos)
    matrix[:, 2] += (np.array(size) - (width, height)) / 2
    return np.asarray(cv2.warpAffine(image, matrix, size), np.uint8), matrix


def main_of(detector: Detector, image: Image) -> Face | None:
    """Find the main face of a photo."""
    faces = detector.find(image)
    return choose_central_face(faces, np.array(image.shape[1::-1]) / 2) if faces else None


class Look:
    """What is found in the photos at one angle: embeddings, NaN where nothing is, and the rest."""

    def __init__(
        self,
        detector: Detector,
        embedder: Embedder,
        photos: list[Image],
        degrees: float,
        upright: Look | None,
    ) -> None:
        self.points = np.full((len(photos), 5, 2), np.nan)
        self.found = 0
        self.off: list[float] = []
        crops = np.zeros((len(photos), embedder.size, embedder.size, 3), np.uint8)
        for place, photo in enumerate(photos):
            image, matrix = turned(photo, degrees)
            face = main_of(detector, image)
            if face is None:
                continue
            self.points[place] = face.landmarks
            crops[place] = align(image, face.landmarks, embedder.size)
            self._compare(face, matrix, self.points if upright is None else upright.points, place)
        rows = embedder.embed(crops)
        rows[np.isnan(self.points).any(axis=(1, 2))] = np.nan
        self.rows = rows

    def _compare(
        self, face: Face, matrix: NDArray[np.float64], truth: NDArray[np.float64], place: int
    ) -> None:
        there = truth[place] @ matrix[:, :2].T + matrix[:, 2]
        middle = there.mean(axis=0)
        if (face.bbox[:2] < middle).all() and (face.bbox[2:] > middle).all():
            self.found += 1
            off = np.linalg.norm(face.landmarks - there, axis=1).mean()
            self.off.append(100 * float(off / np.linalg.norm(there[1] - there[0])))


def false_matches(rows: NDArray[np.float32], limit: float) -> tuple[float, float, float, int]:
    """Return the FMR of all pairs, its interval, and the number of pairs."""
    rows = rows[~np.isnan(rows).any(axis=1)]
    if len(rows) < 2:
        return np.nan, np.nan, np.nan, 0
    hits = rows @ rows.T >= limit
    np.fill_diagonal(hits, False)
    first, second = np.nonzero(np.triu(hits))
    pairs = len(rows) * (len(rows) - 1) // 2
    rng, rates = np.random.default_rng(0), []
    for _ in range(RESAMPLES):
        times = np.bincount(rng.integers(len(rows), size=len(rows)), minlength=len(rows))
        total = (times.sum() ** 2 - (times**2).sum()) / 2
        rates.append((times[first] * times[second]).sum() / total)
    low, high = np.quantile(rates, [0.025, 0.975])
    return len(first) / pairs, float(low), float(high), pairs


def accuracy(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Look at all photos at each angle, before and after."""
    firsts, seconds = photos(args)
    model = entry(args.model or default_model("embed"))
    limit = threshold(model, args.fmr).cosine
    rows = []
    for state, orienter in (("before", "none"), ("after", None)):
        with (
            Embedder(model, options=RuntimeOptions(threads=args.threads)) as embedder,
            Detector(orienter=orienter, options=RuntimeOptions(threads=args.threads)) as detector,
        ):
            upright: Look | None = None
            for degrees in [0, *args.angles]:
                one = Look(detector, embedder, firsts, degrees, upright)
                two = Look(detector, embedder, seconds, degrees, None)
                upright = upright or one
                fmr, low, high, pairs = false_matches(one.rows, limit)
                mated = np.einsum("nd,nd->n", one.rows, two.rows) >= limit
                same = np.einsum("nd,nd->n", one.rows, upright.rows) >= limit
                rows.append(
                    {
                        "turned by": degrees,
                        "": state,
                        "photos": len(firsts),
                        "found %": 100 * one.found / len(firsts),
                        "off %": float(np.median(one.off or [np.nan])),
                        "95th": float(np.quantile(one.off or [np.nan], 0.95)),
                        "FMR %": 100 * fmr,
                        "interval": f"{100 * low:.4f} to {100 * high:.4f}",
                        "pairs": pairs,
                        "TAR %": 100 * float(mated.mean()),
                        "with upright %": 100 * float(same.mean()),
                    }
                )
                print(rows[-1], file=sys.stderr, flush=True)
    return rows


def photos(args: argparse.Namespace) -> tuple[list[Image], list[Image]]:
    """Load two photos each of the first people who have as many."""
    firsts, seconds = [], []
    for folder in sorted(args.folder.iterdir()):
        files = sorted(list_images(folder)) if folder.is_dir() else []
        if len(files) > 1 and len(firsts) < args.people:
            one, two = (scaled(load_image(file), args.scale) for file in files[:2])
            firsts.append(one)
            seconds.append(two)
    return firsts, seconds


def scaled(image: Image, factor: float) -> Image:
    """Scale a photo."""
    method = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    larger = cv2.resize(image, None, fx=factor, fy=factor, interpolation=method)
    return np.asarray(larger, np.uint8)


def cpu_times(looks: Sequence[Callable[[Image], object]], image: Image, turns: int) -> list[float]:
    """Return the median milliseconds of the processor that a photo takes, looks in turns."""
    spent: list[list[float]] = [[] for _ in looks]
    for turn in range(turns + 1):
        for look, each in zip(looks, spent, strict=True):
            start = time.process_time()
            look(image)
            if turn:
                each.append(1e3 * (time.process_time() - start))
    return [float(np.median(each)) for each in spent]


def timed_sets(args: argparse.Namespace, plain: Detector) -> dict[str, list[Image]]:
    """Return the photos that are timed, by what they are."""
    tar = args.shared / "data" / "scenes" / "scenes.tar"
    scenes = [(Path(name).name, load_image(content)) for name, content in tar_members(tar)]
    people = [image for name, image in scenes if name.startswith("p")]
    things = [image for name, image in scenes if name.startswith("i")]
    return {
        "upright, folder": photos(args)[0][:TIMED],
        "upright, scenes": [image for image in people if plain.detect(image)][:TIMED],
        "no face": [image for image in things if not plain.detect(image)][:TIMED],
    }


def times(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Time photos with and without the orienter: finding the faces, and all up to embeddings."""
    rows = []
    with (
        Detector(orienter="none", options=RuntimeOptions(threads=args.threads)) as plain,
        Detector(options=RuntimeOptions(threads=args.threads)) as whole,
        FaceEngine(orienter="none", embedder=args.model, threads=args.threads) as before,
        FaceEngine(embedder=args.model, threads=args.threads) as after,
    ):
        looks = [plain.find, whole.find, before.analyze, after.analyze]
        for name, images in timed_sets(args, plain).items():
            spent = np.array([cpu_times(looks, image, args.turns) for image in images])
            medians = np.median(spent, axis=0).tolist()
            rows.append(
                {
                    "photos": name,
                    "n": len(images),
                    "find, before ms": medians[0],
                    "after ms": medians[1],
                    "ratio": float(np.median(spent[:, 1] / spent[:, 0])),
                    "analyze, before ms": medians[2],
                    "then ms": medians[3],
                    "its ratio": float(np.median(spent[:, 3] / spent[:, 2])),
                    "of the sums": float(spent[:, 3].sum() / spent[:, 2].sum()),
                }
            )
    return rows


def main() -> int:
    """Run from the command line."""
    parser = arguments(__doc__)
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="a folder for each person")
    parser.add_argument("--people", type=int, default=1000, help="so many of them")
    parser.add_argument("--angles", type=float, nargs="+", default=[90, 180, 270])
    parser.add_argument("--scale", type=float, default=1.0, help="of the photos")
    parser.add_argument("--fmr", type=float, default=1e-4, help="the stated false-match rate")
    parser.add_argument("--time", action="store_true", help="measure the time instead")
    parser.add_argument("--turns", type=int, default=7, help="so often each photo is timed")
    args = parser.parse_args()
    if args.time:
        report(args, "time to find the faces of a photo", times(args))
    else:
        report(args, f"photos turned, decided at an FMR of {args.fmr:g}", accuracy(args))
    return 0


if __name__ == "__main__":
    sys.exit(main())
