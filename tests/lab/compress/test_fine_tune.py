"""Changed networks are trained to be like the original again, in 8 bits too."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from cutting_kit import SIDE, likeness, lively, smooth_crops
from msgspec import structs
from PIL import Image
from torch import Tensor
from torch.nn import functional

from facekeep.errors import InputError
from facekeep.lab.compress.fine_tune import (
    export_bytes,
    fine_tune,
    read_dynamic_quantization,
    read_static_quantization,
)
from facekeep.lab.compress.int8 import calibrate_ranges, quantize_dynamic, quantize_static
from facekeep.lab.compress.lowrank import factorize_layers
from facekeep.lab.compress.onnx_layers import (
    find_head,
    fold_constants,
    list_layers,
    match_layers,
)
from facekeep.lab.compress.options import FineTune
from facekeep.lab.compress.statistics import reconstruct
from facekeep.lab.nn import EdgeFace
from facekeep.lab.train import run as training
from facekeep.lab.train.fake_quantization import (
    ActivationGrid,
    FakeQuantization,
    FakeQuantizationMode,
    QuantizedLayer,
)
from facekeep.runtime import RuntimeOptions, open_session

pytestmark = pytest.mark.slow

OPTIONS = FineTune(fine_tune=12, batch=16, lr=2e-4)


@pytest.fixture
def faces(tmp_path: Path) -> Path:
    """Crops of a few patterns."""
    folder = tmp_path / "faces"
    folder.mkdir()
    pixels = ((smooth_crops(64) + 1) * 127.5).permute(0, 2, 3, 1).numpy().astype(np.uint8)
    for number, each in enumerate(pixels):
        Image.fromarray(each).resize((112, 112)).save(folder / f"{number:03}.png")
    return folder


def damaged() -> tuple[EdgeFace, EdgeFace]:
    whole = lively()
    return factorize_layers(whole, gamma=0.45).model, whole


def resize(network: EdgeFace, size: int) -> EdgeFace:
    resized = copy.deepcopy(network)
    resized.resize(size)
    return resized


def test_fine_tuning_brings_a_network_nearer_to_the_original(faces: Path, tmp_path: Path) -> None:
    cut, whole = damaged()
    reconstruct(cut, whole, smooth_crops(64))
    before = likeness(cut, whole)

    def run(network: EdgeFace, options: FineTune) -> EdgeFace:
        return fine_tune(network, whole, tmp_path / "run", faces, options, threads=1)

    found = run(cut, OPTIONS)
    assert likeness(found, whole) > before
    assert found.input_size == SIDE
    assert likeness(run(cut, OPTIONS), found) > 0.99999  # it is done
    with pytest.raises(InputError, match="holds the fine-tuning of another network"):
        run(lively(seed=1), OPTIONS)
    for other in ({"fine_tune": 24}, {"batch": 8}, {"lr": 1e-4}):
        with pytest.raises(InputError, match=r"with steps 12, batch 16, lr 0\.0002; ask for"):
            run(cut, structs.replace(OPTIONS, **other))


def test_a_stopped_run_goes_on(
    faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut, whole = damaged()
    run = training.EmbedderTrainer.run
    quantization = FakeQuantization({"stem.0.weight": QuantizedLayer()})
    monkeypatch.chdir(tmp_path)
    folder, data = Path("run"), faces.relative_to(tmp_path)  # as people give them

    def go(folder: Path) -> EdgeFace:
        return fine_tune(cut, whole, folder, data, OPTIONS, quantization=quantization, threads=1)

    def stopped(trainer: training.EmbedderTrainer, advance: Any) -> bool:
        trainer._agree_to_stop = lambda stop: trainer.step == 5  # type: ignore[method-assign]
        return run(trainer, advance)

    with monkeypatch.context() as patch:
        patch.setattr(training.EmbedderTrainer, "run", stopped)
        with pytest.raises(KeyboardInterrupt):
            go(folder)
    assert likeness(go(folder), go(Path("straight"))) > 0.99999


def test_the_original_sees_what_a_smaller_network_cannot(faces: Path, tmp_path: Path) -> None:
    whole = resize(lively(), 48)
    small = resize(whole, SIDE)
    options = structs.replace(OPTIONS, fine_tune=2)
    fine_tune(small, whole, tmp_path / "run", faces, options, threads=1)
    recipe = (tmp_path / "run" / "run" / "recipe.toml").read_text()
    assert 'teacher_sees = "full"' in recipe
    assert "input_size = 32" in recipe


@pytest.fixture(scope="module")
def network() -> EdgeFace:
    return lively()


@pytest.fixture(scope="module")
def source(network: EdgeFace) -> bytes:
    return export_bytes(network)


@pytest.fixture(scope="module")
def static(source: bytes) -> bytes:
    content = fold_constants(source)
    ranges = calibrate_ranges(content, smooth_crops(48).numpy(), "minmax")
    return quantize_static(content, ranges, weights="float32")


def alike(rows: Tensor, others: Tensor) -> float:
    return float(functional.cosine_similarity(rows, others).mean())


@torch.no_grad()
def embedded(network: EdgeFace, crops: Tensor, quantization: FakeQuantization) -> Tensor:
    with FakeQuantizationMode(network, quantization):
        rows: Tensor = network(crops)
    return rows


def test_a_network_is_fake_quantized_as_its_file_in_8_bits_is(
    network: EdgeFace, source: bytes, static: bytes
) -> None:
    quantization, crops = read_static_quantization(source, static), smooth_crops(32, seed=2)
    matrices = {
        name
        for name, weight in network.named_parameters()
        if weight.ndim > 1 and "token_projection" not in name and "temperature" not in name
    }
    assert matrices - set(quantization.layers) == {"head.fc.weight"}
    convolutions = {name for name, each in quantization.layers.items() if each.output is not None}
    assert convolutions == {n for n in matrices if network.get_parameter(n).ndim == 4}
    session = open_session(static, options=RuntimeOptions(threads=1))
    (run,) = session.run({"image": crops.numpy()})
    rounded = embedded(network, crops, quantization)
    with torch.no_grad():
        assert 1 - alike(rounded, torch.from_numpy(run)) < 0.75 * (
            1 - alike(network(crops), rounded)
        )


def test_layers_that_stay_float32_are_not_fake_quantized(source: bytes) -> None:
    content = fold_constants(source)
    every = list_layers(content)
    kept = match_layers(every, ["conv_*", "stages.3.*"]) | {find_head(every)}
    ranges = calibrate_ranges(content, smooth_crops(32).numpy(), "minmax")
    made = quantize_static(content, ranges, skip=kept, reduce_range=True, weights="float32")
    quantization = read_static_quantization(source, made, reduce_range=True)
    assert len(quantization.layers) == len(every) - len(kept)
    assert quantization.most == 64
    assert not any(name.startswith("stem") or "conv" in name for name in quantization.layers)


def test_dynamic_networks_quantize_matrices_by_the_face(network: EdgeFace, source: bytes) -> None:
    skip = match_layers(list_layers(fold_constants(source)), ["stages.3.*"])
    quantization = read_dynamic_quantization(source, skip=skip, reduce_range=True)
    assert quantization.most == 64
    assert set(quantization.layers.values()) == {QuantizedLayer()}
    assert {network.get_parameter(name).ndim for name in quantization.layers} == {2}
    assert "stages.2.blocks.0.mlp.fc2.weight" in quantization.layers  # its weights are scaled
    assert "head.fc.weight" not in quantization.layers
    made = onnx.load_model_from_string(
        quantize_dynamic(fold_constants(source), skip=skip, reduce_range=True)
    )
    kinds = [node.op_type for node in made.graph.node]
    assert kinds.count("MatMulInteger") == len(quantization.layers)


def test_quantization_aware_training_raises_what_a_quantized_network_can_do(
    faces: Path, network: EdgeFace, source: bytes, static: bytes, tmp_path: Path
) -> None:
    def coarsen(grid: ActivationGrid | None) -> ActivationGrid | None:
        return None if grid is None else ActivationGrid(24 * grid.step, grid.zero)

    fine = read_static_quantization(source, static)
    coarse = FakeQuantization(
        {
            name: QuantizedLayer(coarsen(e.input), coarsen(e.output))
            for name, e in fine.layers.items()
        }
    )
    options = FineTune(fine_tune=16, batch=16, lr=5e-4)

    def run(quantization: FakeQuantization | None) -> EdgeFace:
        folder = tmp_path / "run"
        return fine_tune(
            network, network, folder, faces, options, quantization=quantization, threads=1
        )

    trained, crops = run(coarse), smooth_crops(64, seed=2)
    with torch.no_grad():
        whole = network(crops)
    before = alike(embedded(network, crops, coarse), whole)
    assert alike(embedded(trained, crops, coarse), whole) > before + 0.02
    for other in (fine, None):
        with pytest.raises(InputError, match="holds the fine-tuning of another network"):
            run(other)
