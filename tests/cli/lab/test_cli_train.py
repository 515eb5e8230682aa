"""``facekeep train`` as its users meet it: processes, signals, several of them, names, errors."""

from __future__ import annotations

import json
import os
import re
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from train_kit import losses, small, stopping_after, write_people

from facekeep import save_image
from facekeep.errors import StorageFull
from facekeep.lab.nn import create_model, save_checkpoint
from facekeep.lab.train.run import train
from facekeep.models import entry
from facekeep.pipeline.align import align
from facekeep.pipeline.detect import Detector
from facekeep.runtime import RuntimeOptions

SMALL = [
    *("--input-size", "64", "--batch", "8", "--steps", "12", "--holdout", "3"),
    *("--eval-every", "5", "--checkpoint-every", "2"),
    *("--workers", "0", "--threads", "1", "--device", "cpu"),
]


TWO_PEOPLE = [*SMALL, "--batch", "4", "--steps", "2", "--holdout", "0"]

TWO = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")


def start(*words: object, launcher: tuple[str, ...] = ()) -> subprocess.Popen[str]:
    command = [sys.executable, *launcher, "-m", "facekeep", "train", *map(str, words)]
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def wait_for(path: Path, child: subprocess.Popen[str]) -> None:
    while not path.exists():
        assert child.poll() is None, child.communicate()[1]
        time.sleep(0.005)


@pytest.fixture(scope="session")
def straight(tmp_path_factory: pytest.TempPathFactory, people: Path) -> Path:
    """The folder of a run that nothing disturbed."""
    folder = tmp_path_factory.mktemp("straight") / "run"
    child = start("--data", people, "--out", folder, *SMALL, "--json")
    out, err = child.communicate()
    assert child.returncode == 0, err
    assert json.loads(out)["finished"] is True
    return folder


def assert_same(folder: Path, straight: Path) -> None:
    assert (folder / "model.pt").read_bytes() == (straight / "model.pt").read_bytes()
    assert losses(folder / "log.csv") == losses(straight / "log.csv")


@pytest.mark.slow
def test_a_killed_run_goes_on_to_the_same_end(cli, tmp_path: Path, people: Path, straight: Path):
    folder = tmp_path / "run"
    child = start("--data", people, "--out", folder, *SMALL)
    wait_for(folder / "checkpoint.pt", child)
    child.kill()
    child.communicate()
    assert not (folder / "model.pt").exists()
    outcome = cli("train", "--resume", "--out", folder, "--threads", 1)
    assert outcome.status == 0, outcome.err
    assert_same(folder, straight)


@pytest.mark.slow
def test_ctrl_c_saves_a_checkpoint_and_says_how_to_go_on(
    cli, tmp_path: Path, people: Path, straight: Path
):
    folder = tmp_path / "run"
    child = start("--data", people, "--out", folder, *SMALL)
    wait_for(folder / "log.csv", child)
    child.send_signal(signal.SIGINT)
    out, err = child.communicate()
    assert child.returncode == 130
    assert out.startswith("stopped after step ")
    assert out.endswith(f"; go on with: facekeep train --resume --out {folder}\n")
    assert "Traceback" not in err
    outcome = cli("train", "--resume", "--out", folder, *SMALL)
    assert outcome.status == 0, outcome.err
    assert_same(folder, straight)


def assert_alike(log: Path, straight: Path) -> None:
    """The same rows, but for what several processes round otherwise."""
    one, two = losses(straight), losses(log)
    assert [row[0] for row in one] == [row[0] for row in two]
    for place in range(2, len(one[0])):
        cells = [[row[place] for row in each[1:] if row[place]] for each in (one, two)]
        assert np.allclose(*np.array(cells, float), rtol=2e-3), one[0][place]


@pytest.mark.slow
def test_two_processes_learn_what_one_does(tmp_path: Path, people: Path, straight: Path):
    folder = tmp_path / "run"
    child = start("--data", people, "--out", folder, *SMALL, "--json", launcher=TWO)
    out, err = child.communicate()
    assert child.returncode == 0, err
    summary = json.loads(out)
    assert (summary["processes"], summary["samples_seen"]) == (2, 96)
    assert_alike(folder / "log.csv", straight / "log.csv")


@pytest.mark.slow
def test_two_processes_go_on_where_one_stopped(tmp_path: Path, people: Path, straight: Path):
    folder = tmp_path / "run"
    train(small(people, steps=12, eval_every=5), folder, watch=stopping_after(24))
    child = start("--resume", "--out", folder, "--threads", 1, launcher=TWO)
    _, err = child.communicate()
    assert child.returncode == 0, err
    assert_alike(folder / "log.csv", straight / "log.csv")


@pytest.mark.slow
def test_another_recipe_than_the_runs_is_refused(cli, straight: Path):
    before = (straight / "recipe.toml").read_bytes()
    outcome = cli("train", "--resume", "--out", straight, "--batch", "16")
    assert outcome.status == 2
    assert "--batch 16: this run began with 8, and goes on so" in outcome.err
    assert (straight / "recipe.toml").read_bytes() == before


def test_there_must_be_a_run_to_go_on_with(cli, tmp_path: Path):
    outcome = cli("train", "--resume", "--out", tmp_path / "run", "--json")
    assert outcome.status == 2
    assert outcome.json["error"]["kind"] == "input"
    assert "begin a new one" in outcome.json["error"]["message"]


@pytest.mark.slow
def test_a_run_is_not_overwritten(cli, people: Path, straight: Path):
    before = {path.name: path.stat().st_mtime_ns for path in straight.iterdir()}
    outcome = cli("train", "--data", people, "--out", straight)
    assert outcome.status == 2
    assert "exists already and is not overwritten" in outcome.err
    assert {path.name: path.stat().st_mtime_ns for path in straight.iterdir()} == before


@pytest.mark.slow
def test_a_finished_run_gets_a_name_later_and_decides_as_far_as_it_may(cli, straight: Path):
    outcome = cli("train", "--resume", "--out", straight, "--name", "ours", "--threads", 1)
    assert outcome.status == 0, outcome.err
    assert "ours: in the catalog, but too few people were kept out" in outcome.out
    made = entry("ours")
    assert (made.architecture, made.input_size, made.thresholds) == ("edgeface-xxs", 64, ())


@pytest.mark.slow
def test_enough_people_kept_out_calibrate_the_model(
    cli, tmp_path: Path, hopper, collins, hopper_path: Path, ready_models: None
):
    people = write_people(tmp_path / "people", [hopper, collins], 10, 5)
    options = ["--holdout", "8", "--steps", "2", *SMALL[:4], *SMALL[-6:]]
    outcome = cli("train", "--data", people, "--out", tmp_path / "run", *options, "--name", "ours")
    assert outcome.status == 0, outcome.err
    assert outcome.out.endswith("enroll and identify with --embedder ours --fmr 0.01\n")
    made = entry("ours")
    assert [fmr for fmr, _ in made.thresholds] == [0.01]
    assert made.comparisons == 700
    gallery = tmp_path / "people.db"
    words = ("--gallery", gallery, "--embedder", "ours", "--fmr", "0.01")
    enrolled = cli("enroll", "Grace Hopper", hopper_path, *words)
    assert enrolled.status == 0, enrolled.err
    found = cli("identify", hopper_path, *words, "--json").json
    assert [face["match"]["name"] for face in found["faces"]] == ["Grace Hopper"]


@pytest.mark.slow
def test_two_people_fine_tune_a_model(cli, tmp_path: Path, hopper, collins):
    people = write_people(tmp_path / "people", [hopper, collins], 2, 2)
    save_checkpoint(create_model("edgeface-xxs", input_size=64), tmp_path / "old.pt")
    outcome = cli(
        *("train", "--data", people, "--out", tmp_path / "run", "--from", tmp_path / "old.pt"),
        *("--input-size", "64", "--epochs", "2", "--threads", "1", "--workers", "0", "--json"),
    )
    assert outcome.status == 0, outcome.err
    summary = outcome.json
    assert (summary["images"], summary["people"], summary["steps"]) == (4, 2, 2)
    assert summary["tar"] is None
    assert summary["model"] is None
    assert summary["holdout"] == {"people": 0, "images": 0}
    assert "nobody is kept out to measure with: 2 people are too few" in outcome.err
    assert "lr = 2e-05\n" in (tmp_path / "run/recipe.toml").read_text()


@pytest.mark.slow
def test_faces_that_cannot_be_read_are_counted_and_told(cli, tmp_path: Path, hopper, collins):
    people = write_people(tmp_path / "people", [hopper, collins], 3, 3)
    (people / "person 00/0.png").write_bytes(b"no picture")
    save_image(people / "person 01/0.png", hopper)
    call = ("train", "--data", people, *SMALL[:6], *SMALL[-6:])
    outcome = cli(*call, "--out", tmp_path / "run", "--max-corrupt", "0.9")
    assert outcome.status == 0, outcome.err
    assert "0.png: skipped:" in outcome.err
    assert "could not be used" in outcome.out
    summary = json.loads((tmp_path / "run/summary.json").read_text())
    assert summary["corrupt"] > 0
    refused = cli(*call, "--out", tmp_path / "other")
    assert refused.status == 2
    assert re.search(r"of \d+ images looked at cannot be used, more than the 1.0%", refused.err)


@pytest.mark.slow
def test_a_set_that_was_cut_short_is_refused(cli, tmp_path: Path, hopper, collins):
    people = [hopper, collins, hopper[:, ::-1], collins[:, ::-1]]
    data = tmp_path / "data"
    data.mkdir()
    records, listed = b"", ""
    for number in range(40):
        body = struct.pack("<IfQQ", 0, float(number % 4), number, 0)
        body += cv2.imencode(".png", _crop(people[number % 4])[..., ::-1])[1].tobytes()
        listed += f"{number}\t{len(records)}\n"
        records += struct.pack("<II", 0xCED7230A, len(body)) + body + bytes(-len(body) % 4)
    (data / "train.rec").write_bytes(records[: len(records) // 2])
    (data / "train.idx").write_text(listed)
    call = ("train", "--data", data, *SMALL[:6], *SMALL[-6:], "--holdout", "0")
    refused = cli(*call, "--out", tmp_path / "run")
    assert refused.status == 2
    assert re.search(r"\d+ of 40 records are damaged or missing, more than the 1.0%", refused.err)
    assert "cut short; copy it again" in refused.err
    assert not (tmp_path / "run").exists()
    allowed = cli(*call, "--out", tmp_path / "run", "--max-corrupt", "0.9")
    assert allowed.status == 0, allowed.err
    assert "of 40 records are damaged or missing: the file may have been cut" in allowed.err


@pytest.mark.slow
def test_photos_that_are_no_crops_are_told_of(cli, tmp_path: Path, hopper):
    for name, faces in (("photos", hopper[:500, :500]), ("crops", None)):
        for person in ("Ada", "Bob"):
            for number in range(2):
                path = tmp_path / name / person / f"{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                save_image(path, _crop(hopper) if faces is None else faces)
        outcome = cli(
            "train", "--data", tmp_path / name, "--out", tmp_path / f"{name}-run", *TWO_PEOPLE
        )
        assert outcome.status == 0, outcome.err
        message = "in 4 of 4 pictures looked at there is no face where an aligned crop has it"
        assert (message in outcome.err) == (name == "photos")


def _crop(photo: NDArray[np.uint8]) -> NDArray[np.uint8]:
    with Detector(options=RuntimeOptions(threads=1)) as detector:
        return align(photo, detector.detect(photo)[0].landmarks)


@pytest.mark.slow
@pytest.mark.parametrize("sees", ["changed", "plain"])
def test_faces_of_nobody_known_are_learned_from_a_teacher(
    cli, tmp_path: Path, people: Path, sees: str
):
    from facekeep.models import import_model

    save_checkpoint(create_model("edgeface-xxs", input_size=64, width=32), tmp_path / "old.pt")
    import_model(tmp_path / "old.pt", "old", arch="edgeface-xxs", input_size=64)
    words = ("--data", people / "person 00", "--input-size", "64", "--steps", "2", "--json")
    words += ("--teacher", "old", "--teacher-sees", sees)
    outcome = cli("train", *words, "--out", tmp_path / "run", *SMALL[-6:])
    assert outcome.status == 0, outcome.err
    assert len(list((tmp_path / "run").glob("teacher-1.*.f32"))) == (sees == "plain")
    assert outcome.json["people"] == 0
    header, *rows = losses(tmp_path / "run/log.csv")
    assert [rows[-1][header.index(name)] != "" for name in ("loss_head", "loss_teacher")] == [
        False,
        True,
    ]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "missing option '--out'"),
        (["--out", "run"], "there is nothing to train on; name the data (--data)"),
        (["--out", "run", "--data", "nowhere"], "nowhere: no such file or folder"),
        (["--out", "run", "--data", "nowhere", "--lr", "x"], "--lr x: expected a number"),
        (["--out", "run", "--recipe", "none.toml"], "none.toml: cannot be read: no such file"),
        (["--out", "run", "--data", "nowhere", "--from", "nobody"], "no model is called 'nobody'"),
    ],
)
def test_wrong_use_is_one_clear_line(cli, tmp_path: Path, monkeypatch, words, message: str):
    monkeypatch.chdir(tmp_path)
    outcome = cli("train", *words)
    assert outcome.status == 2
    assert message in outcome.err
    assert outcome.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_help_needs_no_torch():
    code = (
        "import sys\n"
        "from facekeep.cli.main import main\n"
        "main(['train', '--help'])\n"
        "print(*(name for name in ('torch', 'numpy', 'cv2') if name in sys.modules))"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "Train a face embedder" in done.stdout
    assert done.stdout.endswith("\n\n"), "nothing heavy was named on the last line"


@pytest.mark.slow
def test_without_torch_the_cure_is_named(tmp_path: Path):
    code = (
        "import sys\n"
        "sys.modules['torch'] = None\n"
        "from facekeep.cli.main import main\n"
        "sys.exit(main(['train', '--data', sys.argv[1], '--out', sys.argv[1] + '/run']))"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 3
    assert "install it with: pip install 'facekeep[train]'" in done.stderr
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_says_how_to_go_on(cli, people: Path, tmp_path: Path, monkeypatch):
    def fill(*_: Any, **__: Any) -> None:
        raise StorageFull("no room to write x; free some space, nothing was half written")

    monkeypatch.setattr("facekeep.lab.train.run.train", fill)
    done = cli("train", "--data", people, "--out", tmp_path / "run")
    assert done.status == 3
    assert "free some space, nothing was half written; then go on with --resume" in done.err
