"""Reads who is to be seen in a video, and when: the truth that ``evaluate live`` compares with."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from facekeep._internal.files import path_text, printable
from facekeep.errors import InputError
from facekeep.lab.datasets.pairs_table import read_cells
from facekeep.lab.datasets.text_lists import list_error, parse_whole, quote

__all__ = ["TrueBox", "TrueVisit", "read_boxes_table", "read_visits_table"]


@dataclass(frozen=True, slots=True)
class TrueVisit:
    """Somebody is before the camera.

    Attributes:
        start: Seconds from the first frame of the video to the first one with the face.
        end: Seconds to the last one.
        name: Who it is; None for a stranger.
    """

    start: float
    end: float
    name: str | None


@dataclass(frozen=True, slots=True)
class TrueBox:
    """A face in one frame.

    Attributes:
        time: Seconds from the first frame.
        visit: Whose: the place in the list of visits.
        bbox: ``x1, y1, x2, y2`` in pixels.
        visible: What share of it is to be seen, 0 to 1.
    """

    time: float
    visit: int
    bbox: tuple[float, float, float, float]
    visible: float


def read_visits_table(file: str | os.PathLike[str]) -> list[TrueVisit]:
    """Read the visits of a video from a table in UTF-8 text, with commas or tabs.

    The first line names the columns, in any order: ``start`` and ``end`` in seconds, and ``name``,
    which is empty or ``-`` for a stranger. Visits of different people may overlap. A table without
    visits says that nobody comes.

    Raises:
        InputError: The table is damaged, or somebody is there twice at a time; the message names
            the line.
    """
    path = Path(path_text(file))
    visits: list[tuple[int, TrueVisit]] = []
    for number, (start, end, name) in _read_columns(path, ("start", "end", "name")):
        first, last = (_parse_seconds(path, number, text) for text in (start, end))
        if last < first:
            raise list_error(path, number, f"the visit ends ({end}) before it starts ({start})")
        visits.append((number, TrueVisit(first, last, None if name in {"", "-"} else name)))
    _refuse_doubles(path, visits)
    return [visit for _, visit in visits]


def read_boxes_table(file: str | os.PathLike[str], visits: int) -> list[TrueBox]:
    """Read where each face is in each frame, from a table like that of the visits.

    Its columns are ``time`` in seconds, ``visit`` (the number of the row in the table of visits,
    from 1), ``x1``, ``y1``, ``x2`` and ``y2`` in pixels, and ``visible``, the share of the face
    that is to be seen, 0 to 1.

    Args:
        file: The table.
        visits: How many visits there are.

    Raises:
        InputError: The table is damaged; the message names the line.
    """
    path = Path(path_text(file))
    columns = ("time", "visit", "x1", "y1", "x2", "y2", "visible")
    boxes = []
    for number, cells in _read_columns(path, columns):
        visit = parse_whole(cells[1])
        if visit is None or not 1 <= visit <= visits:
            raise list_error(
                path, number, f"visit {quote(cells[1])} is no row of the truth, 1 to {visits}"
            )
        time = _parse_seconds(path, number, cells[0])
        x1, y1, x2, y2, visible = (_parse_number(path, number, text) for text in cells[2:])
        if x2 <= x1 or y2 <= y1 or not 0 <= visible <= 1:
            raise list_error(
                path, number, "a box needs x1 < x2 and y1 < y2, and visible is from 0 to 1"
            )
        boxes.append(TrueBox(time, visit - 1, (x1, y1, x2, y2), visible))
    return boxes


def _read_columns(path: Path, columns: Sequence[str]) -> Iterator[tuple[int, list[str]]]:
    """Yield the cells of the named columns of each line below the first, with its number."""
    rows = read_cells(path)
    number, header = next(rows, (1, []))
    names = [name.strip().lower() for name in header]
    if missing := [name for name in columns if names.count(name) != 1]:
        raise list_error(
            path,
            number,
            f"the first line must name the column {missing[0]} once; it must have"
            f" {','.join(columns)}",
        )
    places = [names.index(name) for name in columns]
    for number, cells in rows:
        if len(cells) != len(header):
            raise list_error(
                path, number, f"has {len(cells)} cells, the first line has {len(header)}"
            )
        yield number, [cells[place].strip() for place in places]


def _parse_number(path: Path, number: int, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise list_error(path, number, f"{quote(text)} is no number")
    return value


def _parse_seconds(path: Path, number: int, text: str) -> float:
    value = _parse_number(path, number, text)
    if value < 0:
        raise list_error(path, number, f"{text} is before the first frame: seconds start at 0")
    return value


def _refuse_doubles(path: Path, visits: Sequence[tuple[int, TrueVisit]]) -> None:
    named = [pair for pair in visits if pair[1].name is not None]
    named.sort(key=lambda pair: (pair[1].name or "", pair[1].start))
    for (line, visit), (number, following) in pairwise(named):
        if visit.name == following.name and following.start <= visit.end:
            raise InputError(
                f"{printable(path)}:{max(line, number)}: {printable(str(visit.name))} is already"
                f" there at that time, by line {min(line, number)}; join the two visits"
            )
