"""From photos to the templates of a person, by the rules of ``enrollment_rules``."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import NDArray

from facekeep._internal.files import printable
from facekeep.errors import Hint, ImageError, InputError, ModelError, PersonNotFound
from facekeep.gallery import NewTemplate, Person
from facekeep.gallery.store import GalleryStore
from facekeep.pipeline.analyzer import Analyzer
from facekeep.pipeline.decide import consistent_cosine, fmr_among, lowest_fmr, threshold
from facekeep.pipeline.enrollment_rules import (
    NEWCOMERS,
    Fault,
    choose_main_face,
    find_conflict,
    find_fault,
    find_inconsistent,
    get_policy,
)
from facekeep.pipeline.image import ImageSource, content_digest, encode_png
from facekeep.pipeline.quality import Policy, reason_words
from facekeep.types import Calibrated, Face

__all__ = [
    "ALREADY_ENROLLED",
    "CANDIDATES",
    "Accepted",
    "Chosen",
    "Enroller",
    "Enrollment",
    "Rejection",
    "StoredPerson",
    "read_digest",
    "write_source",
]

CANDIDATES = 20
"""How many of the most similar people are considered: a face may be known not to be theirs."""

_MARK = " sha256:"
ALREADY_ENROLLED = Fault("already_enrolled", "this photo was enrolled for this person before")
"""Why a photo is not used again."""


@dataclass(frozen=True, slots=True)
class Rejection:
    """A photo that was not enrolled.

    Attributes:
        image: Its path, or "image 3" for one that has none.
        reason: Why, as a stable word: one of ``quality.Reason``, or ``unreadable``,
            ``already_enrolled``, ``refused_before`` or, of a folder named after a person,
            ``unusable_name`` or ``name_conflict``.
        detail: Why, and how to mend it, in one line for people.
    """

    image: str
    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class Chosen:
    """Which face was enrolled of a photo that shows several.

    Attributes:
        image: The photo's path, or "image 3" for one that has none.
        faces: How many faces the photo shows.
        bbox: The face: ``x1, y1, x2, y2`` in pixels of the upright photo.
    """

    image: str
    faces: int
    bbox: tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Enrollment:
    """What came of enrolling somebody.

    Attributes:
        name: The person's name.
        enrolled: How many templates were added.
        rejected: The photos that were not used, with the reason for each.
        person: The person as stored, or None if there is none because all was rejected.
        chosen: Of the photos that were used and show several faces, which face was taken.
    """

    name: str
    enrolled: int
    rejected: tuple[Rejection, ...]
    person: Person | None
    chosen: tuple[Chosen, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return all but the person, for JSON."""
        return {
            "name": self.name,
            "enrolled": self.enrolled,
            "rejected": [asdict(each) for each in self.rejected],
            "chosen": [asdict(each) for each in self.chosen],
        }


@dataclass(frozen=True, slots=True)
class Accepted:
    """A photo that passed: its template, and which of its faces that is."""

    template: NewTemplate
    chosen: Chosen


@dataclass(slots=True)
class StoredPerson:
    """What a gallery holds of a person; nothing where there is no such person.

    Attributes:
        rows: float32 ``(n, d)`` of unit length: the templates that say who it is.
        ids: Their UUIDs.
        photos: The digests of the photos they were made from.
        refused: By the digest of its photo, the UUID of each template that says "this is not the
            person".
    """

    rows: NDArray[np.float32]
    ids: list[str] = field(default_factory=list)
    photos: set[str] = field(default_factory=set)
    refused: dict[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, gallery: GalleryStore | None, name: str) -> StoredPerson:
        """Read what a gallery, if there is one, holds of a person."""
        stored = cls(np.empty((0, 0), np.float32))
        if gallery is None:
            return stored
        try:
            templates = gallery.person(name).templates or ()
            vectors = gallery.vectors(name)
        except PersonNotFound:
            return stored
        for each in templates:
            digest = read_digest(each.source)
            if each.negative:
                stored.refused[digest] = each.id
            else:
                stored.photos.add(digest)
                stored.ids.append(each.id)
        if stored.ids:
            stored.rows = np.stack([vectors[each] for each in stored.ids])
        return stored

    def __bool__(self) -> bool:
        """Whether there is such a person."""
        return bool(self.ids or self.refused)

    def list_faults(self, name: str) -> dict[str, Fault]:
        """Return why photos that were enrolled, or refused, before are not used again.

        Returns:
            The reason by the digest of the photo.
        """
        refused = {
            digest: Fault(
                "refused_before",
                f"it was noted that this photo does not show {name}; to take that back, erase the "
                f"template {template}",
            )
            for digest, template in self.refused.items()
        }
        return refused | dict.fromkeys(self.photos, ALREADY_ENROLLED)


class Enroller:
    """Examines photos for enrollment.

    Args:
        analyzer: Finds and embeds faces.
        model: The thresholds of the embedder.
        review: What is demanded of a photo: ``off``, ``standard`` or ``strict``.
        keep_crops: Put the aligned face into each template.
        gallery: Gives the gallery, or None before the first enrollment.
        fmr: Gives the false-match rate that faces are identified at among so many people.
    """

    def __init__(
        self,
        analyzer: Analyzer,
        model: Calibrated,
        *,
        review: str,
        keep_crops: bool,
        gallery: Callable[[], GalleryStore | None],
        fmr: Callable[[int], float],
    ) -> None:
        self.policy: Policy = get_policy(review)
        self.analyzer = analyzer
        self._model = model
        self._keep_crops = keep_crops
        self._gallery = gallery
        self._fmr = fmr

    def examine(
        self, name: str, sources: Sequence[ImageSource], *, largest: bool, new_person: bool
    ) -> tuple[list[Accepted], list[Rejection]]:
        """Tell which photos a person can be enrolled from; see ``FaceEngine.enroll``.

        Raises:
            ImageError: None of the photos can be read.
        """
        stored = StoredPerson.read(self._gallery(), name)
        outcomes: list[Accepted | Rejection] = []
        digests: list[str] = []
        faults = stored.list_faults(name)
        unreadable: list[ImageError] = []
        for number, source in enumerate(sources, 1):
            label = _label(source, f"image {number}")
            digest = ""
            try:
                image = self.analyzer.load(source)
                digest = self._digest(source, image)
                fault = faults.get(digest)
                outcome = (
                    Rejection(label, *fault)
                    if fault
                    else self._examine_photo(
                        name, image, label, digest, largest=largest, new_person=new_person
                    )
                )
                faults[digest] = _fault(outcome)
            except ImageError as error:
                unreadable.append(error)
                outcome = Rejection(label, "unreadable", str(error))
            outcomes.append(outcome)
            digests.append(digest)
        if unreadable and len(unreadable) == len(sources):
            raise unreadable[0]
        outcomes = self._reject_inconsistent(name, stored, outcomes, digests)
        accepted = [each for each in outcomes if isinstance(each, Accepted)]
        return accepted, [each for each in outcomes if isinstance(each, Rejection)]

    def make_negative(self, name: str, image: ImageSource, *, largest: bool) -> NewTemplate:
        """Make the template that says of the main face of an image that it is not the person.

        Raises:
            ImageError: The image cannot be read, or shows no face, or several that compete.
            InputError: The person is enrolled with this very face.
        """
        label = _label(image)
        pixels = self.analyzer.load(image)
        digest = self._digest(image, pixels)
        self.analyzer.prepare()
        faces = self.analyzer.find(pixels)
        place = choose_main_face(faces, pixels.shape, get_policy("off" if largest else "standard"))
        if not faces:
            raise ImageError(f"no face was found in {label}; use one that shows the face")
        if place is None:
            raise ImageError(
                f"{label} shows {len(faces)} faces, and none is plainly the main one; crop it to "
                "one person, or take the largest face",
                "largest",
            )
        face, vector = self._embed(faces[place])
        if not face.usable:
            why = reason_words(face.reasons[:1])
            raise ImageError(f"the face in {label} is unusable ({why}); use a better one")
        self._require_other(name, vector, digest, label)
        return NewTemplate(vector, source=write_source(label, digest), negative=True)

    def _examine_photo(
        self,
        name: str,
        image: NDArray[np.uint8],
        label: str,
        digest: str,
        *,
        largest: bool,
        new_person: bool,
    ) -> Accepted | Rejection:
        """Make a template of a photo's main face, or say why not."""
        self.analyzer.prepare()
        faces = self.analyzer.find(image)
        place = choose_main_face(faces, image.shape, get_policy("off") if largest else self.policy)
        fault = find_fault(faces, place, self.policy)
        if fault is not None or place is None:
            return Rejection(label, *(fault or ("no_face", "")))
        face, vector = self._embed(faces[place])
        fault = find_fault([face], 0, self.policy)
        if fault is None and not new_person:
            fault = self._find_conflict(name, vector)
        if fault is not None:
            return Rejection(label, *fault)
        quality = face.quality
        x1, y1, x2, y2 = face.bbox.tolist()
        template = NewTemplate(
            vector,
            quality=quality.overall if quality else None,
            source=write_source(label, digest),
            crop=encode_png(face.crop) if self._keep_crops and face.crop is not None else None,
        )
        return Accepted(template, Chosen(label, len(faces), (x1, y1, x2, y2)))

    def _digest(self, source: ImageSource, image: NDArray[np.uint8]) -> str:
        """Tell a photo from others: by the bytes of its file, or by its pixels."""
        if _is_path(source):
            return content_digest(source, max_bytes=self.analyzer.limits["max_bytes"])
        return hashlib.sha256(repr(image.shape).encode() + image.tobytes()).hexdigest()

    def _embed(self, face: Face) -> tuple[Face, NDArray[np.float32]]:
        """Add the embedding, and what it tells of the quality, to a face."""
        (whole,) = self.analyzer.embed([face])
        if whole.embedding is None:
            raise ModelError("the embedder gave no embedding; its weights are unusable")
        return whole, whole.embedding

    def _find_conflict(self, name: str, vector: NDArray[np.float32]) -> Fault | None:
        gallery = self._gallery()
        if gallery is None or self.policy is get_policy("off"):
            return None
        people = gallery.count()
        rate = min(self._fmr(people), fmr_among(NEWCOMERS, people))
        rate = max(rate, lowest_fmr(self._model))  # nothing below can be promised
        (hits,) = gallery.search(vector[None], CANDIDATES)
        return find_conflict(
            name,
            hits,
            lambda templates: threshold(self._model, rate, templates=templates),
            people,
        )

    def _reject_inconsistent(
        self,
        name: str,
        stored: StoredPerson,
        outcomes: list[Accepted | Rejection],
        digests: Sequence[str],
    ) -> list[Accepted | Rejection]:
        """Reject the photos that do not show the person whom the others show."""
        places = [n for n, each in enumerate(outcomes) if isinstance(each, Accepted)]
        new = [each.template.vector for each in outcomes if isinstance(each, Accepted)]
        if not new or self.policy is get_policy("off"):
            return outcomes
        own = len(stored.rows)
        rows = np.concatenate([stored.rows, new]) if own else np.stack(new)
        odd = find_inconsistent(name, rows, own, consistent_cosine(self._model))
        faults = {digests[places[place]]: fault for place, fault in odd.items()}
        return [
            Rejection(_image(each), *faults[digest]) if digest in faults else each
            for each, digest in zip(outcomes, digests, strict=True)
        ]

    def _require_other(
        self, name: str, vector: NDArray[np.float32], digest: str, label: str
    ) -> None:
        """Refuse to note as a stranger's a face that the person is enrolled with.

        It would make the person's own photo unrecognized: it is more like the template than the
        person's mean is.
        """
        stored = StoredPerson.read(self._gallery(), name)
        if not len(stored.rows):
            return
        mean = stored.rows.mean(axis=0)
        mean /= np.linalg.norm(mean)
        alike = stored.rows @ vector
        nearest = int(alike.argmax())
        if digest not in stored.photos and alike[nearest] < stored.rows[nearest] @ mean:
            return
        template = stored.ids[nearest]
        raise InputError(
            f"{name} is enrolled with the face of {label}: to say that it is somebody else's, "
            f"erase the template {template}",
            Hint("erase_template", {"name": name, "template": template}),
        )


def _label(source: ImageSource, otherwise: str = "the image") -> str:
    """Name an image to people: its path, or what is said instead."""
    return os.fsdecode(source) if _is_path(source) else otherwise


def write_source(label: str, digest: str) -> str:
    """Write where a template came from: the name of the photo's file, and its digest."""
    return f"{printable(Path(label).name)}{_MARK}{digest}"


def read_digest(source: str | None) -> str:
    """Return the digest that ``write_source`` wrote; empty where there is none."""
    return (source or "").rpartition(_MARK)[2] if _MARK in (source or "") else ""


def _fault(outcome: Accepted | Rejection) -> Fault:
    """Why the same photo is not used again."""
    if isinstance(outcome, Accepted):
        return ALREADY_ENROLLED
    return Fault(outcome.reason, outcome.detail)


def _image(outcome: Accepted | Rejection) -> str:
    return outcome.chosen.image if isinstance(outcome, Accepted) else outcome.image


def _is_path(source: ImageSource) -> TypeGuard[str | os.PathLike[str]]:
    return isinstance(source, str | os.PathLike)
