"""Pictures for people: faces marked in their photo, and sheets of crops."""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from facekeep._internal.label_layout import Label, Placed, place
from facekeep._internal.text import Box, write
from facekeep.errors import InputError
from facekeep.pipeline.image import check_image
from facekeep.types import Face, reading_order

if TYPE_CHECKING:
    from PIL import Image, ImageDraw

__all__ = ["annotate", "contact_sheet"]

_Color = tuple[int, int, int]

_BLACK, _WHITE, _GRAY, _PALE = (0, 0, 0), (255, 255, 255), (90, 90, 90), (225, 225, 225)
_MAX_SHEET_HEIGHT = 16_000


@dataclass(frozen=True, slots=True)
class _Style:
    """How a face is marked: never by color alone, and in colors all eyes can tell apart.

    Attributes:
        color: Of the box and of the ground of the label.
        ink: Of the letters.
        dash: Length of the dashes of the box in thicknesses of its line; 0 for a solid line.
        weight: Thickness of the line, as a share of the usual one.
    """

    color: _Color
    ink: _Color
    dash: int = 0
    weight: float = 1.0


# Colors of Okabe and Ito, "Color Universal Design" (2008): blue, orange, sky blue.
_KNOWN = _Style((0, 114, 178), _WHITE)
_UNKNOWN = _Style((230, 159, 0), _BLACK, dash=5)
_FOUND = _Style((86, 180, 233), _BLACK)
_UNUSABLE = _Style((200, 200, 200), _BLACK, dash=2, weight=0.5)
# Landmarks are dots that would hide a smaller face.
_LEAST_FOR_LANDMARKS = 40


def annotate(
    image: NDArray[np.uint8], faces: Sequence[Face], labels: Sequence[str] | None = None
) -> NDArray[np.uint8]:
    """Mark faces in a copy of their photo: a box each, and a label beside it.

    Known people have a solid blue box with their name and the similarity, unknown ones a dashed
    orange box and a number, unusable faces (``Face.reasons``) a thin dotted gray box and
    a number; faces that were not compared with anybody have a solid sky-blue box, a number and, if
    they are large enough, their landmarks. The numbers are those of ``reading_order``.

    Lines and letters grow with the face. A label touches its face, lies inside the picture, and
    keeps off other faces and labels; where there is no room it is shortened, and a name for which
    there is none, or no font, becomes the face's number. Photos less than 36 high have no labels.

    Args:
        image: uint8 ``(H, W, 3)`` RGB.
        faces: Faces found in this image.
        labels: One text per face instead of name or number. An empty text draws no label.

    Returns:
        uint8 ``(H, W, 3)`` RGB, a new array.

    Raises:
        InputError: The image has the wrong form, or there are not as many labels as faces.
    """
    from PIL import Image, ImageDraw

    pixels = check_image(image)
    if labels is not None and len(labels) != len(faces):
        raise InputError(f"{len(faces)} faces need as many labels; got {len(labels)}")
    picture = Image.fromarray(pixels)
    draw = ImageDraw.Draw(picture)
    for face in sorted(faces, key=lambda face: face.name is not None):
        _mark(draw, picture.size, face)
    for style, placed in _labels(faces, labels, picture.size):  # after all boxes: none crosses one
        _write_label(draw, style, placed)
    return np.array(picture)


def contact_sheet(
    groups: Sequence[tuple[str, Sequence[NDArray[np.uint8]]]],
    *,
    captions: Sequence[Sequence[str]] | None = None,
    tile: int = 112,
    columns: int = 8,
) -> NDArray[np.uint8]:
    """Lay out groups of crops, a titled row for each.

    A group of more crops than columns ends in a "+N" for those not shown, or with captions goes on
    in the next row; groups that would make the sheet higher than 16,000 pixels are counted in a
    last line.

    Args:
        groups: Title and crops (uint8 ``(h, w, 3)`` RGB of any size) of each group.
        captions: What is written under each crop of each group, in up to two lines.
        tile: Side of a crop on the sheet, 32 to 512 pixels.
        columns: Crops per row, 1 to 64.

    Returns:
        uint8 ``(H, W, 3)`` RGB.

    Raises:
        InputError: A crop has the wrong form, there are not as many captions as crops, or an
            argument is out of range.
    """
    from PIL import Image, ImageDraw

    if not (32 <= tile <= 512 and 1 <= columns <= 64):
        raise InputError(f"tile must be 32 to 512 and columns 1 to 64; got {tile} and {columns}")
    gap, line = tile // 14, min(tile // 4, 40)
    under = 0 if captions is None else 2 * _caption_line(tile)
    rows = _rows(groups, captions, columns)
    ends = list(itertools.accumulate(tile + under + gap + line * each.first for each in rows))
    shown = rows[: bisect.bisect_right(ends, _MAX_SHEET_HEIGHT - gap - line)]
    left_out = sum(each.first for each in rows[len(shown) :])
    note = f"+{left_out} groups" if left_out else "" if shown else "no groups"
    used = ends[len(shown) - 1] if shown else 0
    width, height = columns * (tile + gap) + gap, gap + used + (line if note else 0)
    sheet = Image.new("RGB", (width, height), _WHITE)
    draw = ImageDraw.Draw(sheet)
    for each, end in zip(shown, ends, strict=False):
        top = gap + end - (tile + under + gap)  # of the crops; the title is above them
        write(draw, each.title, (gap, top - line, width - gap, top), _BLACK)
        tiles = list(itertools.islice(_tiles(each.crops, tile, columns), columns))
        for column, picture in enumerate(tiles):
            sheet.paste(picture, (gap + column * (tile + gap), top))
        for column, caption in enumerate(each.captions):
            _write_caption(draw, caption, (gap + column * (tile + gap), top + tile), tile)
    write(draw, note, (gap, height - line, width - gap, height), _GRAY)
    return np.array(sheet)


@dataclass(frozen=True, slots=True)
class _Row:
    """A row of a sheet; ``first`` of its group, or one that goes on with it."""

    title: str
    crops: Sequence[NDArray[np.uint8]]
    captions: Sequence[str] = ()
    first: bool = True


def _rows(
    groups: Sequence[tuple[str, Sequence[NDArray[np.uint8]]]],
    captions: Sequence[Sequence[str]] | None,
    columns: int,
) -> list[_Row]:
    """Give the rows: one a group, or with captions as many as it takes."""
    if captions is None:
        return [_Row(title, crops) for title, crops in groups]
    if [len(crops) for _, crops in groups] != [len(each) for each in captions]:
        raise InputError("there must be as many captions as crops in each group")
    return [
        _Row(
            title if at == 0 else "",
            crops[at : at + columns],
            texts[at : at + columns],
            first=at == 0,
        )
        for (title, crops), texts in zip(groups, captions, strict=True)
        for at in range(0, max(len(crops), 1), columns)
    ]


def _caption_line(tile: int) -> int:
    """The height of one of the two lines under a crop."""
    return max(14, tile // 10)


def _write_caption(
    draw: ImageDraw.ImageDraw, caption: str, corner: tuple[int, int], tile: int
) -> None:
    x, y = corner
    line = _caption_line(tile)
    for number, text in enumerate(caption.split("\n")[:2]):
        write(draw, text, (x, y + number * line, x + tile, y + (number + 1) * line), _BLACK)


def _tiles(crops: Sequence[NDArray[np.uint8]], tile: int, columns: int) -> Iterator[Image.Image]:
    """Give the crops as squares; the last square counts those that do not fit."""
    from PIL import Image, ImageDraw, ImageOps

    shown = len(crops) if len(crops) <= columns else columns - 1
    for crop in crops[:shown]:
        picture = Image.fromarray(check_image(crop))
        yield ImageOps.pad(picture, (tile, tile), Image.Resampling.LANCZOS, _PALE)
    if shown < len(crops):
        rest = Image.new("RGB", (tile, tile), _PALE)
        write(
            ImageDraw.Draw(rest),
            f"+{len(crops) - shown}",
            (0, tile // 3, tile, 2 * tile // 3),
            _BLACK,
        )
        yield rest


def _style(face: Face) -> _Style:
    if face.reasons:
        return _UNUSABLE
    if face.decision is None:
        return _FOUND
    return _UNKNOWN if face.name is None else _KNOWN


def _labels(
    faces: Sequence[Face], texts: Sequence[str] | None, size: tuple[int, int]
) -> Iterator[tuple[_Style, Placed]]:
    """Give the labels in their places, numbers before names, so that names lie on top."""
    numbers = reading_order(faces)
    wanted = [
        (_style(face), _label(face, str(number), None if texts is None else texts[i], size))
        for i, (face, number) in enumerate(zip(faces, numbers, strict=True))
    ]
    wanted = [(style, label) for style, label in wanted if label.text]
    found = place([label for _, label in wanted], size)
    placed = [(s, label, p) for (s, label), p in zip(wanted, found, strict=True) if p is not None]
    for style, _, where in sorted(placed, key=lambda each: each[1].named):
        yield style, where


def _label(face: Face, number: str, text: str | None, size: tuple[int, int]) -> Label:
    box = _inside(face, size)
    if text is not None:
        return Label(text, "", number, box, named=True)
    if face.name is None:
        return Label(number, "", number, box, named=False)
    detail = "" if face.similarity is None else f"{face.similarity:.2f}"
    return Label(face.name, detail, number, box, named=True)


def _thickness(box: Box, style: _Style) -> int:
    side = min(box[2] - box[0], box[3] - box[1])
    return max(1, round(min(side / 60, 12) * style.weight))


def _inside(face: Face, size: tuple[int, int]) -> Box:
    """The face's box in whole pixels, cut at the border of the image."""
    limits = np.array([size[0] - 1, size[1] - 1] * 2)
    x1, y1, x2, y2 = np.clip(np.rint(face.bbox), 0, limits).astype(int).tolist()
    return x1, y1, max(x1, x2), max(y1, y2)


def _mark(draw: ImageDraw.ImageDraw, size: tuple[int, int], face: Face) -> None:
    style, box = _style(face), _inside(face, size)
    thick = _thickness(box, style)
    x1, y1, x2, y2 = box
    corners = [(x1, y1), (x2, y1), (x2, y2), (x1, y2), (x1, y1)]
    # Something dark behind the line, to show on a bright ground: a rim, or the gaps of the dots.
    draw.line(corners, *((_GRAY, thick) if style is _UNUSABLE else (_BLACK, thick + 2)))
    for start, end in itertools.pairwise(corners):
        _line(draw, start, end, style.color, thick, style.dash * thick)
    if style is _FOUND and min(x2 - x1, y2 - y1) >= _LEAST_FOR_LANDMARKS:
        radius = max(1, round(0.02 * max(x2 - x1, y2 - y1)))
        for x, y in face.landmarks.tolist():
            dot = (x - radius, y - radius, x + radius, y + radius)
            draw.ellipse(dot, style.color, _BLACK, max(1, radius // 4))


def _line(
    draw: ImageDraw.ImageDraw,
    start: tuple[int, int],
    end: tuple[int, int],
    color: _Color,
    thick: int,
    dash: int,
) -> None:
    """Draw a line along an axis; ``dash`` pixels of it, then as many not, or all where it is 0."""
    length = max(abs(end[0] - start[0]), abs(end[1] - start[1]))
    step = np.sign(np.subtract(end, start))
    for at in range(0, length + 1, 2 * dash or length + 1):
        until = min(length, at + dash) if dash else length
        ends = [tuple((start + at * step).tolist()), tuple((start + until * step).tolist())]
        draw.line(ends, color, thick)


def _write_label(draw: ImageDraw.ImageDraw, style: _Style, placed: Placed) -> None:
    x1, y1, x2, y2 = placed.box
    draw.rectangle((x1, y1, x2 - 1, y2 - 1), style.color)
    write(draw, placed.text, placed.main, style.ink)
    if placed.detail:
        write(draw, placed.detail, placed.side, style.ink)
