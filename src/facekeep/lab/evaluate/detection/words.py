"""What people read of a trial of detectors: tables, and what stands above them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from facekeep.lab.evaluate.detection.figures import SCORES, DetectionResult
from facekeep.lab.evaluate.words import Table, interval_text, percent

__all__ = ["summary", "tables"]


def summary(result: DetectionResult) -> str:
    """Say what was shown."""
    faces = len(result.faces.person)
    scenes = f"; photos without annotations: {result.scenes:,}" if result.scenes else ""
    return (
        f"Detection, {result.data}: {result.photos:,} photos of {result.people:,} people, shown"
        f" as {faces:,} faces on {result.canvases:,} canvases{scenes}"
    )


def tables(results: Sequence[DetectionResult]) -> Iterator[Table]:
    """Give the figures of one or several detectors on the same canvases, as tables for people."""
    groups = [
        (result.model, "all" if size is None else f"{size} px", group)
        for result in results
        for size, group in result.groups.items()
        if group["faces"]
    ]
    yield Table(
        "",
        ("model", "faces of", "faces", "AP", "95 % interval", "found"),
        [[model, size, *_found(group)] for model, size, group in groups],
    )
    yield Table(
        "Landmark errors in distances of the eyes, of the faces that all detectors found:",
        ("model", "faces of", "landmarks", "faces", "mean", "95 % interval", "95 % are below"),
        [
            [model, size, kind, *_errors(group[key])]
            for model, size, group in groups
            for kind, key in (("as detected", "landmarks"), ("refined", "refined"))
            if group[key] is not None
        ],
    )
    yield _by_score(results)
    if len(results) > 1:
        yield Table(
            "Time on one thread, canvas by canvas in turns, as a multiple of the first one's:",
            ("model", "time"),
            [[result.model, f"{result.time_ratio:.2f}"] for result in results],
        )


def _found(group: Mapping[str, Any]) -> list[str]:
    return [
        f"{group['faces']:,}",
        percent(group["ap"]),
        interval_text(group["ap_low"], group["ap_high"]),
        percent(group["recall"]),
    ]


def _errors(found: Mapping[str, Any]) -> list[str]:
    return [
        f"{found['faces']:,}",
        percent(found["mean"]),
        interval_text(found["low"], found["high"]),
        percent(found["p95"]),
    ]


def _by_score(results: Sequence[DetectionResult]) -> Table:
    headers = ["model", "score from", "found", "false boxes a canvas"]
    if results[0].scenes:
        headers.append("boxes a photo without annotations")
    rows = []
    for result in results:
        for score in SCORES:
            found = result.at(score)
            row = [result.model, f"{score:g}", percent(found["recall"])]
            others = (found[key] for key in ("false_per_canvas", "boxes_per_scene") if key in found)
            rows.append(row + [f"{value:.3f}" for value in others])
    return Table("By the score that a box needs:", tuple(headers), rows)
