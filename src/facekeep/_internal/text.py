"""Writing names into pictures: a font that has the letters, and text that fits its place."""

from __future__ import annotations

import functools
import math
import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import ImageDraw, ImageFont

    Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

__all__ = ["Box", "legible", "measure_text", "write"]

Box = tuple[int, int, int, int]

# Pillow's own font knows little beyond ASCII. For names it cannot write, these are looked for on
# the system, in this order: those of Linux, of macOS, of Windows.
_SYSTEM_FONTS = (
    "DejaVuSans.ttf",
    "NotoSans-Regular.ttf",
    "NotoSansCJK-Regular.ttc",
    "DroidSansFallbackFull.ttf",
    "wqy-microhei.ttc",
    "wqy-zenhei.ttc",
    "NotoSansArabic-Regular.ttf",
    "NotoSansHebrew-Regular.ttf",
    "NotoSansDevanagari-Regular.ttf",
    "NotoSansThai-Regular.ttf",
    "Arial Unicode.ttf",
    "PingFang.ttc",
    "arial.ttf",
    "msyh.ttc",
    "msgothic.ttc",
    "malgun.ttf",
    "Nirmala.ttf",
)
# They join letters, or keep them apart, and are part of some names; other marks that are not seen
# could turn a line round, and are left out.
_JOINERS = "\u200c\u200d"
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


def measure_text(text: str, height: int, limit: int) -> int:
    """Return how wide a box of this height must be for the text: at most ``limit``, 0 for none."""
    line, font = _fit(text, height, limit)
    return math.ceil(font.getbbox(line)[2]) + 2 * _padding(height) if line else 0


def legible(text: str) -> bool:
    """Tell whether a text can be written so that people can read it.

    Not where a letter is in none of the fonts here, nor, from right to left, where the library that
    orders and joins such letters is missing.
    """
    line, font = _choose(_clean(text), 20)
    if any(unicodedata.bidirectional(c) in ("R", "AL") for c in line) and not _orders_letters():
        return False
    return _letters(font, line) >= set(line)


@functools.cache
def _orders_letters() -> bool:
    from PIL import features

    return bool(features.check("raqm") and features.check("fribidi"))


def _clean(text: str) -> str:
    """Write a text on one line: unseen marks are left out, control characters shown escaped."""
    shown = (c for c in text if unicodedata.category(c) != "Cf" or c in _JOINERS)
    return "".join(c if c.isprintable() or c in _JOINERS else ascii(c)[1:-1] for c in shown)


def _padding(height: int) -> int:
    return height // 5


def _fit(text: str, height: int, width: int) -> tuple[str, Font]:
    """Shorten a text until it fits a box, and choose its font; empty where not even dots fit."""
    line = _clean(text)
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
    seen = (c for c in line if c.isspace() or c in _JOINERS or bytes(font.getmask(c)) != missing)
    return frozenset(seen)
