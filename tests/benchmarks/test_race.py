"""The race between libraries: the driver and worker, the protocol of LFW, the tables."""

from __future__ import annotations

import json
import sys
import time
from argparse import Namespace
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from facekeep.lab.evaluate.metrics import FAILED

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))  # for the package of scripts, which is not installed

from benchmarks.peers.__main__ import Results, _size  # noqa: E402
from benchmarks.peers.driver import (  # noqa: E402
    PeerError,
    Runner,
    Worker,
    environment,
    interleaved,
)
from benchmarks.peers.lfw import main_rows, scores_of  # noqa: E402
from benchmarks.peers.report import publish, table, text  # noqa: E402
from benchmarks.peers.roster import PEERS, Peer  # noqa: E402
from benchmarks.peers.venvs import Workshop, size_of  # noqa: E402


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Worker]:
    runner = Runner(Path(sys.executable), "fake_peer", tmp_path, {})
    with Worker(runner, threads=1, path=ROOT / "tests" / "helpers") as started:
        yield started


@pytest.fixture
def image(tmp_path: Path) -> str:
    return save(tmp_path / "image.npy", 7)


def save(path: Path, value: int) -> str:
    np.save(path, np.full((12, 12, 3), value, np.uint8))
    return str(path)


@pytest.mark.slow
def test_a_worker_times_frames_and_says_what_it_found(worker, image):
    answer = worker.ask("frame", image=image, times=3)
    assert answer["boxes"] == [[0, 0, 2, 2], [3, 3, 9, 9]]
    assert len(answer["ms"]) == len(answer["cpu_ms"]) == 3
    assert min(answer["ms"]) > 0
    assert worker.ask("frame", image=image, times=0)["ms"] == []


@pytest.mark.slow
def test_a_worker_embeds_searches_and_tells_its_memory(worker, image):
    assert len(worker.ask("embed", image=image, times=2)["ms"]) == 2
    worker.ask("gallery", count=300)
    assert len(worker.ask("search")["ms"]) == 1
    assert worker.ask("memory")["peak"] > 2**20


@pytest.mark.slow
def test_search_finds_whom_it_looks_for(worker):
    worker.ask("gallery", count=2)  # two in 64 dimensions lie far apart
    assert all(worker.ask("search")["right"] for _ in range(5))


@pytest.mark.slow
def test_a_worker_keeps_the_faces_of_many_photos(worker, tmp_path):
    photos = np.zeros((3, 12, 12, 3), np.uint8)
    photos[1:] = 9
    np.save(tmp_path / "photos.npy", photos)
    target = tmp_path / "rows.npz"
    worker.ask("embed_files", images=str(tmp_path / "photos.npy"), out=str(target))
    with np.load(target) as found:
        assert found["owner"].tolist() == [1, 1, 2, 2]
        assert found["rows"].shape == (4, 64)


@pytest.mark.slow
def test_a_failure_is_one_line_and_the_worker_goes_on(worker, image, tmp_path):
    white = save(tmp_path / "white.npy", 254)
    with pytest.raises(PeerError, match=r"^ValueError: this library$"):
        worker.ask("frame", image=white)
    assert worker.ask("frame", image=image)["boxes"]


@pytest.mark.slow
def test_a_process_that_ends_is_told(worker, image, tmp_path):
    with pytest.raises(PeerError, match="its process ended"):
        worker.ask("frame", image=save(tmp_path / "deadly.npy", 255))
    with pytest.raises(PeerError, match="its process ended"):
        worker.ask("memory")


@pytest.mark.slow
def test_a_library_that_cannot_be_loaded_is_told(tmp_path):
    runner = Runner(Path(sys.executable), "adapters.no_such", tmp_path, {})
    with Worker(runner, 1) as started, pytest.raises(PeerError, match="no_such"):
        started.ask("memory")


@pytest.mark.slow
def test_a_worker_sees_its_own_home_and_its_limit(tmp_path, monkeypatch):
    monkeypatch.setenv("FACEKEEP_MODELS", "elsewhere")
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    one, all_cores = environment(tmp_path, 1), environment(tmp_path, 0)
    assert one["HOME"] == str(tmp_path)
    assert one["OMP_NUM_THREADS"] == one["OPENBLAS_NUM_THREADS"] == "1"
    assert "OMP_NUM_THREADS" not in all_cores
    assert "FACEKEEP_MODELS" not in one


def test_turns_change_their_order_and_a_failure_ends_only_its_own():
    order = []

    def turn(name):
        order.append(name)
        if name == "b" and order.count("b") == 2:
            raise PeerError("tired")
        return {"ms": [1.0]}

    answers, failed = interleaved(["a", "b", "c"], 3, turn, pause=0)
    assert order == ["a", "b", "c", "b", "c", "a", "c", "a"]
    assert failed == {"b": "tired"}
    assert {name: len(turns) for name, turns in answers.items()} == {"a": 3, "c": 3}


def test_turns_are_not_taken_side_by_side():
    spans = []

    def turn(name):
        start = time.perf_counter()
        time.sleep(0.002)
        spans.append((start, time.perf_counter()))
        return {}

    interleaved(["a", "b"], 2, turn, pause=0)
    assert all(one[1] <= two[0] for one, two in pairwise(spans))


def test_the_face_that_a_photo_is_about_is_chosen_as_the_evaluation_does():
    found = {
        "rows": np.array([[1.0, 0.0], [0.0, 2.0], [3.0, 0.0]]),
        "boxes": np.array([[0, 0, 40, 40], [100, 100, 150, 150], [10, 10, 20, 20]], float),
        "owner": np.array([0, 0, 2]),
    }
    rows = main_rows(found, 3, np.array([125.0, 125.0]))
    assert rows.tolist() == [[0, 2], [0, 0], [3, 0]]


def test_scores_are_cosines_or_distances_and_failures():
    rows = np.array([[3, 0], [0, 2], [0, 0], [1, 0]], np.float32)
    left, right = np.array([0, 0, 0]), np.array([1, 2, 3])
    assert scores_of(rows, left, right, distance=False).tolist() == [0, FAILED, 1]
    near, none, far = scores_of(rows[[0, 3, 2, 1]], left, right, distance=True)
    assert none == FAILED
    assert near == 0
    assert far == pytest.approx(1 - np.sqrt(13) / 2)


def test_bytes_are_counted_once(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "file").write_bytes(bytes(10))
    (tmp_path / "link").symlink_to(tmp_path / "a" / "file")
    assert size_of(tmp_path) == 10
    assert size_of(tmp_path / "a" / "file") == 10


def peer(**changes) -> Peer:
    facts = {"name": "one", "title": "One", "adapter": "fake_peer", "venv": "one", "install": ()}
    return Peer(**facts | {"commercial": True, "license": "none"} | changes)


@pytest.mark.slow
def test_an_environment_is_made_once_for_the_same_packages(tmp_path):
    workshop = Workshop(tmp_path)
    wheel = tmp_path / "facekeep.whl"
    runner = workshop.set_up(peer(), wheel)
    assert runner.python.exists()
    assert runner.home.is_dir()
    mark = runner.python.with_name("mark")
    mark.touch()
    workshop.set_up(peer(), wheel)
    assert mark.exists()
    with pytest.raises(PeerError, match=r"^it cannot be installed: ERROR"):
        workshop.set_up(peer(install=("./no_such_package-1-py3-none-any.whl",)), wheel)
    assert not mark.exists()


@pytest.mark.slow
def test_a_library_that_does_not_start_stops_nobody_else(tmp_path):
    runner = Runner(Path(sys.executable), "adapters.no_such", tmp_path, {})
    results = Results(tmp_path / "results.json")
    _size(Namespace(), Workshop(tmp_path), [(peer(), runner), (peer(name="two"), runner)], results)
    found = results.content["peers"]
    assert all("no_such" in found[name]["installed"]["failed"] for name in ("one", "two"))


def test_a_peer_whose_network_is_unknown_takes_no_part(tmp_path):
    with pytest.raises(PeerError, match="this checkout has no model 'nothing'"):
        Workshop(tmp_path).set_up(peer(options={"embedder": "nothing"}), tmp_path / "wheel")


RESULTS = {
    "machine": {
        "processor": "a processor",
        "cores": 2,
        "load": 0.5,
        "python": "3.11",
        "date": "2026-01-01",
        "facekeep": "1",
    },
    "peers": {
        "facekeep": {
            "failed": None,
            "installed": 4.2e8,
            "lfw": 99.37,
            "threads": {"one": {"start_ms": 400.0, "one_ms": 20.0, "one_faces": 1, "rss": 2e8}},
        },
        "opencv": {
            "failed": None,
            "installed": 2.7e8,
            "lfw": {"failed": "no photos"},
            "threads": {"one": {"one_ms": 19.5, "one_faces": 2, "five_ms": {"failed": "tired"}}},
        },
        "deepface": {"failed": "it cannot be installed: no network"},
    },
}


def test_the_table_marks_the_best_and_leaves_the_unknown_open():
    written = text(RESULTS, "peers.png")
    assert "| **400** | **20** | - |" in written
    assert "| - | 19.5 (2 found) | - |" in written
    assert "**270**" in written
    assert "**99.37**" in written
    assert "- OpenCV 5: FaceDetectorYN, FaceRecognizerSF: five_ms: tired." in written
    assert "- OpenCV 5: FaceDetectorYN, FaceRecognizerSF: lfw: no photos." in written
    assert "it cannot be installed: no network" in written


def test_a_table_without_numbers_says_so():
    assert table({}, [], "one") == "Not measured.\n"


@pytest.mark.slow
def test_publishing_again_changes_nothing_else(tmp_path):
    page = tmp_path / "peers.md"
    page.write_text((ROOT / "docs" / "peers.md").read_text())
    publish(RESULTS, page)
    once = page.read_text()
    publish(RESULTS, page)
    assert page.read_text() == once
    assert once.startswith("# Comparison with other libraries")
    assert "**400**" in once
    assert json.loads(page.with_suffix(".json").read_text()) == RESULTS
    assert page.with_suffix(".png").stat().st_size > 1000


def test_everybody_who_shares_a_search_shares_it_with_one_who_has_it():
    by_name = {peer.name: peer for peer in PEERS}
    for peer in PEERS:
        assert (ROOT / "benchmarks/peers" / f"{peer.adapter.replace('.', '/')}.py").is_file()
        assert bool(peer.search) != bool(peer.searches_as)
        if peer.searches_as:
            assert by_name[peer.searches_as].search
    shared = {peer.venv: peer.install for peer in PEERS}
    assert all(shared[peer.venv] == peer.install for peer in PEERS)
