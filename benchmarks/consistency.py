"""How well the photos of one person tell a wrong photo, and how many right ones they cost.

Labeled faces, never those of LFW. Photos of a person are drawn, with or without one of somebody
else, and put through ``find_main_group`` at the bound for several false-match rates. The
rate in use was chosen with ``--half 0``; the figures in docs/quality.md are those of ``--half 1``,
whose people had no part in the choice. Some labels of CelebA are wrong: about two pairs in a
hundred lie below a cosine of 0.1, and count as right photos that are refused.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from common import arguments, embed_all, labeled_faces, report
from numpy.typing import NDArray

from facekeep.models import ModelEntry, default_model, entry
from facekeep.pipeline.decide import threshold
from facekeep.pipeline.enrollment_rules import find_main_group

Rows = NDArray[np.float32]
STRANGERS = 32


def bound_at(model: ModelEntry, rate: float) -> float:
    """The cosine at a rate; above the highest calibrated the last slope goes on."""
    high, next_ = sorted((each for each, _ in model.thresholds), reverse=True)[:2]
    if rate <= high:
        return threshold(model, rate).cosine
    first, second = (threshold(model, each).cosine for each in (high, next_))
    slope = (first - second) / np.log10(high / next_)
    return float(first + slope * np.log10(rate / high))


class Half:
    """The faces of one half of the people of a set."""

    def __init__(self, rows: Rows, people: NDArray[np.str_], half: int, seed: int) -> None:
        names, person = np.unique(people, return_inverse=True)
        mine = np.random.default_rng(7).permutation(len(names)) % 2 == half
        self.rows, self.person = rows[mine[person]], person[mine[person]]
        self.photos = {who: np.flatnonzero(self.person == who) for who in np.unique(self.person)}
        self.rng = np.random.default_rng(seed)

    def draw(self, count: int, but: int = -1) -> tuple[int, Rows]:
        """Draw so many photos of somebody who has as many, and is not ``but``."""
        often = [w for w, photos in self.photos.items() if len(photos) >= count and w != but]
        who = int(self.rng.choice(often))
        return who, self.rows[self.rng.choice(self.photos[who], count, replace=False)]

    def other(self, who: int) -> Rows:
        """Draw one photo of somebody else."""
        return self.rows[[self.rng.choice(np.flatnonzero(self.person != who))]]

    def strangers(self) -> Rows:
        """Draw one photo each of many people."""
        some = self.rng.choice(list(self.photos), min(STRANGERS, len(self.photos)), replace=False)
        return self.rows[[self.rng.choice(self.photos[who]) for who in some]]


def figures(half: Half, count: int, bound: float, draws: int) -> dict[str, Any]:
    """What becomes of ``count`` photos of a person, alone and with one of somebody else."""
    refused = caught = lost = strangers = mixed = 0
    for _ in range(draws):
        who, photos = half.draw(count)
        refused += int((~find_main_group(photos, 0, bound)).sum())
        found = find_main_group(np.concatenate([photos, half.other(who)]), 0, bound)
        caught += not found[-1]
        lost += int((~found[:-1]).sum())
        strangers += int(find_main_group(half.strangers(), 0, bound).any())
        two = np.concatenate([photos, half.draw(count, but=who)[1]])
        mixed += int(find_main_group(two, 0, bound).any())
    return {
        "photos": count,
        "right photos refused": refused / draws / count,
        "wrong photo caught": caught / draws,
        "right photos refused beside a wrong one": lost / draws / count,
        "two people half and half accepted": mixed / draws,
        f"{STRANGERS} people accepted as one": strangers / draws,
    }


def main() -> int:
    """Run from the command line."""
    parser = arguments(__doc__)
    parser.add_argument("--source", default="celeba", help="the labels to use: celeba or glint")
    parser.add_argument("--half", type=int, choices=(0, 1), default=1)
    parser.add_argument("--rates", type=float, nargs="+", default=[0.03])
    parser.add_argument("--photos", type=int, nargs="+", default=[2, 3, 5, 10])
    parser.add_argument("--draws", type=int, default=1000)
    args = parser.parse_args()
    model = entry(args.model or default_model("embed"))
    crops, people = labeled_faces(args.shared, [args.source])
    rows = embed_all(args, "labeled", crops)
    table = [
        {"rate": rate, "bound": bound}
        | figures(Half(rows, people, args.half, count), count, bound, args.draws)
        for rate in args.rates
        for bound in [bound_at(model, rate)]
        for count in args.photos
    ]
    report(args, f"{args.source}, half {args.half}", table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
