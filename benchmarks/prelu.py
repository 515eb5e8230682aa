"""What ONNX Runtime's PRelu costs beside nodes of the same result, in one interleaved run.

    python benchmarks/prelu.py

One thread, 32 maps of 112 x 112, the size of SFace's first layers, on values of mixed sign.
"""

from __future__ import annotations

import time

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from facekeep.models.fold import fold_block_quantised
from facekeep.runtime import open_session

_SHAPE = [1, 32, 112, 112]


def network() -> bytes:
    """A network of one PRelu."""
    slope = np.random.default_rng(0).uniform(-0.5, 1, (32, 1, 1)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("PRelu", ["x", "slope"], ["y"])],
        "prelu",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, _SHAPE)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, _SHAPE)],
        [numpy_helper.from_array(slope, "slope")],
    )
    opset = [helper.make_opsetid("", 21)]
    content: bytes = helper.make_model(
        graph, opset_imports=opset, ir_version=10
    ).SerializeToString()
    return content


def main() -> None:
    """Time both forms in turns and print the medians."""
    plain = network()
    assert onnx.load_model_from_string(plain).graph.node[0].op_type == "PRelu"
    forms = {"PRelu": plain, "Mul, Max": fold_block_quantised(plain, any_size=False)}
    sessions = {name: open_session(form, threads=1) for name, form in forms.items()}
    x = np.random.default_rng(1).normal(size=_SHAPE).astype(np.float32)
    times: dict[str, list[float]] = {name: [] for name in forms}
    for turn in range(210):
        for name, session in sessions.items():
            start = time.perf_counter()
            session.run({"x": x})
            if turn >= 10:
                times[name].append(time.perf_counter() - start)
    medians = {name: float(np.median(each)) * 1e3 for name, each in times.items()}
    for name, median in medians.items():
        print(f"{name:>8}  {median:.3f} ms")
    print(f"   ratio  {medians['PRelu'] / medians['Mul, Max']:.1f}")


if __name__ == "__main__":
    main()
