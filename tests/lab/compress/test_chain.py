from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec import structs
from numpy.typing import NDArray
from tiny_kit import SIDE, import_tiny, write_people

from facekeep.errors import FacekeepError, InputError, ModelNotFound
from facekeep.lab.compress import chain as chains
from facekeep.lab.compress.chain import Chain, ChainResult, run_chain
from facekeep.lab.compress.data import DataOptions, EvaluationData, read_faces
from facekeep.lab.compress.measure import Accuracy, Evaluator
from facekeep.lab.compress.options import Quantize
from facekeep.lab.compress.report import write_chain_report
from facekeep.lab.compress.workspace import StepResult, Workspace, write_model
from facekeep.lab.datasets.test_sets import Samples
from facekeep.lab.evaluate.extract import Embeddings
from facekeep.models import ModelEntry, entry, set_thresholds
from facekeep.pipeline.embed import Embedder

pytestmark = pytest.mark.slow

Portraits = list[NDArray[np.uint8]]


@pytest.fixture
def portraits(hopper: NDArray[np.uint8], collins: NDArray[np.uint8]) -> Portraits:
    return [hopper, collins]


@pytest.fixture
def people(portraits: Portraits, tmp_path: Path) -> Path:
    return write_people(tmp_path / "people", portraits, 60)


@pytest.fixture
def tiny(tmp_path: Path) -> ModelEntry:
    return import_tiny(tmp_path)


def open_evaluator(model: ModelEntry, people: Path) -> Evaluator:
    faces, data = DataOptions(data=people, aligned=True, count=100).open()
    assert faces is not None
    return Evaluator(model, dataclasses.replace(data, repeats=3))


def run(
    model: ModelEntry, people: Path, folder: Path, *steps: Quantize, **more: Any
) -> ChainResult:
    evaluator = open_evaluator(model, people)
    chain = Chain(
        out="small",
        steps=steps,
        faces=evaluator.data.faces,
        command="facekeep compress ...",
        **more,
    )
    return run_chain(chain, evaluator, folder)


def test_a_chain_registers_its_last_network_with_what_it_lost(
    tiny: ModelEntry, people: Path, tmp_path: Path
) -> None:
    steps = (Quantize(mode="float16"), Quantize(mode="static", min_cosine=0.5, max_tar_loss=100))
    done = run(tiny, people, tmp_path / "work", *steps)
    made = entry("small")
    assert made == done.entry
    assert made.weights_license == "ours"
    assert made.params == done.before.parameters
    assert "Against tiny: TAR" in made.notes
    names = [each.name for each in made.accuracy]
    assert names[0] == "cosine to tiny, mean of 100 faces"
    assert names[1] == "people, TAR at FMR 0.001 in %"
    before, after = done.before, done.after
    assert (before.name, after.name) == ("tiny", "small")
    assert (before.accuracy.cosine, before.accuracy.faces) == (pytest.approx(1), 100)
    assert 0.5 < (after.accuracy.cosine or 0) < 1
    assert after.bytes < before.bytes
    assert (after.macs, after.parameters) == (before.macs, before.parameters)
    assert min(each.latency_ms for each in done.profiles) > 0
    with Embedder("small") as embedder:
        assert embedder.embed(np.zeros((1, SIDE, SIDE, 3), np.uint8)).shape == (1, 16)
    document = done.to_dict()
    assert [each["step"] for each in document["steps"]] == ["quantize", "quantize"]
    assert document["steps"][1]["details"]["computed_in_8_bits"] >= 1
    json.dumps(document)


def test_steps_that_were_done_are_not_done_again(
    tiny: ModelEntry, people: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[str] = []
    run_step = chains.run_step

    def counted(step: Any, *rest: Any) -> StepResult:
        if step.mode == "dynamic" and not taken.count("stop"):
            taken.append("stop")
            raise KeyboardInterrupt
        taken.append(step.mode)
        return run_step(step, *rest)

    monkeypatch.setattr(chains, "run_step", counted)
    work = tmp_path / "work"
    steps = Quantize(mode="float16"), Quantize(mode="dynamic")
    with pytest.raises(KeyboardInterrupt):
        run(tiny, people, work, *steps)
    with pytest.raises(ModelNotFound):
        entry("small")
    run(tiny, people, work, *steps)
    assert taken == ["float16", "stop", "dynamic"]


def test_other_options_or_a_damaged_file_do_a_step_again(
    tiny: ModelEntry, people: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = tmp_path / "work"
    run(tiny, people, work, Quantize(mode="packed"))
    taken: list[str] = []
    monkeypatch.setattr(
        chains,
        "run_step",
        lambda step, *rest: taken.append(step.mode) or StepResult(b"", "nothing"),
    )
    monkeypatch.setattr(chains, "write_model", lambda *args: pytest.skip("far enough"))
    (work / "small.onnx").write_bytes(b"torn")
    with pytest.raises(pytest.skip.Exception):
        run(tiny, people, work, Quantize(mode="packed"))
    assert taken == ["packed"]


def test_thresholds_carry_over_only_where_embeddings_agree(
    tiny: ModelEntry, people: Path, tmp_path: Path
) -> None:
    stated = [(1e-2, 0.4), (1e-3, 0.6)]
    tiny = set_thresholds(
        "tiny", stated, comparisons=5000, calibrated_on="some faces", command="a command"
    )
    done = run(tiny, people, tmp_path / "work", Quantize(mode="float16"))
    assert done.entry.thresholds == tuple(stated)
    assert "carried over from tiny" in done.entry.calibrated_on
    assert "some faces" in done.entry.calibrated_on


def test_else_they_are_calibrated_on_the_known_people(
    tiny: ModelEntry, people: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def separable(self: Evaluator, model: ModelEntry, samples: Samples) -> Embeddings:
        random = np.random.default_rng(0)
        person = np.arange(len(samples)) * 2 // len(samples)
        rows = np.eye(16, dtype=np.float32)[person]
        rows += 0.2 * random.standard_normal(rows.shape).astype(np.float32)
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        return Embeddings(rows, np.ones(len(rows), np.bool_), None, ())

    monkeypatch.setattr(Evaluator, "embed", separable)
    # Without thresholds of its own the original has none to give.
    done = run(tiny, people, tmp_path / "work", Quantize(mode="float16"))
    assert done.entry.comparisons == 60 * 60
    assert [rate for rate, _ in done.entry.thresholds] == [1e-2, 1e-3]
    assert done.entry.calibrated_on == "people: 120 images of 2 people"


def test_further_models_are_measured_but_not_compared(
    tiny: ModelEntry, people: Path, tmp_path: Path
) -> None:
    other = import_tiny(tmp_path, "other", seed=5)
    work = tmp_path / "work"
    done = run(tiny, people, work, Quantize(mode="packed"), compare=(other,))
    (compared,) = done.compared
    assert compared.name == "other"
    assert compared.accuracy.cosine is None
    assert compared.accuracy.tar is not None
    page = write_chain_report(tmp_path / "report", done, "facekeep compress run it.toml")
    text = page.read_text()
    assert "tiny → small" in text
    assert "other" in text
    assert "real people" not in text
    assert "<td></td>" in text, "what was not measured is left open"
    assert (tmp_path / "report" / "trade-off.png").read_bytes().startswith(b"\x89PNG")
    assert (
        write_chain_report(tmp_path / "again", done, "facekeep compress run it.toml").read_text()
        == text
    )


def test_static_networks_need_faces(tiny: ModelEntry, people: Path, tmp_path: Path) -> None:
    found = Evaluator(tiny, EvaluationData(repeats=3))
    chain = Chain(out="small", steps=(Quantize(mode="static"),), faces=None)
    with pytest.raises(InputError, match="--data"):
        run_chain(chain, found, tmp_path / "work")
    few = read_faces(people, aligned=True, count=8)
    with pytest.raises(InputError, match="32 faces"):
        run_chain(dataclasses.replace(chain, faces=few), found, tmp_path / "work")


def test_a_loss_above_the_bound_is_refused(tiny: ModelEntry, people: Path, tmp_path: Path) -> None:
    with pytest.raises(FacekeepError, match="--min-cosine"):
        run(tiny, people, tmp_path / "work", Quantize(mode="static", min_cosine=0.9999999))
    with pytest.raises(ModelNotFound):
        entry("small")


def test_what_cannot_be_measured_is_none(tiny: ModelEntry, tmp_path: Path) -> None:
    (profile,) = Evaluator(tiny, EvaluationData(repeats=3)).profile([tiny])
    found = profile.accuracy
    assert (found.cosine, found.tar, found.lfw, found.lfw_tar) == (None, None, None, None)


def test_a_staged_network_keeps_how_it_is_fed(tiny: ModelEntry, tmp_path: Path) -> None:
    content = Path(str(tiny.folder), "tiny.onnx").read_bytes()
    like = structs.replace(tiny, color="bgr", thresholds=((0.01, 0.5),))
    made = write_model(StepResult(content, "as it was"), like, tmp_path, "other")
    assert (made.color, made.input_size, made.thresholds) == ("bgr", SIDE, ())
    with Embedder(made) as embedder:
        assert embedder.size == SIDE


def test_a_folder_of_an_older_version_goes_on(tmp_path: Path) -> None:
    content = b"a network"
    document = {
        "key": "k",
        "sha256": hashlib.sha256(content).hexdigest(),
        "made": {
            "told": "weights in 8 bits",
            "remarks": ["one"],
            "details": {"mode": "packed"},
            "params": None,
            "input_size": 112,
        },
    }
    (tmp_path / "small.onnx").write_bytes(content)
    (tmp_path / "small.json").write_text(json.dumps(document))
    workspace = Workspace(tmp_path)
    result = workspace.load("small", "k")
    assert result == StepResult(
        content, "weights in 8 bits", ("one",), {"mode": "packed"}, input_size=112
    )
    workspace.save("again", "k", result)
    assert json.loads((tmp_path / "again.json").read_text()) == document
    assert workspace.load("small", "other") is None


@pytest.mark.parametrize("made", [[], "text", None, {}, {"told": "x", "remarks": 1}])
def test_a_damaged_document_counts_as_missing(made: Any, tmp_path: Path) -> None:
    (tmp_path / "small.onnx").write_bytes(b"")
    document = {"key": "k", "sha256": hashlib.sha256(b"").hexdigest(), "made": made}
    (tmp_path / "small.json").write_text(json.dumps(document))
    assert Workspace(tmp_path).load("small", "k") is None


def test_accuracies_are_measured_once_for_the_same_images(tiny: ModelEntry, tmp_path: Path) -> None:
    first = Evaluator(tiny, EvaluationData())
    first.known["digest"] = Accuracy(tar=0.5)
    first.save_known(tmp_path)
    second, other = (
        Evaluator(tiny, EvaluationData()),
        Evaluator(
            structs.replace(tiny, files=(structs.replace(tiny.files[0], sha256="0" * 64),)),
            EvaluationData(),
        ),
    )
    second.load_known(tmp_path)
    other.load_known(tmp_path)
    assert second.known == first.known
    assert other.known == {}
