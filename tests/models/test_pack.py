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
from facekeep.models.pack import Numbers, pack
from facekeep.runtime import open_session

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


def constants(content: bytes) -> dict[str, NDArray[Any]]:
    initializers = onnx.load_model_from_string(content).graph.initializer
    return {item.name: numpy_helper.to_array(item) for item in initializers}


def results(content: bytes) -> NDArray[np.float32]:
    (found,) = open_session(content, threads=1).run({"x": IMAGES})
    return np.asarray(found)


def test_float32_is_the_file_as_it_is(source: bytes) -> None:
    assert pack(source, "float32") is source


@pytest.mark.parametrize(("numbers", "share"), [("float16", 0.55), ("int8", 0.45)])
def test_the_file_shrinks_and_stays_the_same(source: bytes, numbers: Numbers, share: float) -> None:
    packed = pack(source, numbers)
    assert len(packed) < share * len(source)
    assert pack(source, numbers) == packed, "equal input gives equal bytes"
    onnx.checker.check_model(onnx.load_model_from_string(packed), full_check=True)
    wanted, found = results(source), results(packed)
    error = np.abs(found - wanted).max() / np.abs(wanted).max()
    assert 0 < error < (1e-3 if numbers == "float16" else 2e-2)


def test_what_is_small_or_no_weight_keeps_its_precision(source: bytes) -> None:
    for numbers in PACKED:
        kept = constants(pack(source, numbers))
        np.testing.assert_array_equal(kept["bias"], WEIGHTS["bias"])
        assert kept["places_float16"].dtype == np.float16
    assert {name for name, value in kept.items() if value.dtype == np.int8} == {
        f"{name}_int8" for name in ("kernel", "depthwise", "matrix", "last", "odd")
    }


@pytest.mark.parametrize("name", ["kernel", "depthwise", "matrix", "last", "odd"])
def test_weights_are_rounded_to_half_a_step_of_their_block(source: bytes, name: str) -> None:
    kept, wanted = constants(pack(source, "int8")), WEIGHTS[name]
    whole, step = kept[f"{name}_int8"], kept[f"{name}_step"]
    opened = whole * step
    blocks = wanted.reshape(opened.shape)
    assert np.all(np.abs(opened - blocks) <= step * 0.501)
    assert np.abs(whole).max() == 127
    assert step.size >= wanted.size / 64
    largest = np.abs(blocks).max(axis=int(np.argmin(step.shape[1:])) + 1, keepdims=True)
    np.testing.assert_allclose(step, largest / 127, rtol=1e-6)


def test_rows_of_nothing_stay_nothing() -> None:
    weights: dict[str, NDArray[Any]] = {"m": np.zeros((768, 8), np.float32)}
    nodes = [
        helper.make_node("Flatten", ["x"], ["f"]),
        helper.make_node("MatMul", ["f", "m"], ["y"]),
    ]
    content = network(nodes, weights, ["n", 3, 16, 16], ["n", 8])
    assert not results(pack(content, "int8")).any()


@pytest.mark.parametrize("numbers", PACKED)
def test_the_runtime_opens_the_constants_out_once(
    source: bytes, numbers: Numbers, tmp_path: Path
) -> None:
    """What it runs afterwards has the nodes of the network as it was, so the same speed."""

    def run_by(content: bytes) -> list[str]:
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = str(tmp_path / "run.onnx")
        options.log_severity_level = 4
        onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        return [node.op_type for node in onnx.load(tmp_path / "run.onnx").graph.node]

    assert run_by(pack(source, numbers)) == run_by(source)


def test_what_cannot_be_packed_is_one_line(source: bytes) -> None:
    assert get_args(Numbers) == ("float32", *PACKED)
    with pytest.raises(InputError, match="one of float32, float16, int8, not 'int4'"):
        pack(source, "int4")  # type: ignore[arg-type]
    with pytest.raises(ModelCorrupt, match="cannot be read as ONNX"):
        pack(b"no network", "int8")
