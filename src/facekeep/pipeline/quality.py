"""Facts about a face that decide whether it can be recognized and enrolled, and why not.

``assess`` measures, ``review`` holds the facts against a ``Policy``, ``with_reasons`` marks faces
that are too poor to be recognized; where the limits come from: docs/quality.md.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facekeep.errors import InputError
from facekeep.pipeline.align import align
from facekeep.pipeline.filters import deviation, to_gray
from facekeep.pipeline.head_pose import estimate_pose
from facekeep.pipeline.image import check_image
from facekeep.pipeline.occlusion import covered
from facekeep.pipeline.warp import resize
from facekeep.types import Face, Quality

__all__ = [
    "POLICIES",
    "USABLE",
    "Policy",
    "Reason",
    "assess",
    "estimate_pose",
    "explain",
    "reason_words",
    "review",
    "with_reasons",
]

_CROP = 112
# Brows to chin and cheek to cheek in an aligned crop: little hair, background or black border.
_INNER = (slice(28, 108), slice(22, 90))
# Sharpness compares edges at two blurs, in pixels of the crop. The first already hides the noise of
# the camera and of compression; of the measures in benchmarks/quality.py this one told best how
# much of its embedding a damaged face had lost. Edges weaker than _FLAT gray levels are none.
_BLURS = (1.5, 3.0)
_FLAT = 0.01
# JPEG compresses blocks of so many pixels a side; so many of them in a row tell a grid from a face.
_BLOCK = 8
_LEAST_BLOCKS = 4
_GRID_SIZE = 100.0
# Where more stops to help: a width that fills the crop without enlargement; the sharpness of the
# median good photo; contrast; how far the brightness stays below white.
_GOOD_SIZE = 80.0
_GOOD_SHARPNESS = 0.33
_GOOD_CONTRAST = 0.2
_GOOD_HEADROOM = 0.3


class Reason(StrEnum):
    """Why a face, or an image, should not be used or enrolled. The words are stable."""

    NO_FACE = "no_face"
    MULTIPLE_FACES = "multiple_faces"
    FACE_TOO_SMALL = "face_too_small"
    TOO_BLURRY = "too_blurry"
    TOO_DARK = "too_dark"
    TOO_BRIGHT = "too_bright"
    LOW_CONTRAST = "low_contrast"
    EXTREME_POSE = "extreme_pose"
    LOW_DETECTION_SCORE = "low_detection_score"
    FACE_CUT_OFF = "face_cut_off"
    MOUTH_COVERED = "mouth_covered"
    EYES_COVERED = "eyes_covered"
    TOO_COMPRESSED = "too_compressed"
    UNCLEAR = "unclear"
    IDENTITY_CONFLICT = "identity_conflict"
    INCONSISTENT_IDENTITY = "inconsistent_identity"


@dataclass(frozen=True, slots=True)
class Policy:
    """Limits in the units of ``Quality``; a fact at its limit passes."""

    min_size: float = 0.0
    min_sharpness: float = 0.0
    min_brightness: float = 0.0
    max_brightness: float = 1.0
    min_contrast: float = 0.0
    max_yaw: float = math.inf
    max_pitch: float = math.inf
    max_roll: float = math.inf
    min_score: float = 0.0
    max_outside: float = 1.0
    max_mouth_covered: float = 1.0
    max_eyes_covered: float = 1.0
    max_blockiness: float = math.inf
    min_recognizability: float = 0.0


USABLE = Policy(
    min_sharpness=0.22,
    min_brightness=0.04,
    max_brightness=0.88,
    min_contrast=0.04,
    max_blockiness=0.9,
    min_recognizability=0.15,
)
"""What a face must show to be compared at all: below it strangers match too often."""

POLICIES: Mapping[str, Policy] = MappingProxyType(
    {
        "off": Policy(),
        "standard": Policy(
            min_size=32,
            min_sharpness=USABLE.min_sharpness,
            min_brightness=0.04,
            max_brightness=USABLE.max_brightness,
            min_contrast=0.04,
            max_yaw=60,
            max_pitch=40,
            min_score=0.6,
            max_outside=0.3,
            max_mouth_covered=0.95,
            max_eyes_covered=0.99,
            max_blockiness=USABLE.max_blockiness,
            min_recognizability=USABLE.min_recognizability,
        ),
        "strict": Policy(
            min_size=80,
            min_sharpness=0.26,
            min_brightness=0.10,
            max_brightness=0.80,
            min_contrast=0.10,
            max_yaw=30,
            max_pitch=25,
            max_roll=30,
            min_score=0.8,
            max_outside=0.05,
            max_mouth_covered=0.8,
            max_eyes_covered=0.95,
            max_blockiness=USABLE.max_blockiness,
            min_recognizability=USABLE.min_recognizability,
        ),
    }
)

# What probably took the recognizability of a face that lacks it, to say it in a word.
_LIKELY = Policy(
    min_size=32,
    min_sharpness=0.22,
    min_brightness=0.10,
    max_brightness=0.80,
    min_contrast=0.08,
    min_score=0.6,
    max_outside=0.2,
    max_mouth_covered=0.95,
    max_eyes_covered=0.99,
)


@dataclass(frozen=True, slots=True)
class _Check:
    """One fact against one limit of a policy, and what to tell people when it fails."""

    reason: Reason
    fact: Callable[[Quality], float]
    limit: str
    text: str

    def fails(self, quality: Quality, policy: Policy) -> bool:
        value, limit = self.fact(quality), getattr(policy, self.limit)
        return bool(value < limit if self.limit.startswith("min") else value > limit)

    def explain(self, quality: Quality, policy: Policy) -> str:
        return self.text.format(value=self.fact(quality), limit=getattr(policy, self.limit))


_CHECKS = (
    _Check(
        Reason.FACE_TOO_SMALL,
        lambda q: q.size,
        "min_size",
        "move closer: the face is {value:.0f} px wide, {limit:.0f} are needed",
    ),
    _Check(
        Reason.TOO_BLURRY,
        lambda q: q.sharpness,
        "min_sharpness",
        "hold still and focus: the sharpness is {value:.2f}, {limit:.2f} is needed",
    ),
    _Check(
        Reason.TOO_DARK,
        lambda q: q.brightness,
        "min_brightness",
        "add light: the brightness of the face is {value:.2f}, {limit:.2f} is needed",
    ),
    _Check(
        Reason.TOO_BRIGHT,
        lambda q: q.brightness,
        "max_brightness",
        "use less light: the brightness of the face is {value:.2f}, "
        "at most {limit:.2f} is accepted",
    ),
    _Check(
        Reason.LOW_CONTRAST,
        lambda q: q.contrast,
        "min_contrast",
        "light the face better: its contrast is {value:.2f}, {limit:.2f} is needed",
    ),
    _Check(
        Reason.EXTREME_POSE,
        lambda q: abs(q.yaw),
        "max_yaw",
        "look at the camera: the head is turned aside by {value:.1f} degrees, "
        "at most {limit:.0f} is accepted",
    ),
    _Check(
        Reason.EXTREME_POSE,
        lambda q: abs(q.pitch),
        "max_pitch",
        "look at the camera: the head is turned up or down by {value:.1f} degrees, "
        "at most {limit:.0f} is accepted",
    ),
    _Check(
        Reason.EXTREME_POSE,
        lambda q: abs(q.roll),
        "max_roll",
        "hold the head upright: it is tilted by {value:.1f} degrees, "
        "at most {limit:.0f} is accepted",
    ),
    _Check(
        Reason.LOW_DETECTION_SCORE,
        lambda q: q.score,
        "min_score",
        "show the whole face, uncovered: the detector is {value:.0%} sure, {limit:.0%} is needed",
    ),
    _Check(
        Reason.FACE_CUT_OFF,
        lambda q: q.outside,
        "max_outside",
        "get the whole face into the picture: {value:.0%} of it lie outside, {limit:.0%} may",
    ),
    _Check(
        Reason.MOUTH_COVERED,
        lambda q: q.mouth_covered,
        "max_mouth_covered",
        "uncover mouth and nose: the estimate that they are hidden is {value:.3f}, "
        "at most {limit:.2f} is accepted",
    ),
    _Check(
        Reason.EYES_COVERED,
        lambda q: q.eyes_covered,
        "max_eyes_covered",
        "show the eyes, without dark glasses, hair or shadow over them: the estimate that they are "
        "hidden is {value:.3f}, at most {limit:.2f} is accepted",
    ),
    _Check(
        Reason.TOO_COMPRESSED,
        lambda q: q.blockiness,
        "max_blockiness",
        "use a file that is less compressed: the blocks of JPEG stand out by {value:.2f}, "
        "at most {limit:.2f} is accepted",
    ),
    _Check(
        Reason.UNCLEAR,
        lambda q: q.recognizability,
        "min_recognizability",
        "use a clearer picture: the face is damaged, covered or not a face at all, and cannot be "
        "recognized (recognizability {value:.2f}, {limit:.2f} is needed)",
    ),
)


def assess(
    image: NDArray[np.uint8],
    face: Face,
    *,
    crop: NDArray[np.uint8] | None = None,
    recognizability: float = 1.0,
) -> Quality:
    """Measure a face.

    Landmarks that no face can have (all in one place, or not finite) give sharpness, brightness and
    contrast 0 and yaw 90, so that every policy but "off" refuses the face.

    Args:
        image: The image that the face was found in, uint8 ``(H, W, 3)`` RGB.
        face: The face.
        crop: Its aligned crop, where it is at hand; else it is cut here.
        recognizability: What ``facekeep.pipeline.quality_network`` told.

    Returns:
        The facts; all of them are finite.

    Raises:
        InputError: The image is not such an array.
    """
    image = check_image(image)
    crop = resize(_crop(image, face) if crop is None else crop, _CROP, _CROP)
    sharpness, brightness, contrast = _light(crop)
    mouth_covered, eyes_covered = covered(crop)
    yaw, pitch, roll = estimate_pose(face.landmarks)
    quality = Quality(
        size=_finite(face.size),
        eye_distance=_finite(math.dist(*face.landmarks[:2].tolist())),
        sharpness=sharpness,
        brightness=brightness,
        contrast=contrast,
        yaw=yaw,
        pitch=pitch,
        roll=roll,
        score=_finite(face.score),
        outside=_outside(image.shape, face.bbox),
        mouth_covered=mouth_covered,
        eyes_covered=eyes_covered,
        blockiness=_blockiness(image, face.bbox),
        recognizability=_finite(recognizability),
        overall=0.0,
    )
    return dataclasses.replace(quality, overall=_overall(quality))


def review(quality: Quality, policy: Policy) -> list[Reason]:
    """Hold the facts against a policy.

    Returns:
        What speaks against enrollment, each reason once; empty when nothing does.
    """
    return list(dict.fromkeys(c.reason for c in _CHECKS if c.fails(quality, policy)))


def with_reasons(faces: Iterable[Face], policy: Policy = USABLE) -> list[Face]:
    """Fill in ``Face.reasons`` from the quality of faces.

    Args:
        faces: The faces; one whose quality was not measured counts as usable.
        policy: What a usable face must show; ``POLICIES["off"]`` takes every face for usable.
    """
    return [face.replace(reasons=_reasons(face.quality, policy)) for face in faces]


def _reasons(quality: Quality | None, policy: Policy) -> tuple[Reason, ...]:
    found = review(quality, policy) if quality else []
    if quality and Reason.UNCLEAR in found:
        found = [*review(quality, _LIKELY), *found]
    return tuple(dict.fromkeys(found))


def reason_words(reasons: Iterable[str]) -> str:
    """Write reasons for people: "too blurry, unclear"."""
    return ", ".join(each.replace("_", " ") for each in reasons)


def explain(reason: Reason, quality: Quality, policy: Policy) -> str:
    """Put a reason into one line for people: how to mend it, and the numbers behind it.

    Args:
        reason: One of those that ``review`` gave.
        quality: The facts it was found in.
        policy: The policy they were held against.

    Raises:
        InputError: The reason does not follow from these facts.
    """
    for check in _CHECKS:
        if check.reason == reason and check.fails(quality, policy):
            return check.explain(quality, policy)
    raise InputError(f"{reason} does not follow from these facts; explain what review gave")


def _crop(image: NDArray[np.uint8], face: Face) -> NDArray[np.uint8]:
    try:
        return align(image, face.landmarks, _CROP)
    except InputError:
        return np.zeros((_CROP, _CROP, 3), np.uint8)


def _light(crop: NDArray[np.uint8]) -> tuple[float, float, float]:
    """Sharpness, brightness and contrast of an aligned crop, each 0 to 1."""
    luma = to_gray(crop[_INNER]).astype(np.float32)
    contrast = min(deviation(luma) / 127.5, 1.0)
    return _sharpness(luma), float(luma.mean()) / 255, contrast


def _sharpness(luma: NDArray[np.float32]) -> float:
    """What a further blur takes from the edges: nothing is left to take where there was blur.

    Looked at in four directions, of which the worst counts: a face moved while it was taken keeps
    its edges along the movement.
    """
    blurs = (tuple(_blur(length, sigma) for length in luma.shape) for sigma in _BLURS)
    before, after = (_edges(down @ luma @ across.T) for down, across in blurs)
    return min(
        min(max(1 - lost / had, 0.0), 1.0) if had > _FLAT else 0.0
        for had, lost in zip(before, after, strict=True)
    )


@functools.cache
def _blur(length: int, sigma: float) -> NDArray[np.float32]:
    """Return the matrix ``(length, length)`` of a Gaussian blur that mirrors what ends."""
    reach = round(4 * sigma)
    away = np.arange(-reach, reach + 1)
    weights = np.exp(-(away**2) / (2 * sigma**2))
    mirrored = np.pad(np.arange(length), reach, "reflect")
    rows = np.arange(length)[:, None]
    blur = np.zeros((length, length))
    np.add.at(blur, (rows, mirrored[rows + away + reach]), weights / weights.sum())
    return blur.astype(np.float32)


def _edges(luma: NDArray[Any]) -> list[float]:
    """How strongly neighboring pixels differ along rows, columns and both diagonals."""
    differences = (
        luma[:, 1:] - luma[:, :-1],
        luma[1:] - luma[:-1],
        luma[1:, 1:] - luma[:-1, :-1],
        luma[1:, :-1] - luma[:-1, 1:],
    )
    return [deviation(each) for each in differences]


def _blockiness(image: NDArray[np.uint8], bbox: NDArray[np.float32]) -> float:
    """How much stronger edges are at every eighth pixel, along rows or columns, than elsewhere.

    The grid may begin anywhere, as in a picture that was cropped after it was compressed. The
    weaker of both directions counts; in a large face, of which a block is a smaller part, it counts
    for less.
    """
    if not np.isfinite(bbox).all():
        return 0.0
    high, wide = image.shape[:2]
    x1, x2 = np.clip(bbox[[0, 2]], 0, wide).astype(int)
    y1, y2 = np.clip(bbox[[1, 3]], 0, high).astype(int)
    part = image[y1:y2, x1:x2]
    if min(part.shape[:2]) < _LEAST_BLOCKS * _BLOCK:
        return 0.0
    gray = to_gray(part)
    along, down = _differences(gray[:, 1:], gray[:, :-1]), _differences(gray[1:], gray[:-1])
    shown = min(_grid(along.mean(0)), _grid(down.mean(1)))
    return float(shown * min(1.0, _GRID_SIZE / min(part.shape[:2])))


def _differences(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return how far apart two images are, pixel by pixel."""
    apart = np.maximum(one, other)
    apart -= np.minimum(one, other)
    return apart.astype(np.float32)


def _grid(edges: NDArray[np.floating]) -> float:
    """How much stronger edges ``(n,)`` are on the grid that shows most than the median place is."""
    whole = edges[: len(edges) // _BLOCK * _BLOCK].reshape(-1, _BLOCK)
    places = np.sort(whole.mean(0))
    middle = float(places[_BLOCK // 2 - 1 : _BLOCK // 2 + 1].mean())  # the median
    return max(float(places[-1]) - middle, 0.0) / max(middle, 0.5)


def _outside(shape: tuple[int, ...], bbox: NDArray[np.float32]) -> float:
    """The share of a box outside an image; 1 for a box without area."""
    x1, y1, x2, y2 = (float(value) for value in bbox)
    area = max(x2 - x1, 0.0) * max(y2 - y1, 0.0)
    if not (math.isfinite(area) and area > 0):
        return 1.0
    inside = max(min(x2, shape[1]) - max(x1, 0.0), 0.0) * max(min(y2, shape[0]) - max(y1, 0.0), 0.0)
    return 1.0 - inside / area


def _overall(quality: Quality) -> float:
    """Multiply six shares, each 1 for a good photo: size, detail, light, pose, wholeness, score."""
    size = min(max(quality.size, 0.0) / _GOOD_SIZE, 1.0)
    detail = min(quality.sharpness / _GOOD_SHARPNESS, 1.0)
    highlights = min((1.0 - quality.brightness) / _GOOD_HEADROOM, 1.0)
    light = math.sqrt(min(quality.contrast / _GOOD_CONTRAST, 1.0)) * highlights
    facing = math.cos(math.radians(quality.yaw)) * max(math.cos(math.radians(quality.pitch)), 0.0)
    score = min(max(quality.score, 0.0), 1.0)
    return size * detail * light * facing * (1.0 - quality.outside) * score


def _finite(value: float) -> float:
    return float(value) if math.isfinite(value) else 0.0
