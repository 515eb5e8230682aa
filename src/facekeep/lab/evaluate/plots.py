"""Pictures of error rates: DET, ROC, CMC and the scores behind them, as PNG.

Drawn with matplotlib (extra ``evaluate``), without its global state, so that the same figures give
the same bytes whatever else a program draws. Lines differ in their dashes as well as in color.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from facekeep.errors import ConfigError, RuntimeUnavailable
from facekeep.lab.evaluate.scores import Histogram
from facekeep.models.paths import cache_dir

__all__ = [
    "Bar",
    "Line",
    "add_legend",
    "draw_bars",
    "draw_cmc",
    "draw_det",
    "draw_roc",
    "draw_scores",
    "encode_figure",
    "format_percentages",
    "line_style",
    "require_matplotlib",
    "styled_axes",
    "styled_figure",
]

Rates = NDArray[np.float64]

# Colors of Okabe and Ito, "Color Universal Design" (2008).
_COLORS: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
_DASHES: Final = ("-", "--", "-.", ":", (0, (7, 2, 1, 2, 1, 2)), (0, (1, 1)))
_WIDTH, _HEIGHT = 7.0, 4.6
_DPI: Final = 160
_MPL_FOLDER: Final = "MPLCONFIGDIR"
_MOST_WRONG: Final = 0.5  # of wrong acceptances on a DET; no system is run beyond
_BINS: Final = 100  # of a histogram as drawn; it is kept finer
_STYLE: Final[Any] = {
    "font.size": 11,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": "#d8d8d8",
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.8,
    "legend.frameon": False,
    "hatch.linewidth": 0.6,
}


@dataclass(frozen=True, slots=True, eq=False)
class Line:
    """One system's trade-off between the two kinds of error.

    Attributes:
        label: What the legend calls it.
        wrong: float64 ``(n,)``, share of wrong acceptances (FMR or FPIR) at rising thresholds.
        missed: float64 ``(n,)``, share of wrong rejections (FNMR or FNIR) at the same ones.
        points: Pairs (wrong, missed) to mark: the operating points of the table.
    """

    label: str
    wrong: Rates
    missed: Rates
    points: tuple[tuple[float, float], ...] = ()


def require_matplotlib(extra: str = "evaluate") -> None:
    """Make sure that pictures can be drawn.

    Args:
        extra: The extra of facekeep that brings matplotlib along.

    Raises:
        RuntimeUnavailable: matplotlib is not installed.
    """
    if importlib.util.find_spec("matplotlib") is None:
        raise RuntimeUnavailable(
            "pictures are drawn with matplotlib, which is not installed;"
            f" run: pip install 'facekeep[{extra}]'"
        )


@contextmanager
def styled_figure(height: float = _HEIGHT) -> Iterator[Any]:
    """Give an empty figure, so many inches high, in our style and nobody else's."""
    with _silence_fonts():
        with _own_folder():
            import matplotlib
            from matplotlib.figure import Figure

        with matplotlib.rc_context():
            matplotlib.rcdefaults()
            matplotlib.rcParams.update(_STYLE)
            yield Figure(figsize=(_WIDTH, height), dpi=_DPI, layout="constrained")


@contextmanager
def _silence_fonts() -> Iterator[None]:
    """Keep matplotlib from telling that it makes a list of the fonts, as it does when it is new."""
    log = logging.getLogger("matplotlib.font_manager")
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(before)


@contextmanager
def _own_folder() -> Iterator[None]:
    """Let matplotlib, when it is loaded, keep its list of fonts in facekeep's cache folder.

    Else it makes folders of its own in the user's home. A folder that the user named is used.
    """
    if "matplotlib" in sys.modules or _MPL_FOLDER in os.environ:
        yield
        return
    with contextlib.suppress(ConfigError):  # there is no home: then it uses a temporary folder
        os.environ[_MPL_FOLDER] = str(cache_dir() / "matplotlib")
    try:
        yield
    finally:
        os.environ.pop(_MPL_FOLDER, None)


def line_style(place: int) -> dict[str, Any]:
    """Return color and dashes of a line by its number."""
    return {
        "color": _COLORS[place % len(_COLORS)],
        "linestyle": _DASHES[place % len(_DASHES)],
    }


def encode_figure(figure: Any) -> bytes:
    """Encode a figure; the bytes depend on the drawing alone."""
    encoded = io.BytesIO()
    # Else the name of matplotlib's version would be in them.
    figure.savefig(encoded, format="png", metadata={"Software": None})
    return encoded.getvalue()


def draw_det(lines: Sequence[Line], *, wrong: str = "FMR", missed: str = "FNMR") -> bytes:
    """Draw detection error trade-off curves (ISO/IEC 19795-1), both axes logarithmic.

    A rate of zero cannot be shown on a logarithmic axis: the curve ends at the last rate above it.
    Where more than half is wrongly accepted it is not drawn either.

    Args:
        lines: One for each system.
        wrong: What the horizontal axis is.
        missed: What the vertical axis is.

    Returns:
        A PNG.
    """
    with styled_axes() as (figure, axes):
        shown = [
            (line.wrong > 0) & (line.wrong <= _MOST_WRONG) & (line.missed > 0) for line in lines
        ]
        for place, (line, drawn) in enumerate(zip(lines, shown, strict=True)):
            _draw(axes, place, line.label, line.wrong[drawn], line.missed[drawn])
            _mark(axes, place, [(x, y) for x, y in line.points if x > 0 and y > 0])
        axes.set(xscale="log", yscale="log", xlabel=_LONG[wrong], ylabel=_LONG[missed])
        both = list(zip(lines, shown, strict=True))
        if not any(drawn.any() for drawn in shown):
            axes.text(0.5, 0.5, _FLAWLESS, ha="center", transform=axes.transAxes)
        _limit_to_decades(
            axes.set_xlim, np.concatenate([line.wrong[drawn] for line, drawn in both])
        )
        _limit_to_decades(
            axes.set_ylim, np.concatenate([line.missed[drawn] for line, drawn in both])
        )
        format_percentages(axes.yaxis)
        add_legend(axes, lines, "upper right")
        return encode_figure(figure)


def draw_roc(lines: Sequence[Line]) -> bytes:
    """Draw receiver operating characteristics: TAR over FMR, the latter logarithmic.

    Args:
        lines: One for each system.

    Returns:
        A PNG.
    """
    with styled_axes() as (figure, axes):
        for place, line in enumerate(lines):
            drawn = line.wrong > 0
            _draw(axes, place, line.label, line.wrong[drawn], 1 - line.missed[drawn])
            _mark(axes, place, [(x, 1 - y) for x, y in line.points if x > 0])
        axes.set(xscale="log", xlabel=_LONG["FMR"], ylabel="true accept rate (TAR = 1 - FNMR)")
        _limit_below_one(
            axes, max(float(line.missed[line.wrong > 0].max(initial=0)) for line in lines)
        )
        format_percentages(axes.yaxis)
        add_legend(axes, lines, "lower right")
        return encode_figure(figure)


def draw_cmc(lines: Sequence[tuple[str, Rates]]) -> bytes:
    """Draw cumulative match characteristics.

    Args:
        lines: For each system its label and the share of mated probes whose mate is among the
            first 1, 2, 3, ... candidates.

    Returns:
        A PNG.
    """
    from matplotlib.ticker import MaxNLocator

    with styled_axes() as (figure, axes):
        for place, (label, rates) in enumerate(lines):
            _draw(axes, place, label, np.arange(1, len(rates) + 1), rates, marker="o")
        axes.set(xlabel="rank", ylabel="identification rate")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        _limit_below_one(axes, 1 - min(float(rates[0]) for _, rates in lines))
        format_percentages(axes.yaxis)
        add_legend(axes, [label for label, _ in lines], "lower right")
        return encode_figure(figure)


def draw_scores(histogram: Histogram, thresholds: Sequence[tuple[str, float]] = ()) -> bytes:
    """Draw the distributions of mated and non-mated scores.

    Each is scaled to its own number of comparisons, since there are usually many more of the
    non-mated ones.

    Args:
        histogram: The scores.
        thresholds: Labels and cosines to mark.

    Returns:
        A PNG.
    """
    kinds = (
        (_join_bins(histogram.non_mated), "non-mated (different people)", "\\\\\\\\", 1),
        (_join_bins(histogram.mated), "mated (same person)", "////", 0),
    )
    edges = np.linspace(-1, 1, _BINS + 1)
    with styled_axes() as (figure, axes):
        for counts, label, hatch, color in kinds:
            share = counts / max(int(counts.sum()), 1)
            style = {"edgecolor": (_COLORS[color], 0.45), "facecolor": (_COLORS[color], 0.2)}
            axes.stairs(share, edges, fill=True, lw=0, hatch=hatch, **style)
            counted = f"{label}, {int(counts.sum()):,}"
            axes.stairs(share, edges, color=_COLORS[color], lw=1.4, label=counted)
        axes.set(xlabel="similarity (cosine)", ylabel="share of the comparisons")
        axes.margins(y=0.16)
        axes.set_ylim(bottom=0)
        axes.set_xlim(*_find_extent(edges, kinds[0][0] + kinds[1][0]))
        _mark_thresholds(axes, thresholds)
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, 1.13), ncols=2, fontsize=10)
        return encode_figure(figure)


Bar = tuple[float | None, float | None, float | None]
"""A share and its 95 % interval; None where there is none."""

_BAR_HEIGHT: Final = 0.27  # inches


def draw_bars(
    rows: Sequence[str], panels: Sequence[tuple[str, Sequence[tuple[str, Sequence[Bar]]]]]
) -> bytes:
    """Draw shares with their intervals, a row for each, in panels side by side.

    Args:
        rows: What the rows are called.
        panels: The title of each panel, and in it for each system its label and its shares.

    Returns:
        A PNG.
    """
    with styled_axes(1.2 + _BAR_HEIGHT * len(rows), len(panels)) as (figure, panes):
        for pane, (title, systems) in zip(panes, panels, strict=True):
            for place, (label, shares) in enumerate(systems):
                _draw_dots(pane, place, label, shares, (place - (len(systems) - 1) / 2) * 0.25)
            pane.set(xlabel=title)
            format_percentages(pane.xaxis)
        panes[0].set_yticks(range(len(rows)), rows)
        panes[0].set_ylim(len(rows) - 0.5, -0.5)
        add_legend(panes[0], panels[0][1], "lower left")
        return encode_figure(figure)


def _draw_dots(axes: Any, place: int, label: str, shares: Sequence[Bar], shift: float) -> None:
    known = [(row + shift, *bar) for row, bar in enumerate(shares) if bar[0] is not None]
    color = line_style(place)["color"]
    spans = [(y, low, high) for y, _, low, high in known if low is not None]
    if spans:
        y, low, high = zip(*spans, strict=True)
        axes.hlines(y, low, high, color=color, linewidth=1.4)
    axes.plot([x for _, x, _, _ in known], [y for y, *_ in known], "o", color=color, label=label)


_FLAWLESS: Final = "no threshold makes errors of both kinds"
_LONG: Final = {
    "FMR": "false match rate (FMR)",
    "FNMR": "false non-match rate (FNMR)",
    "FPIR": "false positive identification rate (FPIR)",
    "FNIR": "false negative identification rate (FNIR)",
}


@contextmanager
def styled_axes(height: float = _HEIGHT, columns: int = 1) -> Iterator[tuple[Any, Any]]:
    """Give a figure in our style, and its axes: an array of them where there are columns."""
    require_matplotlib()
    with styled_figure(height) as figure:
        yield figure, figure.subplots(1, columns, sharey=True)


def _draw(axes: Any, place: int, label: str, x: Any, y: Any, marker: str | None = None) -> None:
    # Between two points that of the higher threshold is what can be promised: steps, no slopes.
    style = {"drawstyle": "steps-pre"} if marker is None else {"marker": marker, "markersize": 4}
    axes.plot(x, y, label=label, **line_style(place), **style)


def _mark(axes: Any, place: int, points: Sequence[tuple[float, float]]) -> None:
    if points:
        x, y = zip(*points, strict=True)
        axes.plot(x, y, "o", color=_COLORS[place % len(_COLORS)], markersize=5, clip_on=False)


def _mark_thresholds(axes: Any, thresholds: Sequence[tuple[str, float]]) -> None:
    """Mark thresholds by upright lines, their labels along them."""
    for label, cosine in thresholds:
        axes.axvline(cosine, color="#333333", linewidth=0.9, linestyle="--")
        axes.text(
            cosine,
            0.985,
            label,
            rotation=90,
            fontsize=8.5,
            ha="right",
            va="top",
            transform=axes.get_xaxis_transform(),
        )


def _limit_to_decades(limit: Any, values: Rates) -> None:
    """Set the limits of a logarithmic axis to the decades around values above zero."""
    low, high = -3.0, 0.0
    if values.size:
        low, high = np.floor(np.log10(values.min())), np.ceil(np.log10(values.max()))
    limit(10**low, 10 ** max(high, low + 1))


def _join_bins(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Join the bins of a histogram to as many as a picture shows well."""
    coarse: NDArray[np.int64] = counts.reshape(_BINS, -1).sum(axis=1)
    return coarse


def _find_extent(edges: Rates, counts: NDArray[np.int64]) -> tuple[float, float]:
    """The scores that occur, with a little room."""
    filled = np.flatnonzero(counts)
    low, high = edges[filled[[0, -1]] + [0, 1]] if filled.size else edges[[0, -1]]
    return float(low - 0.03), float(high + 0.03)


def _limit_below_one(axes: Any, depth: float) -> None:
    """Show shares from one down to a little below ``depth`` less, at least a hundredth."""
    shown = max(depth, 0.01)
    axes.set_ylim(max(0.0, 1 - 1.1 * shown), 1 + 0.03 * shown)


def format_percentages(axis: Any) -> None:
    """Label an axis of shares in per cent."""
    from matplotlib.ticker import FuncFormatter, NullFormatter

    def write(value: float, _: int) -> str:
        return f"{100 * value:.4g} %" if value < 1 + 1e-9 else ""  # an axis may reach past 100 %

    axis.set_major_formatter(FuncFormatter(write))
    axis.set_minor_formatter(NullFormatter())


def add_legend(axes: Any, lines: Sequence[object], place: str) -> None:
    """Add a legend where there are several lines."""
    if len(lines) > 1:
        axes.legend(loc=place)
