"""A small network for each runtime, and what every session must stand."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from facekeep.errors import FacekeepError, InputError, RuntimeUnavailable
from facekeep.runtime import RuntimeOptions, Session, open_session
from facekeep.runtime.openvino import import_openvino


def product(weight: NDArray[np.float32]) -> bytes:
    """An ONNX file: x (n, rows) -> y = x @ weight."""
    rows, columns = weight.shape
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "small",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", rows])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", columns])],
        [numpy_helper.from_array(weight, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    content: bytes = model.SerializeToString()
    return content


def rounding(weight: NDArray[np.float32]) -> bytes:
    """An ONNX file: x (n, rows), rounded to whole numbers -> y = that @ weight."""
    model = onnx.load_model_from_string(product(weight))
    steps = {"step": np.array(1, np.float32), "zero": np.array(0, np.int8)}
    model.graph.initializer.extend(numpy_helper.from_array(v, k) for k, v in steps.items())
    model.graph.node[0].input[0] = "real"
    for operator, source, result in (
        ("DequantizeLinear", "whole", "real"),
        ("QuantizeLinear", "x", "whole"),
    ):
        node = helper.make_node(operator, [source, "step", "zero"], [result])
        model.graph.node.insert(0, node)
    content: bytes = model.SerializeToString()
    return content


@dataclass(frozen=True)
class Case:
    """A runtime, and a small network of its kind from ``x`` to one output.

    Attributes:
        runtime: Its name.
        write: Writes the network into a folder, and returns the path to open.
        shape: Of one row of ``x``.
    """

    runtime: str
    write: Callable[[Path], Path]
    shape: tuple[int, ...]

    def open(self, model: Path | bytes) -> Session:
        return open_session(model, options=RuntimeOptions(runtime=self.runtime, threads=1))

    def rows(self, count: int, seed: int = 0) -> NDArray[np.float32]:
        rng = np.random.default_rng(seed)
        return rng.normal(size=(count, *self.shape)).astype(np.float32)


def case_of(runtime: str) -> Case:
    """Make the case of a runtime, or skip the test where it is not installed."""
    if runtime == "litert":
        pytest.importorskip("ai_edge_litert", reason="the extra 'litert' is not installed")
        import litert_kit

        return Case(runtime, _writing("small.tflite", litert_kit.means()), (8, 8, 3))
    if runtime == "ncnn":
        pytest.importorskip("ncnn", reason="the extra 'ncnn' is not installed")
        import ncnn_kit

        return Case(runtime, ncnn_kit.means, (3, 8, 8))
    if runtime == "openvino":
        try:
            import_openvino()
        except RuntimeUnavailable as missing:
            pytest.skip(str(missing))
    weight = np.random.default_rng(0).normal(size=(64, 48)).astype(np.float32)
    return Case(runtime, _writing("small.onnx", product(weight)), (64,))


def _writing(name: str, content: bytes) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        (folder / name).write_bytes(content)
        return folder / name

    return write


def close_while_others_run(session: Session, feeds: Mapping[str, NDArray[Any]]) -> None:
    """Close a session that four threads use: each must end with the error that says so."""
    started = threading.Event()
    failures: list[BaseException] = []

    def work() -> None:
        try:
            while True:
                session.run(feeds)
                started.set()
        except InputError:
            pass
        except BaseException as error:  # noqa: BLE001 - any other end is the failure looked for
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    assert started.wait(30)
    session.close()
    for thread in threads:
        thread.join(30)
    assert not failures
    assert not any(thread.is_alive() for thread in threads)


def assert_one_line(error: FacekeepError) -> None:
    assert "\n" not in str(error)
    assert 10 < len(str(error)) < 400
