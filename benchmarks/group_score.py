"""How often a group of photos of one stranger, pooled, matches somebody enrolled by several photos.

``cluster`` gives a group one name by one decision: the mean of its faces against the mean of a
person's templates. Both means are less noisy than one face, so two different people reach a given
cosine more often. Each line is one size of group and one number of templates: the false-match
rate found at the threshold for 1e-4 shared by the templates only, and as ``cluster`` does by
templates and faces, the faces counted twice where there are several templates; then the share of
true groups missed there. People and photos are never those of LFW; of two names that may be one
person's only one is used.
"""

from __future__ import annotations

import sys

import numpy as np
from common import arguments, embed_all, labeled_faces, report
from person_score import FMR, Rows, doubles

from facekeep.models import default_model, entry
from facekeep.pipeline.decide import threshold


def pooled(rows: Rows, images: list[Rows], count: int) -> Rows:
    """Return the mean of ``count`` faces of each person, of unit length."""
    means = np.stack([rows[mine[:count]].mean(axis=0) for mine in images])
    return np.asarray(means / np.linalg.norm(means, axis=1, keepdims=True), np.float32)


def main() -> int:
    """Run from the command line."""
    parser = arguments(__doc__)
    parser.add_argument("--source", default="celeba", help="the labels to use: celeba or glint")
    parser.add_argument("--faces", type=int, nargs="+", default=[1, 2, 3, 5, 8])
    parser.add_argument("--templates", type=int, nargs="+", default=[1, 2, 3, 5])
    parser.add_argument("--draws", type=int, default=10)
    args = parser.parse_args()
    crops, people = labeled_faces(args.shared, [args.source])
    person = np.unique(people, return_inverse=True)[1]
    rows = embed_all(args, "labeled", crops)
    person[np.isin(person, doubles(rows, person))] = -1
    model = entry(args.model or default_model("embed"))
    table = []
    for faces in args.faces:
        for templates in args.templates:
            counts = np.bincount(person[person >= 0])
            often = np.flatnonzero(counts >= max(faces, templates))
            enough = counts[often] >= faces + templates
            single, n, k = (
                threshold(model, FMR, templates=count).cosine for count in (1, templates, faces)
            )
            shared = [n, n + (k - single) * (1 if templates == 1 else 2)]
            found = np.zeros((args.draws, 4))
            for seed in range(args.draws):
                rng = np.random.default_rng(seed)
                images = [rng.permutation(np.flatnonzero(person == who)) for who in often]
                scores = (
                    pooled(rows, images, faces)
                    @ pooled(rows, [x[::-1] for x in images], templates).T
                )
                mated = scores.diagonal()[enough]
                np.fill_diagonal(scores, -1)
                comparisons = scores.size - len(scores)
                for place, limit in enumerate(shared):
                    found[seed, place] = (scores >= limit).sum() / comparisons
                    found[seed, 2 + place] = (mated < limit).mean() if len(mated) else np.nan
            names = ("real at 1e-4/n", "real as cluster", "FNMR at 1e-4/n", "FNMR as cluster")
            line = {"faces": faces, "templates": templates, "people": len(often)}
            table.append(line | dict(zip(names, found.mean(axis=0).tolist(), strict=True)))
    report(args, f"groups and people of {args.source}, means of {args.draws} draws", table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
