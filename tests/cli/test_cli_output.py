"""What is printed: JSON that every reader takes, tables and progress that fit where they go."""

from __future__ import annotations

import io
import json
import math
import sys
from datetime import UTC, datetime
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
    counted = [output.format_count(n, "photo") for n in (0, 1, 2)]
    assert counted == ["0 photos", "1 photo", "2 photos"]
    assert [output.format_count(n, "person", "people") for n in (1, 2)] == ["1 person", "2 people"]


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
    line = output.escape_line(text)
    assert len(line.splitlines()) <= 1
    assert not any(ord(c) < 32 or 127 <= ord(c) < 160 or 0xD800 <= ord(c) < 0xE000 for c in line)


def test_names_that_need_joiners_stay_as_they_are():
    for name in ("می‌خواهم", "👩‍🔬", "Zoë", "e\u0301"):
        assert output.escape_line(name) == name


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
    assert terminal.getvalue().splitlines()[1] == "─" * 14
    assert "[red]Ada[/red]" in terminal.getvalue()
    assert "\x1b[2J" not in terminal.getvalue()


@pytest.mark.parametrize("columns", ["20", "80"])
def test_a_wide_table_is_folded_between_words_and_never_in_one(capsys, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", columns)
    number = "7f6c0d0a-1111-4222-8333-444455556666"
    said = "a sentence of many words that goes on and on, far beyond the end of the line"
    rows = [[number, said, 1], ["李明 李明", "short", 22]]
    output.print_table(["id", "text", "n"], rows)
    assert len(capsys.readouterr().out.splitlines()) == 3, "elsewhere a row is a line"
    output.print_table(["id", "text", "n"], rows, fold=True)
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith(f"{number}  ") for line in lines)
    assert " ".join(" ".join(line[38:].split()) for line in lines[1:]).count("sentence") == 1
    if columns == "80":
        assert max(map(len, lines)) <= 80
        assert len(lines) == 4
        assert lines[1].endswith("  1")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        (True, "yes"),
        (1e-5, "1e-5"),
        (1e-4, "0.0001"),
        (127.5, "127.5"),
        ({"new": True, "templates": 1}, "new yes, templates 1"),
        ([1e-6, "a", None], "1e-6; a; "),
        (datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), "2026-01-02 03:04 UTC"),
    ],
)
def test_values_are_told_in_words(capsys, value, text):
    assert output.format_value(value) == text
    output.print_table(["a"], [[value]])
    assert capsys.readouterr().out == f"a\n{text}".rstrip() + "\n" * (1 + (not text))


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 bytes"),
        (1, "1 byte"),
        (999, "999 bytes"),
        (1000, "1.0 kB"),
        (1_310_000, "1.3 MB"),
        (38_739_695, "39 MB"),
        (999_600_000, "1.0 GB"),
        (5_200_000_000_000, "5.2 TB"),
    ],
)
def test_sizes_are_as_people_write_them(count, text):
    assert output.format_size(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0 s"),
        (1.25, "1.2 s"),
        (35.2, "35 s"),
        (59.7, "1 min"),
        (125, "2 min"),
        (3600, "1 h"),
        (12_000, "3 h 20 min"),
        (200_000, "2 days"),
    ],
)
def test_times_are_as_people_write_them(seconds, text):
    assert output.format_time(seconds) == text


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
    assert capsys.readouterr().err == "Training: 200 of 7400 images, 20 images/s, 6 min left\n"


def test_progress_in_a_unit_without_an_end_tells_the_speed(capsys):
    with output.progress("Training", unit="images", clock=clock(0, 5, 5, 11, 11)) as advance:
        advance(0)
        advance(22)
    assert capsys.readouterr().err == "Training: 0\nTraining: 22 images, 2 images/s\n"


def test_progress_in_bytes_is_told_as_people_write_sizes(capsys):
    with output.progress("Pulling", 10_700_000, unit="bytes", clock=clock(0, 10, 10)) as advance:
        advance(4_200_000)
    assert capsys.readouterr().err == "Pulling: 4.2 MB of 11 MB, 420 kB/s, 15 s left\n"


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
