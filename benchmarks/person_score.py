"""How to score a person with several templates: the nearest, a mean, the two nearest.

Open-set identification among people with many images, never those of LFW. Half of those with
more images than ``--templates`` are enrolled by so many; what is left of their images after the
most templates are the mated probes, and all images of all others the non-mated ones. A mated probe
is missed when its person is not the best candidate or scores below the threshold. Of two names that
may be one person's only one is used. The figures are means over several draws.

The last columns use thresholds of the catalog, which were calibrated on single comparisons: the
one for FMR 1e-4, and the one for 1e-4 divided by the number of templates. "real" is the FMR found.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import numpy as np
from common import arguments, embed_all, labeled_faces, report
from numpy.typing import NDArray

from facekeep.lab.evaluate import measure_tar, score_all_pairs
from facekeep.models import default_model, entry
from facekeep.pipeline.decide import threshold

Rows = NDArray[np.float32]
FMR = 1e-4
SAME_PERSON = 0.65  # docs/accuracy.md: nearly all names above are one person
COLUMNS = (
    "rank-1",
    "FNIR at FPIR 1e-2",
    "at 1e-3",
    "real at 1e-4",
    "FNIR there",
    "real at 1e-4/n",
    "FNIR there too",
)


def nearest(scores: Rows, templates: Rows) -> Rows:
    """Score by the nearest template."""
    return scores.max(axis=2)


def two_nearest(scores: Rows, templates: Rows) -> Rows:
    """Score by the mean of the two nearest templates."""
    return np.sort(scores, axis=2)[:, :, -2:].mean(axis=2)


def mean_score(scores: Rows, templates: Rows) -> Rows:
    """Score by the mean over all templates."""
    return scores.mean(axis=2)


def mean_template(scores: Rows, templates: Rows) -> Rows:
    """Score by the mean template, brought back to unit length."""
    return scores.mean(axis=2) / np.linalg.norm(templates.mean(axis=1), axis=1)


def nearest_and_mean(scores: Rows, templates: Rows) -> Rows:
    """Score by the mean of the nearest template and the mean template."""
    return (nearest(scores, templates) + mean_template(scores, templates)) / 2


RULES = (nearest, two_nearest, mean_score, mean_template, nearest_and_mean)


class Draw:
    """People enrolled at random, with all scores of all probes against all templates."""

    def __init__(self, rows: Rows, person: NDArray[np.intp], most: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        often = np.flatnonzero(np.bincount(person) > most)
        enrolled = rng.choice(often, len(often) // 2, replace=False)
        images = [rng.permutation(np.flatnonzero(person == who)) for who in enrolled]
        self.templates = np.stack([rows[mine[:most]] for mine in images])
        self.owner = np.repeat(np.arange(len(images)), [len(mine) - most for mine in images])
        self.mated = self._compare(rows[np.concatenate([mine[most:] for mine in images])])
        self.unknown = self._compare(rows[~np.isin(person, enrolled)])

    def _compare(self, probes: Rows) -> Rows:
        people, most, width = self.templates.shape
        return (probes @ self.templates.reshape(-1, width).T).reshape(-1, people, most)

    def figures(
        self, rule: Callable[[Rows, Rows], Rows], count: int, limits: list[float]
    ) -> list[float]:
        """Rank-1, FNIR at FPIR 1e-2 and 1e-3, then FMR and FNIR at the two thresholds."""
        templates = self.templates[:, :count]
        mated = rule(self.mated[:, :, :count], templates)
        unknown = rule(self.unknown[:, :, :count], templates)
        first = mated.argmax(axis=1) == self.owner
        hits = np.where(first, mated.max(axis=1), -1)
        alarms = unknown.max(axis=1)
        missed = [1 - (point.tar or 0) for point in measure_tar(hits, alarms, (1e-2, 1e-3))]
        there = [float(x.mean()) for limit in limits for x in (unknown >= limit, hits < limit)]
        return [float(first.mean()), *missed, *there]


def doubles(rows: Rows, person: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return people who stand under another name as well, the second of each two names."""
    alike = score_all_pairs(rows, person).non_mated
    alike = alike.take(alike.scores > SAME_PERSON)
    return np.maximum(person[alike.first], person[alike.second])


def main() -> int:
    """Run from the command line."""
    parser = arguments(__doc__)
    parser.add_argument("--source", default="celeba", help="the labels to use: celeba or glint")
    parser.add_argument("--templates", type=int, nargs="+", default=[1, 2, 3, 5])
    parser.add_argument("--draws", type=int, default=10)
    args = parser.parse_args()
    crops, people = labeled_faces(args.shared, [args.source])
    person = np.unique(people, return_inverse=True)[1]
    rows = embed_all(args, "labeled", crops)
    single = ~np.isin(person, doubles(rows, person))
    model = entry(args.model or default_model("embed"))
    counts = args.templates
    cases = [(count, rule) for count in counts for rule in (RULES if count > 1 else RULES[:1])]
    limits = {n: [threshold(model, fmr).cosine for fmr in (FMR, FMR / n)] for n in counts}
    sums = np.zeros((len(cases), len(COLUMNS)))
    for seed in range(args.draws):
        draw = Draw(rows[single], person[single], max(counts), seed)
        sums += [draw.figures(rule, count, limits[count]) for count, rule in cases]
    title = (
        f"{len(draw.templates)} people enrolled, {len(draw.mated)} mated and {len(draw.unknown)} "
        f"non-mated probes in the last of {args.draws} draws"
    )
    table = [
        {"templates": count, "rule": rule.__name__} | dict(zip(COLUMNS, row, strict=True))
        for (count, rule), row in zip(cases, (sums / args.draws).tolist(), strict=True)
    ]
    report(args, title, table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
