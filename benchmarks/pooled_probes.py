"""How often the pooled faces of one stranger's track match somebody who is enrolled.

A track is decided by one comparison: the mean of its best faces against the mean of a person's
templates. Probes are frames of videos: so many frames of each of 347 people, drawn at random.
Those enrolled are people of CelebA, and never those of LFW. Pairs of people with two faces above
0.65 may be one person and are not compared. Each line is one number of faces and templates: the
false-match rate found at the threshold for 1e-4 that the templates share, and at the one of
``threshold(..., templates=n, faces=k)``; then how many of the video's people are missed at both,
when they are enrolled by other frames.

The last lines are tracks that are decided again: by 3 faces, then 5, then 5 that are all new but
two; a track matches where one of the decisions does.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from itertools import product

import numpy as np
from common import Crops, arguments, cached, embed_all, labeled_faces, landmark_frames, report
from numpy.typing import NDArray
from person_score import FMR, SAME_PERSON, Rows

from facekeep import FaceEngine
from facekeep.models import ModelEntry, default_model, entry
from facekeep.pipeline.decide import threshold

Faces = tuple[Rows, NDArray[np.intp]]
Same = NDArray[np.bool_]

# The faces of each decision of a track that is decided several times.
AGAIN = (range(3), range(5), range(3, 8))


def usable_frames(args: argparse.Namespace) -> tuple[Crops, NDArray[np.str_]]:
    """Crop the largest face of each video frame, where it is usable, and say whose it is."""

    def compute() -> dict[str, NDArray[np.generic]]:
        frames, _, who = landmark_frames(args.shared)
        with FaceEngine(threads=args.threads) as engine:
            faces = [(engine.find(frame) or [None])[0] for frame in frames]
        good = [n for n, face in enumerate(faces) if face is not None and face.usable]
        crops = [face.crop for face in faces if face is not None and face.usable]
        return {"crops": np.stack(crops), "who": who[good]}

    found = cached(args.cache, "video-frames", ["find"], compute)
    return found["crops"], found["who"]


def pool(rows: Rows, members: Sequence[NDArray[np.intp]]) -> Rows:
    """Return the mean of the rows of each person, of unit length."""
    means = np.stack([rows[mine].mean(axis=0) for mine in members])
    return np.asarray(means / np.linalg.norm(means, axis=1, keepdims=True), np.float32)


def shuffle(
    owners: NDArray[np.intp], least: int, rng: np.random.Generator
) -> dict[int, NDArray[np.intp]]:
    """Return the places of all rows of each person who has so many, in one order for one seed."""
    places = [rng.permutation(np.flatnonzero(owners == who)) for who in range(owners.max() + 1)]
    return {who: mine for who, mine in enumerate(places) if len(mine) >= least}


def one_person(
    first: Rows, firsts: NDArray[np.intp], second: Rows, seconds: NDArray[np.intp]
) -> Same:
    """Return which people of two sets may be the same, as a matrix."""
    same = np.zeros((firsts.max() + 1, seconds.max() + 1), np.bool_)
    for at in range(0, len(first), 512):
        near = np.argwhere(first[at : at + 512] @ second.T > SAME_PERSON)
        same[firsts[at + near[:, 0]], seconds[near[:, 1]]] = True
    return same


class Draw:
    """The probes and the enrolled people of one draw."""

    def __init__(self, video: Faces, seed: int) -> None:
        self.rows, self.owners = video
        self.seed = seed

    def probes(self, faces: Sequence[int], least: int) -> tuple[list[int], Rows]:
        """Pool these faces of everybody in the videos who has at least so many."""
        mine = shuffle(self.owners, least, np.random.default_rng(self.seed))
        return list(mine), pool(self.rows, [places[list(faces)] for places in mine.values()])

    def templates(self, rows: Rows, owners: NDArray[np.intp], count: int) -> tuple[list[int], Rows]:
        """Pool so many other faces of everybody who has them: what the gallery compares with."""
        mine = shuffle(owners, count, np.random.default_rng(self.seed))
        return list(mine), pool(rows, [places[::-1][:count] for places in mine.values()])


def limits(model: ModelEntry, templates: int, faces: int, number: int = 1) -> list[float]:
    """Return the thresholds for FMR that templates share, that faces share too, and decisions."""
    shares = ({}, {"faces": faces}, {"faces": faces, "decisions": number})
    return [threshold(model, FMR, templates=templates, **share).cosine for share in shares]


def single_decisions(
    args: argparse.Namespace, model: ModelEntry, video: Faces, enrolled: Faces, same: Same
) -> Iterator[dict[str, object]]:
    """Yield a line for each number of faces and templates."""
    for faces, templates in product(args.faces, args.templates):
        wrong, missed, comparisons = np.zeros(2), [], 0
        for seed in range(args.draws):
            draw = Draw(video, seed)
            probe_of, probes = draw.probes(range(faces), faces)
            person_of, people = draw.templates(*enrolled, templates)
            scores = np.where(same[np.ix_(probe_of, person_of)], -1, probes @ people.T)
            comparisons += int((scores > -1).sum())
            bounds = limits(model, templates, faces)[:2]
            wrong += [(scores >= bound).sum() for bound in bounds]
            mated_of, mated = draw.probes(range(faces), faces + templates)
            own_of, own = draw.templates(*video, templates)
            cosines = (mated * own[np.searchsorted(own_of, mated_of)]).sum(axis=1)
            missed.append([(cosines < bound).mean() for bound in bounds])
        rate = wrong / comparisons
        misses = np.mean(missed, axis=0)
        yield {
            "faces": faces,
            "templates": templates,
            "comparisons": comparisons,
            "FMR, templates": rate[0],
            "FMR, both": rate[1],
            "FNMR, templates": misses[0],
            "FNMR, both": misses[1],
        }


def repeated_decisions(
    args: argparse.Namespace, model: ModelEntry, video: Faces, enrolled: Faces, same: Same
) -> Iterator[dict[str, object]]:
    """Yield a line for each number of templates: tracks that are decided three times."""
    for templates in args.templates:
        wrong, comparisons = np.zeros((3, len(AGAIN))), 0
        for seed in range(args.draws):
            draw = Draw(video, seed)
            person_of, people = draw.templates(*enrolled, templates)
            matched = np.zeros(3, object)
            for number, faces in enumerate(AGAIN):
                probe_of, probes = draw.probes(faces, 8)
                scores = np.where(same[np.ix_(probe_of, person_of)], -1, probes @ people.T)
                bounds = limits(model, templates, len(faces), number + 1)
                matched = [old | (scores >= x) for old, x in zip(matched, bounds, strict=True)]
                wrong[:, number] += [each.sum() for each in matched]
            comparisons += int((scores > -1).sum())
        for number in range(len(AGAIN)):
            yield {
                "decisions": number + 1,
                "templates": templates,
                "comparisons": comparisons,
                "FMR, templates": wrong[0, number] / comparisons,
                "FMR, both": wrong[1, number] / comparisons,
                "FMR, decisions too": wrong[2, number] / comparisons,
            }


def checks(
    args: argparse.Namespace, model: ModelEntry, video: Faces
) -> Iterator[dict[str, object]]:
    """Yield a line for each rate: how often one more face is not taken for the same person."""
    for faces, rate in product(args.faces, (1e-2, 1e-3, 1e-4)):
        cosines = []
        for seed in range(args.draws):
            draw = Draw(video, seed)
            _, pooled = draw.probes(range(faces), faces + 1)
            _, others = draw.probes([faces], faces + 1)
            cosines.append((pooled * others).sum(axis=1))
        bound = threshold(model, rate, faces=faces).cosine
        yield {
            "faces": faces,
            "rate": rate,
            "not the same": float((np.concatenate(cosines) < bound).mean()),
        }


def main() -> int:
    """Run from the command line."""
    parser = arguments(__doc__)
    parser.add_argument("--faces", type=int, nargs="+", default=[1, 3, 5])
    parser.add_argument("--templates", type=int, nargs="+", default=[1, 2, 3, 5])
    parser.add_argument("--draws", type=int, default=5)
    args = parser.parse_args()
    crops, who = usable_frames(args)
    video = embed_all(args, "video-frames-rows", crops), np.unique(who, return_inverse=True)[1]
    crops, who = labeled_faces(args.shared, ["celeba"])
    enrolled = embed_all(args, "labeled", crops), np.unique(who, return_inverse=True)[1]
    same = one_person(*video, *enrolled)
    model = entry(args.model or default_model("embed"))
    title = f"frames of {len(set(video[1]))} people against {len(set(enrolled[1]))} others"
    report(args, title, list(single_decisions(args, model, video, enrolled, same)))
    report(
        args, "tracks decided again", list(repeated_decisions(args, model, video, enrolled, same))
    )
    report(args, "one more face of the same person", list(checks(args, model, video)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
