"""``facekeep evaluate live``: whether a video's events agree with who was to be seen in it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from facekeep.cli.command import Run
from facekeep.cli.lab.evaluate_protocol import write_figures
from facekeep.cli.options import PATH, argument, out_option
from facekeep.factory import open_engine

__all__ = ["live"]


@argument("video", type=PATH, metavar="VIDEO", help="A video file, or a folder of pictures.")
@argument(
    "truth",
    type=PATH,
    metavar="TRUTH",
    help="A table (CSV, TSV) with the columns start, end, name: who is to be seen, in seconds.",
)
@click.option(
    "--boxes",
    type=PATH,
    metavar="FILE",
    help="A table with the columns time, visit, x1, y1, x2, y2, visible: where the faces are.",
)
@click.option(
    "--confirm",
    type=click.IntRange(1),
    metavar="N",
    help="Frames in which somebody must be seen before a visit begins. [default: 3]",
)
@click.option(
    "--absence",
    type=click.FloatRange(0, min_open=True),
    metavar="SECONDS",
    help="Time after which somebody who is not seen has left. [default: 3]",
)
@click.option(
    "--cooldown",
    type=click.FloatRange(0),
    metavar="SECONDS",
    help="Time after a visit in which the same person gives no new event. [default: 10]",
)
@click.option(
    "--detect-every",
    type=click.IntRange(1),
    metavar="N",
    help="Look for faces in every n-th frame. [default: as often as the people need]",
)
@out_option
def live(
    run: Run, video: Path, truth: Path, *, boxes: Path | None, out: Path | None, **options: Any
) -> None:
    """Compare the events of a video with who was to be seen in it, and when.

    The video is watched as `facekeep live` does. Leave the name empty, or write -, for a
    stranger. The figures: visits that were named rightly, wrongly or not, false names beside what
    the false-match rate promises, visits that were split or merged, and the time to the name.
    """
    from facekeep.lab.datasets.visits_table import read_boxes_table, read_visits_table
    from facekeep.lab.evaluate.live import evaluate_live
    from facekeep.video.live import LiveOptions

    visits = read_visits_table(truth)
    places = None if boxes is None else read_boxes_table(boxes, len(visits))
    given = {name: value for name, value in options.items() if value is not None}
    with (
        open_engine(run.settings, "read") as engine,
        run.progress("Watching", unit="frames") as advance,
    ):
        result = evaluate_live(
            engine, video, visits, places, LiveOptions(**given), progress=advance
        )
    document = result.document()
    if out is not None:
        write_figures(out, document)
    if run.json:
        run.emit(document)
    else:
        _print_result(run, document)
    if result.not_enrolled:
        run.warn(f"not in the gallery, so counted as strangers: {', '.join(result.not_enrolled)}")


def _print_result(run: Run, document: dict[str, Any]) -> None:
    run.say(
        f"{document['video']}: {document['seconds']:.1f} s, {document['people']:,} people enrolled,"
        f" FMR {document['fmr']:g}"
    )
    run.table(
        ("visits of", "became", "count", "share", "95 % interval"),
        [
            [f"{who} ({document[key]['visits']:,})", outcome, *_format_share(counted)]
            for key, who in (("known", "people enrolled"), ("strangers", "strangers"))
            for outcome, counted in document[key].items()
            if outcome != "visits" and document[key]["visits"]
        ],
    )
    names = document["false_names"]
    low, high = names["per_hour_low"], names["per_hour_high"]
    run.table(
        ("false names", "count", "share", "95 % interval", "by the FMR"),
        [
            ["a visit", *_format_share(names), _format_number(names["expected_share"])],
            [
                "an hour",
                _format_number(names["per_hour"]),
                "",
                f"{_format_number(low)} to {_format_number(high)}",
                _format_number(names["expected_per_hour"]),
            ],
        ],
    )
    for line in _describe_rest(document):
        run.say(line)


def _describe_rest(document: dict[str, Any]) -> Iterator[str]:
    delay = document["time_to_name"]
    if delay["count"]:
        yield f"time to the name: median {delay['p50']:.2f} s, 95 % within {delay['p95']:.2f} s"
    yield (
        f"visits that were split: {document['split']}, merged: {document['merged']}, unknown before"
        f" they were named: {document['renamed']}; arrivals without a visit: {document['astray']}"
    )
    if tracks := document["tracks"]:
        yield (
            f"tracks cover {tracks['found']:,} of {tracks['faces']:,} faces; identity switches:"
            f" {tracks['identity_switches']}, tracks of several people: {tracks['mixed']}"
        )
    for one in document["mistakes"]:
        name = "" if one["name"] is None else f" as {one['name']}"
        yield f"{one['time']:8.2f} s: {one['kind']}{name}: {one['expected'] or 'a stranger'}"


def _format_share(counted: dict[str, Any]) -> list[str]:
    from facekeep.lab.evaluate.summary import format_interval, format_percent

    interval = format_interval(counted["low"], counted["high"])
    return [f"{counted['count']:,}", format_percent(counted["share"]), interval]


def _format_number(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"
