"""The report of an evaluation of models: figures, pictures, and what they mean."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Final

from facekeep._internal.files import printable
from facekeep.lab.evaluate.page import figures_html, html_page, picture_html, table_html, write_page
from facekeep.lab.evaluate.pictures import Picture, draw_pictures
from facekeep.lab.evaluate.result import Outcome, Result
from facekeep.lab.evaluate.words import (
    METHOD,
    PROTOCOLS,
    counts_text,
    failures_text,
    remarks,
    tables,
)

__all__ = ["render", "write_report"]

_WORDS: Final[dict[object, str]] = {True: "yes", False: "no", None: "none"}
_LISTED: Final = 200  # failures, before the rest are only counted


def write_report(folder: Path, outcomes: Sequence[Outcome], command: str) -> Path:
    """Draw the pictures of one or several models under one protocol, and write the report.

    The same outcomes give the same bytes: nothing in it tells when or where it was made.

    Args:
        folder: Where to; it is made where it is missing.
        outcomes: One for each model.
        command: The command line that made it.

    Returns:
        The HTML file. The pictures inside it also stand beside it as files.

    Raises:
        InputError: The folder cannot be written.
        RuntimeUnavailable: matplotlib is not installed.
        StorageFull: There is no room.
    """
    pictures = draw_pictures(outcomes)
    page = render(outcomes, pictures, command)
    return write_page(folder, page, pictures)


def render(outcomes: Sequence[Outcome], pictures: Sequence[Picture], command: str) -> str:
    """Write the page.

    Args:
        outcomes: One for each model.
        pictures: What ``draw_pictures`` gave.
        command: The command line that made it.

    Returns:
        HTML.
    """
    results = [outcome.result for outcome in outcomes]
    first = results[0]
    title, meaning = PROTOCOLS[first.protocol]
    models = ", ".join(result.model for result in results)
    return html_page(
        f"{title}: {models}",
        [
            f"<h1>{escape(title)}</h1>",
            f'<p class="sub">{escape(models)} on {escape(printable(first.data))}</p>',
            f"<p>{escape(meaning)}</p>",
            _facts(results),
            "<h2>Figures</h2>",
            figures_html(tables(results)),
            *(f"<p>{escape(remark)}.</p>" for result in results for remark in remarks(result)),
            f"<p>{escape(METHOD)}</p>",
            "<h2>Pictures</h2>",
            *map(picture_html, pictures),
            "<h2>Images that gave no face</h2>",
            _failures(first),
            "<h2>How this was made</h2>",
            f"<p><code>{escape(printable(command))}</code></p>",
        ],
    )


def _facts(results: Sequence[Result]) -> str:
    first = results[0]
    rows = [
        ("compared", counts_text(first)),
        ("no face taken", failures_text(first)),
        *((key, _WORDS.get(value, str(value))) for key, value in first.settings.items()),
    ]
    cells = "".join(f"<tr><th>{escape(k)}</th><td>{escape(v)}</td></tr>" for k, v in rows)
    return f'<div class="wide"><table>{cells}</table></div>'


def _failures(result: Result) -> str:
    if not result.failures:
        return "<p>None.</p>"
    rows = [[each.name, each.reason] for each in result.failures[:_LISTED]]
    more = len(result.failures) - len(rows)
    rest = f"<p>And {more:,} more.</p>" if more > 0 else ""
    return table_html(["image", "why"], rows) + rest
