"""A network small enough to be quantized in a moment, and real faces in folders to feed it."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from facekeep.models import ModelEntry, entry, import_model
from facekeep.models.paths import models_dir
from facekeep.pipeline.image import save_image

SIDE = 32
LAYERS = ("stem", "depthwise", "pointwise", "hidden", "head")

_imported: dict[tuple[str, int], dict[Path, bytes]] = {}


def tiny_network(seed: int = 0, *, width: int = 16) -> bytes:
    """Two convolutions, a depthwise one, and two matrix products, with a GELU between them."""
    random = np.random.default_rng(seed)

    def weights(name: str, *shape: int) -> object:
        scale = 1 / np.sqrt(np.prod(shape[1:]) if len(shape) == 4 else shape[0])
        value = random.standard_normal(shape).astype(np.float32) * np.float32(scale)
        return numpy_helper.from_array(value, name)

    constants = [
        weights("stem.weight", 24, 3, 4, 4),
        weights("depthwise.weight", 24, 1, 3, 3),
        weights("pointwise.weight", 32, 24, 1, 1),
        weights("hidden.weight", 32, 48),
        weights("hidden.bias", 48, 1),
        weights("head.weight", 48, width),
        numpy_helper.from_array(np.array([48], np.int64), "flat"),
    ]
    nodes = [
        helper.make_node("Conv", ["image", "stem.weight"], ["a"], "stem", strides=[4, 4]),
        helper.make_node(
            "Conv", ["a", "depthwise.weight"], ["b"], "depthwise", group=24, pads=[1, 1, 1, 1]
        ),
        helper.make_node("Relu", ["b"], ["c"], "relu"),
        helper.make_node("Conv", ["c", "pointwise.weight"], ["d"], "pointwise"),
        helper.make_node("GlobalAveragePool", ["d"], ["e"], "pool"),
        helper.make_node("Flatten", ["e"], ["f"], "flatten"),
        helper.make_node("MatMul", ["f", "hidden.weight"], ["g"], "hidden"),
        helper.make_node("Reshape", ["hidden.bias", "flat"], ["bias"], "turned"),
        helper.make_node("Add", ["g", "bias"], ["h"], "add"),
        helper.make_node("Gelu", ["h"], ["i"], "gelu"),
        helper.make_node("MatMul", ["i", "head.weight"], ["embedding"], "head"),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["batch", width])],
        constants,
    )
    opset = [helper.make_opsetid("", 20)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=9)
    content: bytes = model.SerializeToString(deterministic=True)
    return content


def import_tiny(folder: Path, name: str = "tiny", seed: int = 0) -> ModelEntry:
    """Put such a network into the catalog: imported once, afterward copied."""
    file, place = folder / f"{name}.onnx", models_dir() / name
    file.write_bytes(tiny_network(seed))
    if (name, seed) not in _imported:
        model = import_model(file, name, weights_license="ours", training_data="chance")
        files = [path for path in place.rglob("*") if path.is_file()]
        _imported[name, seed] = {path.relative_to(place): path.read_bytes() for path in files}
        return model
    for path, content in _imported[name, seed].items():
        (place / path).parent.mkdir(parents=True, exist_ok=True)
        (place / path).write_bytes(content)
    return entry(name)


def faces(portraits: list[NDArray[np.uint8]], each: int, seed: int = 1) -> NDArray[np.uint8]:
    """Crops of the portraits at chance places, sizes and brightnesses: ``(n, side, side, 3)``."""
    random = np.random.default_rng(seed)
    made = []
    for portrait in portraits:
        for _ in range(each):
            side = int(random.integers(80, 200))
            top = int(random.integers(0, portrait.shape[0] // 2 - side // 4))
            left = int(random.integers(0, portrait.shape[1] - side))
            crop = cv2.resize(portrait[top : top + side, left : left + side], (SIDE, SIDE))
            made.append((crop * random.uniform(0.5, 1)).astype(np.uint8))
    return np.stack(made)


def write_people(folder: Path, portraits: list[NDArray[np.uint8]], each: int) -> Path:
    """A folder for each portrait, with crops of it."""
    crops = faces(portraits, each)
    for place, crop in enumerate(crops):
        person = folder / f"person-{place // each}"
        person.mkdir(parents=True, exist_ok=True)
        save_image(person / f"{place:03}.png", crop)
    return folder


def tensor(crops: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Crops as the network is fed them."""
    return np.ascontiguousarray((crops.transpose(0, 3, 1, 2).astype(np.float32) - 127.5) / 127.5)
