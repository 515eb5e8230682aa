"""Ctrl-C, SIGTERM and kill -9 in the middle of the enrolment of a folder of people."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from facekeep import Gallery, save_image

PEOPLE = [f"Person {number:02}" for number in range(24)]
PHOTOS = 2


@pytest.fixture
def folder(tmp_path: Path, hopper: NDArray[np.uint8]) -> Path:
    """A folder for each of 24 people, who all look alike, with two photos in each."""
    photos = [tmp_path / f"{number}.jpg" for number in range(PHOTOS)]
    for number, photo in enumerate(photos):
        save_image(photo, hopper, quality=90 - number)
    for name in PEOPLE:
        (tmp_path / "people" / name).mkdir(parents=True)
        for photo in photos:
            shutil.copy(photo, tmp_path / "people" / name)
    return tmp_path / "people"


@pytest.fixture
def enroll(folder: Path, ready_models: None) -> Callable[[], subprocess.Popen[str]]:
    """Start the enrolment in a process of its own; every person is printed once stored."""
    options = ["--review", "off", "--quiet", "--gallery", str(folder.parent / "people.db")]
    environ = {**os.environ, "PYTHONUNBUFFERED": "1"}

    def start() -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "facekeep", "enroll", str(folder), *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environ,
        )

    return start


def stopped(
    child: subprocess.Popen[str], number: signal.Signals, after: int
) -> tuple[set[str], str]:
    """Send a signal after some people; return who was printed as enrolled, and the errors."""
    assert child.stdout is not None
    printed = [child.stdout.readline() for _ in range(after)]
    child.send_signal(number)
    rest, errors = child.communicate(timeout=60)
    lines = [*printed, *rest.splitlines(keepends=True)]
    # A process that is killed may leave half a line behind.
    enrolled = {line.partition(":")[0] for line in lines if line.endswith("photos enrolled\n")}
    assert len(enrolled) >= after
    return enrolled, errors


def whole_people(path: Path) -> set[str]:
    """Everybody in the gallery; fails if somebody is there in part, or anything is damaged."""
    with Gallery.open(path) as gallery:
        assert gallery.check() == []
        people = gallery.people()
        assert {person.template_count for person in people} <= {PHOTOS}
        return {person.name for person in people}


STOPS = [
    (signal.SIGINT, 130, "facekeep: error: interrupted\n"),
    (signal.SIGTERM, 143, "facekeep: error: terminated\n"),
    (signal.SIGHUP, 129, "facekeep: error: the terminal was closed\n"),
    (signal.SIGKILL, -signal.SIGKILL, ""),
]


@pytest.mark.parametrize(("number", "status", "says"), STOPS)
def test_an_interrupted_enrolment_loses_nothing_and_can_be_finished(
    folder: Path,
    enroll: Callable[[], subprocess.Popen[str]],
    number: signal.Signals,
    status: int,
    says: str,
) -> None:
    gallery = folder.parent / "people.db"
    child = enroll()
    enrolled, errors = stopped(child, number, after=3)
    assert (child.returncode, errors) == (status, says)
    stored = whole_people(gallery)
    assert enrolled <= stored < set(PEOPLE)
    assert len(stored - enrolled) <= 1, "only the last one may be stored and not yet printed"
    again = enroll()
    out, errors = again.communicate(timeout=120)
    assert (again.returncode, errors) == (0, "")
    assert out.count("enrolled before, nothing new") == len(stored)
    assert out.count(f"{PHOTOS} photos enrolled") == len(PEOPLE) - len(stored)
    assert whole_people(gallery) == set(PEOPLE)
    assert {each.name for each in folder.parent.iterdir()} <= {
        "people",
        "people.db",
        "0.jpg",
        "1.jpg",
    }, "nothing else is left behind"
