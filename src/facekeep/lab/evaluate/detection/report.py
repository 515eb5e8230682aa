"""The report of a comparison of detectors: tables, pictures, and what they mean."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any, Final

import numpy as np

from facekeep._internal.files import printable
from facekeep.lab.evaluate.detection.metrics import SCORES, DetectionResult, trace_precision
from facekeep.lab.evaluate.page import Picture, Table, format_figures, format_picture, write_report
from facekeep.lab.evaluate.plots import (
    add_legend,
    encode_figure,
    format_percentages,
    line_style,
    styled_axes,
)
from facekeep.lab.evaluate.summary import format_interval, format_percent

__all__ = [
    "describe_mosaics",
    "draw_detection_pictures",
    "list_detection_tables",
    "write_detection_report",
]

_METHOD: Final = (
    "Annotated faces are cut out of their photos with what surrounds them, scaled down to each size"
    " and set side by side in mosaics. A box is a face from an intersection over union of 0.5 on;"
    " each face can be found once. AP is the area under precision over recall, every point of it"
    " counted. The 95 % intervals come from drawing the people anew; with fewer than ten there are"
    " none. A face in the background that nobody annotated counts as a false box."
)
_PRECISION: Final = (
    "Every point of a line is one score: across, the share of the faces found at it; upwards, the"
    " share of the boxes that are faces. Nearer to the upper right corner is better."
)
_LANDMARKS: Final = (
    "The share of the faces whose five landmarks are off by no more than so much on average. A line"
    " further to the left is better; dashed: as detected, whole: refined."
)
_FARTHEST: Final = 0.4  # distances of the eyes; beyond it curves are not drawn


def write_detection_report(folder: Path, results: Sequence[DetectionResult], command: str) -> Path:
    """Draw the pictures of one or several detectors on the same mosaics, and write the report.

    Args:
        folder: Where to; it is made where it is missing.
        results: One for each detector.
        command: The command line that made it.

    Returns:
        The HTML file. The pictures inside it also stand beside it as files.

    Raises:
        InputError: The folder cannot be written.
        RuntimeUnavailable: matplotlib is not installed.
        StorageFull: There is no room.
    """
    pictures = list(draw_detection_pictures(results))
    models = ", ".join(result.model for result in results)
    sections = [
        "<h1>Detection</h1>",
        f'<p class="sub">{escape(models)}</p>',
        f"<p>{escape(printable(describe_mosaics(results[0])))}.</p>",
        "<h2>Figures</h2>",
        format_figures(list_detection_tables(results)),
        f"<p>{escape(_METHOD)}</p>",
        "<h2>Pictures</h2>",
        *map(format_picture, pictures),
    ]
    return write_report(folder, f"Detection: {models}", sections, pictures, command)


def describe_mosaics(result: DetectionResult) -> str:
    """Say what was shown."""
    faces = len(result.faces.person)
    scenes = f"; photos without annotations: {result.scenes:,}" if result.scenes else ""
    return (
        f"Detection, {result.data}: {result.photos:,} photos of {result.people:,} people, shown"
        f" as {faces:,} faces in {result.mosaics:,} mosaics{scenes}"
    )


def list_detection_tables(results: Sequence[DetectionResult]) -> Iterator[Table]:
    """Give the figures of one or several detectors on the same mosaics, as tables for people."""
    groups = [
        (result.model, "all" if size is None else f"{size} px", group)
        for result in results
        for size, group in result.groups.items()
        if group["faces"]
    ]
    yield Table(
        "",
        ("model", "faces of", "faces", "AP", "95 % interval", "found"),
        [[model, size, *_format_found(group)] for model, size, group in groups],
    )
    yield Table(
        "Landmark errors in distances of the eyes, of the faces that all detectors found:",
        ("model", "faces of", "landmarks", "faces", "mean", "95 % interval", "95 % are below"),
        [
            [model, size, kind, *_format_errors(group[key])]
            for model, size, group in groups
            for kind, key in (("as detected", "landmarks"), ("refined", "refined"))
            if group[key] is not None
        ],
    )
    yield _list_scores(results)
    if len(results) > 1:
        yield Table(
            "Time on one thread, mosaic by mosaic in turns, as a multiple of the first one's:",
            ("model", "time"),
            [[result.model, f"{result.time_ratio:.2f}"] for result in results],
        )


def _format_found(group: Mapping[str, Any]) -> list[str]:
    return [
        f"{group['faces']:,}",
        format_percent(group["ap"]),
        format_interval(group["ap_low"], group["ap_high"]),
        format_percent(group["recall"]),
    ]


def _format_errors(found: Mapping[str, Any]) -> list[str]:
    return [
        f"{found['faces']:,}",
        format_percent(found["mean"]),
        format_interval(found["low"], found["high"]),
        format_percent(found["p95"]),
    ]


def _list_scores(results: Sequence[DetectionResult]) -> Table:
    headers = ["model", "score from", "found", "false boxes a mosaic"]
    if results[0].scenes:
        headers.append("boxes a photo without annotations")
    rows = []
    for result in results:
        for score in SCORES:
            found = result.at(score)
            row = [result.model, f"{score:g}", format_percent(found["recall"])]
            others = (found[key] for key in ("false_per_canvas", "boxes_per_scene") if key in found)
            rows.append(row + [f"{value:.3f}" for value in others])
    return Table("By the score that a box needs:", tuple(headers), rows)


def draw_detection_pictures(results: Sequence[DetectionResult]) -> Iterator[Picture]:
    """Draw the pictures of one or several detectors on the same mosaics.

    Raises:
        RuntimeUnavailable: matplotlib is not installed.
    """
    yield Picture("precision.png", "Precision and recall", _PRECISION, _draw_precision(results))
    yield Picture("landmarks.png", "Errors of the landmarks", _LANDMARKS, _draw_landmarks(results))


def _draw_precision(results: Sequence[DetectionResult]) -> bytes:
    with styled_axes() as (figure, axes):
        for place, result in enumerate(results):
            recall, precision = trace_precision(result.boxes, result.faces)
            axes.plot(recall, precision, label=result.model, **line_style(place))
        axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1.01), ylim=(0, 1.03))
        format_percentages(axes.xaxis)
        format_percentages(axes.yaxis)
        add_legend(axes, results, "lower left")
        return encode_figure(figure)


def _draw_landmarks(results: Sequence[DetectionResult]) -> bytes:
    with styled_axes() as (figure, axes):
        for place, result in enumerate(results):
            for kind, style in (("raw", "--"), ("refined", "-")):
                errors = getattr(result.faces, kind)[result.compared]
                known = np.sort(errors[~np.isnan(errors)])
                if known.size:
                    share = np.arange(1, known.size + 1) / known.size
                    label = f"{result.model}, {'as detected' if kind == 'raw' else kind}"
                    color = line_style(place)["color"]
                    axes.plot(known, share, label=label, color=color, linestyle=style)
        axes.set(xlabel="mean error of the landmarks, distances of the eyes", ylabel="faces")
        axes.set(xlim=(0, _FARTHEST), ylim=(0, 1.03))
        format_percentages(axes.xaxis)
        format_percentages(axes.yaxis)
        add_legend(axes, ["as detected", "refined"], "lower right")
        return encode_figure(figure)
