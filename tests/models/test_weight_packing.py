"""Packing: smaller files, the same network, nothing left of it at run time."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import numpy as np
import onnx
import onnxruntime
import pytest
from networks import network
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from facekeep.errors import InputError, ModelCorrupt
from facekeep.lab.compress.onnx_layers import fold_constants
from facekeep.models.weight_packing import Numbers, is_packed, pack_weights, unpack
from facekeep.runtime import RuntimeOptions, open_session

PACKED: list[Numbers] = ["float16", "int8"]
RNG = np.random.default_rng(0)
IMAGES = RNG.normal(size=(2, 3, 16, 16)).astype(np.float32)


def normal(*shape: int) -> NDArray[np.float32]:
    return RNG.normal(size=shape).astype(np.float32)


WEIGHTS: dict[str, NDArray[Any]] = {
    "kernel": normal(40, 3, 3, 3) * np.logspace(-2, 1, 40, dtype=np.float32)[:, None, None, None],
    "bias": normal(40),
    "places": normal(1, 40, 16, 16),
    "depthwise": normal(40, 1, 5, 5),
    "matrix": normal(40, 96) * np.logspace(-2, 1, 96, dtype=np.float32),
    "last": normal(64, 96),
    "odd": normal(53, 64).T.copy(),  # no block fits 53 or divides 64 unevenly
}

MATRICES = ["kernel", "depthwise", "matrix", "last", "odd"]


@pytest.fixture(scope="module")
def source() -> bytes:
    nodes = [
        helper.make_node("Conv", ["x", "kernel", "bias"], ["a"], pads=[1] * 4),
        helper.make_node("Add", ["a", "places"], ["b"]),
        helper.make_node("Conv", ["b", "depthwise"], ["c"], group=40, pads=[2] * 4),
        helper.make_node("GlobalAveragePool", ["c"], ["d"]),
        helper.make_node("Flatten", ["d"], ["e"]),
        helper.make_node("MatMul", ["e", "matrix"], ["f"]),
        helper.make_node("Gemm", ["f", "last"], ["g"], transB=1),
        helper.make_node("MatMul", ["g", "odd"], ["y"]),
    ]
    return network(nodes, WEIGHTS, ["n", 3, 16, 16], ["n", 53])


def stored(content: bytes) -> dict[str, list[NDArray[Any]]]:
    """What is stored for each constant of the network: itself, or what it is opened out from."""
    graph = onnx.load_model_from_string(content).graph
    found = {item.name: [numpy_helper.to_array(item)] for item in graph.initializer}
    for node in graph.node:
        if all(name in found for name in node.input):
            found[node.output[0]] = [each for name in node.input for each in found[name]]
    return {name: found[name] for name in WEIGHTS if name in found}


def results(content: bytes) -> NDArray[np.float32]:
    (found,) = open_session(content, options=RuntimeOptions(threads=1)).run({"x": IMAGES})
    return np.asarray(found)


def test_float32_is_the_file_as_it_is(source: bytes) -> None:
    assert pack_weights(source, "float32") is source


@pytest.mark.parametrize(("numbers", "share"), [("float16", 0.55), ("int8", 0.45)])
def test_the_file_shrinks_and_stays_the_same(source: bytes, numbers: Numbers, share: float) -> None:
    packed = pack_weights(source, numbers)
    assert len(packed) < share * len(source)
    assert pack_weights(source, numbers) == packed, "equal input gives equal bytes"
    onnx.checker.check_model(onnx.load_model_from_string(packed), full_check=True)
    wanted, found = results(source), results(packed)
    error = np.abs(found - wanted).max() / np.abs(wanted).max()
    assert 0 < error < (1e-3 if numbers == "float16" else 2e-2)


def test_what_is_small_or_no_weight_keeps_its_precision(source: bytes) -> None:
    for numbers in PACKED:
        kept = stored(pack_weights(source, numbers))
        np.testing.assert_array_equal(kept["bias"][0], WEIGHTS["bias"])
        assert [each.dtype for each in kept["places"]] == [np.float16]
    assert {name for name, parts in kept.items() if parts[0].dtype == np.int8} == set(MATRICES)


@pytest.mark.parametrize("name", MATRICES)
def test_weights_are_rounded_to_half_a_step_of_their_block(source: bytes, name: str) -> None:
    (whole, step, _), wanted = stored(pack_weights(source, "int8"))[name], WEIGHTS[name]
    values = whole * step
    blocks = wanted.reshape(values.shape)
    assert np.all(np.abs(values - blocks) <= step * 0.501)
    assert np.abs(whole).max() == 127
    assert step.size >= wanted.size / 64
    largest = np.abs(blocks).max(axis=int(np.argmin(step.shape[1:])) + 1, keepdims=True)
    np.testing.assert_allclose(step, largest / 127, rtol=1e-6)


def test_weights_behind_constant_nodes_are_rounded_too() -> None:
    nodes = [
        helper.make_node("Unsqueeze", ["scale", "axis"], ["column"]),
        helper.make_node("Mul", ["last", "column"], ["scaled"]),
        helper.make_node("Transpose", ["scaled"], ["turned"], perm=[1, 0]),
        helper.make_node("GlobalMaxPool", ["x"], ["a"]),
        helper.make_node("Flatten", ["a"], ["b"]),
        helper.make_node("MatMul", ["b", "first"], ["c"]),
        helper.make_node("MatMul", ["c", "turned"], ["y"]),
    ]
    weights = {"last": normal(600, 32), "scale": normal(600), "axis": np.array([1])}
    content = network(nodes, weights | {"first": normal(3, 32)}, ["n", 3, 16, 16], ["n", 600])
    graph = onnx.load_model_from_string(pack_weights(content, "int8")).graph
    kinds = [numpy_helper.to_array(item).dtype for item in graph.initializer]
    assert kinds.count(np.dtype(np.int8)) == 1, "a scale is no matrix, and rounded to 16 bits only"
    assert kinds.count(np.dtype(np.float16)) == 1


@pytest.mark.parametrize("numbers", get_args(Numbers))
def test_packed_constants_are_opened_out_as_they_are_run(source: bytes, numbers: Numbers) -> None:
    found = unpack(onnx.load_model_from_string(pack_weights(source, numbers)).graph)
    for name, wanted in WEIGHTS.items():
        assert found[name].dtype == np.float32
        np.testing.assert_allclose(found[name], wanted, atol=np.abs(wanted).max() / 254 + 1e-3)
    if numbers == "float32":
        assert all(np.array_equal(found[name], wanted) for name, wanted in WEIGHTS.items())


@pytest.mark.parametrize("first", PACKED)
@pytest.mark.parametrize("then", PACKED)
def test_what_is_packed_is_packed_anew_once_opened(
    source: bytes, first: Numbers, then: Numbers
) -> None:
    before = pack_weights(source, first)
    assert is_packed(before)
    assert not is_packed(source)
    assert not is_packed(fold_constants(before))
    again = results(pack_weights(fold_constants(before), then))
    whole = results(source)
    assert np.abs(again - whole).max() < 0.03 * np.abs(whole).max()


def test_damaged_constants_are_told(source: bytes) -> None:
    model = onnx.load_model_from_string(pack_weights(source, "int8"))
    shape = next(item for item in model.graph.initializer if item.name.startswith("shape"))
    shape.CopyFrom(numpy_helper.from_array(np.array([7, 7]), shape.name))
    with pytest.raises(ModelCorrupt, match="a constant of the network is damaged"):
        unpack(model.graph)


def test_rows_of_nothing_stay_nothing() -> None:
    weights: dict[str, NDArray[Any]] = {"m": np.zeros((768, 8), np.float32)}
    nodes = [
        helper.make_node("Flatten", ["x"], ["f"]),
        helper.make_node("MatMul", ["f", "m"], ["y"]),
    ]
    content = network(nodes, weights, ["n", 3, 16, 16], ["n", 8])
    assert not results(pack_weights(content, "int8")).any()


@pytest.mark.parametrize("numbers", PACKED)
def test_the_runtime_opens_the_constants_out_once(
    source: bytes, numbers: Numbers, tmp_path: Path
) -> None:
    """What it runs afterward has the nodes of the network as it was, so the same speed."""

    def run_by(content: bytes) -> list[str]:
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = str(tmp_path / "run.onnx")
        options.log_severity_level = 4
        onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        return [node.op_type for node in onnx.load(tmp_path / "run.onnx").graph.node]

    assert run_by(pack_weights(source, numbers)) == run_by(source)


def test_what_cannot_be_packed_is_one_line(source: bytes) -> None:
    assert get_args(Numbers) == ("float32", *PACKED)
    with pytest.raises(InputError, match="one of float32, float16, int8, not 'int4'"):
        pack_weights(source, "int4")  # type: ignore[arg-type]
    with pytest.raises(ModelCorrupt, match="cannot be read as ONNX"):
        pack_weights(b"no network", "int8")
