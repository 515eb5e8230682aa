"""The picture of a run: loss, hold-out TAR and learning rate over the steps, as PNG."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from facekeep.errors import RuntimeUnavailable
from facekeep.train.log import read_log

__all__ = ["draw_curves", "require_matplotlib"]

_SIZE: Final = (7.0, 7.6)
_DPI: Final = 160
# Colours of Okabe and Ito, "Color Universal Design" (2008); lines differ in their dashes too.
_STYLES: Final = (("#0072B2", "-"), ("#D55E00", "--"), ("#009E73", "-."))
_LOSSES: Final = {"loss": "loss", "loss_head": "by identity", "loss_teacher": "by teacher"}
_RATES: Final = {"tar_fmr_1e-2": "at FMR 1e-2", "tar_fmr_1e-3": "at FMR 1e-3"}

Columns = Mapping[str, Sequence[float | None]]
Line = tuple[str, Sequence[float], Sequence[float]]


def require_matplotlib() -> None:
    """Make sure before a long run that its curves can be drawn after it.

    Raises:
        RuntimeUnavailable: matplotlib is not installed.
    """
    try:
        import matplotlib as _  # noqa: F401
    except ImportError as error:
        raise RuntimeUnavailable(
            "curves are drawn with matplotlib, which is not installed;"
            " run: pip install 'facekeep[train]'"
        ) from error


def draw_curves(log: Path) -> bytes:
    """Draw a run's log.

    Args:
        log: Its ``log.csv``.

    Returns:
        A PNG: the losses, below them the TAR of the people kept out where it was measured, and
        the learning rate.
    """
    import matplotlib
    from matplotlib.figure import Figure

    columns = read_log(log)
    losses = _lines(columns, _LOSSES)
    parted = losses if len(losses) > 2 else losses[:1]  # a single part is the whole
    panels = [
        ("loss", parted),
        ("hold-out TAR", _lines(columns, _RATES)),
        ("learning rate", _lines(columns, {"lr": "rate"})),
    ]
    shown = [(title, lines) for title, lines in panels if lines]
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        figure = Figure(figsize=_SIZE, dpi=_DPI, layout="constrained")
        every = figure.subplots(len(shown), 1, sharex=True, squeeze=False)[:, 0]
        for axes, (title, lines) in zip(every, shown, strict=True):
            _panel(axes, lines, title)
        every[-1].set_xlabel("step")
        encoded = io.BytesIO()
        # Without the name of matplotlib's version the bytes depend on the drawing alone.
        figure.savefig(encoded, format="png", metadata={"Software": None})
    return encoded.getvalue()


def _lines(columns: Columns, labels: Mapping[str, str]) -> list[Line]:
    """The steps and values of each column that says anything."""
    found: list[Line] = []
    for name, label in labels.items():
        pairs = zip(columns["step"], columns[name], strict=True)
        known = [(step, value) for step, value in pairs if step is not None and value is not None]
        if known:
            steps, values = zip(*known, strict=True)
            found.append((label, steps, values))
    return found


def _panel(axes: Any, lines: Sequence[Line], title: str) -> None:
    for (colour, dash), (label, steps, values) in zip(_STYLES, lines, strict=False):
        marker = "o" if len(steps) < 3 else None
        axes.plot(steps, values, color=colour, linestyle=dash, label=label, lw=1.6, marker=marker)
    axes.set_ylabel(title)
    axes.set_ylim(bottom=0)
    axes.grid(color="#d8d8d8", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    if len(lines) > 1:
        axes.legend(frameon=False)
