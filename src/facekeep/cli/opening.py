"""What commands open: an engine or a gallery, by the settings of the run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from facekeep.cli.command import Run

if TYPE_CHECKING:
    from facekeep.engine import FaceEngine
    from facekeep.gallery import Gallery, Key

__all__ = ["open_engine", "open_gallery", "open_key"]


def open_key(run: Run) -> Key | None:
    """Load the key that the settings name, if they name one."""
    from facekeep.gallery import load_key

    return None if run.settings.key is None else load_key(run.settings.key)


def open_engine(run: Run, *, gallery: bool = False) -> FaceEngine:
    """Make the engine that the settings describe, with or without their gallery."""
    from facekeep.engine import FaceEngine

    settings = run.settings
    return FaceEngine(
        settings.gallery if gallery else None,
        key=open_key(run) if gallery else None,
        detector=settings.detector,
        embedder=settings.embedder,
        fmr=settings.fmr,
        review=settings.review,
        keep_crops=settings.keep_crops,
        min_face=settings.min_face,
        max_faces=settings.max_faces,
        max_pixels=settings.max_pixels,
        flip=settings.flip,
        threads=settings.threads,
        device=settings.device,
        runtime=settings.runtime,
    )


def open_gallery(run: Run, *, create: bool = False) -> Gallery:
    """Open the settings' gallery for all that needs no weights.

    Args:
        run: The run.
        create: Create the gallery, for the settings' embedder, where there is none.
    """
    from facekeep.gallery import Gallery, Space
    from facekeep.models import default_model, entry, space_id

    space = None
    if create:
        model = entry(run.settings.embedder or default_model("embed"))
        space = Space(space_id(model), model.name, model.width or 0)
    return Gallery.open(run.settings.gallery, key=open_key(run), space=space, create=create)
