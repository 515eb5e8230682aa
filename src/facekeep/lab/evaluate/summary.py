"""What reports say: titles of the protocols, tables of figures, and sentences about them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Final

from facekeep.lab.evaluate.bootstrap import FEWEST_PEOPLE, RESAMPLES
from facekeep.lab.evaluate.conditions import TITLES, ConditionPoint
from facekeep.lab.evaluate.identification import SearchPoint, SearchResult
from facekeep.lab.evaluate.metrics import OperatingPoint
from facekeep.lab.evaluate.page import Table
from facekeep.lab.evaluate.result import Result, format_rate

__all__ = [
    "METHOD",
    "PROTOCOLS",
    "describe_counts",
    "describe_failures",
    "explain_terms",
    "format_bin",
    "format_interval",
    "format_percent",
    "list_remarks",
    "list_tables",
]

PROTOCOLS: Final = {
    "lfw": (
        "Labeled Faces in the Wild",
        "Pairs of press photos of public figures: do both show one person? Accuracy is the mean of"
        " the ten folds, each decided at the most accurate threshold of the other nine. In View 1"
        " it is that of the test list, decided at the most accurate threshold of the other list.",
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
    "calibrate": (
        "Calibration",
        "Which cosine keeps to which false match rate: all images of different people compared.",
    ),
}
"""Title and meaning of each protocol."""

METHOD: Final = (
    "A threshold is the lowest cosine at which the share of non-mated comparisons that match is no"
    " more than the target rate. An image from which no face could be taken never matches: it"
    " counts against TAR and FNIR. A rate f is supported where at least 3/f non-mated comparisons"
    f" stand behind it (ISO/IEC 19795-1). The 95 % intervals come from drawing the people"
    f" {RESAMPLES} times anew; without ten known people, or without any error, there are none."
)

_VERIFICATION: Final = ("threshold", "FMR measured", "TAR", "95 % interval", "supported")
_CONDITION: Final = (
    "condition",
    "worse face",
    "faces",
    "mated",
    "TAR",
    "95 % interval",
    "non-mated",
    "FMR",
    "95 % interval",
)
_SEARCH: Final = ("threshold", "FPIR measured", "FNIR", "95 % interval", "supported")
_RANKS: Final = (1, 5, 10)
_STATED: Final = "At the thresholds of the model's catalog entry:"
_NEAREST: Final = "As results on IJB are commonly reported, at the FMR nearest to the target:"


def list_tables(results: Sequence[Result]) -> Iterator[Table]:
    """Give the figures of one or several models under one protocol, as tables for people."""
    if any(result.accuracy is not None for result in results):
        rows = [
            [result.model, _format_accuracy(result), format_percent(result.eer)]
            for result in results
        ]
        spread = any(result.accuracy_sd is not None for result in results)
        title = "accuracy (mean ± sd of the folds)" if spread else "accuracy"
        yield Table("", ("model", title, "EER"), rows)
    yield from _list_verification(results)
    yield from _list_conditions(results)
    yield from _list_searches(results)


def format_percent(share: float | None) -> str:
    """Write a share in per cent; nothing where there is none."""
    return "" if share is None else f"{100 * share:.2f} %"


def describe_counts(result: Result) -> str:
    """Say how much was compared."""
    scores, found = result.scores, result.identified
    people = "" if result.people is None else f" of {result.people:,} people"
    images = f"{result.images:,} images{people}"
    if found is not None:
        probes = f"{found.mated:,} mated probes and {found.strangers:,} of strangers"
        return f"{images}, {found.people:,} people enrolled, {probes}"
    mated = len(scores.mated) + scores.mated_failed
    return f"{images}, {mated:,} mated and {scores.non_mated:,} non-mated comparisons"


def describe_failures(result: Result) -> str:
    """Say how many images gave no face."""
    failed = len(result.failures)
    return f"{failed:,} of {result.images:,} images ({format_percent(failed / result.images)})"


def _format_accuracy(result: Result) -> str:
    if result.accuracy is None or result.accuracy_sd is None:
        return format_percent(result.accuracy)
    return f"{100 * result.accuracy:.2f} ± {100 * result.accuracy_sd:.2f} %"


def _list_verification(results: Sequence[Result]) -> Iterator[Table]:
    points = [_format_point(r.model, point) for r in results for point in r.tar]
    if points:
        yield Table("", ("model", "FMR at most", *_VERIFICATION), points)
    nearest = [
        [r.model, rate, _format_measured(point["fmr"]), format_percent(point["tar"])]
        for r in results
        for rate, point in r.details.get("tar_nearest", {}).items()
    ]
    if nearest:
        yield Table(_NEAREST, ("model", "FMR nearest to", "FMR measured", "TAR"), nearest)
    stated = [_format_point(r.model, point) for r in results for point in r.stated]
    if stated:
        yield Table(_STATED, ("model", "FMR stated", *_VERIFICATION), stated)


def _list_conditions(results: Sequence[Result]) -> Iterator[Table]:
    """One table for each model: they need not share the threshold's rate."""
    for result in results:
        found = result.conditions
        if found is not None:
            caption = (
                f"{result.model} by the worse face of each comparison, at {found.threshold:.4f}"
                f" (FMR {format_rate(found.target)} over all); where a face was found:"
            )
            yield Table(caption, _CONDITION, [_format_bin_row(point) for point in found.occupied])


def _format_bin_row(point: ConditionPoint) -> list[str]:
    return [
        TITLES[point.condition],
        format_bin(point),
        f"{point.faces:,}",
        f"{point.mated:,}",
        format_percent(point.tar),
        format_interval(point.tar_low, point.tar_high),
        f"{point.non_mated:,}",
        ""
        if point.fmr is None
        else _format_measured(point.fmr) + ", of too few" * (not point.supported),
        "unknown"
        if point.fmr_low is None or point.fmr_high is None
        else f"{_format_measured(point.fmr_low)} to {_format_measured(point.fmr_high)}",
    ]


def format_bin(point: ConditionPoint) -> str:
    """Write the bounds of a bin."""
    if point.low is None:
        return f"below {point.high:g}"
    return f"{point.low:g} and above" if point.high is None else f"{point.low:g} to {point.high:g}"


def _list_searches(results: Sequence[Result]) -> Iterator[Table]:
    found = [(result.model, result.identified) for result in results if result.identified]
    if not found:
        return
    ranks = [[model, *(_format_rank(each, rank) for rank in _RANKS)] for model, each in found]
    yield Table("", ("model", *(f"rank {rank}" for rank in _RANKS)), ranks)
    points = [_format_point(model, point) for model, each in found for point in each.points]
    yield Table("", ("model", "FPIR at most", *_SEARCH), points)
    stated = [_format_point(model, point) for model, each in found for point in each.stated]
    if stated:
        yield Table(_STATED, ("model", "FMR stated", *_SEARCH[:-1]), [row[:-1] for row in stated])


def list_remarks(result: Result) -> Iterator[str]:
    """Say what a calibration left out and could not do."""
    found = result.details.get("calibration")
    if not found:
        return
    if found["left_out"]:
        yield (
            f"{result.model}: {len(found['left_out'])} pairs of names were not compared: with"
            f" photos more alike than {found['same_person']:.3f} each is probably one person;"
            " --json names them, --report shows them"
        )
    if found["suspects"]:
        yield (
            f"{result.model}: {found['suspects']} pairs of names are as alike as one person, too"
            " many for wrong labels alone, and were compared; the rarest rates are doubtful"
        )
    if found["unsupported"]:
        rates = ", ".join(found["unsupported"])
        yield f"{result.model}: too few comparisons of different people for {rates}"


def explain_terms(results: Sequence[Result]) -> Iterator[str]:
    """Say what the terms of the tables mean, and why intervals are not known."""
    if any(result.identified for result in results):
        yield (
            "mated probes show somebody who is enrolled; FNIR: the share of them that do not get"
            " their name; FPIR: the share of strangers that get one"
        )
    else:
        yield (
            "mated: two images of one person; non-mated: of two people; TAR: the share of mated"
            " comparisons that match; FMR: the share of non-mated ones that match"
        )
    yield (
        "supported: enough non-mated comparisons for the rate, 3 for each 1/rate; with fewer the"
        " threshold is little more than a guess"
    )
    yield from dict.fromkeys(filter(None, map(_explain_missing_interval, results)))


def _explain_missing_interval(result: Result) -> str:
    """Say why intervals of a result are unknown; nothing where all are known."""
    points: list[OperatingPoint | SearchPoint] = [*result.tar, *result.stated]
    points += result.identified.points if result.identified else ()
    if all(point.low is not None for point in points):
        return ""
    known = result.scores.identities
    how = "95 % intervals come from drawing the people anew"
    if known is None:
        return f"{how}: unknown, as nothing says who is in the images"
    if known.people < FEWEST_PEOPLE:
        return f"{how}: unknown, as that takes {FEWEST_PEOPLE} people and here are {known.people}"
    return f"{how}: unknown where no draw had an error, or all had the same"


def _format_point(model: str, point: OperatingPoint | SearchPoint) -> list[str]:
    if isinstance(point, SearchPoint):
        target, share = point.fpir, point.fnir
        measured = format_percent(point.measured_fpir)
    else:
        target, share, measured = point.fmr, point.tar, _format_measured(point.measured_fmr)
    return [
        model,
        format_rate(target),
        f"{point.threshold:.4f}",
        measured,
        format_percent(share),
        format_interval(point.low, point.high),
        "yes" if point.supported else f"no, needs {math.ceil(3 / target - 1e-9):,}",
    ]


def _format_rank(found: SearchResult, rank: int) -> str:
    return format_percent(found.cmc[min(rank, len(found.cmc)) - 1])


def format_interval(low: float | None, high: float | None) -> str:
    """Write an interval in per cent."""
    return "unknown" if low is None or high is None else f"{100 * low:.2f} to {100 * high:.2f} %"


def _format_measured(rate: float) -> str:
    return format_rate(rate) if rate else "0"
