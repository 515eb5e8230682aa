from __future__ import annotations

from dataclasses import fields, replace

import cv2
import numpy as np
import pytest
from data_kit import picture
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from facekeep.lab.datasets.augment import PRESETS, Augment, augment

NONE = Augment.none()
SHARES = [each.name for each in fields(Augment) if getattr(NONE, each.name) == 0.0]


def changed(image: NDArray[np.uint8], settings: Augment, seed: int = 0) -> NDArray[np.uint8]:
    return augment(image, np.random.default_rng(seed), settings)


def only(name: str, share: float = 1.0, **others: object) -> Augment:
    return replace(NONE, **{name: share}, **others)  # type: ignore[arg-type]


def test_none_gives_the_image_itself() -> None:
    image = picture(1)
    assert changed(image, NONE) is image
    assert len(SHARES) == 9


@pytest.mark.slow
@settings(max_examples=100)
@given(
    side=st.sampled_from([1, 8, 64, 112]),
    wanted=st.sets(st.sampled_from(SHARES)),
    seed=st.integers(0, 2**32),
)
def test_shape_and_type_are_kept_and_the_input_is_left_alone(
    side: int, wanted: set[str], seed: int
) -> None:
    image = picture(2, side)
    image.setflags(write=False)
    before = image.copy()
    settings_ = replace(NONE, **dict.fromkeys(wanted, 1.0))
    once, again = changed(image, settings_, seed), changed(image, settings_, seed)
    assert once.shape == image.shape
    assert once.dtype == np.uint8
    assert (once == again).all()
    assert (image == before).all()


def test_the_seed_decides() -> None:
    faces = {changed(picture(3, 64), Augment(), seed).tobytes() for seed in range(40)}
    assert len(faces) > 25


@pytest.mark.parametrize("name", SHARES)
@pytest.mark.parametrize("share", [0.1, 0.7])
def test_every_change_happens_as_often_as_it_should(name: str, share: float) -> None:
    image, rng = picture(4, 32), np.random.default_rng(5)
    happened = sum((augment(image, rng, only(name, share)) != image).any() for _ in range(600))
    assert abs(happened / 600 - share) < 5 * np.sqrt(share * (1 - share) / 600)


def test_the_defaults_are_those_published() -> None:
    used = Augment()
    published = {"flip": 0.5, "downscale": 0.1, "blur": 0.2, "color": 0.2, "gray": 0.1}
    assert {name: getattr(used, name) for name in published} == published
    assert [round(each * 112) for each in used.side] == [56, 89]
    assert (used.hue, used.saturation) == ((0, 20), (1, 1.2))
    assert (used.light, used.jpeg, used.erase) == (0, 0, 0)


def test_strong_changes_more_than_published_and_none_nothing() -> None:
    def mean_change(name: str) -> float:
        face, settings_ = picture(3, 64), replace(PRESETS[name], flip=0.0)
        changes = [
            np.abs(changed(face, settings_, seed) - face.astype(float)) for seed in range(60)
        ]
        return float(np.mean(changes))

    assert mean_change("strong") > 1.3 * mean_change("published") > mean_change("none") == 0


def test_flip_mirrors() -> None:
    image = picture(5, 33)
    assert (changed(image, only("flip")) == image[:, ::-1]).all()


def test_flip_and_affine_together_are_the_affine_of_the_mirrored() -> None:
    image = picture(6, 64)
    still = {"turn": 0.0, "zoom": 0.0, "shift": 0.0}
    both = changed(image, replace(only("flip", affine=1.0), **still))
    assert np.abs(both.astype(int) - image[:, ::-1]).max() <= 1


def test_affine_turns_about_the_middle_and_stays_small() -> None:
    image = np.zeros((112, 112, 3), np.uint8)
    cv2.circle(image, (76, 50), 3, (255, 255, 255), -1)
    places = []
    for seed in range(300):
        face = changed(image, only("affine"), seed)[..., 0].astype(float)
        ys, xs = np.indices(face.shape)
        places.append([(xs * face).sum() / face.sum(), (ys * face).sum() / face.sum()])
    moved = np.array(places) - (76, 50)
    reach = 112 * 0.02 + np.hypot(76 - 55.5, 50 - 55.5) * (np.radians(5) + 0.04)
    assert np.abs(moved).max() < reach + 0.2
    assert np.abs(moved.mean(0)).max() < 0.3
    assert (moved.std(0) > 0.8).all()


def test_downscale_takes_detail_and_keeps_the_mean() -> None:
    image = np.random.default_rng(0).integers(0, 256, (112, 112, 3), np.uint8)
    face = changed(image, only("downscale"))
    assert abs(face.mean() - image.mean()) < 2
    assert (
        np.diff(face.astype(float), axis=0).std() < np.diff(image.astype(float), axis=0).std() / 2
    )


def test_blur_has_two_windows() -> None:
    image = np.zeros((21, 21, 3), np.uint8)
    image[10, 10] = 255
    widths = {int((changed(image, only("blur"), n)[..., 0] > 0).any(0).sum()) for n in range(20)}
    assert widths == {3, 5}


def test_color_leaves_grays_alone_and_turns_the_others() -> None:
    grays = np.repeat(np.arange(0, 256, 5, np.uint8)[:, None, None], 3, 2)
    assert np.abs(changed(grays, only("color")).astype(int) - grays).max() <= 1
    color = np.full((4, 4, 3), (120, 100, 90), np.uint8)
    same = only("color", hue=(0.0, 0.0), saturation=(1.0, 1.0))
    assert np.abs(changed(color, same).astype(int) - color).max() <= 1
    stronger = changed(color, only("color", hue=(0.0, 0.0), saturation=(1.2, 1.2)))[0, 0]
    luma = np.dot(color[0, 0], (0.299, 0.587, 0.114))
    np.testing.assert_allclose(stronger, luma + 1.2 * (color[0, 0] - luma), atol=1)
    turned = changed(color, only("color", hue=(20.0, 20.0), saturation=(1.0, 1.0)))[0, 0]
    assert abs(np.dot(turned, (0.299, 0.587, 0.114)) - luma) < 1
    assert turned[1] > color[0, 0][1] + 2  # from red to yellow, as hue is counted
    assert turned[2] < color[0, 0][2] - 2


def test_gray_is_the_luma() -> None:
    image = picture(7, 40)
    expected = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    face = changed(image, only("gray"))
    assert np.abs(face.astype(int) - expected[..., None]).max() <= 1


def test_light_moves_and_stretches_about_middle_gray() -> None:
    ramp = np.repeat(np.array([64, 128, 192], np.uint8)[:, None, None], 3, 2)
    flat = changed(ramp, only("light", contrast=(0.5, 0.5), brightness=0.0))[:, 0, 0]
    np.testing.assert_allclose(flat, [96, 128, 160], atol=1)
    means = [float(changed(ramp, only("light", contrast=(1.0, 1.0)), n).mean()) for n in range(200)]
    assert 128 - 25 < min(means) < 128 - 20
    assert 128 + 20 < max(means) < 128 + 25


def test_jpeg_keeps_colors_and_leaves_artifacts() -> None:
    image = np.zeros((32, 32, 3), np.uint8)
    image[:, :15], image[:, 15:] = (200, 40, 30), (20, 60, 220)
    face = changed(image, only("jpeg", quality=(30.0, 30.0))).astype(int)
    assert np.abs(face[:, :8].mean((0, 1)) - (200, 40, 30)).max() < 12
    assert np.abs(face[:, 24:].mean((0, 1)) - (20, 60, 220)).max() < 12
    assert np.abs(face - image).max() > 5


def test_erase_paints_a_rectangle_of_the_area() -> None:
    image = picture(8, 100)
    for seed in range(50):
        face = changed(image, only("erase", erased=(0.1, 0.1)), seed)
        differs = (face != image).any(-1)
        rows, columns = np.flatnonzero(differs.any(1)), np.flatnonzero(differs.any(0))
        box = face[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        assert (box == box[0, 0]).all()
        assert abs(box.shape[0] * box.shape[1] / 10_000 - 0.1) < 0.02
        assert 0.45 < box.shape[0] / box.shape[1] < 2.2
