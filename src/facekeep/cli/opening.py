"""What commands open: an engine or a gallery, by the settings of the run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from facekeep.cli.command import Run
from facekeep.config import default_gallery_path

if TYPE_CHECKING:
    from facekeep.engine import FaceEngine
    from facekeep.gallery import Gallery, Key, Space

__all__ = ["open_engine", "open_gallery", "open_key", "space_of"]


def open_key(run: Run) -> Key | None:
    """Load the key that the settings name, if they name one."""
    from facekeep.gallery import load_key

    return None if run.settings.key is None else load_key(run.settings.key)


def open_engine(run: Run, gallery: Literal["none", "read", "write"] = "none") -> FaceEngine:
    """Make the engine that the settings describe.

    Args:
        run: The run.
        gallery: Whether the command uses their gallery, and whether it changes it.
    """
    from facekeep.engine import FaceEngine

    settings = run.settings
    if gallery == "write":
        _make_default_folder(settings.gallery)
    return FaceEngine(
        None if gallery == "none" else settings.gallery,
        key=None if gallery == "none" else open_key(run),
        read_only=gallery == "read",
        detector=settings.detector,
        refiner=settings.refiner,
        embedder=settings.embedder,
        fmr=settings.fmr,
        review=settings.review,
        any_quality=settings.any_quality,
        keep_crops=settings.keep_crops,
        min_face=settings.min_face,
        max_faces=settings.max_faces,
        max_pixels=settings.max_pixels,
        flip=settings.flip,
        threads=settings.threads,
        device=settings.device,
        precision=settings.precision,
        runtime=settings.runtime,
    )


def open_gallery(run: Run, *, create: bool = False, read_only: bool = False) -> Gallery:
    """Open the settings' gallery for all that needs no weights.

    Args:
        run: The run.
        create: Create the gallery, for the settings' embedder, where there is none.
        read_only: Open it so that nothing can change it, on read-only media too.
    """
    from facekeep.gallery import Gallery

    path = run.settings.gallery
    if create:
        _make_default_folder(path)
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


def _make_default_folder(gallery: Path) -> None:
    """Make the folder of the default gallery; a missing folder that was asked for is a mistake."""
    if gallery == default_gallery_path():
        gallery.parent.mkdir(parents=True, exist_ok=True)
