"""Writing names into pictures: a font that has the letters, and text that fits its place."""

from __future__ import annotations

import functools
import math
import unicodedata
from typing import TYPE_CHECKING

from facekeep._files import printable

if TYPE_CHECKING:
    from PIL import ImageDraw, ImageFont

    Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

__all__ = ["width_of", "write"]

Box = tuple[int, int, int, int]

# Pillow's own font knows little beyond ASCII. For names it cannot write, these are looked for on
# the system, in this order.
_SYSTEM_FONTS = (
    "DejaVuSans.ttf",
    "NotoSans-Regular.ttf",
    "NotoSansCJK-Regular.ttc",
    "DroidSansFallbackFull.ttf",
    "wqy-microhei.ttc",
    "wqy-zenhei.ttc",
)
_MAX_LETTERS = 120
_DOTS = "..."


def write(draw: ImageDraw.ImageDraw, text: str, box: Box, ink: tuple[int, int, int]) -> None:
    """Write a text into a box (x1, y1, x2, y2), shortened with dots where it is too long.

    Letters that no font here has lose their accents, or become the font's box for missing letters;
    control characters are shown escaped.
    """
    x1, y1, x2, y2 = box
    line, font = _fit(text, y2 - y1, x2 - x1)
    draw.text((x1 + _padding(y2 - y1), (y1 + y2) / 2), line, ink, font, anchor="lm")


def width_of(text: str, height: int, limit: int) -> int:
    """Return how wide a box of this height must be for the text: at most ``limit``, 0 for none."""
    line, font = _fit(text, height, limit)
    return math.ceil(font.getbbox(line)[2]) + 2 * _padding(height) if line else 0


def _padding(height: int) -> int:
    return height // 5


def _fit(text: str, height: int, width: int) -> tuple[str, Font]:
    """Shorten a text until it fits a box, and choose its font; empty where not even dots fit."""
    line = printable(text) if text else ""
    line = line if len(line) <= _MAX_LETTERS else line[:_MAX_LETTERS] + _DOTS
    line, font = _choose(line, max(6, height * 7 // 10))
    room = width - 2 * _padding(height)
    if font.getbbox(line)[2] <= room:
        return line, font
    for end in range(len(line) - 1, -1, -1):
        short = line[:end].rstrip() + _DOTS
        if font.getbbox(short)[2] <= room:
            return short, font
    return "", font


@functools.lru_cache(maxsize=256)
def _choose(line: str, size: int) -> tuple[str, Font]:
    """Take the font that has most of the letters, and write the others without their accents."""
    best, known = _own_font(size), _letters(_own_font(size), line)
    for name in _SYSTEM_FONTS:
        if len(known) == len(set(line)):
            break
        font = _system_font(name, size)
        letters = _letters(font, line) if font else frozenset()
        if font and len(letters) > len(known):
            best, known = font, letters
    return "".join(c if c in known else _bare(c) for c in line), best


def _bare(letter: str) -> str:
    parts = unicodedata.normalize("NFKD", letter)
    return "".join(c for c in parts if not unicodedata.combining(c))


@functools.lru_cache(maxsize=64)
def _own_font(size: int) -> Font:
    from PIL import ImageFont

    return ImageFont.load_default(size)


@functools.lru_cache(maxsize=64)
def _system_font(name: str, size: int) -> Font | None:
    from PIL import ImageFont

    try:
        return ImageFont.truetype(name, size)
    except OSError:
        return None


def _letters(font: Font, line: str) -> frozenset[str]:
    """Return those letters that the font has: one it lacks looks like a code point that is none."""
    missing = bytes(font.getmask("\uffff"))
    return frozenset(c for c in line if c.isspace() or bytes(font.getmask(c)) != missing)
