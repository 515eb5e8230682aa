"""Damaged and turned photos: how often strangers match, with and without the answer unusable.

``damaged.py FOLDER``: FOLDER holds a folder for each person, such as LFW's images. The first photo
of each of --people people is damaged; its main face is found, embedded and measured. "Before"
counts all faces that are found, "after" those that are usable. For each damage:

found: of all photos; unusable: of the found faces; alike: the share of pairs of two people, damaged
alike, that match at --fmr; clean: the same of a damaged and an undamaged photo of two people; both
with a 95 % interval by drawing people anew, or, without a match, by the rule of three. of all: the
pairs alike that still match, of all pairs that were found. lost: of the true pairs (the damaged
photo and another of the person) that match before, those refused after.

``damaged.py --choose`` does the same on aligned crops of training identities, for several limits of
the recognizability: what `quality.USABLE` was chosen on. With --held it takes people not chosen on.

``damaged.py --scenes TAR``: animals and things that the detector takes for faces, in the photos of
TAR whose names begin with i (ImageNet): how many pairs from two photos match, with and without the
unusable ones.

``damaged.py FOLDER --time``: what an upright photo costs with and without the network, in turns.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from common import arguments, labeled_faces, report, tar_members
from numpy.typing import NDArray

from facekeep import load_image, threshold
from facekeep.lab.evaluate.crops import choose_central_face
from facekeep.models import default_model, entry
from facekeep.pipeline.align import align, template
from facekeep.pipeline.detect import Detector
from facekeep.pipeline.embed import Embedder
from facekeep.pipeline.image import list_images
from facekeep.pipeline.quality import USABLE, assess, review
from facekeep.pipeline.quality_network import QualityNetwork
from facekeep.runtime import RuntimeOptions
from facekeep.types import Face, Quality

Image = NDArray[np.uint8]
Rng = np.random.Generator
Change = Callable[[Image, Rng], Image]
RESAMPLES = 500
HELD = 1500  # people before this place were chosen on
FACE = 112  # the side of a face, in pixels of LFW's photos and of crops alike
LIMITS = (0.0, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5)


def clipped(pixels: NDArray[Any]) -> Image:
    """Round down to uint8 within 0 to 255."""
    return np.clip(pixels, 0, 255).astype(np.uint8)


def blurred(sigma: float) -> Change:
    """Out of focus."""
    return lambda image, rng: np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), np.uint8)


def shaken(length: int) -> Change:
    """Moved, in any direction."""

    def change(image: Image, rng: Rng) -> Image:
        kernel = np.zeros((length, length), np.float32)
        kernel[length // 2] = 1
        turn = cv2.getRotationMatrix2D((length // 2, length // 2), rng.uniform(0, 180), 1)
        kernel = np.asarray(cv2.warpAffine(kernel, turn, (length, length)), np.float32)
        return np.asarray(cv2.filter2D(image, -1, kernel / kernel.sum()), np.uint8)

    return change


def compressed(quality: int) -> Change:
    """As JPEG of this quality."""

    def change(image: Image, rng: Rng) -> Image:
        _, data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
        return np.ascontiguousarray(cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1])

    return change


def tiny(side: int, way: int = cv2.INTER_LINEAR) -> Change:
    """A face of so many pixels, enlarged."""

    def change(image: Image, rng: Rng) -> Image:
        share = side / FACE
        small = cv2.resize(image, None, fx=share, fy=share, interpolation=cv2.INTER_AREA)
        return np.asarray(cv2.resize(small, image.shape[1::-1], interpolation=way), np.uint8)

    return change


def boxed(*boxes: tuple[float, float, float, float], color: int | tuple[int, ...]) -> Change:
    """Paint over boxes: left, top, right, bottom in sides of the face about the middle."""

    def change(image: Image, rng: Rng) -> Image:
        changed = image.copy()
        corner = (np.array(image.shape[1::-1]) - FACE) / 2
        for left, top, right, bottom in boxes:
            (x1, y1), (x2, y2) = (
                np.clip(np.round(corner + np.array(at) * FACE), 0, None).astype(int)
                for at in ((left, top), (right, bottom))
            )
            changed[y1:y2, x1:x2] = color
        return changed

    return change


def noisy(sigma: float) -> Change:
    """The camera's noise, in gray levels."""
    return lambda image, rng: clipped(image + rng.normal(0, sigma, image.shape))


def lit(factor: float) -> Change:
    """Less light, or more until it clips."""
    return lambda image, rng: clipped(image.astype(np.float32) * factor)


def flat(factor: float) -> Change:
    """Less contrast."""
    return lambda image, rng: clipped((image - image.mean()) * factor + image.mean())


def posterized(levels: int) -> Change:
    """Few levels of light."""
    return lambda image, rng: clipped(np.round(image / 255 * (levels - 1)) / (levels - 1) * 255)


def gray(image: Image) -> Image:
    """Without color."""
    return np.repeat(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None], 3, 2).astype(np.uint8)


def sketched(image: Image, rng: Rng) -> Image:
    """A pencil drawing."""
    light = gray(image)[..., 0]
    soft = cv2.GaussianBlur(255 - light, (0, 0), 5).astype(np.float32)
    lines = clipped(np.minimum(255, light * 255.0 / np.maximum(1, 255 - soft)))
    return np.repeat(lines[..., None], 3, 2)


def striped(image: Image, rng: Rng) -> Image:
    """Every other pair of rows is black."""
    changed = image.copy()
    changed[np.arange(image.shape[0]) % 4 < 2] = 0
    return changed


def dithered(image: Image, rng: Rng) -> Image:
    """Printed in a newspaper: black dots in an ordered pattern."""
    pattern = np.array([[0, 8, 2, 10], [12, 4, 14, 6], [3, 11, 1, 9], [15, 7, 13, 5]]) * 16 + 8
    high, wide = image.shape[:2]
    tiles = np.tile(pattern, (high // 4 + 1, wide // 4 + 1))[:high, :wide]
    return np.repeat(np.where(gray(image)[..., 0] > tiles, 255, 0)[..., None], 3, 2).astype("u1")


def washed(floor: float, share: float) -> Change:
    """All light between two levels: fog, or a print that has faded."""
    return lambda image, rng: clipped(floor + image.astype(np.float32) * share)


def bent(gamma: float) -> Change:
    """Bent levels of light: darker above 1, brighter below."""
    return lambda image, rng: clipped((image / 255) ** gamma * 255)


def squeezed(wide: float, high: float) -> Change:
    """Another shape; as large as a face is once it is aligned."""

    def change(image: Image, rng: Rng) -> Image:
        size = (wide + high) / (wide**2 + high**2)
        matrix = np.diag([wide * size, high * size])
        middle = np.array(image.shape[1::-1]) / 2
        matrix = np.column_stack([matrix, middle - matrix @ middle])
        return np.asarray(
            cv2.warpAffine(image, matrix, image.shape[1::-1], borderMode=cv2.BORDER_REPLICATE),
            np.uint8,
        )

    return change


def drawn_from(image: Image, x: NDArray[Any], y: NDArray[Any]) -> Image:
    """Take each pixel from elsewhere."""
    sources = (x.astype(np.float32), y.astype(np.float32))
    return np.asarray(
        cv2.remap(image, *sources, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.uint8
    )


def whirled(image: Image, rng: Rng) -> Image:
    """Turned by half a radian in the middle of the face, less toward its edge."""
    y, x = np.mgrid[: image.shape[0], : image.shape[1]].astype(np.float32)
    x, y = x - image.shape[1] / 2, y - image.shape[0] / 2
    turn = 1.2 * np.clip(1 - np.hypot(x, y) / (0.6 * FACE), 0, None)
    cos, sin = np.cos(turn), np.sin(turn)
    middle = np.array(image.shape[1::-1]) / 2
    return drawn_from(image, cos * x - sin * y + middle[0], sin * x + cos * y + middle[1])


def bulged(image: Image, rng: Rng) -> Image:
    """As in a fairground mirror: the middle of the face is large."""
    y, x = np.mgrid[: image.shape[0], : image.shape[1]].astype(np.float32)
    x, y = x - image.shape[1] / 2, y - image.shape[0] / 2
    share = np.minimum(np.hypot(x, y) / (0.6 * FACE), 1) ** 0.8
    middle = np.array(image.shape[1::-1]) / 2
    return drawn_from(image, share * x + middle[0], share * y + middle[1])


def behind_glass(image: Image, rng: Rng) -> Image:
    """Behind frosted glass: each pixel comes from up to 5 pixels away."""
    y, x = np.mgrid[: image.shape[0], : image.shape[1]].astype(np.float32)
    dx, dy = rng.uniform(-5, 5, (2, *image.shape[:2]))
    return drawn_from(image, x + dx, y + dy)


def embossed(image: Image, rng: Rng) -> Image:
    """As a relief in gray stone."""
    kernel = np.array([[-2, -1, 0], [-1, 0, 1], [0, 1, 2]], np.float32)
    return clipped(cv2.filter2D(gray(image).astype(np.float32), -1, kernel) + 128)


def edged(image: Image, rng: Rng) -> Image:
    """Only edges, bright on black."""
    light = cv2.GaussianBlur(gray(image)[..., 0], (0, 0), 1).astype(np.float32)
    both = cv2.Sobel(light, -1, 1, 0), cv2.Sobel(light, -1, 0, 1)
    return np.repeat(clipped(np.hypot(*both))[..., None], 3, 2)


def outlined(image: Image, rng: Rng) -> Image:
    """Thin black lines on white."""
    lines = 255 - cv2.Canny(cv2.GaussianBlur(gray(image)[..., 0], (0, 0), 1), 40, 110)
    return np.repeat(lines[..., None], 3, 2).astype(np.uint8)


def photocopied(image: Image, rng: Rng) -> Image:
    """Black or white, by what is around."""
    light = gray(image)[..., 0]
    kinds = (cv2.ADAPTIVE_THRESH_GAUSSIAN_C, cv2.THRESH_BINARY)
    return np.repeat(cv2.adaptiveThreshold(light, 255, *kinds, 31, 4)[..., None], 3, 2).astype("u1")


def sharpened(image: Image, rng: Rng) -> Image:
    """Sharpened far too much."""
    pixels = image.astype(np.float32)
    return clipped(pixels + 6 * (pixels - cv2.GaussianBlur(pixels, (0, 0), 2)))


def printed(image: Image, rng: Rng) -> Image:
    """Round black dots, four pixels apart at an angle, larger where it is dark."""
    y, x = np.mgrid[: image.shape[0], : image.shape[1]] * (np.pi / 4)
    wave = np.cos(x + y) + np.cos(x - y)
    return np.repeat(
        np.where(gray(image)[..., 0] / 255 > (wave + 2) / 4, 255, 0)[..., None], 3, 2
    ).astype("u1")


def peppered(image: Image, rng: Rng) -> Image:
    """A third of the pixels are black or white."""
    where, changed = rng.random(image.shape[:2]), image.copy()
    changed[where < 0.17], changed[where > 0.83] = 0, 255
    return changed


def grainy(image: Image, rng: Rng) -> Image:
    """Coarse grain."""
    high, wide = image.shape[:2]
    grain = rng.normal(0, 60, (high // 4 + 1, wide // 4 + 1)).astype(np.float32)
    return clipped(
        image + cv2.resize(grain, (wide, high), interpolation=cv2.INTER_CUBIC)[..., None]
    )


def one_inverted(image: Image, rng: Rng) -> Image:
    """Red is inverted, green and blue are not."""
    changed = image.copy()
    changed[..., 0] = 255 - changed[..., 0]
    return changed


def hue_turned(image: Image, rng: Rng) -> Image:
    """Opposite colors in the same light."""
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)
    hsv[..., 0] = (hsv[..., 0].astype(int) + 90) % 180
    return np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB), np.uint8)


def torn_colors(image: Image, rng: Rng) -> Image:
    """Red and blue lie 8 pixels beside green."""
    return np.stack([np.roll(image[..., k], 8 * (k - 1), 1) for k in range(3)], 2)


def infrared(image: Image, rng: Rng) -> Image:
    """A camera for heat: soft, in false colors."""
    soft = cv2.GaussianBlur(gray(image), (0, 0), 2)
    return np.ascontiguousarray(cv2.applyColorMap(soft, cv2.COLORMAP_INFERNO)[..., ::-1])


def rows_lost(image: Image, rng: Rng) -> Image:
    """Half of the rows repeat the one above."""
    kept = np.where(rng.random(image.shape[0]) < 0.5, 0, np.arange(image.shape[0]))
    return image[np.maximum.accumulate(kept)]


def rows_shaken(image: Image, rng: Rng) -> Image:
    """Each row is moved by up to 8 pixels."""
    return np.stack([np.roll(row, int(rng.integers(-8, 9)), 0) for row in image])


def barred(image: Image, rng: Rng) -> Image:
    """Behind bars: a third of the columns is dark."""
    changed = image.copy()
    changed[:, np.arange(image.shape[1]) % 18 < 6] = 30
    return changed


def halves_moved(image: Image, rng: Rng) -> Image:
    """The lower half of the face is moved aside by 20 pixels."""
    changed, middle = image.copy(), image.shape[0] // 2 + 4
    changed[middle:] = np.roll(image[middle:], 20, 1)
    return changed


def doubled(image: Image, rng: Rng) -> Image:
    """Exposed twice, 14 pixels apart."""
    return clipped((image.astype(np.float32) + np.roll(image, (5, 13), (0, 1))) / 2)


def lit_aside(image: Image, rng: Rng) -> Image:
    """Light from one side: the other side of the face is dark."""
    ramp = 1 / (1 + np.exp(-(np.arange(image.shape[1]) - image.shape[1] / 2) / (FACE / 14)))
    return clipped(image * ramp[None, :, None])


def mirrored_half(image: Image, rng: Rng) -> Image:
    """The right half is the left one in a mirror."""
    changed, middle = image.copy(), image.shape[1] // 2
    changed[:, -middle:] = image[:, :middle][:, ::-1]
    return changed


def rippled(image: Image, rng: Rng) -> Image:
    """Rings on water: pixels come from nearer or farther from the middle, in turns."""
    y, x = np.mgrid[: image.shape[0], : image.shape[1]].astype(np.float32)
    x, y = x - image.shape[1] / 2, y - image.shape[0] / 2
    away = np.hypot(x, y)
    share = 1 + 4 * np.sin(away / 3) / np.maximum(away, 6)
    middle = np.array(image.shape[1::-1]) / 2
    return drawn_from(image, share * x + middle[0], share * y + middle[1])


def keystoned(image: Image, rng: Rng) -> Image:
    """Seen from below: the top of the face is half as wide as the bottom."""
    y, x = np.mgrid[: image.shape[0], : image.shape[1]].astype(np.float32)
    middle = np.array(image.shape[1::-1]) / 2
    wide = np.clip(1 + (y - middle[1]) / FACE * 2 / 3, 0.4, 1.6)
    return drawn_from(image, (x - middle[0]) / wide + middle[0], y)


def veiled(image: Image, rng: Rng) -> Image:
    """Behind a white net: thin lines across each other, half transparent."""
    changed = image.astype(np.float32)
    y, x = np.mgrid[: image.shape[0], : image.shape[1]]
    net = ((x + y) % 10 < 3) | ((x - y) % 10 < 3)
    changed[net] = changed[net] * 0.3 + 0.7 * 230
    return clipped(changed)


def longer_below(image: Image, rng: Rng) -> Image:
    """The lower half of the face is half as high again."""
    y, x = np.mgrid[: image.shape[0], : image.shape[1]].astype(np.float32)
    middle = image.shape[0] / 2
    return drawn_from(image, x, np.where(y > middle, middle + (y - middle) / 1.5, y))


def blown(image: Image, rng: Rng) -> Image:
    """What is bright is smeared to the right, as by wind."""
    moved = [image, *(np.roll(image, away, 1) * (1 - away / 16) for away in range(1, 12))]
    return clipped(np.max(moved, 0))


def behind_bricks(image: Image, rng: Rng) -> Image:
    """Behind glass bricks of 14 pixels, each of which enlarges."""
    y, x = np.mgrid[: image.shape[0], : image.shape[1]].astype(np.float32)
    return drawn_from(image, x - (x % 14 - 7) * 0.4, y - (y % 14 - 7) * 0.4)


def painted(image: Image, rng: Rng) -> Image:
    """In strokes of a thick brush."""
    return np.asarray(cv2.medianBlur(image, 11), np.uint8)


def turned(quarters: int) -> Change:
    """Turned by quarters."""
    return lambda image, rng: np.ascontiguousarray(np.rot90(image, quarters))


DAMAGES: dict[str, Change] = {
    "none": lambda image, rng: image,
    **{f"blur {sigma}": blurred(sigma) for sigma in (1, 2, 3, 5, 8)},
    **{f"shaken {length}": shaken(length) for length in (9, 15, 25)},
    **{f"JPEG {quality}": compressed(quality) for quality in (1, 3, 5, 10, 20)},
    **{f"face of {side} px": tiny(side) for side in (8, 12, 16, 24, 32)},
    "mosaic of 16": tiny(16, cv2.INTER_NEAREST),
    **{f"light x {factor}": lit(factor) for factor in (0.02, 0.05, 0.2, 3, 6)},
    "contrast x 0.05": flat(0.05),
    **{f"noise {sigma}": noisy(sigma) for sigma in (20, 50, 100)},
    "negative": lambda image, rng: 255 - image,
    "negative, gray": lambda image, rng: 255 - gray(image),
    "2 levels": posterized(2),
    "4 levels": posterized(4),
    "false colors": lambda image, rng: np.ascontiguousarray(
        cv2.applyColorMap(gray(image), cv2.COLORMAP_JET)[..., ::-1]
    ),
    "drawing": sketched,
    "solarized": lambda image, rng: np.where(image > 127, 255 - image, image).astype(np.uint8),
    "striped": striped,
    "dithered": dithered,
    "mask": boxed((0.08, 0.58, 0.92, 1.1), color=(150, 180, 210)),
    "bar over the eyes": boxed((0.0, 0.36, 1.0, 0.56), color=15),
    "left half gone": boxed((-2, -2, 0.5, 3), color=0),
    "lower half gone": boxed((-2, 0.55, 3, 3), color=0),
    "upper half gone": boxed((-2, -2, 3, 0.5), color=0),
    "8 levels": posterized(8),
    "washed out to white": washed(200, 0.2),
    "washed out to gray": washed(100, 0.2),
    "contrast x 0.2": flat(0.2),
    "contrast x 5": flat(5),
    "gamma 0.25": bent(0.25),
    "gamma 4": bent(4),
    "a third as wide": squeezed(1 / 3, 1),
    "half as wide": squeezed(1 / 2, 1),
    "a third as high": squeezed(1, 1 / 3),
    "half as high": squeezed(1, 1 / 2),
    "swirl": whirled,
    "embossed": embossed,
    "outlines": outlined,
    "halftone": printed,
    "mosaic of 28": tiny(28, cv2.INTER_NEAREST),
    "salt and pepper": peppered,
    "red inverted": one_inverted,
    "opposite colors": hue_turned,
    "colors apart": torn_colors,
    "infrared": infrared,
    "rows lost": rows_lost,
    "rows shaken": rows_shaken,
    "barred": barred,
    "light from aside": lit_aside,
    "painted": painted,
    "bulged": bulged,
    "sharpened": sharpened,
    "exposed twice": doubled,
    "halves apart": halves_moved,
    "mirrored half": mirrored_half,
    "rippled": rippled,
    "keystone": keystoned,
    "veiled": veiled,
}
UNSEEN: dict[str, Change] = {
    "frosted glass": behind_glass,
    "edges": edged,
    "photocopy": photocopied,
    "coarse grain": grainy,
    "longer below": longer_below,
    "blown": blown,
    "glass bricks": behind_bricks,
}
"""Kinds that the bundled quality network was not taught."""
DAMAGES |= UNSEEN
TURNS: dict[str, Change] = {f"turned by {90 * k}": turned(k) for k in (1, 2, 3)}
"""Only for whole photos: an aligned crop is upright."""


@dataclasses.dataclass
class Looks:
    """What is found in the damaged photos of n people: NaN rows and None where nothing is."""

    rows: NDArray[np.float32]
    quality: Sequence[Quality | None]

    @property
    def found(self) -> NDArray[np.bool_]:
        """Where there is a face."""
        return np.array([each is not None for each in self.quality])

    def usable(self, min_recognizability: float | None = None) -> NDArray[np.bool_]:
        """Which faces are usable, at another limit of the recognizability than the one in force."""
        policy = USABLE
        if min_recognizability is not None:
            policy = dataclasses.replace(USABLE, min_recognizability=min_recognizability)
        return np.array([each is not None and not review(each, policy) for each in self.quality])


class Pipeline:
    """From photos, or aligned crops, to embeddings and quality."""

    def __init__(self, model: str | None, threads: int) -> None:
        self.detector = Detector(options=RuntimeOptions(threads=threads))
        self.embedder = Embedder(model, options=RuntimeOptions(threads=threads))
        name = self.embedder.entry.quality
        self.network = (
            QualityNetwork(name, options=RuntimeOptions(threads=threads)) if name else None
        )

    def looks_of(self, crops: NDArray[np.uint8], facts: list[Quality]) -> Looks:
        """Embed crops, and add to their facts what the embeddings tell."""
        rows, norms = self.embedder.embed_and_measure(crops)
        if self.network is None:
            return Looks(rows, list(facts))
        scores = self.network.recognizability(rows, norms, facts, crops).tolist()
        pairs = zip(facts, scores, strict=True)
        return Looks(rows, [dataclasses.replace(q, recognizability=r) for q, r in pairs])

    def photos(self, images: Sequence[Image], change: Change, name: str) -> Looks:
        """Find the main face of each damaged photo."""
        rng = np.random.default_rng(zlib.crc32(name.encode()))
        crops, facts, places = [], [], []
        for place, image in enumerate(images):
            damaged = change(image, rng)
            if faces := self.detector.find(damaged):
                face = choose_central_face(faces, np.array(damaged.shape[1::-1]) / 2)
                crops.append(align(damaged, face.landmarks, self.embedder.size))
                facts.append(assess(damaged, face, crop=crops[-1]))
                places.append(place)
        rows = np.full((len(images), self.embedder.width), np.nan, np.float32)
        quality: list[Quality | None] = [None] * len(images)
        if crops:
            found = self.looks_of(np.stack(crops), facts)
            rows[places] = found.rows
            for place, each in zip(places, found.quality, strict=True):
                quality[place] = each
        return Looks(rows, quality)

    def crops(self, crops: NDArray[np.uint8], change: Change, name: str) -> Looks:
        """Damage aligned crops."""
        rng = np.random.default_rng(zlib.crc32(name.encode()))
        damaged = np.stack([change(crop, rng) for crop in crops])
        face = Face(np.array([20, 8, 92, 108], np.float32), template().astype(np.float32), 1.0)
        return self.looks_of(damaged, [assess(crop, face, crop=crop) for crop in damaged])


def matches(
    first: Looks, second: Looks, left: NDArray[np.bool_], right: NDArray[np.bool_], limit: float
) -> tuple[float, float, float, int]:
    """How often two different people match, its 95 % interval, and the comparisons."""
    one, two = np.flatnonzero(left), np.flatnonzero(right)
    others = one[:, None] != two
    hits = (first.rows[one] @ second.rows[two].T >= limit) & others
    count = int(others.sum())
    if first is second:
        count //= 2
    if not count:
        return np.nan, np.nan, np.nan, 0
    rng, people = np.random.default_rng(0), len(left)
    drawn = rng.multinomial(people, np.full(people, 1 / people), RESAMPLES).astype(np.float64)
    places = np.argwhere(hits)
    total = np.einsum("rp,rp->r", drawn[:, one[places[:, 0]]], drawn[:, two[places[:, 1]]])
    among = drawn[:, left].sum(1) * drawn[:, right].sum(1) - (drawn * (left & right)).sum(1)
    low, high = np.quantile(total / np.maximum(among, 1), (0.025, 0.975))
    return hits.sum() / others.sum(), low, min(max(high, 3 / count), 1.0), count


def percent(found: tuple[float, float, float, int]) -> str:
    """Say a rate with its interval, or "-" where nothing was compared."""
    rate, low, high, count = found
    return f"{rate:.3%} ({low:.3%} to {high:.3%})" if count else "-"


def row_of(
    name: str,
    looks: Looks,
    clean: Looks,
    mates: Looks,
    limit: float,
    least: float | None = None,
) -> dict[str, Any]:
    """A line of the table for one damage."""
    every, usable = looks.found, looks.usable(least)
    after = matches(looks, looks, usable, usable, limit)
    pairs = every.sum() * (every.sum() - 1) / 2
    good = clean.usable(least)
    score = np.einsum("ij,ij->i", looks.rows, mates.rows)
    true = np.nan_to_num(score, nan=-1) >= limit
    true &= mates.usable(least)
    return {
        "damage": name,
        "found": f"{every.mean():.1%}",
        "unusable": f"{1 - usable.sum() / max(every.sum(), 1):.1%}",
        "alike before": percent(matches(looks, looks, every, every, limit)),
        "alike after": percent(after),
        "of all": f"{after[0] * after[3] / pairs:.3%}" if after[3] else "-",
        "clean before": percent(matches(looks, clean, every, clean.found, limit)),
        "clean after": percent(matches(looks, clean, usable, good, limit)),
        "true matches": int(true.sum()),
        "lost": f"{(true & ~usable).sum() / max(true.sum(), 1):.1%}",
    }


def people_of(folder: Path, count: int) -> Iterator[tuple[Image, Image]]:
    """Two photos of each of some people, evenly drawn from those who have two."""
    folders = [sorted(list_images(each)) for each in sorted(folder.iterdir()) if each.is_dir()]
    several = [photos for photos in folders if len(photos) > 1]
    for place in np.linspace(0, len(several) - 1, min(count, len(several))).astype(int):
        first, second, *_ = several[place]
        yield load_image(first), load_image(second)


def photos(args: argparse.Namespace, pipeline: Pipeline, limit: float) -> None:
    """The table on whole photos."""
    pairs = list(people_of(args.folder, args.people))
    images, others = [a for a, _ in pairs], [b for _, b in pairs]
    mates = pipeline.photos(others, DAMAGES["none"], "mates")
    clean = pipeline.photos(images, DAMAGES["none"], "none")
    rows = []
    for name, change in {**DAMAGES, **TURNS}.items():
        if args.only and not any(word in name for word in args.only):
            continue
        looks = clean if name == "none" else pipeline.photos(images, change, name)
        rows.append(row_of(name, looks, clean, mates, limit))
        print(*rows[-1].values(), sep=" | ", file=sys.stderr, flush=True)
    report(args, f"{len(images)} people of {args.folder}, cosine {limit:.4f}", rows)


def choose(args: argparse.Namespace, pipeline: Pipeline, limit: float) -> None:
    """The same on crops of training identities, by limits of the recognizability."""
    crops, who = labeled_faces(args.shared, ("celeba", "glint"))
    places: dict[str, list[int]] = {}
    for place, name in enumerate(who):
        places.setdefault(name, []).append(place)
    several = [two[:2] for two in places.values() if len(two) > 1]
    order = np.random.default_rng(13).permutation(len(several))
    part = order[HELD : HELD + args.people] if args.held else order[: args.people]
    pairs = np.array([several[each] for each in part])
    mates = pipeline.crops(crops[pairs[:, 1]], DAMAGES["none"], "mates")
    clean = pipeline.crops(crops[pairs[:, 0]], DAMAGES["none"], "none")
    for name, change in DAMAGES.items():
        if args.only and not any(word in name for word in args.only):
            continue
        looks = clean if name == "none" else pipeline.crops(crops[pairs[:, 0]], change, name)
        tries = [(least, row_of(name, looks, clean, mates, limit, least)) for least in LIMITS]
        rows = [{"recognizability from": least, **row} for least, row in tries]
        report(args, f"{name}, {len(pairs)} people", rows)
        sys.stdout.flush()


def scenes(args: argparse.Namespace, pipeline: Pipeline, limit: float) -> None:
    """What the detector takes for faces in photos of animals and things, and how often it matches.

    Pairs of one photo are not compared.
    """
    rows, quality, photo = [], [], []
    for name, content in tar_members(args.scenes):
        if not name.startswith("i"):
            continue
        image = load_image(content)
        faces = pipeline.detector.find(image)
        if not faces:
            continue
        crops = np.stack([align(image, face.landmarks, pipeline.embedder.size) for face in faces])
        facts = [assess(image, f, crop=crop) for f, crop in zip(faces, crops, strict=True)]
        looks = pipeline.looks_of(crops, facts)
        rows.append(looks.rows)
        quality.extend(looks.quality)
        photo.extend([name] * len(faces))
    found = Looks(np.concatenate(rows), quality)
    usable = found.usable()
    alike = np.triu(found.rows @ found.rows.T >= limit, 1)
    alike &= np.not_equal.outer(photo, photo)
    row = {
        "faces": len(photo),
        "photos": len(set(photo)),
        "unusable": int((~usable).sum()),
        "pairs that match": int(alike.sum()),
        "both usable": int(alike[np.ix_(usable, usable)].sum()),
    }
    report(args, f"photos of animals and things, cosine {limit:.4f}", [row])


def cost(args: argparse.Namespace, pipeline: Pipeline) -> None:
    """What the quality network adds to an upright photo."""
    images = [a for a, _ in people_of(args.folder, min(args.people, 100))]

    network = pipeline.network
    if network is None:
        raise SystemExit(f"{pipeline.embedder.entry.name} has no quality network")

    def seconds(image: Image, *, with_reasons: bool) -> float:
        start = time.perf_counter()
        for face in pipeline.detector.find(image):
            crop = align(image, face.landmarks, pipeline.embedder.size)
            facts = assess(image, face, crop=crop)
            rows, norms = pipeline.embedder.embed_and_measure(crop[None])
            if with_reasons:
                clear = float(network.recognizability(rows, norms, [facts], crop[None])[0])
                review(dataclasses.replace(facts, recognizability=clear), USABLE)
        return time.perf_counter() - start

    for image in images[:3]:
        seconds(image, with_reasons=True)
    spent = np.array(
        [[min(seconds(i, with_reasons=j) for _ in range(3)) for j in (False, True)] for i in images]
    )
    ratio = spent[:, 1].sum() / spent[:, 0].sum()
    without, with_network = spent.mean(0) * 1e3
    row = {"photos": len(images), "without, ms": without, "with, ms": with_network, "ratio": ratio}
    report(args, "time of an upright photo, one thread", [row])


def main() -> int:
    """Run what was asked for."""
    parser = arguments(__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("folder", type=Path, nargs="?", help="a folder for each person")
    parser.add_argument("--people", type=int, default=400, help="how many people")
    parser.add_argument("--fmr", type=float, default=1e-4, help="the false-match rate")
    parser.add_argument("--only", nargs="*", help="damages whose names hold one of these words")
    parser.add_argument("--choose", action="store_true", help="limits, on training identities")
    parser.add_argument("--held", action="store_true", help="people that nothing was chosen on")
    parser.add_argument("--scenes", type=Path, metavar="TAR", help="animals and things in photos")
    parser.add_argument("--time", action="store_true", help="what the quality network costs")
    args = parser.parse_args()
    if args.folder is None and not (args.choose or args.scenes):
        parser.error("name a folder, --choose or --scenes")
    model = entry(args.model or default_model("embed"))
    limit = threshold(model, args.fmr).cosine
    pipeline = Pipeline(args.model, args.threads)
    if args.time:
        cost(args, pipeline)
    elif args.scenes:
        scenes(args, pipeline, limit)
    elif args.choose:
        choose(args, pipeline, limit)
    else:
        photos(args, pipeline, limit)
    return 0


if __name__ == "__main__":
    sys.exit(main())
