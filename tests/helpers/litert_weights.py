"""The third-party TFLite conversion of EdgeFace-XS, run by its own runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]


def interpreter(path: Path) -> Any:
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    plain = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    found = Interpreter(str(path), experimental_op_resolver_type=plain, num_threads=1)
    found.allocate_tensors()
    return found


def embeddings(path: Path, crops: Array) -> Array:
    """Run the conversion itself on n x 112 x 112 x 3 crops."""
    network = interpreter(path)
    (source,), (result,) = network.get_input_details(), network.get_output_details()
    rows = []
    for crop in crops:
        network.set_tensor(source["index"], crop[None])
        network.invoke()
        rows.append(network.get_tensor(result["index"])[0])
    return np.stack(rows)
