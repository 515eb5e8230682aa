"""A page as one HTML file that needs nothing else: no script, no font, no address."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import Final

from facekeep._internal.files import is_full, printable, private_folder, why, write_whole
from facekeep._version import __version__
from facekeep.errors import InputError, StorageFull
from facekeep.lab.evaluate.pictures import Picture
from facekeep.lab.evaluate.plots import require_matplotlib
from facekeep.lab.evaluate.words import Table

__all__ = ["check_report", "figures_html", "html_page", "picture_html", "table_html", "write_page"]

PAGE: Final = "report.html"

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


_FOOT: Final = """\
<footer><p>facekeep {version}.{caution}</p></footer>
</body>
</html>
"""
_FACES: Final = """ The faces in this report are those of real people: treat it like the
photos themselves."""


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


def html_page(title: str, parts: Sequence[str], *, faces: bool = True) -> str:
    """Put a page together.

    Args:
        title: What the window is called.
        parts: HTML, one after the other.
        faces: There are pictures of faces among them.
    """
    head = _HEAD.format(title=escape(title), css=_CSS)
    return "\n".join(
        [head, *parts, _FOOT.format(version=escape(__version__), caution=_FACES if faces else "")]
    )


def write_page(folder: Path, page: str, pictures: Sequence[Picture]) -> Path:
    """Write a page, and its pictures beside it as files, for the eyes of their owner alone.

    Args:
        folder: Where to; it is made where it is missing.
        page: By ``html_page``.
        pictures: The pictures in it.

    Returns:
        The HTML file.

    Raises:
        InputError: The folder cannot be written.
        StorageFull: There is no room.
    """
    try:
        private_folder(folder)
        for picture in pictures:
            write_whole(folder / picture.file, picture.data, private=True)
        write_whole(folder / PAGE, page.encode(), private=True)
    except OSError as error:
        if is_full(error):
            raise StorageFull(f"{printable(folder)}: no room for the report") from error
        raise InputError(f"{printable(folder)}: cannot be written: {why(error)}") from error
    return folder / PAGE


def figures_html(tables: Iterable[Table]) -> str:
    """Write tables of figures, each below its caption."""
    parts = [
        (f"<p>{escape(table.caption)}</p>" if table.caption else "")
        + table_html(table.headers, table.rows)
        for table in tables
    ]
    return '<div class="figures">' + "\n".join(parts) + "</div>"


def table_html(headers: Iterable[str], rows: Iterable[Sequence[str]]) -> str:
    """Write a table."""
    head = "".join(f"<th>{escape(text)}</th>" for text in headers)
    body = "\n".join("<tr>" + "".join(map(_cell, row)) + "</tr>" for row in rows)
    return (
        f'<div class="wide"><table><thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody></table>'
        "</div>"
    )


def _cell(text: str) -> str:
    return f"<td>{escape(printable(text)) if text else ''}</td>"


def picture_html(picture: Picture) -> str:
    """Write a picture with its title and caption, and the names of what it compares."""
    encoded = base64.b64encode(picture.data).decode()
    names = ""
    if picture.pairs:
        table = table_html(["", "cosine", "left", "right"], picture.pairs)
        names = f"<details><summary>Names of the images</summary>{table}</details>"
    return (
        f"<h3>{escape(picture.title)}</h3>\n<figure>"
        f'<img alt="{escape(f"{picture.title}: {picture.caption}")}"'
        f' src="data:{picture.media_type};base64,{encoded}">'
        f"<figcaption>{escape(picture.caption)}</figcaption></figure>{names}"
    )
