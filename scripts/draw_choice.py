"""Draw what there is to choose an embedder from: time, accuracy on LFW, memory and terms.

    facekeep models recommend --json | python scripts/draw_choice.py docs/guides/choose.svg

Models without a figure for LFW, and models of your own, are left out.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 640, 360, 60, 20, 34, 44
_COLORS = {"free": "#1b6ca8", "research": "#b8860b", "disputed": "#9aa5b1"}
_FAINT, _TEXT = "#d5dbe1", "#7a8691"  # on light and on dark pages


def draw(models: list[dict[str, Any]]) -> str:
    """Return an SVG of 640 x 360 pixels; a circle for each model, its area the memory."""
    most = max(1e3 * each["seconds"] for each in models) * 1.25
    low = min(each["lfw"] for each in models)
    low, high = int(2 * low - 0.5) / 2, 100.0

    def across(milliseconds: float) -> float:
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * milliseconds / most

    def down(percent: float) -> float:
        return _TOP + (_HEIGHT - _TOP - _BOTTOM) * (high - percent) / (high - low)

    parts = []
    for step in range(int(2 * low), 201):
        y = down(step / 2)
        parts.append(f'<path d="M{_LEFT} {y:.1f}H{_WIDTH - _RIGHT}" stroke="{_FAINT}"/>')
        parts.append(_text(_LEFT - 6, y + 4, f"{step / 2:g} %", "end"))
    step = next(each for each in (1, 2, 5, 10, 20, 50, 100) if most / each <= 10)
    for tick in range(0, int(most) + 1, step):
        parts.append(_text(across(tick), _HEIGHT - _BOTTOM + 18, str(tick), "middle"))
    before, below = (0.0, 0.0), False
    for each in sorted(models, key=lambda model: model["seconds"]):
        x, y = across(1e3 * each["seconds"]), down(each["lfw"])
        radius = (each["memory"] / 1e6) ** 0.5
        color = _COLORS[each["terms"]]
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}" fill="{color}"/>')
        close = x - before[0] < 90 and abs(y - before[1]) < 20
        below = close and not below  # names of neighbors in turns, so that none covers another
        parts.append(
            _text(x, y + (radius + 14 if below else -radius - 4), each["name"], "middle", color)
        )
        before = (x, y)
    for number, (word, color) in enumerate(_COLORS.items()):
        if any(each["terms"] == word for each in models):
            parts.append(_text(_LEFT + 90 * number, 16, f"\u25cf {word}", "start", color))
    foot = "ms for a face, on one thread; the circle's area: memory; height: accuracy on LFW"
    parts.append(_text(_WIDTH / 2, _HEIGHT - 8, foot, "middle"))
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}"'
    return f'{head} font-family="sans-serif" font-size="12">\n' + "\n".join(parts) + "\n</svg>\n"


def _text(x: float, y: float, text: str, anchor: str, color: str = _TEXT) -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{color}"'
    return f"<text {place}>{escape(text)}</text>"


def main() -> None:
    """Read the document of ``models recommend`` on standard input, and write the picture."""
    models = json.load(sys.stdin)["models"]
    known = [
        each for each in models if each["lfw"] and each["seconds"] and each["terms"] in _COLORS
    ]
    Path(sys.argv[1]).write_text(draw(known), "utf-8")


if __name__ == "__main__":
    main()
