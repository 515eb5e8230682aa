"""The process that ``benchmarks/live.py`` measures."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from footage import draw_scene, portrait_people, write_footage

from facekeep import FaceEngine

WORKER = Path(__file__).resolve().parents[2] / "benchmarks" / "live_worker.py"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def gallery(tmp_path_factory: pytest.TempPathFactory, ready_models: None) -> Path:
    path = tmp_path_factory.mktemp("gallery") / "people.db"
    with FaceEngine(path, threads=1) as engine:
        for person in portrait_people():
            engine.enroll(person.name, list(person.photos))
    return path


def work(**asked: Any) -> list[dict[str, Any]]:
    asked["cores"] = [min(os.sched_getaffinity(0))]
    command = [sys.executable, str(WORKER), json.dumps(asked)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=200)
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_a_file_is_worked_through_and_counted(tmp_path: Path, gallery: Path) -> None:
    video = tmp_path / "walk.mp4"
    people = portrait_people()
    write_footage(video, draw_scene("walk", people))
    (counted,) = work(do="watch", sources=[str(video)], gallery=str(gallery))
    assert counted["frames"] == counted["cameras"][0]["frames"] == 9 * 25
    assert counted["arrivals"] == [people[0].name]
    assert counted["processor"] > 0
    assert counted["wall"] > 0
    assert 50 < counted["rss"] <= counted["peak"]


def test_the_delay_is_told_by_the_pictures(gallery: Path) -> None:
    asked = {"do": "serve", "cores": [min(os.sched_getaffinity(0))], "seconds": 5.0, "fps": 10}
    command = [sys.executable, str(WORKER), json.dumps(asked)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            url = server.stdout.readline().strip()
            (counted,) = work(
                do="watch",
                sources=[url],
                gallery=str(gallery),
                stamped=True,
                seconds=12.0,
                options={"absence": 0.5, "cooldown": 0.0},
            )
        finally:
            server.kill()
    assert counted["cameras"][0]["error"] is None
    assert len(counted["waits"]) == len(counted["arrivals"]) > 0
    assert all(0 <= wait < 30 for wait in counted["waits"])
