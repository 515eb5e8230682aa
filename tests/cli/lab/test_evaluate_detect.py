"""``facekeep evaluate detect`` and ``--conditions``, on real faces."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from facekeep import Detector, save_image
from facekeep.runtime import RuntimeOptions

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    monkeypatch.setenv("FACEKEEP_THREADS", "1")
    monkeypatch.setenv("MPLCONFIGDIR", str(tmp_path_factory.getbasetemp() / "matplotlib"))


@pytest.fixture
def photos(tmp_path: Path, hopper, collins, ready_models: None) -> Path:
    """Hopper and Collins, annotated with what the detector finds in the whole photos."""
    folder = tmp_path / "photos"
    folder.mkdir()
    with Detector(options=RuntimeOptions(threads=1)) as detector:
        for name, photo in (("hopper", hopper), ("collins", collins)):
            save_image(folder / f"{name}.png", photo)
            (face,) = detector.detect(photo)[:1]
            faces = [{"landmarks": face.landmarks.tolist(), "bbox": face.bbox.tolist()}]
            (folder / f"{name}.json").write_text(json.dumps({"faces": faces, "person": name}))
    return folder


def test_a_detector_finds_what_it_found_before(cli, photos: Path, tmp_path: Path):
    report, out = tmp_path / "report", tmp_path / "result.json"
    scenes = tmp_path / "scenes"
    scenes.mkdir()
    save_image(scenes / "wall.png", np.full((90, 120, 3), 120, np.uint8))
    words = ["evaluate", "detect", photos, "--sizes", "24,64", "--model", "yunet"]
    outcome = cli(*words, "--scenes", scenes, "--report", report, "--out", out)
    assert outcome.status == 0
    lines = outcome.out.splitlines()
    message = "2 photos of 2 people, shown as 4 faces in 2 mosaics; photos without annotations: 1"
    assert lines[0] == f"Detection, photos: {message}"
    assert lines[2].split() == ["yunet", "all", "4", "100.00", "%", "unknown", "100.00", "%"]
    assert lines[-1] == f"report: {report / 'report.html'}"
    page = (report / "report.html").read_text()
    assert f"facekeep evaluate detect {photos} --model yunet --sizes 24,64" in page
    assert (report / "precision.png").stat().st_size > 3000
    result = json.loads(out.read_text())
    assert (result["protocol"], result["model"], result["photos"]) == ("detect", "yunet", 2)
    assert result["all"]["ap"] == 1
    assert result["sizes"]["64"]["landmarks"]["mean"] < 0.15
    assert result["scores"]["0.7"]["boxes_per_scene"] == 0
    assert result["settings"] == {
        "refiner": "facekeep-refiner",
        "hard": False,
        "seed": 0,
        "iou": 0.5,
        "lowest_score": 0.05,
    }
    again = cli(*words, "--scenes", scenes, "--json").json
    assert {**again, "time_ratio": 0} == {**result, "time_ratio": 0}


def test_detectors_are_timed_against_the_first(cli, photos: Path):
    words = ["evaluate", "detect", photos, "--sizes", "40"]
    both = cli(*words, "--model", "yunet", "--model", "facekeep-detect").out.splitlines()
    row = next(number for number, line in enumerate(both) if line.startswith("Time on one thread"))
    assert both[row + 2].split() == ["yunet", "1.00"]
    name, ratio = both[row + 3].split()
    assert name == "facekeep-detect"
    assert float(ratio) > 0


def test_people_held_out_are_shown_alone(cli, photos: Path):
    result = cli("evaluate", "detect", photos, "--sizes", "40", "--holdout", 1, "--json").json
    assert (result["people"], result["photos"], result["all"]["faces"]) == (1, 1, 1)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--sizes", "20,wide"], "--sizes must be whole numbers, such as 20,40,80"),
        (["--sizes", "1"], "sizes of faces must be from 4 to 256"),
        (["--holdout", "2"], "--holdout must be from 1 to 1"),
        (["--model", "sface"], "not to detect"),
        (["--scenes", "nowhere"], "nowhere"),
        (["--out", "nowhere/result.json"], "cannot be written"),
    ],
)
def test_what_cannot_be_measured_is_refused(cli, photos: Path, words: list[str], message: str):
    outcome = cli("evaluate", "detect", photos, *words)
    assert outcome.status == 2
    assert message in outcome.err
    assert outcome.err.count("\n") == 1
    assert not outcome.out


def test_a_scene_that_cannot_be_read_is_named(cli, photos: Path, tmp_path: Path):
    scenes = tmp_path / "scenes"
    scenes.mkdir()
    (scenes / "torn.png").write_bytes(b"\x89PNG torn")
    outcome = cli("evaluate", "detect", photos, "--sizes", "40", "--scenes", scenes)
    assert outcome.status == 2
    assert "torn" in outcome.err


def test_photos_without_annotations_are_refused(cli, tmp_path: Path, hopper):
    save_image(tmp_path / "hopper.png", hopper)
    outcome = cli("evaluate", "detect", tmp_path)
    assert outcome.status == 2
    assert "annotation" in outcome.err


@pytest.fixture
def people(tmp_path: Path, hopper, collins, ready_models: None) -> Path:
    folder = tmp_path / "people"
    for name, photo in (("hopper", hopper[:400, 60:460]), ("collins", collins[:260, 90:350])):
        (folder / name).mkdir(parents=True)
        save_image(folder / name / "plain.png", photo)
        save_image(folder / name / "dark.png", (photo * 0.3).astype(np.uint8))
    return folder


def test_verification_is_told_by_conditions(cli, people: Path, tmp_path: Path):
    report = tmp_path / "report"
    words = ["evaluate", "folder", people, "--fmr", "1e-1", "--conditions"]
    outcome = cli(*words, "--report", report)
    assert outcome.status == 0
    assert "by the worse face of each comparison" in outcome.out
    assert (report / "conditions.png").is_file()
    assert "By conditions of the image" in (report / "report.html").read_text()
    found = cli(*words, "--json").json["conditions"]
    assert set(found["by"]) == {"size", "sharpness", "brightness", "contrast", "yaw"}
    assert found["target"] == 0.1
    darkest = found["by"]["brightness"][0]
    assert darkest["faces"] == 2
    assert darkest["mated"] == 2, "the dark photo is the worse one of each person's two"
    assert darkest["non_mated"] == 3, "and of all comparisons but that of the two others"
    assert "conditions" not in cli(*words[:-1], "--json").json
