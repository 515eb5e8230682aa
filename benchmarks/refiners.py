"""Compare refiners with the network that taught the default one, and recognition with each.

``refiners.py TEACHER``: TEACHER is MediaPipe's face_landmark.tflite, or a wheel that holds it.
Aligned faces of training sets, never LFW, are turned and scaled at random. The default detector
finds them; each --refiner and the teacher place their landmarks.

First table, for each set: the mean distance of the landmarks from the teacher's, in % of the
distance between the eyes; the distance that 95 % of the faces are below; and the share of faces
in % that the strict policy of enrollment refuses as turned.

Second table, people of CelebA, three faces each: d' and TAR with the default embedder, with the
landmarks moved up by each --lift, a share of the distance between the eyes. In the rows "A, B",
faces are enrolled with the landmarks of A and searched for with those of B: "lower" is how much
lower the scores of true pairs are on average than with A alone, "one photo" is the cosine between
the two embeddings of one photo.
"""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from common import arguments, cached, cropping_code, embed_all, report, tar_members
from numpy.typing import NDArray

from facekeep.lab.train.refiner.teacher import MeshTeacher
from facekeep.models import default_model, entry
from facekeep.pipeline.align import align, similarity_transform, template
from facekeep.pipeline.detect import Detector
from facekeep.pipeline.head_pose import estimate_pose
from facekeep.pipeline.image import load_image
from facekeep.pipeline.quality import POLICIES
from facekeep.pipeline.refine import Refiner
from facekeep.runtime import RuntimeOptions
from facekeep.types import Face

Image = NDArray[np.uint8]
Points = NDArray[np.float64]
SETS = ("utk", "genki", "celeba", "mask", "hard")
FACES = 400  # of each set
PEOPLE, EACH = 500, 3
SIDE = 160
STRICT = POLICIES["strict"]
RATES = (1e-2, 1e-3, 1e-4)


def index(args: argparse.Namespace) -> list[tuple[str, str, str]]:
    """Return key, set and person of all faces, in a fixed random order."""
    rows = (args.shared / "data" / "faces" / "index.tsv").read_text("utf-8").splitlines()[1:]
    fields = [[*row.split("\t"), ""][:3] for row in rows]
    return [tuple(fields[place]) for place in np.random.default_rng(0).permutation(len(fields))]


def chosen(args: argparse.Namespace) -> dict[str, str]:
    """Return keys, and what each is for: the name of a set, or a person of CelebA."""
    rows = index(args)
    found = {key: name for want in SETS for key, name, _ in _of(rows, want)[:FACES]}
    people: dict[str, list[str]] = {}
    for key, _, person in rows:
        if person.startswith("celeba/") and key not in found:
            people.setdefault(person, []).append(key)
    often = [person for person, keys in people.items() if len(keys) >= EACH][:PEOPLE]
    return found | {key: person for person in often for key in people[person][:EACH]}


def _of(rows: list[tuple[str, str, str]], name: str) -> list[tuple[str, str, str]]:
    return [row for row in rows if row[1] == name]


def load(args: argparse.Namespace, wanted: dict[str, str]) -> list[Image]:
    """Load faces, each turned and scaled at random; beyond its crop the edge goes on."""
    found = {}
    for path in sorted((args.shared / "data" / "faces").glob("faces-*.tar")):
        for name, content in tar_members(path):
            key = name.partition(".")[0]
            if key in wanted:
                found[key] = load_image(content)
    rng, images = np.random.default_rng(1), []
    for key in wanted:
        middle = (found[key].shape[1] / 2, found[key].shape[0] / 2)
        turn = cv2.getRotationMatrix2D(middle, rng.normal(0, 12), np.exp(rng.normal(0, 0.25)))
        turn[:, 2] += SIDE / 2 - np.array(middle)
        moved = cv2.warpAffine(found[key], turn, (SIDE, SIDE), borderMode=cv2.BORDER_REPLICATE)
        images.append(np.asarray(moved, np.uint8))
    return images


def find_all(args: argparse.Namespace, images: list[Image]) -> dict[str, Points]:
    """Find the face of each image, and let the teacher place its landmarks; NaN without one."""
    raw, taught = np.full((2, len(images), 5, 2), np.nan)
    options = RuntimeOptions(threads=args.threads)
    with (
        Detector(max_faces=1, refiner="none", orienter="none", options=options) as detector,
        MeshTeacher(args.teacher) as teacher,
    ):
        for row, image in enumerate(images):
            for face in detector.detect(image):
                raw[row] = face.landmarks
                mesh = teacher.find(image, face.landmarks)
                taught[row] = np.nan if mesh is None else mesh.landmarks
    return {"raw": raw, "teacher": taught}


def refine_all(
    args: argparse.Namespace, name: str, images: list[Image], raw: Points
) -> dict[str, Points]:
    """Let a refiner place the landmarks of the faces that were found."""
    placed = np.full(raw.shape, np.nan)
    box = np.array([0, 0, SIDE, SIDE], np.float32)
    with Refiner(name, options=RuntimeOptions(threads=args.threads)) as refiner:
        for row in np.flatnonzero(~np.isnan(raw).any(axis=(1, 2))):
            face = Face(box, raw[row].astype(np.float32), score=1.0)
            placed[row] = refiner.refine(images[row], [face])[0].landmarks
    return {"placed": placed}


def distances(points: Points, truth: Points) -> NDArray[np.float64]:
    """Return the mean distance of landmarks in % of the distance of the eyes."""
    eyes = np.linalg.norm(truth[:, 1] - truth[:, 0], axis=1)
    return 100 * np.linalg.norm(points - truth, axis=2).mean(axis=1) / eyes


def turned(landmarks: Points) -> bool:
    """Tell whether the strict policy of enrollment refuses a face as turned by its landmarks."""
    yaw, pitch, _ = estimate_pose(landmarks)
    return abs(yaw) > STRICT.max_yaw or abs(pitch) > STRICT.max_pitch


def lift(points: Points, by: float) -> Points:
    """Move the landmarks of faces up, along each face, by a share of the distance of the eyes."""
    moved = []
    for each in points:
        turn = similarity_transform(each, template())[:, :2]
        down = np.linalg.solve(turn, [0, 1])
        eyes = np.linalg.norm(each[1] - each[0])
        moved.append(each - by * eyes * down / np.linalg.norm(down))
    return np.stack(moved)


def score(left: NDArray[np.float32], right: NDArray[np.float32], people: NDArray[Any]) -> Any:
    """Return the mated and the other scores of each row of one side with later ones of another."""
    scores = (left @ right.T)[np.triu_indices(len(people), 1)]
    same = (people[:, None] == people)[np.triu_indices(len(people), 1)]
    return scores[same], scores[~same]


def table_of_sets(wanted: list[str], found: dict[str, Points]) -> list[dict[str, Any]]:
    """Measure how far landmarks are from the teacher's, set by set."""
    rows = []
    for name in SETS:
        here = np.array([each == name for each in wanted])
        whole = here & ~np.isnan(found["teacher"]).any(axis=(1, 2))
        row: dict[str, Any] = {"set": name, "faces": int(whole.sum())}
        for way in found:
            if way != "teacher":
                off = distances(found[way][whole], found["teacher"][whole])
                row |= {way: float(off.mean()), f"{way}, 95th": float(np.percentile(off, 95))}
            row[f"{way}, turned"] = 100 * float(np.mean([turned(p) for p in found[way][whole]]))
        rows.append(row)
    return rows


def table_of_scores(
    args: argparse.Namespace, images: list[Image], wanted: list[str], found: dict[str, Points]
) -> list[dict[str, Any]]:
    """Measure recognition with landmarks moved up, and between one way of placing and another."""
    whole = np.all([~np.isnan(each).any(axis=(1, 2)) for each in found.values()], axis=0)
    kept = [row for row in np.flatnonzero(whole) if "/" in wanted[row]]
    people = np.array([wanted[row] for row in kept])

    def embed(way: str, by: float) -> NDArray[np.float32]:
        points = lift(found[way][kept], by)
        crops = np.stack([align(images[row], each) for row, each in zip(kept, points, strict=True)])
        return embed_all(args, "refiners-rows", crops)

    model = args.model or default_model("embed")
    ways = [(way, by) for way in found for by in args.lift if by == 0 or way != "raw"]
    rows, embedded = [], {}
    for way, by in ways:
        embedded[way, by] = embed(way, by)
        name = way if by == 0 else f"{way}, {100 * by:g} % higher"
        rows.append(row_of(model, name, *score(embedded[way, by], embedded[way, by], people)))
    for first, second in zip(args.refiner, args.refiner[1:], strict=False):
        one, two = embedded[first, 0], embedded[second, 0]
        mated, other = score(one, two, people)
        row = row_of(model, f"{first}, {second}", mated, other)
        row["lower"] = float((score(one, one, people)[0] - mated).mean())
        row["one photo"] = float((one * two).sum(axis=1).mean())
        rows.append(row)
    return rows


def row_of(
    model: str, name: str, mated: NDArray[np.float32], other: NDArray[np.float32]
) -> dict[str, Any]:
    """Describe scores: d', TAR at some rates, and the rate of false matches at the thresholds."""
    apart = (mated.mean() - other.mean()) / np.sqrt((mated.var() + other.var()) / 2)
    row: dict[str, Any] = {"landmarks": name, "pairs": len(mated), "d'": float(apart)}
    for rate in RATES:
        row[f"TAR % at {rate:g}"] = 100 * float((mated >= np.quantile(other, 1 - rate)).mean())
    for rate, cosine in entry(model).thresholds[: len(RATES)]:
        row[f"FMR at {rate:g}"] = float((other >= cosine).mean())
    return row | {"lower": None, "one photo": None}


def main() -> int:
    """Run from the command line."""
    parser = arguments(__doc__)
    parser.add_argument("teacher", type=Path, help="face_landmark.tflite, or a wheel of mediapipe")
    parser.add_argument("--refiner", nargs="+", default=[default_model("refine")], help="names")
    parser.add_argument("--lift", nargs="+", type=float, default=[0.0], help="with these shifts")
    args = parser.parse_args()
    wanted = chosen(args)
    images = load(args, wanted)
    settings = [list(wanted), cropping_code()]
    found = cached(args.cache, "refiners-found", settings, lambda: find_all(args, images))
    for name in args.refiner:
        which = [*settings, *(file.sha256 for file in entry(name).files)]
        place = partial(refine_all, args, name, images, found["raw"])
        found[name] = cached(args.cache, "refiners-placed", which, place)["placed"]
    uses = list(wanted.values())
    report(args, "Distance from the teacher's landmarks, %", table_of_sets(uses, found))
    report(args, "Recognition, CelebA", table_of_scores(args, images, uses, found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
