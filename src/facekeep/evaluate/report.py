"""A report as one HTML file that needs nothing else: no script, no font, no address."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import Final

from facekeep._files import is_full, printable, why, write_whole
from facekeep._version import __version__
from facekeep.errors import InputError, StorageFull
from facekeep.evaluate.pictures import Picture, draw_pictures
from facekeep.evaluate.plots import require_matplotlib
from facekeep.evaluate.result import Outcome, Result
from facekeep.evaluate.words import METHOD, PROTOCOLS, counts_text, failures_text, remarks, tables

__all__ = ["check_report", "render", "write_report"]

PAGE: Final = "report.html"
_WORDS: Final[dict[object, str]] = {True: "yes", False: "no", None: "none"}
_LISTED: Final = 200  # failures, before the rest are only counted

_CSS: Final = """
:root { color-scheme: light dark; --ink: #1b1b1b; --paper: #fff; --soft: #666; --rule: #ccc; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e6e6; --paper: #16181b; --soft: #a2a2a2; --rule: #444; }
}
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
  max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h1 { margin-bottom: 0; line-height: 1.2; }
h2 { margin-top: 2.5rem; border-bottom: 1px solid var(--rule); }
p.sub, figcaption, footer { color: var(--soft); }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; margin: 1rem 0; }
th, td { text-align: left; padding: .25rem .9rem .25rem 0; border-bottom: 1px solid var(--rule);
  vertical-align: top; }
th { font-weight: 600; }
th, .figures td { white-space: nowrap; }
td { overflow-wrap: anywhere; }
figure { margin: 1.5rem 0; break-inside: avoid; }
figure img { max-width: 100%; background: #fff; border-radius: 6px; padding: .5rem;
  box-sizing: border-box; }
details { font-size: .9rem; }
code { font: .9em ui-monospace, monospace; overflow-wrap: anywhere; }
@media print {
  :root { --ink: #000; --paper: #fff; --soft: #444; --rule: #999; }
  body { margin: 0; max-width: none; font-size: 11pt; }
  h2, h3 { break-after: avoid; }
  .wide { overflow: visible; }
  table { font-size: 8.5pt; }
  tr { break-inside: avoid; }
  figure img { max-height: 20cm; padding: 0; }
}
"""

_HEAD: Final = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
  content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{title}</title>
<style>{css}</style>
</head>
<body>
"""


def check_report(folder: Path) -> None:
    """Make sure that a report can be written, before there is anything to write.

    Raises:
        InputError: The folder cannot be made or used.
        RuntimeUnavailable: matplotlib is not installed.
    """
    require_matplotlib()
    nearest = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK):
        where = printable(nearest)
        raise InputError(f"{where}: no report can be written there; name another folder")


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
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for picture in pictures:
            write_whole(folder / picture.file, picture.data)
        write_whole(folder / PAGE, page.encode())
    except OSError as error:
        if is_full(error):
            raise StorageFull(f"{printable(folder)}: no room for the report") from error
        raise InputError(f"{printable(folder)}: cannot be written: {why(error)}") from error
    return folder / PAGE


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
    parts = [
        _HEAD.format(title=escape(f"{title}: {models}"), css=_CSS),
        f"<h1>{escape(title)}</h1>",
        f'<p class="sub">{escape(models)} on {escape(printable(first.data))}</p>',
        f"<p>{escape(meaning)}</p>",
        _facts(results),
        "<h2>Figures</h2>",
        f'<div class="figures">{_figures(results)}</div>',
        *(f"<p>{escape(remark)}.</p>" for result in results for remark in remarks(result)),
        f"<p>{escape(METHOD)}</p>",
        "<h2>Pictures</h2>",
        *map(_picture, pictures),
        "<h2>Images that gave no face</h2>",
        _failures(first),
        "<h2>How this was made</h2>",
        f"<p><code>{escape(printable(command))}</code></p>",
        f"<footer><p>facekeep {escape(__version__)}. The faces in this report are those of real"
        " people: treat it like the photos themselves.</p></footer>",
        "</body>",
        "</html>",
        "",
    ]
    return "\n".join(parts)


def _facts(results: Sequence[Result]) -> str:
    first = results[0]
    rows = [
        ("compared", counts_text(first)),
        ("no face taken", failures_text(first)),
        *((key, _WORDS.get(value, str(value))) for key, value in first.settings.items()),
    ]
    cells = "".join(f"<tr><th>{escape(k)}</th><td>{escape(v)}</td></tr>" for k, v in rows)
    return f'<div class="wide"><table>{cells}</table></div>'


def _figures(results: Sequence[Result]) -> str:
    return "\n".join(
        (f"<p>{escape(table.caption)}</p>" if table.caption else "")
        + _table(table.headers, table.rows)
        for table in tables(results)
    )


def _table(headers: Iterable[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(text)}</th>" for text in headers)
    body = "\n".join(
        "<tr>" + "".join(f"<td>{escape(printable(cell))}</td>" for cell in row) + "</tr>"
        for row in rows
    )
    return (
        f'<div class="wide"><table><thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody></table>'
        "</div>"
    )


def _picture(picture: Picture) -> str:
    encoded = base64.b64encode(picture.data).decode()
    names = ""
    if picture.pairs:
        table = _table(["", "cosine", "left", "right"], picture.pairs)
        names = f"<details><summary>Names of the images</summary>{table}</details>"
    return (
        f"<h3>{escape(picture.title)}</h3>\n<figure>"
        f'<img alt="{escape(f"{picture.title}: {picture.caption}")}"'
        f' src="data:{picture.media_type};base64,{encoded}">'
        f"<figcaption>{escape(picture.caption)}</figcaption></figure>{names}"
    )


def _failures(result: Result) -> str:
    if not result.failures:
        return "<p>None.</p>"
    rows = [[each.name, each.reason] for each in result.failures[:_LISTED]]
    more = len(result.failures) - len(rows)
    rest = f"<p>And {more:,} more.</p>" if more > 0 else ""
    return _table(["image", "why"], rows) + rest
