"""Search and cluster folders of photos: which show this face, and who is often in them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facekeep._internal.arguments import require_count
from facekeep._internal.files import printable
from facekeep.apps.agglomeration import group_faces
from facekeep.apps.face_groups import Group, Sighting, group_id, name_groups
from facekeep.apps.photo_cache import PhotoCache
from facekeep.apps.photo_reader import Photos, Progress, read_folder, read_photos
from facekeep.engine import FaceEngine
from facekeep.errors import ImageError, InputError
from facekeep.gallery import Gallery, Person
from facekeep.pipeline.image import ImageSource, elsewhere
from facekeep.pipeline.quality import reason_words
from facekeep.types import Decision, Face, Threshold, round_number

__all__ = [
    "Clustering",
    "Group",
    "Search",
    "Sighting",
    "cluster_folder",
    "search_folder",
    "search_person",
]

_ROUNDING = 1e-4
"""Similarities this much apart may be the same, computed in another way."""


@dataclass(frozen=True, slots=True)
class Search:
    """Which photos show a face, or an enrolled person.

    Attributes:
        probe: The face that was looked for; None where it was an enrolled person.
        name: The enrolled person, or None.
        found: The most similar face of each photo that reaches the threshold, best first.
        threshold: What was decided by.
        photos: All that was looked at.
    """

    probe: Face | None
    found: tuple[Sighting, ...]
    threshold: Threshold
    photos: Photos
    name: str | None = None

    @property
    def expected_false(self) -> float:
        """How many faces of other people would reach the threshold, by the stated rate."""
        return (self.photos.faces - self.photos.unusable) * self.threshold.fmr

    def to_dict(self) -> dict[str, Any]:
        """Return what was found, by which threshold, and what was read, for JSON."""
        return {
            "name": self.name,
            "found": [each.to_dict() for each in self.found],
            "threshold": round_number(self.threshold.cosine),
            "fmr": round_number(self.threshold.fmr),
            **self.photos.to_dict(),
            "expected_false": round_number(self.expected_false),
        }


@dataclass(frozen=True, slots=True)
class Clustering:
    """Who is often in a folder of photos.

    Attributes:
        groups: The people, those with the most faces first. Who is enrolled is one group, even of
            a single face, where a gallery was given.
        alone: How many usable faces are in no group.
        threshold: What was decided by.
        photos: All that was looked at.
    """

    groups: tuple[Group, ...]
    alone: int
    threshold: Threshold
    photos: Photos

    def to_dict(self) -> dict[str, Any]:
        """Return the groups, by which threshold they are of one person, and what was read."""
        return {
            "groups": [each.to_dict() for each in self.groups],
            "alone": self.alone,
            "threshold": round_number(self.threshold.cosine),
            "fmr": round_number(self.threshold.fmr),
            **self.photos.to_dict(),
        }


def search_folder(
    engine: FaceEngine,
    probe: ImageSource,
    folder: str | os.PathLike[str],
    *,
    fmr: float | None = None,
    top: int | None = None,
    cache: PhotoCache | None = None,
    progress: Progress | None = None,
) -> Search:
    """Find the photos of a folder, and of those below it, that show the largest face of a probe.

    Unusable faces are not compared.

    Args:
        engine: The engine.
        probe: An image of the person.
        folder: The folder.
        fmr: The false-match rate to decide at; the engine's own by default.
        top: Give no more than so many photos, the best.
        cache: Remembers faces between runs; see ``PhotoCache``.
        progress: Told how many photos are done, and how many there are.

    Raises:
        ImageError: The probe cannot be read or shows no usable face, or the folder cannot be read
            or holds no pictures.
        InputError: An argument is out of range.
    """
    if top is not None:
        require_count("top", top)
    limit = engine.threshold(fmr)
    wanted = _main_face(engine, probe, cache)
    photos = read_folder(engine, folder, cache=cache, progress=progress)
    best = [_most_similar(photo.path, photo.faces, wanted) for photo in photos.photos]
    found = [each for each in best if each is not None and each.similarity >= limit.cosine]
    found.sort(key=lambda each: (-each.similarity, each.path))
    return Search(wanted, tuple(found[:top]), limit, photos)


def search_person(
    engine: FaceEngine,
    name: str,
    folder: str | os.PathLike[str],
    *,
    fmr: float | None = None,
    top: int | None = None,
    cache: PhotoCache | None = None,
    progress: Progress | None = None,
) -> Search:
    """Find the photos of a folder, and of those below it, that show an enrolled person.

    Each face is decided as by ``FaceEngine.identify``: by all templates of the person, and not in
    favor of somebody who is less similar than another enrolled person.

    Args:
        engine: An engine with a gallery.
        name: The person.
        folder: The folder.
        fmr: The false-match rate to decide at; the engine's own by default.
        top: Give no more than so many photos, the best.
        cache: Remembers faces between runs; see ``PhotoCache``.
        progress: Told how many photos are done, and how many there are.

    Raises:
        PersonNotFound: There is no such person.
        GalleryNotFound: Nobody was ever enrolled.
        ImageError: The folder cannot be read or holds no pictures.
        InputError: An argument is out of range, or of the person nothing is known but who it is
            not.
    """
    if top is not None:
        require_count("top", top)
    person = engine.gallery.person(name)
    vectors = engine.gallery.vectors(person.name)
    own = [vectors[each.id] for each in person.templates or () if not each.negative]
    if not own:
        raise InputError(f"{person.name} has no templates to search by: enroll a photo first")
    limit = engine.threshold(fmr, people=engine.gallery.count(), templates=len(own))
    photos = read_folder(engine, folder, cache=cache, progress=progress)
    mean = np.mean(own, axis=0)
    mean /= np.linalg.norm(mean)
    best = []
    for photo in photos.photos:
        # Who is not like the person need not be compared with everybody.
        like = _rows(photo.faces, engine.space.width) @ mean >= limit.cosine - _ROUNDING
        faces = [face for face, near in zip(photo.faces, like, strict=True) if near]
        best.append(_most_like(engine, faces, photo.path, person, fmr))
    found = sorted(
        (each for each in best if each is not None), key=lambda each: (-each.similarity, each.path)
    )
    return Search(None, tuple(found[:top]), limit, photos, person.name)


def _most_like(
    engine: FaceEngine,
    faces: Sequence[Face],
    path: Path,
    person: Person,
    fmr: float | None,
) -> Sighting | None:
    """Return the most similar of a photo's faces that are taken for an enrolled person."""
    matches = [
        Sighting(path, face, face.decision.match.similarity)
        for face in (engine.match(faces, fmr=fmr) if faces else ())
        if face.decision and face.decision.match and face.decision.match.person_id == person.id
    ]
    return max(matches, key=lambda each: each.similarity, default=None)


def cluster_folder(
    engine: FaceEngine,
    folder: str | os.PathLike[str],
    *,
    fmr: float | None = None,
    min_size: int = 2,
    gallery: Gallery | None = None,
    collage: bool = False,
    cache: PhotoCache | None = None,
    progress: Progress | None = None,
) -> Clustering:
    """Group the faces of a folder of photos, and of those below it, by person.

    Faces become one group when the mean similarity of their pairs reaches the threshold; see
    ``facekeep.apps.agglomeration``. Two faces of one photo are never one person; unusable faces are
    in no group. The groups depend neither on names nor on the order of photos.

    Args:
        engine: The engine.
        folder: The folder.
        fmr: The false-match rate that sets the threshold; the engine's own by default.
        min_size: Give only groups of so many faces; those of enrolled people, whatever their size.
        gallery: Enrolled people, of the engine's space: groups that match them carry their names;
            see ``facekeep.apps.face_groups``.
        collage: Photos may show a person several times.
        cache: Remembers faces between runs; see ``PhotoCache``.
        progress: Told how many photos are done, and how many there are.

    Raises:
        ImageError: The folder cannot be read or holds no pictures.
        InputError: An argument is out of range.
    """
    require_count("min_size", min_size)
    limit = engine.threshold(fmr)
    photos = read_folder(engine, folder, cache=cache, progress=progress)
    numbered = [
        (number, photo.path, face)
        for number, photo in enumerate(photos.photos)
        for face in photo.faces
        if face.usable
    ]
    places = [(path, face) for _, path, face in numbered]
    rows = _rows([face for _, face in places], engine.space.width)
    seen_in = None if collage else [number for number, _, _ in numbered]
    found: list[tuple[NDArray[np.intp], Decision | None]]
    found = [(members, None) for members in group_faces(rows, limit.cosine, photos=seen_in)]
    if gallery is not None:
        paths, members = [path for path, _ in places], [members for members, _ in found]
        found = [*name_groups(engine, gallery, rows, paths, members, fmr=fmr, collage=collage)]
    groups = [
        _group(folder, places, rows, members, decision)
        for members, decision in found
        if len(members) >= min_size or (decision and decision.match)
    ]
    groups.sort(key=lambda group: (-len(group.sightings), group.photos))
    alone = len(places) - sum(len(group.sightings) for group in groups)
    return Clustering(tuple(groups), alone, limit, photos)


def _main_face(engine: FaceEngine, probe: ImageSource, cache: PhotoCache | None) -> Face:
    if not isinstance(probe, str | os.PathLike):
        return _first(engine.analyze(probe), "the probe")
    name = printable(probe)
    read = read_photos(engine, [Path(os.fsdecode(probe))], cache=cache)
    for failed in read.unreadable:
        raise ImageError(f"{name}: {failed.reason}")
    for photo in read.photos:
        return _first(photo.faces, name)
    raise ImageError(f"{name}: {elsewhere(probe) or 'there is no such file; check the path'}")


def _first(faces: Sequence[Face], name: str) -> Face:
    if not faces:
        raise ImageError(f"{name}: no face was found; use a picture that shows the face")
    if not faces[0].usable:
        why = reason_words(faces[0].reasons[:1])
        raise ImageError(f"{name}: the face is unusable ({why}); use a better picture of it")
    return faces[0]


def _most_similar(path: Path, faces: Sequence[Face], wanted: Face) -> Sighting | None:
    faces = [face for face in faces if face.usable]
    if not faces:
        return None
    probe = _rows([wanted])[0]
    similarities = _rows(faces) @ probe
    best = int(similarities.argmax())
    return Sighting(path, faces[best], float(similarities[best]))


def _rows(faces: Sequence[Face], width: int = 0) -> NDArray[np.float32]:
    """Stack the embeddings of faces: float32 ``(n, d)``."""
    rows = [face.embedding for face in faces if face.embedding is not None]
    return np.stack(rows) if rows else np.empty((0, width), np.float32)


def _group(
    folder: str | os.PathLike[str],
    places: Sequence[tuple[Path, Face]],
    rows: NDArray[np.float32],
    members: NDArray[np.intp],
    decision: Decision | None,
) -> Group:
    mean = rows[members].mean(axis=0)
    similarities = (rows[members] @ (mean / np.linalg.norm(mean))).tolist()
    sightings = [
        Sighting(path, face, similarity)
        for (path, face), similarity in zip([places[i] for i in members], similarities, strict=True)
    ]
    sightings.sort(key=lambda each: (-each.similarity, each.path))
    return Group(tuple(sightings), group_id(folder, sightings), decision)
