"""The programs in examples/ run as they are and print what they promise."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from video_servers import write_video

from facekeep import load_image, save_image
from facekeep.pipeline.warp import resize

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]
PROGRAMS = sorted((ROOT / "examples").glob("*.py"))


@pytest.fixture
def photos(
    tmp_path: Path, ready_models: None, hopper: NDArray[np.uint8], collins: NDArray[np.uint8]
) -> Path:
    """Photos of two people: a folder for each, and photos to look at."""
    people, photo_folder = tmp_path / "people", tmp_path / "photos"
    for folder in (people / "Grace Hopper", people / "Eileen Collins", photo_folder):
        folder.mkdir(parents=True)
    height = min(len(hopper), len(collins))
    save_image(people / "Grace Hopper" / "one.jpg", hopper)
    save_image(people / "Eileen Collins" / "one.jpg", collins)
    save_image(photo_folder / "1.jpg", np.hstack([hopper[:height], collins[:height]]))
    save_image(photo_folder / "2.jpg", (hopper * 0.7).astype(np.uint8))
    save_image(photo_folder / "3.jpg", np.full((200, 300, 3), 128, np.uint8))
    return tmp_path


def run(program: str, *words: object, folder: Path) -> list[str]:
    """Run an example, which must succeed without a warning; return what it printed."""
    command = [sys.executable, "-W", "error", ROOT / "examples" / program, *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


def enroll(photos: Path) -> list[str]:
    return run("enroll_folder.py", "people.db", "people", folder=photos)


def test_enroll_a_folder_of_people(photos: Path) -> None:
    save_image(photos / "people" / "Grace Hopper" / "wall.jpg", np.zeros((200, 200, 3), np.uint8))
    assert enroll(photos) == [
        "Eileen Collins: 1 photos enrolled",
        "Grace Hopper: 1 photos enrolled",
        "  not used: people/Grace Hopper/wall.jpg: no_face",
    ]


def test_name_the_people_in_a_photo(photos: Path) -> None:
    enroll(photos)
    lines = run("name_people.py", "people.db", "photos/1.jpg", "marked.png", folder=photos)
    assert sorted(line.partition(" at ")[0] for line in lines) == ["Eileen Collins", "Grace Hopper"]
    before, after = load_image(photos / "photos/1.jpg"), load_image(photos / "marked.png")
    assert before.shape == after.shape
    assert (before != after).any()


def test_verify_two_photos(photos: Path) -> None:
    grace, eileen = "people/Grace Hopper/one.jpg", "people/Eileen Collins/one.jpg"
    assert run("verify_photos.py", grace, "photos/2.jpg", folder=photos)[0].startswith("yes 0.9")
    assert run("verify_photos.py", grace, eileen, folder=photos)[0].startswith("no 0.")
    (line,) = run("verify_photos.py", grace, "photos/3.jpg", folder=photos)
    assert line.startswith("no: there is no face")


def test_search_a_folder(photos: Path) -> None:
    lines = run("search_folder.py", "people/Grace Hopper/one.jpg", "photos", folder=photos)
    assert {line.partition(" ")[2] for line in lines[:-1]} == {"photos/1.jpg", "photos/2.jpg"}
    assert lines[-1] == "found in 2 of 3 photos"


def test_name_people_in_frames(photos: Path) -> None:
    enroll(photos)
    lines = run("camera_loop.py", "people.db", "photos", folder=photos)
    assert re.fullmatch("frame 1: (Grace Hopper, Eileen Collins|Eileen Collins, .*)", lines[0])
    assert lines[1:] == ["frame 2: Grace Hopper", "frame 3: nobody"]


def test_say_who_comes_and_leaves(photos: Path, hopper: NDArray[np.uint8]) -> None:
    enroll(photos)
    video = photos / "film.mp4"
    picture = resize(np.ascontiguousarray(hopper[:480, :480]), 320, 320)
    write_video(video, [picture] * 30, fps=10)
    lines = run("watch_camera.py", "people.db", video, folder=photos)
    assert lines == ["Grace Hopper arrived", "Grace Hopper left"]


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda each: each.stem)
def test_without_arguments_an_example_says_how_it_is_run(program: Path) -> None:
    done = subprocess.run(
        [sys.executable, program], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 1
    assert f"python examples/{program.name} " in done.stderr
    assert "Traceback" not in done.stderr


def test_every_example_is_tested_and_short() -> None:
    tests = Path(__file__).read_text()
    for program in PROGRAMS:
        assert program.name in tests
        assert len(program.read_text().splitlines()) <= 35
