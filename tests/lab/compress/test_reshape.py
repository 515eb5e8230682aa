from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cutting_kit import SIDE, lively
from msgspec import structs
from numpy.typing import NDArray
from tiny_kit import write_people

from facekeep.errors import InputError
from facekeep.lab.compress import reshape
from facekeep.lab.compress.chain import run_step
from facekeep.lab.compress.data import EvaluationData, FaceSet, read_faces
from facekeep.lab.compress.measure import Evaluator
from facekeep.lab.compress.options import FineTune, LowRank, Prune, Resize, Step
from facekeep.lab.compress.workspace import StepResult, write_model
from facekeep.lab.nn import EdgeFace, read_network, save_checkpoint
from facekeep.models import ModelEntry, import_model, model_cost
from facekeep.models.importing import add_model
from facekeep.models.weight_packing import pack_weights
from facekeep.pipeline.embed import Embedder


@pytest.fixture
def model(tmp_path: Path) -> ModelEntry:
    save_checkpoint(lively(), tmp_path / "lively.pt")
    return import_model(tmp_path / "lively.pt", "lively", arch="edgeface-xxs", input_size=SIDE)


@pytest.fixture
def faces(tmp_path: Path, hopper: NDArray[np.uint8], collins: NDArray[np.uint8]) -> FaceSet:
    return read_faces(write_people(tmp_path / "people", [hopper, collins], 20), aligned=True)


@pytest.fixture
def done(model: ModelEntry, faces: FaceSet, tmp_path: Path) -> Callable[[Step], ModelEntry]:
    """Do a step and return the entry of what it made."""

    def do(step: Step) -> ModelEntry:
        made = run_step(step, model, faces, Evaluator(model, EvaluationData()), tmp_path / "work")
        (tmp_path / "write_model").mkdir(exist_ok=True)
        return write_model(made, model, tmp_path / "write_model")

    return do


@pytest.mark.slow
def test_pruning_reaches_its_goal(done: Callable[[Step], ModelEntry], model: ModelEntry) -> None:
    made = done(Prune(params=0.8))
    before, after = model_cost(model), model_cost(made)
    assert after.params <= 0.8 * before.params
    assert after.params == sum(each.numel() for each in read_network(made).parameters())
    assert after.macs < before.macs


@pytest.mark.slow
def test_low_rank_thins(done: Callable[[Step], ModelEntry], model: ModelEntry) -> None:
    made = done(LowRank(gamma=0.3, layers=("stages.3.*",)))
    assert model_cost(made).params < model_cost(model).params


@pytest.mark.slow
def test_a_resized_network_takes_other_crops(done: Callable[[Step], ModelEntry]) -> None:
    made = done(Resize(size=48))
    assert made.input_size == 48
    with Embedder(made) as embedder:
        assert embedder.embed(np.zeros((1, 48, 48, 3), np.uint8)).shape == (1, 512)


@pytest.mark.slow
def test_sparse_networks_are_smaller_files(
    model: ModelEntry, faces: FaceSet, done: Callable[[Step], ModelEntry], tmp_path: Path
) -> None:
    made = run_step(
        Prune(zeros="2:4"), model, faces, Evaluator(model, EvaluationData()), tmp_path / "work"
    )
    assert 0.4 < made.details["zeros"] <= 0.5
    conversion = model.files[0].conversion
    assert conversion is not None
    assert len(made.content) < 0.75 * conversion.size
    with Embedder(done(Prune(zeros="2:4"))) as embedder:
        embedder.embed(np.zeros((1, SIDE, SIDE, 3), np.uint8))


@pytest.mark.slow
def test_what_was_packed_is_packed_again(model: ModelEntry, faces: FaceSet, tmp_path: Path) -> None:
    content = Path(str(model.folder), "lively.onnx").read_bytes()
    small = write_model(StepResult(pack_weights(content, "int8"), "packed"), model, tmp_path)
    named = structs.replace(small, name="packed")
    packed = add_model((tmp_path / "trial.onnx").read_bytes(), named)
    made = run_step(
        Resize(size=48), packed, faces, Evaluator(packed, EvaluationData()), tmp_path / "work"
    )
    assert len(made.content) < 0.5 * len(content)


@pytest.mark.slow
def test_fine_tuning_learns_from_the_original_and_goes_on_where_it_stopped(
    model: ModelEntry, faces: FaceSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[dict[str, Any]] = []

    def fine_tune(
        changed: EdgeFace, original: EdgeFace, folder: Path, data: Path, options: FineTune, **_: Any
    ) -> EdgeFace:
        sizes = changed.input_size, original.input_size
        calls.append({"sizes": sizes, "folder": folder.name, "data": data.name, "options": options})
        if len(calls) == 1:
            raise KeyboardInterrupt
        return changed

    monkeypatch.setattr(reshape, "fine_tune", fine_tune)
    step = Resize(size=48, fine_tune=30, batch=8)
    with pytest.raises(KeyboardInterrupt):
        run_step(step, model, faces, Evaluator(model, EvaluationData()), tmp_path / "work")
    made = run_step(step, model, faces, Evaluator(model, EvaluationData()), tmp_path / "work")
    assert made.summary == "32 to 48 pixels, fine-tuned for 30 steps"
    assert made.remarks == ()
    first, second = calls
    assert (first["sizes"], first["folder"], first["data"]) == (
        (48, SIDE),
        "fine-tuning-1",
        "people",
    )
    assert second == {**first, "options": FineTune(fine_tune=30, batch=8, lr=3e-4)}


@pytest.mark.slow
def test_the_rounds_of_pruning_share_the_steps(
    model: ModelEntry, faces: FaceSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[str, int]] = []

    def fine_tune(
        changed: EdgeFace, original: EdgeFace, folder: Path, data: Path, options: FineTune, **_: Any
    ) -> EdgeFace:
        calls.append((folder.name, options.fine_tune))
        return changed

    monkeypatch.setattr(reshape, "fine_tune", fine_tune)
    step = Prune(params=0.9, rounds=2, fine_tune=40)
    run_step(step, model, faces, Evaluator(model, EvaluationData()), tmp_path / "work")
    assert calls == [("fine-tuning-1", 20), ("fine-tuning-2", 20)]


@pytest.mark.slow
def test_fine_tuning_needs_aligned_crops(model: ModelEntry, faces: FaceSet, tmp_path: Path) -> None:
    step, known = Resize(size=48, fine_tune=10), Evaluator(model, EvaluationData())
    with pytest.raises(InputError, match="name some"):
        run_step(step, model, None, known, tmp_path)
    raw = read_faces(tmp_path / "people", aligned=False)
    with pytest.raises(InputError, match="aligned face crops"):
        run_step(step, model, raw, known, tmp_path)


@pytest.mark.slow
def test_shares_of_zeros_are_numbers(model: ModelEntry, faces: FaceSet, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="2:4"):
        run_step(Prune(zeros="half"), model, faces, Evaluator(model, EvaluationData()), tmp_path)
