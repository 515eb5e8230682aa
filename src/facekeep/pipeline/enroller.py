"""From photos to the templates of a person: the work around the rules of ``enrol``."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeGuard

import numpy as np
from numpy.typing import NDArray

from facekeep._internal.files import printable
from facekeep.errors import Hint, ImageError, InputError, ModelError, PersonNotFound
from facekeep.gallery import Gallery, NewTemplate
from facekeep.models import ModelEntry
from facekeep.pipeline.analyzer import Analyser, ImageSource
from facekeep.pipeline.decide import consistent_cosine, fmr_among, lowest_fmr, threshold
from facekeep.pipeline.enrollment import (
    NEWCOMERS,
    Chosen,
    Rejection,
    conflict,
    inconsistent,
    main_face,
    policy_named,
    reject,
)
from facekeep.pipeline.image import content_digest
from facekeep.pipeline.quality import Policy, reason_words
from facekeep.types import Face

__all__ = [
    "AGAIN",
    "WEIGHED",
    "Accepted",
    "Enroller",
    "Known",
    "digest_in",
    "label_of",
    "png",
    "source_of",
]

WEIGHED = 20
"""So many of the most similar people are weighed: a face may be known not to be theirs."""

_MARK = " sha256:"
AGAIN = "already_enrolled", "this photo was enrolled for this person before"
"""Why a photo is not used again, as a word and as a line for people."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """A photo that passed: its template, and which of its faces that is."""

    template: NewTemplate
    chosen: Chosen


@dataclass(slots=True)
class Known:
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
    def of(cls, gallery: Gallery | None, name: str) -> Known:
        """Read what a gallery, if there is one, holds of a person."""
        known = cls(np.empty((0, 0), np.float32))
        if gallery is None:
            return known
        try:
            templates = gallery.person(name).templates or ()
            vectors = gallery.vectors(name)
        except PersonNotFound:
            return known
        for each in templates:
            digest = digest_in(each.source)
            if each.negative:
                known.refused[digest] = each.id
            else:
                known.photos.add(digest)
                known.ids.append(each.id)
        if known.ids:
            known.rows = np.stack([vectors[each] for each in known.ids])
        return known

    def __bool__(self) -> bool:
        """Whether there is such a person."""
        return bool(self.ids or self.refused)

    def met(self, name: str) -> dict[str, tuple[str, str]]:
        """Why a photo that was enrolled, or refused, for the person before is not used again."""
        again = {
            digest: (
                "refused_before",
                f"it was noted that this photo does not show {name}; to take that "
                f"back, erase the template {template}",
            )
            for digest, template in self.refused.items()
        }
        return again | dict.fromkeys(self.photos, AGAIN)


class Enroller:
    """Examines photos for enrolment.

    Args:
        analyser: Finds and embeds faces.
        model: The embedder's catalogue entry.
        review: What is demanded of a photo: ``off``, ``standard`` or ``strict``.
        keep_crops: Put the aligned face into each template.
        gallery: Gives the gallery, or None before the first enrolment.
        fmr: Gives the false-match rate that faces are identified at among so many people.
    """

    def __init__(
        self,
        analyser: Analyser,
        model: ModelEntry,
        *,
        review: str,
        keep_crops: bool,
        gallery: Callable[[], Gallery | None],
        fmr: Callable[[int], float],
    ) -> None:
        self.policy: Policy = policy_named(review)
        self._analyser = analyser
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
        known = Known.of(self._gallery(), name)
        outcomes: list[Accepted | Rejection] = []
        digests: list[str] = []
        met = known.met(name)
        unreadable: list[ImageError] = []
        for number, source in enumerate(sources, 1):
            label = label_of(source, f"image {number}")
            digest = ""
            try:
                image = self._analyser.load(source)
                digest = self._digest(source, image)
                fault = met.get(digest)
                outcome = (
                    Rejection(label, *fault)
                    if fault
                    else self._look(
                        name, image, label, digest, largest=largest, new_person=new_person
                    )
                )
                met[digest] = _fault(outcome)
            except ImageError as error:
                unreadable.append(error)
                outcome = Rejection(label, "unreadable", str(error))
            outcomes.append(outcome)
            digests.append(digest)
        if unreadable and len(unreadable) == len(sources):
            raise unreadable[0]
        outcomes = self._agreed(name, known, outcomes, digests)
        accepted = [each for each in outcomes if isinstance(each, Accepted)]
        return accepted, [each for each in outcomes if isinstance(each, Rejection)]

    def stranger(self, name: str, image: ImageSource, *, largest: bool) -> NewTemplate:
        """Make the template that says of the main face of an image that it is not the person.

        Raises:
            ImageError: The image cannot be read, or shows no face, or several that compete.
            InputError: The person is enrolled with this very face.
        """
        label = label_of(image)
        pixels = self._analyser.load(image)
        digest = self._digest(image, pixels)
        self._analyser.prepare()
        faces, crops = self._analyser.find(pixels)
        place = main_face(faces, pixels.shape, policy_named("off" if largest else "standard"))
        if not faces:
            raise ImageError(f"no face was found in {label}; use one that shows the face")
        if place is None:
            raise ImageError(
                f"{label} shows {len(faces)} faces, and none is plainly the main one; crop it to "
                "one person, or take the largest face",
                "largest",
            )
        face, vector = self._embedded(faces[place], crops[place])
        if not face.usable:
            why = reason_words(face.reasons[:1])
            raise ImageError(f"the face in {label} is unusable ({why}); use a better one")
        self._require_other(name, vector, digest, label)
        return NewTemplate(vector, source=source_of(label, digest), negative=True)

    def _look(
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
        self._analyser.prepare()
        faces, crops = self._analyser.find(image)
        place = main_face(faces, image.shape, policy_named("off") if largest else self.policy)
        fault = reject(faces, place, self.policy)
        if fault is not None or place is None:
            return Rejection(label, *(fault or ("no_face", "")))
        face, vector = self._embedded(faces[place], crops[place])
        fault = reject([face], 0, self.policy)
        if fault is None and not new_person:
            fault = self._conflict(name, vector)
        if fault is not None:
            return Rejection(label, *fault)
        quality = face.quality
        x1, y1, x2, y2 = face.bbox.tolist()
        template = NewTemplate(
            vector,
            quality=quality.overall if quality else None,
            source=source_of(label, digest),
            crop=png(crops[place]) if self._keep_crops else None,
        )
        return Accepted(template, Chosen(label, len(faces), (x1, y1, x2, y2)))

    def _digest(self, source: ImageSource, image: NDArray[np.uint8]) -> str:
        """Tell a photo from others: by the bytes of its file, or by its pixels."""
        if _is_path(source):
            return content_digest(source, max_bytes=self._analyser.limits["max_bytes"])
        return hashlib.sha256(repr(image.shape).encode() + image.tobytes()).hexdigest()

    def _embedded(self, face: Face, crop: NDArray[np.uint8]) -> tuple[Face, NDArray[np.float32]]:
        """Add the embedding, and what it tells of the quality, to a face."""
        (whole,) = self._analyser.embed_faces([face], crop[None])
        if whole.embedding is None:
            raise ModelError("the embedder gave no embedding; its weights are unusable")
        return whole, whole.embedding

    def _conflict(self, name: str, vector: NDArray[np.float32]) -> tuple[str, str] | None:
        gallery = self._gallery()
        if gallery is None or self.policy is policy_named("off"):
            return None
        people = gallery.count()
        rate = min(self._fmr(people), fmr_among(NEWCOMERS, people))
        rate = max(rate, lowest_fmr(self._model))  # nothing below can be promised
        (hits,) = gallery.search(vector[None], WEIGHED)
        return conflict(
            name,
            hits,
            lambda templates: threshold(self._model, rate, templates=templates),
            people,
        )

    def _agreed(
        self,
        name: str,
        known: Known,
        outcomes: list[Accepted | Rejection],
        digests: Sequence[str],
    ) -> list[Accepted | Rejection]:
        """Reject the photos that do not show the person whom the others show."""
        places = [n for n, each in enumerate(outcomes) if isinstance(each, Accepted)]
        new = [each.template.vector for each in outcomes if isinstance(each, Accepted)]
        if not new or self.policy is policy_named("off"):
            return outcomes
        own = len(known.rows)
        rows = np.concatenate([known.rows, new]) if own else np.stack(new)
        odd = inconsistent(name, rows, own, consistent_cosine(self._model))
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
        known = Known.of(self._gallery(), name)
        if not len(known.rows):
            return
        mean = known.rows.mean(axis=0)
        mean /= np.linalg.norm(mean)
        alike = known.rows @ vector
        nearest = int(alike.argmax())
        if digest not in known.photos and alike[nearest] < known.rows[nearest] @ mean:
            return
        raise InputError(
            f"{name} is enrolled with the face of {label}: to say that it is somebody else's, "
            f"erase the template {known.ids[nearest]}",
            Hint("erase_template", {"name": name, "template": known.ids[nearest]}),
        )


def label_of(source: ImageSource, otherwise: str = "the image") -> str:
    """Name an image to people: its path, or what is said instead."""
    return os.fsdecode(source) if _is_path(source) else otherwise


def source_of(label: str, digest: str) -> str:
    """Write where a template came from: the name of the photo's file, and its digest."""
    return f"{printable(Path(label).name)}{_MARK}{digest}"


def digest_in(source: str | None) -> str:
    """Return the digest that ``source_of`` wrote; empty where there is none."""
    return (source or "").rpartition(_MARK)[2] if _MARK in (source or "") else ""


def _fault(outcome: Accepted | Rejection) -> tuple[str, str]:
    """Why the same photo is not used again."""
    return AGAIN if isinstance(outcome, Accepted) else (outcome.reason, outcome.detail)


def _image(outcome: Accepted | Rejection) -> str:
    return outcome.chosen.image if isinstance(outcome, Accepted) else outcome.image


def _is_path(source: ImageSource) -> TypeGuard[str | os.PathLike[str]]:
    return isinstance(source, str | os.PathLike)


def png(crop: NDArray[np.uint8]) -> bytes:
    """Encode a crop without loss."""
    import cv2

    return bytes(cv2.imencode(".png", crop[..., ::-1])[1])
