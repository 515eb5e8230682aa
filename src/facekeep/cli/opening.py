"""What commands open: an engine or a gallery, by the settings of the run."""

from __future__ import annotations

import logging
import os
import shlex
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from facekeep.cli.command import Run
from facekeep.config.settings import default_gallery_path
from facekeep.errors import ConfigError

if TYPE_CHECKING:
    from facekeep.engine import FaceEngine
    from facekeep.gallery import Gallery, Key, Space

__all__ = ["nobody", "open_engine", "open_gallery", "open_key", "space_of"]

_log = logging.getLogger(__name__)


def open_key(run: Run) -> Key | None:
    """Load the key that the settings name, if they name one."""
    from facekeep.gallery import load_key

    return None if run.settings.key is None else load_key(run.settings.key)


def open_engine(
    run: Run,
    gallery: Literal["none", "read", "write"] = "none",
    *,
    embedder: str | None = None,
) -> FaceEngine:
    """Make the engine that the settings describe.

    Args:
        run: The run.
        gallery: Whether the command uses their gallery, and whether it changes it.
        embedder: Another embedder than theirs.
    """
    from facekeep import factory

    _log.debug("settings: %s", run.resolved.file or "no file; defaults, variables and options")
    if gallery == "read":
        _require_somebody(run.settings.gallery)
    return factory.open_engine(run.settings, gallery, embedder=embedder)


def open_gallery(run: Run, *, create: bool = False, read_only: bool = False) -> Gallery:
    """Open the settings' gallery for all that needs no weights.

    Args:
        run: The run.
        create: Create the gallery, for the settings' embedder, where there is none.
        read_only: Open it so that nothing can change it, on read-only media too.
    """
    from facekeep.gallery import Gallery

    path = run.settings.gallery
    _log.debug("gallery: %s, to %s", path, "read" if read_only else "write")
    if create:
        _make_default_folder(path)
    else:
        _require_somebody(path)
    return Gallery.open(
        path,
        key=open_key(run),
        space=space_of(run) if create else None,
        create=create,
        read_only=read_only,
    )


def space_of(run: Run) -> Space:
    """Give the embedding space of the settings' embedder, without loading it."""
    from facekeep.gallery import Space
    from facekeep.models import default_model, entry, space_id

    model = entry(run.settings.embedder or default_model("embed"))
    return Space(space_id(model), model.name, model.width or 0)


def nobody(gallery: Path) -> str:
    """Say that nobody is enrolled, and how to begin."""
    option = "" if gallery == default_gallery_path() else f" --gallery {shlex.quote(str(gallery))}"
    return f"nobody is enrolled yet; begin with: facekeep enroll NAME PHOTO{option}"


def _require_somebody(gallery: Path) -> None:
    if not os.path.lexists(gallery):
        from facekeep.errors import GalleryNotFound

        raise GalleryNotFound(
            f"{nobody(gallery)} (there is no gallery at {gallery}: check the path)"
        )


def _make_default_folder(gallery: Path) -> None:
    """Make the folder of the default gallery; a missing folder that was asked for is a mistake."""
    with suppress(ConfigError):  # there is no home: then the gallery was named
        if gallery == default_gallery_path():
            try:
                gallery.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                from facekeep.gallery.faults import file_fault

                raise file_fault(error, gallery) from error
