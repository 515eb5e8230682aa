"""Ctrl-C, SIGTERM and kill -9 in the middle of the enrollment of a folder of people."""

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

from facekeep import FaceEngine, Gallery, save_image

pytestmark = pytest.mark.slow

PEOPLE = [f"Person {number:02}" for number in range(24)]
PHOTOS = 2


@pytest.fixture
def folder(tmp_path: Path, hopper: NDArray[np.uint8]) -> Path:
    """A folder for each of twelve people, who all look alike, with two photos in each."""
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
    """Start the enrollment in a process of its own; every person is printed once stored."""
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
def test_an_interrupted_enrollment_loses_nothing_and_can_be_finished(
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


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, hopper: NDArray[np.uint8]) -> Path:
    """A gallery of one person."""
    path = tmp_path_factory.mktemp("gallery") / "people.db"
    with FaceEngine(path) as engine:
        engine.enroll("Grace", hopper)
    return path


STOPPED_WHILE_WRITING = """
import os, sys
from facekeep._internal import drafts, files
from facekeep.cli.main import main
from facekeep.lab.export import exporter

number, named, *words = sys.argv[1:]

def stopped_before(work):
    def stop(*arguments, **options):
        os.kill(os.getpid(), int(number))
        work(*arguments, **options)
    return stop

files.publish = stopped_before(files.publish)
exporter._place_files = stopped_before(exporter._place_files)
drafts._NAMELESS = drafts._NAMELESS and named == "nameless"
sys.exit(main(words))
"""


@pytest.mark.usefixtures("ready_models")
@pytest.mark.parametrize(
    ("words", "number", "named"),
    [
        ("people export people.jsonl", signal.SIGTERM, "nameless"),
        ("people export people.jsonl", signal.SIGTERM, "named"),
        ("people export people.jsonl", signal.SIGINT, "named"),
        ("people export people.jsonl", signal.SIGHUP, "named"),
        ("identify 0.jpg --out marked.jpg", signal.SIGTERM, "named"),
        ("align people --out .", signal.SIGTERM, "named"),
        ("models export yunet --to openvino", signal.SIGTERM, "named"),
    ],
)
def test_whoever_is_stopped_while_writing_leaves_nothing(
    tmp_path: Path, folder: Path, whole: Path, words: str, number: signal.Signals, named: str
) -> None:
    before = {each.name for each in tmp_path.iterdir()}
    environ = {**os.environ, "FACEKEEP_GALLERY": str(whole), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", STOPPED_WHILE_WRITING, str(int(number)), named, *words.split()],
        cwd=tmp_path,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    says = {2: "interrupted", 15: "terminated", 1: "the terminal was closed"}[int(number)]
    assert done.returncode == 128 + number
    assert done.stderr.splitlines()[-1] == f"facekeep: error: {says}"
    left = {each.name for each in tmp_path.rglob("*") if each.is_file()}
    assert {each for each in left if each.startswith(".") or "part" in each} == set()
    assert {each.name for each in tmp_path.iterdir()} - before <= {"Person 00"}


def test_who_is_told_to_ignore_the_end_of_the_terminal_goes_on(tmp_path: Path) -> None:
    """As ``nohup`` has it."""
    code = (
        "import os, signal, sys; from facekeep.cli import main as entry\n"
        "signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        "def go_on(words): os.kill(os.getpid(), signal.SIGHUP); return 0\n"
        "entry._invoke = go_on; sys.exit(entry.main([]))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")
