"""Open what the settings describe: an engine, a gallery, its key."""

from __future__ import annotations

import logging
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from facekeep.config.settings import Settings, default_gallery_path, load_settings
from facekeep.errors import ConfigError, FacekeepError, GalleryNotFound, Hint, ModelError

if TYPE_CHECKING:
    from facekeep.engine import FaceEngine
    from facekeep.gallery import Gallery, Key, Space
    from facekeep.models import ModelEntry, Task
    from facekeep.runtime import RuntimeOptions

__all__ = [
    "find_chosen_models",
    "make_runtime_options",
    "open_engine",
    "open_gallery",
    "open_key",
    "require_terms",
    "space_of",
]

_log = logging.getLogger(__name__)


def open_engine(
    settings: Settings | None = None,
    gallery: Literal["none", "read", "write"] = "none",
    *,
    embedder: str | None = None,
) -> FaceEngine:
    """Make the engine that the settings describe.

    Args:
        settings: The settings; None for the user's own, see ``load_settings``.
        gallery: Whether the engine uses the settings' gallery, and whether it may change it.
        embedder: Another embedder than theirs.

    Raises:
        ConfigError: A setting cannot be used, or a model is named that the setting ``terms`` does
            not allow.
        GalleryNotFound: The gallery is to be read, and there is none.
        GalleryKeyError: The key that the settings name cannot be loaded.
        ModelError: A model that the settings name cannot be used.
    """
    from facekeep.engine import FaceEngine

    settings = load_settings() if settings is None else settings
    require_terms(settings, embedder)
    if gallery != "none":
        _log.debug("gallery: %s, to %s", settings.gallery, gallery)
    if gallery == "write":
        _make_default_folder(settings.gallery)
    elif gallery == "read":
        _require_gallery(settings.gallery)
    return FaceEngine(
        None if gallery == "none" else settings.gallery,
        key=None if gallery == "none" else open_key(settings),
        read_only=gallery == "read",
        detector=settings.detector,
        refiner=settings.refiner,
        orienter=settings.orienter,
        embedder=embedder or settings.embedder,
        fmr=settings.fmr if settings.fpir is None else None,
        fpir=settings.fpir,
        review=settings.review,
        any_quality=settings.any_quality,
        keep_crops=settings.keep_crops,
        min_face=settings.min_face,
        max_faces=settings.max_faces,
        max_pixels=settings.max_pixels,
        max_bytes=settings.max_bytes,
        flip=settings.flip,
        options=make_runtime_options(settings, settings.threads),
    )


def make_runtime_options(settings: Settings, threads: int) -> RuntimeOptions:
    """Make the options of sessions that the settings describe, with this number of threads."""
    from facekeep.runtime import RuntimeOptions

    return RuntimeOptions(
        runtime=settings.runtime,
        device=settings.device,
        precision=settings.precision,
        threads=threads,
    )


def find_chosen_models(settings: Settings) -> list[ModelEntry]:
    """Return the models that the settings choose, those by default included.

    Those that do not exist, or whose entry is damaged, are left out.
    """
    from facekeep.models import default_model, entry
    from facekeep.pipeline.refine import NONE

    found: list[ModelEntry] = []
    for task, name in _named(settings).items():
        with suppress(FacekeepError):
            if (chosen := name or default_model(task)) != NONE:
                found.append(entry(chosen))
                if found[-1].quality:
                    found.append(entry(found[-1].quality))
    return found


def _named(settings: Settings) -> dict[Task, str | None]:
    return {
        "detect": settings.detector,
        "refine": settings.refiner,
        "orient": settings.orienter,
        "embed": settings.embedder,
    }


def require_terms(settings: Settings, embedder: str | None = None) -> None:
    """Refuse models that are named but not allowed; those by default are free.

    Args:
        settings: The settings.
        embedder: Another one that is used besides theirs.

    Raises:
        ConfigError: The setting ``terms`` does not allow one, or names what is no model.
    """
    from facekeep.models import entry
    from facekeep.models.terms import require_allowed, require_known_terms

    require_known_terms(settings.terms)
    for name in (*_named(settings).values(), embedder):
        with suppress(ModelError):  # reported when the model is opened
            if name is not None:
                require_allowed(entry(name), settings.terms)


def open_gallery(settings: Settings, *, create: bool = False, read_only: bool = False) -> Gallery:
    """Open the settings' gallery for all that needs no weights.

    Args:
        settings: The settings.
        create: Create the gallery, for the settings' embedder, where there is none.
        read_only: Open it so that nothing can change it, on read-only media too.
    """
    from facekeep.gallery import Gallery

    path = settings.gallery
    _log.debug("gallery: %s, to %s", path, "read" if read_only else "write")
    if create:
        _make_default_folder(path)
    else:
        _require_gallery(path)
    return Gallery.open(
        path,
        key=open_key(settings),
        space=space_of(settings) if create else None,
        create=create,
        read_only=read_only,
    )


def open_key(settings: Settings) -> Key | None:
    """Load the key that the settings name, if they name one."""
    from facekeep.gallery import load_key

    return None if settings.key is None else load_key(settings.key)


def space_of(settings: Settings) -> Space:
    """Give the embedding space of the settings' embedder, without loading it."""
    from facekeep.gallery import Space
    from facekeep.models import default_model, entry, space_id

    model = entry(settings.embedder or default_model("embed"))
    return Space(space_id(model), model.name, model.width or 0)


def _require_gallery(gallery: Path) -> None:
    if not os.path.lexists(gallery):
        raise GalleryNotFound(
            f"there is no gallery at {gallery}: nobody is enrolled yet",
            Hint("enroll_first", {"gallery": gallery}),
        )


def _make_default_folder(gallery: Path) -> None:
    """Make the folder of the default gallery; a missing folder that was asked for is a mistake."""
    with suppress(ConfigError):  # there is no home: then the gallery was named
        if gallery == default_gallery_path():
            try:
                gallery.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                from facekeep.gallery.file_errors import translate_os_error

                raise translate_os_error(error, gallery) from error
