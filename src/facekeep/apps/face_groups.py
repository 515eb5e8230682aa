"""Groups of faces and people of a gallery: who a group is, and enrolling somebody from a group."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facekeep.engine import FaceEngine
from facekeep.errors import FacekeepError
from facekeep.gallery import Gallery, NewTemplate
from facekeep.pipeline.decide import decide
from facekeep.pipeline.enrollment import (
    ALREADY_ENROLLED,
    CANDIDATES,
    Enrollment,
    Rejection,
    StoredPerson,
    write_source,
)
from facekeep.pipeline.enrollment_rules import Fault, get_policy
from facekeep.pipeline.image import content_digest, encode_png, load_image
from facekeep.pipeline.quality import POLICIES, Policy, explain, review
from facekeep.types import Decision, Face, Threshold, round_number

__all__ = ["Group", "Sighting", "enroll_group", "group_id", "name_groups"]

Rows = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Sighting:
    """A face in a photo.

    Attributes:
        path: The photo.
        face: The face, in pixels of the upright photo.
        similarity: Cosine, -1 to 1: to what was searched for, or to the mean of its group.
    """

    path: Path
    face: Face
    similarity: float

    def to_dict(self) -> dict[str, Any]:
        """Return the photo, the similarity and the box, for JSON."""
        return {
            "image": str(self.path),
            "similarity": round_number(self.similarity),
            "bbox": self.face.to_dict()["bbox"],
        }


@dataclass(frozen=True, slots=True)
class Group:
    """Faces taken for one person, the most typical, which represents them, first.

    Attributes:
        sightings: The faces.
        id: Eight hexadecimal digits that stand for these very faces in these photos: a group that
            has gained or lost a face has another.
        decision: Who of a gallery it is, once it was compared with one: one decision, by the mean
            of the faces.
    """

    sightings: tuple[Sighting, ...]
    id: str = ""
    decision: Decision | None = None

    @property
    def photos(self) -> tuple[Path, ...]:
        """The photos that show the person, each once, by name."""
        return tuple(sorted({sighting.path for sighting in self.sightings}))

    @property
    def name(self) -> str | None:
        """The name of the enrolled person, or None when unknown or not compared."""
        match = self.decision.match if self.decision else None
        return match.name if match else None

    def to_dict(self) -> dict[str, Any]:
        """Return the id, who it is, and the faces, for JSON."""
        match = self.decision.match if self.decision else None
        return {
            "id": self.id,
            "name": self.name,
            "similarity": match and round_number(match.similarity),
            "threshold": match and round_number(match.threshold),
            "photos": len(self.photos),
            "faces": [
                {"image": face["image"], "bbox": face["bbox"], "similarity": face["similarity"]}
                for face in (each.to_dict() for each in self.sightings)
            ],
        }


def name_groups(
    engine: FaceEngine,
    gallery: Gallery,
    rows: Rows,
    photos: Sequence[Path],
    groups: Sequence[NDArray[np.intp]],
    *,
    fmr: float | None = None,
    collage: bool = False,
) -> list[tuple[NDArray[np.intp], Decision]]:
    """Decide who groups of faces are; those of one enrolled person become one.

    Each group gets one decision, by the mean of its faces, at the false-match rate. Of two groups
    with faces in one photo only the more similar gets a person's name.

    Args:
        engine: Gives the thresholds.
        gallery: The people, of the engine's space.
        rows: float32 ``(n, d)``, the embeddings of all faces.
        photos: The photo of each face.
        groups: The places of the faces of each group, among ``rows``.
        fmr: The false-match rate to decide at; the engine's own by default.
        collage: Photos may show a person several times.

    Returns:
        The groups, joined where they are of one person, each with its decision.
    """
    if not groups:
        return []
    decisions = _decisions(engine, gallery, [rows[members] for members in groups], fmr)
    order = sorted(range(len(groups)), key=lambda n: -_similarity(decisions[n]))
    people: dict[str, tuple[list[NDArray[np.intp]], Decision, set[Path]]] = {}
    strangers: list[tuple[NDArray[np.intp], Decision]] = []
    for number in order:
        decision, members = decisions[number], groups[number]
        seen = {photos[place] for place in members}
        if decision.match is None:
            strangers.append((members, decision))
            continue
        parts, _, known = people.setdefault(decision.match.person_id, ([], decision, set()))
        if known & seen and not collage:
            unknown = Decision(None, decision.candidates, decision.threshold, decision.people)
            strangers.append((members, unknown))
            continue
        parts.append(members)
        known |= seen
    joined = [(np.sort(np.concatenate(parts)), decision) for parts, decision, _ in people.values()]
    return joined + strangers


def _decisions(
    engine: FaceEngine, gallery: Gallery, groups: Sequence[Rows], fmr: float | None
) -> list[Decision]:
    means = np.stack([each.mean(axis=0) for each in groups])
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    people = gallery.count()
    found = zip(map(len, groups), gallery.search(means, CANDIDATES), strict=True)

    def limit(faces: int, templates: int) -> Threshold:
        return engine.threshold(fmr, people=people, templates=templates, faces=faces)

    return [decide(hits, partial(limit, faces), people) for faces, hits in found]


def _similarity(decision: Decision) -> float:
    return decision.match.similarity if decision.match else -1.0


def group_id(folder: str | os.PathLike[str], sightings: Sequence[Sighting]) -> str:
    """Return the id of a group: a digest of which faces of which photos of the folder it holds."""
    places = (
        os.fsencode(os.path.relpath(each.path, folder))
        + np.rint(each.face.bbox).astype("<i8").tobytes()
        for each in sightings
    )
    parts = sorted(hashlib.sha256(place).digest() for place in places)
    return hashlib.sha256(b"".join(parts)).hexdigest()[:8]


def enroll_group(
    engine: FaceEngine,
    gallery: Gallery,
    group: Group,
    name: str,
    *,
    review: str = "standard",
    keep_crops: bool = False,
    new_person: bool = False,
    **facts: Any,
) -> Enrollment:
    """Enroll a person from a group: a template for each photo whose face passes the review.

    Args:
        engine: The engine that found the faces.
        gallery: Where to; of the engine's space, opened for writing.
        group: The group.
        name: The person; an existing one gains templates.
        review: How strictly faces are examined: ``off``, ``standard`` or ``strict``.
        keep_crops: Keep the aligned face with each template.
        new_person: This is somebody else than those who look alike or whose names do.
        **facts: ``metadata``, ``consent`` and ``retain_until``; see ``Gallery.enroll``.

    Returns:
        What was enrolled and what was not. Nothing is where the group is somebody else who is
        enrolled, or not the person who is enrolled by this name.

    Raises:
        NameConflict: Somebody's name looks like this one, but is not the same.
        InputError: The name or a fact cannot be used.
    """
    policy = get_policy(review)
    name = gallery.name_for(name, new_person=new_person)
    stored = StoredPerson.read(gallery, name)
    fault = None if policy is POLICIES["off"] or new_person else _find_conflict(group, name, stored)
    templates: list[NewTemplate] = []
    rejected: list[Rejection] = []
    faults = stored.list_faults(name)
    for sighting in _one_a_photo(group):
        try:
            judged = fault or _template(sighting, policy, faults, _size(engine, keep_crops))
        except FacekeepError as error:
            judged = Fault("unreadable", str(error))
        if isinstance(judged, NewTemplate):
            templates.append(judged)
        else:
            rejected.append(Rejection(os.fsdecode(sighting.path), *judged))
    person = None
    if templates:
        person = gallery.enroll(name, templates, new_person=new_person, **facts)
    return Enrollment(name, len(templates), tuple(rejected), person)


def _find_conflict(group: Group, name: str, stored: StoredPerson) -> Fault | None:
    """Say why a group is not the person it is to be enrolled as."""
    if group.name is not None and group.name != name:
        return Fault(
            "identity_conflict",
            f"the group looks like {group.name}, who is already enrolled; check the name, or skip"
            " the checks",
        )
    if group.name is None and stored:
        return Fault(
            "inconsistent_identity",
            f"the group does not look like {name}, who is already enrolled; check the name, or"
            " skip the checks",
        )
    return None


def _one_a_photo(group: Group) -> list[Sighting]:
    """Of each photo the most typical face."""
    return list({each.path: each for each in reversed(group.sightings)}.values())[::-1]


def _template(
    sighting: Sighting, policy: Policy, faults: dict[str, Fault], size: int | None
) -> NewTemplate | Fault:
    face = sighting.face
    reasons = review(face.quality, policy) if face.quality else []
    if policy is not POLICIES["off"] and reasons:
        return Fault(reasons[0], explain(reasons[0], face.quality, policy) if face.quality else "")
    digest = content_digest(sighting.path)
    if digest in faults:
        return faults[digest]
    faults[digest] = ALREADY_ENROLLED
    assert face.embedding is not None  # noqa: S101 - faces in groups have one
    return NewTemplate(
        face.embedding,
        quality=face.quality.overall if face.quality else None,
        source=write_source(os.fsdecode(sighting.path), digest),
        crop=None if size is None else _crop(sighting, size),
    )


def _size(engine: FaceEngine, keep_crops: bool) -> int | None:
    return (engine.crop_size) if keep_crops else None


def _crop(sighting: Sighting, size: int) -> bytes:
    """Cut the aligned face out of its photo, encoded without loss."""
    from facekeep.pipeline.align import align

    return encode_png(align(load_image(sighting.path), sighting.face.landmarks, size))
