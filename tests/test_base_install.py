"""What a base install runs needs no library that only extras bring."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from photo_kit import Pixels

import facekeep
from facekeep import save_image

SOURCE = Path(facekeep.__file__).parent
# Where OpenCV may be imported: training, which has it by its extra.
WITH_OPENCV = ("lab/train/", "lab/datasets/augment.py")
ANOTHER = ["--embedder", "facekeep-xs", "--terms", "facekeep-xs"]
# Runs commands in one process in which OpenCV cannot be imported, and prints who tried.
WITHOUT_OPENCV = """
import json, sys

class Absent:
    tried = []

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "cv2":
            self.tried.append(name)
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
from facekeep.cli.main import main

statuses = [main(words) for words in json.loads(sys.argv[1])]
print(json.dumps({"statuses": statuses, "tried": Absent.tried}), file=sys.stderr)
"""


def run(commands: list[list[str]], folder: Path) -> list[int]:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_OPENCV, json.dumps(commands)],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stderr.strip().rpartition("\n")[2])
    assert printed["tried"] == [], done.stderr
    statuses: list[int] = printed["statuses"]
    wrong = [
        command for command, status in zip(commands, statuses, strict=True) if status not in (0, 1)
    ]
    assert wrong == [], done.stderr
    return statuses


@pytest.fixture
def photos(tmp_path: Path, ready_models: None, hopper: Pixels, collins: Pixels) -> Path:
    for name, face in {"hopper": hopper[:400, 60:460], "collins": collins[:260, 90:350]}.items():
        (tmp_path / "people" / name).mkdir(parents=True)
        for number, kept in enumerate((0, 6)):
            path = tmp_path / "people" / name / f"{number}.jpg"
            save_image(path, np.ascontiguousarray(face[kept:, kept:]))
    save_image(tmp_path / "large.png", np.kron(hopper, np.ones((4, 4, 1), np.uint8)))
    return tmp_path


@pytest.mark.slow
def test_every_command_for_faces_and_people_works_without_opencv(photos: Path) -> None:
    hopper, again, collins = "people/hopper/0.jpg", "people/hopper/1.jpg", "people/collins/0.jpg"
    commands = [
        ["detect", hopper, "--crops", "crops", "--out", "marked.png", "--json"],
        ["detect", "large.png", "--json"],
        ["enroll", "Hopper", hopper, "--keep-crops", "--json"],
        ["enroll", "Collins", collins, "--keep-crops", "--json"],
        ["identify", again, "--json"],
        ["verify", hopper, again, "--json"],
        ["search", hopper, "people", "--out", "found.png", "--json"],
        ["cluster", "people", "--out", "groups.png", "--json"],
        ["gallery", "migrate", *ANOTHER, "--json"],
        ["identify", again, *ANOTHER, "--json"],
        ["people", "list", "--json"],
        ["doctor", "--json"],
    ]
    assert run(commands, photos)[:10] == [0] * 10
    assert {path.suffix for path in (photos / "crops").iterdir()} == {".png"}


@pytest.mark.slow
def test_demo_and_measurements_work_without_opencv(photos: Path) -> None:
    commands = [
        ["demo", "--out", "shown", "--json"],
        ["align", "people", "--out", "aligned", "--json"],
        ["evaluate", "folder", "people", "--model", "facekeep-xs", "--json"],
        ["evaluate", "folder", "aligned", "--aligned", "--report", "report", "--json"],
        ["bench", "decode", "detect", "align", "embed", "--repeats", "3", "--json"],
    ]
    assert run(commands, photos) == [0] * 5


def test_only_training_imports_opencv() -> None:
    found = set()
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [each.name for each in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            if any(name.partition(".")[0] == "cv2" for name in names):
                found.add(path.relative_to(SOURCE).as_posix())
    assert [path for path in sorted(found) if not path.startswith(WITH_OPENCV)] == []
