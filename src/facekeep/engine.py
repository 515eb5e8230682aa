"""``FaceEngine``: the whole road, from photos to names, as one object."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import NDArray

from facekeep._closing import Closing
from facekeep._files import printable
from facekeep.analyse import Analyser, ImageSource
from facekeep.clarity import Judge
from facekeep.decide import (
    Decision,
    Threshold,
    Verification,
    compare,
    decide,
    once_each,
    threshold,
    unnamed,
)
from facekeep.detect import Detector
from facekeep.embed import Embedder
from facekeep.enrol import Enrolment, Rejection, conflict, policy_named, reject, require_limit
from facekeep.errors import GalleryNotFound, ImageError, InputError, ModelError, PersonNotFound
from facekeep.face import Face
from facekeep.gallery import Consent, Gallery, Key, NewTemplate, Person, Space
from facekeep.gallery.records import clean_name
from facekeep.image import content_digest
from facekeep.landmarks import chosen_entry
from facekeep.models import ModelEntry, default_model, entry, space_id

__all__ = ["FaceEngine", "ImageSource"]

# Part of the recipe: raise it when the road finds other faces, facts or embeddings in one image.
_ROAD = 3
# So many of the most similar people are weighed however few are asked for: some may be refused.
_WEIGHED = 20


class FaceEngine(Closing):
    """Enrol people from photos and recognise them in others.

    Threads may share one engine and get the same results as one thread. Networks are loaded when
    they are first needed; ``close``, or leaving the ``with`` block, lets go of everything.

    Every image argument may be a path, the bytes of a picture file, a binary stream, or a uint8
    ``(H, W, 3)`` RGB array (``facekeep.from_bgr`` converts OpenCV's).

    Args:
        gallery: Path of the gallery, created by the first enrolment. None: an engine that detects,
            embeds and verifies only.
        key: The key of an encrypted gallery; a gallery created with a key is encrypted.
        read_only: Never write to the gallery; works on read-only media.
        detector: Name of the detector; None for the default.
        refiner: Name of what places landmarks better; None for the default, ``none`` for nothing.
        orienter: Name of what tells turned faces; None for the default, ``none`` for nothing.
        embedder: Name of the embedder; None for the default.
        fmr: The false-match rate to decide at: the share of comparisons between two different
            people that may be taken for a match.
        review: How strictly photos are examined before they are enrolled: ``off``, ``standard``
            or ``strict``.
        any_quality: Take every face for usable, however poor; else faces that show too little to
            be told from others have ``Face.reasons``, are compared with nobody and never named.
        keep_crops: Keep the aligned face with each template, so that a later change of model needs
            no new photos.
        min_face: Smallest face wanted, in pixels; see ``Detector``.
        max_faces: Look at no more than this many faces of an image, the largest.
        max_pixels: Refuse larger images.
        flip: Average embeddings over mirrored faces: slower, slightly more accurate.
        threads: CPU threads for the networks; 0 for all cores.
        device: Where the networks run; never silently anywhere else.
        precision: What they compute in; never silently anything else.
        runtime: What runs them; None for what the file of each needs.

    Attributes:
        fmr: The false-match rate to decide at.
        model: The embedder's catalogue entry.
        max_pixels: The largest image that is not refused.
    """

    def __init__(  # noqa: PLR0913 - a facade: each is a knob of the road, all by keyword
        self,
        gallery: str | os.PathLike[str] | None = None,
        *,
        key: Key | None = None,
        read_only: bool = False,
        detector: str | None = None,
        refiner: str | None = None,
        orienter: str | None = None,
        embedder: str | None = None,
        fmr: float = 1e-4,
        review: str = "standard",
        any_quality: bool = False,
        keep_crops: bool = False,
        min_face: float | None = None,
        max_faces: int | None = None,
        max_pixels: int = 100_000_000,
        flip: bool = False,
        threads: int = 0,
        device: str = "cpu",
        precision: str = "float32",
        runtime: str | None = None,
    ) -> None:
        self.fmr = fmr
        self.model = model = _embedder(embedder)
        self.max_pixels = max_pixels
        self._looks = (
            detector,
            refiner,
            orienter,
            min_face,
            max_faces,
            max_pixels,
            flip,
            precision,
        )
        self._policy = policy_named(review)
        self._keep_crops = keep_crops
        self._path = None if gallery is None else Path(gallery)
        self._key = key
        self._read_only = read_only
        self._gallery: Gallery | None = None
        self._opening = threading.Lock()
        self._analyser = Analyser(
            lambda: Detector(
                detector,
                refiner=refiner,
                orienter=orienter,
                min_face=min_face,
                max_faces=max_faces,
                threads=threads,
                device=device,
                precision=precision,
                runtime=runtime,
            ),
            (lambda: Judge(model.judge, threads=threads)) if model.judge else None,
            lambda: Embedder(
                model,
                flip=flip,
                threads=threads,
                device=device,
                precision=precision,
                runtime=runtime,
            ),
            model,
            max_pixels=max_pixels,
            any_quality=any_quality,
        )

    # Faces

    def detect(self, image: ImageSource) -> list[Face]:
        """Find the faces of an image, the largest first, with landmarks and quality.

        ``Face.reasons`` are those that the facts give: what only an embedding tells, that a face is
        unclear or none at all, is told by ``analyse``.
        """
        return self._analyser.find(self._analyser.load(image)).faces

    def analyse(self, image: ImageSource) -> list[Face]:
        """Find the faces of an image, the largest first, with quality, reasons and embedding."""
        return next(self.analyse_batch([image]))

    def judged(self, faces: Iterable[Face]) -> list[Face]:
        """Fill in the reasons of faces that were analysed before, perhaps by another setting."""
        return self._analyser.judged(faces)

    def analyse_batch(self, images: Iterable[ImageSource]) -> Iterator[list[Face]]:
        """Do the same for many images: yields a list for each, in order, at constant memory.

        Faces of several images are embedded together. An image that cannot be read ends the run
        with its error; those before it have been yielded.
        """
        return self._analyser.analyse(images)

    def verify(
        self, first: ImageSource, second: ImageSource, *, fmr: float | None = None
    ) -> Verification:
        """Decide whether the largest faces of two images are of one person.

        An image without a face, or with an unusable one, is no error but a failed comparison:
        ``match`` is False, ``similarity`` None.
        """
        limit = self.threshold(fmr)
        found = list(self.analyse_batch([first, second]))
        embeddings = [faces[0].embedding if faces else None for faces in found]
        reasons = next((faces[0].reasons for faces in found if faces and faces[0].reasons), ())
        return compare(embeddings[0], embeddings[1], limit, reasons)

    def threshold(self, fmr: float | None = None, *, templates: int = 1) -> Threshold:
        """Return the cosine to decide by at a false-match rate, the engine's own by default.

        Against a person of several templates it is higher; see ``facekeep.threshold``.
        """
        rate = self.fmr if fmr is None else fmr
        return threshold(self.model, rate, templates=templates)

    # People

    @property
    def gallery(self) -> Gallery:
        """The gallery, opened; GalleryNotFound when nobody was enrolled yet."""
        return self._open(create=False)

    @property
    def space(self) -> Space:
        """The embedding space of the engine's model."""
        return Space(space_id(self.model), self.model.name, self.model.width or 0)

    @property
    def recipe(self) -> str:
        """A digest of all that decides what ``analyse`` finds in an image: models and settings.

        What was found once need not be looked for again while the recipe is the same.
        """
        detector, refiner, orienter, *settings = self._looks
        helpers = chosen_entry(refiner, "refine"), chosen_entry(orienter, "orient")
        judge = entry(self.model.judge) if self.model.judge else None
        models = entry(detector or default_model("detect")), *helpers, judge
        files = [file.sha256 for model in models if model is not None for file in model.files]
        parts = [_ROAD, files, space_id(self.model), settings]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def enroll(
        self,
        name: str,
        images: ImageSource | Sequence[ImageSource],
        *,
        metadata: Mapping[str, Any] | None = None,
        consent: Consent | None = None,
        retain_until: datetime | None = None,
    ) -> Enrolment:
        """Enrol a person from photos, one template for each that passes the review.

        All accepted photos are stored at once, or none. A photo whose bytes were enrolled for this
        person before is not stored twice.

        Args:
            name: The person; an existing one gains templates.
            images: One or more photos with the person as the main face.
            metadata: Your own facts about the person.
            consent: On what ground the person is enrolled.
            retain_until: When ``Gallery.purge`` shall erase the person.

        Raises:
            ImageError: None of the photos can be read. When only some cannot, they are among the
                rejected.
            InputError: No photo was given, or the model promises no such rate as ``fmr``.
            ModelError: The model was never calibrated, and ``review`` is not ``off``.
        """
        name = clean_name(name)
        sources: list[Any] = list(images) if isinstance(images, list | tuple) else [images]
        if not sources:
            raise InputError(f"there is nothing to enrol {name} from: give at least one photo")
        require_limit(self._policy, self.threshold)
        known = self._known_digests(name)
        templates: list[NewTemplate] = []
        rejected: list[Rejection] = []
        unreadable: list[ImageError] = []
        for number, source in enumerate(sources, 1):
            label = _label(source, f"image {number}")
            try:
                outcome = self._examine(name, source, label, known)
            except ImageError as error:
                unreadable.append(error)
                outcome = Rejection(label, "unreadable", str(error))
            if isinstance(outcome, NewTemplate):
                templates.append(outcome)
            else:
                rejected.append(outcome)
        if unreadable and len(unreadable) == len(sources):
            raise unreadable[0]
        person = None
        if templates:
            person = self._open(create=True).enroll(
                name, templates, metadata=metadata, consent=consent, retain_until=retain_until
            )
        return Enrolment(name, len(templates), tuple(rejected), person)

    def refuse(self, name: str, image: ImageSource) -> Person:
        """Remember that the largest face of an image is *not* this person.

        The person is passed over for faces that are at least as similar to it as to the person.

        Raises:
            ImageError: The image cannot be read, or shows no usable face.
            PersonNotFound: There is no such person.
        """
        gallery = self.gallery
        gallery.person(name)
        faces = self.analyse(image)
        if not faces or faces[0].embedding is None:
            raise ImageError(f"no face was found in {_label(image)}; use one that shows the face")
        if not faces[0].usable:
            why = faces[0].reasons[0].replace("_", " ")
            raise ImageError(f"the face in {_label(image)} is unusable ({why}); use a better one")
        return gallery.enroll(name, [NewTemplate(faces[0].embedding, negative=True)])

    def identify(
        self,
        image: ImageSource,
        *,
        fmr: float | None = None,
        top_k: int = 5,
        collage: bool = False,
    ) -> list[Face]:
        """Find out who the people in an image are; each face gets its ``decision``.

        An unusable face is compared with nobody. Of several faces that match one person only the
        most similar gets the name.

        Args:
            image: The image.
            fmr: The false-match rate to decide at; the engine's own by default.
            top_k: How many candidates to report for each face.
            collage: The image may show a person several times.

        Raises:
            GalleryNotFound: Nobody was ever enrolled.
            SpaceMismatch: The gallery was made with another model.
        """
        return next(self.identify_batch([image], fmr=fmr, top_k=top_k, collage=collage))

    def identify_batch(
        self,
        images: Iterable[ImageSource],
        *,
        fmr: float | None = None,
        top_k: int = 5,
        collage: bool = False,
    ) -> Iterator[list[Face]]:
        """Do the same for many images; see ``analyse_batch``."""
        gallery = self.gallery
        self.threshold(fmr)  # a rate that cannot be promised fails before any photo is read
        for faces in self.analyse_batch(images):
            yield self._decided(gallery, faces, fmr, top_k, collage=collage)

    # Life

    def close(self) -> None:
        """Let go of networks and gallery; they are opened again if the engine is used again."""
        self._analyser.close()
        with self._opening:
            if self._gallery is not None:
                self._gallery.close()
            self._gallery = None

    # Steps

    def _open(self, *, create: bool) -> Gallery:
        with self._opening:
            if self._gallery is None:
                if self._path is None:
                    raise GalleryNotFound("this engine has no gallery: give FaceEngine a path")
                self._gallery = Gallery.open(
                    self._path,
                    space=self.space,
                    key=self._key,
                    create=create and not self._read_only,
                    read_only=self._read_only,
                )
            return self._gallery

    def _existing(self) -> Gallery | None:
        """The gallery, or None before the first enrolment."""
        if self._gallery is None and self._path is not None and not os.path.lexists(self._path):
            return None
        return self.gallery

    def _examine(
        self, name: str, source: ImageSource, label: str, known: set[str]
    ) -> NewTemplate | Rejection:
        """Make a template of a photo's main face, or say why not."""
        image = self._analyser.load(source)
        digest = content_digest(source) if _is_path(source) else _digest(image)
        if digest in known:
            text = "this photo was enrolled for this person before"
            return Rejection(label, "already_enrolled", text)
        self._analyser.prepare()
        faces, crops = self._analyser.find(image)
        fault = reject(faces, self._policy)
        if fault is not None:
            return Rejection(label, *fault)
        faces = self._analyser.embed_faces(faces[:1], crops[:1])
        fault = reject(faces, self._policy)
        if fault is not None:
            return Rejection(label, *fault)
        vector = faces[0].embedding
        assert vector is not None  # noqa: S101 - it was just computed
        fault = self._conflict(name, vector)
        if fault is not None:
            return Rejection(label, *fault)
        known.add(digest)
        quality = faces[0].quality
        return NewTemplate(
            vector,
            quality=quality.overall if quality else None,
            source=f"{printable(Path(label).name)} sha256:{digest}",
            crop=_png(crops[0]) if self._keep_crops else None,
        )

    def _conflict(self, name: str, vector: NDArray[np.float32]) -> tuple[str, str] | None:
        gallery = self._existing()
        if gallery is None or self._policy is policy_named("off"):
            return None
        (hits,) = gallery.search(vector[None], _WEIGHED)
        return conflict(name, hits, lambda templates: self.threshold(templates=templates))

    def _decided(
        self,
        gallery: Gallery,
        faces: list[Face],
        fmr: float | None,
        top_k: int,
        *,
        collage: bool,
    ) -> list[Face]:
        if not faces:
            return faces

        def limit(templates: int) -> Threshold:
            return self.threshold(fmr, templates=templates)

        people = gallery.count()
        rows = [face.embedding for face in faces if face.usable and face.embedding is not None]
        hits = iter(gallery.search(np.stack(rows), max(top_k, _WEIGHED)) if rows else ())
        decisions: list[Decision] = [
            decide(next(hits), limit, people, top_k) if face.usable else unnamed(limit(1), people)
            for face in faces
        ]
        if not collage:
            decisions = once_each(decisions)
        return [face.replace(decision=made) for face, made in zip(faces, decisions, strict=True)]

    def _known_digests(self, name: str) -> set[str]:
        """Digests of the photos that a person's templates came from."""
        gallery = self._existing()
        if gallery is None:
            return set()
        try:
            templates = gallery.person(name).templates or ()
        except PersonNotFound:
            return set()
        return {each.source.rpartition("sha256:")[2] for each in templates if each.source}


def _embedder(name: str | None) -> ModelEntry:
    """Find the model that recognises faces, before anything is asked of it."""
    model = entry(name or default_model("embed"))
    if model.task != "embed":
        raise ModelError(
            f"{model.name} is a model to {model.task}, not to embed, faces; "
            "see 'facekeep models list'"
        )
    return model


def _label(source: ImageSource, otherwise: str = "the image") -> str:
    return os.fsdecode(source) if _is_path(source) else otherwise


def _is_path(source: ImageSource) -> TypeGuard[str | os.PathLike[str]]:
    return isinstance(source, str | os.PathLike)


def _digest(image: NDArray[np.uint8]) -> str:
    return hashlib.sha256(repr(image.shape).encode() + image.tobytes()).hexdigest()


def _png(crop: NDArray[np.uint8]) -> bytes:
    """Encode a crop without loss."""
    import cv2

    return bytes(cv2.imencode(".png", crop[..., ::-1])[1])
