"""Where the labels of faces go in a picture: beside their face, off the others and each other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from facekeep._internal.text import Box, legible, measure_text

__all__ = ["Label", "Placed", "place"]

# What a label costs that hides as much as its own area of another label, of another face or of its
# own face; and what each step costs from the first form of a label to the next shorter one.
_HIDES_LABEL, _HIDES_FACE, _HIDES_OWN, _STEP = 400.0, 10.0, 4.0, 0.4
_GOOD = 0.35  # a place that costs less is taken at once
# Above the face, below it, at its right and at its left cost more in this order: where labels
# always stand above, nobody takes one for the label of the face above it.
_ABOVE, _BELOW, _BESIDE, _WITHIN = 0.0, 0.12, 0.2, 0.3
_WIDEST = 3.2  # of its face's side: a longer label seems to be that of the next face
_DETAIL = 0.72  # height of the second text, as a share of the first one's
_LOWEST = 12  # pixels: lower letters cannot be read


@dataclass(frozen=True, slots=True)
class Label:
    """What is to be written beside a face.

    Attributes:
        text: The name or the number.
        detail: What is added in smaller letters where there is room.
        number: What is written instead of a name for which there is no room or no font.
        box: The face's box in whole pixels, inside the picture.
        named: It is a name: more important than a number, and in larger letters.
    """

    text: str
    detail: str
    number: str
    box: Box
    named: bool


@dataclass(frozen=True, slots=True)
class Placed:
    """A label in its place.

    Attributes:
        text: What is written, in the box ``main``.
        detail: What is added in the box ``side``; empty for nothing.
        box: The ground of the whole label.
        main: The box of the text.
        side: The box of the detail.
    """

    text: str
    detail: str
    box: Box
    main: Box
    side: Box


@dataclass(frozen=True, slots=True)
class _Form:
    """One way to write a label: the texts, their widths, the height."""

    text: str
    detail: str
    height: int
    width: int
    detail_width: int

    @property
    def whole(self) -> int:
        return self.width + self.detail_width


def place(labels: Sequence[Label], size: tuple[int, int], gap: int = 2) -> list[Placed | None]:
    """Find a place for each label: names before numbers, those of large faces first.

    A label touches its face's box and lies whole inside the picture. It is shortened, and a name
    becomes the face's number, before it hides another face or label; only where nothing helps does
    it hide as little as it can.

    Args:
        labels: The labels.
        size: Width and height of the picture.
        gap: Pixels between a box and its label.

    Returns:
        The place of each; None where the picture is too small for any.
    """
    faces = np.array([label.box for label in labels], np.int64).reshape(-1, 4)
    taken = np.empty((0, 4), np.int64)
    found: list[Placed | None] = [None] * len(labels)
    order = sorted(range(len(labels)), key=lambda i: (not labels[i].named, -_side(labels[i].box)))
    for index in order:
        label = labels[index]
        found[index] = placed = _best(label, np.delete(faces, index, 0), taken, size, gap)
        if placed is not None:
            taken = np.vstack([taken, placed.box])
    return found


def _side(box: Box) -> int:
    return max(1, min(box[2] - box[0], box[3] - box[1]))


def _best(
    label: Label,
    faces: NDArray[np.int64],
    taken: NDArray[np.int64],
    size: tuple[int, int],
    gap: int,
) -> Placed | None:
    """Try the forms of a label in all places, until one is good; else give the least bad."""
    best: tuple[float, _Form, Box] | None = None
    for step, form in enumerate(_forms(label, size)):
        for spot, price in _spots(form, label.box, size, gap):
            cost = price + step * _STEP + _hidden(spot, label.box, faces, taken)
            if best is None or cost < best[0]:
                best = cost, form, spot
        if best is not None and best[0] < _GOOD + step * _STEP:
            break
    return None if best is None else _written(best[1], best[2])


def _forms(label: Label, size: tuple[int, int]) -> Iterator[_Form]:
    """Give the ways to write a label, from the one wished for to the shortest."""
    side, limit = _side(label.box), min(size) // 10
    share, lowest = (0.2, _LOWEST + 2) if label.named else (0.15, _LOWEST)
    height = max(lowest, min(round(share * side), limit))
    lower = max(_LOWEST, round(0.75 * height))
    if 3 * lower > size[1]:
        return  # the label would hide the picture
    if not label.named or legible(label.text):
        for room, detail, tall in (
            (_WIDEST, label.detail, height),
            (_WIDEST, "", height),
            (_WIDEST, "", lower),
            (2.4, "", lower),
            (1.6, "", lower),
        ):
            widest = min(size[0], max(4 * tall, round(room * side)))
            yield _form(label.text, detail, tall, widest)
    yield _form(label.number, "", lower, size[0])


def _form(text: str, detail: str, height: int, limit: int) -> _Form:
    width = measure_text(text, height, limit)
    room = measure_text(detail, round(_DETAIL * height), 20 * height) if detail and width else 0
    return _Form(text, detail, height, width, room) if width + room <= limit else _NONE


_NONE = _Form("", "", 0, 0, 0)


def _spots(form: _Form, face: Box, size: tuple[int, int], gap: int) -> Iterator[tuple[Box, float]]:
    """Give the places that touch a face's box and lie in the picture, each with its cost."""
    (x1, y1, x2, y2), width, height = face, form.whole, form.height
    if not width:
        return
    middle = (x1 + x2 - width) // 2
    above, below, right, left = y1 - height - gap, y2 + gap + 1, x2 + gap + 1, x1 - width - gap
    levels = (y1, (y1 + y2 - height) // 2, y2 - height)
    tries = [(x, above, _ABOVE) for x in (x1, middle, x2 - width)]
    tries += [(x, below, _BELOW) for x in (x1, middle, x2 - width)]
    tries += [(x, y, _BESIDE) for x in (right, left) for y in levels]
    tries += [(x1, y1, _WITHIN), (x1, y2 - height, _WITHIN), (x2 - width, y1, _WITHIN)]
    if above < 0 and below + height > size[1]:
        tries += [(x1, 0, 1.0)]
    for rank, (wished, y, price) in enumerate(tries):
        x = max(0, min(wished, size[0] - width))
        if 0 <= y <= size[1] - height:
            yield (x, y, x + width, y + height), price + 0.01 * rank


def _hidden(spot: Box, own: Box, faces: NDArray[np.int64], taken: NDArray[np.int64]) -> float:
    """Price what a label would hide there."""
    area = (spot[2] - spot[0]) * (spot[3] - spot[1])
    hidden = _HIDES_LABEL * _overlap(spot, taken) + _HIDES_FACE * _overlap(spot, faces)
    return float(hidden + _HIDES_OWN * _overlap(spot, np.array([own]))) / area


def _overlap(spot: Box, boxes: NDArray[np.int64]) -> int:
    """Sum the pixels that a box shares with others."""
    width = np.minimum(boxes[:, 2], spot[2]) - np.maximum(boxes[:, 0], spot[0])
    height = np.minimum(boxes[:, 3], spot[3]) - np.maximum(boxes[:, 1], spot[1])
    return int((np.maximum(width, 0) * np.maximum(height, 0)).sum())


def _written(form: _Form, spot: Box) -> Placed:
    x1, y1, x2, y2 = spot
    main = (x1, y1, x1 + form.width, y2)
    lower = round(_DETAIL * form.height)
    top = y1 + (form.height - lower + 1) // 2
    return Placed(form.text, form.detail, spot, main, (x1 + form.width, top, x2, top + lower))
