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
_LETTER = 6.6  # how wide a letter is, on average
_Box = tuple[float, float, float, float]
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
    circles = {
        each["name"]: (
            across(1e3 * each["seconds"]),
            down(each["lfw"]),
            (each["memory"] / 1e6) ** 0.5,
        )
        for each in models
    }
    taken = [(x - r, y - r, x + r, y + r) for x, y, r in circles.values()]
    for each in sorted(models, key=lambda model: model["seconds"]):
        (x, y, radius), color = circles[each["name"]], _COLORS[each["terms"]]
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}" fill="{color}"/>')
        where, baseline, anchor, box = _free_place(each["name"], circles[each["name"]], taken)
        taken.append(box)
        parts.append(_text(where, baseline, each["name"], anchor, color))
    for number, (word, color) in enumerate(_COLORS.items()):
        if any(each["terms"] == word for each in models):
            parts.append(_text(_LEFT + 90 * number, 16, f"\u25cf {word}", "start", color))
    foot = "ms for a face, on one thread; the circle's area: memory; height: accuracy on LFW"
    parts.append(_text(_WIDTH / 2, _HEIGHT - 8, foot, "middle"))
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}"'
    return f'{head} font-family="sans-serif" font-size="12">\n' + "\n".join(parts) + "\n</svg>\n"


def _free_place(
    name: str, circle: tuple[float, float, float], taken: list[_Box]
) -> tuple[float, float, str, _Box]:
    """Return where a name stands beside its circle: x, y, its anchor, and its box."""
    x, y, radius = circle
    width = _LETTER * len(name)
    places = []
    for where, baseline, anchor, left in (
        (x, y - radius - 4, "middle", x - width / 2),
        (x, y + radius + 13, "middle", x - width / 2),
        (x + radius + 4, y + 4, "start", x + radius + 4),
        (x - radius - 4, y + 4, "end", x - radius - 4 - width),
    ):
        box = (left, baseline - 10, left + width, baseline + 3)
        hidden = sum(_shared(box, other) for other in taken)
        outside = left < _LEFT or left + width > _WIDTH
        places.append((hidden + width * outside, (where, baseline, anchor, box)))
    return min(places, key=lambda each: each[0])[1]


def _shared(one: _Box, other: _Box) -> float:
    """The area that two boxes share."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    return max(width, 0.0) * max(height, 0.0)


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
