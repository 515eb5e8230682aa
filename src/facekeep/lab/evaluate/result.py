"""What an evaluation found: the figures that JSON and tables show, and what pictures need."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from facekeep.lab.evaluate.conditions import Conditions
from facekeep.lab.evaluate.extract import Failure
from facekeep.lab.evaluate.identification import SearchPoint, SearchResult
from facekeep.lab.evaluate.metrics import OperatingPoint
from facekeep.lab.evaluate.plots import Line
from facekeep.lab.evaluate.scores import Histogram, Scores
from facekeep.lab.evaluate.templates import NearestPoint

__all__ = [
    "NEAREST_KEYS",
    "OPERATING_KEYS",
    "Evaluation",
    "Evidence",
    "Pair",
    "Result",
    "format_rate",
    "list_points",
]

OPERATING_KEYS: Final = (
    *("tar", "low", "high", "threshold", "fmr", "fmr_low", "fmr_high"),
    *("tar_acquired", "mated", "non_mated", "supported"),
)
"""What JSON shows of an operating point of verification."""

NEAREST_KEYS: Final = ("tar", "threshold", "fmr")
"""What JSON shows of an operating point of IJB as results on it are commonly reported."""

_SEARCH_KEYS: Final = (
    *("fnir", "low", "high", "threshold", "fpir", "fpir_low", "fpir_high"),
    *("fnir_acquired", "supported"),
)
_RATES: Final = ("fmr", "fpir")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Result:
    """The figures of one model under one protocol; all rates are fractions from 0 to 1.

    Attributes:
        protocol: The command that measures it: ``lfw``, ``folder``, ...
        model: The embedder's name.
        data: What the images are called.
        settings: How faces were taken from the images.
        images: How many there are.
        people: How many people they show, where that is known.
        scores: The comparisons; of identification those of ``SearchResult.scores``.
        failures: Images from which no embedding could be taken; they never match.
        accuracy: The share of right decisions, where the protocol has one.
        accuracy_sd: Its standard deviation over the folds, where there are.
        folds: Accuracy and threshold of each fold; of View 1 of LFW those of its test list alone.
        tar: Operating points of verification at target FMRs.
        stated: Operating points at the thresholds of the model's catalog entry.
        identified: The outcome of identification.
        eer: Equal error rate of verification.
        conditions: Verification by conditions of the images, where that was asked for.
        details: What only this protocol has, ready for JSON.
    """

    protocol: str
    model: str
    data: str
    settings: Mapping[str, object]
    images: int
    people: int | None
    scores: Scores
    failures: tuple[Failure, ...]
    accuracy: float | None = None
    accuracy_sd: float | None = None
    folds: tuple[tuple[float, float], ...] = ()
    tar: tuple[OperatingPoint, ...] = ()
    stated: tuple[OperatingPoint, ...] = ()
    identified: SearchResult | None = None
    eer: float | None = None
    conditions: Conditions | None = None
    details: Mapping[str, Any] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """Give the result in the stable form that ``docs/evaluation.md`` describes."""
        whole = {
            "protocol": self.protocol,
            "model": self.model,
            "data": self.data,
            "accuracy": self.accuracy,
            "accuracy_sd": self.accuracy_sd,
            "folds": [{"accuracy": a, "threshold": t} for a, t in self.folds] or None,
            "tar": list_points(self.tar) or None,
            "stated": list_points(self.stated) or None,
            "eer": self.eer,
            **({} if self.identified is None else _list_searches(self.identified)),
            "conditions": None if self.conditions is None else self.conditions.document(),
            **self.details,
            **({} if self.identified else {"comparisons": _count_comparisons(self.scores)}),
            "images": self.images,
            "people": self.people,
            "failures": self._failures(),
            "settings": dict(self.settings),
        }
        return {key: value for key, value in whole.items() if value is not None}

    def _failures(self) -> dict[str, Any]:
        return {
            "count": len(self.failures),
            "rate": len(self.failures) / self.images,
            "images": [{"image": each.name, "reason": each.reason} for each in self.failures],
        }


class Pair(NamedTuple):
    """A comparison worth looking at.

    Attributes:
        left: Place of an image.
        right: Place of another one.
        cosine: How alike they are.
    """

    left: int
    right: int
    cosine: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Evidence:
    """What pictures of a result show.

    Attributes:
        curve: The trade-off between the two kinds of error.
        histogram: The scores.
        false_matches: The non-mated comparisons that score highest, the worst first.
        false_non_matches: The mated comparisons that score lowest, the worst first.
        left_out: Comparisons of two names that are probably one person, which count nowhere.
        names: What each image is called.
        crop: Gives the aligned face of an image by its place.
    """

    curve: Line
    histogram: Histogram
    false_matches: tuple[Pair, ...]
    false_non_matches: tuple[Pair, ...]
    left_out: tuple[Pair, ...]
    names: Sequence[str]
    crop: Callable[[int], NDArray[np.uint8]]


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """A result, and what its pictures show."""

    result: Result
    evidence: Evidence


def format_rate(rate: float) -> str:
    """Write a rate as the keys of the JSON do: ``1e-4``, ``2.5e-3``."""
    mantissa, exponent = f"{rate:.3e}".split("e")
    return f"{float(mantissa):g}e{int(exponent)}"


def list_points(
    points: Sequence[OperatingPoint | SearchPoint | NearestPoint],
    keys: Sequence[str] = OPERATING_KEYS,
) -> dict[str, dict[str, Any]]:
    """Give operating points by their target rate, as JSON shows them.

    Args:
        points: The points.
        keys: What JSON shows of each: attributes; ``fmr`` and ``fpir`` are those measured.
    """
    return {
        format_rate(_find_target(each)): {
            key: getattr(each, f"measured_{key}" if key in _RATES else key) for key in keys
        }
        for each in points
    }


def _find_target(point: OperatingPoint | SearchPoint | NearestPoint) -> float:
    return point.fpir if isinstance(point, SearchPoint) else point.fmr


def _count_comparisons(scores: Scores) -> dict[str, int]:
    """How much was compared; of those that failed only the mated ones are among the others."""
    return {
        "mated": len(scores.mated) + scores.mated_failed,
        "mated_failed": scores.mated_failed,
        "non_mated": scores.non_mated,
        "non_mated_failed": scores.non_mated_failed,
    }


def _list_searches(found: SearchResult) -> dict[str, Any]:
    return {
        "rank_1": found.rank_1,
        "cmc": list(found.cmc),
        "fnir": list_points(found.points, _SEARCH_KEYS),
        # A rate stated for comparisons says nothing of how many strangers are enough.
        "stated_fnir": list_points(found.stated, _SEARCH_KEYS[:-1]) or None,
        "gallery": {"people": found.people, "failed_to_enrol": found.failed_to_enroll},
        "probes": {
            "mated": found.mated,
            "mated_failed": found.mated_failed,
            "strangers": found.strangers,
            "strangers_failed": found.strangers_failed,
        },
    }
