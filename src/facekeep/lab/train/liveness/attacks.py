"""Attacks made from photos of faces: prints, screens and masks as a camera would see them.

They are simulated: no figure measured on them says how real attacks fare. docs/liveness.md
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["KEPT_OUT", "SPECIES", "Frame", "photograph", "simulate"]

Pixels = NDArray[np.uint8]
_Matrix = NDArray[np.float64]

SPECIES: Final = ("print", "close-print", "bent-print", "glossy", "screen", "close-screen", "mask")
"""The species of attacks. A close one fills the picture: it shows no border and no bezel."""

KEPT_OUT: Final = ("close-screen", "mask")
"""The species that a network does not learn from, and is measured with."""

_SIDE: Final = 240  # of a picture in pixels
_CLOSE: Final = ("close-print", "close-screen")


class Frame(NamedTuple):
    """A picture and the face in it.

    Attributes:
        image: uint8 ``(240, 240, 3)`` RGB.
        bbox: float32 ``(4,)``: the box of the face in it, ``x1, y1, x2, y2`` in pixels.
    """

    image: Pixels
    bbox: NDArray[np.float32]


def photograph(
    photo: Pixels,
    bbox: NDArray[np.floating],
    rng: np.random.Generator,
    *,
    share: tuple[float, float] = (0.55, 1.6),
) -> Frame:
    """Show the face of a photo as if it were before the camera: as it is, but for the camera.

    Args:
        photo: uint8 ``(H, W, 3)`` RGB, at least 2 x 2.
        bbox: The face's box in it.
        rng: Decides.
        share: What the photo's longer side is of the picture's, from and to; where it is less than
            the whole, the picture is filled with its mirror image.
    """
    face, box = _enlarge(photo, np.asarray(bbox, np.float64))
    matrix = _place(face.shape, rng, share=share, tilt=0.03)
    return _take(_warp(face, matrix, "mirror"), _moved(box, matrix), rng)


def simulate(
    species: str,
    photo: Pixels,
    bbox: NDArray[np.floating],
    background: Pixels,
    rng: np.random.Generator,
) -> Frame:
    """Show a photo of a face to a camera.

    Args:
        species: One of `SPECIES`.
        photo: uint8 ``(H, W, 3)`` RGB, at least 32 x 32.
        bbox: The face's box in it, ``(4,)``.
        background: What lies behind the photo, uint8 RGB.
        rng: Decides; the same state gives the same frame.

    Raises:
        KeyError: There is no such species.
    """
    medium, box = _crop(photo, np.asarray(bbox, np.float64), rng)
    opaque = np.full(medium.shape[:2], 255, np.uint8)
    medium = _display(medium, rng) if "screen" in species else _print(medium, rng)
    medium, opaque, box = _FORMS[species](medium, opaque, box, rng)
    close = species in _CLOSE
    share = (1.3, 1.9) if close else (0.55, 1.1)
    matrix = _place(medium.shape, rng, share=share, tilt=0.04 if close else 0.12)
    scene = _backdrop(background, rng).astype(np.float32)
    shown = _warp(medium, matrix, "mirror" if close else "black").astype(np.float32)
    if "screen" in species:
        shown = _interfere(shown, rng)
    if species in ("glossy", "screen", "close-screen") and rng.random() < 0.8:
        shown = _shine(shown, rng, hard=species == "glossy")
    cover = _warp(opaque, matrix, "mirror" if close else "black").astype(np.float32) / 255
    mixed = scene + (shown - scene) * cover[..., None]
    return _take(mixed.clip(0, 255).astype(np.uint8), _moved(box, matrix), rng)


def _crop(
    photo: Pixels, bbox: NDArray[np.float64], rng: np.random.Generator
) -> tuple[Pixels, NDArray[np.float64]]:
    """Cut more or less of what surrounds the face off, and bring the rest to 256 pixels."""
    height, width = photo.shape[:2]
    keep = rng.uniform(0.0, 1.0, 4)
    x1, y1 = (bbox[:2] * 0.9 * keep[:2]).astype(int)
    x2, y2 = np.ceil([width, height] - ([width, height] - bbox[2:]) * 0.9 * keep[2:]).astype(int)
    part = photo[y1 : max(y2, y1 + 8), x1 : max(x2, x1 + 8)]
    return _enlarge(part, bbox - [x1, y1, x1, y1])


def _enlarge(part: Pixels, bbox: NDArray[np.float64]) -> tuple[Pixels, NDArray[np.float64]]:
    import cv2

    factor = 256 / max(part.shape[:2])
    sides = [max(8, round(side * factor)) for side in part.shape[1::-1]]
    resized = cv2.resize(part, sides, interpolation=cv2.INTER_CUBIC)
    return np.asarray(resized, np.uint8), bbox * factor


def _print(medium: Pixels, rng: np.random.Generator) -> Pixels:
    """Print: fewer colors, paler blacks, a dot screen, and the grain of paper."""
    import cv2

    pixels: Any = medium.astype(np.float32)
    black, white = rng.uniform(10, 45), rng.uniform(205, 250)
    tint = rng.uniform(0.9, 1.06, 3)
    gray = pixels.mean(axis=2, keepdims=True)
    pixels = gray + (pixels - gray) * rng.uniform(0.55, 1.05)
    pixels = (black + pixels * (white - black) / 255) * tint
    if rng.random() < 0.7:  # lines of dots at an angle, as fine as the printer
        rows, columns = np.indices(medium.shape[:2], np.float32)
        period, angle = rng.uniform(2.2, 5.0), rng.uniform(0, np.pi)
        along = rows * np.sin(angle) + columns * np.cos(angle)
        across = columns * np.sin(angle) - rows * np.cos(angle)
        dots = np.cos(2 * np.pi * along / period) + np.cos(2 * np.pi * across / period)
        pixels += rng.uniform(2, 14) * dots[..., None]
    grain = np.asarray(cv2.GaussianBlur(rng.normal(0, 1, pixels.shape[:2]), (0, 0), 1.0))
    pixels = pixels + rng.uniform(2, 10) * grain[..., None]
    return np.asarray(pixels.clip(0, 255), np.uint8)


def _display(medium: Pixels, rng: np.random.Generator) -> Pixels:
    """Show on a display: bluer, more contrast, and the grid of its pixels."""
    pixels = (medium.astype(np.float32) - 127.5) * rng.uniform(0.95, 1.3) + 127.5
    pixels = pixels * rng.uniform(0.85, 1.15) * [rng.uniform(0.86, 1.0), 1.0, rng.uniform(1, 1.16)]
    period = int(rng.integers(2, 5))
    depth = rng.uniform(0.02, 0.16)
    pixels[::period] *= 1 - depth
    pixels[:, ::period] *= 1 - depth * rng.uniform(0.3, 1)
    return pixels.clip(0, 255).astype(np.uint8)


_Formed = tuple[Pixels, Pixels, NDArray[np.float64]]


def _framed(color: tuple[int, int], width: tuple[float, float]) -> Callable[..., _Formed]:
    """Put a border around the medium, of a gray from the first range and a share of its side."""

    def form(
        medium: Pixels, opaque: Pixels, box: NDArray[np.float64], rng: np.random.Generator
    ) -> _Formed:
        border = round(rng.uniform(*width) * max(medium.shape))
        gray = rng.integers(*color)
        pads = ((border, border), (border, border))
        framed = np.pad(medium, (*pads, (0, 0)), constant_values=gray)
        return framed, np.pad(opaque, pads, constant_values=255), box + border

    return form


def _bend(
    medium: Pixels, opaque: Pixels, box: NDArray[np.float64], rng: np.random.Generator
) -> _Formed:
    """Bend paper into a part of a cylinder about an upright or a level axis."""
    import cv2

    medium, opaque, box = _framed((215, 250), (0.0, 0.06))(medium, opaque, box, rng)
    height, width = medium.shape[:2]
    half = rng.uniform(0.4, 1.1)  # radians from the middle to an edge
    rows, columns = np.indices((height, width), np.float32)
    upright = rng.random() < 0.7
    along, side = (columns, width) if upright else (rows, height)
    place = (along / (side - 1) * 2 - 1) * np.sin(half)
    source = ((np.arcsin(place) / half + 1) / 2 * (side - 1)).astype(np.float32)
    across, down = (source, rows) if upright else (columns, source)
    bent = np.asarray(cv2.remap(medium, across, down, cv2.INTER_LINEAR), np.float32)
    light = 1 - rng.uniform(0, 0.5) * np.abs(place + rng.uniform(-0.5, 0.5))
    axis = 0 if upright else 1
    places = box[[axis, axis + 2]] / (side - 1) * 2 - 1
    box = box.copy()
    box[[axis, axis + 2]] = (np.sin(places * half) / np.sin(half) + 1) / 2 * (side - 1)
    return (bent * light[..., None]).clip(0, 255).astype(np.uint8), opaque, box


def _cut_out(
    medium: Pixels, opaque: Pixels, box: NDArray[np.float64], rng: np.random.Generator
) -> _Formed:
    """Cut the face out along its outline."""
    import cv2

    opaque = np.zeros_like(opaque)
    middle, half = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]) / 2 * rng.uniform(1.0, 1.25)
    (x, y), (wide, high) = (each.astype(int).tolist() for each in (middle, half))
    cv2.ellipse(opaque, (x, y), (wide, high), 0, 0, 360, 255, -1)
    return medium, opaque, box


def _plain(
    medium: Pixels, opaque: Pixels, box: NDArray[np.float64], rng: np.random.Generator
) -> _Formed:
    return medium, opaque, box


_FORMS: Final[dict[str, Callable[..., _Formed]]] = {
    "print": _framed((215, 256), (0.02, 0.15)),
    "close-print": _plain,
    "bent-print": _bend,
    "glossy": _framed((215, 256), (0.0, 0.1)),
    "screen": _framed((0, 50), (0.02, 0.12)),
    "close-screen": _plain,
    "mask": _cut_out,
}


def _interfere(pixels: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Add the moire of two grids, in colored waves, and the bands of a display's refresh."""
    rows, columns = np.indices(pixels.shape[:2], np.float32)
    for _ in range(rng.integers(1, 4)):
        period, angle = rng.uniform(3, 30), rng.uniform(0, np.pi)
        bend = rng.uniform(-0.002, 0.002) * (rows - columns) ** 2
        wave = np.cos(2 * np.pi * (rows * np.sin(angle) + columns * np.cos(angle) + bend) / period)
        pixels = pixels + wave[..., None] * rng.uniform(0.5, 7) * rng.uniform(0.2, 1, 3)
    if rng.random() < 0.4:
        band = np.cos(2 * np.pi * rows / rng.uniform(60, 300) + rng.uniform(0, 6))
        pixels = pixels * (1 + rng.uniform(0.02, 0.12) * band[..., None])
    return np.asarray(pixels, np.float32)


def _shine(
    pixels: NDArray[np.float32], rng: np.random.Generator, *, hard: bool
) -> NDArray[np.float32]:
    """Add reflections of lamps or windows: soft spots, hard ones on glossy paper."""
    rows, columns = np.indices(pixels.shape[:2], np.float32) / _SIDE
    for _ in range(rng.integers(1, 3)):
        y, x = rng.uniform(0.1, 0.9, 2)
        high, wide = rng.uniform(0.04, 0.35, 2)
        far = ((rows - y) / high) ** 2 + ((columns - x) / wide) ** 2
        spot = np.exp(-(far**2) if hard else -far)
        pixels = pixels + spot[..., None] * rng.uniform(40, 200 if hard else 90)
    return np.asarray(pixels, np.float32)


def _backdrop(background: Pixels, rng: np.random.Generator) -> Pixels:
    import cv2

    sides = (_SIDE, _SIDE)
    large = cv2.resize(background, sides, interpolation=cv2.INTER_LINEAR)
    return np.asarray(cv2.GaussianBlur(large, (0, 0), rng.uniform(1, 10)), np.uint8)


def _place(
    shape: tuple[int, ...],
    rng: np.random.Generator,
    *,
    share: tuple[float, float],
    tilt: float,
) -> _Matrix:
    """Return the homography that places a medium in the picture.

    Args:
        shape: The medium's.
        rng: Decides.
        share: What its longer side is of the picture's, from and to.
        tilt: How far its corners are moved at most, as a share of its sides.
    """
    import cv2

    height, width = shape[:2]
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    scale = rng.uniform(*share) * _SIDE / max(height, width)
    angle = rng.normal(0, 0.06)
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    middle = np.array([width, height]) / 2
    moved = (corners - middle) @ turn.T + _SIDE / 2 + rng.normal(0, 0.02, 2) * _SIDE
    moved = moved + rng.uniform(-tilt, tilt, (4, 2)) * scale * [width, height]
    return np.asarray(cv2.getPerspectiveTransform(corners, moved.astype(np.float32)), np.float64)


def _warp(pixels: Pixels, matrix: _Matrix, beyond: str) -> Pixels:
    import cv2

    border = cv2.BORDER_REFLECT if beyond == "mirror" else cv2.BORDER_CONSTANT
    warped = cv2.warpPerspective(
        pixels, matrix, (_SIDE, _SIDE), flags=cv2.INTER_AREA, borderMode=border
    )
    return np.asarray(warped, np.uint8)


def _moved(bbox: NDArray[np.floating], matrix: _Matrix) -> NDArray[np.float64]:
    """Return the box around the corners of a box, moved by a homography."""
    x1, y1, x2, y2 = bbox
    corners = np.array([[x1, y1, 1], [x2, y1, 1], [x2, y2, 1], [x1, y2, 1]]) @ matrix.T
    points = corners[:, :2] / corners[:, 2:]
    return np.concatenate([points.min(axis=0), points.max(axis=0)])


def _take(image: Pixels, bbox: NDArray[np.float64], rng: np.random.Generator) -> Frame:
    """Take the picture: light, white balance, blur, noise and compression; the same for all."""
    import cv2
    from PIL import Image

    pixels: Any = image.astype(np.float32)
    pixels = pixels * rng.uniform(0.92, 1.08, 3) * rng.uniform(0.6, 1.15)
    pixels = cv2.GaussianBlur(pixels, (0, 0), rng.uniform(0.3, 1.2))
    pixels += rng.normal(0, rng.uniform(0.5, 5), pixels.shape)
    stream = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(
        stream, "JPEG", quality=int(rng.integers(60, 96))
    )
    taken = np.asarray(Image.open(stream).convert("RGB"))
    jitter = rng.normal(0, 0.03, 4) * np.tile(bbox[2:] - bbox[:2], 2)
    return Frame(taken, np.asarray(bbox + jitter, np.float32))
