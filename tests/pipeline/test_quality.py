"""Quality: facts that move the right way on real photos, reasons at the limits, never a NaN."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from facekeep.errors import InputError
from facekeep.pipeline.align import align
from facekeep.pipeline.quality import (
    POLICIES,
    Policy,
    Reason,
    assess,
    estimate_pose,
    explain,
    review,
)
from facekeep.types import Face, Quality

Image = NDArray[np.uint8]

MIRROR = [1, 0, 2, 4, 3]
GOOD = Quality(
    size=200,
    eye_distance=80,
    sharpness=1.0,
    brightness=0.5,
    contrast=0.5,
    yaw=0,
    pitch=0,
    roll=0,
    score=1,
    outside=0,
    mouth_covered=0,
    eyes_covered=0,
    blockiness=0,
    recognizability=1,
    overall=1,
)


def face_of(box: list[float], landmarks: list[list[float]], score: float = 0.93) -> Face:
    return Face(np.array(box, np.float32), np.array(landmarks, np.float32), score)


# What the default detector finds in the two portraits.
HOPPER = face_of(
    [182.6, 120.0, 352.7, 332.5],
    [[222.6, 195.6], [303.2, 192.9], [266.8, 239.6], [232.5, 275.0], [303.6, 272.8]],
)
COLLINS = face_of(
    [178.0, 62.6, 268.4, 176.4],
    [[203.4, 102.8], [245.4, 104.5], [222.1, 126.5], [202.8, 144.0], [240.2, 145.3]],
)


@pytest.fixture(params=["hopper", "collins"])
def portrait(request: pytest.FixtureRequest) -> tuple[Image, Face]:
    face = {"hopper": HOPPER, "collins": COLLINS}[request.param]
    return request.getfixturevalue(request.param), face


def moved(face: Face, matrix: NDArray[np.float64]) -> Face:
    """The face after its image went through ``cv2.warpAffine`` with this matrix; box around it."""
    x1, y1, x2, y2 = face.bbox.tolist()
    corners = np.array([[x1, y1], [x2, y1], [x1, y2], [x2, y2]]) @ matrix[:, :2].T + matrix[:, 2]
    box = np.concatenate([corners.min(axis=0), corners.max(axis=0)]).astype(np.float32)
    landmarks = (face.landmarks @ matrix[:, :2].T + matrix[:, 2]).astype(np.float32)
    return face.replace(bbox=box, landmarks=landmarks)


def rendered(yaw: float, pitch: float, roll: float) -> NDArray[np.float64]:
    """Landmarks of a drawn head, turned by three rotations about fixed axes, in that order.

    Its proportions are those of no particular model: the estimate may be off by some degrees.
    """
    head = np.array([[-32, -30, 0], [32, -30, 0], [0, 5, -25], [-26, 33, 0], [26, 33, 0.0]])
    p, y, r = np.radians([-pitch, -yaw, roll])
    about_x = [[1, 0, 0], [0, math.cos(p), -math.sin(p)], [0, math.sin(p), math.cos(p)]]
    about_y = [[math.cos(y), 0, math.sin(y)], [0, 1, 0], [-math.sin(y), 0, math.cos(y)]]
    about_z = [[math.cos(r), -math.sin(r), 0], [math.sin(r), math.cos(r), 0], [0, 0, 1]]
    turned = head @ np.array(about_x).T @ np.array(about_y).T @ np.array(about_z).T
    return turned[:, :2] + 300


def test_good_portraits_pass_every_policy(portrait: tuple[Image, Face]) -> None:
    quality = assess(*portrait)
    assert {name: review(quality, policy) for name, policy in POLICIES.items()} == {
        "off": [],
        "standard": [],
        "strict": [],
    }
    assert 0 < quality.overall <= 1


def test_facts_of_a_portrait(hopper: Image) -> None:
    quality = assess(hopper, HOPPER)
    assert quality.size == pytest.approx(170.1, abs=0.1)
    assert quality.eye_distance == pytest.approx(math.hypot(80.6, 2.7), abs=0.1)
    assert quality.score == 0.93
    assert quality.outside == 0
    luma = cv2.cvtColor(align(hopper, HOPPER.landmarks), cv2.COLOR_RGB2GRAY)[28:108, 22:90]
    assert quality.brightness == pytest.approx(luma.mean() / 255)
    assert quality.contrast == pytest.approx(luma.std() / 127.5)
    assert abs(quality.yaw) < 8
    assert abs(quality.pitch) < 15
    assert abs(quality.roll) < 4


def test_blur_lowers_sharpness_step_by_step(portrait: tuple[Image, Face]) -> None:
    image, face = portrait
    unit = assess(image, face).eye_distance / 35
    seen = [assess(image, face)]
    for sigma in (1.0, 1.5, 2.5, 4.0, 6.0):
        seen.append(assess(cv2.GaussianBlur(image, (0, 0), sigma * unit), face))
    sharpness = [quality.sharpness for quality in seen]
    assert sharpness == sorted(sharpness, reverse=True)
    assert sharpness[-1] < sharpness[0] / 2
    overall = [quality.overall for quality in seen]
    assert overall == sorted(overall, reverse=True)
    assert Reason.TOO_BLURRY in review(seen[-1], POLICIES["standard"])
    assert seen[-1].brightness == pytest.approx(seen[0].brightness, abs=0.04)


@pytest.mark.parametrize(
    "change",
    [
        lambda image: (image * 0.15).astype(np.uint8),
        lambda image: np.clip(image * 2.5, 0, 255).astype(np.uint8),
        lambda image: (image * 0.1 + 110).astype(np.uint8),
        lambda image: cv2.GaussianBlur(image, (0, 0), 9),
    ],
    ids=["dark", "bleached", "flat", "blurred"],
)
def test_every_damage_lowers_the_one_number(
    portrait: tuple[Image, Face], change: Callable[[Image], Image]
) -> None:
    image, face = portrait
    assert assess(change(image), face).overall < 0.8 * assess(image, face).overall


@pytest.mark.parametrize(
    ("fact", "value"), [("yaw", -60), ("pitch", 60), ("outside", 0.5), ("score", 0.5)]
)
def test_the_one_number_falls_with(fact: str, value: float, collins: Image) -> None:
    turned = {"yaw": rendered(-60, 0, 0), "pitch": rendered(0, 60, 0)}
    landmarks = turned.get(fact, rendered(0, 0, 0)).astype(np.float32)
    box = np.array([250, 250, 350, 350], np.float32)
    crop = align(collins, COLLINS.landmarks)
    good = assess(np.zeros((600, 600, 3), np.uint8), Face(box, rendered(0, 0, 0), 1.0), crop=crop)
    side = 300 if fact == "outside" else 600
    face = Face(box, landmarks, value if fact == "score" else 1.0)
    poor = assess(np.zeros((600, side, 3), np.uint8), face, crop=crop)
    assert getattr(poor, fact) == pytest.approx(value, abs=8)
    assert poor.overall == pytest.approx(good.overall / 2, rel=0.3)


def test_sharpness_does_not_depend_on_exposure(portrait: tuple[Image, Face]) -> None:
    image, face = portrait
    half = assess((image * 0.5).astype(np.uint8), face)
    assert half.sharpness == pytest.approx(assess(image, face).sharpness, rel=0.03)


def test_noise_on_a_blurred_face_does_not_make_it_sharp(portrait: tuple[Image, Face]) -> None:
    image, face = portrait
    unit = assess(image, face).eye_distance / 35
    blurred = cv2.GaussianBlur(image, (0, 0), 4 * unit)
    noise = np.random.default_rng(7).normal(0, 6, image.shape)
    noisy = np.clip(blurred + noise, 0, 255).astype(np.uint8)
    assert assess(noisy, face).sharpness < assess(image, face).sharpness * 0.6


def test_darkening_lowers_brightness_and_contrast(portrait: tuple[Image, Face]) -> None:
    image, face = portrait
    seen = [assess((image * k).astype(np.uint8), face) for k in (1.0, 0.6, 0.3, 0.1, 0.02)]
    for fact in ("brightness", "contrast"):
        values = [getattr(quality, fact) for quality in seen]
        assert values == sorted(values, reverse=True)
    assert seen[1].brightness == pytest.approx(seen[0].brightness * 0.6, abs=0.01)
    assert Reason.TOO_DARK in review(seen[-1], POLICIES["standard"])


def test_overexposure_is_too_bright(portrait: tuple[Image, Face]) -> None:
    image, face = portrait
    white = np.clip(image.astype(np.int32) * 8, 0, 255).astype(np.uint8)
    assert Reason.TOO_BRIGHT in review(assess(white, face), POLICIES["standard"])


@pytest.mark.parametrize("degrees", [-170, -90, -30, -5, 5, 30, 90, 170])
def test_turning_the_image_turns_the_roll(portrait: tuple[Image, Face], degrees: float) -> None:
    image, face = portrait
    # OpenCV's angle counts against the clock; ours with it.
    matrix = cv2.getRotationMatrix2D((256, 256), -degrees, 1.0)
    turned = assess(cv2.warpAffine(image, matrix, (512, 600)), moved(face, matrix))
    upright = assess(image, face)
    difference = (turned.roll - upright.roll - degrees + 180) % 360 - 180
    assert difference == pytest.approx(0, abs=0.05)
    assert turned.yaw == pytest.approx(upright.yaw, abs=0.05)
    assert turned.pitch == pytest.approx(upright.pitch, abs=0.05)


def test_the_mirror_flips_yaw_and_roll(portrait: tuple[Image, Face]) -> None:
    image, face = portrait
    matrix = np.array([[-1, 0, image.shape[1] - 1], [0, 1, 0]], np.float64)
    mirrored = moved(face, matrix)
    mirrored = mirrored.replace(landmarks=mirrored.landmarks[MIRROR])
    before = assess(image, face)
    after = assess(np.ascontiguousarray(image[:, ::-1]), mirrored)
    assert before.yaw != 0
    assert after.yaw == pytest.approx(-before.yaw, abs=0.01)
    assert after.roll == pytest.approx(-before.roll, abs=0.01)
    assert after.pitch == pytest.approx(before.pitch, abs=0.01)


@pytest.mark.parametrize(
    ("fact", "place", "angles"),
    [
        ("yaw", 0, (-50, -30, -10, 0, 10, 30, 50)),
        ("pitch", 1, (-40, -20, 0, 20, 40)),
        ("roll", 2, (-120, -40, 0, 40, 120)),
    ],
)
def test_pose_of_a_turned_head(fact: str, place: int, angles: tuple[float, ...]) -> None:
    frontal = estimate_pose(rendered(0, 0, 0))
    for angle in angles:
        wanted = [0.0, 0.0, 0.0]
        wanted[place] = angle
        found = estimate_pose(rendered(*wanted))
        assert found[place] - frontal[place] == pytest.approx(angle, abs=6), fact
        others = [p for p in range(3) if p != place]
        assert [found[p] for p in others] == pytest.approx([frontal[p] for p in others], abs=8)


def test_shrinking_lowers_size(portrait: tuple[Image, Face]) -> None:
    image, face = portrait
    seen = []
    for scale in (1.0, 0.5, 0.25, 0.1):
        matrix = np.array([[scale, 0, 0], [0, scale, 0]])
        small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        seen.append(assess(small, moved(face, matrix)))
    for fact in ("size", "eye_distance", "sharpness", "overall"):
        values = [getattr(quality, fact) for quality in seen]
        assert values == sorted(values, reverse=True), fact
    assert seen[1].size == pytest.approx(seen[0].size / 2, rel=1e-3)
    assert Reason.FACE_TOO_SMALL in review(seen[-1], POLICIES["standard"])


@pytest.mark.parametrize(
    ("box", "outside"),
    [
        ([0, 0, 100, 200], 0),
        ([-50, 0, 50, 200], 0.5),
        ([0, 150, 100, 250], 0.5),
        ([-50, 150, 50, 250], 0.75),
        ([300, 0, 400, 100], 1),
        ([50, 50, 50, 90], 1),
        ([60, 50, 50, 90], 1),
    ],
)
def test_share_outside_the_image(box: list[float], outside: float) -> None:
    image = np.zeros((200, 100, 3), np.uint8)
    assert assess(image, face_of(box, COLLINS.landmarks.tolist())).outside == outside


def test_a_crop_at_hand_gives_the_same_facts(portrait: tuple[Image, Face]) -> None:
    image, face = portrait
    assert assess(image, face, crop=align(image, face.landmarks)) == assess(image, face)


def test_a_crop_of_another_size_is_brought_to_scale(portrait: tuple[Image, Face]) -> None:
    image, face = portrait
    near = assess(image, face, crop=align(image, face.landmarks, 160))
    usual = assess(image, face)
    assert near.sharpness == pytest.approx(usual.sharpness, rel=0.25)
    assert near.brightness == pytest.approx(usual.brightness, abs=0.01)


def test_to_dict_is_json(hopper: Image) -> None:
    quality = assess(hopper, HOPPER)
    written = json.loads(json.dumps(quality.to_dict()))
    assert list(written) == [field.name for field in dataclasses.fields(Quality)]
    assert written["yaw"] == pytest.approx(quality.yaw, abs=1e-4)
    assert all(type(value) is float for value in written.values())


LIMITS = [
    # fact, policy field, limit, just wrong, reason, and words that its line must hold
    ("size", "min_size", 60, 38, Reason.FACE_TOO_SMALL, ["38 px", "60", "closer"]),
    ("sharpness", "min_sharpness", 0.2, 0.1, Reason.TOO_BLURRY, ["0.10", "0.20", "focus"]),
    ("brightness", "min_brightness", 0.2, 0.1, Reason.TOO_DARK, ["0.10", "0.20", "light"]),
    ("brightness", "max_brightness", 0.8, 0.9, Reason.TOO_BRIGHT, ["0.90", "0.80", "light"]),
    ("contrast", "min_contrast", 0.2, 0.1, Reason.LOW_CONTRAST, ["0.10", "0.20", "light"]),
    ("yaw", "max_yaw", 30, -31, Reason.EXTREME_POSE, ["31.0 degrees", "30", "aside"]),
    ("yaw", "max_yaw", 30, 31, Reason.EXTREME_POSE, ["31.0 degrees", "30", "aside"]),
    ("pitch", "max_pitch", 20, -21, Reason.EXTREME_POSE, ["21.0 degrees", "20", "up or down"]),
    ("pitch", "max_pitch", 20, 21, Reason.EXTREME_POSE, ["21.0 degrees", "20", "up or down"]),
    ("roll", "max_roll", 30, -45, Reason.EXTREME_POSE, ["45.0 degrees", "30", "upright"]),
    ("score", "min_score", 0.8, 0.7, Reason.LOW_DETECTION_SCORE, ["70%", "80%"]),
    ("outside", "max_outside", 0.1, 0.25, Reason.FACE_CUT_OFF, ["25%", "10%", "whole face"]),
    (
        *("mouth_covered", "max_mouth_covered", 0.5, 0.625, Reason.MOUTH_COVERED),
        ["uncover", "0.625", "0.50"],
    ),
    (
        *("eyes_covered", "max_eyes_covered", 0.5, 0.625, Reason.EYES_COVERED),
        ["show the eyes", "0.625", "0.50"],
    ),
    (
        *("blockiness", "max_blockiness", 0.5, 0.75, Reason.TOO_COMPRESSED),
        ["less compressed", "0.75", "0.50"],
    ),
    (
        *("recognizability", "min_recognizability", 0.5, 0.25, Reason.UNCLEAR),
        ["clearer picture", "0.25", "0.50"],
    ),
]


@pytest.mark.parametrize(("fact", "field", "limit", "wrong", "reason", "words"), LIMITS)
def test_reasons_at_the_limits(
    fact: str, field: str, limit: float, wrong: float, reason: Reason, words: list[str]
) -> None:
    policy = Policy(**{field: limit})
    at_limit = dataclasses.replace(GOOD, **{fact: math.copysign(limit, wrong)})
    beyond = dataclasses.replace(GOOD, **{fact: wrong})
    assert review(GOOD, policy) == []
    assert review(at_limit, policy) == []
    assert review(beyond, policy) == [reason]
    assert review(beyond, POLICIES["off"]) == []
    line = explain(reason, beyond, policy)
    assert "\n" not in line
    for word in words:
        assert word in line


def test_every_limit_of_a_policy_is_checked() -> None:
    assert {row[1] for row in LIMITS} == {field.name for field in dataclasses.fields(Policy)}


def test_strict_is_nowhere_laxer_than_standard() -> None:
    for field in dataclasses.fields(Policy):
        standard, strict = (getattr(POLICIES[name], field.name) for name in ("standard", "strict"))
        assert strict >= standard if field.name.startswith("min") else strict <= standard


def test_several_reasons_come_once_each_in_a_stable_order() -> None:
    bad = dataclasses.replace(GOOD, size=10, yaw=80, pitch=70, roll=90, score=0.1)
    assert review(bad, POLICIES["strict"]) == [
        Reason.FACE_TOO_SMALL,
        Reason.EXTREME_POSE,
        Reason.LOW_DETECTION_SCORE,
    ]


def test_only_what_fails_can_be_explained() -> None:
    with pytest.raises(InputError, match="too_dark does not follow"):
        explain(Reason.TOO_DARK, GOOD, POLICIES["strict"])


def test_reasons_are_the_words_that_scripts_rely_on() -> None:
    assert [str(reason) for reason in Reason] == [
        "no_face",
        "multiple_faces",
        "face_too_small",
        "too_blurry",
        "too_dark",
        "too_bright",
        "low_contrast",
        "extreme_pose",
        "low_detection_score",
        "face_cut_off",
        "mouth_covered",
        "eyes_covered",
        "too_compressed",
        "unclear",
        "identity_conflict",
        "inconsistent_identity",
    ]


@pytest.mark.parametrize(
    "landmarks",
    [
        [[50, 50]] * 5,
        [[np.nan, 50], [60, 50], [55, 60], [50, 70], [60, 70]],
        [[np.inf, 50], [60, 50], [55, 60], [50, 70], [60, 70]],
    ],
)
def test_unusable_landmarks_fail_the_review(landmarks: list[list[float]], collins: Image) -> None:
    quality = assess(collins, face_of([40, 40, 140, 140], landmarks))
    assert (quality.yaw, quality.pitch, quality.roll) == (90, 0, 0)
    assert quality.sharpness == quality.overall == 0
    assert Reason.EXTREME_POSE in review(quality, POLICIES["standard"])


def test_a_flat_image_has_no_sharpness() -> None:
    gray = np.full((300, 300, 3), 128, np.uint8)
    quality = assess(gray, COLLINS)
    assert quality.sharpness == quality.contrast == 0
    assert quality.brightness == pytest.approx(128 / 255, abs=1e-6)


def test_only_rgb_images_are_taken() -> None:
    with pytest.raises(InputError):
        assess(np.zeros((100, 100), np.uint8), COLLINS)


ANY = st.floats(allow_nan=False, allow_infinity=False, width=32)
NEAR = st.floats(-60, 160, width=32)


@pytest.mark.slow
@given(
    landmarks=hnp.arrays(np.float32, (5, 2), elements=st.one_of(NEAR, ANY)),
    bbox=hnp.arrays(np.float32, 4, elements=st.one_of(NEAR, ANY)),
    score=st.floats(0, 1),
)
def test_facts_are_finite_whatever_the_geometry(
    landmarks: NDArray[np.float32], bbox: NDArray[np.float32], score: float
) -> None:
    image = np.random.default_rng(3).integers(0, 256, (97, 83, 3), np.uint8)
    quality = assess(image, Face(bbox, landmarks, score))
    assert all(math.isfinite(value) for value in dataclasses.astuple(quality))
    shares = ("sharpness", "brightness", "contrast", "outside", "overall")
    for fact in (*shares, "mouth_covered", "eyes_covered"):
        assert 0 <= getattr(quality, fact) <= 1, fact
    assert abs(quality.yaw) <= 90
    assert max(abs(quality.pitch), abs(quality.roll)) <= 180


@pytest.mark.slow
def test_threads_measure_what_one_thread_measures(hopper: Image, collins: Image) -> None:
    work = [(hopper, HOPPER), (collins, COLLINS)] * 40
    alone = [assess(*job) for job in work]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda job: assess(*job), work)) == alone
