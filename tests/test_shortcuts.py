"""The one-line functions: the user's own gallery and settings, one engine for each."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import facekeep
from facekeep import GalleryNotFound, save_image, shortcuts

Image = NDArray[np.uint8]

pytestmark = pytest.mark.usefixtures("ready_models")


@pytest.fixture(autouse=True)
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A gallery of the test's own, and no engine that is left of others."""
    monkeypatch.setenv("FACEKEEP_GALLERY", str(tmp_path / "people.db"))
    monkeypatch.setattr(shortcuts, "_engines", engines := shortcuts._Engines())
    yield tmp_path
    engines.close()


def test_the_first_minute(own: Path, hopper: Image, collins: Image) -> None:
    assert len(facekeep.detect(hopper)) == 1
    assert facekeep.verify(hopper, hopper).match
    assert not facekeep.verify(hopper, collins).match
    with pytest.raises(GalleryNotFound, match="nobody is enrolled yet"):
        facekeep.identify(hopper)
    assert facekeep.enroll("Grace Hopper", hopper).enrolled == 1
    assert (own / "people.db").exists()
    assert [face.name for face in facekeep.identify(hopper)] == ["Grace Hopper"]
    assert [face.name for face in facekeep.identify(collins)] == [None]


def test_detection_needs_no_gallery_and_makes_none(own: Path, hopper: Image) -> None:
    facekeep.detect(hopper)
    assert list(own.iterdir()) == []


@pytest.mark.slow
def test_settings_are_followed_when_they_change(
    own: Path, hopper: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert len(facekeep.detect(hopper)) == 1
    monkeypatch.setenv("FACEKEEP_MIN_FACE", "4000")
    assert facekeep.detect(hopper) == []
    monkeypatch.delenv("FACEKEEP_MIN_FACE")
    facekeep.enroll("Grace Hopper", hopper)
    monkeypatch.setenv("FACEKEEP_GALLERY", str(own / "other.db"))
    with pytest.raises(GalleryNotFound):
        facekeep.identify(hopper)


def test_networks_are_opened_once_for_each_settings(hopper: Image) -> None:
    facekeep.detect(hopper)
    facekeep.enroll("Grace Hopper", hopper)
    facekeep.identify(hopper)
    engines = list(shortcuts._engines._engines.values())
    assert len(engines) == 3
    assert len({id(engine._analyzer) for engine in engines}) == 1


def test_threads_get_one_engine() -> None:
    barrier = threading.Barrier(4)

    def get() -> int:
        barrier.wait()
        return id(shortcuts._engines.get("none"))

    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(lambda _: get(), range(4)))) == 1


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_process_goes_on_and_everything_is_closed_at_the_end(
    own: Path, hopper: Image
) -> None:
    save_image(own / "hopper.png", hopper)
    code = (
        "import os, sys, facekeep\n"
        "photo = sys.argv[1]\n"
        "facekeep.enroll('Grace Hopper', photo)\n"
        "child = os.fork()\n"
        "names = [face.name for face in facekeep.identify(photo)]\n"
        "assert names == ['Grace Hopper'], names\n"
        "sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) if child else 0)\n"
    )
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", code]
    done = subprocess.run(
        [*command, str(own / "hopper.png")], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
