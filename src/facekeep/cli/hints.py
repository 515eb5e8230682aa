"""What the command line adds to messages of the library: the option or the command that helps."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from facekeep.errors import (
    ConfigError,
    ExportKeyMissing,
    FacekeepError,
    GalleryCorrupt,
    GalleryKeyMissing,
    Hint,
    NameConflict,
    NotAGallery,
    PersonExists,
    PersonNotFound,
    SpaceMismatch,
    TemplateTampered,
)

if TYPE_CHECKING:
    from facekeep.gallery import Finding
    from facekeep.pipeline.enrollment import Rejection

__all__ = [
    "TEXTS",
    "add_hint",
    "explain_error",
    "explain_finding",
    "explain_rejection",
    "first_enroll",
]

TEXTS: Final[Mapping[str, str]] = {
    "cache_clear": "run: facekeep cache clear",
    "align": "run: facekeep align PHOTOS --out FACES, then say --aligned",
    "cut_faces": "run: facekeep align PHOTOS --out FACES",
    "calibrate": "run: facekeep evaluate calibrate PEOPLE --model {model}",
    "compact": "run: facekeep gallery compact",
    "config_example": "facekeep config example shows all settings",
    "config_show": "see: facekeep config show",
    "data_or_packed": "--data, or --mode packed",
    "enroll_creates": "facekeep enroll creates it",
    "erase_person": "run: facekeep people remove {name}",
    "erase_template": "run: facekeep people remove {name} --template {template}",
    "export_key": "name it with --file-key file:PATH",
    "gallery_key": "name it with --key file:PATH or FACEKEEP_KEY",
    "fine_tune_writes_rounding": "facekeep compress quantize --fine-tune writes it",
    "import_again": "run: facekeep models remove {model}, then facekeep models import FILE --name"
    " {model}",
    "import_checkpoint": "run: facekeep models import FILE --name NAME --arch ARCH",
    "list_models": "see: facekeep models list",
    "list_people": "see: facekeep people list",
    "mixed_precision": "--min-cosine, --max-tar-loss, --fine-tune, or --mode packed",
    "mode_packed": "--mode packed",
    "merge": "run: facekeep people merge NAME OTHER",
    "pull": "run: facekeep models pull {model}",
    "pull_from": "run: facekeep models pull {model} --from FILE",
    "rekey": "run: facekeep gallery rekey",
    "restore": "run: facekeep gallery restore COPY",
    "skip_checks": "--review off",
    "take_back": "run: facekeep people remove NAME --template ID",
    "other_model": "name it with --embedder {model}, "
    "or run: facekeep gallery migrate --embedder NAME",
}
"""Hints that are more than the name of an option."""

_OF_ERRORS: Final[Mapping[type[FacekeepError], str]] = {
    ExportKeyMissing: "export_key",
    GalleryCorrupt: "restore",
    GalleryKeyMissing: "gallery_key",
    NameConflict: "new_person",
    NotAGallery: "gallery",
    PersonExists: "merge",
    PersonNotFound: "list_people",
}
_OF_FINDINGS: Final[Mapping[str, str]] = {
    "erasure": "compact",
    "key": "gallery_key",
    "unsigned": "rekey",
}
_OF_REJECTIONS: Final[Mapping[str, str]] = {
    "identity_conflict": "new_person",
    "inconsistent_identity": "skip_checks",
    "multiple_faces": "largest",
    "refused_before": "take_back",
}


def explain_error(error: FacekeepError) -> str:
    """Write the message of an error, with the option or the command that helps."""
    return add_hint(str(error), error.hint or _hint_of(error))


def explain_rejection(rejection: Rejection) -> str:
    """Write likewise why a photo was not enrolled."""
    return _add(rejection.detail, _OF_REJECTIONS.get(rejection.reason))


def explain_finding(finding: Finding) -> str:
    """Write likewise what is wrong with a gallery."""
    return _add(finding.message, _OF_FINDINGS.get(finding.kind, "restore"))


def add_hint(message: str, hint: Hint | None) -> str:
    """Add to a message what a hint says; one that ``TEXTS`` lacks is the name of options."""
    if hint is None:
        return message
    if hint.key == "enroll_first":
        return f"{message}; {first_enroll(Path(str(hint.facts['gallery'])))}"
    names = [f"--{name.replace('_', '-')}" for name in hint.key.split()]
    facts = {name: shlex.quote(str(value)) for name, value in hint.facts.items()}
    text = TEXTS.get(hint.key, ", ".join(names)).format(**facts)
    return f"{message} ({text})" if text.startswith("-") else f"{message}; {text}"


def first_enroll(gallery: Path) -> str:
    """Say how to begin where nobody is enrolled."""
    from facekeep.config.settings import default_gallery_path

    try:
        default = gallery == default_gallery_path()
    except ConfigError:  # there is no home folder
        default = False
    option = "" if default else f" --gallery {shlex.quote(str(gallery))}"
    return f"begin with: facekeep enroll NAME PHOTO{option}"


def _add(message: str, key: str | None) -> str:
    return add_hint(message, Hint(key) if key else None)


def _hint_of(error: FacekeepError) -> Hint | None:
    """Choose the hint for an error by its class and attributes."""
    if isinstance(error, SpaceMismatch) and error.model:
        return Hint("other_model", {"model": error.model})
    if isinstance(error, TemplateTampered) and error.person:
        if error.template_id:
            facts = {"name": error.person, "template": error.template_id}
            return Hint("erase_template", facts)
        return Hint("erase_person", {"name": error.person})
    if type(error) is GalleryCorrupt and error.person:
        return Hint("erase_person", {"name": error.person})
    key = _OF_ERRORS.get(type(error))
    return Hint(key) if key else None
