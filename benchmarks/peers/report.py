"""The results as tables and a picture in the documentation."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from .phases import SIZES
from .picture import draw
from .roster import ABSENT, PEERS, Peer

_BEGIN, _END = "<!-- results: written by the command above -->\n", "<!-- end of results -->\n"

Facts = Mapping[str, Any]


class Column(NamedTuple):
    """A column of a table.

    Attributes:
        heading: What it is called.
        key: Where its number is.
        text: How that is written.
        threads: Whether it depends on the limit of threads.
        most: Whether more is better.
        faces: Where the number of faces found is, and how many there are to be found.
    """

    heading: str
    key: str
    text: Callable[[float], str]
    threads: bool = True
    most: bool = False
    faces: tuple[str, int] | None = None


def _ms(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _mb(value: float) -> str:
    return f"{value / 1e6:,.0f}"


_SPEED = (
    Column("start-up", "start_ms", _ms),
    Column("frame, one face", "one_ms", _ms, faces=("one_faces", 1)),
    Column("frame, five faces", "five_ms", _ms, faces=("five_faces", 5)),
    Column("an aligned face", "embed_ms", _ms),
    Column("RSS, MB", "rss", _mb),
)
_CPU = tuple(
    column._replace(key=column.key.replace("_ms", "_cpu_ms"))
    for column in _SPEED
    if column.key in ("one_ms", "five_ms", "embed_ms")
)
_SIZE = (
    Column("installed, MB", "installed", _mb, threads=False),
    Column("LFW, %", "lfw", "{:.2f}".format, threads=False, most=True),
    Column("TAR at FMR 1e-3, %", "lfw_tar", "{:.2f}".format, threads=False, most=True),
    Column("photos without a face", "lfw_failed", "{:.0f}".format, threads=False),
)
_SEARCH = tuple(
    Column(f"{size:,}{what}", f"search_{size}{key}", _ms)
    for size in SIZES
    for what, key in (("", "_ms"), (", processor", "_cpu_ms"))
)


def publish(results: Facts, page: Path) -> None:
    """Write tables between the page's marks, and the picture and the results beside it.

    Args:
        results: What the race measured.
        page: The page, which has both marks.
    """
    picture = page.with_suffix(".png")
    draw(results["peers"], picture)
    page.with_suffix(".json").write_text(json.dumps(results, indent=1, sort_keys=True) + "\n")
    before, _, rest = page.read_text().partition(_BEGIN)
    _, _, after = rest.partition(_END)
    page.write_text(before + _BEGIN + "\n" + text(results, picture.name) + "\n" + _END + after)


def text(results: Facts, picture: str) -> str:
    """The tables in Markdown."""
    facts = results["peers"]
    machine = results["machine"]
    parts = [
        f"Measured on {machine['date']}: {machine['processor']}, {machine['cores']} cores, Python"
        f" {machine['python']}, facekeep {machine['facekeep']}; the load of the machine was"
        f" {machine['load']}. The best of each column is bold.\n",
        f"![The race in pictures]({picture})\n",
        "### One thread\n",
        "Milliseconds, medians.\n",
        table(facts, (*_SPEED, *_SIZE), "one"),
        "Processor time of the same calls, in milliseconds: what they take on a machine that has"
        " nothing else to do, or nearly.\n",
        table(facts, _CPU, "one"),
        "### As many threads as each library takes by itself\n",
        table(facts, _SPEED, "all"),
        "### Search for one among so many people\n",
        "Milliseconds by the clock and of the processor, first on one thread, then on all; one"
        " template a person.\n",
        table(facts, _SEARCH, "one", own=True),
        table(facts, _SEARCH, "all", own=True),
        "### What stands behind the rows\n",
        _behind(facts),
        "### Left out\n",
        _left_out(facts),
    ]
    return "\n".join(parts)


def table(
    facts: Mapping[str, Facts], columns: Sequence[Column], threads: str, *, own: bool = False
) -> str:
    """A table of the peers that have a number in one of the columns at least.

    Args:
        facts: What was measured.
        columns: The columns.
        threads: Under which limit.
        own: Show only those who have a search of their own, by its name.
    """
    lines = [
        "| | " + " | ".join(column.heading for column in columns) + " |",
        "|---|" + "---:|" * len(columns),
    ]
    rows = {
        peer: [_value(facts, peer, column, threads) for column in columns]
        for peer in PEERS
        if peer.search or not own
    }
    found = {
        peer: [_miscounted(facts, peer, column, threads) for column in columns] for peer in rows
    }
    best = [
        _best(column, [row[i] for peer, row in rows.items() if found[peer][i] is None])
        for i, column in enumerate(columns)
    ]
    for peer, row in rows.items():
        if any(row):
            cells = map(_cell, columns, row, best, found[peer])
            name = peer.search if own else _name(peer)
            lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n" if any(map(any, rows.values())) else "Not measured.\n"


def _name(peer: Peer) -> str:
    return peer.title if peer.commercial else f"{peer.title} *"


def _value(facts: Mapping[str, Facts], peer: Peer, column: Column, threads: str) -> float | None:
    value = _place(facts, peer, column, threads).get(column.key)
    return None if value is None or isinstance(value, dict) else float(value)


def _place(facts: Mapping[str, Facts], peer: Peer, column: Column, threads: str) -> Facts:
    place: Facts = facts.get(peer.name, {})
    return place.get("threads", {}).get(threads, {}) if column.threads else place


def _miscounted(facts: Mapping[str, Facts], peer: Peer, column: Column, threads: str) -> int | None:
    """How many faces the peer found where there are others than that."""
    if column.faces is None:
        return None
    key, count = column.faces
    found: int = _place(facts, peer, column, threads).get(key, count)
    return None if found == count else found


def _best(column: Column, values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    if not known:
        return None
    return max(known) if column.most else min(known)


def _cell(column: Column, value: float | None, best: float | None, found: int | None) -> str:
    if value is None:
        return "-"
    if found is not None:
        return f"{column.text(value)} ({found} found)"
    return f"**{column.text(value)}**" if value == best else column.text(value)


def _behind(facts: Mapping[str, Facts]) -> str:
    lines = ["| | installed by | license | notes |", "|---|---|---|---|"]
    for peer in PEERS:
        if facts.get(peer.name, {}).get("failed", "") is None:
            steps = "; ".join(f"`pip install {step}`" for step in peer.install)
            shown = steps.replace("{wheel}", "facekeep-*.whl")
            lines.append(f"| {peer.title} | {shown} | {peer.license} | {peer.notes} |")
    return "\n".join(lines) + "\n\n\\* not for commercial use, or not to be had as a whole.\n"


def _left_out(facts: Mapping[str, Facts]) -> str:
    reasons = dict(ABSENT)
    for peer in PEERS:
        entry = facts.get(peer.name, {})
        if entry.get("failed"):
            reasons[peer.title] = entry["failed"]
        for limit in (entry, *entry.get("threads", {}).values()):
            for column, value in limit.items():
                if isinstance(value, dict) and "failed" in value:
                    reasons[f"{peer.title}: {column}"] = value["failed"]
    return "\n".join(f"- {who}: {why}." for who, why in reasons.items()) + "\n"
