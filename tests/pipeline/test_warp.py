from __future__ import annotations

import cv2
import numpy as np
import pytest

from facekeep._internal.workers import Workers
from facekeep.pipeline.align import align, template
from facekeep.pipeline.warp import resize, scale, shrink, warp

# Sizes as a whole, a fraction and a multiple of the other; enlarged, and as they are.
SIZES = [(640, 480), (512, 600), (100, 100), (333, 217), (64, 48), (7, 5), (1, 1), (1024, 1200)]


def about(degrees: float, zoom: float, size: int, center: tuple[float, float]) -> np.ndarray:
    """The similarity that brings a point of the image into the middle of the crop."""
    cos, sin = zoom * np.cos(np.radians(degrees)), zoom * np.sin(np.radians(degrees))
    turn = np.array([[cos, -sin], [sin, cos]])
    return np.column_stack([turn, (size - 1) / 2 - turn @ center])


def difference(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    assert ours.dtype == theirs.dtype == np.uint8
    assert ours.shape == theirs.shape
    return ours.astype(int) - theirs


def opencv_warp(image: np.ndarray, matrix: np.ndarray, size: int, factor: int) -> np.ndarray:
    finer = matrix * factor
    finer[:, 2] += (factor - 1) / 2
    crop = cv2.warpAffine(image, finer, (size * factor, size * factor))
    return cv2.resize(crop, (size, size), interpolation=cv2.INTER_AREA)


@pytest.mark.parametrize("degrees", [0, 8, -25, 90, 171])
@pytest.mark.parametrize(("zoom", "factor"), [(3, 1), (1, 1), (0.7, 1), (0.45, 2), (0.3, 3)])
@pytest.mark.parametrize("center", [(210.3, 130.8), (20.2, 600.4)])
def test_a_crop_is_within_one_gray_level_of_opencv(hopper, degrees, zoom, factor, center):
    matrix = about(degrees, zoom, 112, center)
    off = difference(warp(hopper, matrix, 112), opencv_warp(hopper, matrix, 112, factor))
    assert np.abs(off).max() <= 1
    assert abs(off.mean()) < 0.02


def test_in_noise_hardly_a_pixel_is_off_by_more():
    noise = np.random.default_rng(0).integers(0, 256, (400, 400, 3)).astype(np.uint8)
    off = [
        difference(warp(noise, matrix, 160), opencv_warp(noise, matrix, 160, 1))
        for matrix in (about(degrees, 0.9, 160, (200, 190)) for degrees in range(0, 360, 45))
    ]
    assert np.abs(off).max() <= 2
    assert (np.abs(off) > 1).mean() < 1e-3


def test_any_crop_of_white_is_white():
    """Weights add up to one everywhere."""
    white = np.full((900, 900, 3), 255, np.uint8)
    for zoom in (0.13, 0.26, 0.4, 0.9, 2.3):
        assert warp(white, about(17, zoom, 80, (450, 450)), 80).min() == 255


def test_colors_do_not_mix(hopper):
    matrix = about(12, 0.4, 112, (260, 240))
    crop = warp(hopper, matrix, 112)
    for channel in range(3):
        alone = np.zeros_like(hopper)
        alone[..., channel] = hopper[..., channel]
        expected = np.zeros_like(crop)
        expected[..., channel] = crop[..., channel]
        np.testing.assert_array_equal(warp(alone, matrix, 112), expected)


def test_a_large_crop_made_in_parts_is_that_made_of_small_ones(hopper):
    whole = warp(hopper, about(5, 1.7, 600, (256, 300)), 600)
    matrix = about(5, 1.7, 600, (256, 300))
    matrix[:, 2] -= [250, 400]
    part = warp(hopper, matrix, 100)
    assert np.abs(difference(part, whole[400:500, 250:350])).max() <= 1


def test_a_crop_of_far_away_is_black(hopper):
    for zoom in (0.01, 1, 50):
        crop = warp(hopper, about(30, zoom, 112, (1e6, -1e6)), 112)
        assert crop.shape == (112, 112, 3)
        assert not crop.any()


@pytest.mark.parametrize("shape", [(600, 512), (601, 513), (2, 2), (1, 9), (9, 1), (1, 1)])
def test_half_an_image_is_the_mean_of_its_pixels_rounded(hopper, shape):
    image = (
        hopper[: shape[0], : shape[1]]
        if shape != (601, 513)
        else np.pad(hopper, ((0, 1), (0, 1), (0, 0)), "edge")
    )
    half = shrink(image, 2)
    if min(shape) == 1:
        image = np.pad(image, [(0, int(side == 1)) for side in shape] + [(0, 0)])
    height, width = image.shape[0] // 2, image.shape[1] // 2
    even = image[: 2 * height, : 2 * width]
    theirs = cv2.resize(even, (width, height), interpolation=cv2.INTER_AREA)
    np.testing.assert_array_equal(half, theirs)


@pytest.mark.parametrize("block", [1, 2, 3, 4, 5, 6, 8, 12, 15, 16])
@pytest.mark.parametrize("shape", [(600, 512), (333, 77), (5, 40), (1, 1)])
def test_blocks_are_averaged_and_rounded(hopper, block, shape):
    image = hopper[: shape[0], : shape[1]]
    whole = [max(side // block, 1) * block for side in shape]
    padded = np.zeros((*whole, 3))
    part = image[: whole[0], : whole[1]]
    padded[: part.shape[0], : part.shape[1]] = part
    means = padded.reshape(whole[0] // block, block, whole[1] // block, block, 3).mean(axis=(1, 3))
    np.testing.assert_array_equal(shrink(image, block), np.floor(means + 0.5))


@pytest.mark.parametrize("size", SIZES)
def test_a_resized_image_is_within_one_gray_level_of_opencv(hopper, size):
    width, height = size
    for image in (hopper, hopper[:301, 11:400], hopper[..., :1]):
        grows = width > image.shape[1] and height > image.shape[0]
        shrinks = width <= image.shape[1] and height <= image.shape[0]
        if not (grows or shrinks):
            continue
        method = cv2.INTER_LINEAR if grows else cv2.INTER_AREA
        theirs = cv2.resize(np.ascontiguousarray(image), size, interpolation=method)
        off = difference(resize(image, *size), theirs.reshape(height, width, -1))
        assert np.abs(off).max() <= 1
        assert abs(off.mean()) < (0.2 if grows else 0.05)


def test_the_largest_block_of_the_brightest_pixels_does_not_overflow():
    assert shrink(np.full((16, 32, 3), 255, np.uint8), 16).min() == 255


@pytest.mark.parametrize("shape", [(540, 960, 3), (3, 6, 3), (33, 300, 1)])
def test_three_pixels_become_two_by_their_areas(shape):
    """A pixel of the result is one and a half of the image in both directions."""
    image = np.random.default_rng(3).integers(0, 256, shape).astype(np.uint8)
    fine = image.repeat(2, axis=0).repeat(2, axis=1).astype(float)
    height, width = shape[0] // 3 * 2, shape[1] // 3 * 2
    means = fine.reshape(height, 3, width, 3, shape[2]).mean(axis=(1, 3))
    np.testing.assert_array_equal(resize(image, width, height), np.floor(means + 0.5))


def test_what_has_the_size_is_left_alone(hopper):
    assert resize(hopper, 512, 600) is hopper
    assert scale(hopper, 1) is hopper


def test_sides_are_resized_each_by_itself(hopper):
    """One side may grow and the other shrink."""
    changed = resize(hopper, 700, 200)
    assert changed.shape == (200, 700, 3)
    np.testing.assert_allclose(changed, resize(resize(hopper, 512, 200), 700, 200), atol=1)


def test_scaled_sides_are_rounded_and_never_nothing(hopper):
    assert scale(hopper, 0.25).shape == (150, 128, 3)
    assert scale(hopper, 0.401).shape == (241, 205, 3)
    assert scale(hopper[:40], 0.001).shape == (1, 1, 3)


def test_nothing_is_moved_by_resizing(hopper):
    for factor in (0.31, 0.6, 1.7):
        again = resize(scale(hopper, factor), 512, 600)
        shift, _ = cv2.phaseCorrelate(*(each.mean(axis=2) for each in (hopper, again)))
        np.testing.assert_allclose(shift, 0, atol=0.1)


def test_the_image_is_left_as_it_was(hopper):
    before = hopper.copy()
    align(hopper, template() * 3)
    shrink(hopper, 2)
    scale(hopper, 0.3)
    np.testing.assert_array_equal(hopper, before)


@pytest.mark.parametrize("threads", [2, 3, 5])
def test_threads_give_what_one_thread_gives(threads):
    noise = np.random.default_rng(2).integers(0, 256, (719, 1283, 3)).astype(np.uint8)
    with Workers(threads) as workers:
        for block in (2, 3, 7, 16):
            np.testing.assert_array_equal(shrink(noise, block, workers), shrink(noise, block))
        for size in ((640, 360), (1283, 2), (1500, 900), (1, 1)):
            np.testing.assert_array_equal(resize(noise, *size, workers), resize(noise, *size))
        part = noise[:717, :1281]
        np.testing.assert_array_equal(resize(part, 854, 478, workers), resize(part, 854, 478))
