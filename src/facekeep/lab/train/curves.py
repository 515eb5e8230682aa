"""The picture of a run: loss, hold-out TAR and learning rate over the steps, as PNG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from facekeep.lab.evaluate.plots import encode_figure, line_style, styled_figure
from facekeep.lab.train.log import read_log

__all__ = ["draw_curves", "draw_panels"]

_HEIGHT: Final = 7.6
_LOSSES: Final = {"loss": "loss", "loss_head": "by identity", "loss_teacher": "by teacher"}
_RATES: Final = {"tar_fmr_1e-2": "at FMR 1e-2", "tar_fmr_1e-3": "at FMR 1e-3"}

Columns = Mapping[str, Sequence[float | None]]
Line = tuple[str, Sequence[float], Sequence[float]]


def draw_curves(log: Path) -> bytes:
    """Draw a run's log.

    Args:
        log: Its ``log.csv``.

    Returns:
        A PNG: the losses, below them the TAR of the people kept out where it was measured, and
        the learning rate.
    """
    columns = read_log(log)
    losses = _lines(columns, _LOSSES)
    parted = dict(list(_LOSSES.items())[: len(losses) if len(losses) > 2 else 1])
    return draw_panels(
        log, {"loss": parted, "hold-out TAR": _RATES, "learning rate": {"lr": "rate"}}
    )


def draw_panels(log: Path, panels: Mapping[str, Mapping[str, str]]) -> bytes:
    """Draw columns of a log over the steps.

    Args:
        log: A ``log.csv`` with a column ``step``.
        panels: For each panel its title, and the columns in it with their labels. Columns that say
            nothing are left out, and so are panels of such columns alone.

    Returns:
        A PNG.
    """
    columns = read_log(log)
    found = {title: _lines(columns, labels) for title, labels in panels.items()}
    shown = [(title, lines) for title, lines in found.items() if lines]
    with styled_figure(_HEIGHT) as figure:
        every = figure.subplots(len(shown), 1, sharex=True, squeeze=False)[:, 0]
        for axes, (title, lines) in zip(every, shown, strict=True):
            _panel(axes, lines, title)
        every[-1].set_xlabel("step")
        return encode_figure(figure)


def _lines(columns: Columns, labels: Mapping[str, str]) -> list[Line]:
    """The steps and values of each column that says anything."""
    found: list[Line] = []
    for name, label in labels.items():
        pairs = zip(columns["step"], columns.get(name, ()), strict=False)
        known = [(step, value) for step, value in pairs if step is not None and value is not None]
        if known:
            steps, values = zip(*known, strict=True)
            found.append((label, steps, values))
    return found


def _panel(axes: Any, lines: Sequence[Line], title: str) -> None:
    for place, (label, steps, values) in enumerate(lines):
        marker = "o" if len(steps) < 3 else None
        axes.plot(steps, values, label=label, marker=marker, **line_style(place))
    axes.set_ylabel(title)
    axes.set_ylim(bottom=0)
    if len(lines) > 1:
        axes.legend()
