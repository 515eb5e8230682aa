from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from msgspec import structs
from networks import network
from onnx import helper

from facekeep.errors import ModelError, ModelNotFound
from facekeep.lab import nn
from facekeep.models import FileEntry, ModelEntry, entry, import_model, model_cost
from facekeep.models.paths import models_dir
from facekeep.models.weight_packing import Numbers, pack_weights

pytestmark = pytest.mark.usefixtures("models")


def numbers(*shape: int) -> np.ndarray:
    return np.ones(shape, np.float32)


def placed(content: bytes, **changes: Any) -> ModelEntry:
    """An entry of the user's own for a network that need not be a face embedder."""
    folder = models_dir() / "mine"
    folder.mkdir(parents=True)
    (folder / "net.onnx").write_bytes(content)
    file = FileEntry("net.onnx", hashlib.sha256(content).hexdigest(), len(content))
    facts = {"name": "mine", "files": (file,), "folder": folder, "params": None, "input_size": 8}
    return structs.replace(entry("sface"), **(facts | changes))


def counted(nodes: list[Any], weights: dict[str, np.ndarray], out: list[Any]) -> int:
    return model_cost(placed(network(nodes, weights, ["n", 3, 8, 8], out))).macs


def test_a_convolution() -> None:
    node = helper.make_node("Conv", ["x", "w"], ["y"], strides=[2, 2], pads=[1, 1, 1, 1])
    assert counted([node], {"w": numbers(5, 3, 3, 3)}, ["n", 5, 4, 4]) == (5 * 4 * 4) * (3 * 3 * 3)


def test_a_convolution_of_groups_and_its_transpose() -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], group=3, pads=[1, 1, 1, 1]),
        helper.make_node("ConvTranspose", ["a", "v"], ["y"], strides=[2, 2]),
    ]
    weights = {"w": numbers(6, 1, 3, 3), "v": numbers(6, 7, 2, 2)}
    assert counted(nodes, weights, ["n", 7, 16, 16]) == 6 * 8 * 8 * 9 + (6 * 8 * 8) * (7 * 2 * 2)


@pytest.mark.parametrize("kind", get_args(Numbers))
def test_a_packed_network_costs_what_it_did(kind: Numbers) -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], pads=[1, 1, 1, 1]),
        helper.make_node("Flatten", ["a"], ["b"]),
        helper.make_node("MatMul", ["b", "m"], ["y"]),
    ]
    weights = {"w": numbers(32, 3, 3, 3), "m": numbers(32 * 8 * 8, 8)}
    content = pack_weights(network(nodes, weights, ["n", 3, 8, 8], ["n", 8]), kind)
    assert model_cost(placed(content)).macs == 32 * 8 * 8 * 27 + 32 * 8 * 8 * 8


@pytest.mark.parametrize("turned", [0, 1])
def test_matrix_products(turned: int) -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"]),  # 3 x 8 rows of 8 -> 5
        helper.make_node("Flatten", ["a"], ["b"]),  # 1 x 120
        helper.make_node("Transpose", ["b"], ["c"], perm=[1, 0] if turned else [0, 1]),
        helper.make_node("Gemm", ["c", "v"], ["y"], transA=turned),
    ]
    weights = {"w": numbers(8, 5), "v": numbers(120, 9)}
    assert counted(nodes, weights, ["n", 9]) == 3 * 8 * 8 * 5 + 120 * 9


def test_an_attention_between_two_computed_matrices() -> None:
    nodes = [
        helper.make_node("Transpose", ["x"], ["t"], perm=[0, 1, 3, 2]),
        helper.make_node("MatMul", ["t", "x"], ["y"]),
    ]
    assert counted(nodes, {}, ["n", 3, 8, 8]) == 3 * 8 * 8 * 8


def test_additions_and_activations_cost_nothing() -> None:
    nodes = [
        helper.make_node("Relu", ["x"], ["a"]),
        helper.make_node("Add", ["a", "x"], ["y"]),
    ]
    assert counted(nodes, {}, ["n", 3, 8, 8]) == 0


def test_parameters_are_the_floating_constants_where_the_entry_knows_none() -> None:
    node = helper.make_node("Reshape", ["a", "shape"], ["y"])
    nodes = [helper.make_node("Mul", ["x", "w"], ["a"]), node]
    content = network(
        nodes, {"w": numbers(3, 1, 1), "shape": np.array([-1, 3])}, ["n", 3, 8, 8], []
    )
    made = placed(content)
    assert model_cost(made).params == 3
    assert model_cost(structs.replace(made, params=77)).params == 77


def test_flops_are_twice_the_multiply_accumulates() -> None:
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    cost = model_cost(placed(network([node], {"w": numbers(8, 2)}, ["n", 3, 8, 8], [])))
    assert (cost.macs, cost.flops, cost.input_size) == (384, 768, 8)


def test_a_network_of_any_size_is_counted_at_one() -> None:
    cost = model_cost(entry("yunet"))
    assert cost.input_size == 640
    assert cost.params == entry("yunet").params
    assert 300e6 < cost.macs < 400e6


def test_shapes_that_depend_on_values_cannot_be_followed() -> None:
    nodes = [
        helper.make_node("NonZero", ["x"], ["places"]),
        helper.make_node("Cast", ["places"], ["a"], to=1),
        helper.make_node("MatMul", ["w", "a"], ["y"]),
    ]
    with pytest.raises(ModelError, match="shapes of model 'mine' cannot be followed"):
        counted(nodes, {"w": numbers(2, 4)}, [2, "k"])


def test_what_is_not_here_cannot_be_counted() -> None:
    with pytest.raises(ModelNotFound, match="pull it first"):
        model_cost(entry("edgeface-xxs"))


@pytest.mark.slow
@pytest.mark.parametrize(("gamma", "size"), [(None, 64), (0.5, 112)])
def test_an_edgeface_costs_what_its_network_costs(
    tmp_path: Path, gamma: float | None, size: int
) -> None:
    """Only the position encoding, a constant in the ONNX file, is computed in PyTorch each time."""
    network = nn.create_model("edgeface-xxs", gamma=gamma, input_size=size)
    nn.save_checkpoint(network, tmp_path / "it.pt")
    made = import_model(
        tmp_path / "it.pt", "mine", arch="edgeface-xxs", gamma=gamma, input_size=size
    )
    theirs, ours = nn.cost(network), model_cost(made)
    projection = 64 * 48 * (size // 8) ** 2
    assert ours.params == theirs.params
    assert ours.macs == theirs.macs - projection
