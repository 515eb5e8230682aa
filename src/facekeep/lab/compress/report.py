"""The report of a chain: what each step gained and lost, and the picture of the trade-off."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Final

from facekeep._internal.files import printable
from facekeep.lab.compress.chain import Done, StepDone
from facekeep.lab.compress.measure import Facts
from facekeep.lab.compress.tradeoff import draw_tradeoff, measure_of
from facekeep.lab.compress.words import HEADERS, remarks, row
from facekeep.lab.evaluate.page import figures_html, html_page, picture_html, table_html, write_page
from facekeep.lab.evaluate.pictures import Picture
from facekeep.lab.evaluate.words import Table

__all__ = ["write_report"]

_METHOD: Final = (
    "Latency is the median time of the bare network for one face; all networks of the table ran in"
    " turns in one process, so that their ratios hold for this machine. MMACs are millions of"
    " multiply-accumulates of one face. Cosine compares the embeddings of the same faces with the"
    " original's: its mean, and what 99 of 100 faces exceed. TAR is the share of the comparisons of"
    " one person that are accepted at a false-match rate of 1e-3."
)
_TRADE_OFF: Final = (
    "Across what a network costs, upwards how good it is: the upper left corner is better."
    " Dots: the chain, joined by the dotted line; squares: further models. The dashed line joins"
    " those that no other one beats in both (Pareto's front)."
)


def write_report(folder: Path, done: Done, command: str) -> Path:
    """Write the report of a chain.

    Args:
        folder: Where to; it is made where it is missing.
        done: What became of the chain.
        command: The command line that made it.

    Returns:
        The HTML file. The picture inside it also stands beside it as a file.

    Raises:
        InputError: The folder cannot be written.
        RuntimeUnavailable: matplotlib is not installed.
        StorageFull: There is no room.
    """
    pictures = _pictures(done.facts, len(done.steps))
    title = f"{done.before.name} → {done.entry.name}"
    page = html_page(
        title,
        [
            f"<h1>{escape(title)}</h1>",
            f'<p class="sub">{escape(" → ".join(each.step.kind for each in done.steps))}</p>',
            "<h2>Figures</h2>",
            figures_html([Table("", ("model", *HEADERS), [row(f.name, f) for f in done.facts])]),
            *(f"<p>{escape(printable(remark))}.</p>" for remark in remarks(done)),
            f"<p>{escape(_METHOD)}</p>",
            *map(picture_html, pictures),
            "<h2>Steps</h2>",
            *map(_step_html, done.steps),
            "<h2>How this was made</h2>",
            f"<p><code>{escape(printable(command))}</code></p>",
        ],
        faces=False,
    )
    return write_page(folder, page, pictures)


def _pictures(facts: tuple[Facts, ...], steps: int) -> list[Picture]:
    measure = measure_of(facts)
    if measure is None:
        return []
    drawn = draw_tradeoff(facts, steps, measure)
    return [Picture("trade-off.png", "What it costs, and what it can do", _TRADE_OFF, drawn)]


def _step_html(done: StepDone) -> str:
    """Tell of one step: what was done, before and after."""
    told = "".join(f"<p>{escape(printable(each))}.</p>" for each in done.made.remarks)
    rows = [row("before", done.before), row("after", done.after)]
    return (
        f"<h3>{escape(done.step.kind)}</h3><p>{escape(printable(done.made.told))}.</p>{told}"
        f'<div class="figures">{table_html(("", *HEADERS), rows)}</div>'
    )
