"""``facekeep evaluate``: from images to figures, on real faces."""

from __future__ import annotations

import csv
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest

from facekeep import Detector, save_image
from facekeep.models import entry, import_model, locate
from facekeep.pipeline.align import align
from facekeep.runtime import RuntimeOptions

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    monkeypatch.setenv("FACEKEEP_THREADS", "1")
    monkeypatch.setenv("MPLCONFIGDIR", str(tmp_path_factory.getbasetemp() / "matplotlib"))


@pytest.fixture
def people(tmp_path: Path, hopper, collins, ready_models: None) -> Path:
    """Three photos each of Hopper and Collins, and one of Collins that shows a wall only."""
    folder = tmp_path / "people"
    for name, photo in (("hopper", hopper[:400, 60:460]), ("collins", collins[:260, 90:350])):
        (folder / name).mkdir(parents=True)
        save_image(folder / name / "plain.png", photo)
        save_image(folder / name / "dark.jpg", (photo * 0.6).astype(np.uint8))
        save_image(folder / name / "mirrored.jpg", photo[:, ::-1])
    save_image(folder / "collins" / "wall.png", np.full((90, 90, 3), 120, np.uint8))
    return folder


@pytest.fixture
def crops(tmp_path: Path, hopper, collins, ready_models: None) -> Path:
    """Twenty aligned faces each of Hopper and Collins, each shifted a little differently."""
    folder = tmp_path / "crops"
    rng = np.random.default_rng(0)
    with Detector(options=RuntimeOptions(threads=1)) as detector:
        for name, photo in (("hopper", hopper), ("collins", collins)):
            (folder / name).mkdir(parents=True)
            (face,) = detector.detect(photo)[:1]
            for number in range(20):
                points = face.landmarks + rng.normal(scale=1.5, size=(5, 2))
                save_image(folder / name / f"{number:02d}.png", align(photo, points, 112))
    return folder


def test_a_folder_of_people(cli, people: Path):
    outcome = cli("evaluate", "folder", people, "--model", "sface", "--json")
    assert outcome.status == 0
    result = outcome.json
    assert (result["protocol"], result["model"], result["data"]) == ("folder", "sface", "people")
    assert result["comparisons"] == {
        "mated": 3 + 6,
        "mated_failed": 3,
        "non_mated": 9,
        "non_mated_failed": 3,
    }
    assert result["failures"]["count"] == 1
    assert result["failures"]["images"] == [
        {"image": "collins/wall.png", "reason": "no face was found"}
    ]
    point = result["tar"]["1e-2"]
    assert point["tar"] == pytest.approx(6 / 9, abs=1e-6), "the wall costs three comparisons"
    assert point["tar_acquired"] == 1
    assert (point["low"], point["supported"]) == (None, False)
    assert result["settings"] == {
        "images": "raw",
        "detector": "yunet",
        "refiner": "facekeep-refiner",
        "flip": False,
    }
    assert "accuracy" not in result


def test_people_read_tables_and_a_report(cli, people: Path, tmp_path: Path):
    report, out = tmp_path / "report", tmp_path / "result.json"
    words = ["evaluate", "folder", people, "--fmr", "1e-1", "--report", report, "--out", out]
    outcome = cli(*words, "--cache", tmp_path / "faces")
    assert outcome.status == 0
    lines = outcome.out.splitlines()
    message = "7 images of 2 people, 9 mated and 9 non-mated comparisons"
    assert lines[0] == f"Verification of all pairs, people: {message}"
    assert lines[2].split()[:2] == ["sface", "1e-1"]
    assert any(line.startswith("mated: two images of one person; non-mated: ") for line in lines)
    assert any(line.startswith("supported: enough non-mated comparisons") for line in lines)
    assert "unknown, as that takes 10 people and here are 2" in outcome.out
    assert "no face taken from 1 of 7 images (14.29 %)" in lines
    assert "  collins/wall.png: no face was found" in lines
    assert lines[-1] == f"report: {report / 'report.html'}"
    page = (report / "report.html").read_text()
    assert f"facekeep evaluate folder {people} --fmr 0.1" in page
    assert (report / "false-matches-sface.jpg").stat().st_size > 3000
    assert list(json.loads(out.read_text())["tar"]) == ["1e-1"]
    again = cli(*words, "--cache", tmp_path / "faces", "--json").json
    assert again == json.loads(out.read_text()), "file and stdout say the same, to the digit"
    assert (report / "report.html").read_text() == page


def test_identification(cli, crops: Path):
    result = cli(
        "evaluate", "identify", crops, "--aligned", "--templates", "2", "--fmr", "1e-1", "--json"
    ).json
    assert result["rank_1"] == 1
    assert result["gallery"] == {"people": 1, "failed_to_enrol": 0}
    assert result["probes"]["mated"] == 18
    assert result["probes"]["strangers"] == 20
    assert result["fnir"]["1e-1"]["fnir"] == 0
    assert result["settings"]["images"] == "aligned crops"


def test_a_table_of_pairs_with_folds(cli, people: Path):
    rows = ["left,right,mated,fold"]
    for fold, kind in enumerate(["plain.png", "dark.jpg"]):
        rows += [f"{p}/{kind},{p}/mirrored.jpg,1,{fold}" for p in ("hopper", "collins")]
        rows.append(f"hopper/{kind},collins/{kind},0,{fold}")
    (people / "pairs.csv").write_text("\n".join(rows))
    result = cli("evaluate", "pairs", people / "pairs.csv", "--json").json
    assert (result["accuracy"], result["accuracy_sd"]) == (1, 0)
    assert (result["comparisons"]["mated"], result["comparisons"]["non_mated"]) == (4, 2)
    assert "people" not in result


def test_view_1_of_lfw_is_judged_at_the_threshold_of_its_other_list(cli, people: Path):
    for person in people.iterdir():
        for number, kind in enumerate(("plain.png", "dark.jpg", "mirrored.jpg"), 1):
            image = person / f"{person.name}_{number:04d}"
            (person / kind).rename(image.with_suffix(Path(kind).suffix))
    (people / "train.txt").write_text("1\nhopper 1 2\nhopper 1 collins 1\n")
    (people / "test.txt").write_text("1\ncollins 2 3\ncollins 2 hopper 3\n")
    words = ["evaluate", "lfw", "--images", people, "--pairs", people / "train.txt"]
    result = cli(*words, "--test", people / "test.txt", "--json").json
    assert (result["data"], result["accuracy"]) == ("LFW View 1", 1)
    assert "accuracy_sd" not in result
    assert result["comparisons"]["mated"] == result["comparisons"]["non_mated"] == 1
    assert "accuracy" not in cli(*words, "--json").json


def test_figures_are_not_lost_with_a_report_that_cannot_be_written(
    cli, crops: Path, tmp_path: Path
):
    report, out = tmp_path / "report", tmp_path / "result.json"
    (report / "report.html").mkdir(parents=True)
    words = ["evaluate", "folder", crops, "--aligned", "--fmr", "1e-1", "--fmr", "1e-1"]
    outcome = cli(*words, "--report", report, "--out", out)
    assert outcome.status == 2
    assert outcome.err.endswith("report: cannot be written: it is a folder; name a file\n")
    rows = [line for line in outcome.out.splitlines() if line.startswith("sface  1e-1")]
    assert len(rows) == 1, "a rate given twice is told once"
    assert list(json.loads(out.read_text())["tar"]) == ["1e-1"]


def own_model(name: str) -> None:
    sface = entry("sface")
    import_model(locate(sface), name, color=sface.color, mean=0, scale=1)


def test_calibrating_a_model_of_ones_own(cli, crops: Path):
    own_model("mine")
    outcome = cli("evaluate", "calibrate", crops, "--aligned", "--model", "mine")
    assert outcome.status == 0
    assert "mine: too few comparisons of different people for 1e-3, 1e-4, 1e-5, 1e-6" in outcome.out
    made = entry("mine")
    ((rate, cosine),) = made.thresholds
    assert rate == 1e-2
    assert -0.2 < cosine < 0.4
    assert made.comparisons == 400
    assert made.calibrated_on == "crops: 40 images of 2 people"
    assert made.calibration_command == (
        f"facekeep evaluate calibrate {crops} --aligned --model mine"
    )
    cli("evaluate", "calibrate", crops, "--aligned", "--model", "mine", "--no-write", "--flip")
    assert entry("mine") == made


def test_several_models_side_by_side(cli, crops: Path, tmp_path: Path):
    own_model("mine")
    words = ["evaluate", "folder", crops, "--aligned", "--model", "sface", "--model", "mine"]
    results = cli(*words, "--json", "--report", tmp_path / "report").json["results"]
    assert [result["model"] for result in results] == ["sface", "mine"]
    ours, theirs = (each["tar"] for each in results)
    assert ours.keys() == theirs.keys()
    for rate, point in ours.items():
        assert point == pytest.approx(theirs[rate], abs=1e-5), "it is the same network"
    assert (tmp_path / "report" / "scores-mine.png").is_file()


def test_a_built_in_model_is_measured_but_not_changed(cli, crops: Path):
    words = ["evaluate", "calibrate", crops, "--aligned", "--model", "sface"]
    refused = cli(*words)
    assert refused.status == 2
    assert "model 'sface' is built in" in refused.err
    assert cli(*words, "--no-write", "--json").json["tar"]["1e-2"]["fmr"] <= 1e-2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["folder", "nowhere"], "nowhere: is no folder"),
        (["folder", "people/collins"], "holds no pictures in folders"),
        (["lfw", "--images", "people", "--pairs", "pairs.txt"], "pairs.txt: cannot be read"),
        (["lfw", "--images", "nowhere", "--pairs", "pairs.txt"], "nowhere: is no folder"),
        (["pairs", "pairs.csv"], "pairs.csv: cannot be read"),
        (["bin", "pack.bin"], "pack.bin: cannot be read"),
        (["cfp", "people"], "people/Protocol/"),
        (["ijb", "people", "--set", "b"], "people/meta/ijbb_face_tid_mid.txt: cannot be read"),
        (["folder", "people", "--model", "nobody"], "no model"),
        (["folder", "people", "--model", "yunet"], "yunet is a model to detect"),
        (["folder", "people", "--fmr", "2"], "a target FMR must lie between 0 and 1"),
        (["folder", "people", "--out", "people"], "people: cannot be written"),
        (["folder", "people", "--out", "no/where.json"], "where.json: cannot be written"),
        (["folder", "people", "--report", "file/report"], "no report can be written there"),
        (["folder", "one"], "there are no non-mated comparisons to measure on: the data hold"),
        (["folder", "each"], "there are no mated comparisons to measure on: the data hold none"),
        (["identify", "each"], "nobody with more than 1 templates"),
        (["calibrate", "people", "--no-write"], "9 comparisons of different people are too few"),
        (["calibrate", "people"], "model 'sface' is built in"),
    ],
)
def test_bad_input_is_one_line(
    cli, people: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], message: str
):
    monkeypatch.chdir(people.parent)
    Path("file").write_text("no folder")
    for name in ("hopper", "collins"):
        Path("each", name).mkdir(parents=True)
        Path("each", name, "plain.png").symlink_to(people / name / "plain.png")
    Path("one").mkdir()
    Path("one", "hopper").symlink_to(people / "hopper")
    outcome = cli("evaluate", *words, "-q")
    assert outcome.status == 2
    assert outcome.out == ""
    assert outcome.err.count("\n") == 1
    assert message in outcome.err


def test_an_image_that_cannot_be_read_is_a_failure(cli, people: Path):
    (people / "hopper" / "broken.jpg").write_bytes(b"this is no picture")
    result = cli("evaluate", "folder", people, "--json").json
    assert result["failures"]["count"] == 2
    assert {each["image"] for each in result["failures"]["images"]} == {
        "collins/wall.png",
        "hopper/broken.jpg",
    }


@pytest.mark.shared
def test_lfw_in_small(cli, shared: Path, tmp_path: Path, ready_models: None):
    """Two folds of eight pairs of the official list, from the raw images."""
    listed = (shared / "lfw" / "pairs.txt").read_text().splitlines()
    rows = ["2\t4"]
    for fold in range(2):
        start = 1 + 600 * fold
        rows += listed[start : start + 4] + listed[start + 300 : start + 304]
    pairs = tmp_path / "pairs.txt"
    pairs.write_text("\n".join(rows) + "\n")
    words = ["--images", shared / "lfw" / "images", "--pairs", pairs, "--model", "sface"]
    result = cli("evaluate", "lfw", *words, "--json").json
    assert result["protocol"] == "lfw"
    assert result["accuracy"] >= 15 / 16
    assert result["accuracy_sd"] <= 1 / 8
    assert len(result["folds"]) == 2
    assert result["comparisons"]["mated"] == result["comparisons"]["non_mated"] == 8
    assert result["failures"]["count"] == 0


@pytest.mark.shared
def test_calibration_on_labeled_faces(cli, shared: Path, tmp_path: Path, ready_models: None):
    """The thresholds that a hundred celebrities give are near those of the catalog."""
    with (shared / "faces" / "index.tsv").open(newline="") as stream:
        index = {row["key"]: row["identity"] for row in csv.DictReader(stream, delimiter="\t")}
    with tarfile.open(shared / "faces" / "faces-000.tar") as archive:
        for member in archive.getmembers():
            who = index.get(Path(member.name).stem, "")
            if who.startswith("celeba/") and len(list(tmp_path.glob("*/*"))) < 250:
                folder = tmp_path / who.removeprefix("celeba/")
                folder.mkdir(exist_ok=True)
                stream = archive.extractfile(member)
                assert stream is not None
                (folder / Path(member.name).name).write_bytes(stream.read())
    words = ["evaluate", "calibrate", tmp_path, "--aligned", "--model", "sface", "--no-write"]
    result = cli(*words, "--json").json
    known = dict(entry("sface").thresholds)
    assert {"1e-2", "1e-3"} <= set(result["tar"])
    for rate, tolerance in ((1e-2, 0.03), (1e-3, 0.05)):
        measured = result["tar"][f"1e{round(np.log10(rate))}"]["threshold"]
        assert measured == pytest.approx(known[rate], abs=tolerance)
