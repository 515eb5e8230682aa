"""The judge: clear portraits pass, damaged ones and what is no face do not, in any batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from facekeep import FaceEngine, InputError
from facekeep.align import align
from facekeep.clarity import Judge
from facekeep.errors import ModelError
from facekeep.quality import POLICIES, USABLE, Policy, Reason

Image = NDArray[np.uint8]


@pytest.fixture(scope="module")
def judge() -> Iterator[Judge]:
    with Judge(threads=1) as judge:
        yield judge


@pytest.fixture(scope="module")
def engine() -> Iterator[FaceEngine]:
    with FaceEngine(threads=1) as engine:
        yield engine


@pytest.fixture(scope="module")
def crops(engine: FaceEngine, hopper: Image, collins: Image) -> Image:
    return np.stack([align(p, engine.detect(p)[0].landmarks) for p in (hopper, collins)])


def blurred(image: Image, sigma: float) -> Image:
    return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), np.uint8)


def compressed(image: Image) -> Image:
    _, data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 1])
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1], np.uint8)


def shrunk(image: Image) -> Image:
    small = cv2.resize(image, (12, 12), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(small, image.shape[1::-1]), np.uint8)


def noisy(image: Image) -> Image:
    noise = np.random.default_rng(0).normal(0, 80, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8)


DAMAGES: dict[str, Callable[[Image], Image]] = {
    "blurred": lambda crop: blurred(crop, 5),
    "compressed": compressed,
    "a dozen pixels": shrunk,
    "negative": lambda crop: 255 - crop,
    "noise": noisy,
    "two levels": lambda crop: np.where(crop > 127, 255, 0).astype(np.uint8),
    "overexposed": lambda crop: np.clip(crop.astype(int) * 6, 0, 255).astype(np.uint8),
    "nothing": np.zeros_like,
    "scribble": lambda crop: np.random.default_rng(1).integers(0, 256, crop.shape, np.uint8),
}


def test_clear_portraits_are_clear(judge: Judge, crops: Image) -> None:
    assert (judge.clarity(crops) >= USABLE.min_clarity).all()


@pytest.mark.parametrize("name", DAMAGES)
def test_damaged_ones_are_not(judge: Judge, crops: Image, name: str) -> None:
    damaged = np.stack([DAMAGES[name](crop) for crop in crops])
    assert (judge.clarity(damaged) < USABLE.min_clarity).all()


def test_the_more_blur_the_less_is_clear(judge: Judge, crops: Image) -> None:
    seen = [judge.clarity(np.stack([blurred(c, s) for c in crops])) for s in (0.1, 1.5, 3, 6)]
    assert (np.diff(seen, axis=0) < 0).all()


def test_a_batch_gives_what_single_crops_give(judge: Judge, crops: Image) -> None:
    many = np.concatenate([crops] * 20)
    alone = np.concatenate([judge.clarity(crop[None]) for crop in crops])
    np.testing.assert_allclose(judge.clarity(many), np.tile(alone, 20), atol=1e-5)
    assert judge.clarity(many[:0]).shape == (0,)


def test_crops_of_another_side_are_scaled(judge: Judge, crops: Image) -> None:
    larger = np.stack([cv2.resize(crop, (160, 160)) for crop in crops]).astype(np.uint8)
    assert (judge.clarity(larger) >= USABLE.min_clarity).all()


@pytest.mark.parametrize(
    "wrong",
    [np.zeros((112, 112, 3), np.uint8), np.zeros((1, 112, 112, 3)), np.zeros((1, 9, 9), np.uint8)],
)
def test_other_arrays_are_refused(judge: Judge, wrong: NDArray[np.generic]) -> None:
    with pytest.raises(InputError, match="expected uint8 crops"):
        judge.clarity(wrong)  # type: ignore[arg-type]


def test_another_network_is_no_judge() -> None:
    with pytest.raises(ModelError, match="not to judge"):
        Judge("facekeep-refiner")


def test_detect_says_why_a_face_is_unusable(engine: FaceEngine, hopper: Image) -> None:
    (clear,) = engine.detect(hopper)
    assert clear.usable
    assert clear.reasons == ()
    poor = engine.detect(blurred(hopper, 14))[0]
    assert not poor.usable
    assert poor.reasons[0] == Reason.TOO_BLURRY


def test_the_setting_takes_every_face_for_usable(hopper: Image) -> None:
    with FaceEngine(threads=1, any_quality=True) as engine:
        poor = engine.analyse(255 - hopper)[0]
        assert poor.usable
        assert poor.quality is not None
        assert poor.quality.clarity < USABLE.min_clarity


@pytest.mark.parametrize("name", ["standard", "strict"])
def test_no_review_takes_an_unusable_face(name: str) -> None:
    policy = POLICIES[name]
    for limit in Policy.__dataclass_fields__:
        ours, least = getattr(policy, limit), getattr(USABLE, limit)
        assert ours >= least if limit.startswith("min") else ours <= least
