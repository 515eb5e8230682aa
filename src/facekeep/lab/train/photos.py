"""From photos of people to the aligned crops of their faces that training takes."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facekeep._internal.files import path_text, printable, private_folder, why
from facekeep.errors import ImageError, InputError
from facekeep.lab.datasets.test_sets import PersonSet
from facekeep.lab.evaluate.crops import make_cropper
from facekeep.lab.evaluate.extract import Failure
from facekeep.pipeline.detect import Detector
from facekeep.pipeline.image import save_image

__all__ = ["Cropped", "crop_people"]


@dataclass(frozen=True, slots=True)
class Cropped:
    """What became of the photos.

    Attributes:
        saved: Faces written now.
        known: Faces that were there already.
        failures: The photos without a crop, and why.
    """

    saved: int
    known: int
    failures: tuple[Failure, ...]


def crop_people(
    photos: PersonSet,
    out: str | os.PathLike[str],
    detector: Detector,
    *,
    size: int = 112,
    advance: Callable[[], None] = lambda: None,
) -> Cropped:
    """Save the aligned main face of each photo; one that is there already is left as it is.

    Args:
        photos: A folder for each person, as ``read_person_folder`` reads it.
        out: Where the same folders go, with a PNG for each photo; a new one is its owner's alone.
        detector: Finds the faces.
        size: The side of the crops in pixels.
        advance: Called after each photo.

    Raises:
        InputError: The size makes no crop.
        ImageError: A crop cannot be written.
        StorageFull: There is no room for it.
    """
    if not 16 <= size <= 1024:
        raise InputError(f"the side of a crop must be 16 to 1024 pixels, not {size}")
    folder = Path(path_text(out))
    crop = make_cropper(photos.samples, size, detector, None)
    saved, failures = 0, list[Failure]()
    for place, name in enumerate(photos.samples.names):
        target = folder / f"{name}.png"
        if not target.exists():
            try:
                face = crop(place)
            except ImageError as error:
                reason = printable(error).removeprefix(f"{printable(name)}: ")
                failures.append(Failure(name, reason))
            else:
                _save(folder, target, face)
                saved += 1
        advance()
    known = len(photos.samples) - saved - len(failures)
    return Cropped(saved, known, tuple(failures))


def _save(folder: Path, target: Path, face: NDArray[np.uint8]) -> None:
    try:
        private_folder(folder)
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ImageError(f"{printable(target.parent)}: cannot be made: {why(error)}") from error
    save_image(target, face)
