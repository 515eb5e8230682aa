"""What the command line prints: JSON, text, tables, progress and log lines."""

from __future__ import annotations

import json
import logging
import sys
import time
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from os import PathLike, fspath
from typing import Any, Final, TextIO

__all__ = [
    "counted",
    "emit_json",
    "one_line",
    "plain",
    "print_table",
    "progress",
    "say",
    "set_up_logging",
]

PLAIN_PROGRESS_SECONDS: Final = 5.0
"""Seconds between lines of progress where no bar can be drawn."""

_BIDI_CONTROLS: Final = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
"""They reorder the text around them, so that a name could forge a line."""


def one_line(text: object) -> str:
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
    print(one_line(text), file=stream)


def counted(number: int, one: str, many: str = "") -> str:
    """Say how many there are of something: "1 photo", "2 photos", "3 people"."""
    return f"{number} {one if number == 1 else many or one + 's'}"


def emit_json(document: Mapping[str, Any]) -> None:
    """Print a document as one line of JSON, keys in their own order, in UTF-8 or else in ASCII.

    Values are those of ``plain``. What would steer a terminal, or is no text, is escaped.
    """
    encoding = getattr(sys.stdout, "encoding", None) or "ascii"
    ascii_only = encoding.lower().replace("-", "") != "utf8"
    text = json.dumps(plain(document), ensure_ascii=ascii_only, allow_nan=False)
    if not text.isprintable():
        text = "".join(c if _harmless(c) else _json_escaped(c) for c in text)
    print(text, flush=True)  # noqa: T201


def _json_escaped(character: str) -> str:
    """Escape a character as JSON does; all that need it stand inside strings."""
    return json.dumps(character)[1:-1]


def plain(value: Any) -> Any:
    """Make a document what JSON can hold.

    numpy values become plain ones, paths become strings, floats keep seven significant digits,
    values that JSON lacks (NaN and the infinities) become null.
    """
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return _rounded(value)
    if isinstance(value, PathLike):
        return fspath(value)
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    return value


def _rounded(value: float) -> float | None:
    """Seven significant digits, what float32 holds; large numbers keep their integer part."""
    if value - value != 0:
        return None
    return float(f"{value:.7g}") if abs(value) < 1e6 else round(value, 3)


def print_table(headers: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print rows under headers: drawn on a terminal, aligned plain text elsewhere."""
    cells = [[one_line("" if cell is None else cell) for cell in row] for row in rows]
    if sys.stdout.isatty():
        _print_rich_table(headers, cells)
        return
    columns = list(zip(headers, *cells, strict=True))
    widths = [max(map(_width, column)) for column in columns]
    for row in [list(headers), *cells]:
        padded = [cell + " " * (n - _width(cell)) for cell, n in zip(row, widths, strict=True)]
        print("  ".join(padded).rstrip())  # noqa: T201


def _width(text: str) -> int:
    """Columns that a text takes on a terminal: East Asian wide letters take two, accents none."""
    wide = sum(unicodedata.east_asian_width(c) in "WF" for c in text)
    return len(text) + wide - sum(unicodedata.combining(c) > 0 for c in text)


def _print_rich_table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, header_style="bold")
    for header, *column in zip(headers, *rows, strict=True):
        whole = all(len(cell) <= 36 and not cell.count(" ") for cell in column)
        table.add_column(header, overflow="fold", no_wrap=whole)
    for row in rows:
        table.add_row(*map(Text, row))
    Console().print(table)


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
        unit: What a step is, such as "images"; with it the steps a second are shown.
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
            return Text(f"{task.speed:,.0f} {unit}/s" if unit and task.speed else "")

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        Speed(),
        TimeRemainingColumn(),
    )
    # Lines printed meanwhile go above the bar; but not those that stdout carries somewhere else.
    above = sys.stdout.isatty()
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, redirect_stdout=above) as bar:
        task = bar.add_task(one_line(description), total=total)
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
            of = "" if total is None else f" of {total}"
            speed = _speed(done, total, unit, shown - begun)
            say(f"{description}: {done}{of}{speed}", sys.stderr)

    return advance


def _speed(done: int, total: int | None, unit: str, seconds: float) -> str:
    """Say how fast it goes and, where the end is known, how long it will take from now on."""
    if not unit or not done:
        return ""
    speed = f" {unit}, {done / seconds:,.0f} {unit}/s"
    if total is None:
        return speed
    left = timedelta(seconds=round((total - done) * seconds / done))
    return f"{speed}, {left} left"


class _LogHandler(logging.Handler):
    """Prints log records as single lines on whatever stderr is at that moment."""

    def emit(self, record: logging.LogRecord) -> None:
        say(f"facekeep: {record.levelname.lower()}: {self.format(record)}", sys.stderr)


def set_up_logging(*, verbose: bool = False, quiet: bool = False) -> None:
    """Send facekeep's own log to stderr: warnings, with ``verbose`` everything, or errors only."""
    logger = logging.getLogger("facekeep")
    logger.handlers[:] = [_LogHandler()]
    logger.setLevel(logging.DEBUG if verbose else logging.ERROR if quiet else logging.WARNING)
