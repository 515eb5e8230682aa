"""``facekeep evaluate live``: what it prints, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from footage import draw_scene, portrait_people, write_footage

from facekeep import FaceEngine

Cli = Callable[..., Any]


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACEKEEP_THREADS", "1")


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory, ready_models: None) -> Path:
    """A folder with a gallery of one person, a video of her, and the truth."""
    folder = tmp_path_factory.mktemp("door")
    people = portrait_people(known=["Grace Hopper"])
    with FaceEngine(folder / "people.db", threads=1) as engine:
        engine.enroll(people[0].name, list(people[0].photos))
    write_footage(folder / "walk.mp4", draw_scene("walk", people))
    return folder


def test_figures_as_json_and_as_a_file(cli: Cli, door: Path, tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    done = cli(
        "evaluate",
        "live",
        door / "walk.mp4",
        door / "walk.csv",
        "--boxes",
        door / "walk.boxes.csv",
        "--gallery",
        door / "people.db",
        "--confirm",
        2,
        "--out",
        figures,
        "--json",
    )
    assert done.status == 0
    assert done.json["known"]["named"]["count"] == done.json["visits"] == 1
    assert done.json["settings"]["confirm"] == 2
    assert done.json["tracks"]["identity_switches"] == 0
    assert figures.exists()


def test_figures_for_people(cli: Cli, door: Path, tmp_path: Path) -> None:
    truth = tmp_path / "truth.csv"
    truth.write_text("start,end,name\n1.9,5.9,Zoe\n")
    done = cli("evaluate", "live", door / "walk.mp4", truth, "--gallery", door / "people.db")
    assert done.status == 0
    assert "strangers (1)" in done.out
    assert "wrong name as Grace Hopper: Zoe" in done.out
    assert "not in the gallery, so counted as strangers: Zoe" in done.err


@pytest.mark.parametrize(
    ("video", "truth", "message"),
    [
        ("walk.mp4", "start,end,name\n1,x,Ada\n", "truth.csv:2: 'x' is no number"),
        ("none.mp4", "start,end,name\n", "none.mp4"),
        ("walk.csv", "start,end,name\n", "walk.csv"),
    ],
)
def test_bad_input(
    cli: Cli, door: Path, tmp_path: Path, video: str, truth: str, message: str
) -> None:
    table = tmp_path / "truth.csv"
    table.write_text(truth)
    done = cli("evaluate", "live", door / video, table, "--gallery", door / "people.db")
    assert done.status == 2
    assert message in done.err
    assert done.err.count("\n") == 1
