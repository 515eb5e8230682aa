"""The types that a gallery takes and gives back, and the checks on what comes in."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from facekeep._internal.files import one_line
from facekeep.errors import InputError
from facekeep.types import round_number

__all__ = [
    "MAX_CROP_BYTES",
    "MAX_METADATA_BYTES",
    "MAX_METADATA_DEPTH",
    "MAX_NAME_CHARS",
    "MAX_SOURCE_CHARS",
    "AuditEntry",
    "Consent",
    "Finding",
    "FindingKind",
    "GalleryInfo",
    "Hit",
    "Imported",
    "NewTemplate",
    "OnConflict",
    "Person",
    "Space",
    "Template",
    "clean_metadata",
    "clean_name",
    "clean_template",
    "clean_text",
    "clean_vectors",
    "from_stamp",
    "is_unit",
    "now_stamp",
    "parse_json_object",
    "to_stamp",
]

MAX_NAME_CHARS = 200
MAX_SOURCE_CHARS = 4096
MAX_METADATA_BYTES = 64 * 1024
MAX_CROP_BYTES = 1024 * 1024
MAX_METADATA_DEPTH = 64
_UNIT_TOLERANCE = 1e-3
_STRINGS = re.compile(r'"(?:[^"\\]|\\.)*"')
_BRACKETS = re.compile(r"[\[\]{}]")

OnConflict = Literal["error", "merge", "rename", "skip"]
FindingKind = Literal["structure", "template", "person", "audit", "key", "unsigned", "erasure"]


@dataclass(frozen=True, slots=True)
class Space:
    """An embedding space: only vectors of one space may be compared.

    Attributes:
        id: Hexadecimal digest of the model's weights and preprocessing.
        model: The model's name, for people.
        width: Number of dimensions.
    """

    id: str
    model: str
    width: int

    def __post_init__(self) -> None:
        clean_text(self.id, "the id of an embedding space", limit=200)
        clean_text(self.model, "the model of an embedding space", limit=200)
        if isinstance(self.width, bool) or not isinstance(self.width, int) or self.width < 1:
            raise InputError(f"an embedding space needs a width of 1 or more, not {self.width!r}")


@dataclass(frozen=True, slots=True)
class Consent:
    """On what ground a person's templates are kept, and since when.

    Attributes:
        basis: The ground in words, such as "signed form 12/2025".
        given_at: When it was given; a datetime with a time zone.
    """

    basis: str
    given_at: datetime


@dataclass(frozen=True, slots=True, eq=False)
class NewTemplate:
    """A template to be enrolled.

    Attributes:
        vector: float32 ``(d,)`` of unit length.
        quality: How well suited the face was, 0 to 1, where it was measured.
        source: Where it came from, such as the file's name and digest.
        crop: The encoded aligned crop, where it is to be kept.
        negative: True for "this is not the person".
    """

    vector: NDArray[np.float32]
    quality: float | None = None
    source: str | None = None
    crop: bytes | None = None
    negative: bool = False


@dataclass(frozen=True, slots=True)
class Template:
    """Facts about a stored template; its vector and crop are asked for separately."""

    id: str
    person_id: str
    negative: bool
    quality: float | None
    source: str | None
    has_crop: bool
    created_at: datetime

    def to_dict(self) -> dict[str, Any]:
        """Return all but the person, for JSON."""
        return {
            "id": self.id,
            "negative": self.negative,
            "quality": None if self.quality is None else round_number(self.quality),
            "source": self.source,
            "crop": self.has_crop,
            "created_at": self.created_at.isoformat(),
        }


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who is enrolled.

    Attributes:
        id: UUID; stays the same when the person is renamed.
        name: Unique in the gallery; in Unicode's NFC form, without outer white space.
        created_at: When the person was first enrolled (UTC).
        metadata: The owner's own facts, as JSON types.
        consent: The ground on which the templates are kept, where it was recorded.
        retain_until: When the person is to be erased by ``purge``, where that was set (UTC).
        template_count: Number of templates that show the person.
        templates: Facts about each template, oldest first; None in a listing.
        negative_count: Number of "this is not the person" templates.
    """

    id: str
    name: str
    created_at: datetime
    metadata: dict[str, Any]
    consent: Consent | None
    retain_until: datetime | None
    template_count: int
    templates: tuple[Template, ...] | None = None
    negative_count: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Return all that is known of the person, for JSON; ``templates`` where they are known."""
        document: dict[str, Any] = {
            "name": self.name,
            "id": self.id,
            "created_at": self.created_at.isoformat(),
            "template_count": self.template_count,
            "negative_count": self.negative_count,
            "metadata": self.metadata,
            "consent": self.consent
            and {"basis": self.consent.basis, "given_at": self.consent.given_at.isoformat()},
            "retain_until": self.retain_until and self.retain_until.isoformat(),
        }
        if self.templates is not None:
            document["templates"] = [each.to_dict() for each in self.templates]
        return document


@dataclass(frozen=True, slots=True)
class Hit:
    """A person a probe resembles.

    Attributes:
        person_id: The person's UUID.
        name: The person's name.
        similarity: Cosine, -1 to 1, to the mean of the person's templates.
        template_id: The person's template that is most like the probe.
        templates: How many templates the person has, negative ones not counted.
        negative_similarity: Cosine to the most similar "this is not the person" template, or None
            where there is none.
    """

    person_id: str
    name: str
    similarity: float
    template_id: str
    templates: int
    negative_similarity: float | None

    @property
    def refused(self) -> bool:
        """Whether the probe is at least as similar to what is known not to be the person."""
        return self.negative_similarity is not None and self.negative_similarity >= self.similarity


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """A line of the audit table; it never holds a name or anything biometric."""

    id: int
    at: datetime
    action: str
    person_id: str | None
    detail: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Return the attributes by name, for JSON."""
        return {**asdict(self), "at": self.at.isoformat(timespec="seconds")}


@dataclass(frozen=True, slots=True)
class Finding:
    """Something ``check`` found wrong.

    Attributes:
        kind: ``structure``, ``template``, ``person``, ``audit``, ``key``, ``unsigned`` (changed
            without the key) or ``erasure``.
        message: One line for people.
        id: UUID of the template or person concerned, where there is one.
    """

    kind: FindingKind
    message: str
    id: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the attributes by name, for JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class GalleryInfo:
    """Facts about a gallery.

    Attributes:
        path: Where the gallery stands.
        id: UUID given at creation.
        version: Version of the file's schema.
        space: The embedding space of its templates.
        encrypted: Whether vectors and crops are encrypted.
        created_at: When it was created (UTC).
        people: Number of people.
        templates: Number of templates, negative ones included.
        negatives: Number of "this is not" templates.
        crops: Number of templates whose crop was kept.
        expired: Number of people whose ``retain_until`` has passed.
        size: Bytes on disk, write-ahead log included.
        erasure_pending: True while erased data may still lie in the file (see ``compact``).
    """

    path: Path
    id: str
    version: int
    space: Space
    encrypted: bool
    created_at: datetime
    people: int
    templates: int
    negatives: int
    crops: int
    expired: int
    size: int
    erasure_pending: bool

    def to_dict(self) -> dict[str, Any]:
        """Return the attributes by name, for JSON."""
        facts = {"path": str(self.path), "created_at": self.created_at.isoformat()}
        return asdict(self) | facts


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import did.

    Attributes:
        added: Number of people who are new.
        merged: Number of people whose templates went to somebody of the same name.
        skipped: Number of people left out because their name was taken.
        templates: Number of templates added.
    """

    added: int
    merged: int
    skipped: int
    templates: int


def clean_text(text: object, what: str, *, limit: int) -> str:
    """Return ``text`` in NFC form without outer white space; it must be printable and not empty."""
    if not isinstance(text, str):
        raise InputError(f"{what} must be text, not {type(text).__name__}")
    clean = unicodedata.normalize("NFC", text).strip()
    if not clean:
        raise InputError(f"{what} must not be empty")
    if len(clean) > limit:
        raise InputError(f"{what} is {len(clean)} characters long; the limit is {limit}")
    if any(unicodedata.category(character) in {"Cc", "Cs", "Zl", "Zp"} for character in clean):
        raise InputError(f"{what} holds characters that cannot be printed: {clean[:50]!a}")
    return clean


def clean_name(name: object) -> str:
    """Return a person's name as it is stored."""
    return clean_text(name, "a person's name", limit=MAX_NAME_CHARS)


def clean_metadata(metadata: object) -> str:
    """Return a person's metadata as JSON text."""
    if not isinstance(metadata, Mapping) or not all(isinstance(key, str) for key in metadata):
        raise InputError("metadata must be a mapping from text to JSON values")
    try:
        text = json.dumps(dict(metadata), ensure_ascii=False, allow_nan=False, sort_keys=True)
        size = len(text.encode())
        if size <= MAX_METADATA_BYTES:
            parse_json_object(text)
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(f"metadata must be plain JSON values: {one_line(error)}") from error
    if size > MAX_METADATA_BYTES:
        raise InputError(f"metadata takes {size} bytes; the limit is {MAX_METADATA_BYTES}")
    return text


def parse_json_object(text: str) -> dict[str, Any]:
    """Return the object of stored JSON text; ValueError unless it can be printed as JSON again.

    NaN, numbers beyond float64, lone surrogates and more than ``MAX_METADATA_DEPTH`` levels are
    refused.
    """
    if _depth(text) > MAX_METADATA_DEPTH:
        raise ValueError(f"nested deeper than {MAX_METADATA_DEPTH} levels")
    try:
        record = json.loads(text, parse_constant=_refuse_constant, parse_float=_parse_float)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if type(record) is not dict:
        raise ValueError("not a JSON object")
    if "\\u" in text:
        json.dumps(record, ensure_ascii=False).encode()  # UnicodeEncodeError at a lone surrogate
    return record


def _depth(text: str) -> int:
    """Return an upper bound of the levels of JSON text, or their number where that is high."""
    if text.count("[") + text.count("{") <= MAX_METADATA_DEPTH:
        return 1
    level = deepest = 0
    for bracket in _BRACKETS.findall(_STRINGS.sub("", text)):
        level += 1 if bracket in "[{" else -1
        deepest = max(deepest, level)
    return deepest


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def _parse_float(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise ValueError("a number is too large")
    return value


def clean_vectors(vectors: object, width: int, what: str) -> NDArray[np.float32]:
    """Return ``vectors`` ``(n, width)`` as contiguous float32 after checking shape and length."""
    array = _to_array(vectors, what)
    if array.dtype.kind != "f" or array.ndim != 2 or array.shape[1] != width:
        raise InputError(
            f"{what} must be float32 of shape (n, {width}), not {array.dtype} {array.shape}"
        )
    array = np.ascontiguousarray(array, dtype="<f4")
    if not is_unit(array):
        raise InputError(f"{what} must be finite and of unit length: normalize the embedding")
    return array


def _to_array(values: object, what: str) -> NDArray[Any]:
    try:
        return np.asarray(values)
    except ValueError as error:
        raise InputError(f"{what} must be an array of numbers: {one_line(error)}") from error


def is_unit(array: NDArray[np.float32]) -> bool:
    """Whether every row is finite and of unit length within one part in a thousand."""
    lengths = np.sqrt(np.einsum("ij,ij->i", array, array))
    return bool(np.all(np.abs(lengths - 1.0) <= _UNIT_TOLERANCE))


def clean_template(new: NewTemplate, width: int) -> NewTemplate:
    """Return ``new`` with every field checked and in the form that is stored."""
    vector = _to_array(new.vector, "a template's vector")
    if vector.ndim != 1:
        raise InputError(f"a template's vector must be of shape ({width},), not {vector.shape}")
    if not isinstance(new.negative, bool):
        raise InputError("a template's negative mark must be True or False")
    return NewTemplate(
        vector=clean_vectors(vector[None], width, "a template's vector")[0],
        quality=_clean_quality(new.quality),
        source=None
        if new.source is None
        else clean_text(new.source, "a template's source", limit=MAX_SOURCE_CHARS),
        crop=_clean_crop(new.crop),
        negative=new.negative,
    )


def _clean_quality(quality: object) -> float | None:
    if quality is None:
        return None
    if isinstance(quality, bool) or not isinstance(quality, int | float | np.floating):
        raise InputError(f"a template's quality must be a number, not {type(quality).__name__}")
    if not np.isfinite(quality):
        raise InputError(f"a template's quality must be finite, not {quality}")
    return float(quality)


def _clean_crop(crop: object) -> bytes | None:
    if crop is None:
        return None
    if not isinstance(crop, bytes) or not 0 < len(crop) <= MAX_CROP_BYTES:
        raise InputError(f"a template's crop must be 1 to {MAX_CROP_BYTES} bytes of encoded image")
    return crop


def to_stamp(moment: object, what: str) -> str:
    """Return a datetime with a time zone as UTC text that sorts by time."""
    if not isinstance(moment, datetime) or moment.tzinfo is None:
        raise InputError(f"{what} must be a datetime with a time zone, not {moment!r}")
    try:
        return moment.astimezone(UTC).isoformat(timespec="microseconds")
    except OverflowError as error:
        raise InputError(f"{what} lies outside the calendar: {moment!r}") from error


def from_stamp(text: str) -> datetime:
    """Return the datetime of a stored stamp; ValueError or TypeError where it is none."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"no time zone in {text!r}")
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError(f"{text!r} lies outside the calendar") from None


def now_stamp() -> str:
    """Return the present time as a stamp."""
    return to_stamp(datetime.now(UTC), "the present")
