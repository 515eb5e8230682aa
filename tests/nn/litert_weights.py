"""The weights inside the third-party TFLite conversion of EdgeFace-XS, put into our own network.

The conversion keeps the constants in the order in which they are used, as float16. It multiplied
each layer scale into the linear layer before it, and GELU's factor 0.5 into the one after it, and
kept of the position encoding only its result.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from facekeep.nn import EdgeFace, create_model

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


def constants(path: Path) -> Iterator[Array]:
    """Give the constants in the order of use, without single numbers and without ones."""
    network = interpreter(path)
    steps = network._get_ops_details()
    stored = {s["outputs"][0]: s["inputs"][0] for s in steps if s["op_name"] == "DEQUANTIZE"}
    for step in steps:
        for name in step["inputs"] if step["op_name"] != "DEQUANTIZE" else ():
            if name in stored:
                value = network.get_tensor(stored[name]).astype(np.float32)
                if value.size > 1 and not (value == 1).all():
                    yield value


def network_of(path: Path) -> EdgeFace:
    """Make our EdgeFace-XS with gamma 0.6 of the conversion's weights."""
    model = create_model("edgeface-xs", gamma=0.6)
    empty = model.state_dict()
    state = {name: torch.ones_like(value) for name, value in empty.items() if "gamma" in name}
    found = constants(path)
    for name in _in_order_of_use(empty):
        value = next(found)
        if name.endswith("token_projection.weight"):
            encoding = model.stages[1].blocks[-1].pos_embd
            weight, bias = _projection(encoding.waves[0].flatten(1).numpy(), value[0])
            state[name], state[name.replace("weight", "bias")] = weight, bias
        else:
            state[name] = _placed(value, name, empty[name].shape)
    assert next(found, None) is None
    model.load_state_dict(state)
    return model


def _in_order_of_use(state: dict[str, Tensor]) -> Iterator[str]:
    temperature = ""
    for name in state:
        if name.endswith("temperature"):
            temperature = name
        elif "gamma" not in name and not name.endswith("token_projection.bias"):
            yield name
            if name.endswith("qkv.linear2.bias"):
                yield temperature


def _placed(value: Array, name: str, shape: torch.Size) -> Tensor:
    if len(shape) == 4:
        value = value.transpose((0, 3, 1, 2) if len(value) == shape[0] else (3, 0, 1, 2))
        assert value.shape == shape
    if name.endswith("fc2.linear1.weight"):
        value = value * 2
    assert value.size == shape.numel()
    return torch.from_numpy(value.reshape(shape).copy())


def _projection(waves: Array, result: Array) -> tuple[Tensor, Tensor]:
    """Solve for the projection and bias that turn our waves into the conversion's encoding."""
    known = np.vstack((waves, np.ones_like(waves[:1]))).T.astype(np.float64)
    solution = np.linalg.lstsq(known, result.T.astype(np.float64), rcond=None)[0]
    assert np.abs(known @ solution - result.T).max() < 1e-4
    weight = torch.from_numpy(solution[:-1].T.astype(np.float32))
    return weight[:, :, None, None], torch.from_numpy(solution[-1].astype(np.float32))
