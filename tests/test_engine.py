"""The pipeline as one object: enrollment, identification, threads, batches, what is left."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from facekeep import Consent, FaceEngine, Gallery, RuntimeOptions, Threshold, save_image
from facekeep.errors import (
    GalleryNotFound,
    ImageError,
    InputError,
    ModelNotFound,
    PersonNotFound,
    RuntimeUnavailable,
)
from facekeep.pipeline.quality import Reason

Image = NDArray[np.uint8]
Photo = Callable[..., Path]


pytestmark = pytest.mark.usefixtures("ready_models")


@pytest.fixture(scope="module")
def engine_models() -> Iterator[FaceEngine]:
    """One engine without a gallery for all tests that need only the networks."""
    with FaceEngine() as engine:
        yield engine


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[FaceEngine]:
    with FaceEngine(tmp_path / "people.db") as engine:
        yield engine


@pytest.fixture
def photo(tmp_path: Path, hopper: Image, collins: Image) -> Photo:
    """Writes a changed copy of a portrait and returns its path."""

    def write(who: str, quality: int = 92, gain: float = 1.0, size: float = 1.0) -> Path:
        pixels = {"hopper": hopper, "collins": collins}[who]
        scaled = cv2.resize(pixels, None, fx=size, fy=size, interpolation=cv2.INTER_AREA)
        path = tmp_path / f"{who}-{quality}-{gain}-{size}.jpg"
        save_image(path, np.clip(scaled * gain, 0, 255).astype(np.uint8), quality=quality)
        return path

    return write


def both(hopper: Image, collins: Image) -> Image:
    """One picture with both portraits side by side."""
    height = min(len(hopper), len(collins))
    return np.ascontiguousarray(np.hstack([hopper[:height], collins[:height]]))


@pytest.mark.slow
def test_a_person_registers_once_and_is_recognized_when_they_reappear(
    engine: FaceEngine, photo: Photo, hopper: Image, collins: Image
) -> None:
    assert engine.enroll("Grace Hopper", photo("hopper")).enrolled == 1
    (face,) = engine.identify(photo("hopper", quality=40, gain=0.6, size=0.7))
    assert face.name == "Grace Hopper"
    assert face.similarity is not None
    assert face.similarity > 0.7


def test_a_stranger_stays_unknown(engine: FaceEngine, hopper: Image, collins: Image) -> None:
    engine.enroll("Grace Hopper", hopper)
    (face,) = engine.identify(collins)
    assert face.name is None
    assert face.decision is not None
    assert face.decision.people == 1
    assert [candidate.name for candidate in face.decision.candidates] == ["Grace Hopper"]
    assert face.similarity is not None
    assert face.similarity < face.decision.threshold.cosine


def test_everybody_in_a_picture_gets_their_own_name(
    engine: FaceEngine, hopper: Image, collins: Image
) -> None:
    engine.enroll("Grace Hopper", hopper)
    engine.enroll("Eileen Collins", collins)
    faces = engine.identify(both(hopper, collins))
    names = {face.name: float(face.bbox[0]) for face in faces}
    assert set(names) == {"Grace Hopper", "Eileen Collins"}
    assert names["Grace Hopper"] < hopper.shape[1] <= names["Eileen Collins"]


def test_no_face_is_an_empty_list(engine: FaceEngine, hopper: Image) -> None:
    engine.enroll("Grace Hopper", hopper)
    assert engine.identify(np.full((80, 120, 3), 127, np.uint8)) == []
    assert engine.detect(np.zeros((1, 1, 3), np.uint8)) == []


@pytest.mark.slow
def test_verify(engine_models: FaceEngine, photo: Photo, hopper: Image, collins: Image) -> None:
    same = engine_models.verify(hopper, photo("hopper", gain=0.5))
    other = engine_models.verify(hopper, collins)
    nobody = engine_models.verify(hopper, np.zeros((50, 50, 3), np.uint8))
    assert same.match
    assert not other.match
    assert same.similarity is not None
    assert other.similarity is not None
    assert same.similarity > same.threshold.cosine > other.similarity
    assert (nobody.match, nobody.similarity) == (False, None)


def test_a_stricter_rate_asks_for_a_higher_cosine(engine_models: FaceEngine) -> None:
    cosines = [engine_models.threshold(fmr).cosine for fmr in (1e-2, 1e-3, 1e-4, 1e-5)]
    assert cosines == sorted(cosines)
    assert len(set(cosines)) == 4
    with pytest.raises(InputError, match="cannot be promised"):
        engine_models.threshold(1e-12)


@pytest.mark.slow
def test_enrollment_says_why_a_photo_was_not_used(
    engine: FaceEngine, photo: Photo, tmp_path: Path, hopper: Image, collins: Image
) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(photo("hopper").read_bytes()[:500])
    good, tiny = photo("hopper"), photo("hopper", size=0.12)
    group = tmp_path / "group.png"
    save_image(group, both(hopper, collins))
    empty = tmp_path / "empty.png"
    save_image(empty, np.full((90, 90, 3), 200, np.uint8))
    result = engine.enroll("Grace Hopper", [good, good, tiny, group, empty, broken])
    assert result.enrolled == 1
    assert [each.reason for each in result.rejected] == [
        "already_enrolled",
        "face_too_small",
        "multiple_faces",
        "no_face",
        "unreadable",
    ]
    assert all("\n" not in each.detail and each.detail for each in result.rejected)
    assert result.person is not None
    assert result.person.template_count == 1


def test_a_face_of_somebody_else_who_is_enrolled_is_refused(
    engine: FaceEngine, hopper: Image, photo: Photo
) -> None:
    engine.enroll("Grace Hopper", hopper)
    result = engine.enroll("Somebody Else", photo("hopper", quality=60))
    assert result.enrolled == 0
    assert [each.reason for each in result.rejected] == ["identity_conflict"]
    assert "Grace Hopper" in result.rejected[0].detail
    assert [person.name for person in engine.gallery.people()] == ["Grace Hopper"]


@pytest.mark.slow
def test_one_photo_of_somebody_else_is_the_odd_one_out(
    tmp_path: Path, photo: Photo, collins: Image
) -> None:
    others = [photo("hopper"), photo("hopper", gain=0.7)]
    for place in range(3):
        photos = [*others[:place], photo("collins"), *others[place:]]
        with FaceEngine(tmp_path / f"{place}.db") as engine:
            result = engine.enroll("Grace Hopper", photos)
            assert result.enrolled == 2
            (odd,) = result.rejected
            assert (odd.image, odd.reason) == (str(photo("collins")), "inconsistent_identity")
            assert engine.identify(collins)[0].name is None


@pytest.mark.slow
@pytest.mark.shared
def test_one_photo_of_a_and_two_of_b_are_no_person(engine: FaceEngine, shared: Path) -> None:
    names = "Tony_Blair", "Gerhard_Schroeder", "Hugo_Chavez"
    photos = [sorted((shared / "lfw" / "images" / name).iterdir())[:4] for name in names]
    for first, second in ((0, 1), (1, 2), (2, 0)):
        odd, *others = photos[first][0], *photos[second][:2]
        result = engine.enroll(f"{names[second]} again", [odd, *others], new_person=True)
        assert result.enrolled == 2
        assert [each.image for each in result.rejected] == [str(odd)]
    mixed = [each for three in photos for each in three]
    assert engine.enroll("Mixed", mixed, new_person=True).enrolled == 0
    assert engine.enroll("Tony Blair", photos[0], new_person=True).enrolled == 4


@pytest.mark.slow
def test_of_two_photos_that_disagree_neither_is_enrolled(
    engine: FaceEngine, photo: Photo, tmp_path: Path
) -> None:
    result = engine.enroll("Somebody", [photo("hopper"), photo("collins"), photo("collins")])
    assert (result.enrolled, result.person) == (0, None)
    assert [each.reason for each in result.rejected] == ["inconsistent_identity"] * 3
    assert not (tmp_path / "people.db").exists()
    assert engine.enroll("Somebody", photo("collins")).enrolled == 1


@pytest.mark.slow
def test_new_photos_must_show_the_person_who_is_enrolled(
    engine: FaceEngine, photo: Photo, hopper: Image
) -> None:
    engine.enroll("Grace Hopper", hopper)
    result = engine.enroll("Grace Hopper", [photo("collins"), photo("collins", gain=0.8)])
    assert [each.reason for each in result.rejected] == ["inconsistent_identity"] * 2
    assert all("enrolled from before" in each.detail for each in result.rejected)
    assert engine.enroll("Grace Hopper", [photo("hopper"), photo("collins")]).enrolled == 1


def test_review_off_does_not_compare_photos(tmp_path: Path, hopper: Image, collins: Image) -> None:
    with FaceEngine(tmp_path / "people.db", review="off") as engine:
        assert engine.enroll("Both", [hopper, collins]).enrolled == 2


@pytest.mark.slow
def test_a_bystander_does_not_keep_a_portrait_from_being_enrolled(
    engine: FaceEngine, hopper: Image, collins: Image
) -> None:
    crowd = hopper.copy()
    crowd[380:580, 0:200] = cv2.resize(collins, (400, 400), interpolation=cv2.INTER_AREA)[
        0:200, 60:260
    ]
    assert len(engine.detect(crowd)) == 2
    result = engine.enroll("Grace Hopper", crowd)
    assert (result.enrolled, result.rejected) == (1, ())
    (chosen,) = result.chosen
    assert chosen.faces == 2
    np.testing.assert_allclose(chosen.bbox, engine.detect(hopper)[0].bbox, atol=8)
    assert engine.identify(hopper)[0].name == "Grace Hopper"
    assert engine.identify(collins)[0].name is None


@pytest.mark.slow
def test_of_two_faces_that_compete_the_largest_is_taken_when_asked(
    engine: FaceEngine, hopper: Image, collins: Image
) -> None:
    group = both(hopper, collins)
    assert [each.reason for each in engine.enroll("Ada", group).rejected] == ["multiple_faces"]
    assert engine.enroll("Ada", group, largest=True).enrolled == 1
    assert engine.identify(hopper)[0].name == "Ada"
    with pytest.raises(ImageError, match="2 faces, and none is plainly the main one"):
        engine.refuse("Ada", group)


@pytest.mark.slow
def test_a_new_person_may_look_like_somebody_else(
    engine: FaceEngine, hopper: Image, photo: Photo
) -> None:
    engine.enroll("Grace Hopper", hopper)
    result = engine.enroll("Her Twin", photo("hopper", gain=0.7))
    assert [each.reason for each in result.rejected] == ["identity_conflict"]
    assert "this is a new person" in result.rejected[0].detail
    assert engine.enroll("Her Twin", photo("hopper", gain=0.7), new_person=True).enrolled == 1


@pytest.mark.slow
def test_the_rate_of_mistaken_newcomers_does_not_grow_with_the_gallery(
    engine: FaceEngine, hopper: Image, photo: Photo, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.enroll("Grace Hopper", hopper)
    seen = []

    def note(name: str, hits: object, limit: Callable[[int], Threshold], people: int) -> None:
        seen.append((people, limit(1).fmr))

    monkeypatch.setattr("facekeep.pipeline.enrollment.find_conflict", note)
    for quality, people in enumerate((1, 100, 500, 100_000), 90):
        monkeypatch.setattr(type(engine.gallery), "count", lambda self, count=people: count)
        engine.enroll("Grace Hopper", photo("hopper", quality=quality))
    rates = dict(seen)
    assert rates[1] == 1e-4, "never more than faces are identified at"
    for people in (100, 500):
        assert 1 - (1 - rates[people]) ** people == pytest.approx(1e-3)
    assert rates[100_000] == 1e-6, "the lowest that the model is calibrated for"


@pytest.mark.slow
def test_a_share_of_strangers_instead_of_a_rate(
    tmp_path: Path, hopper: Image, collins: Image
) -> None:
    with FaceEngine(tmp_path / "people.db", fpir=0.01) as engine:
        engine.enroll("Grace Hopper", hopper)
        engine.enroll("Eileen Collins", collins)
        (face,) = engine.identify(hopper)
        assert face.decision is not None
        assert face.name == "Grace Hopper"
        assert face.decision.expected_fpir == pytest.approx(0.01)
        (face,) = engine.identify(hopper, fmr=1e-3)
        assert face.decision is not None
        assert face.decision.threshold.fmr == 1e-3
        with pytest.raises(InputError, match="it can promise 2e-06"):
            engine.identify(hopper, fpir=1e-6)
        with pytest.raises(InputError, match="two ways"):
            engine.identify(hopper, fpir=0.01, fmr=1e-3)
        assert engine.verify(hopper, hopper).threshold.fmr == 1e-4
    for wrong in ({"fmr": 1e-3, "fpir": 0.01}, {"fpir": 0.0}, {"fpir": 2.0}):
        with pytest.raises(InputError):
            FaceEngine(**wrong)  # type: ignore[arg-type]


def test_review_off_takes_the_largest_face_of_any_photo(
    tmp_path: Path, hopper: Image, collins: Image, photo: Photo
) -> None:
    with FaceEngine(tmp_path / "people.db", review="off") as engine:
        result = engine.enroll("Grace Hopper", [both(hopper, collins), photo("hopper", size=0.12)])
        assert result.enrolled == 2
        assert [face.name for face in engine.identify(hopper)] == ["Grace Hopper"]


def test_a_rate_that_cannot_be_promised_stops_the_first_enrollment_already(
    tmp_path: Path, hopper: Image
) -> None:
    gallery = tmp_path / "people.db"
    with (
        FaceEngine(gallery, fmr=1e-12) as engine,
        pytest.raises(InputError, match=r"cannot be promised.*; or skip the checks$"),
    ):
        engine.enroll("Grace Hopper", tmp_path / "never-read.jpg")
    assert not gallery.exists()
    with FaceEngine(gallery, fmr=1e-12, review="off") as engine:
        assert engine.enroll("Grace Hopper", hopper).enrolled == 1


@pytest.mark.slow
def test_enrolling_the_same_photo_again_adds_nothing(
    engine: FaceEngine, photo: Photo, hopper: Image
) -> None:
    engine.enroll("Grace Hopper", [photo("hopper"), hopper])
    again = engine.enroll("  Grace Hopper ", [photo("hopper"), hopper.copy()])
    assert again.enrolled == 0
    assert {each.reason for each in again.rejected} == {"already_enrolled"}
    assert engine.gallery.person("Grace Hopper").template_count == 2


def test_nobody_is_created_when_no_photo_could_be_used(engine: FaceEngine, tmp_path: Path) -> None:
    assert engine.enroll("Nobody", np.zeros((60, 60, 3), np.uint8)).person is None
    assert not (tmp_path / "people.db").exists()
    missing = tmp_path / "missing.jpg"
    with pytest.raises(ImageError, match=r"missing\.jpg"):
        engine.enroll("Nobody", [missing])
    with pytest.raises(GalleryNotFound):
        engine.identify(np.zeros((60, 60, 3), np.uint8))


@pytest.mark.slow
def test_facts_and_crops_are_kept_when_asked(tmp_path: Path, hopper: Image) -> None:
    from datetime import UTC, datetime

    until = datetime(2040, 1, 1, tzinfo=UTC)
    consent = Consent("signed form", datetime(2026, 1, 1, tzinfo=UTC))
    with FaceEngine(tmp_path / "people.db", keep_crops=True) as engine:
        person = engine.enroll(
            "Grace Hopper", hopper, metadata={"desk": 4}, consent=consent, retain_until=until
        ).person
        assert person is not None
        assert (person.metadata, person.consent, person.retain_until) == (
            {"desk": 4},
            consent,
            until,
        )
        (template,) = person.templates or ()
        crop = engine.gallery.crop(template.id)
        assert crop is not None
        decoded = cv2.imdecode(np.frombuffer(crop, np.uint8), cv2.IMREAD_COLOR_RGB)
        vector = engine.gallery.vectors("Grace Hopper")[template.id]
        (face,) = engine.analyze(hopper)
        assert face.embedding is not None
        np.testing.assert_allclose(vector, face.embedding, atol=1e-6)
        assert decoded.shape == (engine.model.input_size, engine.model.input_size, 3)
        assert decoded[60, 56, 0] > decoded[60, 56, 2], "skin is redder than blue: RGB was kept"


@pytest.mark.slow
def test_this_is_not_the_person(engine: FaceEngine, hopper: Image, photo: Photo) -> None:
    engine.enroll("Not Hopper", photo("hopper", size=0.5))
    engine.refuse("Not Hopper", hopper)
    (face,) = engine.identify(photo("hopper", gain=0.8))
    assert face.name is None
    assert face.decision is not None
    (candidate,) = face.decision.candidates
    assert candidate.refused
    with pytest.raises(PersonNotFound):
        engine.refuse("Ada", hopper)
    with pytest.raises(ImageError, match="no face"):
        engine.refuse("Not Hopper", np.zeros((50, 50, 3), np.uint8))


@pytest.mark.slow
def test_an_enrolled_photo_cannot_be_refused_nor_a_refused_one_enrolled(
    engine: FaceEngine, hopper: Image, collins: Image, photo: Photo
) -> None:
    person = engine.enroll("Grace Hopper", [photo("hopper"), photo("hopper", gain=0.6)]).person
    assert person is not None
    for again in (photo("hopper"), hopper, photo("hopper", gain=0.6)):
        with pytest.raises(InputError, match="is enrolled with the face of ") as caught:
            engine.refuse("Grace Hopper", again)
        hint = caught.value.hint
        assert hint is not None
        assert hint.key == "erase_template"
        assert hint.facts["template"] in str(caught.value)
    person = engine.refuse("Grace Hopper", photo("collins"))
    assert (person.template_count, person.negative_count) == (2, 1)
    assert [each.negative_count for each in engine.gallery.people()] == [1]
    (refused,) = engine.enroll("Grace Hopper", photo("collins")).rejected
    assert refused.reason == "refused_before"
    negative = next(each.id for each in person.templates or () if each.negative)
    assert negative in refused.detail
    others = [each.id for each in person.templates or () if not each.negative]
    with pytest.raises(InputError, match="all templates of"):
        engine.gallery.remove_templates("Grace Hopper", others)


@pytest.mark.slow
def test_whom_a_face_is_known_not_to_be_is_no_hindrance(
    engine: FaceEngine, hopper: Image, photo: Photo
) -> None:
    engine.enroll("Her Sister", photo("hopper", size=0.5))
    assert engine.enroll("Grace Hopper", hopper).enrolled == 0
    engine.refuse("Her Sister", hopper)
    assert engine.enroll("Grace Hopper", hopper).enrolled == 1
    for top_k in (1, 5):
        (face,) = engine.identify(photo("hopper", gain=0.8), top_k=top_k)
        assert face.name == "Grace Hopper"
        assert face.decision is not None
        assert len(face.decision.candidates) == min(top_k, 2)
        assert face.decision.people == 2


@pytest.mark.slow
@pytest.mark.parametrize("name", [b"gr\xffce.jpg", b"two\nlines.jpg"])
def test_a_file_may_have_any_name(
    engine: FaceEngine, tmp_path: Path, photo: Photo, name: bytes
) -> None:
    path = Path(os.fsdecode(os.path.join(os.fsencode(tmp_path), name)))  # noqa: PTH118
    photo("hopper").rename(path)
    person = engine.enroll("Grace Hopper", path).person
    assert person is not None
    assert person.templates is not None
    assert (person.templates[0].source or "").isprintable()
    assert [each.reason for each in engine.enroll("Grace Hopper", path).rejected] == [
        "already_enrolled"
    ]


@pytest.mark.slow
def test_batches_equal_single_images(
    engine_models: FaceEngine, photo: Photo, hopper: Image, collins: Image
) -> None:
    blank = np.zeros((64, 64, 3), np.uint8)
    images = [hopper, blank, both(hopper, collins), collins, *[photo("hopper")] * 15, blank]
    batched = list(engine_models.analyze_batch(iter(images)))
    assert [len(faces) for faces in batched] == [1, 0, 2, 1, *[1] * 15, 0]
    for image, faces in zip(images[:5], batched, strict=False):
        for face, single in zip(faces, engine_models.analyze(image), strict=True):
            np.testing.assert_array_equal(face.bbox, single.bbox)
            assert face.embedding is not None
            assert single.embedding is not None
            np.testing.assert_allclose(face.embedding, single.embedding, atol=1e-5)


@pytest.mark.slow
def test_a_bad_image_ends_a_batch_after_those_before_it(
    engine_models: FaceEngine, hopper: Image, tmp_path: Path
) -> None:
    results = engine_models.analyze_batch([hopper, hopper, tmp_path / "missing.jpg", hopper])
    assert [len(next(results)) for _ in range(2)] == [1, 1]
    with pytest.raises(ImageError, match=r"missing\.jpg"):
        next(results)


@pytest.mark.slow
def test_threads_share_one_engine_and_get_the_serial_results(
    engine: FaceEngine, photo: Photo, hopper: Image, collins: Image
) -> None:
    engine.enroll("Grace Hopper", hopper)
    images = [photo(who, size=size) for who in ("hopper", "collins") for size in (0.6, 0.8, 1.0)]
    serial = [engine.identify(image) for image in images]
    engine.close()  # so that the threads race for the first opening too
    start = threading.Barrier(6)

    def look(image: Path) -> list[tuple[str | None, float | None, bytes]]:
        start.wait()
        return [(f.name, f.similarity, f.bbox.tobytes()) for f in engine.identify(image)]

    with ThreadPoolExecutor(6) as pool:
        threaded = list(pool.map(look, images))
    assert threaded == [[(f.name, f.similarity, f.bbox.tobytes()) for f in one] for one in serial]


@pytest.mark.slow
def test_an_engine_can_be_used_again_after_close(engine: FaceEngine, hopper: Image) -> None:
    engine.enroll("Grace Hopper", hopper)
    engine.close()
    engine.close()
    assert [face.name for face in engine.identify(hopper)] == ["Grace Hopper"]


@pytest.mark.slow
def test_enrollment_elsewhere_is_seen_at_once(
    engine: FaceEngine, tmp_path: Path, hopper: Image, collins: Image
) -> None:
    engine.enroll("Grace Hopper", hopper)
    assert engine.identify(collins)[0].name is None
    with FaceEngine(tmp_path / "people.db") as other:
        other.enroll("Eileen Collins", collins)
    assert engine.identify(collins)[0].name == "Eileen Collins"
    with Gallery.open(tmp_path / "people.db") as gallery:
        gallery.remove("Eileen Collins")
    assert engine.identify(collins)[0].name is None


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"embedder": "nonesuch"}, ModelNotFound, "nonesuch"),
        ({"review": "lax"}, InputError, "unknown review"),
    ],
)
def test_wrong_arguments_fail_at_once(
    arguments: dict[str, str], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        FaceEngine(**arguments)  # type: ignore[arg-type]


def test_the_device_asked_for_is_the_device_used_or_an_error(hopper: Image) -> None:
    with pytest.raises(RuntimeUnavailable, match="cuda"):
        FaceEngine(options=RuntimeOptions(device="cuda")).detect(hopper)


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((10, 10), np.uint8),
        np.zeros((10, 10, 4), np.uint8),
        np.full((10, 10, 3), np.nan, np.float32),
        np.zeros((0, 10, 3), np.uint8),
        3.5,
        None,
    ],
)
def test_what_is_no_image_is_refused(engine_models: FaceEngine, image: object) -> None:
    with pytest.raises(InputError):
        engine_models.detect(image)  # type: ignore[arg-type]


@pytest.mark.slow
def test_a_huge_picture_is_looked_at_smaller_and_told_of_in_full(
    engine_models: FaceEngine, photo: Photo, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = photo("hopper", size=2.0)
    (whole,) = engine_models.analyze(path)
    monkeypatch.setattr("facekeep.pipeline.decode._HUGE", 400_000)
    (half,) = engine_models.analyze(path)
    assert np.abs(whole.bbox - half.bbox).max() < 0.03 * whole.size
    assert np.abs(whole.landmarks - half.landmarks).max() < 0.03 * whole.size
    assert whole.quality is not None
    assert half.quality is not None
    assert abs(half.quality.size / whole.quality.size - 1) < 0.05
    assert abs(half.quality.eye_distance / whole.quality.eye_distance - 1) < 0.05
    assert float(whole.embedding @ half.embedding) > 0.9  # type: ignore[operator]
    with FaceEngine(min_face=40) as careful:
        assert careful.limits["reduce"] is False
    assert engine_models.limits["reduce"] is True


def test_a_limit_on_faces_says_when_it_cuts(
    hopper: Image,
    collins: Image,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("facekeep.pipeline.analyzer._MANY", 2)
    with FaceEngine(max_faces=2) as few:
        assert len(few.detect(both(hopper, collins))) == 2
        assert "only the 2 largest faces of a picture were looked at" in caplog.text
        caplog.clear()
        few.detect(hopper)
        assert caplog.text == ""


@pytest.mark.slow
def test_an_unusable_face_is_compared_with_nobody(
    tmp_path: Path, hopper: Image, collins: Image
) -> None:
    negative = 255 - hopper
    with FaceEngine(tmp_path / "people.db") as engine:
        refused = engine.enroll("Grace Hopper", negative)
        assert [each.reason for each in refused.rejected] == [Reason.UNCLEAR]
        engine.enroll("Grace Hopper", hopper)
        known, poor = engine.identify(both(hopper, 255 - collins))
        assert (known.name, known.usable) == ("Grace Hopper", True)
        assert (poor.name, poor.reasons) == (None, (Reason.UNCLEAR,))
        assert poor.decision is not None
        assert poor.decision.candidates == ()
        made = engine.verify(negative, negative)
        assert (made.match, made.similarity, made.reasons) == (False, None, (Reason.UNCLEAR,))
        with pytest.raises(ImageError, match="unusable"):
            engine.refuse("Grace Hopper", negative)
    with FaceEngine(tmp_path / "people.db", any_quality=True) as engine:
        assert engine.verify(negative, negative).match
        assert all(face.decision.candidates for face in engine.identify(negative) if face.decision)


@pytest.mark.slow
def test_two_faces_of_one_photo_are_not_one_person(engine: FaceEngine, hopper: Image) -> None:
    engine.enroll("Grace Hopper", hopper)
    softer = np.asarray(cv2.GaussianBlur(hopper, (0, 0), 1.5), np.uint8)
    twice = np.hstack([softer, hopper])
    faces = sorted(engine.identify(twice), key=lambda face: float(face.bbox[0]))
    assert [face.name for face in faces] == [None, "Grace Hopper"]
    assert [c.elsewhere for f in faces if f.decision for c in f.decision.candidates] == [
        True,
        False,
    ]
    collage = engine.identify(twice, collage=True)
    assert [face.name for face in collage] == ["Grace Hopper"] * 2
