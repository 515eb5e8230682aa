"""The template of all reports: one HTML file that needs no script, no font and no address."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Final, NamedTuple

from facekeep._internal.files import (
    find_existing,
    is_full,
    printable,
    private_folder,
    why,
    write_whole,
)
from facekeep._version import __version__
from facekeep.errors import InputError, StorageFull
from facekeep.lab.evaluate.plots import require_matplotlib

__all__ = [
    "Picture",
    "Table",
    "check_report",
    "format_figures",
    "format_picture",
    "format_table",
    "write_report",
]

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


class Table(NamedTuple):
    """A table for people.

    Attributes:
        caption: What it is, where that does not go without saying.
        headers: The names of the columns.
        rows: The cells.
    """

    caption: str
    headers: tuple[str, ...]
    rows: list[list[str]]


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture of a report.

    Attributes:
        file: Its file name.
        title: A few words.
        caption: What it means.
        data: The encoded picture.
        pairs: The comparisons it shows: place, cosine and names of the two images.
    """

    file: str
    title: str
    caption: str
    data: bytes
    pairs: tuple[tuple[str, str, str, str], ...] = ()

    @property
    def media_type(self) -> str:
        """What kind of file it is."""
        return "image/jpeg" if self.file.endswith(".jpg") else "image/png"


def check_report(folder: Path) -> None:
    """Make sure that a report can be written, before there is anything to write.

    Raises:
        InputError: The folder cannot be made or used.
        RuntimeUnavailable: matplotlib is not installed.
    """
    require_matplotlib()
    nearest = find_existing(folder)
    if not nearest.is_dir() or not os.access(nearest, os.W_OK):
        where = printable(nearest)
        raise InputError(f"{where}: no report can be written there; name another folder")


def write_report(
    folder: Path,
    title: str,
    sections: Sequence[str],
    pictures: Sequence[Picture],
    command: str,
    *,
    faces: bool = True,
) -> Path:
    """Write a report, and its pictures beside it as files, for the eyes of their owner alone.

    The same parts give the same bytes: nothing in it tells when or where it was made.

    Args:
        folder: Where to; it is made where it is missing.
        title: What the window is called.
        sections: HTML, one after the other; the pictures must be in it, by ``format_picture``.
        pictures: The pictures in it.
        command: The command line that made it.
        faces: There are pictures of faces among them.

    Returns:
        The HTML file.

    Raises:
        InputError: The folder cannot be written.
        StorageFull: There is no room.
    """
    page = "\n".join(
        [
            _HEAD.format(title=escape(title), css=_CSS),
            *sections,
            "<h2>How this was made</h2>",
            f"<p><code>{escape(printable(command))}</code></p>",
            _FOOT.format(version=escape(__version__), caution=_FACES if faces else ""),
        ]
    )
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


def format_figures(tables: Iterable[Table]) -> str:
    """Write tables of figures, each below its caption."""
    parts = [
        (f"<p>{escape(table.caption)}</p>" if table.caption else "")
        + format_table(table.headers, table.rows)
        for table in tables
    ]
    return '<div class="figures">' + "\n".join(parts) + "</div>"


def format_table(headers: Iterable[str], rows: Iterable[Sequence[str]]) -> str:
    """Write a table."""
    head = "".join(f"<th>{escape(text)}</th>" for text in headers)
    body = "\n".join("<tr>" + "".join(map(_format_cell, row)) + "</tr>" for row in rows)
    return (
        f'<div class="wide"><table><thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody></table>'
        "</div>"
    )


def _format_cell(text: str) -> str:
    return f"<td>{escape(printable(text)) if text else ''}</td>"


def format_picture(picture: Picture) -> str:
    """Write a picture with its title and caption, and the names of what it compares."""
    encoded = base64.b64encode(picture.data).decode()
    names = ""
    if picture.pairs:
        table = format_table(["", "cosine", "left", "right"], picture.pairs)
        names = f"<details><summary>Names of the images</summary>{table}</details>"
    return (
        f"<h3>{escape(picture.title)}</h3>\n<figure>"
        f'<img alt="{escape(f"{picture.title}: {picture.caption}")}"'
        f' src="data:{picture.media_type};base64,{encoded}">'
        f"<figcaption>{escape(picture.caption)}</figcaption></figure>{names}"
    )
