"""What the tests of the search index share."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from gallery_kit import make, units

from facekeep.gallery import Gallery, Key, NewTemplate
from facekeep.gallery.sqlite.index.binary_codes import encode

PEOPLE = 30
VECTORS = units(PEOPLE, 7)
NAMES = [f"P{number}" for number in range(PEOPLE)]


def filled(path: Path, key: Key | None = None, **options: float) -> Gallery:
    """A gallery of people with a template each, enrolled in one transaction."""
    gallery = make(path, key, **options)
    gallery.enroll_many(
        (name, [NewTemplate(vector)]) for name, vector in zip(NAMES, VECTORS, strict=True)
    )
    return gallery


def index_of(path: Path) -> Path:
    return Path(f"{path}-index")


def kept(vector: np.ndarray) -> list[bytes]:
    """What an index keeps of a vector."""
    return [vector.astype(np.float16).tobytes(), encode(vector[None]).tobytes()]


def found(gallery: Gallery, vectors: np.ndarray = VECTORS) -> list[str]:
    return [hits[0].name if hits else "" for hits in gallery.search(vectors, 1)]
