"""Every error facekeep raises on purpose: what happened, why, and how to mend it.

Each class carries ``kind``, a stable word for programs. The message is one line for people. It
names no option and no command of a program: those are for the program to add, by the error's
``hint``. Anything that is not a ``FacekeepError`` is a bug.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class Hint:
    """What a program may add to a message: the option or the command that helps.

    Attributes:
        key: What is meant: the name of an argument or setting, such as ``max_bytes``, or a word of
            the table in ``facekeep.cli.hints``.
        facts: What fills that text in, by name.
    """

    key: str
    facts: Mapping[str, object] = field(default_factory=dict)


class FacekeepError(Exception):
    """The root of all errors that facekeep raises on purpose.

    Args:
        message: What happened, why, and how to mend it, in one line.
        hint: What a program may add; a text is the key of a ``Hint`` without facts.
    """

    kind: ClassVar[str] = "error"

    def __init__(self, message: str = "", hint: str | Hint | None = None) -> None:
        super().__init__(message)
        self.hint = Hint(hint) if isinstance(hint, str) else hint


class InputError(FacekeepError):
    """An argument is of the wrong type, shape, range or form."""

    kind = "input"


class ConfigError(InputError):
    """A configuration file or environment variable cannot be used."""

    kind = "config"


class DependencyError(FacekeepError):
    """A library that facekeep needs is not there, or cannot be loaded."""

    kind = "dependency"


class ImageError(FacekeepError):
    """A picture cannot be read: missing, empty, truncated, not a picture, too large."""

    kind = "image"


class CameraError(FacekeepError):
    """A camera or video cannot be opened or read, or was given up; never names a password."""

    kind = "camera"


class EventLogError(FacekeepError):
    """The event log cannot be opened, read or written."""

    kind = "event_log"


class SinkError(FacekeepError):
    """A sink did not take an event; it gets it again later.

    Attributes:
        retry_after: Seconds to wait before that, where the sink said so.
    """

    kind = "sink"

    def __init__(self, message: str = "", *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class SinkRefused(SinkError):
    """A sink did not take an event and never will."""

    kind = "sink_refused"


class ModelError(FacekeepError):
    """A model cannot be used; the base of the model errors."""

    kind = "model"


class ModelNotFound(ModelError):
    """No catalog entry has this name, or its files are not on this machine."""

    kind = "model_not_found"


class ModelCorrupt(ModelError):
    """A weight file has another digest than its catalog entry, or is not a usable network."""

    kind = "model_corrupt"


class PullError(ModelError):
    """A model could not be fetched: refused, cut off, or its digest is wrong."""

    kind = "pull"


class RuntimeUnavailable(ModelError):
    """The runtime or device that was asked for does not exist here. There is no silent fallback."""

    kind = "runtime"


class SpaceMismatch(FacekeepError):
    """Templates and probes come from different embedding spaces and must not be compared.

    Attributes:
        model: Name of the model that the gallery's templates come from, where it is known.
    """

    kind = "space_mismatch"

    def __init__(self, message: str = "", *, model: str | None = None) -> None:
        super().__init__(message)
        self.model = model


class GalleryError(FacekeepError):
    """A gallery cannot be used; the base of the gallery errors."""

    kind = "gallery"


class GalleryNotFound(GalleryError):
    """There is no gallery at this path."""

    kind = "gallery_not_found"


class GalleryCorrupt(GalleryError):
    """The file is damaged, or it is not a facekeep gallery.

    Attributes:
        person: Name of the person whose facts are damaged, where it is one person's.
    """

    kind = "gallery_corrupt"

    def __init__(self, message: str = "", *, person: str | None = None) -> None:
        super().__init__(message)
        self.person = person


class NotAGallery(GalleryCorrupt):
    """The file is something else than a facekeep gallery."""


class GalleryVersion(GalleryError):
    """The gallery was written by a newer facekeep."""

    kind = "gallery_version"


class GalleryBusy(GalleryError):
    """Another program kept the gallery locked for longer than the time-out."""

    kind = "gallery_busy"


class GalleryReadOnly(GalleryError):
    """The gallery, or the folder it stands in, cannot be written."""

    kind = "gallery_read_only"


class StorageFull(FacekeepError):
    """The disk, or the file-size limit, leaves no room to write; nothing was half written."""

    kind = "storage_full"


class GalleryKeyError(GalleryError):
    """The key of an encrypted gallery is missing, malformed or wrong."""

    kind = "key"


class GalleryKeyMissing(GalleryKeyError):
    """The gallery is encrypted and no key was given."""


class ExportKeyMissing(GalleryKeyError):
    """The export file is encrypted and no key was given."""


class TemplateTampered(GalleryError):
    """A stored template fails its authentication: it was changed outside facekeep.

    Attributes:
        person: Name of the person whose template it is, where it is known.
        template_id: UUID of the template, where the person has others.
    """

    kind = "template_tampered"

    def __init__(
        self, message: str = "", *, person: str | None = None, template_id: str | None = None
    ) -> None:
        super().__init__(message)
        self.person = person
        self.template_id = template_id


class PersonNotFound(GalleryError):
    """The gallery has no person of this name."""

    kind = "person_not_found"


class PersonExists(GalleryError):
    """The gallery already has a person of this name."""

    kind = "person_exists"


class NameConflict(PersonExists):
    """The gallery has a person whose name looks the same, and nobody said it is somebody else."""

    kind = "name_conflict"


class ExportInvalid(GalleryError):
    """An export file is damaged, incomplete or of an unknown version."""

    kind = "export_invalid"
