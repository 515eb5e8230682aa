"""What reports say: the protocols and the pictures in words, and figures as people read them."""

from __future__ import annotations

import math
from typing import Final

from facekeep.evaluate.bootstrap import RESAMPLES
from facekeep.evaluate.identification import Identified, SearchPoint
from facekeep.evaluate.metrics import Operating
from facekeep.evaluate.result import Result, rate_text

__all__ = [
    "METHOD",
    "PROTOCOLS",
    "SEARCH_HEADERS",
    "STATED_HEADERS",
    "STATED_SEARCH_HEADERS",
    "VERIFICATION_HEADERS",
    "accuracy_text",
    "counts_text",
    "failures_text",
    "percent",
    "rank_text",
    "search_row",
    "verification_row",
]

PROTOCOLS: Final = {
    "lfw": (
        "Labeled Faces in the Wild",
        "Pairs of press photos of public figures: do both show one person? Accuracy is the mean of"
        " the ten folds, each decided at the most accurate threshold of the other nine.",
    ),
    "cfp": (
        "Celebrities in Frontal-Profile",
        "Pairs of a frontal photo with another frontal one (FF) or with a profile (FP). Accuracy is"
        " the mean of the ten folds, each decided at the most accurate threshold of the others.",
    ),
    "bin": (
        "Verification pairs",
        "The pairs of a packed benchmark: do both images show one person? Accuracy is the mean of"
        " ten folds, each decided at the most accurate threshold of the other nine.",
    ),
    "pairs": (
        "Verification of listed pairs",
        "The pairs of a list: do both images show one person?",
    ),
    "folder": (
        "Verification of all pairs",
        "Every image is compared with every other one: do both show one person?",
    ),
    "ijb": (
        "IARPA Janus Benchmark",
        "Templates pooled from the photos and video frames of a person are compared: are both of"
        " one person?",
    ),
    "identify": (
        "Open-set identification",
        "Some people are enrolled. Probes of them should get their name, probes of strangers none.",
    ),
}
"""Title and meaning of each protocol."""

METHOD: Final = (
    "A threshold is the lowest cosine at which the share of non-mated comparisons that match is no"
    " more than the target rate. An image from which no face could be taken never matches: it"
    " counts against TAR and FNIR. A rate f is supported where at least 3/f non-mated comparisons"
    f" stand behind it (ISO/IEC 19795-1). The 95 % intervals come from drawing the people"
    f" {RESAMPLES} times anew; without ten known people there are none."
)

VERIFICATION_HEADERS: Final = (
    "model",
    "FMR at most",
    "threshold",
    "FMR measured",
    "TAR",
    "95 % interval",
    "supported",
)
STATED_HEADERS: Final = ("model", "FMR stated", *VERIFICATION_HEADERS[2:])
SEARCH_HEADERS: Final = (
    "model",
    "FPIR at most",
    "threshold",
    "FPIR measured",
    "FNIR",
    "95 % interval",
    "supported",
)
STATED_SEARCH_HEADERS: Final = ("model", "FMR stated", *SEARCH_HEADERS[2:])


def percent(share: float | None) -> str:
    """Write a share in per cent; nothing where there is none."""
    return "" if share is None else f"{100 * share:.2f} %"


def accuracy_text(result: Result) -> str:
    """Write the accuracy with its deviation; empty where the protocol has none."""
    if result.accuracy is None or result.accuracy_sd is None:
        return percent(result.accuracy)
    return f"{100 * result.accuracy:.2f} ± {100 * result.accuracy_sd:.2f} %"


def counts_text(result: Result) -> str:
    """Say how much was compared."""
    scores = result.scores
    what = "probes" if result.identified else "comparisons"
    people = "" if result.people is None else f" of {result.people:,} people"
    return (
        f"{result.images:,} images{people}, {len(scores.mated) + scores.mated_failed:,} mated and"
        f" {scores.non_mated:,} non-mated {what}"
    )


def failures_text(result: Result) -> str:
    """Say how many images gave no face."""
    failed = len(result.failures)
    return f"{failed:,} of {result.images:,} images ({percent(failed / result.images)})"


def verification_row(model: str, point: Operating) -> list[str]:
    """Write an operating point as a row under ``VERIFICATION_HEADERS``."""
    return [
        model,
        rate_text(point.fmr),
        f"{point.threshold:.4f}",
        f"{point.measured_fmr:.2e}",
        percent(point.tar),
        _interval(point.low, point.high),
        _support(point.fmr, point.non_mated, point.supported),
    ]


def rank_text(found: Identified, rank: int) -> str:
    """Write the share of mated probes whose person is among the first candidates."""
    return percent(found.cmc[min(rank, len(found.cmc)) - 1])


def search_row(model: str, found: Identified, point: SearchPoint) -> list[str]:
    """Write an operating point as a row under ``SEARCH_HEADERS``."""
    return [
        model,
        rate_text(point.fpir),
        f"{point.threshold:.4f}",
        percent(point.measured_fpir),
        percent(point.fnir),
        _interval(point.low, point.high),
        _support(point.fpir, found.strangers, point.supported),
    ]


def _interval(low: float | None, high: float | None) -> str:
    return "unknown" if low is None or high is None else f"{100 * low:.2f} to {100 * high:.2f} %"


def _support(rate: float, made: int, supported: bool) -> str:
    return "yes" if supported else f"no: {made:,} of {math.ceil(3 / rate - 1e-9):,} needed"
