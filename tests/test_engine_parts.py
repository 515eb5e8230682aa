"""The engine in parts: its public steps, and detectors, embedders and stores of one's own."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import facekeep
from facekeep import (
    Detector,
    Embedder,
    Face,
    FaceDetector,
    FaceEmbedder,
    FaceEngine,
    Gallery,
    GalleryNotFound,
    GalleryReadOnly,
    GalleryStore,
    InputError,
    ModelError,
    PersonNotFound,
    RuntimeOptions,
    Space,
    SpaceMismatch,
)
from facekeep.gallery import Hit, Key, NewTemplate, Person, Template

Image = NDArray[np.uint8]

_NOW = datetime(2026, 1, 1, tzinfo=UTC)

pytestmark = pytest.mark.usefixtures("ready_models")


class OneFace:
    """A detector that finds the faces it was given, in whatever image."""

    def __init__(self, *faces: Face) -> None:
        self.faces = faces
        self.closed = False

    def find(self, image: Image) -> list[Face]:
        assert image.dtype == np.uint8
        return list(self.faces)

    def close(self) -> None:
        self.closed = True


class Colors:
    """An embedder of the mean color of the quarters of a crop."""

    name = "colors"
    space = "colors 1"
    size = 64
    width = 12
    thresholds = ((1e-2, 0.98), (1e-4, 0.995))
    comparisons = 10**6

    def embed(self, crops: Image) -> NDArray[np.float32]:
        assert crops.shape[1:] == (64, 64, 3)
        rows = crops.reshape(-1, 2, 32, 2, 32, 3).mean(axis=(2, 4)).reshape(len(crops), 12)
        rows -= rows.mean(axis=1, keepdims=True)
        return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


class Memory:
    """A store of people in a dict."""

    def __init__(self, space: Space) -> None:
        self.space = space
        self.rows: dict[str, list[NewTemplate]] = {}
        self.closed = False

    def count(self) -> int:
        return len(self.rows)

    def people(self, *, after: str | None = None, limit: int | None = None) -> list[Person]:
        names = sorted(name for name in self.rows if after is None or name > after)
        return [self.person(name) for name in names[:limit]]

    def person(self, name: str) -> Person:
        if name not in self.rows:
            raise PersonNotFound(f"there is no {name}")
        templates = tuple(
            Template(f"{name} {n}", name, each.negative, each.quality, each.source, False, _NOW)
            for n, each in enumerate(self.rows[name])
        )
        return Person(name, name, _NOW, {}, None, None, len(templates), templates)

    def name_for(self, name: str, *, new_person: bool = False) -> str:
        return name

    def enroll(self, name: str, templates: list[NewTemplate], **facts: Any) -> Person:
        self.rows.setdefault(name, []).extend(templates)
        return self.person(name)

    def vectors(self, name: str) -> dict[str, NDArray[np.float32]]:
        return {f"{name} {n}": each.vector for n, each in enumerate(self.rows[name])}

    def search(self, probes: NDArray[np.float32], top_k: int = 5) -> list[list[Hit]]:
        return [
            sorted(
                (
                    Hit(name, name, float(rows[0].vector @ probe), f"{name} 0", len(rows), None)
                    for name, rows in self.rows.items()
                ),
                key=lambda hit: -hit.similarity,
            )[:top_k]
            for probe in probes
        ]

    def remove(self, name: str) -> Person:
        person = self.person(name)
        del self.rows[name]
        return person

    def close(self) -> None:
        self.closed = True


@pytest.fixture(scope="module")
def models() -> Iterator[FaceEngine]:
    with FaceEngine() as engine:
        yield engine


def test_the_steps_add_up_to_identify(tmp_path: Path, hopper: Image, collins: Image) -> None:
    with FaceEngine(tmp_path / "people.db") as engine:
        engine.enroll("Grace Hopper", hopper)
        height = min(len(hopper), len(collins))
        both = np.hstack([hopper[:height], collins[:height]])
        found = engine.find(both)
        embedded = engine.embed(found)
        matched = engine.match(embedded, top_k=3)
        whole = engine.identify(both, top_k=3)
        assert [face.name for face in matched] == [face.name for face in whole]
        for step, face in zip(matched, whole, strict=True):
            np.testing.assert_array_equal(step.embedding, face.embedding)
            assert step.to_dict() == face.to_dict()
        assert [face.to_dict() for face in engine.analyze(both)] == [
            face.to_dict() for face in embedded
        ]
        assert [face.to_dict() for face in engine.detect(both)] == [
            face.to_dict() for face in found
        ]


def test_each_step_says_what_it_adds_and_keeps_the_crop(models: FaceEngine, hopper: Image) -> None:
    (found,) = models.find(hopper)
    assert found.crop is not None
    assert (found.crop.shape, found.crop.dtype) == ((112, 112, 3), np.uint8)
    assert found.quality is not None
    assert found.embedding is None
    (embedded,) = models.embed([found])
    assert embedded.crop is found.crop
    assert embedded.embedding is not None
    assert embedded.embedding.shape == (models.space.width,)
    assert models.analyze(hopper)[0].crop is None
    assert models.detect(hopper)[0].crop is None
    assert models.embed([]) == []


def test_a_quick_look_and_a_description_find_what_find_does(
    models: FaceEngine, hopper: Image
) -> None:
    (located,) = models.locate(hopper)
    assert located.quality is located.crop is None
    (described,), (found,) = models.describe(hopper, [located]), models.find(hopper)
    assert np.allclose(described.bbox, found.bbox)
    assert np.allclose(described.landmarks, found.landmarks, atol=0.01)
    assert described.reasons == found.reasons == ()
    assert described.crop is not None
    assert models.describe(hopper, []) == []


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_a_description_notices_that_a_face_is_turned(
    models: FaceEngine, hopper: Image, quarters: int
) -> None:
    (face,) = models.locate(hopper)
    turned = np.rot90(hopper, -quarters)
    # What a detector gives there that takes every face for upright.
    width, height = (hopper.shape[1], hopper.shape[0])
    x, y = ((face.bbox[:2] + face.bbox[2:]) / 2).tolist()
    there = {1: (height - y, x), 2: (width - x, height - y), 3: (y, width - x)}[quarters]
    by = np.array(there, np.float32) - np.array([x, y], np.float32)
    seen = face.replace(bbox=face.bbox + np.tile(by, 2), landmarks=face.landmarks + by)
    (described,) = models.describe(turned, [seen])
    assert described.reasons[0] == "extreme_pose"
    assert described.quality is not None
    assert round(described.quality.roll / 90) % 4 == quarters


def test_pooled_faces_are_compared_once_by_their_mean(
    tmp_path: Path, hopper: Image, collins: Image
) -> None:
    with FaceEngine(tmp_path / "people.db") as engine:
        engine.enroll("Grace Hopper", hopper)
        (one,), (other,) = engine.analyze(hopper), engine.analyze(collins)
        assert one.embedding is not None
        assert other.embedding is not None
        tilted = one.embedding + 0.5 * other.embedding
        tilted /= np.linalg.norm(tilted)
        rows = np.stack([one.embedding, tilted])
        mean = rows.mean(axis=0) / np.linalg.norm(rows.mean(axis=0))
        both, stranger = engine.match_pooled([rows, other.embedding[None]])
        assert both.match is not None
        assert both.match.name == "Grace Hopper"
        assert both.match.similarity == pytest.approx(float(one.embedding @ mean), abs=1e-5)
        assert both.match.threshold == engine.threshold(people=1, faces=2).cosine
        assert stranger.match is None
        assert engine.match_pooled([]) == []
        with pytest.raises(InputError, match="without faces"):
            engine.match_pooled([rows[:0]])


def test_steps_that_were_left_out_are_errors(
    tmp_path: Path, models: FaceEngine, hopper: Image
) -> None:
    with pytest.raises(InputError, match="without a crop"):
        models.embed(models.detect(hopper))
    with FaceEngine(tmp_path / "people.db") as engine:
        engine.enroll("Grace Hopper", hopper)
        with pytest.raises(InputError, match="without an embedding"):
            engine.match(models.find(hopper))
    with pytest.raises(GalleryNotFound, match="no gallery"):
        models.match(models.analyze(hopper))


def test_one_person_is_named_once_among_the_faces_of_a_picture(
    tmp_path: Path, hopper: Image
) -> None:
    with FaceEngine(tmp_path / "people.db") as engine:
        engine.enroll("Grace Hopper", hopper)
        faces = engine.analyze(hopper) * 2
        assert [face.name for face in engine.match(faces)] == ["Grace Hopper", None]
        assert [face.name for face in engine.match(faces, collage=True)] == ["Grace Hopper"] * 2
        strict = engine.match(faces, fpir=0.3)[0].decision
        assert strict is not None
        assert strict.threshold.fmr == pytest.approx(0.3)


def name_people(frames: Iterable[Image], gallery: Path) -> Iterator[tuple[Image, list[str]]]:
    with facekeep.FaceEngine(gallery, read_only=True) as engine:
        for frame in frames:
            image = facekeep.from_bgr(frame)
            found = [face for face in engine.find(image) if face.usable]
            faces = engine.match(engine.embed(found))
            marked = facekeep.annotate(image, faces)
            yield marked[..., ::-1], [face.name or "unknown" for face in faces]


def test_a_loop_over_frames_is_made_of_public_names(
    tmp_path: Path, hopper: Image, collins: Image
) -> None:
    assert len(inspect.getsource(name_people).splitlines()) < 15
    with FaceEngine(tmp_path / "people.db") as engine:
        engine.enroll("Grace Hopper", hopper)
    frames = [hopper[..., ::-1], collins[..., ::-1], np.zeros((90, 120, 3), np.uint8)]
    seen = list(name_people(frames, tmp_path / "people.db"))
    assert [names for _, names in seen] == [["Grace Hopper"], ["unknown"], []]
    assert seen[0][0].shape == hopper.shape
    assert (seen[0][0] != frames[0]).any()


def test_objects_stand_in_for_detector_and_embedder(
    models: FaceEngine, hopper: Image, collins: Image
) -> None:
    (known,) = models.detect(hopper)
    mark = Face(known.bbox, known.landmarks, 0.9)
    small = mark.replace(bbox=mark.bbox[:2].repeat(2)[[0, 2, 1, 3]] + np.float32([0, 0, 15, 15]))
    detector, embedder = OneFace(small, mark), Colors()
    assert isinstance(detector, FaceDetector)
    assert isinstance(embedder, FaceEmbedder)
    store = Memory(Space(embedder.space, embedder.name, embedder.width))
    assert isinstance(store, GalleryStore)
    with FaceEngine(
        store, detector=detector, embedder=embedder, any_quality=True, review="off", min_face=30
    ) as engine:
        assert engine.crop_size == 64
        assert engine.space == store.space
        (found,) = engine.find(hopper)
        assert found.crop is not None
        assert found.crop.shape == (64, 64, 3)
        assert engine.enroll("Grace Hopper", hopper).enrolled == 1
        (face,) = engine.identify(hopper)
        assert face.name == "Grace Hopper"
        assert face.decision is not None
        assert face.decision.threshold.cosine == pytest.approx(0.995)
        assert engine.identify(hopper[:, ::-1].copy())[0].name is None
        assert engine.gallery is store
    assert not store.closed
    assert not detector.closed


def test_own_networks_may_be_given_opened_and_find_the_same(
    models: FaceEngine, hopper: Image
) -> None:
    options = RuntimeOptions(threads=1)
    with (
        Detector(max_faces=500, options=options) as detector,
        Embedder(options=options) as embedder,
    ):
        with FaceEngine(detector=detector, embedder=embedder) as engine:
            (face,) = engine.analyze(hopper)
            assert engine.space == models.space
        (expected,) = models.analyze(hopper)
        assert face.to_dict() == expected.to_dict()
        assert face.quality is not None
        assert face.quality.recognizability < 1, "the quality network belongs to the embedder"
        assert embedder.embed(np.zeros((0, 112, 112, 3), np.uint8)).shape == (0, embedder.width)


@pytest.mark.parametrize("part", ["gallery", "detector", "embedder"])
def test_an_object_that_lacks_methods_is_refused(part: str) -> None:
    with pytest.raises(InputError, match=f"{part} must be a (path|name) or keep the protocol"):
        FaceEngine(**{part: object()})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"detector": OneFace(), "refiner": "none"}, "refiner and orienter belong"),
        ({"detector": OneFace(), "orienter": "none"}, "refiner and orienter belong"),
        ({"embedder": Colors(), "flip": True}, "flip belongs"),
        ({"gallery": Memory(Space("a", "b", 1)), "key": object()}, "key belongs"),
        ({"max_faces": 0}, "max_faces must be 1 or more"),
        ({"max_faces": "x"}, "max_faces must be a whole number; got 'x'"),
        ({"max_pixels": 1e6}, "max_pixels must be a whole number"),
        ({"max_bytes": -1}, "max_bytes must be 1 or more"),
        ({"fmr": "x"}, "a false-match rate lies between 0 and 1, such as 1e-4; got 'x'"),
        ({"fpir": 1}, "the share of strangers lies between 0 and 1"),
    ],
)
def test_what_belongs_to_a_named_part_is_not_ignored(
    arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        FaceEngine(**arguments)


def test_an_engine_shows_what_it_is_made_of_on_one_line(tmp_path: Path, models: FaceEngine) -> None:
    key = Key(b"0001020304050607" * 2)
    with FaceEngine(tmp_path / "a\nb.db", key=key, fpir=0.01) as engine:
        assert repr(engine).startswith("<FaceEngine gallery ")
        assert repr(engine).endswith("b.db, detector yunet, embedder sface, fpir 0.01>")
        assert repr(engine).isprintable()
        assert "0001020304" not in repr(engine)
    with FaceEngine(detector=OneFace(), embedder=Colors()) as engine:
        shown = "<FaceEngine no gallery, detector OneFace, embedder colors, fmr 0.0001>"
        assert repr(engine) == shown


def wrong_box(face: Face) -> Any:
    return OneFace(face.replace(bbox=face.bbox[:3]))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (np.zeros((1, 11), np.float32), r"gave \(1, 11\) for 1 crops"),
        (np.full((1, 12), 1, np.float32), "not of unit length"),
        (np.full((1, 12), np.nan, np.float32), "not of unit length"),
    ],
)
def test_what_is_no_embedding_is_an_error(
    models: FaceEngine, hopper: Image, rows: NDArray[np.float32], message: str
) -> None:
    class Bad(Colors):
        def embed(self, crops: Image) -> NDArray[np.float32]:
            return rows

    with FaceEngine(embedder=Bad()) as engine, pytest.raises(ModelError, match=message):
        engine.analyze(hopper)


def test_what_is_no_face_is_an_error(models: FaceEngine, hopper: Image) -> None:
    (face,) = models.detect(hopper)
    with (
        FaceEngine(detector=wrong_box(face)) as engine,
        pytest.raises(ModelError, match="the detector gave a face whose bbox"),
    ):
        engine.find(hopper)


@pytest.mark.parametrize("found", [None, [(1, 2, 3, 4)], [Face([1, 2, 3, 4], None, 0.9)]])
def test_what_is_no_list_of_faces_is_an_error(
    models: FaceEngine, hopper: Image, found: object
) -> None:
    class Bad:
        def find(self, image: Image) -> object:
            return found

    with (
        FaceEngine(detector=Bad()) as engine,
        pytest.raises(ModelError, match="the detector gave"),
    ):
        engine.find(hopper)


def test_a_store_of_another_space_is_refused(models: FaceEngine, hopper: Image) -> None:
    store = Memory(Space("another", "colors", 12))
    with FaceEngine(store) as engine, pytest.raises(SpaceMismatch, match="colors"):
        engine.identify(hopper)


@pytest.mark.slow
def test_an_opened_gallery_may_be_given_and_stays_open(
    tmp_path: Path, models: FaceEngine, hopper: Image
) -> None:
    with Gallery.open(tmp_path / "people.db", space=models.space, create=True) as gallery:
        with FaceEngine(gallery) as engine:
            assert engine.enroll("Grace Hopper", hopper).enrolled == 1
        with FaceEngine(gallery, read_only=True) as reader:
            assert reader.identify(hopper)[0].name == "Grace Hopper"
            with pytest.raises(GalleryReadOnly, match="only reads"):
                reader.enroll("Ada", hopper, new_person=True)
        assert gallery.count() == 1


def test_the_fingerprint_tells_what_would_find_other_faces(hopper: Image) -> None:
    def named(**changes: Any) -> str:
        with FaceEngine(**changes) as engine:
            return engine.fingerprint

    plain, unknown = OneFace(), OneFace()
    first, second = OneFace(), OneFace()
    first.fingerprint, second.fingerprint = "1", "2"  # type: ignore[attr-defined]
    prints = [named(), named(detector=plain), named(detector=first), named(detector=second)]
    assert len(set(prints)) == 4
    assert named(detector=unknown) == named(detector=plain), "all that are unknown"
    assert named(detector=first) == named(detector=first)
    assert named(embedder=Colors()) not in prints


def test_engines_may_share_networks(tmp_path: Path, hopper: Image) -> None:
    opened: list[str] = []

    class Counting(Colors):
        def embed(self, crops: Image) -> NDArray[np.float32]:
            opened.append("embed")
            return super().embed(crops)

    with FaceEngine(embedder=Counting()) as one, FaceEngine(embedder=Colors()) as other:
        other.share_networks(one)
        other.analyze(hopper)
    assert opened == ["embed"]


def test_a_detector_may_be_named(models: FaceEngine, hopper: Image) -> None:
    with FaceEngine(detector="yunet", refiner="none") as engine:
        assert len(engine.find(hopper)) == 1
        assert engine.fingerprint != models.fingerprint
