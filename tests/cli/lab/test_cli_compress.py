"""``facekeep compress`` as it is typed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from tiny_kit import import_tiny, write_people

from facekeep.lab.nn import create_model, save_checkpoint
from facekeep.models import ModelEntry, entry, import_model

pytestmark = pytest.mark.slow

KEYS = {"parameters", "macs", "bytes", "latency_ms", "cosine", "tar", "lfw"}


@pytest.fixture
def tiny(tmp_path: Path) -> ModelEntry:
    return import_tiny(tmp_path)


@pytest.fixture
def people(tmp_path: Path, hopper: NDArray[np.uint8], collins: NDArray[np.uint8]) -> Path:
    return write_people(tmp_path / "people", [hopper, collins], 24)


def test_quantize_prints_before_and_after(cli, tiny: ModelEntry, people: Path) -> None:
    words = ["--data", people, "--aligned", "--min-cosine", 0.5, "--json"]
    outcome = cli("compress", "quantize", "tiny", "--out", "small", *words)
    assert outcome.status == 0, outcome.err
    document = outcome.json
    for side in ("before", "after"):
        assert set(document[side]) >= KEYS
    assert document["before"]["cosine"] == pytest.approx(1)
    assert 0.5 < document["after"]["cosine"] < 1
    assert document["steps"][0]["details"]["mode"] == "static"
    assert entry("small").notes.startswith("Made of tiny by: facekeep compress quantize tiny")


def test_quantize_fine_tunes_and_prints_before_and_after(cli, people: Path, tmp_path: Path) -> None:
    save_checkpoint(create_model("edgeface-xxs", input_size=32, layer_scale=0.5), tmp_path / "m.pt")
    import_model(tmp_path / "m.pt", "own", arch="edgeface-xxs", input_size=32)
    words = ["--data", people, "--aligned", "--mode", "dynamic", "--fine-tune", 2, "--batch", 8]
    outcome = cli("compress", "quantize", "own", "--out", "small", *words, "--json")
    assert outcome.status == 0, outcome.err
    document = outcome.json
    for side in ("before", "after"):
        assert set(document[side]) >= KEYS
    assert document["steps"][0]["told"].endswith("quantization-aware training for 2 steps")
    assert document["after"]["bytes"] < document["before"]["bytes"]


def test_a_foreign_network_cannot_be_fine_tuned(cli, tiny: ModelEntry, people: Path) -> None:
    words = ["--data", people, "--aligned", "--fine-tune", 2]
    outcome = cli("compress", "quantize", "tiny", "--out", "small", *words)
    assert outcome.status == 2
    assert "no EdgeFace that facekeep wrote" in outcome.err
    assert "or do without (--fine-tune)" in outcome.err
    assert outcome.err.count("\n") == 1


def test_without_faces_only_weights_are_rounded_and_that_is_said(cli, tiny: ModelEntry) -> None:
    outcome = cli("compress", "quantize", "tiny", "--out", "small")
    assert outcome.status == 0, outcome.err
    assert "only the weights are in 8 bits" in outcome.out
    assert "was not measured; name known people with --eval-data" in outcome.out
    assert "cannot decide before it is calibrated" in outcome.out
    assert entry("small").thresholds == ()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--mode", "static"], "--data"),
        (["--mode", "ternary"], "--mode must be one of static"),
        (["--calibration", "guess"], "--calibration must be one of entropy"),
        (["--target", "mips"], "--target must be one of here"),
        (["--min-cosine", "2"], "--min-cosine must be a number above 0 and below 1, not 2.0"),
        (["--lfw-pairs", "pairs.txt"], "--lfw-images"),
        (["--mode", "packed", "--fine-tune", "10"], "only static and dynamic can be fine-tuned"),
        (["--mode", "float16", "--fine-tune", "10"], "only static and dynamic can be fine-tuned"),
        (["--mode", "dynamic", "--fine-tune", "10"], "--data"),
        (["--mode", "dynamic", "--skip", "nothing*"], "no layer is called 'nothing*'"),
    ],
)
def test_wrong_use_is_one_line_and_changes_nothing(
    words: list[str], message: str, cli, tiny: ModelEntry
) -> None:
    outcome = cli("compress", "quantize", "tiny", "--out", "small", *words)
    assert outcome.status == 2
    assert message in outcome.err
    assert outcome.err.count("\n") == 1
    assert not (Path(str(tiny.folder)).parent / "small").exists()


def test_a_taken_name_is_refused_before_anything_is_done(cli, tiny: ModelEntry) -> None:
    outcome = cli("compress", "quantize", "tiny", "--out", "tiny")
    assert outcome.status == 2
    assert "already called 'tiny'" in outcome.err


def test_scores_that_need_faces_name_the_option(cli) -> None:
    words = ["--macs", 0.7, "--by", "taylor"]
    outcome = cli("compress", "prune", "facekeep-xxs", "--out", "small", *words)
    assert outcome.status == 2
    assert "importance needs faces; name some, or use magnitude (--data)" in outcome.err
    assert outcome.err.count("\n") == 1


def test_a_foreign_network_cannot_be_reshaped(cli, tiny: ModelEntry) -> None:
    for words in (["prune", "--macs", 0.5], ["lowrank", "--gamma", 0.5], ["resize", "--size", 64]):
        verb, *options = words
        outcome = cli("compress", verb, "tiny", "--out", "small", *options)
        assert outcome.status == 2
        assert "no EdgeFace" in outcome.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["prune"], "--macs or --params or --latency or --zeros must say how much is left"),
        (["prune", "--macs", "0.5", "--params", "0.5"], "give only one of them"),
        (["prune", "--zeros", "0.5", "--fine-tune", "10"], "--zeros cannot be fine-tuned"),
        (["prune", "--macs", "1.7"], "--macs must be a number above 0 and below 1, not 1.7"),
        (["prune", "--latency", "0"], "--latency must be a number above 0 and below 1, not 0.0"),
        (["prune", "--zeros", "3:5"], "--zeros must be a share above 0 and below 1, or 2:4"),
        (["prune", "--macs", "0.5", "--by", "luck"], "--by must be taylor or magnitude"),
        (["prune", "--macs", "0.5", "--lr", "-1"], "--lr must be a number above 0"),
        (
            ["prune", "--macs", "0.5", "--lr", "inf"],
            "--lr must be a number above 0 and at most 10, not inf",
        ),
        (["prune", "--macs", "0.5", "--batch", "1"], "--batch"),
        (["lowrank"], "--gamma or --energy must say how much is left"),
        (["lowrank", "--energy", "2"], "--energy must be a number above 0 and at most 1"),
        (["resize", "--size", "70"], "--size must be a multiple of 16 from 32 to 512, not 70"),
        (["resize", "--size", "64", "--fine-tune", "10"], "--data"),
    ],
)
def test_shapes_need_to_be_said(words: list[str], message: str, cli, tiny: ModelEntry) -> None:
    verb, *options = words
    outcome = cli("compress", verb, "tiny", "--out", "small", *options)
    assert outcome.status == 2
    assert message in outcome.err


RECIPE = """
model = "tiny"
out = "small"
data = "people"
aligned = true
count = 40

[[step]]
do = "quantize"
mode = "float16"

[[step]]
do = "quantize"
mode = "dynamic"
"""


def test_a_recipe_does_its_steps_and_writes_a_report(
    cli, tiny: ModelEntry, people: Path, tmp_path: Path
) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(RECIPE)
    outcome = cli("compress", "run", recipe, "--json")
    assert outcome.status == 0, outcome.err
    document = outcome.json
    assert [each["options"]["mode"] for each in document["steps"]] == ["float16", "dynamic"]
    assert set(document["after"]) >= KEYS
    assert (tmp_path / "recipe.work" / "report.html").is_file()
    again = cli("compress", "run", recipe)
    assert again.status == 2
    assert "already called 'small'" in again.err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('model = "tiny"\nout = "small"', "add a [[step]]"),
        (RECIPE.replace("count", "counts"), "unknown key 'counts'; known: data, labels"),
        (RECIPE.replace("40", '"many"'), "count = 'many': expected a whole number at least 1"),
        (RECIPE.replace('out = "small"', ""), "lacks the key 'out'"),
        (
            RECIPE.replace('"float16"', '"float8"'),
            "step 1 (quantize): mode = 'float8': expected one of",
        ),
        (RECIPE.replace('do = "quantize"', 'do = "shrink"', 1), "step 1: do must be one of prune"),
        (
            RECIPE.replace("dynamic", 'dynamic"\nenergy = "'),
            "step 2 (quantize): has the unknown key 'energy'; known: fine_tune, batch",
        ),
        (
            RECIPE.replace('quantize"', 'resize"\nsize = 70').replace("mode", "#"),
            "): size = 70: expected a multiple of 16",
        ),
        ("step = 1", "add a [[step]]"),
        ("what?", "is not valid TOML"),
    ],
)
def test_a_wrong_recipe_says_where(
    text: str, message: str, cli, tiny: ModelEntry, tmp_path: Path
) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(text)
    outcome = cli("compress", "run", recipe)
    assert outcome.status == 2
    assert message in outcome.err
    assert not (tmp_path / "recipe.work").exists()
