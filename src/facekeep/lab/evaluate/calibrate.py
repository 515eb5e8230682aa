"""A model's cosine at stated false-match rates, from any images of known people.

Every two images of different people are a non-mated comparison. In most collections some people
stand under two names, or a photo under the wrong one; such pairs are mated in truth and would set
the thresholds for the rare rates alone. So two names are not compared with each other when any two
of their images are suspiciously alike.

A collection that is used for testing must not be used here: the figures of a test at thresholds
that were set on it say nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from facekeep.errors import InputError
from facekeep.lab.datasets.test_sets import PersonSet
from facekeep.lab.evaluate.extract import Embeddings
from facekeep.lab.evaluate.metrics import (
    OperatingPoint,
    is_supported,
    measure_at_rates,
    measure_at_thresholds,
)
from facekeep.lab.evaluate.pairs import (
    Comparisons,
    Pairs,
    exclude_alike,
    pick_worst,
    score_all_pairs,
)

__all__ = ["RATES", "Calibration", "calibrate"]

RATES: Final = (1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
"""The false-match rates that are calibrated, as far as the comparisons carry."""

# Of 15,963 photos under 5,557 names, 28 pairs of names are more alike in SFace than this share of
# its mated comparisons. Looked at one by one, nearly all of them show one person.
_SUSPICIOUS: Final = 0.7
# Faults of labels grow with the names. Where more pairs of names than this share of the names are
# suspicious, it is the model that cannot tell people apart, and leaving them out would flatter it.
_MOST_SUSPECTS: Final = 0.01


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Calibration:
    """The thresholds of a model, and what stands behind them.

    Attributes:
        points: What the thresholds do on the data, from the highest rate to the lowest; the
            thresholds are rounded upwards to four digits.
        unsupported: Rates for which there were too few comparisons.
        pairs: The comparisons behind them.
        same_person: Two names with a comparison above this cosine were not compared; None where
            all were.
        left_out: The most alike comparison of each two such names, the most alike first.
        suspects: How many pairs of names were suspicious but too many to be faults of labels.
    """

    points: tuple[OperatingPoint, ...]
    unsupported: tuple[float, ...]
    pairs: Pairs
    same_person: float | None
    left_out: Comparisons
    suspects: int

    @property
    def thresholds(self) -> tuple[tuple[float, float], ...]:
        """Pairs (FMR, cosine), as ``facekeep.models.set_thresholds`` takes them."""
        return tuple((point.fmr, point.threshold) for point in self.points)


def calibrate(
    data: PersonSet,
    found: Embeddings,
    *,
    rates: Sequence[float] = RATES,
    same_person: float | None = None,
) -> Calibration:
    """Find the cosine at each false-match rate that the data can support.

    Args:
        data: Images of known people.
        found: What ``extract`` made of them.
        rates: The rates.
        same_person: Two names with a comparison above this cosine are not compared; 2 compares
            all. None: the cosine that three in ten mated comparisons exceed, unless so many names
            exceed it that the model rather than the labels must be at fault.

    Raises:
        InputError: There are too few comparisons of different people for any of the rates.
    """
    every = score_all_pairs(found.rows, data.person, fmr=max(rates))
    pairs, level, left_out, suspects = _exclude_doubles(every, found, same_person)
    carried = [r for r in sorted(rates, reverse=True) if is_supported(r, pairs.scores.non_mated)]
    if not carried:
        raise InputError(
            f"{pairs.scores.non_mated:,} comparisons of different people are too few to calibrate"
            f" on: a rate of {max(rates):g} needs {math.ceil(3 / max(rates)):,};"
            " give images of more people"
        )
    limits = [point.threshold for point in measure_at_rates(pairs.scores, carried, resamples=0)]
    stated = [(rate, _round_up(limit)) for rate, limit in zip(carried, limits, strict=True)]
    return Calibration(
        points=measure_at_thresholds(pairs.scores, stated),
        unsupported=tuple(rate for rate in rates if rate not in carried),
        pairs=pairs,
        same_person=level,
        left_out=left_out,
        suspects=suspects,
    )


def _round_up(cosine: float) -> float:
    return math.ceil(cosine * 1e4) / 1e4


def _exclude_doubles(
    every: Pairs, found: Embeddings, same_person: float | None
) -> tuple[Pairs, float | None, Comparisons, int]:
    """Leave out names that are probably one person; see ``Calibration`` for what comes back."""
    nobody = every.non_mated.take(slice(0, 0))
    level = same_person
    if level is None:
        if not len(every.scores.mated):
            return every, None, nobody, 0
        level = float(np.quantile(every.scores.mated, _SUSPICIOUS))
    above = every.non_mated.take(every.non_mated.scores > level)
    alike = pick_worst(above, every.person, len(above.scores))
    people = len(np.unique(every.person))
    if same_person is None and len(alike.scores) > max(1, _MOST_SUSPECTS * people):
        return every, None, nobody, len(alike.scores)
    return exclude_alike(every, found.rows, level), level, alike, 0
