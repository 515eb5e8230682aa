"""The quality network: clear portraits pass, damaged ones do not, and the facts say why."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from facekeep import FaceEngine
from facekeep.errors import InputError, ModelError
from facekeep.models import entry
from facekeep.pipeline.align import align, template
from facekeep.pipeline.embed import Embedder
from facekeep.pipeline.quality import POLICIES, USABLE, Policy, Reason, assess, with_reasons
from facekeep.pipeline.quality_network import QualityNetwork, appearance
from facekeep.runtime import RuntimeOptions
from facekeep.types import Face

Image = NDArray[np.uint8]

pytestmark = pytest.mark.usefixtures("ready_models")


@pytest.fixture(scope="module")
def network() -> Iterator[QualityNetwork]:
    with QualityNetwork(entry("sface").quality, options=RuntimeOptions(threads=1)) as network:
        yield network


@pytest.fixture(scope="module")
def embedder() -> Iterator[Embedder]:
    with Embedder("sface", options=RuntimeOptions(threads=1)) as embedder:
        yield embedder


@pytest.fixture(scope="module")
def engine() -> Iterator[FaceEngine]:
    with FaceEngine(threads=1) as engine:
        yield engine


@pytest.fixture(scope="module")
def crops(engine: FaceEngine, hopper: Image, collins: Image) -> Image:
    return np.stack([align(p, engine.detect(p)[0].landmarks) for p in (hopper, collins)])


@pytest.fixture
def look(network: QualityNetwork, embedder: Embedder) -> Callable[[Image], list[Face]]:
    """Looks at aligned crops as faces of 100 pixels."""
    face = Face(np.array([6, 2, 106, 110], np.float32), template().astype(np.float32), 1.0)

    def measured_faces(crops: Image) -> list[Face]:
        facts = [assess(crop, face, crop=crop) for crop in crops]
        clear = network.recognizability(*embedder.embed_and_measure(crops), facts, crops).tolist()
        qualities = [
            assess(crop, face, crop=crop, recognizability=c)
            for crop, c in zip(crops, clear, strict=True)
        ]
        return with_reasons(face.replace(quality=quality) for quality in qualities)

    return measured_faces


def blurred(image: Image, sigma: float) -> Image:
    return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), np.uint8)


def compressed(image: Image) -> Image:
    _, data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 3])
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1], np.uint8)


def shrunk(image: Image) -> Image:
    small = cv2.resize(image, (12, 12), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(small, image.shape[1::-1]), np.uint8)


def noisy(image: Image) -> Image:
    noise = np.random.default_rng(0).normal(0, 80, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8)


def squeezed(image: Image) -> Image:
    """A third as wide, as large as an alignment makes it."""
    matrix = np.array([[0.4, 0, 33.6], [0, 1.2, -11.2]])
    return np.asarray(cv2.warpAffine(image, matrix, (112, 112)), np.uint8)


def embossed(image: Image) -> Image:
    gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    relief = cv2.filter2D(gray, -1, np.array([[-2, -1, 0], [-1, 0, 1], [0, 1, 2]], np.float32))
    return np.repeat(np.clip(relief + 128, 0, 255).astype(np.uint8)[..., None], 3, 2)


def without_upper_half(image: Image) -> Image:
    changed = image.copy()
    changed[:56] = 0
    return changed


def with_a_bar(image: Image) -> Image:
    changed = image.copy()
    changed[40:63] = 15
    return changed


def bulged(image: Image) -> Image:
    """As in a fairground mirror."""
    y, x = np.mgrid[-56:56, -56:56].astype(np.float32)
    share = np.minimum(np.hypot(x, y) / 67, 1) ** 0.8
    return np.asarray(cv2.remap(image, share * x + 56, share * y + 56, cv2.INTER_LINEAR), np.uint8)


DAMAGES: dict[str, tuple[Callable[[Image], Image], Reason]] = {
    "blurred": (lambda crop: blurred(crop, 5), Reason.TOO_BLURRY),
    "compressed": (compressed, Reason.TOO_COMPRESSED),
    "a dozen pixels": (shrunk, Reason.TOO_BLURRY),
    "negative": (lambda crop: 255 - crop, Reason.UNCLEAR),
    "noise": (noisy, Reason.UNCLEAR),
    "two levels": (
        lambda crop: np.where(crop > 127, 255, 0).astype(np.uint8),
        Reason.UNCLEAR,
    ),
    "squeezed": (squeezed, Reason.UNCLEAR),
    "embossed": (embossed, Reason.UNCLEAR),
    "upper half gone": (without_upper_half, Reason.UNCLEAR),
    "bar over the eyes": (with_a_bar, Reason.UNCLEAR),
    "bulged": (bulged, Reason.UNCLEAR),
    "solarized": (
        lambda crop: np.where(crop > 127, 255 - crop, crop).astype(np.uint8),
        Reason.UNCLEAR,
    ),
    "dark": (lambda crop: (crop * 0.04).astype(np.uint8), Reason.TOO_DARK),
    "nothing": (np.zeros_like, Reason.TOO_DARK),
}


def test_clear_portraits_are_usable(look: Callable[[Image], list[Face]], crops: Image) -> None:
    assert [face.reasons for face in look(crops)] == [(), ()]


@pytest.mark.parametrize("name", DAMAGES)
def test_damaged_ones_are_not(look: Callable[[Image], list[Face]], crops: Image, name: str) -> None:
    change, reason = DAMAGES[name]
    for face in look(np.stack([change(crop) for crop in crops])):
        assert reason in face.reasons
        assert not face.usable


def test_the_appearance_tells_how_light_lies_whatever_the_size_of_the_crop(crops: Image) -> None:
    seen = appearance(crops[0])
    assert seen.shape == (74,)
    large = np.asarray(cv2.resize(crops[0], (224, 224), interpolation=cv2.INTER_NEAREST), np.uint8)
    np.testing.assert_allclose(appearance(large), seen, atol=1e-5)
    cells, negative = seen[10:42], appearance(255 - crops[0])[10:42]
    np.testing.assert_allclose(negative, -cells, atol=0.02)
    flat = appearance(np.full((112, 112, 3), 90, np.uint8))
    assert np.isfinite(flat).all()
    assert flat[2] > 0.9, "each pixel equals its neighbors"
    gone = appearance(without_upper_half(crops[0]))[42:].reshape(8, 4)
    assert gone[:2].max() < gone[4:].min(), "cells that are covered have no contrast"


def test_blocks_show_wherever_the_grid_begins(crops: Image) -> None:
    face = Face(np.array([6, 2, 106, 110], np.float32), template().astype(np.float32), 1.0)
    blocky = compressed(np.asarray(cv2.resize(crops[0], (120, 120)), np.uint8))
    for start in (0, 3, 5):
        part = np.ascontiguousarray(blocky[start : start + 112, start : start + 112])
        assert assess(part, face, crop=part).blockiness > USABLE.max_blockiness
    assert assess(crops[0], face, crop=crops[0]).blockiness < 0.6


def test_a_batch_gives_what_single_faces_give(
    network: QualityNetwork, embedder: Embedder, crops: Image
) -> None:
    face = Face(np.array([6, 2, 106, 110], np.float32), template().astype(np.float32), 1.0)
    facts = [assess(crop, face, crop=crop) for crop in crops]
    rows, norms = embedder.embed_and_measure(crops)
    both = network.recognizability(rows, norms, facts, crops)
    alone = [
        network.recognizability(
            rows[i : i + 1], norms[i : i + 1], facts[i : i + 1], crops[i : i + 1]
        )
        for i in (0, 1)
    ]
    np.testing.assert_allclose(both, np.concatenate(alone), atol=1e-5)
    assert network.recognizability(rows[:0], norms[:0], [], crops[:0]).shape == (0,)
    with pytest.raises(InputError, match="takes embeddings of 128 numbers, not 64"):
        network.recognizability(rows[:, :64], norms, facts, crops)


def test_another_network_is_no_quality_network() -> None:
    with pytest.raises(ModelError, match="not to rate"):
        QualityNetwork("facekeep-refiner")


@pytest.mark.slow
def test_detect_tells_what_the_facts_tell_and_analyze_the_rest(
    engine: FaceEngine, hopper: Image
) -> None:
    (clear,) = engine.detect(hopper)
    assert clear.usable
    assert clear.reasons == ()
    assert engine.detect(blurred(hopper, 14))[0].reasons[0] == Reason.TOO_BLURRY
    negative = 255 - hopper
    assert engine.detect(negative)[0].usable
    assert Reason.UNCLEAR in engine.analyze(negative)[0].reasons


def test_the_setting_takes_every_face_for_usable(hopper: Image) -> None:
    with FaceEngine(threads=1, any_quality=True) as engine:
        poor = engine.analyze(255 - hopper)[0]
        assert poor.usable
        assert poor.quality is not None
        assert poor.quality.recognizability < USABLE.min_recognizability


@pytest.mark.parametrize("name", ["standard", "strict"])
def test_no_review_takes_an_unusable_face(name: str) -> None:
    policy = POLICIES[name]
    for limit in Policy.__dataclass_fields__:
        ours, least = getattr(policy, limit), getattr(USABLE, limit)
        assert ours >= least if limit.startswith("min") else ours <= least
