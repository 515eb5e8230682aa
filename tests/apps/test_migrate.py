"""Galleries that go to another model: from crops and photos, all or nothing."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from facekeep import FaceEngine, Gallery, save_image
from facekeep.apps.migrate import migrate_gallery
from facekeep.errors import (
    GalleryKeyError,
    InputError,
    ModelNotFound,
    PersonNotFound,
    SpaceMismatch,
)
from facekeep.gallery import Consent, Key, NewTemplate
from facekeep.models import entry, pull

pytestmark = pytest.mark.slow

NOW = datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC)
LATER = datetime(2036, 1, 2, tzinfo=UTC)
KEY = Key(bytes(range(32)))
Draw = Callable[..., bytes]


@pytest.fixture(scope="module")
def small() -> Iterator[FaceEngine]:
    """The engine of the new model, of another width than the present one."""
    with FaceEngine(embedder="facekeep-xxs", threads=1) as engine:
        yield engine


@pytest.fixture(params=["plain", "encrypted"])
def key(request: pytest.FixtureRequest) -> Key | None:
    return KEY if request.param == "encrypted" else None


@pytest.fixture
def path(tmp_path: Path, photo_folder: Path, key: Key | None) -> Path:
    """A gallery with crops of Hopper, photos of Collins, and a negative of each."""
    file = tmp_path / "people.db"
    hopper, collins = photo_folder / "hopper0.png", photo_folder / "2021 août" / "collins\n0.png"
    for crops, name, photo in ((True, "Grace Hopper", hopper), (False, "Eileen Collins", collins)):
        with FaceEngine(file, key=key, review="off", keep_crops=crops, threads=1) as engine:
            engine.enroll(
                name,
                [photo],
                metadata={"a": [1]},
                consent=Consent("form", NOW),
                retain_until=LATER,
            )
    with FaceEngine(file, key=key, threads=1) as engine:
        for name, photo in (("Grace Hopper", collins), ("Eileen Collins", hopper)):
            (face,) = engine.analyze(photo)
            of_other = engine.gallery.person(
                "Eileen Collins" if name == "Grace Hopper" else "Grace Hopper"
            )
            source = (of_other.templates or ())[0].source
            engine.gallery.enroll(name, [NewTemplate(face.embedding, source=source, negative=True)])
    return file


def everything(gallery: Gallery) -> list[Any]:
    people = [gallery.person(person.name) for person in gallery.people()]
    return [
        (p, [v.tobytes() for v in gallery.vectors(p.name).values()], gallery.audit(None))
        for p in people
    ]


def test_everything_but_the_vectors_stays(
    path: Path, key: Key | None, engine: FaceEngine, small: FaceEngine, photo_folder: Path
):
    steps: list[tuple[int, int]] = []
    with Gallery.open(path, key=key) as gallery:
        before = [gallery.person(person.name) for person in gallery.people()]
        crops = [gallery.crop(t.id) for p in before for t in p.templates or ()]
        audit = gallery.audit(None)
        gallery_id = gallery.info().id
        done = migrate_gallery(
            gallery,
            small,
            old_engine=engine,
            photos=[photo_folder],
            progress=lambda *step: steps.append(step),
        )
        assert done.done
        assert (done.people, done.from_crops, done.from_photos) == (2, 1, 3)
        assert (done.lost, done.erased) == ([], [])
        assert steps == [(n, 4) for n in range(1, 5)]
        assert gallery.space == small.space
        assert gallery.check() == []
    with Gallery.open(path, space=small.space, key=key) as gallery:
        after = [gallery.person(person.name) for person in gallery.people()]
        assert after == before, "ids, times, facts, consent, retention and sources"
        assert [gallery.crop(t.id) for p in after for t in p.templates or ()] == crops
        first, *others = gallery.audit(None)
        assert others == audit
        assert first.action == "migrated"
        assert first.detail == {"from": "sface", "to": "facekeep-xxs", "templates": 4, "removed": 0}
        assert gallery.info().id == gallery_id
        assert gallery.check() == []
        for name, photo in (("Grace Hopper", "hopper1.png"), ("Eileen Collins", "")):
            picture = (
                photo_folder / photo if photo else photo_folder / "2021 août" / "collins\n1.png"
            )
            (face,) = small.analyze(picture)
            (hits,) = gallery.search(face.embedding[None], 2)
            assert hits[0].name == name
            assert hits[0].similarity > 0.8
            assert hits[1].refused or hits[1].similarity < 0.3
        for vector in gallery.vectors("Grace Hopper").values():
            assert vector.shape == (small.space.width,)


def test_no_old_template_is_left_in_the_file(
    path: Path, key: Key | None, engine: FaceEngine, small: FaceEngine, photo_folder: Path
):
    with closing(sqlite3.connect(path)) as connection:
        blobs = [blob for (blob,) in connection.execute("SELECT vector FROM templates")]
    with Gallery.open(path, key=key) as gallery:
        migrate_gallery(gallery, small, old_engine=engine, photos=[photo_folder])
    content = path.read_bytes()
    assert not any(blob[:64] in content for blob in blobs)


def test_what_cannot_be_carried_over_stops_it(
    path: Path, key: Key | None, engine: FaceEngine, small: FaceEngine
):
    with Gallery.open(path, key=key) as gallery:
        before = everything(gallery)
        done = migrate_gallery(gallery, small, old_engine=engine)
        assert not done.done
        assert {(lost.person, lost.negative) for lost in done.lost} == {
            ("Eileen Collins", False),
            ("Eileen Collins", True),
            ("Grace Hopper", True),
        }
        assert all("the photo was not found" in lost.reason for lost in done.lost)
        partly = migrate_gallery(gallery, small, drop=["Eileen Collins"])
        assert not partly.done
        assert everything(gallery) == before
        assert gallery.space == engine.space
        with pytest.raises(PersonNotFound):
            migrate_gallery(gallery, small, drop=["Nobody"])


@pytest.mark.parametrize(
    "words", [{"drop": ["Eileen_Collins", "Grace Hopper"]}, {"drop_all": True}]
)
def test_who_is_dropped_is_erased(
    path: Path, key: Key | None, small: FaceEngine, words: dict[str, Any]
):
    with Gallery.open(path, key=key) as gallery:
        done = migrate_gallery(gallery, small, **words)
        assert done.done
        assert done.erased == ["Eileen Collins"]
        assert len(done.lost) == 3
        (person,) = gallery.people()
        assert (person.name, person.template_count) == ("Grace Hopper", 1)
        assert [entry.action for entry in gallery.audit(3)].count("migrated") == 1
        assert gallery.check() == []
    assert b"Eileen" not in path.read_bytes()


def test_a_photo_without_its_face_is_found_out_and_nothing_is_changed(
    path: Path,
    key: Key | None,
    engine: FaceEngine,
    small: FaceEngine,
    photo_folder: Path,
    monkeypatch,
):
    look = small.analyze
    monkeypatch.setattr(small, "analyze", lambda image: look(np.zeros((64, 64, 3), np.uint8)))
    with Gallery.open(path, key=key) as gallery:
        before = everything(gallery)
        done = migrate_gallery(gallery, small, old_engine=engine, photos=[photo_folder])
        assert not done.done
        assert len(done.lost) == 3
        assert all("no face is found in it now" in lost.reason for lost in done.lost)
        assert everything(gallery) == before


@pytest.mark.parametrize("error", [KeyboardInterrupt, ModelNotFound("gone"), MemoryError])
def test_an_error_half_way_changes_nothing(
    path: Path, key: Key | None, small: FaceEngine, photo_folder: Path, error: Any
):
    def stop(done: int, total: int) -> None:
        if done == 3:
            raise error

    with Gallery.open(path, key=key) as gallery:
        before = everything(gallery)
        with pytest.raises(type(error) if isinstance(error, Exception) else error):
            migrate_gallery(gallery, small, photos=[photo_folder], progress=stop)
        assert everything(gallery) == before
    with Gallery.open(path, key=key) as gallery:
        assert everything(gallery) == before
        assert gallery.check() == []


def test_the_key_is_needed(path: Path, key: Key | None, small: FaceEngine, photo_folder: Path):
    if key is None:
        pytest.skip("not encrypted")
    with Gallery.open(path) as gallery, pytest.raises(GalleryKeyError):
        migrate_gallery(gallery, small, photos=[photo_folder])


def test_programs_with_the_old_model_are_told(
    path: Path, key: Key | None, engine: FaceEngine, small: FaceEngine, photo_folder: Path
):
    with (
        Gallery.open(path, space=engine.space, key=key) as old,
        Gallery.open(path, key=key) as gallery,
    ):
        (face,) = engine.analyze(photo_folder / "hopper0.png")
        assert old.search(face.embedding[None])
        migrate_gallery(gallery, small, photos=[photo_folder])
        for use in (
            lambda: old.search(face.embedding[None]),
            lambda: old.enroll("Ada", [NewTemplate(face.embedding)]),
        ):
            with pytest.raises(SpaceMismatch, match="migrated from sface to facekeep-xxs"):
                use()


def test_a_gallery_of_the_model_already_is_left_alone(
    path: Path, key: Key | None, engine: FaceEngine
):
    with Gallery.open(path, key=key) as gallery:
        before = everything(gallery)
        done = migrate_gallery(gallery, engine)
        assert (done.done, done.people, done.from_crops) == (True, 2, 0)
        assert everything(gallery) == before


@pytest.mark.parametrize("with_old", [True, False])
def test_of_several_faces_the_enrolled_one_is_taken(
    tmp_path: Path,
    engine: FaceEngine,
    small: FaceEngine,
    hopper: NDArray[np.uint8],
    collins: NDArray[np.uint8],
    with_old: bool,
):
    """A template of the smaller of two faces, as one from a group may be."""
    (tmp_path / "photos").mkdir()
    photo = tmp_path / "photos" / "both.png"
    save_image(photo, np.ascontiguousarray(np.hstack([hopper[:500], collins[:500]])))
    faces = engine.analyze(photo)
    from facekeep.pipeline.image import content_digest

    source = f"elsewhere.png sha256:{content_digest(photo)}"
    with Gallery.open(tmp_path / "p.db", space=engine.space, create=True) as gallery:
        gallery.enroll("The second", [NewTemplate(faces[1].embedding, source=source)])
        done = migrate_gallery(
            gallery, small, old_engine=engine if with_old else None, photos=[tmp_path / "photos"]
        )
        assert done.done == with_old
        if with_old:
            (vector,) = gallery.vectors("The second").values()
            assert vector @ small.analyze(photo)[1].embedding > 0.999
        else:
            assert "shows 2 faces" in done.lost[0].reason


@pytest.mark.parametrize("size", [56, 224])
def test_crops_of_another_size_are_brought_to_the_right_one(
    tmp_path: Path, engine: FaceEngine, small: FaceEngine, collins_path: Path, size: int
):
    import cv2

    from facekeep import load_image
    from facekeep.pipeline.align import align

    image = load_image(collins_path)
    (face,) = engine.analyze(image)
    crop = cv2.imencode(".png", align(image, face.landmarks, size)[..., ::-1])[1].tobytes()
    with Gallery.open(tmp_path / "p.db", space=engine.space, create=True) as gallery:
        gallery.enroll("Eileen Collins", [NewTemplate(face.embedding, crop=crop)])
        assert migrate_gallery(gallery, small).from_crops == 1
        (vector,) = gallery.vectors("Eileen Collins").values()
        assert vector @ small.analyze(image)[0].embedding > 0.8


def test_a_crop_that_cannot_be_read_is_lost(tmp_path: Path, engine: FaceEngine, small: FaceEngine):
    vector = np.eye(1, 128, dtype=np.float32)[0]
    with Gallery.open(tmp_path / "p.db", space=engine.space, create=True) as gallery:
        gallery.enroll("Ada", [NewTemplate(vector, crop=b"no picture")])
        done = migrate_gallery(gallery, small)
        assert not done.done
        assert "not a picture" in done.lost[0].reason


def interrupt(done: int, total: int) -> None:
    raise KeyboardInterrupt


def test_a_backup_is_the_gallery_as_it_was(
    path: Path, key: Key | None, small: FaceEngine, photo_folder: Path, tmp_path: Path
):
    with Gallery.open(path, key=key) as gallery:
        before = everything(gallery)
        gallery.backup(tmp_path / "old.db")
        with pytest.raises(InputError, match="exists"):
            gallery.backup(tmp_path / "old.db")
        kept = tmp_path / "kept.db"
        assert not migrate_gallery(gallery, small, backup=kept).done
        with pytest.raises(KeyboardInterrupt):
            migrate_gallery(gallery, small, photos=[photo_folder], backup=kept, progress=interrupt)
        assert not kept.exists(), "nothing was changed"
        assert migrate_gallery(gallery, small, photos=[photo_folder], backup=kept).done
        assert kept.exists()
    assert (tmp_path / "old.db").stat().st_mode & 0o777 == 0o600
    with Gallery.open(tmp_path / "old.db", key=key) as old:
        assert everything(old) == before
        assert old.check() == []


@pytest.mark.shared
@pytest.mark.parametrize("name", ["espressif-mfn", "intel-0095"])
def test_a_gallery_goes_to_a_network_on_offer(
    tmp_path: Path, photo_folder: Path, shared: Path, monkeypatch: pytest.MonkeyPatch, name: str
):
    monkeypatch.setenv("FACEKEEP_MODELS", str(tmp_path / "models"))
    pull(entry(name), source=shared / "weights" / entry(name).files[0].name)
    hopper, collins = photo_folder / "hopper0.png", photo_folder / "2021 août" / "collins\n0.png"
    file = tmp_path / "people.db"
    with FaceEngine(file, keep_crops=True, threads=1) as engine:
        engine.enroll("Grace Hopper", [hopper])
        engine.enroll("Eileen Collins", [collins])
    with FaceEngine(embedder=name, threads=1) as new, Gallery.open(file) as gallery:
        done = migrate_gallery(gallery, new)
    assert (done.done, done.people, done.from_crops, done.lost) == (True, 2, 2, [])
    with FaceEngine(file, embedder=name, threads=1) as engine:
        for photo, who in ((hopper, "Grace Hopper"), (collins, "Eileen Collins")):
            (found,) = engine.identify(photo)
            assert found.name == who
