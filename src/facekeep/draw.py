"""Pictures for people: faces marked in their photo, and sheets of crops."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from facekeep._text import Box, width_of, write
from facekeep.errors import InputError
from facekeep.face import Face
from facekeep.image import check_image

if TYPE_CHECKING:
    from PIL import Image, ImageDraw

__all__ = ["annotate", "contact_sheet"]

_Colour = tuple[int, int, int]

_BLACK, _WHITE, _GREY, _PALE = (0, 0, 0), (255, 255, 255), (90, 90, 90), (225, 225, 225)
_MAX_SHEET_HEIGHT = 16_000


@dataclass(frozen=True, slots=True)
class _Style:
    """How a face is marked: never by colour alone, and in colours all eyes can tell apart."""

    colour: _Colour
    ink: _Colour
    dashed: bool


# Colours of Okabe and Ito, "Color Universal Design" (2008): blue, orange, sky blue.
_KNOWN = _Style((0, 114, 178), _WHITE, dashed=False)
_UNKNOWN = _Style((230, 159, 0), _BLACK, dashed=True)
_FOUND = _Style((86, 180, 233), _BLACK, dashed=False)


def annotate(
    image: NDArray[np.uint8], faces: Sequence[Face], labels: Sequence[str] | None = None
) -> NDArray[np.uint8]:
    """Mark faces in a copy of their photo: box, five landmarks, label.

    Known people have a solid blue box, unknown ones a dashed orange box, faces that were not
    compared with anybody a solid sky-blue one. Lines and letters grow with the photo; a label
    always lies inside it, is shortened where it must be, and left out of photos less than 48 high.

    Args:
        image: uint8 ``(H, W, 3)`` RGB.
        faces: Faces found in this image.
        labels: One text per face; by default the name, or "unknown", and the similarity. An empty
            text draws no label.

    Returns:
        uint8 ``(H, W, 3)`` RGB, a new array.

    Raises:
        InputError: The image has the wrong form, or there are not as many labels as faces.
    """
    from PIL import Image, ImageDraw

    pixels = check_image(image)
    texts = [_label(face) for face in faces] if labels is None else list(labels)
    if len(texts) != len(faces):
        raise InputError(f"{len(faces)} faces need as many labels; got {len(texts)}")
    picture = Image.fromarray(pixels)
    draw = ImageDraw.Draw(picture)
    for face in faces:
        _mark(draw, picture.size, face)
    for face, text in zip(
        faces, texts, strict=True
    ):  # after all boxes, so that none crosses a name
        _write_label(draw, picture.size, face, text)
    return np.array(picture)


def contact_sheet(
    groups: Sequence[tuple[str, Sequence[NDArray[np.uint8]]]],
    *,
    tile: int = 112,
    columns: int = 8,
) -> NDArray[np.uint8]:
    """Lay out groups of crops, a titled row for each.

    A group of more crops than columns ends in a "+N" for those not shown; groups that would make
    the sheet higher than 16,000 pixels are counted in a last line.

    Args:
        groups: Title and crops (uint8 ``(h, w, 3)`` RGB of any size) of each group.
        tile: Side of a crop on the sheet, 32 to 512 pixels.
        columns: Crops per row, 1 to 64.

    Returns:
        uint8 ``(H, W, 3)`` RGB.

    Raises:
        InputError: A crop has the wrong form, or an argument is out of range.
    """
    from PIL import Image, ImageDraw

    if not (32 <= tile <= 512 and 1 <= columns <= 64):
        raise InputError(f"tile must be 32 to 512 and columns 1 to 64; got {tile} and {columns}")
    gap, line = tile // 14, tile // 4
    row = line + tile + gap
    room = (_MAX_SHEET_HEIGHT - gap - line) // row
    shown, left_out = groups[:room], max(0, len(groups) - room)
    note = f"+{left_out} groups" if left_out else "" if shown else "no groups"
    width, height = columns * (tile + gap) + gap, gap + row * len(shown) + (line if note else 0)
    sheet = Image.new("RGB", (width, height), _WHITE)
    draw = ImageDraw.Draw(sheet)
    for index, (title, crops) in enumerate(shown):
        top = gap + index * row
        write(draw, title, (gap, top, width - gap, top + line), _BLACK)
        tiles = list(itertools.islice(_tiles(crops, tile, columns), columns))
        for column, each in enumerate(tiles):
            sheet.paste(each, (gap + column * (tile + gap), top + line))
    write(draw, note, (gap, height - line, width - gap, height), _GREY)
    return np.array(sheet)


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


def _label(face: Face) -> str:
    if face.decision is None:
        return ""
    name = face.name or "unknown"
    return name if face.similarity is None else f"{name} {face.similarity:.2f}"


def _style(face: Face) -> _Style:
    if face.decision is None:
        return _FOUND
    return _UNKNOWN if face.name is None else _KNOWN


def _thickness(size: tuple[int, int]) -> int:
    return max(1, round(min(size) / 240))


def _inside(face: Face, size: tuple[int, int]) -> Box:
    """The face's box in whole pixels, cut at the border of the image."""
    limits = np.array([size[0] - 1, size[1] - 1] * 2)
    x1, y1, x2, y2 = np.clip(np.rint(face.bbox), 0, limits).astype(int).tolist()
    return x1, y1, max(x1, x2), max(y1, y2)


def _mark(draw: ImageDraw.ImageDraw, size: tuple[int, int], face: Face) -> None:
    style, thick = _style(face), _thickness(size)
    x1, y1, x2, y2 = _inside(face, size)
    corners = [(x1, y1), (x2, y1), (x2, y2), (x1, y2), (x1, y1)]
    draw.line(corners, _BLACK, thick + 2)  # a dark rim, to show on a bright ground
    dash = 5 * thick if style.dashed else 0
    for start, end in itertools.pairwise(corners):
        _line(draw, start, end, style.colour, thick, dash)
    radius = max(1, round(0.02 * max(x2 - x1, y2 - y1)))
    for x, y in face.landmarks.tolist():
        dot = (x - radius, y - radius, x + radius, y + radius)
        draw.ellipse(dot, style.colour, _BLACK, max(1, radius // 4))


def _line(
    draw: ImageDraw.ImageDraw,
    start: tuple[int, int],
    end: tuple[int, int],
    colour: _Colour,
    thick: int,
    dash: int,
) -> None:
    """Draw a line along an axis; ``dash`` pixels of it, then as many not, or all where it is 0."""
    length = max(abs(end[0] - start[0]), abs(end[1] - start[1]))
    step = np.sign(np.subtract(end, start))
    for at in range(0, length + 1, 2 * dash or length + 1):
        until = min(length, at + dash) if dash else length
        ends = [tuple((start + at * step).tolist()), tuple((start + until * step).tolist())]
        draw.line(ends, colour, thick)


def _write_label(draw: ImageDraw.ImageDraw, size: tuple[int, int], face: Face, text: str) -> None:
    """Put a label above the face's box, below it where there is no room, or else into it."""
    style, thick, height = _style(face), _thickness(size), max(16, min(size) // 24)
    if 3 * height > size[1]:
        return  # the label would hide the picture
    x1, y1, _, y2 = _inside(face, size)
    top = y1 - height - thick
    if top < 0:
        top = y2 + thick + 1 if y2 + thick + 1 + height <= size[1] else 0
    width = width_of(text, height, size[0])
    if width:
        left = max(0, min(x1, size[0] - width))
        box = (left, top, left + width, top + height)
        draw.rectangle((box[0], box[1], box[2] - 1, box[3] - 1), style.colour)
        write(draw, text, box, style.ink)
