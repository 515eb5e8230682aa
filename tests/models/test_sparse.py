"""Sparse constants: fewer bytes, the same network, and back again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from facekeep.errors import ModelCorrupt
from facekeep.models.sparse import drop_zeros, restore_zeros
from facekeep.models.weight_packing import pack_weights
from facekeep.runtime import RuntimeOptions, open_session


def network(weight: NDArray[np.float32]) -> bytes:
    """From N x rows to N x columns through one matrix."""
    rows, columns = weight.shape
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "product",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", rows])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", columns])],
        [numpy_helper.from_array(weight, "w")],
    )
    opset = [helper.make_opsetid("", 20)]
    content: bytes = helper.make_model(graph, opset_imports=opset, ir_version=9).SerializeToString()
    return content


def sparse(rows: int, columns: int, zeros: float, seed: int = 0) -> NDArray[np.float32]:
    random = np.random.default_rng(seed)
    weight = random.normal(size=(rows, columns)).astype(np.float32)
    weight[random.random(weight.shape) < zeros] = 0
    return weight


def run(content: bytes, folder: Path, rows: int) -> NDArray[Any]:
    (folder / "network.onnx").write_bytes(content)
    x = np.random.default_rng(1).normal(size=(3, rows)).astype(np.float32)
    (found,) = open_session(folder / "network.onnx", options=RuntimeOptions(threads=1)).run(
        {"x": x}
    )
    return found


@pytest.mark.parametrize("numbers", ["float32", "float16", "int8"])
def test_half_the_weights_take_little_more_than_half_the_bytes(
    tmp_path: Path, numbers: Any
) -> None:
    dense = pack_weights(network(sparse(256, 512, 0.5)), numbers)
    small = drop_zeros(dense)
    size = {"float32": 4, "float16": 2, "int8": 1}[numbers]
    spared = 256 * 512 * (size / 2 - 1 / 8)
    assert 0.95 * spared - 2000 < len(dense) - len(small) < 1.1 * spared
    np.testing.assert_array_equal(run(small, tmp_path, 256), run(dense, tmp_path, 256))
    np.testing.assert_array_equal(
        run(restore_zeros(small), tmp_path, 256), run(dense, tmp_path, 256)
    )
    assert drop_zeros(restore_zeros(small)) == small


@settings(max_examples=25)
@given(st.integers(1, 12), st.integers(1, 40), st.floats(0.0, 1.0), st.integers(0, 99))
def test_what_is_thinned_comes_back(rows: int, columns: int, zeros: float, seed: int) -> None:
    weight = sparse(8 * rows, 8 * columns, zeros, seed)
    back = onnx.load_model_from_string(restore_zeros(drop_zeros(network(weight))))
    np.testing.assert_array_equal(numpy_helper.to_array(back.graph.initializer[0]), weight)


@pytest.mark.parametrize("weight", [sparse(256, 256, 0.0), sparse(8, 8, 0.9), sparse(73, 73, 0.9)])
def test_what_saves_nothing_is_left(weight: NDArray[np.float32]) -> None:
    content = network(weight)
    assert drop_zeros(content) == content == restore_zeros(content)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("w_nonzero", np.zeros(7, np.float32)),
        ("w_mask", np.zeros(8192, np.float32)),
        ("w_places", np.array([256.0, 256.0])),
        ("w_places", np.array([2**40, 2**10])),
        ("w_places", np.array([2**40, 2**40])),
        ("w_places", np.array([16, 16])),
    ],
)
def test_damage_is_told(name: str, value: NDArray[Any]) -> None:
    model = onnx.load_model_from_string(drop_zeros(network(sparse(256, 256, 0.8))))
    constant = next(each for each in model.graph.initializer if each.name == name)
    constant.CopyFrom(numpy_helper.from_array(value, name))
    with pytest.raises(ModelCorrupt, match="sparse constant"):
        restore_zeros(model.SerializeToString())


def test_what_is_no_network_is_told() -> None:
    for change in (drop_zeros, restore_zeros):
        with pytest.raises(ModelCorrupt, match="cannot be read as ONNX"):
            change(b"no network")
