"""An ONNX graph under construction."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["Graph", "as_array"]

PRODUCER = "facekeep"  # by which an ONNX file says what wrote it
OPSET = 20  # the first with Gelu; ONNX Runtime 1.20 runs 21
IR_VERSION = 9  # the one of opset 20


class Graph:
    """Nodes in the order they are run, with their constants.

    Names are those of parameters or numbers of a count, so equal networks give equal bytes.
    """

    def __init__(self) -> None:
        self._nodes: list[Any] = []
        self._parameters: dict[str, Any] = {}
        self._constants: dict[tuple[str, tuple[int, ...], bytes], Any] = {}

    def parameter(self, name: str, value: NDArray[np.float32]) -> str:
        """Keep a constant under a name of its own, by which it is found again, and return that."""
        from onnx import numpy_helper

        self._parameters[name] = numpy_helper.from_array(np.ascontiguousarray(value), name)
        return name

    def constant(self, value: NDArray[Any]) -> str:
        """Keep a constant, once however often it is used, and return its name."""
        from onnx import numpy_helper

        value = np.ascontiguousarray(value)
        key = (value.dtype.str, value.shape, value.tobytes())
        if key not in self._constants:
            name = f"constant_{len(self._constants)}"
            self._constants[key] = numpy_helper.from_array(value, name)
        found: str = self._constants[key].name
        return found

    def numbers(self, *values: int) -> str:
        """Keep whole numbers, as shapes and axes are given, and return their name."""
        return self.constant(np.array(values, np.int64))

    def add(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """Add a node with one output and return the output's name."""
        return self.split(operator, 1, *inputs, **attributes)[0]

    def split(self, operator: str, outputs: int, *inputs: str, **attributes: Any) -> list[str]:
        """Add a node with several outputs and return their names."""
        from onnx import helper

        number = len(self._nodes)
        results = [f"x{number}_{index}" if index else f"x{number}" for index in range(outputs)]
        self._nodes.append(helper.make_node(operator, inputs, results, **attributes))
        return results

    def rename(self, old: str, new: str) -> str:
        """Give the output of a node, which none reads yet, another name and return that."""
        for node in self._nodes:
            for place, name in enumerate(node.output):
                if name == old:
                    node.output[place] = new
        return new

    def serialize(self, source: tuple[str, list[Any]], *results: tuple[str, list[Any]]) -> bytes:
        """Return the ONNX file.

        Args:
            source: Name and shape of the input; free axes are names.
            results: Name and shape of each output.
        """
        from onnx import TensorProto, checker, helper

        graph = helper.make_graph(
            self._nodes,
            "facekeep",
            [helper.make_tensor_value_info(source[0], TensorProto.FLOAT, source[1])],
            [
                helper.make_tensor_value_info(name, TensorProto.FLOAT, axes)
                for name, axes in results
            ],
            [*self._parameters.values(), *self._constants.values()],
        )
        model = helper.make_model(
            graph,
            producer_name=PRODUCER,
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
        )
        checker.check_model(model, full_check=True)
        content: bytes = model.SerializeToString(deterministic=True)
        return content


def as_array(value: Tensor) -> NDArray[np.float32]:
    """Return the numbers of a tensor."""
    array: NDArray[np.float32] = value.detach().float().cpu().numpy()
    return array
