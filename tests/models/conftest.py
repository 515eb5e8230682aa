"""Small networks made on the spot, and folders of one test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hub import Hub
from networks import embedder

from facekeep.models import download


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder of this test alone."""
    monkeypatch.setenv("FACEKEEP_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder of models of the user's own."""
    monkeypatch.setenv("FACEKEEP_MODELS", str(tmp_path / "models"))
    return tmp_path / "models"


@pytest.fixture
def network(tmp_path: Path) -> Path:
    """The file of a working embedder of width 8 for faces of 112 pixels."""
    path = tmp_path / "network.onnx"
    path.write_bytes(embedder())
    return path


@pytest.fixture
def hub() -> Iterator[Hub]:
    """A server of files on this machine."""
    server = Hub()
    yield server
    server.stop()


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Try again at once."""
    monkeypatch.setattr(download, "PAUSES", (0.0, 0.0))
