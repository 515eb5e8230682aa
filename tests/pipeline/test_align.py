from __future__ import annotations

import itertools

import cv2
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from skimage.transform import SimilarityTransform

from facekeep.errors import InputError
from facekeep.pipeline.align import align, align_batch, similarity_transform, template
from facekeep.pipeline.warp import warp

number = st.floats(-1000, 1000, allow_nan=False, width=32)


def similarity(angle: float, scale: float, x: float, y: float):
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    return np.array([[cos, -sin, x], [sin, cos, y]])


def moved(matrix, points):
    return np.asarray(points) @ matrix[:, :2].T + matrix[:, 2]


def smooth(height: int, width: int):
    """An image that is a known function of the pixel centers, linear so that no filter bends it."""
    y, x = np.mgrid[:height, :width]
    return np.stack([255 * x / width, 255 * y / height, np.full((height, width), 99)], axis=-1)


# The transform


@given(st.floats(-np.pi, np.pi), st.floats(0.01, 100), number, number, st.integers(0, 2**31))
def test_an_exact_similarity_is_recovered(angle, scale, x, y, seed):
    points = np.random.default_rng(seed).uniform(-100, 100, (5, 2))
    truth = similarity(angle, scale, x, y)
    found = similarity_transform(points, moved(truth, points))
    np.testing.assert_allclose(found, truth, rtol=1e-7, atol=1e-6 * max(scale, 1))


@pytest.mark.slow
@given(st.integers(2, 8), st.floats(-np.pi, np.pi), st.floats(0.05, 20), st.integers(0, 2**31))
def test_noisy_points_are_fitted_as_umeyama_fits_them(count, angle, scale, seed):
    random = np.random.default_rng(seed)
    source = random.uniform(0, 100, (count, 2))
    target = moved(similarity(angle, scale, 3, -7), source) + random.normal(0, scale, (count, 2))
    centered = source - source.mean(axis=0)
    covariance = centered.T @ (target - target.mean(axis=0))
    # Two solutions meet when the points look as much mirrored as turned; neither is "the" answer.
    assume(np.linalg.det(covariance) > 1e-3 * np.linalg.norm(covariance) ** 2)
    theirs = SimilarityTransform.from_estimate(source, target)
    np.testing.assert_allclose(
        similarity_transform(source, target), theirs.params[:2], rtol=1e-6, atol=1e-6
    )


def test_mirrored_points_are_turned_and_never_mirrored():
    points = template() * [-1, 1]
    matrix = similarity_transform(points, template())
    assert np.linalg.det(matrix[:, :2]) > 0


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (np.zeros((5, 2)), "all in one place"),
        (np.full((5, 2), 7.5), "all in one place"),
        (np.full((5, 2), np.nan), "finite"),
        (np.where(np.eye(5, 2), np.inf, 1.0), "finite"),
        (np.arange(10).reshape(5, 2) * 1e300, "finite"),
        (np.zeros((4, 2)), "point lists"),
        (np.zeros((5, 3)), "point lists"),
        (np.zeros(10), "point lists"),
        (np.zeros((1, 5, 2)), "point lists"),
        ([], "point lists"),
        ([[1, 2], [3]], "pairs of numbers"),
        ("landmarks", "pairs of numbers"),
        ({"left_eye": (1, 2)}, "pairs of numbers"),
        (None, "finite"),
        ([[1, 2]] * 4 + [[1, "x"]], "pairs of numbers"),
    ],
)
def test_unusable_landmarks_are_refused_in_one_line(source, reason):
    with pytest.raises(InputError, match=reason) as caught:
        similarity_transform(source, template())
    assert "\n" not in str(caught.value)


def test_points_without_a_best_turn_are_refused():
    square = np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]])
    with pytest.raises(InputError, match="mirrored or scattered"):
        similarity_transform(square, square * [1, -1])


# The crop


@pytest.mark.parametrize("size", [112, 64, 160, 224])
def test_the_template_keeps_its_place_at_every_size(size):
    assert template(size).shape == (5, 2)
    np.testing.assert_allclose((template(size) + 0.5) / size, (template(112) + 0.5) / 112)
    assert template(size)[0, 0] < template(size)[1, 0]


@pytest.mark.parametrize("size", [112, 160])
@pytest.mark.parametrize(("angle", "scale"), [(0, 1), (0.5, 0.8), (-2.5, 2), (0.2, 5), (3, 11)])
def test_landmarks_land_on_the_template(angle, scale, size):
    points = moved(similarity(angle, scale, 0, 0), template(size))
    points += [30, 40] - points.min(axis=0)
    width, height = np.ceil(points.max(axis=0)).astype(int) + 40
    points += 9 * scale
    width, height = np.array([width, height]) + int(20 * scale)
    for place in range(5):
        y, x = np.mgrid[:height, :width]
        away = (x - points[place, 0]) ** 2 + (y - points[place, 1]) ** 2
        dot = 255 * np.exp(-away / (2 * (2 * max(scale, 1)) ** 2))
        crop = align(np.repeat(dot[..., None], 3, 2).round().astype(np.uint8), points, size)
        weights = crop[..., 0].astype(float)
        y, x = np.mgrid[:size, :size]
        center = [(weights * axis).sum() / weights.sum() for axis in (x, y)]
        np.testing.assert_allclose(center, template(size)[place], atol=0.08)


@pytest.mark.slow
@pytest.mark.parametrize("scale", [0.25, 0.9, 1, 1.5, 2, 2.5, 3.9, 5, 8, 9.7, 17])
def test_no_shift_creeps_in_at_any_size(scale):
    """A linear ramp survives every averaging, so any shift shows as another gray."""
    matrix = similarity(0.3, scale, 60 * scale + 5, 5)
    side = int(200 * scale) + 20
    ramp = smooth(side, side).round().astype(np.uint8)
    rising, falling = (align(image, moved(matrix, template())) for image in (ramp, 255 - ramp))
    y, x = np.mgrid[:112, :112]
    where = moved(matrix, np.stack([x, y], axis=-1))
    inside = ((where > 2 + scale) & (where < side - 3 - scale)).all(axis=-1)
    assert inside.sum() > 5000
    # OpenCV rounds up when it averages; the falling ramp takes that out.
    crop = (rising.astype(float) + (255 - falling.astype(float))) / 2
    error = crop[..., :2][inside] - 255 * where[inside] / side
    assert np.abs(error).max() < 1.2
    # In pixels of the crop; the ramp rises by 255 / side for each pixel of the image.
    assert np.abs(error.mean(axis=0)).max() / (255 * scale / side) < 0.05


@pytest.mark.parametrize("scale", [5, 8, 10, 16, 24])
@pytest.mark.parametrize("period", [2, 4])
def test_fine_patterns_average_to_gray(scale, period):
    side = 120 * scale
    stripes = (np.arange(side) % period < period // 2) * 255
    for pattern in (np.broadcast_to(stripes, (side, side)), stripes[:, None] ^ stripes):
        image = np.repeat(pattern.astype(np.uint8)[..., None], 3, axis=2)
        crop = align(image, template() * scale)[8:104, 8:104].astype(float)
        # A pixel of the crop averages over at least one and a quarter periods.
        assert np.abs(crop - 127.5).max() < 45
        assert abs(crop.mean() - 127.5) < 2


def test_the_colors_keep_their_order(collins):
    crop = align(collins, template() + 100)
    swapped = align(collins[..., ::-1], template() + 100)
    np.testing.assert_array_equal(crop[..., ::-1], swapped)


@pytest.mark.parametrize(
    "shift", [(-60, 0), (0, 240), (250, -50), (300, 300), (10_000, -10_000), (-1e5, 1e5)]
)
def test_beyond_the_image_is_black(collins, shift):
    image = collins[100:400, 100:400]
    expected = np.zeros((112, 112, 3), np.uint8)
    x, y = (int(each) for each in shift)
    part = image[max(y, 0) : max(y + 112, 0), max(x, 0) : max(x + 112, 0)]
    top, left = max(-y, 0), max(-x, 0)
    expected[top : top + part.shape[0], left : left + part.shape[1]] = part
    np.testing.assert_array_equal(align(image, template() + shift), expected)


@pytest.mark.parametrize("shape", [(1, 1), (1, 1000), (1000, 1), (2, 3), (31, 33)])
@pytest.mark.parametrize("scale", [0.1, 1, 7, 50])
def test_images_smaller_than_the_crop_do_no_harm(shape, scale):
    image = np.full((*shape, 3), 200, np.uint8)
    points = template() * scale - template().mean(axis=0) * scale + [shape[1] / 2, shape[0] / 2]
    crop = align(image, points)
    assert crop.shape == (112, 112, 3)
    assert crop.max() <= 200


@pytest.mark.parametrize("shape", [(1, 100_000), (100_000, 1), (2, 200_000)])
def test_a_strip_longer_than_a_short_integer_is_averaged_like_any_image(shape):
    """A pixel of the crop covers 700 x 700, then 8 x 8, of the image: a white line, else black."""
    image = np.full((*shape, 3), 255, np.uint8)
    points = (template() - template().mean(axis=0)) * 700 + [shape[1] / 2, shape[0] / 2]
    assert align(image, points).max() <= 1
    points = (template() - template().mean(axis=0)) * 8 + [shape[1] / 2, shape[0] / 2]
    assert align(image, points).sum() == pytest.approx(255 * 3 * min(shape) * 112 / 8, rel=0.1)


def test_a_panorama_wider_than_a_short_integer_is_no_obstacle(collins):
    wide = np.zeros((300, 40_000, 3), np.uint8)
    wide[:, 38_000:38_512] = collins[:300]
    points = template() + np.array([150, 60])
    near = align(collins[:300], points).astype(int)
    assert np.abs(align(wide, points + np.array([38_000, 0])) - near).max() <= 2


def test_a_view_of_a_larger_image_gives_the_same_crop(collins):
    points = template() * 2.5 + [100, 30]
    view = collins[20:420, 50:450]
    np.testing.assert_array_equal(
        align(view, points - [50, 20]), align(view.copy(), points - [50, 20])
    )


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((50, 50), np.uint8),
        np.zeros((50, 50, 4), np.uint8),
        np.zeros((50, 50, 3), np.float32),
        np.zeros((0, 50, 3), np.uint8),
        None,
        "face.jpg",
    ],
)
def test_what_is_no_image_is_refused(image):
    with pytest.raises(InputError):
        align(image, template())


@pytest.mark.parametrize("size", [0, -1, 1.5, "112", None])
def test_an_impossible_size_is_refused(collins, size):
    with pytest.raises(InputError):
        align(collins, template(), size)


def test_a_batch_is_its_singles(collins):
    faces = [template() * k + 50 for k in (0.5, 1, 2, 3.3)]
    batch = align_batch(collins, faces, 96)
    assert batch.shape == (4, 96, 96, 3)
    assert batch.dtype == np.uint8
    for crop, points in zip(batch, faces, strict=True):
        np.testing.assert_array_equal(crop, align(collins, points, 96))


def test_no_faces_give_an_empty_batch(collins):
    assert align_batch(collins, [], 64).shape == (0, 64, 64, 3)


def test_warp_with_the_identity_copies(collins):
    identity = np.array([[1.0, 0, 0], [0, 1, 0]])
    np.testing.assert_array_equal(warp(collins, identity, 200), collins[:200, :200])


@pytest.mark.parametrize("factor", [2, 3])
def test_warp_by_a_whole_ratio_is_the_mean_of_the_pixels(collins, factor):
    """Pixel 0 of the crop covers pixels 0 to factor - 1 of the image."""
    matrix = np.array([[1, 0, -(factor - 1) / 2], [0, 1, -(factor - 1) / 2]]) / factor
    side = 60
    blocks = collins[: side * factor, : side * factor].reshape(side, factor, side, factor, 3)
    difference = warp(collins, matrix, side) - blocks.mean(axis=(1, 3))
    assert np.abs(difference).max() <= 1.5


def test_warp_agrees_with_opencv_where_nothing_is_averaged(collins):
    for angle, scale in itertools.product((0, 0.7, -2), (0.7, 1, 3)):
        matrix = similarity(angle, scale, 40, -20)
        theirs = cv2.warpAffine(np.asarray(collins), matrix, (112, 112)).astype(int)
        difference = np.abs(warp(collins, matrix, 112) - theirs)
        assert difference.mean() < 0.6


@pytest.mark.parametrize("size", [28, 56])
def test_a_small_crop_is_the_large_one_shrunk(hopper, size):
    """Networks of other sizes are trained on crops that were resized."""
    landmarks = template() * 3 + 40
    shrunk = cv2.resize(align(hopper, landmarks), (size, size), interpolation=cv2.INTER_AREA)
    crop = align(hopper, landmarks, size)
    shift, _ = cv2.phaseCorrelate(*(each.mean(axis=2) for each in (shrunk, crop)))
    np.testing.assert_allclose(shift, 0, atol=0.08)
