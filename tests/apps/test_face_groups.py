"""Groups of faces that carry the names of enrolled people, or become people."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from facekeep import FaceEngine, Gallery, load_image, review
from facekeep.apps.face_groups import enroll_group, name_groups
from facekeep.apps.photo_folders import cluster_folder, search_person
from facekeep.errors import InputError, NameConflict, PersonNotFound
from facekeep.gallery import Consent, NewTemplate
from facekeep.pipeline.image import content_digest
from facekeep.pipeline.quality import POLICIES

Draw = Callable[..., bytes]


@pytest.fixture
def gallery(engine: FaceEngine, tmp_path: Path) -> Iterator[Gallery]:
    with Gallery.open(tmp_path / "people.db", space=engine.space, create=True) as opened:
        yield opened


def unit(*values: float) -> np.ndarray:
    vector = np.zeros(128, np.float32)
    vector[: len(values)] = values
    return vector / np.linalg.norm(vector)


@pytest.mark.slow
def test_groups_of_enrolled_people_carry_their_names(
    engine: FaceEngine, photo_folder: Path, gallery: Gallery, hopper_path: Path
):
    (face,) = engine.analyze(hopper_path)
    gallery.enroll("Grace Hopper", [NewTemplate(face.embedding)])
    result = cluster_folder(engine, photo_folder, gallery=gallery)
    assert [group.name for group in result.groups] == ["Grace Hopper", None]
    first, second = result.groups
    assert first.decision is not None
    assert first.decision.match is not None
    assert first.decision.match.similarity > first.decision.match.threshold
    assert first.id != second.id
    assert [group.name for group in cluster_folder(engine, photo_folder).groups] == [None, None]


@pytest.mark.slow
def test_ids_stand_for_the_very_faces(engine: FaceEngine, photo_folder: Path, portrait: Draw):
    before = cluster_folder(engine, photo_folder)
    again = cluster_folder(engine, photo_folder.parent / photo_folder.name / "." / "")
    assert [group.id for group in again.groups] == [group.id for group in before.groups]
    (photo_folder / "collins9.png").write_bytes(portrait("collins", 5))
    after = {
        len(group.sightings): group.id for group in cluster_folder(engine, photo_folder).groups
    }
    assert before.groups[0].id in after.values()
    assert before.groups[1].id not in after.values(), "a group that has grown is another"


@pytest.mark.slow
def test_a_group_is_enrolled_with_its_facts(
    engine: FaceEngine, photo_folder: Path, gallery: Gallery
):
    group = cluster_folder(engine, photo_folder, gallery=gallery).groups[1]
    consent = Consent("form 12", datetime(2026, 1, 2, tzinfo=UTC))
    done = enroll_group(
        engine, gallery, group, "Eileen Collins", review="off", keep_crops=True, consent=consent
    )
    assert (done.enrolled, done.rejected) == (2, ())
    person = gallery.person("Eileen Collins")
    assert person.consent == consent
    assert person.templates is not None
    assert all("sha256:" in (each.source or "") for each in person.templates)
    for each in person.templates:
        assert load_image(gallery.crop(each.id) or b"").shape == (112, 112, 3)
    again = enroll_group(engine, gallery, group, "Eileen_Collins", review="off")
    assert (again.name, again.enrolled) == ("Eileen Collins", 0)
    assert {each.reason for each in again.rejected} == {"already_enrolled"}
    result = cluster_folder(engine, photo_folder, gallery=gallery)
    assert [group.name for group in result.groups] == [None, "Eileen Collins"]


def test_the_review_is_asked(engine: FaceEngine, photo_folder: Path, gallery: Gallery):
    group = cluster_folder(engine, photo_folder, gallery=gallery).groups[1]
    quality = {each.path: each.face.quality for each in group.sightings}
    reasons = {os.fsdecode(path): review(q, POLICIES["strict"])[:1] for path, q in quality.items()}
    done = enroll_group(engine, gallery, group, "Eileen Collins", review="strict")
    assert any(reasons.values()), "else this tests nothing"
    assert {each.image: [each.reason] for each in done.rejected} == {
        path: found for path, found in reasons.items() if found
    }
    assert done.enrolled == len(reasons) - len(done.rejected)


def test_a_photo_is_used_once_and_not_where_it_was_refused(
    engine: FaceEngine, photo_folder: Path, gallery: Gallery, portrait: Draw
):
    (photo_folder / "copy.png").write_bytes(portrait("hopper", 0))  # the bytes of hopper0.png
    group = cluster_folder(engine, photo_folder).groups[0]
    (face,) = engine.analyze(photo_folder / "hopper1.png")
    source = f"hopper1.png sha256:{content_digest(photo_folder / 'hopper1.png')}"
    gallery.enroll("Grace Hopper", [NewTemplate(face.embedding, source=source, negative=True)])
    done = enroll_group(engine, gallery, group, "Grace Hopper", review="off")
    reasons = {Path(each.image).name: each.reason for each in done.rejected}
    assert reasons.pop("hopper1.png") == "refused_before"
    assert list(reasons.values()) == ["already_enrolled"], "two files of the same bytes"
    assert done.enrolled == 2


@pytest.mark.slow
def test_a_group_is_not_enrolled_as_somebody_it_is_not(
    engine: FaceEngine, photo_folder: Path, gallery: Gallery
):
    hopper, collins = cluster_folder(engine, photo_folder, gallery=gallery).groups
    enroll_group(engine, gallery, hopper, "Grace Hopper", review="off")
    hopper, collins = cluster_folder(engine, photo_folder, gallery=gallery).groups
    other = enroll_group(engine, gallery, hopper, "Ada Lovelace")
    assert other.enrolled == 0
    assert {each.reason for each in other.rejected} == {"identity_conflict"}
    wrong = enroll_group(engine, gallery, collins, "Grace Hopper")
    assert wrong.enrolled == 0
    assert {each.reason for each in wrong.rejected} == {"inconsistent_identity"}
    with pytest.raises(NameConflict):
        enroll_group(engine, gallery, collins, "grace hopper")
    assert [p.name for p in gallery.people()] == ["Grace Hopper"]


def test_groups_of_one_person_become_one_and_a_photo_shows_a_person_once(
    engine: FaceEngine, gallery: Gallery
):
    gallery.enroll("Ada", [NewTemplate(unit(1, 0, 0))])
    rows = np.stack([unit(1, 0.4), unit(1, -0.4), unit(1, 0.1), unit(0, 0, 1)])
    groups = [np.array([n]) for n in range(4)]
    paths = [Path("a.jpg"), Path("b.jpg"), Path("a.jpg"), Path("c.jpg")]
    found = name_groups(engine, gallery, rows, paths, groups)
    names = {tuple(m.tolist()): d.match and d.match.name for m, d in found}
    assert names == {(1, 2): "Ada", (0,): None, (3,): None}
    apart = [Path(f"{n}.jpg") for n in range(4)]
    names = {
        tuple(m.tolist()): d.match and d.match.name
        for m, d in name_groups(engine, gallery, rows, apart, groups)
    }
    assert names == {(0, 1, 2): "Ada", (3,): None}


def test_a_group_is_one_decision_not_the_best_of_its_faces(engine: FaceEngine, gallery: Gallery):
    """One face of ten is like somebody: the group is not."""
    gallery.enroll("Ada", [NewTemplate(unit(1))])
    rows = np.stack([unit(1), *(unit(0, 1) for _ in range(9))])
    ((_, decision),) = name_groups(
        engine, gallery, rows, [Path(f"{n}.jpg") for n in range(10)], [np.arange(10)]
    )
    assert decision.match is None
    limits = []
    for count in (1, 5):
        ((_, decision),) = name_groups(
            engine, gallery, rows[:1].repeat(count, 0), [Path("a")] * count, [np.arange(count)]
        )
        limits.append(decision.threshold.cosine)
    assert limits[0] < limits[1], "the faces of a group share the rate"


def test_an_enrolled_person_of_a_single_photo_is_listed(
    engine: FaceEngine, tmp_path: Path, portrait: Draw, gallery: Gallery, hopper_path: Path
):
    (face,) = engine.analyze(hopper_path)
    gallery.enroll("Grace Hopper", [NewTemplate(face.embedding)])
    (tmp_path / "few").mkdir()
    (tmp_path / "few" / "one.png").write_bytes(portrait("hopper"))
    (tmp_path / "few" / "two.png").write_bytes(portrait("collins"))
    result = cluster_folder(engine, tmp_path / "few", gallery=gallery)
    assert [group.name for group in result.groups] == ["Grace Hopper"]
    assert result.alone == 1


# Searching for an enrolled person


@pytest.fixture
def knowing(tmp_path: Path, hopper_path: Path, collins_path: Path) -> Iterator[FaceEngine]:
    with FaceEngine(tmp_path / "known.db", threads=1) as engine:
        engine.enroll("Grace Hopper", hopper_path)
        engine.enroll("Eileen Collins", collins_path)
        yield engine


@pytest.mark.slow
def test_search_by_name(knowing: FaceEngine, photo_folder: Path):
    result = search_person(knowing, "Grace_Hopper", photo_folder)
    assert {each.path.name for each in result.found} == {f"hopper{n}.png" for n in range(3)}
    assert (result.name, result.probe) == ("Grace Hopper", None)
    assert all(each.similarity >= result.threshold.cosine for each in result.found)
    assert len(search_person(knowing, "Grace Hopper", photo_folder, top=1).found) == 1
    with pytest.raises(PersonNotFound):
        search_person(knowing, "Nobody", photo_folder)
    with pytest.raises(InputError, match="top"):
        search_person(knowing, "Grace Hopper", photo_folder, top=0)


@pytest.mark.slow
def test_search_by_name_heeds_what_the_person_is_not_and_others(
    knowing: FaceEngine, photo_folder: Path, tmp_path: Path
):
    faces = {n: knowing.analyze(photo_folder / f"hopper{n}.png")[0].embedding for n in range(3)}
    knowing.gallery.enroll("Grace Hopper", [NewTemplate(faces[0], negative=True)])
    found = {each.path.name for each in search_person(knowing, "Grace Hopper", photo_folder).found}
    assert "hopper0.png" not in found
    knowing.gallery.enroll("Her double", [NewTemplate(faces[1])], new_person=True)
    knowing.gallery.enroll("Her double", [NewTemplate(faces[2])])
    assert search_person(knowing, "Grace Hopper", photo_folder).found == ()


@pytest.mark.slow
@pytest.mark.shared
def test_real_groups_are_named_after_other_photos(
    engine: FaceEngine, shared: Path, tmp_path: Path, gallery: Gallery
):
    """Six people of LFW enrolled by one photo each, found among ten with other photos."""
    folders = sorted((shared / "lfw" / "images").iterdir())
    many = [folder for folder in folders if len(list(folder.iterdir())) >= 6][:10]
    (tmp_path / "all").mkdir()
    for folder in many:
        first, *others = sorted(folder.iterdir())[:6]
        for path in others:
            (tmp_path / "all" / path.name).write_bytes(path.read_bytes())
        faces = engine.analyze(first)
        if folder in many[:6] and faces:
            gallery.enroll(folder.name, [NewTemplate(faces[0].embedding)])
    result = cluster_folder(engine, tmp_path / "all", gallery=gallery)
    named = [group for group in result.groups if group.name]
    assert len(named) >= 4
    for group in named:
        own = [path.name.startswith(str(group.name)) for path in group.photos]
        assert sum(own) > len(own) / 2
