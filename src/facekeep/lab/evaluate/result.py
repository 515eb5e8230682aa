"""What an evaluation found: the figures that JSON and tables show, and what pictures need."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

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
    "Evaluation",
    "Evidence",
    "Pair",
    "Result",
    "format_rate",
    "list_nearest_points",
    "list_operating_points",
]


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
            "tar": list_operating_points(self.tar) or None,
            "stated": list_operating_points(self.stated) or None,
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


def list_operating_points(points: Sequence[OperatingPoint]) -> dict[str, dict[str, Any]]:
    """Give operating points of verification by their target rate, as JSON shows them."""
    return {
        format_rate(each.fmr): {
            "tar": each.tar,
            "low": each.low,
            "high": each.high,
            "threshold": each.threshold,
            "fmr": each.measured_fmr,
            "fmr_low": each.fmr_low,
            "fmr_high": each.fmr_high,
            "tar_acquired": each.tar_acquired,
            "mated": each.mated,
            "non_mated": each.non_mated,
            "supported": each.supported,
        }
        for each in points
    }


def list_nearest_points(points: Sequence[NearestPoint]) -> dict[str, dict[str, Any]]:
    """Give operating points of IJB as they are commonly told, by their target rate."""
    return {
        format_rate(each.fmr): {
            "tar": each.tar,
            "threshold": each.threshold,
            "fmr": each.measured_fmr,
        }
        for each in points
    }


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
        "fnir": _list_points(found.points),
        "stated_fnir": _list_points(found.stated, stated=True) or None,
        "gallery": {"people": found.people, "failed_to_enrol": found.failed_to_enroll},
        "probes": {
            "mated": found.mated,
            "mated_failed": found.mated_failed,
            "strangers": found.strangers,
            "strangers_failed": found.strangers_failed,
        },
    }


def _list_points(
    points: Sequence[SearchPoint], *, stated: bool = False
) -> dict[str, dict[str, Any]]:
    return {
        format_rate(each.fpir): {
            "fnir": each.fnir,
            "low": each.low,
            "high": each.high,
            "threshold": each.threshold,
            "fpir": each.measured_fpir,
            "fpir_low": each.fpir_low,
            "fpir_high": each.fpir_high,
            "fnir_acquired": each.fnir_acquired,
            # A rate stated for comparisons says nothing of how many strangers are enough.
            **({} if stated else {"supported": each.supported}),
        }
        for each in points
    }
