"""``models``: what is listed, what is found whole, and models of one's own."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest
from litert_kit import means
from liveness_kit import brightness_network

pytestmark = pytest.mark.usefixtures("photo_folder")

NETWORKS = Path(__file__).parents[1] / "helpers" / "networks.py"
STATES = {"yunet": "ok", "sface": "ok"}


@pytest.fixture
def network(photo_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An embedder's file, and an empty folder for models of one's own."""
    monkeypatch.setenv("FACEKEEP_MODELS", str(photo_folder / "models"))
    path = photo_folder / "network.onnx"
    path.write_bytes(runpy.run_path(str(NETWORKS))["embedder"]())
    return path


def test_list(cli):
    outcome = cli("models", "list", "--json")
    assert outcome.status == 0
    assert set(outcome.json) == {"models", "damaged"}
    models = {model["name"]: model for model in outcome.json["models"]}
    assert {name: models[name]["state"] for name in STATES} == STATES
    for model in models.values():
        assert set(model) == {
            "name",
            "task",
            "default",
            "state",
            "terms",
            "weights_licence",
            "training_data",
            "summary",
        }
        assert all(model[key] for key in ("weights_licence", "training_data", "summary"))
    for name in ("yunet", "facekeep-quality"):
        assert models[name]["default"] is True
    assert models["yunet"]["weights_licence"] == "MIT"
    lines = cli("models", "list").out.splitlines()
    assert lines[0].split()[:3] == ["name", "task", "state"]
    (yunet,) = (line for line in lines if line.startswith("yunet "))
    assert yunet.split() == ["yunet", "(default)", "detect", "ok", "free", "MIT"]
    assert max(map(len, lines[:-1])) <= 80
    assert lines[-1].startswith("terms: free for any use, ")
    offers = [name for name, model in models.items() if model["state"] == "offered"]
    assert "edgeface-xs-gamma-06" in offers
    assert all(
        "disputed" in models[name]["weights_licence"]
        for name in offers
        if name.startswith("edgeface")
    )


def test_info(cli):
    facts = cli("models", "info", "sface", "--json").json
    assert (facts["name"], facts["task"], facts["width"]) == ("sface", "embed", 128)
    assert len(facts["space"]) == 64
    assert [set(row) for row in facts["thresholds"]] == [{"fmr", "cosine"}] * 5
    assert facts["comparisons"] * facts["thresholds"][-2]["fmr"] > 3, "1e-5 is supported"
    assert "space" not in cli("models", "info", "yunet", "--json").json
    lines = cli("models", "info", "sface").out.splitlines()
    assert [line.split()[0] for line in lines[:3]] == ["fact", "name", "summary"]
    assert any(line.split() == ["terms", "free"] for line in lines)
    assert "weights license" in "\n".join(lines)
    assert "11 MB" in "\n".join(lines)
    assert max(map(len, lines)) <= 80
    assert not re.search(r"None|\[|\{|\de-0", "\n".join(lines))


def test_the_users_own_models_are_listed_as_such(cli, network):
    words = ["--name", "mine", "--licence", "CC BY-NC 4.0", "--trained-on", "photos of ours"]
    assert cli("models", "import", network, *words).status == 0
    (row,) = (each for each in cli("models", "list").out.splitlines() if each.startswith("mine "))
    assert row.split()[3] == "own"


def test_what_is_on_offer(cli):
    offers = {each["name"]: each for each in cli("models", "pull", "--json").json["offers"]}
    assert (offers["espressif-mbf"]["width"], offers["espressif-mbf"]["terms"]) == (512, "free")
    assert (offers["intel-0095"]["width"], offers["intel-0095"]["bytes"]) == (256, 2_564_055)
    assert offers["edgeface-xs-gamma-06"]["terms"] == "disputed"
    assert "sface" not in offers
    lines = cli("models", "pull").out.splitlines()
    assert lines[0].split() == ["name", "numbers", "terms", "size", "LFW", "weights"]
    (row,) = (each for each in lines if each.startswith("espressif-mbf "))
    assert row.split()[1:3] == ["512", "free"]


def test_recommend_measures_what_is_here(cli):
    found = {each["name"]: each for each in cli("models", "recommend", "--json").json["models"]}
    assert {"sface", "facekeep-xs", "facekeep-xxs"} <= set(found)
    assert not any(name.startswith("edgeface") for name in found)
    for each in found.values():
        assert (each["seconds"] > 0, each["memory"] > 0, each["failed"]) == (True, True, "")
    lines = cli("models", "recommend").out.splitlines()
    assert lines[0].split()[:3] == ["name", "terms", "numbers"]
    assert "most accurate of those that are free or yours: sface" in lines


def test_a_model_that_is_not_free_is_refused_until_it_is_allowed(cli):
    refused = cli("verify", "hopper.jpg", "hopper2.jpg", "--embedder", "facekeep-xxs")
    assert (refused.status, refused.out) == (2, "")
    assert "is for research only" in refused.err
    assert 'allow it by its name: terms = "facekeep-xxs" (--terms)' in refused.err
    words = ("--embedder", "facekeep-xxs", "--terms", "facekeep-xxs")
    assert cli("verify", "hopper.jpg", "hopper2.jpg", *words).status == 0
    assert "research: facekeep-" in cli("config", "show", *words).out
    terms = cli("config", "show", *words, "--json").json["terms"]
    assert (terms["facekeep-xxs"], terms["yunet"]) == ("research", "free")


def test_path(cli):
    found = cli("models", "path", "yunet", "--json").json
    assert found["name"] == "yunet"
    assert Path(found["path"]).is_file()
    assert cli("models", "path", "yunet").out == f"{found['path']}\n"


@pytest.mark.slow
def test_verify(cli, network, photo_folder):
    outcome = cli("models", "verify", "--json")
    assert outcome.status == 0
    assert {m["name"]: m["state"] for m in outcome.json["models"]}.items() >= STATES.items()
    cli("models", "import", network, "--name", "mine")
    (photo_folder / "models" / "mine" / "mine.onnx").write_bytes(b"something else")
    outcome = cli("models", "verify", "yunet", "mine")
    assert outcome.status == 1
    yunet, mine = outcome.out.splitlines()
    assert yunet.startswith("yunet: ok: ")
    assert mine.startswith("mine: damaged: ")
    (photo_folder / "models" / "mine" / "mine.onnx").unlink()
    (mine,) = cli("models", "verify", "mine", "--json").json["models"]
    assert mine["state"] == "missing"


def test_pulling_what_is_here_needs_no_network(cli):
    outcome = cli("models", "pull", "yunet")
    assert outcome.status == 0
    stated, ready = outcome.out.splitlines()
    assert stated.startswith("yunet: weights: MIT; trained on ")
    assert ready.startswith("yunet: ready at ")
    assert set(cli("models", "pull", "yunet", "--json").json) == {"name", "path"}


@pytest.mark.slow
def test_import_then_remove(cli, network):
    words = ["models", "import", network, "--name", "mine", "--colour", "bgr", "--mean", "0"]
    outcome = cli(*words, "--licence", "mine", "--trained-on", "my photos", "--json")
    assert outcome.status == 0
    facts = outcome.json
    assert (facts["name"], facts["width"], facts["colour"]) == ("mine", 8, "bgr")
    assert (facts["weights_licence"], facts["training_data"]) == ("mine", "my photos")
    listed = {model["name"]: model for model in cli("models", "list", "--json").json["models"]}
    assert listed["mine"]["state"] == "ok"
    assert listed["mine"]["default"] is False
    removed = cli("models", "remove", "mine", "--json")
    assert (removed.status, removed.json) == (0, {"removed": "mine"})
    assert cli("models", "info", "mine").status == 2
    assert network.exists(), "only the copy was removed"


@pytest.mark.slow
def test_import_for_people(cli, network):
    outcome = cli("models", "import", network, "--name", "mine")
    first, second = outcome.out.splitlines()
    assert first == "mine: imported, 8 numbers a face"
    assert second.endswith("facekeep evaluate calibrate DIR --model mine")
    assert cli("models", "remove", "mine").out == "mine: removed\n"


@pytest.fixture
def checkpoint(photo_folder: Path) -> Path:
    """An EdgeFace of random weights."""
    from facekeep.lab import nn

    path = photo_folder / "trained.pt"
    nn.save_checkpoint(nn.create_model("edgeface-xxs", gamma=0.5, input_size=64), path)
    return path


@pytest.mark.slow
def test_import_a_checkpoint(cli, network, checkpoint):
    words = ["models", "import", checkpoint, "--arch", "edgeface-xxs", "--name", "mine"]
    outcome = cli(*words, "--gamma", "0.6", "--input-size", "64")
    assert outcome.status == 2
    assert "trained.pt is no edgeface-xxs of gamma 0.6" in outcome.err
    assert "it looks like edgeface-xxs of gamma 0.5" in outcome.err
    facts = cli(*words, "--gamma", "0.5", "--input-size", "64", "--json").json
    assert (facts["architecture"], facts["gamma"], facts["input_size"]) == ("edgeface-xxs", 0.5, 64)
    assert cli("models", "path", "mine").out.endswith("mine.onnx\n")
    counted = cli("models", "info", "mine", "--flops", "--json").json
    assert counted["flops"] == 2 * counted["macs"] > 0
    assert counted["counted_at"] == 64
    assert counted["params"] == facts["params"]


@pytest.mark.slow
def test_import_a_tflite(cli, network, photo_folder):
    (photo_folder / "mine.tflite").write_bytes(means())
    words = ["models", "import", photo_folder / "mine.tflite", "--name", "mine"]
    assert "name its kind (--arch)" in cli(*words, "--arch", "onnx").err
    facts = cli(*words, "--json").json
    assert (facts["runtime"], facts["width"]) == ("litert", 4)
    outcome = cli("models", "info", "mine", "--flops")
    assert outcome.status == 2
    assert "no ONNX network" in outcome.err


@pytest.mark.slow
def test_flops_for_people(cli):
    facts = cli("models", "info", "sface", "--flops", "--json").json
    assert facts["params"] == 9_667_072
    assert 550e6 < facts["macs"] < 600e6
    outcome = cli("models", "info", "sface", "--flops")
    assert f"{facts['flops']:,}" in outcome.out
    assert "twice the multiply-accumulates" in outcome.out.splitlines()[-1]
    assert "EdgeFace paper" in outcome.out.splitlines()[-1]
    assert "flops" not in cli("models", "info", "sface", "--json").json


def test_the_terms_of_an_offer_are_told_before_anything_is_fetched(cli, network, photo_folder):
    caution = cli("models", "info", "edgeface-xs-q", "--json").json["caution"]
    assert "contradict" in caution
    output = cli("models", "info", "edgeface-xs-q").out
    assert caution in " ".join(output.split())
    for words in ([], ["--json"]):
        wrong = cli("models", "pull", "edgeface-xs-q", "--from", network, *words)
        assert wrong.status == 3
        assert caution in wrong.err.splitlines()[0]
        assert "is not edgeface_xs_q.pt" in wrong.out + wrong.err.splitlines()[-1]
    outcome = cli("models", "verify")
    assert outcome.status == 0
    assert "edgeface" not in outcome.out
    assert cli("models", "verify", "edgeface-xs-q").status == 1


@pytest.mark.slow
@pytest.mark.shared
def test_pull_from_a_copy(cli, network, shared):
    copy = shared / "weights" / "edgeface_xxs_q.pt"
    outcome = cli("models", "pull", "edgeface-xxs-q", "--from", copy)
    assert outcome.status == 0
    terms, ready = outcome.out.splitlines()
    assert terms.startswith("edgeface-xxs-q: weights: CC BY-NC-SA 4.0, or BSD-3-Clause (disputed)")
    assert ready.endswith("edgeface-xxs-q.onnx")
    facts = cli("models", "info", "edgeface-xxs-q", "--json").json
    assert len(facts["thresholds"]) == 5, "it comes calibrated"
    assert cli("models", "verify", "edgeface-xxs-q").status == 0


@pytest.mark.slow
def test_a_damaged_entry_is_listed_as_such(cli, network, photo_folder):
    cli("models", "import", network, "--name", "mine")
    (photo_folder / "models" / "mine" / "model.toml").write_text("[[[")
    outcome = cli("models", "list", "--json")
    assert outcome.status == 0
    (damaged,) = outcome.json["damaged"]
    assert damaged["name"] == "mine"
    assert "damaged: mine: " in cli("models", "list").out


def test_the_list_is_in_the_order_of_the_pipeline_with_the_defaults_first(cli):
    models = cli("models", "list", "--json").json["models"]
    tasks = list(dict.fromkeys(model["task"] for model in models))
    assert tasks == ["detect", "orient", "refine", "quality", "embed", "liveness"]
    assert [each["task"] for each in models] == sorted(
        (each["task"] for each in models), key=tasks.index
    )
    for task in ("detect", "orient", "refine", "embed"):
        assert next(each for each in models if each["task"] == task)["default"] is True


@pytest.mark.slow
def test_a_liveness_network_is_imported_with_its_crops(cli, tmp_path: Path):
    source = brightness_network(tmp_path / "spoof.onnx")
    words = ("models", "import", source, "--name", "spoof")
    assert cli(*words, "--live-class", 1).status == 2
    assert cli(*words, "--crop-scale", 1.8, "--arch", "onnx").status == 2
    made = cli(*words, "--crop-scale", 1.8, "--json").json
    assert (made["task"], made["input_size"], made["crop_scales"]) == ("liveness", 80, [1.8])
    assert "spoof" in cli("models", "list").out
