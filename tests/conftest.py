"""Fixtures that all tests share: real photos, the shared folder, a private home."""

from __future__ import annotations

import importlib.metadata
import json
import logging
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from json_page import Seen, command_of, documents
from numpy.typing import NDArray
from PIL import Image

from facekeep.cli.main import build, main
from facekeep.models import entry, verify

ROOT = Path(__file__).resolve().parents[1]

# No test depends on how busy the machine is.
settings.register_profile("facekeep", deadline=None)
settings.load_profile("facekeep")


def shared_folder() -> Path | None:
    """Return the folder with real faces and weights, or None on a machine without it."""
    folder = Path(os.environ.get("FACEKEEP_SHARED", ROOT.parent / "shared"))
    return folder if (folder / "data").is_dir() else None


def pytest_configure() -> None:
    """Let Ctrl-C act where whoever started the tests had it ignored, as `make test &` does."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if shared_folder() is None:
        skip = pytest.mark.skip(reason="no shared data: neither FACEKEEP_SHARED nor ../shared")
        for item in items:
            if "shared" in item.keywords:
                item.add_marker(skip)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The data folder of the shared material; only for tests marked ``shared``."""
    folder = shared_folder()
    assert folder is not None, "the test needs @pytest.mark.shared"
    return folder / "data"


def file_of(distribution: str, path: str) -> Path:
    """A data file inside an installed distribution, found without importing it."""
    found = Path(str(importlib.metadata.distribution(distribution).locate_file(path)))
    assert found.is_file(), f"{distribution} no longer carries {path}"
    return found


@pytest.fixture(scope="session")
def hopper_path() -> Path:
    """Grace Hopper's official portrait (public domain), from matplotlib's sample data."""
    return file_of("matplotlib", "matplotlib/mpl-data/sample_data/grace_hopper.jpg")


@pytest.fixture(scope="session")
def collins_path() -> Path:
    """Eileen Collins's official portrait (public domain), from scikit-image's data."""
    return file_of("scikit-image", "skimage/data/astronaut.png")


def _rgb(path: Path) -> NDArray[np.uint8]:
    with Image.open(path) as picture:
        array = np.array(picture.convert("RGB"))
    array.setflags(write=False)
    return array


@pytest.fixture(scope="session")
def hopper(hopper_path: Path) -> NDArray[np.uint8]:
    """Grace Hopper's portrait as a read-only RGB array."""
    return _rgb(hopper_path)


@pytest.fixture(scope="session")
def collins(collins_path: Path) -> NDArray[np.uint8]:
    """Eileen Collins's portrait as a read-only RGB array."""
    return _rgb(collins_path)


@pytest.fixture(autouse=True)
def private_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep every test away from the user's own gallery, configuration and models."""
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("HOME", str(home))
    for name in [name for name in os.environ if name.startswith(("FACEKEEP_", "XDG_"))]:
        if name not in ("FACEKEEP_SHARED", "FACEKEEP_CACHE"):
            monkeypatch.delenv(name)
    return home


@pytest.fixture(scope="session")
def ready_models() -> None:
    """Say at once what is wrong where the default models, which no commit holds, are missing."""
    missing = [name for name in ("sface", "yunet") if verify(entry(name)).state != "ok"]
    assert not missing, f"{missing} not in the source tree; run: python hatch_build.py"


@dataclass(frozen=True)
class Outcome:
    """What a run of the command line left behind."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one JSON document on stdout; fails when there is anything else."""
        assert self.out.count("\n") == 1
        assert self.out.endswith("\n")
        return json.loads(self.out)

    @property
    def json_lines(self) -> list[Any]:
        """The JSON documents on stdout, one a line."""
        return [json.loads(line) for line in self.out.splitlines()]


@pytest.fixture
def quiet_log() -> Iterator[None]:
    """Undo what the command line does to the library's logger."""
    logger = logging.getLogger("facekeep")
    handlers, level = logger.handlers[:], logger.level
    yield
    logger.handlers[:] = handlers
    logger.setLevel(level)


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], quiet_log: None) -> Callable[..., Outcome]:
    """Run ``facekeep WORDS`` in this process and return its status and what it printed.

    What a command prints under ``--json`` must be what docs/json.md says.
    """

    def run(*words: object) -> Outcome:
        capsys.readouterr()
        arguments = [str(word) for word in words]
        status = main(arguments)
        captured = capsys.readouterr()
        if "--json" in arguments:
            found = Seen()
            for document in documents(captured.out):
                found.document(command_of(arguments, build()), document)
            assert found.wrong == []
        return Outcome(status, captured.out, captured.err)

    return run
