"""``FaceEngine``: the whole pipeline, from photos to names, as one object."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any, TypeGuard, cast

import numpy as np
from numpy.typing import NDArray

from facekeep._internal.arguments import require_count, require_rate
from facekeep._internal.closing import Closing
from facekeep._internal.files import printable
from facekeep._internal.fork import Forking, watch
from facekeep.errors import (
    GalleryNotFound,
    GalleryReadOnly,
    InputError,
    ModelError,
    SpaceMismatch,
)
from facekeep.gallery import Consent, Gallery, Key, Person, Space
from facekeep.gallery.names import new_name
from facekeep.gallery.store import GalleryStore
from facekeep.models import ModelEntry, default_model, entry, space_id
from facekeep.pipeline.analyzer import Analyzer, Limits
from facekeep.pipeline.decide import (
    compare,
    decide,
    fmr_among,
    leave_unnamed,
    once_each,
    threshold,
    threshold_among,
    threshold_of_pairs,
)
from facekeep.pipeline.detect import Detector
from facekeep.pipeline.embed import Embedder
from facekeep.pipeline.enrollment import CANDIDATES, Enroller, Enrollment
from facekeep.pipeline.enrollment_rules import require_threshold
from facekeep.pipeline.image import MAX_BYTES, MAX_PIXELS, ImageSource
from facekeep.pipeline.quality_network import QualityNetwork
from facekeep.pipeline.refine import chosen_entry
from facekeep.runtime import RuntimeOptions
from facekeep.types import (
    Calibrated,
    Decision,
    Face,
    FaceDetector,
    FaceEmbedder,
    Threshold,
    Verification,
)

__all__ = ["FaceEngine"]

# Part of the fingerprint: raise it when the pipeline finds other faces, facts or embeddings in one
# image.
_PIPELINE = 3
# The false-match rate to decide at where neither it nor an FPIR is asked for.
_FMR = 1e-4
# What stands for a detector object that does not say what it is.
_UNKNOWN_DETECTOR = uuid.uuid4().hex


class FaceEngine(Closing, Forking):
    """Enroll people from photos and recognize them in others.

    ``identify`` is the sum of three steps, for programs that need what lies between them:

        faces = engine.find(image)  # boxes, landmarks, quality, aligned crops
        faces = engine.embed(faces)
        faces = engine.match(faces)  # who they are

    Threads may share one engine and get the same results as one thread. Networks are loaded when
    they are first needed; ``close``, or leaving the ``with`` block, closes everything that the
    engine opened. In a process that is forked from this one, networks and gallery are opened again
    when they are first needed there.

    Every image argument may be a path, the bytes of a picture file, a binary stream, an image of
    Pillow's, or a uint8 ``(H, W, 3)`` RGB array (``facekeep.from_bgr`` converts OpenCV's).

    Args:
        gallery: Path of the gallery, created by the first enrollment, or an object that keeps the
            protocol ``GalleryStore``, which stays open when the engine is closed. None: an engine
            that detects, embeds and verifies only.
        key: The key of an encrypted gallery; a gallery created with a key is encrypted.
        read_only: Never write to the gallery; works on read-only media.
        detector: Name of the detector, or an object that keeps the protocol ``FaceDetector``; None
            for the default.
        refiner: Name of the network that makes landmarks more exact; None for the default,
            ``none`` to work without it.
        orienter: Name of the network that detects turned faces; None for the default, ``none`` to
            treat all faces as upright.
        embedder: Name of the embedder, or an object that keeps the protocol ``FaceEmbedder``; None
            for the default.
        fmr: The false-match rate to decide at: the share of comparisons between two different
            people that may be taken for a match. None for 1e-4.
        fpir: The share of strangers that may be given a name by ``identify``, such as 0.01 (the
            false-positive identification rate). The false-match rate then follows the number of
            people in the gallery, and ``fmr`` cannot be given.
        review: How strictly photos are examined before they are enrolled: ``off``, ``standard``
            or ``strict``.
        any_quality: Treat every face as usable. Without it, faces that show too little to be
            recognized have ``Face.reasons``, are compared with nobody and never get a name.
        keep_crops: Keep the aligned face with each template, so that a later change of model needs
            no new photos.
        min_face: Smallest face wanted, in pixels; see ``Detector``.
        max_faces: The maximum number of faces of an image, the largest; None for all. A warning is
            logged where an image shows as many.
        max_pixels: Refuse larger images.
        max_bytes: Refuse picture files with more bytes.
        flip: Average embeddings over mirrored faces: slower, slightly more accurate.
        threads: CPU threads for the networks, in place of those of ``options``.
        options: What runs the networks, where, and in what precision; never silently anything
            else.

    Attributes:
        fmr: The false-match rate to decide at; for ``identify`` only where ``fpir`` is None.
        fpir: The share of strangers that ``identify`` may give a name, or None.
        model: The embedder's entry in the catalog, or the embedder object that was given.
        space: The embedding space of the embedder.
        crop_size: The side of aligned crops, in pixels.
        max_pixels: The largest image that is not refused.
        max_bytes: The largest file that is not refused.

    Raises:
        InputError: Two arguments contradict each other, or an object lacks a method.
        ModelNotFound: There is no embedder of this name.
        ModelError: The model of this name is no embedder.
    """

    def __init__(  # noqa: PLR0913 - a facade: each is a setting of the pipeline, all by keyword
        self,
        gallery: str | os.PathLike[str] | GalleryStore | None = None,
        *,
        key: Key | None = None,
        read_only: bool = False,
        detector: str | FaceDetector | None = None,
        refiner: str | None = None,
        orienter: str | None = None,
        embedder: str | FaceEmbedder | None = None,
        fmr: float | None = None,
        fpir: float | None = None,
        review: str = "standard",
        any_quality: bool = False,
        keep_crops: bool = False,
        min_face: float | None = None,
        max_faces: int | None = 500,
        max_pixels: int = MAX_PIXELS,
        max_bytes: int = MAX_BYTES,
        flip: bool = False,
        threads: int | None = None,
        options: RuntimeOptions = RuntimeOptions(),  # noqa: B008 - frozen
    ) -> None:
        _require_one_rate(fmr, fpir)
        _require_objects(gallery, detector, embedder)
        if _is_detector(detector) and not (refiner is orienter is None):
            raise InputError("refiner and orienter belong to a detector that is named, not given")
        if isinstance(embedder, FaceEmbedder) and flip:
            raise InputError("flip belongs to an embedder that is named, not given")
        if isinstance(gallery, GalleryStore) and key is not None:
            raise InputError("key belongs to a gallery that is named, not given")
        if max_faces is not None:
            require_count("max_faces", max_faces)
        require_count("max_pixels", max_pixels)
        require_count("max_bytes", max_bytes)
        if threads is not None:
            options = dataclasses.replace(options, threads=threads)
        self.fmr = _FMR if fmr is None else fmr
        self.fpir = fpir
        self.max_pixels = max_pixels
        self.max_bytes = max_bytes
        self.model, self.space, self.crop_size, quality = _facts_of(embedder)
        if isinstance(embedder, Embedder):
            flip = embedder.flip
        self._quality = quality
        self._detector_names = detector, refiner, orienter
        self._settings = min_face, max_faces, max_pixels, flip, options.precision
        self._source = gallery
        self._key = key
        self._read_only = read_only
        self._gallery: GalleryStore | None = None
        self._opening = threading.Lock()
        watch(self)
        open_detector = partial(
            Detector,
            detector if isinstance(detector, str) else None,
            refiner=refiner,
            orienter=orienter,
            min_face=min_face,
            max_faces=max_faces,
            options=options,
        )
        open_embedder = partial(
            Embedder,
            self.model if isinstance(self.model, ModelEntry) else None,
            flip=flip,
            options=options,
        )
        open_quality = partial(
            QualityNetwork, quality, options=RuntimeOptions(threads=options.threads)
        )
        self._analyzer = Analyzer(
            detector if _is_detector(detector) else open_detector,
            embedder if isinstance(embedder, FaceEmbedder) else open_embedder,
            open_quality if quality else None,
            size=self.crop_size,
            width=self.space.width,
            min_face=min_face,
            max_faces=max_faces,
            max_pixels=max_pixels,
            max_bytes=max_bytes,
            reduce=min_face is None,
            any_quality=any_quality,
        )
        self._enroller = Enroller(
            self._analyzer,
            self.model,
            review=review,
            keep_crops=keep_crops,
            gallery=self._existing,
            fmr=self._identification_fmr,
        )

    def __repr__(self) -> str:
        gallery = "no gallery" if self._source is None else f"gallery {_name_of(self._source)}"
        detector = _name_of(self._detector_names[0] or default_model("detect"))
        rate = f"fmr {self.fmr:g}" if self.fpir is None else f"fpir {self.fpir:g}"
        embedder = printable(self.model.name)
        return f"<FaceEngine {gallery}, detector {detector}, embedder {embedder}, {rate}>"

    @property
    def limits(self) -> Limits:
        """The arguments with which ``load_image`` loads pictures as this engine does."""
        return self._analyzer.limits

    # Faces

    def find(self, image: ImageSource) -> list[Face]:
        """Find the faces of an image, the largest first.

        Each has landmarks, quality, reasons and the aligned crop. ``Face.reasons`` are those that
        the facts give: what only an embedding tells, that a face is unclear or none at all,
        ``embed`` adds.

        Raises:
            ImageError: The image cannot be read.
            ModelError: The detector cannot be loaded, or failed.
        """
        return self._analyzer.find(self._analyzer.load(image))

    def embed(self, faces: Sequence[Face]) -> list[Face]:
        """Add the embeddings of faces that ``find`` found, and what these tell of their quality.

        The faces may be of several images; they are embedded together.

        Raises:
            InputError: A face has no crop.
            ModelError: The embedder cannot be loaded, or failed.
        """
        return self._analyzer.embed(faces)

    def locate(self, image: ImageSource) -> list[Face]:
        """Find only where the upright faces of an image are, the largest first: a quick look.

        Each has its box, its score and rough landmarks. It is for the frames of a video, in which
        most faces are known already; ``describe`` makes of them what ``find`` gives. Unlike
        ``find`` it does not look for faces that are turned.

        Raises:
            ImageError: The image cannot be read.
            ModelError: The detector cannot be loaded, or failed.
        """
        return self._analyzer.locate(self._analyzer.load(image))

    def describe(self, image: ImageSource, faces: Sequence[Face]) -> list[Face]:
        """Add exact landmarks, quality, reasons and crops to faces that ``locate`` found.

        A face that is turned by more than 60 degrees is unusable (``extreme_pose``): ``locate``
        looks for upright ones.

        Args:
            image: The same image.
            faces: Some or all of its faces.

        Raises:
            ImageError: The image cannot be read.
            ModelError: The detector cannot be loaded, or failed.
        """
        return self._analyzer.describe(self._analyzer.load(image), faces)

    def match(
        self,
        faces: Sequence[Face],
        *,
        fmr: float | None = None,
        fpir: float | None = None,
        top_k: int = 5,
        collage: bool = False,
    ) -> list[Face]:
        """Find out who the faces of one image are; each face gets its ``decision``.

        Args:
            faces: As ``embed`` or ``analyze`` gave them.
            fmr: The false-match rate to decide at; the engine's own by default.
            fpir: Instead of it, the share of strangers that may be given a name.
            top_k: The maximum number of candidates of each face.
            collage: The image may show a person several times.

        Raises:
            GalleryNotFound: Nobody was ever enrolled.
            InputError: A usable face has no embedding, or the model cannot promise the rate; the
                message says what it can.
            SpaceMismatch: The gallery was made with another model.
        """
        limit = self._limits(fmr, fpir)
        return self._match(self.gallery, list(faces), limit, top_k, collage=collage)

    def match_pooled(
        self,
        groups: Sequence[NDArray[np.float32]],
        *,
        decisions: Sequence[int] | None = None,
        fmr: float | None = None,
        fpir: float | None = None,
        top_k: int = 5,
    ) -> list[Decision]:
        """Find out who people are of whom there are several faces each, by one decision each.

        What is compared is the mean of a person's faces. The faces share the rate as the templates
        do, see ``facekeep.threshold``. Nobody is kept from matching twice.

        Args:
            groups: The embeddings of usable faces, float32 ``(k, d)`` of unit length, for each.
            decisions: The number of the decision on each, from 1; None: the first. Deciding again,
                by more faces, is another chance to err, for which the threshold rises.
            fmr: The false-match rate to decide at; the engine's own by default.
            fpir: Instead of it, the share of strangers that may be given a name.
            top_k: The maximum number of candidates of each.

        Raises:
            GalleryNotFound: Nobody was ever enrolled.
            InputError: A group has no faces, or the model cannot promise the rate.
            SpaceMismatch: The gallery was made with another model.
        """
        require_count("top_k", top_k)
        if not all(len(group) for group in groups):
            raise InputError("a group without faces cannot be compared")
        if not groups:
            return []
        gallery = self.gallery
        people = gallery.count()
        means = np.stack([group.mean(axis=0) for group in groups])
        means /= np.linalg.norm(means, axis=1, keepdims=True)
        hits = gallery.search(means, max(top_k, CANDIDATES))
        numbers = [1] * len(groups) if decisions is None else decisions
        limits = [
            partial(self._limits(fmr, fpir, faces=len(group), decisions=number), people)
            for group, number in zip(groups, numbers, strict=True)
        ]
        return [
            decide(found, limit, people, top_k) for found, limit in zip(hits, limits, strict=True)
        ]

    def detect(self, image: ImageSource) -> list[Face]:
        """Find the faces of an image as ``find`` does, without their crops."""
        return [face.replace(crop=None) for face in self.find(image)]

    def analyze(self, image: ImageSource) -> list[Face]:
        """Find the faces of an image and embed them; the crops are not kept."""
        return next(self.analyze_batch([image]))

    def analyze_batch(self, images: Iterable[ImageSource]) -> Iterator[list[Face]]:
        """Do the same for many images: yields a list for each, in order, at constant memory.

        Faces of several images are embedded together. An image that cannot be read ends the run
        with its error; those before it have been yielded.
        """
        return self._analyzer.analyze(images)

    def with_reasons(self, faces: Iterable[Face]) -> list[Face]:
        """Fill in the reasons of faces that were analyzed before, perhaps by another setting."""
        return self._analyzer.with_reasons(faces)

    def embed_crops(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Embed aligned crops; see ``Embedder.embed``."""
        return self._analyzer.embed_crops(crops)

    def verify(
        self,
        first: ImageSource,
        second: ImageSource,
        *,
        fmr: float | None = None,
        any_pair: bool = False,
    ) -> Verification:
        """Decide whether two images show the same person.

        An image without a face, or with an unusable one, is no error but a failed comparison:
        ``match`` is False, ``similarity`` None.

        Args:
            first: An image; of several faces the largest is compared.
            second: Another.
            fmr: The false-match rate to decide at; the engine's own by default.
            any_pair: Compare every face of one image with every face of the other, and decide by
                the most similar pair. Many pairs are many chances to err, so that the threshold
                rises with them: the rate holds for the two images as a whole.

        Raises:
            ImageError: An image cannot be read.
            InputError: The model promises no such rate, or not for so many pairs.
        """
        rate = self.threshold(fmr).fmr

        def limit(pairs: int) -> Threshold:
            return threshold_of_pairs(self.model, rate, pairs)

        faces = list(self.analyze_batch([first, second]))
        return compare(faces[0], faces[1], limit, any_pair=any_pair)

    def threshold(
        self,
        fmr: float | None = None,
        *,
        fpir: float | None = None,
        people: int | None = None,
        templates: int = 1,
        faces: int = 1,
        decisions: int = 1,
    ) -> Threshold:
        """Return the cosine to decide by, at the engine's own rate by default.

        Args:
            fmr: The false-match rate.
            fpir: The share of strangers that may get a name, among ``people``.
            people: With how many people a face is compared: the threshold of an identification,
                which may follow an FPIR. None for a comparison of two faces.
            templates: How many templates the person has whom a face is compared with; against
                several the threshold is higher, see ``facekeep.threshold``.
            faces: Of how many faces of one person the mean is compared; it is higher for several,
                too.
            decisions: The number of the decision on this person, from 1; it rises with it, too.

        Raises:
            InputError: Both rates are given, or the model cannot promise the rate.
            ModelError: The model was never calibrated.
        """
        _require_one_rate(fmr, fpir)
        share = self.fpir if fmr is None and fpir is None else fpir
        if people is not None:
            require_count("people", people, 0)
        if people is not None and share is not None:
            return threshold_among(
                self.model, share, people, templates=templates, faces=faces, decisions=decisions
            )
        rate = self.fmr if fmr is None else fmr
        return threshold(self.model, rate, templates=templates, faces=faces, decisions=decisions)

    # People

    @property
    def gallery(self) -> GalleryStore:
        """The gallery, opened; GalleryNotFound when nobody was enrolled yet."""
        return self._open(create=False)

    @property
    def fingerprint(self) -> str:
        """A digest of all that decides what ``analyze`` finds in an image: models and settings.

        What was found once need not be looked for again while the fingerprint is the same. That of
        a detector object without an attribute ``fingerprint`` is another one in each process.
        """
        detector, refiner, orienter = self._detector_names
        helpers = chosen_entry(refiner, "refine"), chosen_entry(orienter, "orient")
        quality = entry(self._quality) if self._quality else None
        if _is_detector(detector):
            files = [str(getattr(detector, "fingerprint", _UNKNOWN_DETECTOR))]
            models = [quality]
        else:
            files = []
            models = [
                entry(cast("str | None", detector) or default_model("detect")),
                *helpers,
                quality,
            ]
        files += [file.published for model in models if model is not None for file in model.files]
        parts = [_PIPELINE, files, self.space.id, self._settings]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def enroll(
        self,
        name: str,
        images: ImageSource | Sequence[ImageSource],
        *,
        metadata: Mapping[str, Any] | None = None,
        consent: Consent | None = None,
        retain_until: datetime | None = None,
        largest: bool = False,
        new_person: bool = False,
    ) -> Enrollment:
        """Enroll a person from photos, one template for each that passes the review.

        All accepted photos are stored at once, or none. A photo whose bytes were enrolled for this
        person before is not stored twice. Unless the review is off, photos must show one person,
        and the same as the person's templates: an odd one is rejected as ``inconsistent_identity``,
        and all of them are where most disagree.

        Args:
            name: The person; an existing one gains templates.
            images: One or more photos with the person as the main face.
            metadata: Your own facts about the person.
            consent: On what ground the person is enrolled.
            retain_until: When ``Gallery.purge`` shall erase the person.
            largest: Take the largest face of a photo, though others compete with it.
            new_person: The person is none of the others who are enrolled, however alike in face
                or name.

        Raises:
            NameConflict: Somebody's name looks like this one, but is not the same.
            ImageError: None of the photos can be read. When only some cannot, they are among the
                rejected.
            InputError: No photo was given, or the model promises no such rate as ``fmr``.
            ModelError: The model was never calibrated, and ``review`` is not ``off``.
        """
        name = self._stored_name(name, new_person=new_person)
        sources: list[Any] = list(images) if isinstance(images, list | tuple) else [images]
        if not sources:
            raise InputError(f"there is nothing to enroll {name} from: give at least one photo")
        require_threshold(self._enroller.policy, self.threshold)
        accepted, rejected = self._enroller.examine(
            name, sources, largest=largest, new_person=new_person
        )
        person = None
        if accepted:
            person = self._open(create=True).enroll(
                name,
                [each.template for each in accepted],
                metadata=metadata,
                consent=consent,
                retain_until=retain_until,
                new_person=new_person,
            )
        chosen = tuple(each.chosen for each in accepted if each.chosen.faces > 1)
        return Enrollment(name, len(accepted), tuple(rejected), person, chosen)

    def refuse(self, name: str, image: ImageSource, *, largest: bool = False) -> Person:
        """Remember that the main face of an image is *not* this person.

        The person is passed over for faces that are at least as similar to it as to the person.

        Args:
            name: The person.
            image: The image.
            largest: Take the largest face, though others compete with it.

        Raises:
            ImageError: The image cannot be read, or shows no usable face, or several that compete.
            InputError: The face is one that the person is enrolled with.
            PersonNotFound: There is no such person.
        """
        gallery = self.gallery
        name = gallery.person(name).name
        template = self._enroller.make_negative(name, image, largest=largest)
        return gallery.enroll(name, [template])

    def identify(
        self,
        image: ImageSource,
        *,
        fmr: float | None = None,
        fpir: float | None = None,
        top_k: int = 5,
        collage: bool = False,
    ) -> list[Face]:
        """Find out who the people in an image are; each face gets its ``decision``.

        An unusable face is compared with nobody. Of several faces that match one person only the
        most similar gets the name.

        Args:
            image: The image.
            fmr: The false-match rate to decide at; the engine's own by default.
            fpir: Instead of it, the share of strangers that may be given a name.
            top_k: How many candidates to report for each face.
            collage: The image may show a person several times.

        Raises:
            GalleryNotFound: Nobody was ever enrolled.
            InputError: The model cannot promise the rate; the message says what it can.
            SpaceMismatch: The gallery was made with another model.
        """
        return next(self.identify_batch([image], fmr=fmr, fpir=fpir, top_k=top_k, collage=collage))

    def identify_batch(
        self,
        images: Iterable[ImageSource],
        *,
        fmr: float | None = None,
        fpir: float | None = None,
        top_k: int = 5,
        collage: bool = False,
    ) -> Iterator[list[Face]]:
        """Do the same for many images; see ``analyze_batch``."""
        gallery = self.gallery
        limit = self._limits(fmr, fpir)
        limit(gallery.count(), 1)  # what cannot be promised fails before any photo is read
        for faces in self.analyze_batch(images):
            yield self._match(gallery, faces, limit, top_k, collage=collage)

    # Life

    def share_networks(self, other: FaceEngine) -> None:
        """Use, from now on, the networks of another engine whose settings are the same.

        Of two engines for two galleries, only one then holds networks in memory. What closes one
        closes the networks of both; they are opened again when they are needed.
        """
        self._analyzer = other._analyzer
        self._enroller.analyzer = other._analyzer

    def close(self) -> None:
        """Let go of networks and gallery; they are opened again if the engine is used again.

        Objects that the engine was given stay open.
        """
        self._analyzer.close()
        with self._opening:
            if isinstance(self._gallery, Gallery) and self._gallery is not self._source:
                self._gallery.close()
            self._gallery = None

    def after_fork(self, *, child: bool) -> None:
        """Forget, in the child, which thread of the parent was opening the gallery."""
        if child:
            self._opening = threading.Lock()

    # Steps

    def _open(self, *, create: bool) -> GalleryStore:
        source = self._source
        with self._opening:
            if self._gallery is None:
                if source is None:
                    raise GalleryNotFound("this engine has no gallery: give FaceEngine one")
                if isinstance(source, GalleryStore):
                    _require_space(source.space, self.space)
                    self._gallery = source
                else:
                    self._gallery = Gallery.open(
                        source,
                        space=self.space,
                        key=self._key,
                        create=create and not self._read_only,
                        read_only=self._read_only,
                    )
            if create and self._read_only and self._gallery is source:
                raise GalleryReadOnly("this engine only reads its gallery: open it to write")
            return self._gallery

    def _existing(self) -> GalleryStore | None:
        """The gallery, or None before the first enrollment."""
        path = self._source
        if self._gallery is None and isinstance(path, str | os.PathLike):
            return self.gallery if os.path.lexists(path) else None
        return self.gallery

    def _stored_name(self, name: str, *, new_person: bool) -> str:
        """The name of somebody enrolled, or else the one that a new person gets."""
        gallery = self._existing()
        return gallery.name_for(name, new_person=new_person) if gallery else new_name(name)

    def _limits(
        self, fmr: float | None, fpir: float | None = None, *, faces: int = 1, decisions: int = 1
    ) -> Callable[[int, int], Threshold]:
        """What to decide by among so many people, for a person of so many templates."""
        return lambda people, templates: self.threshold(
            fmr, fpir=fpir, people=people, templates=templates, faces=faces, decisions=decisions
        )

    def _identification_fmr(self, people: int) -> float:
        return self.fmr if self.fpir is None else fmr_among(self.fpir, people)

    def _match(
        self,
        gallery: GalleryStore,
        faces: list[Face],
        limit: Callable[[int, int], Threshold],
        top_k: int,
        *,
        collage: bool,
    ) -> list[Face]:
        require_count("top_k", top_k)
        if not faces:
            return faces
        people = gallery.count()
        limit_of = partial(limit, people)
        usable = [face for face in faces if face.usable]
        rows = [face.embedding for face in usable if face.embedding is not None]
        if len(rows) < len(usable):
            raise InputError("a face without an embedding cannot be compared: embed it first")
        hits = iter(gallery.search(np.stack(rows), max(top_k, CANDIDATES)) if rows else ())
        decisions = [
            decide(next(hits), limit_of, people, top_k)
            if face.usable
            else leave_unnamed(limit_of(1), people)
            for face in faces
        ]
        if not collage:
            decisions = once_each(decisions)
        return [face.replace(decision=each) for face, each in zip(faces, decisions, strict=True)]


def _require_one_rate(fmr: float | None, fpir: float | None) -> None:
    if fmr is not None and fpir is not None:
        raise InputError("fmr and fpir are two ways to say how often to err: give one of them")
    if fmr is not None:
        require_rate("a false-match rate", fmr, "1e-4")
    if fpir is not None:
        require_rate("the share of strangers", fpir, "0.01")


def _require_objects(gallery: object, detector: object, embedder: object) -> None:
    """Refuse objects that lack what the engine calls, before anything is asked of them."""
    for name, value, known, protocol in (
        ("gallery", gallery, str | os.PathLike, GalleryStore),
        ("detector", detector, str, FaceDetector),
        ("embedder", embedder, str, FaceEmbedder),
    ):
        if value is not None and not isinstance(value, known) and not isinstance(value, protocol):
            kind = "path" if name == "gallery" else "name"
            raise InputError(
                f"{name} must be a {kind} or keep the protocol {protocol.__name__}, which"
                f" {type(value).__name__} does not"
            )


def _name_of(part: object) -> str:
    """Name a part of the engine: a path or the name of a model, or the class of an object."""
    return printable(part) if isinstance(part, str | os.PathLike) else type(part).__name__


def _is_detector(detector: str | FaceDetector | None) -> TypeGuard[FaceDetector]:
    """Tell an object from a name: a text has a method ``find``, too."""
    return not isinstance(detector, str) and isinstance(detector, FaceDetector)


def _require_space(stored: Space, own: Space) -> None:
    if stored.id != own.id:
        raise SpaceMismatch(
            f"the gallery holds templates of the model {stored.model}, which cannot be compared "
            f"with those of {own.model}: use that model, or migrate the gallery"
        )


def _facts_of(embedder: str | FaceEmbedder | None) -> tuple[Calibrated, Space, int, str]:
    """Return what is known of an embedder before it is opened.

    Returns:
        What has its thresholds, its space, the size of its crops, and the name of the model that
        detects unusable faces by its embeddings, or nothing.
    """
    if isinstance(embedder, FaceEmbedder) and not isinstance(embedder, Embedder):
        space = Space(embedder.space, embedder.name, embedder.width)
        return embedder, space, embedder.size, ""
    model = embedder.entry if isinstance(embedder, Embedder) else _find_embedder(embedder)
    space = Space(space_id(model), model.name, model.width or 0)
    return model, space, model.input_size or 112, model.quality


def _find_embedder(name: str | None) -> ModelEntry:
    """Find the model that recognizes faces, before anything is asked of it."""
    model = entry(name or default_model("embed"))
    if model.task != "embed":
        raise ModelError(
            f"{model.name} is a model to {model.verb}, not to embed, faces",
            "list_models",
        )
    return model
