"""The race as a picture: bars for each peer, side by side."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .roster import PEERS

_PANELS = (
    ("one_ms", "ms, a frame with one face", 1.0),
    ("five_ms", "ms, with five faces", 1.0),
    ("rss", "MB resident", 1e-6),
    ("installed", "MB installed", 1e-6),
)
_OURS, _THEIRS = "#1b6ca8", "#9aa5b1"


def draw(facts: Mapping[str, Mapping[str, Any]], path: Path) -> None:
    """Draw what one thread, memory and disk cost; shorter bars are better."""
    from matplotlib.figure import Figure

    known = {
        peer.name: facts[peer.name] | facts[peer.name].get("threads", {}).get("one", {})
        for peer in PEERS
        if peer.detects and peer.name in facts
    }
    shown = [name for name in known if isinstance(known[name].get("one_ms"), float)]
    figure = Figure(figsize=(11, 0.6 + 0.34 * len(shown)), layout="constrained")
    panels = figure.subplots(1, len(_PANELS), sharey=True)
    for panel, (key, title, unit) in zip(panels, _PANELS, strict=True):
        numbers = [known[name].get(key) for name in shown]
        values = [number * unit if isinstance(number, int | float) else 0 for number in numbers]
        colors = [_OURS if name.startswith("facekeep") else _THEIRS for name in shown]
        bars = panel.barh(shown, values, color=colors)
        panel.bar_label(bars, fmt="%.0f", padding=2, fontsize=8)
        panel.set_title(title, fontsize=9)
        panel.margins(x=0.2)
        panel.tick_params(axis="x", labelsize=7)
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].invert_yaxis()
    figure.savefig(path, dpi=110)
