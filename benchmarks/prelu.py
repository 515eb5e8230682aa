"""What a PReLU between convolutions costs, written in three ways, in one interleaved run.

    python benchmarks/prelu.py

One thread, 64 maps of 56 x 56 between two convolutions of 1 x 1, as in SFace.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from facekeep._internal.timing import in_turns
from facekeep.models.onnx_folding import fold_block_quantized
from facekeep.runtime import RuntimeOptions, open_session

_MAPS, _SIDE = 64, 56
_SHAPE = [1, _MAPS, _SIDE, _SIDE]
_PRELU = [helper.make_node("PRelu", ["a", "slope"], ["b"])]
_MAX = [helper.make_node("Mul", ["a", "slope"], ["c"]), helper.make_node("Max", ["a", "c"], ["b"])]


def network(middle: list[onnx.NodeProto]) -> bytes:
    """Two convolutions with something between them, from ``a`` to ``b``."""
    random = np.random.default_rng(0)
    weights = {name: random.normal(0, 0.1, (_MAPS, _MAPS, 1, 1)) for name in ("first", "second")}
    weights["slope"] = random.uniform(-0.5, 0.9, (_MAPS, 1, 1))
    first = helper.make_node("Conv", ["x", "first"], ["a"])
    second = helper.make_node("Conv", ["b", "second"], ["y"])
    graph = helper.make_graph(
        [first, *middle, second],
        "prelu",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, _SHAPE)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, _SHAPE)],
        [numpy_helper.from_array(each.astype(np.float32), name) for name, each in weights.items()],
    )
    opset = [helper.make_opsetid("", 21)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=10)
    content: bytes = model.SerializeToString()
    return content


def main() -> None:
    """Time all forms in turns and print the medians."""
    forms = {
        "PRelu": network(_PRELU),
        "Mul, Max": network(_MAX),
        "facekeep's": fold_block_quantized(network(_PRELU), any_size=False),
    }
    x = np.random.default_rng(1).normal(size=_SHAPE).astype(np.float32)
    sessions = {
        name: open_session(form, options=RuntimeOptions(threads=1)) for name, form in forms.items()
    }
    runs = {name: partial(session.run, {"x": x}) for name, session in sessions.items()}
    medians = {name: np.median(each) for name, each in in_turns(runs, 200, warm_up=10).items()}
    for name, median in medians.items():
        print(f"{name:>10}  {median:.3f} ms  {median / medians['PRelu']:.2f}")


if __name__ == "__main__":
    main()
