"""Hints of covered mouths and eyes: painted masks and glasses show, frames and light do not."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from facekeep.pipeline.align import align
from facekeep.pipeline.occlusion import covered
from facekeep.pipeline.quality import POLICIES

Image = NDArray[np.uint8]
Box = tuple[slice, slice]
Color = tuple[float, float, float]

# What the default detector finds in the two portraits.
LANDMARKS = {
    "hopper": [[222.6, 195.6], [303.2, 192.9], [266.8, 239.6], [232.5, 275.0], [303.6, 272.8]],
    "collins": [[203.4, 102.8], [245.4, 104.5], [222.1, 126.5], [202.8, 144.0], [240.2, 145.3]],
}
# Where a mask, and the two lenses of dark glasses, lie in an aligned crop.
MASK = np.s_[68:112, 20:92]
LENSES = (np.s_[42:66, 24:54], np.s_[42:66, 58:88])
WHITE, BLACK = (245, 245, 245), (10, 10, 10)
STANDARD, STRICT = POLICIES["standard"], POLICIES["strict"]


@pytest.fixture(params=["hopper", "collins"])
def crop(request: pytest.FixtureRequest) -> Image:
    return align(request.getfixturevalue(request.param), np.array(LANDMARKS[request.param]))


def painted(crop: Image, color: Color, *boxes: Box) -> Image:
    crop = crop.copy()
    for box in boxes:
        crop[box] = color
    return crop


def lit(crop: Image, factor: float, tint: Color = (1, 1, 1)) -> Image:
    return (crop * np.multiply(tint, factor)).astype(np.uint8)


@pytest.mark.parametrize("color", [WHITE, (25, 25, 25), (150, 195, 225), (90, 110, 90)])
@pytest.mark.parametrize("light", [1.0, 0.6])
def test_a_mask_covers_the_mouth(crop: Image, color: Color, light: float) -> None:
    mouth, eyes = covered(lit(painted(crop, color, MASK), light))
    assert mouth > STANDARD.max_mouth_covered
    assert eyes < STRICT.max_eyes_covered


@pytest.mark.parametrize("color", [BLACK, (40, 30, 25), (25, 30, 60)])
@pytest.mark.parametrize("light", [1.0, 0.6])
def test_dark_glasses_cover_the_eyes(crop: Image, color: Color, light: float) -> None:
    mouth, eyes = covered(lit(painted(crop, color, *LENSES), light))
    assert eyes > STANDARD.max_eyes_covered
    assert mouth < STRICT.max_mouth_covered


def test_frames_of_glasses_cover_nothing(crop: Image) -> None:
    for rows, columns in LENSES:
        corners = (columns.start, rows.start), (columns.stop, rows.stop)
        cv2.rectangle(crop, *corners, (20, 20, 20), 2)
    assert max(covered(crop)) < 0.5


@pytest.mark.parametrize("light", [1.0, 0.5, 0.25])
@pytest.mark.parametrize("tint", [(1, 1, 1), (1, 0.85, 0.7), (0.8, 0.9, 1)])
def test_light_and_its_color_cover_nothing(crop: Image, light: float, tint: Color) -> None:
    assert max(covered(lit(crop, light, tint))) < 0.5


def test_gray_photos_are_not_refused(crop: Image) -> None:
    gray = cv2.cvtColor(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    mouth, eyes = covered(gray)
    assert mouth < STRICT.max_mouth_covered
    assert eyes < STRICT.max_eyes_covered


def test_the_mirror_changes_nothing(crop: Image) -> None:
    assert covered(np.ascontiguousarray(crop[:, ::-1])) == pytest.approx(covered(crop), abs=0.1)


def test_the_more_of_the_mouth_is_covered_the_higher_the_hint(crop: Image) -> None:
    hints = [covered(painted(crop, WHITE, np.s_[top:112]))[0] for top in (100, 92, 84, 76, 70)]
    assert hints == sorted(hints)
    assert hints[0] < 0.2
    assert hints[-1] > 0.99


def test_the_larger_the_glasses_the_higher_the_hint(crop: Image) -> None:
    hints = []
    for high in (3, 6, 9):
        lenses = (np.s_[52 - high : 54 + high, x - 2 - high : x + 2 + high] for x in (38, 74))
        hints.append(covered(painted(crop, BLACK, *lenses))[1])
    assert hints == sorted(hints)
    assert hints[0] < 0.5
    assert hints[-1] > 0.99


def test_the_darker_the_glasses_the_higher_the_hint(crop: Image) -> None:
    dark = painted(crop, BLACK, *LENSES)
    shares = (0, 0.2, 0.4, 0.6, 0.8, 1)
    hints = [covered(cv2.addWeighted(dark, share, crop, 1 - share, 0))[1] for share in shares]
    assert hints == sorted(hints)
    assert hints[0] < 0.5
    assert hints[-1] > 0.99


@pytest.mark.slow
@given(crop=hnp.arrays(np.uint8, (112, 112, 3), elements=st.sampled_from([0, 1, 128, 254, 255])))
def test_hints_are_shares_of_any_crop(crop: Image) -> None:
    assert all(0 <= hint <= 1 for hint in covered(crop))


@pytest.mark.parametrize("level", [0, 1, 255])
def test_hints_of_a_crop_of_one_color_are_shares(level: int) -> None:
    assert all(0 <= hint <= 1 for hint in covered(np.full((112, 112, 3), level, np.uint8)))
