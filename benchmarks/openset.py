"""Open-set identification on LFW: 500 people enrolled by one image each, thousands unknown.

The gallery holds the first image of each of the first 500 people, by name, with two or more images.
Their other images are the mated probes; the people with a single image are the non-mated probes. A
mated probe is missed when its person is not the best candidate or scores below the threshold; an
image in which no face was found is missed as well and raises no alarm. LFW is for testing only.
"""

from __future__ import annotations

import sys
from collections import defaultdict

import numpy as np
from common import add_road, arguments, lfw_faces, rate, report, threshold
from numpy.typing import NDArray

from facekeep.models import default_model, entry

Rows = NDArray[np.float32]
PEOPLE = 500


def search(
    rows: Rows, found: NDArray[np.bool_], probes: NDArray[np.intp], gallery: Rows
) -> tuple[NDArray[np.intp], Rows]:
    """Return each probe's best candidate and its score; -1 for both without a face."""
    scores = rows[probes] @ gallery.T
    best, score = scores.argmax(axis=1), scores.max(axis=1)
    return np.where(found[probes], best, -1), np.where(found[probes], score, np.float32(-1))


def main() -> int:
    """Run from the command line."""
    parser = arguments(__doc__)
    add_road(parser)
    args = parser.parse_args()
    names, rows, found = lfw_faces(args)
    images = defaultdict(list)
    for i, name in enumerate(names):
        images[name.rpartition("_")[0]].append(i)
    enrolled = [places for _, places in sorted(images.items()) if len(places) > 1][:PEOPLE]
    gallery = rows[[places[0] for places in enrolled]]
    mated = np.concatenate([places[1:] for places in enrolled])
    person = np.repeat(np.arange(len(enrolled)), [len(places) - 1 for places in enrolled])
    unknown = np.array([places[0] for places in images.values() if len(places) == 1])
    first, best = search(rows, found, mated, gallery)
    alarms = search(rows, found, unknown, gallery)[1]
    hits = np.where(first == person, best, -1)
    limits = [(f"FPIR {fpir:g}", threshold(alarms, fpir)) for fpir in (1e-1, 1e-2, 1e-3)]
    published = entry(args.model or default_model("embed")).thresholds
    limits += [(f"catalogue, FMR {fmr:g}", limit) for fmr, limit in published]
    table = [
        {
            "at": name,
            "cosine": limit,
            "FPIR %": 100 * rate(alarms, limit),
            "FNIR %": 100 * (1 - rate(hits, limit)),
        }
        for name, limit in limits
    ]
    title = (
        f"LFW open set: {len(enrolled)} people enrolled by one image, {len(mated)} mated and "
        f"{len(unknown)} non-mated probes, {int((~found).sum())} images without a face; "
        f"rank-1 {100 * (first == person).mean():.2f} %"
    )
    report(args, title, table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
