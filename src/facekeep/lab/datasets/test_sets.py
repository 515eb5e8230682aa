"""What is evaluated: images, and what is known about who they show.

A reader turns a published list or a folder into one of these; ``extract`` turns their images into
embeddings; the metrics compare those. No pixels are held: an image is loaded when it is looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from facekeep._internal.files import printable
from facekeep.errors import ImageError, InputError
from facekeep.pipeline.image import load_image

__all__ = [
    "PairSet",
    "PersonSet",
    "Samples",
    "TemplatePairs",
    "TemplateSet",
    "make_bytes_samples",
    "make_file_samples",
]


@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """Images to embed, n of them.

    Attributes:
        names: How reports name each image.
        load: Gives the pixels of an image by its place, uint8 ``(H, W, 3)`` RGB; raises ImageError
            for one that cannot be read. Several threads call it at once.
        landmarks: float32 ``(n, 5, 2)`` pixels, in the order of ``Face.landmarks``, where they are
            published; None where faces have to be looked for.
        aligned: The images are face crops already, square and aligned as by ``align``.
    """

    names: tuple[str, ...]
    load: Callable[[int], NDArray[np.uint8]]
    landmarks: NDArray[np.float32] | None = None
    aligned: bool = False

    def __post_init__(self) -> None:
        if self.landmarks is not None:
            _check("landmarks", self.landmarks, (len(self), 5, 2))

    def __len__(self) -> int:
        return len(self.names)


@dataclass(frozen=True, slots=True, eq=False)
class PairSet:
    """Comparisons of two images each, m of them.

    Attributes:
        name: What reports call the set.
        samples: The images, n of them.
        left: intp ``(m,)``, places in ``samples``.
        right: intp ``(m,)``, places in ``samples``.
        mated: bool ``(m,)``: both images show one person.
        fold: intp ``(m,)``, 0 and up, where the protocol divides the pairs; else None.
        person: str ``(n,)``, who each image shows, where that is known; else None.
        development: bool ``(m,)``, pairs on which the threshold of the accuracy is chosen and no
            figure is measured, where the protocol has such; else None.
    """

    name: str
    samples: Samples
    left: NDArray[np.intp]
    right: NDArray[np.intp]
    mated: NDArray[np.bool_]
    fold: NDArray[np.intp] | None = None
    person: NDArray[np.str_] | None = None
    development: NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        for what in ("right", "mated", "fold", "development"):
            values = getattr(self, what)
            if values is not None:
                _check(what, values, self.left.shape)
        _check_places("left", self.left, len(self.samples))
        _check_places("right", self.right, len(self.samples))
        if self.person is not None:
            _check("person", self.person, (len(self.samples),))


@dataclass(frozen=True, slots=True, eq=False)
class PersonSet:
    """Images of known people, n of them.

    Attributes:
        name: What reports call the set.
        samples: The images.
        person: intp ``(n,)``, places in ``people``.
        people: The people's names.
        age: float64 ``(n,)``, years, as a list says, NaN where it does not; None without a list.
    """

    name: str
    samples: Samples
    person: NDArray[np.intp]
    people: tuple[str, ...]
    age: NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        _check("person", self.person, (len(self.samples),))
        if self.age is not None:
            _check("age", self.age, (len(self.samples),))
        _check_places("person", self.person, len(self.people))


class TemplatePairs(NamedTuple):
    """Comparisons of two templates each, m of them.

    Attributes:
        left: intp ``(m,)``, ids of templates.
        right: intp ``(m,)``, ids of templates.
        mated: bool ``(m,)``: both templates are of one person.
    """

    left: NDArray[np.intp]
    right: NDArray[np.intp]
    mated: NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class TemplateSet:
    """Images that make up templates, n of them, and the comparisons of those (IJB-B, IJB-C).

    Attributes:
        name: What reports call the set.
        samples: The images.
        template: intp ``(n,)``, the id of the template that each image belongs to.
        media: intp ``(n,)``, the id of the photo or video that it was taken from.
        faceness: float32 ``(n,)``, the published detector's confidence.
        pairs: The comparisons, by the templates' ids.
    """

    name: str
    samples: Samples
    template: NDArray[np.intp]
    media: NDArray[np.intp]
    faceness: NDArray[np.float32]
    pairs: TemplatePairs

    def __post_init__(self) -> None:
        for what in ("template", "media", "faceness"):
            _check(what, getattr(self, what), (len(self.samples),))
        for what, values in zip(self.pairs._fields, self.pairs, strict=True):
            _check(what, values, self.pairs.left.shape)


def make_file_samples(
    names: Sequence[str], paths: Sequence[Path], *, aligned: bool = False
) -> Samples:
    """Make samples of picture files; see ``Samples``."""
    return _make_samples(names, paths, aligned)


def make_bytes_samples(
    names: Sequence[str], contents: Sequence[bytes], *, aligned: bool = False
) -> Samples:
    """Make samples of the bytes of picture files; see ``Samples``."""
    return _make_samples(names, contents, aligned)


def _make_samples(names: Sequence[str], sources: Sequence[Path | bytes], aligned: bool) -> Samples:
    def load(place: int) -> NDArray[np.uint8]:
        source = sources[place]
        try:
            return load_image(source)
        except ImageError as error:
            label = printable(source) if isinstance(source, Path) else "image bytes"
            reason = str(error).removeprefix(f"{label}: ")
            raise ImageError(f"{printable(names[place])}: {reason}") from error

    return Samples(tuple(names), load, aligned=aligned)


def _check(what: str, values: NDArray[Any], shape: tuple[int, ...]) -> None:
    if values.shape != shape:
        raise InputError(f"{what} must have the shape {shape}, not {values.shape}")


def _check_places(what: str, values: NDArray[np.intp], count: int) -> None:
    if values.ndim != 1 or (len(values) and not 0 <= values.min() <= values.max() < count):
        raise InputError(f"{what} must hold places from 0 to {count - 1}, in one dimension")
