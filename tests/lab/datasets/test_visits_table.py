"""The truth about a video: what its tables hold, and what is wrong with them."""

from __future__ import annotations

from pathlib import Path

import pytest

from facekeep.errors import InputError
from facekeep.lab.datasets.visits_table import (
    TrueBox,
    TrueVisit,
    read_boxes_table,
    read_visits_table,
)


def table(folder: Path, text: str) -> Path:
    path = folder / "truth.csv"
    path.write_text(text)
    return path


def test_visits_are_read_in_their_order(tmp_path: Path) -> None:
    path = table(tmp_path, "name,start,end\nAda,1.5,3\n,2,4\n-,0,9\nAda,3.5,3.5\n")
    assert read_visits_table(path) == [
        TrueVisit(1.5, 3, "Ada"),
        TrueVisit(2, 4, None),
        TrueVisit(0, 9, None),
        TrueVisit(3.5, 3.5, "Ada"),
    ]


def test_nobody_may_come(tmp_path: Path) -> None:
    assert read_visits_table(table(tmp_path, "start,end,name\n")) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", ":1: the first line must name the column start once"),
        ("start,end\n", ":1: the first line must name the column name once"),
        ("start,end,name\n1,2\n", ":2: has 2 cells, the first line has 3"),
        ("start,end,name\n1,2,Ada\nx,2,Bo\n", ":3: 'x' is no number"),
        ("start,end,name\n1,nan,Ada\n", ":2: 'nan' is no number"),
        ("start,end,name\n-1,2,Ada\n", ":2: -1 is before the first frame"),
        ("start,end,name\n3,2,Ada\n", ":2: the visit ends (2) before it starts (3)"),
        (
            "start,end,name\n5,9,Ada\n1,2,Bo\n1,6,Ada\n",
            ":4: Ada is already there at that time, by line 2",
        ),
    ],
)
def test_what_is_wrong_is_said_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        read_visits_table(table(tmp_path, text))
    assert f"truth.csv{message}" in str(caught.value)


def test_a_table_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read_visits_table(tmp_path / "none.csv")


def test_boxes(tmp_path: Path) -> None:
    path = table(tmp_path, "time,visit,x1,y1,x2,y2,visible\n0.04,2,-5,1,20,30.5,0.8\n")
    assert read_boxes_table(path, 2) == [TrueBox(0.04, 1, (-5, 1, 20, 30.5), 0.8)]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("0,3,0,0,1,1,1", "visit '3' is no row of the truth, 1 to 2"),
        ("0,0,0,0,1,1,1", "visit '0' is no row of the truth, 1 to 2"),
        ("0,1,5,0,1,1,1", "a box needs x1 < x2"),
        ("0,1,0,0,1,1,2", "visible is from 0 to 1"),
        ("0,1,0,0,1,inf,1", "'inf' is no number"),
    ],
)
def test_boxes_that_make_no_sense(tmp_path: Path, row: str, message: str) -> None:
    path = table(tmp_path, f"time,visit,x1,y1,x2,y2,visible\n{row}\n")
    with pytest.raises(InputError) as caught:
        read_boxes_table(path, 2)
    assert f"truth.csv:2: {message}" in str(caught.value) or message in str(caught.value)
    assert ":2:" in str(caught.value)
