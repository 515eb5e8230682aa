"""Before and after for people: tables, remarks, the picture of the trade-off, the HTML report."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from typing import Any, Final, NamedTuple

from facekeep._internal.files import printable
from facekeep.lab.compress.chain import ChainResult, StepRecord
from facekeep.lab.compress.measure import FMR, NetworkProfile
from facekeep.lab.evaluate.page import (
    Picture,
    Table,
    format_figures,
    format_picture,
    format_table,
    write_report,
)
from facekeep.lab.evaluate.plots import encode_figure, format_percentages, line_style, styled_axes

__all__ = [
    "HEADERS",
    "QualityMeasure",
    "choose_measure",
    "draw_tradeoff",
    "find_pareto_front",
    "format_row",
    "list_chain_remarks",
    "write_chain_report",
]

HEADERS: Final = (
    "parameters",
    "MMACs",
    "MB",
    "ms",
    "cosine",
    "1st percentile",
    "TAR %",
    "LFW %",
    "LFW TAR %",
)
"""The columns of `format_row` after the name; TAR is at ``FMR``."""

_FEW: Final = 100  # faces
_HEIGHT: Final = 5.2  # inches
_METHOD: Final = (
    "Latency is the median time of the bare network for one face; all networks of the table ran in"
    " turns in one process, so that their ratios hold for this machine. MMACs are millions of"
    " multiply-accumulates of one face. Cosine compares the embeddings of the same faces with the"
    " original's: its mean, and what 99 of 100 faces exceed. TAR is the share of the comparisons of"
    " one person that are accepted at a false-match rate of 1e-3."
)
_TRADE_OFF: Final = (
    "To the right, what a network costs; upwards, how accurate it is: the upper left corner is"
    " better. Dots: the chain, joined by the dotted line; squares: further models. The dashed line"
    " joins those that no other one beats in both (the Pareto front)."
)


def format_row(name: str, profile: NetworkProfile) -> list[str]:
    """Return the cells of a network; those that were not measured are empty."""
    found = profile.accuracy
    shares = (found.tar, found.lfw, found.lfw_tar)
    return [
        name,
        f"{profile.parameters:,}",
        f"{profile.macs / 1e6:.1f}",
        f"{profile.bytes / 1e6:.2f}",
        f"{profile.latency_ms:.2f}",
        *("" if each is None else f"{each:.4f}" for each in (found.cosine, found.cosine_p01)),
        *("" if each is None else f"{100 * each:.2f}" for each in shares),
    ]


def list_chain_remarks(result: ChainResult) -> Iterator[str]:
    """Say what was not measured and how to measure it, and whether the new model can decide."""
    found, entry = result.after.accuracy, result.entry
    if found.cosine is None:
        yield "not compared with the original: there are no faces; name some with --data"
    elif found.faces < _FEW:
        yield (
            f"compared on only {found.faces} faces, enough to see that it works; name more with"
            " --data"
        )
    if found.tar is None and found.lfw is None:
        yield (
            "its accuracy on people was not measured; name known people with --eval-data, or LFW"
            " with --lfw-images and --lfw-pairs"
        )
    else:
        yield f"TAR is at a false-match rate of {FMR:g}"
    if entry.thresholds:
        lowest = entry.thresholds[-1][0]
        yield (
            f"{entry.name}: in the catalog, thresholds down to a false-match rate of {lowest:g}:"
            f" {entry.calibrated_on}"
        )
    else:
        yield (
            f"{entry.name}: in the catalog; it cannot decide before it is calibrated on photos of"
            f" many people, a folder each: facekeep evaluate calibrate DIR --model {entry.name}"
        )


def write_chain_report(folder: Path, result: ChainResult, command: str) -> Path:
    """Write the report of a chain.

    Args:
        folder: Where to; it is made where it is missing.
        result: The result of the chain.
        command: The command line that made it.

    Returns:
        The HTML file. The picture inside it also stands beside it as a file.

    Raises:
        InputError: The folder cannot be written.
        RuntimeUnavailable: matplotlib is not installed.
        StorageFull: There is no room.
    """
    pictures = _draw_pictures(result.profiles, len(result.steps))
    title = f"{result.before.name} → {result.entry.name}"
    rows = [format_row(profile.name, profile) for profile in result.profiles]
    sections = [
        f"<h1>{escape(title)}</h1>",
        f'<p class="sub">{escape(" → ".join(each.step.kind for each in result.steps))}</p>',
        "<h2>Figures</h2>",
        format_figures([Table("", ("model", *HEADERS), rows)]),
        *(f"<p>{escape(printable(remark))}.</p>" for remark in list_chain_remarks(result)),
        f"<p>{escape(_METHOD)}</p>",
        *map(format_picture, pictures),
        "<h2>Steps</h2>",
        *map(_format_step, result.steps),
    ]
    return write_report(folder, title, sections, pictures, command, faces=False)


def _draw_pictures(profiles: Sequence[NetworkProfile], steps: int) -> list[Picture]:
    measure = choose_measure(profiles)
    if measure is None:
        return []
    drawn = draw_tradeoff(profiles, steps, measure)
    return [Picture("trade-off.png", "Cost and accuracy", _TRADE_OFF, drawn)]


def _format_step(record: StepRecord) -> str:
    """Write one step as HTML: what was done, before and after."""
    remarks = "".join(f"<p>{escape(printable(each))}.</p>" for each in record.result.remarks)
    rows = [format_row("before", record.before), format_row("after", record.after)]
    return (
        f"<h3>{escape(record.step.kind)}</h3><p>{escape(printable(record.result.summary))}.</p>"
        f'{remarks}<div class="figures">{format_table(("", *HEADERS), rows)}</div>'
    )


class QualityMeasure(NamedTuple):
    """What "accurate" means in a picture.

    Attributes:
        label: The axis.
        values: One for each network, as fractions.
    """

    label: str
    values: tuple[float, ...]


def choose_measure(profiles: Sequence[NetworkProfile]) -> QualityMeasure | None:
    """Choose the most meaningful measure that all networks have; None where there is none."""
    for label, values in (
        (f"TAR at FMR {FMR:g}", [each.accuracy.tar for each in profiles]),
        ("accuracy on LFW", [each.accuracy.lfw for each in profiles]),
        ("cosine to the original", [each.accuracy.cosine for each in profiles]),
    ):
        known = tuple(value for value in values if value is not None)
        if len(known) == len(profiles):
            return QualityMeasure(label, known)
    return None


def find_pareto_front(costs: Sequence[float], values: Sequence[float]) -> list[int]:
    """Return the indices of those that none beats in both, the cheapest first."""
    best: list[int] = []
    for place in sorted(range(len(costs)), key=lambda each: (costs[each], -values[each])):
        if not best or values[place] > values[best[-1]]:
            best.append(place)
    return best


def draw_tradeoff(profiles: Sequence[NetworkProfile], steps: int, measure: QualityMeasure) -> bytes:
    """Draw cost against accuracy, latency on the left, size on the right.

    Args:
        profiles: The original, the networks after each step, further ones.
        steps: How many steps there were; they are joined by a line.
        measure: What accuracy is.

    Returns:
        A PNG.
    """
    with styled_axes(_HEIGHT, 2) as (figure, panes):
        costs = (
            ("milliseconds for one face", [each.latency_ms for each in profiles]),
            ("megabytes on disk", [each.bytes / 1e6 for each in profiles]),
        )
        for pane, (label, values) in zip(panes, costs, strict=True):
            _draw_pane(pane, values, measure.values, steps)
            pane.set(xlabel=label, xlim=(0, 1.12 * max(values)))
        panes[0].set(ylabel=measure.label)
        format_percentages(panes[0].yaxis)
        panes[0].margins(y=0.15)
        names = [f"{number}  {each.name}" for number, each in enumerate(profiles, 1)]
        figure.legend(
            [panes[0].plot([], [], " ")[0] for _ in names],
            names,
            loc="outside lower center",
            ncols=2,
            fontsize=9,
            handlelength=0,
        )
        return encode_figure(figure)


def _draw_pane(pane: Any, costs: Sequence[float], values: Sequence[float], steps: int) -> None:
    best = find_pareto_front(costs, values)
    chain = slice(steps + 1)
    pane.plot(costs[chain], values[chain], color="#999999", linewidth=1.0, linestyle=":")
    pane.step(
        [costs[place] for place in best],
        [values[place] for place in best],
        where="post",
        **line_style(2),
    )
    for place, (cost, value) in enumerate(zip(costs, values, strict=True)):
        color = line_style(0 if place <= steps else 1)["color"]
        marker = "o" if place <= steps else "s"
        pane.plot([cost], [value], marker, color=color, markersize=7)
        pane.annotate(
            str(place + 1), (cost, value), textcoords="offset points", xytext=(6, 5), fontsize=9
        )
