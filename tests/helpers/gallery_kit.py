"""What the gallery's tests share."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from facekeep.gallery import Gallery, Key, NewTemplate, Space

SPACE = Space("5bace" + "0" * 59, "model-a", 16)
OTHER = Space("0de1b" + "0" * 59, "model-b", 16)
KEY = Key(bytes(range(32)))
KEY2 = Key(bytes(range(1, 33)))


def units(count: int, seed: int = 0, width: int = SPACE.width) -> NDArray[np.float32]:
    """Random unit vectors ``(count, width)``."""
    vectors = np.random.default_rng(seed).normal(size=(count, width)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def new(seed: int = 0, **facts: Any) -> NewTemplate:
    """A template with the random vector of ``seed``."""
    return NewTemplate(units(1, seed)[0], **facts)


def make(path: Path, key: Key | None = None, **options: Any) -> Gallery:
    """A new gallery."""
    return Gallery.open(path, space=SPACE, key=key, create=True, **options)


def search_by_codes(patch: pytest.MonkeyPatch, *, at: int = 0, in_file: bool = True) -> None:
    """Have galleries from a number of people on searched by codes, from a file or without."""
    patch.setattr("facekeep.gallery.sqlite.index.search_index.EXACT_BELOW", at)
    patch.setattr("facekeep.gallery.sqlite.index.searcher._WRITE_FROM", 1 if in_file else 1_000_000)


def contents(gallery: Gallery) -> list[Any]:
    """Everything a gallery holds that a user would miss, for comparison."""
    everything: list[Any] = []
    for person in gallery.people():
        full = gallery.person(person.name)
        vectors = {key: value.tobytes() for key, value in gallery.vectors(person.name).items()}
        crops = [gallery.crop(template.id) for template in full.templates or ()]
        everything.append((full, vectors, crops))
    return everything


def doctor(path: Path, *statements: str, parameters: tuple[Any, ...] = ()) -> None:
    """Change a gallery behind facekeep's back."""
    connection = sqlite3.connect(path)
    for statement in statements:
        connection.execute(statement, parameters)
    connection.commit()
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
