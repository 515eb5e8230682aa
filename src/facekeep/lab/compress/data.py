"""The faces that networks are calibrated, fine-tuned and measured on."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import numpy as np
from msgspec import Meta, Struct
from numpy.typing import NDArray

from facekeep._internal.files import path_text, printable
from facekeep._internal.tables import check_fields
from facekeep.errors import ImageError, InputError
from facekeep.lab.datasets.test_sets import PairSet, PersonSet, Samples
from facekeep.lab.evaluate.crops import CropCache, make_cropper
from facekeep.pipeline.detect import Detector
from facekeep.pipeline.image import load_image
from facekeep.runtime import RuntimeOptions

if TYPE_CHECKING:
    from facekeep.lab.datasets.source import Source

__all__ = [
    "MIN_CALIBRATION_FACES",
    "DataOptions",
    "EvaluationData",
    "FaceSet",
    "crop_faces",
    "load_sample_faces",
    "read_faces",
]

MIN_CALIBRATION_FACES: Final = 32
"""With fewer faces no range of activations can be trusted."""

_MAX_COMPARED: Final = 2000  # images of known people: two million comparisons


@dataclass(frozen=True, slots=True, eq=False)
class FaceSet:
    """Images of faces, for calibration, fine-tuning and comparison.

    Attributes:
        name: What reports call them.
        samples: The images chosen.
        people: Images of known people, chosen or not, about 2,000; None where nobody is known.
        path: Where they lie; None for those that come with facekeep.
    """

    name: str
    samples: Samples
    people: PersonSet | None = None
    path: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationData:
    """What networks are measured on.

    Attributes:
        faces: Images whose embeddings are compared with the original's; None for none.
        people: Images of known people, for TAR; None for none.
        lfw: The pairs of LFW; None for none.
        cache: Remembers crops of faces that had to be detected.
        threads: CPU threads; 0 for as many as there are cores, but one where latency is measured.
        repeats: How many runs of each network are timed.
    """

    faces: FaceSet | None = None
    people: PersonSet | None = None
    lfw: PairSet | None = None
    cache: CropCache | None = None
    threads: int = 0
    repeats: int = 50


class DataOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The data of a run, by its paths.

    Attributes:
        data: Faces to calibrate, fine-tune and compare on; see `read_faces`.
        labels: A table with the columns ``key`` and ``identity``, for ``data`` and ``eval_data``.
        aligned: The images of both are aligned face crops.
        count: How many faces of ``data`` to calibrate and compare on.
        eval_data: Known people, not those of ``data``, to measure TAR on.
        lfw_images: The photos of LFW.
        lfw_pairs: Its ``pairs.txt``.
        cache: A folder that keeps the faces found.
    """

    data: Path | None = None
    labels: Path | None = None
    aligned: bool = False
    count: Annotated[int, Meta(ge=1)] = 256
    eval_data: Path | None = None
    lfw_images: Path | None = None
    lfw_pairs: Path | None = None
    cache: Path | None = None

    def __post_init__(self) -> None:
        check_fields(self)
        if (self.lfw_images is None) != (self.lfw_pairs is None):
            raise InputError("LFW needs both its images and its pairs", "lfw_images lfw_pairs")

    def open(self, threads: int = 0) -> tuple[FaceSet | None, EvaluationData]:
        """Open the data.

        TAR is measured on ``eval_data``; without it on ``data``, where that says who is on it.
        Without ``data`` the embeddings are compared on the sample portraits, where those are
        installed.

        Args:
            threads: CPU threads; see `EvaluationData`.

        Returns:
            The faces of ``data``, None without it, and what networks are measured on.

        Raises:
            InputError: Something is missing, or not of the kind.
            ImageError: A file or folder cannot be read.
        """
        from facekeep.lab import datasets

        faces = people = lfw = None
        if self.data is not None:
            faces = read_faces(
                self.data, labels=self.labels, aligned=self.aligned, count=self.count
            )
            people = faces.people
        if self.eval_data is not None:
            people = datasets.read_people(self.eval_data, labels=self.labels, aligned=self.aligned)
        if self.lfw_images is not None and self.lfw_pairs is not None:
            lfw = datasets.read_lfw(self.lfw_images, self.lfw_pairs)
        return faces, EvaluationData(
            faces=faces or load_sample_faces(),
            people=people,
            lfw=lfw,
            cache=None if self.cache is None else CropCache(self.cache),
            threads=threads,
        )


def read_faces(
    path: str | os.PathLike[str],
    *,
    labels: str | os.PathLike[str] | None = None,
    aligned: bool = False,
    count: int = 256,
) -> FaceSet:
    """Choose images of a collection, spread evenly over it.

    Args:
        path: A folder of pictures, or of a folder of them for each person; a tar or a folder of
            tars; an InsightFace ``train.rec``.
        labels: A table with the columns ``key`` and ``identity``, where the images do not name
            anybody.
        aligned: The images are face crops, aligned as by ``align``.
        count: How many to choose; all where there are fewer.

    Raises:
        InputError: There is nothing of the kind.
        ImageError: A file or folder cannot be read.
    """
    from facekeep.lab.datasets.training_set import open_source

    source = open_source(path, labels=labels)
    places = np.linspace(0, len(source) - 1, min(count, len(source))).round().astype(np.int64)
    where = Path(path_text(path))
    chosen = Samples(
        tuple(source.key(int(place)) for place in places),
        lambda index: load_image(source.read(int(places[index]))),
        aligned=aligned,
    )
    people = _find_people(source, where, aligned=aligned)
    return FaceSet(where.resolve().name, chosen, people, where)


def _find_people(source: Source, where: Path, *, aligned: bool) -> PersonSet | None:
    """Take the first people of a source with all their images, about as many as the maximum."""
    from facekeep.lab.datasets.people import build_person_set
    from facekeep.lab.datasets.source import select

    counts = np.bincount(source.labels[source.labels >= 0])
    last = int(np.searchsorted(counts.cumsum(), _MAX_COMPARED))
    chosen = select(source, np.flatnonzero((source.labels >= 0) & (source.labels <= last)))
    return None if chosen.classes < 2 else build_person_set(chosen, where, aligned=aligned)


def load_sample_faces() -> FaceSet | None:
    """Return the sample portraits and changed versions of them; None where they are missing.

    They show whether a network still works, not how well.
    """
    from facekeep.samples import change_photo, load_portraits

    try:
        portraits = load_portraits()
    except InputError:
        return None
    images = []
    for photo in portraits.values():
        images += [photo, *(changed for _, changed in change_photo(photo))]
    names = tuple(f"portrait {number}" for number in range(1, len(images) + 1))
    return FaceSet("the demo's portraits", Samples(names, lambda place: images[place]))


def crop_faces(
    faces: FaceSet,
    size: int,
    *,
    cache: CropCache | None = None,
    progress: Callable[[int], object] | None = None,
) -> NDArray[np.uint8]:
    """Cut the faces out; images without one are left out.

    Args:
        faces: The images.
        size: The side of the crops in pixels.
        cache: Remembers crops of faces that had to be detected.
        progress: Called with the number of images done since the last call.

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
        crop = make_cropper(faces.samples, size, detector, cache)
        for place in range(len(faces.samples)):
            with contextlib.suppress(ImageError):
                found.append(crop(place))
            if progress:
                progress(1)
    if not found:
        raise InputError(f"{printable(faces.name)}: no face can be taken from any of its images")
    return np.stack(found)
