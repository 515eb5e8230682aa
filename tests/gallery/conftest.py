"""Fixtures of the gallery's tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from gallery_kit import KEY, make, search_by_codes

from facekeep.gallery import Gallery, Key


@pytest.fixture(params=["plain", "encrypted"])
def key(request: pytest.FixtureRequest) -> Key | None:
    """No key, then a key: what is tested must hold for both kinds of gallery."""
    return KEY if request.param == "encrypted" else None


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the gallery stands."""
    return tmp_path / "people.db"


@pytest.fixture
def gallery(path: Path, key: Key | None) -> Iterator[Gallery]:
    """An empty gallery, plain and encrypted in turn."""
    with make(path, key) as opened:
        yield opened


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any gallery is a large one, with small blocks."""
    search_by_codes(monkeypatch)
    for module in ("blocks", "block_file", "index_file"):
        monkeypatch.setattr(f"facekeep.gallery.sqlite.index.{module}.BLOCK_ROWS", 8)
