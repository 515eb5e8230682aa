"""Networks that are trained with rounded numbers before they are quantised."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from cutting_kit import SIDE, lively, smooth_crops
from numpy.typing import NDArray
from PIL import Image
from tiny_kit import import_tiny, write_people
from torch import Tensor
from torch.nn import functional

from facekeep.errors import InputError, ModelError
from facekeep.lab.compress import healing, quantizing
from facekeep.lab.compress.calibration import activation_ranges
from facekeep.lab.compress.faces import Faces, read_faces
from facekeep.lab.compress.folding import folded
from facekeep.lab.compress.heal import Healed, heal
from facekeep.lab.compress.healing import exported
from facekeep.lab.compress.layers import head, layers, named
from facekeep.lab.compress.measure import Measuring, Trial
from facekeep.lab.compress.options import Quantize
from facekeep.lab.compress.quantize import dynamic_int8, static_int8
from facekeep.lab.compress.recipe import read_recipe
from facekeep.lab.compress.rounding import dynamic_rounding, static_rounding
from facekeep.lab.compress.steps import take
from facekeep.lab.nn import EdgeFace, save_checkpoint
from facekeep.lab.train.rounding import Grid, Rounded, Rounding, RoundingMode
from facekeep.models import ModelEntry, import_model
from facekeep.runtime import RuntimeOptions, open_session


@pytest.fixture(scope="module")
def network() -> EdgeFace:
    return lively()


@pytest.fixture(scope="module")
def source(network: EdgeFace) -> bytes:
    return exported(network)


@pytest.fixture(scope="module")
def static(source: bytes) -> bytes:
    content = folded(source)
    ranges = activation_ranges(content, smooth_crops(48).numpy(), "minmax")
    return static_int8(content, ranges, weights="float32")


@pytest.fixture
def model(network: EdgeFace, tmp_path: Path) -> ModelEntry:
    save_checkpoint(network, tmp_path / "lively.pt")
    return import_model(tmp_path / "lively.pt", "lively", arch="edgeface-xxs", input_size=SIDE)


@pytest.fixture
def faces(tmp_path: Path, hopper: NDArray[np.uint8], collins: NDArray[np.uint8]) -> Faces:
    return read_faces(write_people(tmp_path / "people", [hopper, collins], 20), aligned=True)


def alike(rows: Tensor, others: Tensor) -> float:
    return float(functional.cosine_similarity(rows, others).mean())


@torch.no_grad()
def embedded(network: EdgeFace, crops: Tensor, rounding: Rounding) -> Tensor:
    with RoundingMode(network, rounding):
        rows: Tensor = network(crops)
    return rows


def test_a_network_is_rounded_as_its_file_in_8_bits_is(
    network: EdgeFace, source: bytes, static: bytes
) -> None:
    rounding, crops = static_rounding(source, static), smooth_crops(32, seed=2)
    matrices = {
        name
        for name, weight in network.named_parameters()
        if weight.ndim > 1 and "token_projection" not in name and "temperature" not in name
    }
    assert matrices - set(rounding.layers) == {"head.fc.weight"}
    convolutions = {name for name, each in rounding.layers.items() if each.output is not None}
    assert convolutions == {n for n in matrices if network.get_parameter(n).ndim == 4}
    session = open_session(static, options=RuntimeOptions(threads=1))
    (run,) = session.run({"image": crops.numpy()})
    rounded = embedded(network, crops, rounding)
    with torch.no_grad():
        assert 1 - alike(rounded, torch.from_numpy(run)) < 0.75 * (
            1 - alike(network(crops), rounded)
        )


def test_layers_that_stay_float32_are_not_rounded(source: bytes) -> None:
    content = folded(source)
    every = layers(content)
    kept = named(every, ["conv_*", "stages.3.*"]) | {head(every)}
    ranges = activation_ranges(content, smooth_crops(32).numpy(), "minmax")
    made = static_int8(content, ranges, skip=kept, reduce_range=True, weights="float32")
    rounding = static_rounding(source, made, reduce_range=True)
    assert len(rounding.layers) == len(every) - len(kept)
    assert rounding.most == 64
    assert not any(name.startswith("stem") or "conv" in name for name in rounding.layers)


def test_dynamic_networks_round_matrices_by_the_face(network: EdgeFace, source: bytes) -> None:
    skip = named(layers(folded(source)), ["stages.3.*"])
    rounding = dynamic_rounding(source, skip=skip, reduce_range=True)
    assert rounding.most == 64
    assert set(rounding.layers.values()) == {Rounded()}
    assert {network.get_parameter(name).ndim for name in rounding.layers} == {2}
    assert "stages.2.blocks.0.mlp.fc2.weight" in rounding.layers  # its weights are scaled
    assert "head.fc.weight" not in rounding.layers
    made = onnx.load_model_from_string(dynamic_int8(folded(source), skip=skip, reduce_range=True))
    kinds = [node.op_type for node in made.graph.node]
    assert kinds.count("MatMulInteger") == len(rounding.layers)


def test_healing_raises_what_a_rounded_network_can_do(
    network: EdgeFace, source: bytes, static: bytes, tmp_path: Path
) -> None:
    def coarse(grid: Grid | None) -> Grid | None:
        return None if grid is None else Grid(24 * grid.step, grid.zero)

    fine = static_rounding(source, static)
    rounding = Rounding(
        {name: Rounded(coarse(e.input), coarse(e.output)) for name, e in fine.layers.items()}
    )
    (tmp_path / "faces").mkdir()
    pixels = ((smooth_crops(64) + 1) * 127.5).permute(0, 2, 3, 1).numpy().astype(np.uint8)
    for number, each in enumerate(pixels):
        Image.fromarray(each).save(tmp_path / "faces" / f"{number:03}.png")
    run: dict[str, Any] = {"steps": 16, "batch": 16, "lr": 5e-4, "threads": 1}
    folder = tmp_path / "healing"
    done = heal(network, network, folder, tmp_path / "faces", rounding=rounding, **run)
    crops = smooth_crops(64, seed=2)
    with torch.no_grad():
        whole = network(crops)
    before = alike(embedded(network, crops, rounding), whole)
    assert alike(embedded(done.model, crops, rounding), whole) > before + 0.02
    for other in (fine, None):
        with pytest.raises(InputError, match="holds the healing of another network"):
            heal(network, network, folder, tmp_path / "faces", rounding=other, **run)


@pytest.mark.parametrize("mode", ["static", "dynamic"])
def test_a_stopped_healing_is_gone_on_with(
    mode: Any, model: ModelEntry, faces: Faces, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[dict[str, Any]] = []

    def stopped(changed: EdgeFace, original: EdgeFace, folder: Path, data: Path, **how: Any) -> Any:
        assert changed is original
        calls.append({"folder": folder.name, "data": data.name, **how})
        return Healed(changed, finished=len(calls) > 1, steps=3)

    monkeypatch.setattr(healing, "heal", stopped)
    skip = ("gemm_*", "conv_??*") if mode == "static" else ()  # fewer layers are sooner tried
    step = Quantize(mode=mode, heal=30, batch=8, min_cosine=0.01, skip=skip)
    with pytest.raises(KeyboardInterrupt):
        take(step, model, faces, Measuring(model, Trial()), tmp_path / "work")
    made = take(step, model, faces, Measuring(model, Trial()), tmp_path / "work")
    first, second = calls
    assert first.pop("rounding") == second.pop("rounding")
    assert (first["steps"], first["batch"], first["data"]) == (30, 8, "people")
    assert first["folder"] == second["folder"]
    assert made.told.endswith("trained with rounded numbers for 30 steps")
    assert made.details["mode"] == mode


def test_the_network_that_was_trained_is_the_one_quantised(
    model: ModelEntry, faces: Faces, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = Quantize(mode="dynamic", heal=1)
    made = []
    for trained in (lively(), lively(seed=5)):
        done = Healed(trained, finished=True, steps=1)
        monkeypatch.setattr(healing, "heal", lambda *_, done=done, **__: done)
        made.append(take(step, model, faces, Measuring(model, Trial()), tmp_path).content)
    unhealed = Quantize(mode="dynamic")
    plain = take(unhealed, model, faces, Measuring(model, Trial()), tmp_path)
    assert made[0] == plain.content != made[1]


def test_the_bound_is_on_what_rounding_loses_of_the_healed_network(
    model: ModelEntry, faces: Faces, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    far = Healed(lively(seed=5), finished=True, steps=1)
    monkeypatch.setattr(healing, "heal", lambda *_, **__: far)
    step = Quantize(heal=1, min_cosine=0.99, skip=("gemm_*", "conv_??*"))
    made = take(step, model, faces, Measuring(model, Trial()), tmp_path)
    assert made.details["spared"] == []


@pytest.mark.parametrize(("loss", "told"), [(1.06, True), (0.29, False), (None, False)])
def test_a_great_loss_is_told_with_what_helps(
    loss: float | None,
    told: bool,
    model: ModelEntry,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(quantizing, "tar_loss", lambda *_: loss)
    made = take(Quantize(mode="dynamic"), model, None, Measuring(model, Trial()), tmp_path)
    assert any("1.06 points of TAR" in line and "--heal" in line for line in made.remarks) == told


def test_healing_says_what_it_lacks(model: ModelEntry, faces: Faces, tmp_path: Path) -> None:
    known = Measuring(model, Trial())
    with pytest.raises(InputError, match="--data"):
        take(Quantize(heal=10), model, None, known, tmp_path)
    with pytest.raises(InputError, match="--data"):
        take(Quantize(mode="dynamic", heal=10), model, None, known, tmp_path)
    raw = read_faces(tmp_path / "people", aligned=False)
    with pytest.raises(InputError, match="--aligned"):
        take(Quantize(heal=10), model, raw, known, tmp_path)
    foreign = import_tiny(tmp_path)
    with pytest.raises(ModelError, match="leave out --heal") as caught:
        take(Quantize(heal=10), foreign, faces, Measuring(foreign, Trial()), tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("mode", ["packed", "float16"])
def test_networks_that_compute_in_float32_have_nothing_to_heal(mode: Any) -> None:
    with pytest.raises(InputError, match="static and dynamic can be healed"):
        Quantize(mode=mode, heal=10)


def test_recipes_heal_what_they_quantise(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text('model = "a"\nout = "b"\n[[step]]\ndo = "quantize"\nheal = 500\n')
    assert read_recipe(recipe).steps == (Quantize(heal=500),)
