"""What is printed: JSON that every reader takes, tables and progress that fit where they go."""

from __future__ import annotations

import io
import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facekeep.cli import output


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def emitted(capsys):
    def emit(document):
        output.emit_json(document)
        text = capsys.readouterr().out
        assert text.count("\n") == 1
        return json.loads(text)

    return emit


def test_numpy_and_paths_become_plain_json(emitted):
    document = {
        "box": np.array([[1, 2.5]], np.float32),
        "score": np.float32(0.1),
        "n": np.int64(3),
        "yes": np.bool_(True),
        "path": Path("/a/b"),
        "pair": (1, None),
    }
    assert emitted(document) == {
        "box": [[1.0, 2.5]],
        "score": 0.1,
        "n": 3,
        "yes": True,
        "path": "/a/b",
        "pair": [1, None],
    }


def test_what_is_counted():
    counted = [output.counted(n, "photo") for n in (0, 1, 2)]
    assert counted == ["0 photos", "1 photo", "2 photos"]
    assert [output.counted(n, "person", "people") for n in (1, 2)] == ["1 person", "2 people"]


def test_keys_keep_their_order_and_letters_their_form(capsys):
    output.emit_json({"b": "Zoë", "a": "李"})
    assert capsys.readouterr().out == '{"b": "Zoë", "a": "李"}\n'


@pytest.mark.parametrize(
    ("value", "printed"),
    [
        (float(np.float32(0.1)), 0.1),
        (1e-9, 1e-9),
        (123456.789, 123456.8),
        (1767225600.123456, 1767225600.123),
        (-0.0, 0.0),
        (math.nan, None),
        (math.inf, None),
        (-math.inf, None),
    ],
)
def test_floats_keep_seven_digits_and_stay_json(emitted, value, printed):
    assert emitted({"x": value})["x"] == printed


def test_a_value_that_is_not_plain_is_a_bug_not_a_guess():
    with pytest.raises(TypeError):
        output.emit_json({"x": object()})


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "ascii", "cp1252"])
def test_json_can_be_read_back_whatever_the_terminal_speaks(monkeypatch, encoding):
    buffer = io.BytesIO()
    stream = io.TextIOWrapper(buffer, encoding=encoding, errors="backslashreplace")
    monkeypatch.setattr(sys, "stdout", stream)
    document = {"name": "Zoë 李", "path": Path("\udcff.jpg")}
    output.emit_json(document)
    assert json.loads(buffer.getvalue().decode("utf-8")) == {"name": "Zoë 李", "path": "\udcff.jpg"}


@given(st.text(st.characters(exclude_categories=())))
def test_any_text_fits_on_one_line(text):
    line = output.one_line(text)
    assert len(line.splitlines()) <= 1
    assert not any(ord(c) < 32 or 127 <= ord(c) < 160 or 0xD800 <= ord(c) < 0xE000 for c in line)


def test_names_that_need_joiners_stay_as_they_are():
    for name in ("می‌خواهم", "👩‍🔬", "Zoë", "e\u0301"):
        assert output.one_line(name) == name


def test_tables_elsewhere_are_aligned_plain_text(capsys):
    output.print_table(
        ["name", "n"], [["Ada", 1], ["李明", 22], ["e\u0301", None], ["x\x1b[2J", 3]]
    )
    assert capsys.readouterr().out.splitlines() == [
        "name      n",
        "Ada       1",
        "李明      22",
        "e\u0301",
        "x\\x1b[2J  3",
    ]


def test_a_table_without_rows_is_its_headers(capsys):
    output.print_table(["name", "n"], [])
    assert capsys.readouterr().out == "name  n\n"


def test_tables_on_a_terminal_show_every_cell_and_no_markup(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    output.print_table(["name"], [["[red]Ada[/red]"], ["x\x1b[2J"]])
    assert "[red]Ada[/red]" in terminal.getvalue()
    assert "\x1b[2J" not in terminal.getvalue()


def test_a_narrow_terminal_loses_nothing(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("COLUMNS", "20")
    path = "/" + "abcdefghij" * 6
    output.print_table(["path", "n"], [[path, 1]])
    letters = "".join(c for c in terminal.getvalue().split("─")[-1] if c in path)
    assert letters == path


def clock(*times: float):
    ticks = iter(times)
    return lambda: next(ticks)


def test_progress_elsewhere_is_a_line_every_few_seconds(capsys):
    # The clock is read at the start, at each step, and again where a line is printed.
    with output.progress("Reading", 4, clock=clock(0, 1, 6, 6, 7, 12, 12)) as advance:
        for _ in range(4):
            advance(1)
    assert capsys.readouterr() == ("", "Reading: 2 of 4\nReading: 4 of 4\n")


def test_progress_without_a_known_end_counts(capsys):
    with output.progress("Reading", clock=clock(0, 9, 9)) as advance:
        advance(7)
    assert capsys.readouterr().err == "Reading: 7\n"


def test_progress_in_a_unit_tells_the_speed_and_the_time_left(capsys):
    with output.progress("Training", 7400, unit="images", clock=clock(0, 1, 10, 10)) as advance:
        advance(0)
        advance(200)
    assert capsys.readouterr().err == "Training: 200 of 7400 images, 20 images/s, 0:06:00 left\n"


def test_progress_in_a_unit_without_an_end_tells_the_speed(capsys):
    with output.progress("Training", unit="images", clock=clock(0, 5, 5, 11, 11)) as advance:
        advance(0)
        advance(22)
    assert capsys.readouterr().err == "Training: 0\nTraining: 22 images, 2 images/s\n"


def test_a_bar_in_a_unit_shows_the_speed(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    with output.progress("Training", 3, unit="images") as advance:
        for _ in range(3):
            advance(1)
    assert "images/s" in terminal.getvalue()


def test_silent_progress_is_silent(capsys):
    with output.progress("Reading", 2, silent=True, clock=clock()) as advance:
        advance(1)
    assert capsys.readouterr() == ("", "")


def test_a_bar_takes_nothing_from_a_stdout_that_goes_elsewhere(monkeypatch, capsys):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with output.progress("Reading", 1) as advance:
        output.say("an answer")
        advance(1)
    assert capsys.readouterr().out == "an answer\n"
    assert "an answer" not in terminal.getvalue()


def test_progress_on_a_terminal_is_a_bar_that_leaves_nothing_on_errors(monkeypatch, capsys):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")

    def work():
        with output.progress("[red]Reading", 2) as advance:
            advance(1)
            raise KeyError("stop")

    with pytest.raises(KeyError):
        work()
    assert "[red]Reading" in terminal.getvalue()
    assert "1/2" in terminal.getvalue()
    assert terminal.getvalue().endswith("\x1b[2K"), "the bar is wiped away"
    assert capsys.readouterr().out == ""


STEERING = [chr(code) for code in (*range(0x20), *range(0x7F, 0xA0), 0x61C, 0x200E, 0x200F)]
STEERING += [chr(code) for code in (0x2028, 0x2029, *range(0x202A, 0x202F), *range(0x2066, 0x206A))]
STEERING += ["\ud800", "\udcff"]


@pytest.mark.parametrize("character", STEERING, ids=lambda each: f"U+{ord(each):04X}")
def test_nothing_that_steers_a_terminal_is_printed(capsys, character):
    name = f"a{character}b"
    output.emit_json({name: [name], "path": Path(name)})
    output.say(name)
    output.print_table(["name"], [[name]])
    printed = capsys.readouterr().out
    assert character == "\n" or character not in printed
    as_json, text, *table = printed.removesuffix("\n").split("\n")
    assert json.loads(as_json) == {name: [name], "path": name}, "a reader gets what was meant"
    assert as_json.isprintable()
    assert text.startswith("a\\")
    assert table == ["name", text]


def test_letters_and_pictures_of_all_scripts_are_left_as_they_are(capsys):
    names = ["Zoë", "李", "می\u200cروم", "👩\u200d🔬", "ﷺ"]
    output.emit_json({"names": names})
    assert capsys.readouterr().out == json.dumps({"names": names}, ensure_ascii=False) + "\n"
