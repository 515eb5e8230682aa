"""What the command line prints: JSON, text, tables, progress and log lines."""

from __future__ import annotations

import itertools
import json
import logging
import re
import shutil
import sys
import time
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from os import PathLike, fspath
from typing import Any, Final, TextIO

from facekeep.cli.hints import add_hint

__all__ = [
    "BYTES",
    "emit_json",
    "escape_line",
    "format_count",
    "format_size",
    "format_time",
    "format_value",
    "print_table",
    "progress",
    "say",
    "set_up_logging",
    "to_plain",
]

PLAIN_PROGRESS_SECONDS: Final = 5.0
"""Seconds between lines of progress where no bar can be drawn."""

BYTES: Final = "bytes"
"""The unit of progress that is shown in kB, MB and GB."""

_BIDI_CONTROLS: Final = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
"""They reorder the text around them, so that a name could forge a line."""


def escape_line(text: object) -> str:
    """Make any text safe to print on one line: control characters and line ends are escaped.

    Names of files and of people come from outside; an escape sequence in one must not reach the
    terminal.
    """
    return "".join(c if _harmless(c) else _escaped(c) for c in str(text))


def _harmless(character: str) -> bool:
    return (
        unicodedata.category(character) not in ("Cc", "Cs", "Zl", "Zp")
        and character not in _BIDI_CONTROLS
    )


def _escaped(character: str) -> str:
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")


def say(text: object, stream: TextIO | None = None) -> None:
    """Print a text as one line, on stdout unless another stream is given."""
    print(escape_line(text), file=stream)


def format_count(number: int, one: str, many: str = "") -> str:
    """Say how many there are of something: "1 photo", "2 photos", "3 people"."""
    return f"{number} {one if number == 1 else many or one + 's'}"


def emit_json(document: Mapping[str, Any]) -> None:
    """Print a document as one line of JSON, keys in their own order, in UTF-8 or else in ASCII.

    Values are those of ``to_plain``. What would steer a terminal, or is no text, is escaped.
    """
    encoding = getattr(sys.stdout, "encoding", None) or "ascii"
    ascii_only = encoding.lower().replace("-", "") != "utf8"
    text = json.dumps(to_plain(document), ensure_ascii=ascii_only, allow_nan=False)
    if not text.isprintable():
        text = "".join(c if _harmless(c) else _json_escaped(c) for c in text)
    print(text, flush=True)  # noqa: T201


def _json_escaped(character: str) -> str:
    """Escape a character as JSON does; all that need it stand inside strings."""
    return json.dumps(character)[1:-1]


def to_plain(value: Any) -> Any:
    """Make a document what JSON can hold.

    numpy values become plain ones, paths become strings, floats keep seven significant digits,
    values that JSON lacks (NaN and the infinities) become null.
    """
    if isinstance(value, Mapping):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_plain(item) for item in value]
    if isinstance(value, float):
        return _rounded(value)
    if isinstance(value, PathLike):
        return fspath(value)
    if hasattr(value, "tolist"):
        return to_plain(value.tolist())
    return value


def _rounded(value: float) -> float | None:
    """Seven significant digits, what float32 holds; large numbers keep their integer part."""
    if value - value != 0:
        return None
    return float(f"{value:.7g}") if abs(value) < 1e6 else round(value, 3)


def print_table(
    headers: Sequence[str], rows: Sequence[Sequence[object]], *, fold: bool = False
) -> None:
    """Print rows under headers, aligned.

    On a terminal a table that is wider is folded between words, its widest columns first. No word
    is broken, so that ids and paths stay whole. Elsewhere a row stays one line, for other programs
    to read.

    Args:
        headers: The names of the columns.
        rows: The cells; see ``format_value``.
        fold: Fold it elsewhere too, to 80 columns: it holds sentences.
    """
    cells = [[escape_line(format_value(cell)) for cell in row] for row in rows]
    terminal = sys.stdout.isatty()
    room = shutil.get_terminal_size((80, 24)).columns if terminal or fold else sys.maxsize
    widths = _column_widths([list(headers), *cells], room)
    for number, row in enumerate([list(headers), *cells]):
        folded = [_folded(cell, width) for cell, width in zip(row, widths, strict=True)]
        for line in itertools.zip_longest(*folded, fillvalue=""):
            padded = [part + " " * (n - _width(part)) for part, n in zip(line, widths, strict=True)]
            print(_GAP.join(padded).rstrip())  # noqa: T201
        if terminal and number == 0:
            print("─" * (sum(widths) + len(_GAP) * (len(widths) - 1)))  # noqa: T201


_GAP: Final = "  "


def _column_widths(rows: Sequence[Sequence[str]], room: int) -> list[int]:
    """Choose the widths: as wide as the cells, the widest narrowed until all fit, if they can."""
    columns = list(zip(*rows, strict=True))
    widths = [max(map(_width, column)) for column in columns]
    least = [
        max(_width(word) for cell in column for word in _split_words(cell)) for column in columns
    ]
    room -= len(_GAP) * (len(columns) - 1)
    while sum(widths) > room:
        spare = [n if n > low else 0 for n, low in zip(widths, least, strict=True)]
        if not any(spare):
            break
        widths[spare.index(max(spare))] -= 1
    return widths


def _split_words(cell: str) -> list[str]:
    return cell.split(" ") or [""]


def _folded(cell: str, width: int) -> list[str]:
    """Write a cell on lines of a width, broken between words only."""
    lines = [""]
    for number, word in enumerate(_split_words(cell)):
        longer = f"{lines[-1]} {word}" if number else word
        if number and _width(longer) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def _width(text: str) -> int:
    """Columns that a text takes on a terminal: East Asian wide letters take two, accents none."""
    wide = sum(unicodedata.east_asian_width(c) in "WF" for c in text)
    return len(text) + wide - sum(unicodedata.combining(c) > 0 for c in text)


def format_value(value: object) -> str:
    """Write a value for people: no literals of Python in it.

    Lists and tables go on one line, what is missing leaves no trace, small rates are ``1e-5``.
    """
    if value is None or isinstance(value, bool):
        return "" if value is None else "yes" if value else "no"
    if isinstance(value, float):
        return re.sub(r"e([+-])0+", lambda m: "e-" if m[1] == "-" else "e", f"{value:.7g}")
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {format_value(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return "; ".join(map(format_value, value))
    if isinstance(value, datetime):
        return f"{value.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    return str(value)


def format_size(count: int) -> str:
    """Write a number of bytes as people do: "812 bytes", "1.3 MB"."""
    if count < 1000:
        return format_count(count, "byte")
    amount, unit = count / 1000, "kB"
    for larger in ("MB", "GB", "TB"):
        if amount < 999.5:
            break
        amount, unit = amount / 1000, larger
    return f"{amount:.1f} {unit}" if amount < 9.95 else f"{amount:.0f} {unit}"


def format_time(seconds: float) -> str:
    """Write a time as people do: "0.4 s", "35 s", "2 min", "3 h 20 min", "2 days"."""
    if seconds < 59.5:
        return f"{seconds:.1f} s" if seconds < 9.95 else f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    return format_count(round(hours / 24), "day")


@contextmanager
def progress(
    description: str,
    total: int | None = None,
    *,
    unit: str = "",
    silent: bool = False,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Callable[[int], None]]:
    """Show on stderr how far long work has come: a bar on a terminal, plain lines elsewhere.

    Args:
        description: What is being done.
        total: How many steps there are, where that is known.
        unit: What a step is, such as "images" or ``BYTES``; with it the speed is shown.
        silent: Show nothing.
        clock: Seconds, for the plain lines.

    Yields:
        A function to call with the number of steps done since the last call.
    """
    if silent:
        yield lambda steps: None
    elif sys.stderr.isatty():
        yield from _bar(description, total, unit)
    else:
        yield _plain_progress(description, total, unit, clock)


def _bar(description: str, total: int | None, unit: str) -> Iterator[Callable[[int], None]]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        Task,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.text import Text

    class Speed(ProgressColumn):
        def render(self, task: Task) -> Text:
            return Text(_rate(task.speed, unit) if unit and task.speed else "")

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn() if unit == BYTES else MofNCompleteColumn(),
        Speed(),
        TimeRemainingColumn(),
    )
    # Lines printed meanwhile go above the bar; but not those that stdout carries somewhere else.
    above = sys.stdout.isatty()
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, redirect_stdout=above) as bar:
        task = bar.add_task(escape_line(description), total=total)
        yield lambda steps: bar.advance(task, steps)


def _plain_progress(
    description: str, total: int | None, unit: str, clock: Callable[[], float]
) -> Callable[[int], None]:
    begun = shown = clock()
    done = 0

    def advance(steps: int) -> None:
        nonlocal done, shown
        done += steps
        if clock() - shown >= PLAIN_PROGRESS_SECONDS:
            shown = clock()
            amount = format_size if unit == BYTES else str
            of = "" if total is None else f" of {amount(total)}"
            speed = _speed(done, total, unit, shown - begun)
            say(f"{description}: {amount(done)}{of}{speed}", sys.stderr)

    return advance


def _speed(done: int, total: int | None, unit: str, seconds: float) -> str:
    """Say how fast it goes and, where the end is known, how long it will take from now on."""
    if not unit or not done:
        return ""
    speed = f"{'' if unit == BYTES else f' {unit}'}, {_rate(done / seconds, unit)}"
    if total is None:
        return speed
    return f"{speed}, {format_time((total - done) * seconds / done)} left"


def _rate(speed: float, unit: str) -> str:
    return f"{format_size(round(speed)) if unit == BYTES else f'{speed:,.0f} {unit}'}/s"


class _LogHandler(logging.Handler):
    """Prints log records as single lines on whatever stderr is at that moment."""

    def emit(self, record: logging.LogRecord) -> None:
        text = add_hint(self.format(record), getattr(record, "hint", None))
        say(f"facekeep: {record.levelname.lower()}: {text}", sys.stderr)


def set_up_logging(*, verbose: bool = False, quiet: bool = False) -> None:
    """Send facekeep's own log to stderr: warnings, with ``verbose`` everything, or errors only."""
    logger = logging.getLogger("facekeep")
    logger.handlers[:] = [_LogHandler()]
    logger.setLevel(logging.DEBUG if verbose else logging.ERROR if quiet else logging.WARNING)
