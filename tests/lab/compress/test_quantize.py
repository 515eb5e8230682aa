from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from cutting_kit import SIDE, lively
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import numpy_helper
from tiny_kit import faces as cut_faces
from tiny_kit import import_tiny, tensor, tiny_network, write_people

from facekeep.errors import InputError, ModelError
from facekeep.lab.compress import fine_tune
from facekeep.lab.compress.chain import run_step
from facekeep.lab.compress.data import EvaluationData, FaceSet, read_faces
from facekeep.lab.compress.int8 import calibrate_ranges
from facekeep.lab.compress.measure import Evaluator
from facekeep.lab.compress.onnx_layers import Layer, fold_constants
from facekeep.lab.compress.options import Quantize
from facekeep.lab.compress.quantize import (
    Sensitivity,
    _store_weights,
    measure_sensitivities,
    search_mixed_precision,
)
from facekeep.lab.nn import EdgeFace, save_checkpoint
from facekeep.models import ModelEntry, import_model
from facekeep.models.weight_packing import Numbers, pack_weights
from facekeep.runtime import RuntimeOptions, open_session

pytestmark = pytest.mark.slow


def order_of(count: int) -> list[Sensitivity]:
    return [Sensitivity(Layer(f"n{i}", f"w{i}", "MatMul", 1), i / 100) for i in range(count)]


@given(count=st.integers(1, 40), needed=st.integers(0, 45), least=st.integers(0, 45))
def test_as_few_layers_as_can_be_are_spared(count: int, needed: int, least: int) -> None:
    tried: list[int] = []

    def make(spared: Collection[str]) -> bytes:
        assert set(spared) == {f"n{i}" for i in range(len(spared))}
        tried.append(len(spared))
        return bytes(len(spared))

    def search() -> int:
        found = search_mixed_precision(
            order_of(count), make, lambda made: len(made) >= needed, least=least
        )
        assert len(found.content) == len(found.spared)
        return len(found.spared)

    if max(needed, least) < count:
        assert search() == max(needed, least)
    else:
        with pytest.raises(ModelError, match="stays within the bounds"):
            search()
    assert len(tried) <= 6  # halving


def test_there_must_be_layers() -> None:
    with pytest.raises(InputError):
        search_mixed_precision([], lambda spared: b"", lambda content: True)


def test_the_layer_with_outliers_is_the_most_sensitive(
    hopper: NDArray[np.uint8], collins: NDArray[np.uint8], tmp_path: Path
) -> None:
    model = onnx.load_model_from_string(tiny_network())
    for item in model.graph.initializer:
        if item.name == "stem.weight":  # one channel a thousand times as large as the others
            value = numpy_helper.to_array(item).copy()
            value[3] *= 1000
            item.CopyFrom(numpy_helper.from_array(value, item.name))
        if item.name == "depthwise.weight":
            value = numpy_helper.to_array(item).copy()
            value[3] /= 1000
            item.CopyFrom(numpy_helper.from_array(value, item.name))
    content = fold_constants(model.SerializeToString())
    crops = cut_faces([hopper, collins], 24)
    ranges = calibrate_ranges(content, tensor(crops), "minmax")
    counts: list[int] = []
    found = measure_sensitivities(
        content, ranges, import_tiny(tmp_path), crops, skip={"hidden"}, progress=counts.append
    )
    assert {each.layer.node for each in found[:2]} == {"stem", "depthwise"}
    assert [each.cosine for each in found] == sorted(each.cosine for each in found)
    assert "hidden" not in {each.layer.node for each in found}
    assert sum(counts) == len(found) == 3


@pytest.fixture
def model(tmp_path: Path) -> ModelEntry:
    save_checkpoint(lively(), tmp_path / "lively.pt")
    return import_model(tmp_path / "lively.pt", "lively", arch="edgeface-xxs", input_size=SIDE)


@pytest.fixture
def faces(tmp_path: Path, hopper: NDArray[np.uint8], collins: NDArray[np.uint8]) -> FaceSet:
    return read_faces(write_people(tmp_path / "people", [hopper, collins], 20), aligned=True)


@pytest.mark.parametrize("mode", ["static", "dynamic"])
def test_stopped_training_goes_on(
    mode: Any, model: ModelEntry, faces: FaceSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[dict[str, Any]] = []

    def stopped(
        changed: EdgeFace, original: EdgeFace, folder: Path, data: Path, options: Any, **how: Any
    ) -> EdgeFace:
        assert changed is original
        calls.append({"folder": folder.name, "data": data.name, "options": options, **how})
        if len(calls) == 1:
            raise KeyboardInterrupt
        return changed

    monkeypatch.setattr(fine_tune, "fine_tune", stopped)
    skip = ("gemm_*", "conv_??*") if mode == "static" else ()  # fewer layers are sooner tried
    step = Quantize(mode=mode, fine_tune=30, batch=8, min_cosine=0.01, skip=skip)
    with pytest.raises(KeyboardInterrupt):
        run_step(step, model, faces, Evaluator(model, EvaluationData()), tmp_path / "work")
    made = run_step(step, model, faces, Evaluator(model, EvaluationData()), tmp_path / "work")
    first, second = calls
    assert first.pop("quantization") == second.pop("quantization")
    assert (first["options"], first["data"]) == (step, "people")
    assert first["folder"] == second["folder"]
    assert made.summary.endswith("quantization-aware training for 30 steps")
    assert made.details["mode"] == mode


def test_the_network_that_was_trained_is_the_one_quantized(
    model: ModelEntry, faces: FaceSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = Quantize(mode="dynamic", fine_tune=1)
    made = []
    for trained in (lively(), lively(seed=5)):
        monkeypatch.setattr(fine_tune, "fine_tune", lambda *_, done=trained, **__: done)
        made.append(
            run_step(step, model, faces, Evaluator(model, EvaluationData()), tmp_path).content
        )
    plain = run_step(
        Quantize(mode="dynamic"), model, faces, Evaluator(model, EvaluationData()), tmp_path
    )
    assert made[0] == plain.content != made[1]


def test_the_bound_is_on_what_quantization_loses_of_the_trained_network(
    model: ModelEntry, faces: FaceSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    far = lively(seed=5)
    monkeypatch.setattr(fine_tune, "fine_tune", lambda *_, **__: far)
    step = Quantize(fine_tune=1, min_cosine=0.99, skip=("gemm_*", "conv_??*"))
    made = run_step(step, model, faces, Evaluator(model, EvaluationData()), tmp_path)
    assert made.details["spared"] == []


@pytest.mark.parametrize(("loss", "warned"), [(1.06, True), (0.29, False), (None, False)])
def test_a_great_loss_is_told_with_what_helps(
    loss: float | None,
    warned: bool,
    model: ModelEntry,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Evaluator, "tar_loss", lambda *_: loss)
    made = run_step(
        Quantize(mode="dynamic"), model, None, Evaluator(model, EvaluationData()), tmp_path
    )
    assert (
        any("1.06 points of TAR" in line and "--fine-tune" in line for line in made.remarks)
        == warned
    )


def test_training_says_what_it_lacks(model: ModelEntry, faces: FaceSet, tmp_path: Path) -> None:
    known = Evaluator(model, EvaluationData())
    with pytest.raises(InputError, match="name some"):
        run_step(Quantize(fine_tune=10), model, None, known, tmp_path)
    with pytest.raises(InputError, match="name some"):
        run_step(Quantize(mode="dynamic", fine_tune=10), model, None, known, tmp_path)
    raw = read_faces(tmp_path / "people", aligned=False)
    with pytest.raises(InputError, match="aligned face crops"):
        run_step(Quantize(fine_tune=10), model, raw, known, tmp_path)
    foreign = import_tiny(tmp_path)
    with pytest.raises(ModelError, match="or do without") as caught:
        run_step(
            Quantize(fine_tune=10), foreign, faces, Evaluator(foreign, EvaluationData()), tmp_path
        )
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("mode", ["packed", "float16"])
def test_networks_that_compute_in_float32_cannot_be_fine_tuned(mode: Any) -> None:
    with pytest.raises(InputError, match="only static and dynamic can be fine-tuned"):
        Quantize(mode=mode, fine_tune=10)


@pytest.mark.parametrize("first", ["int8", "float16"])
def test_a_packed_network_is_packed_anew(first: Numbers) -> None:
    made = _store_weights(pack_weights(tiny_network(), first), "packed", chosen=True)
    open_session(made.content, options=RuntimeOptions(threads=1)).close()
