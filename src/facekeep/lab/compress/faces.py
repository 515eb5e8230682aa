"""The faces that networks are calibrated and compared on."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from facekeep._internal.files import path_text, printable
from facekeep.errors import ImageError, InputError
from facekeep.lab.evaluate.crop_cache import CropCache
from facekeep.lab.evaluate.crops import cropper
from facekeep.lab.evaluate.data import PersonSet, Samples
from facekeep.pipeline.detect import Detector
from facekeep.pipeline.image import load_image
from facekeep.runtime import RuntimeOptions

if TYPE_CHECKING:
    from facekeep.lab.train.data import Source

__all__ = ["LEAST", "Faces", "builtin_faces", "crops_of", "read_faces"]

LEAST: Final = 32
"""Faces below which no range of activations can be trusted."""

_COMPARED: Final = 2000  # images of known people: two million comparisons


@dataclass(frozen=True, slots=True, eq=False)
class Faces:
    """Images of faces, for calibration and comparison.

    Attributes:
        name: What reports call them.
        samples: The images chosen.
        people: Images of known people, chosen or not, 2,000 or so; None where nobody is known.
        path: Where they lie; None for those that come with facekeep.
    """

    name: str
    samples: Samples
    people: PersonSet | None = None
    path: Path | None = None


def read_faces(
    path: str | os.PathLike[str],
    *,
    labels: str | os.PathLike[str] | None = None,
    aligned: bool = False,
    count: int = 256,
) -> Faces:
    """Choose images of a collection, spread evenly over it.

    Args:
        path: A folder of pictures, or of a folder of them for each person; a tar or a folder of
            tars; an InsightFace ``train.rec``.
        labels: A table with the columns ``key`` and ``identity``, where the images do not tell.
        aligned: The images are face crops, aligned as by ``align``.
        count: How many to choose; all where there are fewer.

    Raises:
        InputError: There is nothing of the kind.
        ImageError: A file or folder cannot be read.
    """
    from facekeep.lab.train.data import open_source

    source = open_source(path, labels=labels)
    places = np.linspace(0, len(source) - 1, min(count, len(source))).round().astype(np.int64)
    name = Path(path_text(path)).resolve().name
    chosen = Samples(
        tuple(source.key(int(place)) for place in places),
        lambda index: load_image(source.read(int(places[index]))),
        aligned=aligned,
    )
    return Faces(name, chosen, _people(source, name, aligned), Path(path_text(path)))


def _people(source: Source, name: str, aligned: bool) -> PersonSet | None:
    """Take the first people of a source, with all their images, as far as is soon compared."""
    from facekeep.lab.train.data import select

    counts = np.bincount(source.labels[source.labels >= 0])
    last = int(np.searchsorted(counts.cumsum(), _COMPARED))
    chosen = select(source, np.flatnonzero((source.labels >= 0) & (source.labels <= last)))
    if chosen.classes < 2:
        return None
    samples = Samples(
        tuple(map(chosen.key, range(len(chosen)))),
        lambda index: load_image(chosen.read(index)),
        aligned=aligned,
    )
    return PersonSet(name, samples, chosen.labels.astype(np.intp), tuple(chosen.names))


def builtin_faces() -> Faces | None:
    """Return the demo's two portraits and changed versions of them; None where it is missing.

    They tell whether a network still works, not how well.
    """
    from facekeep.apps.demo import bundled_cases

    try:
        cases = bundled_cases()
    except InputError:
        return None
    images = [image for case in cases for image in (*case.enrol, *(i for _, i in case.probes))]
    names = tuple(f"portrait {number}" for number in range(1, len(images) + 1))
    return Faces("the demo's portraits", Samples(names, lambda place: images[place]))


def crops_of(
    faces: Faces,
    size: int,
    *,
    cache: CropCache | None = None,
    progress: Callable[[int], object] | None = None,
) -> NDArray[np.uint8]:
    """Cut the faces out; images without one are left out.

    Args:
        faces: The images.
        size: The side of the crops in pixels.
        cache: Remembers crops of faces that had to be looked for.
        progress: Told how many more images are done.

    Returns:
        uint8 ``(n, size, size, 3)`` RGB.

    Raises:
        InputError: There is no face in any of them.
    """
    found = []
    with contextlib.ExitStack() as stack:
        detector = (
            None
            if faces.samples.aligned
            else stack.enter_context(Detector(options=RuntimeOptions(threads=1)))
        )
        crop = cropper(faces.samples, size, detector, cache)
        for place in range(len(faces.samples)):
            with contextlib.suppress(ImageError):
                found.append(crop(place))
            if progress:
                progress(1)
    if not found:
        raise InputError(f"{printable(faces.name)}: no face can be taken from any of its images")
    return np.stack(found)
