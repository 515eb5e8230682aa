"""Fine-tuning: a changed network learns again to embed faces like the original.

It is a run of the project's own training without a head: no labels are needed, any aligned faces
will do, and a stopped run can go on. Before quantization it is quantization-aware training: the
forward pass computes with fake-quantized numbers, as the network in 8 bits will.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Collection
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Final, Literal

import torch

from facekeep._internal.files import printable
from facekeep.errors import InputError, ModelError
from facekeep.lab.compress.data import FaceSet
from facekeep.lab.compress.int8 import list_products
from facekeep.lab.compress.measure import Watch
from facekeep.lab.compress.onnx_layers import fold_constants, list_layers, load_onnx, match_layers
from facekeep.lab.compress.options import FineTune, Quantize
from facekeep.lab.nn import EdgeFace, export_onnx, read_network, save_checkpoint
from facekeep.lab.train import Recipe, train
from facekeep.lab.train.fake_quantization import (
    ActivationGrid,
    FakeQuantization,
    QuantizedLayer,
    read_fake_quantization,
)
from facekeep.lab.train.folder import RECIPE, make, resumed_recipe
from facekeep.lab.train.results import MODEL
from facekeep.lab.train.teacher_targets import FULL_SIDE
from facekeep.models import ModelEntry
from facekeep.models.files import keep

__all__ = [
    "export_bytes",
    "fine_tune",
    "read_dynamic_quantization",
    "read_static_quantization",
    "require_aligned_data",
    "train_quantization_aware",
]

_ALWAYS: Final[dict[str, Any]] = {
    "head": "none",
    "optimizer": "muon",
    "power": 1.0,  # the rate falls in a straight line
    "ema": 0.97,  # an average over some tens of steps, as runs are short
    "augment": "none",  # most runs see no face often
    "holdout": 0,
}
_CHANGED: Final = "changed.pt"
_QUANTIZATION: Final = "rounding.json"
_RUN: Final = "run"
# The largest weight, by whether the range of weights is reduced.
_LARGEST: Final[dict[bool, Literal[127, 64]]] = {False: 127, True: 64}


def fine_tune(
    network: EdgeFace,
    original: EdgeFace,
    folder: Path,
    data: str | os.PathLike[str],
    options: FineTune,
    *,
    quantization: FakeQuantization | None = None,
    threads: int = 0,
    watch: Watch = lambda what, steps: nullcontext(lambda done: None),
) -> EdgeFace:
    """Train a changed network to embed faces as the original does.

    Args:
        network: The changed network; it stays as it is.
        original: What it was before; where it takes larger crops it sees the faces in full size.
        folder: Keeps the run. A stopped run of this network in it goes on.
        data: Aligned faces, as ``facekeep train --data`` takes them.
        options: Steps, batch and learning rate.
        quantization: What is fake-quantized during training; None for nothing.
        threads: CPU threads; 0 for PyTorch's own choice.
        watch: Shows progress.

    Raises:
        InputError: Another run lies in the folder, or something else; or an option is wrong.
        FacekeepError: As ``facekeep.lab.train.train``.
        KeyboardInterrupt: The run was stopped; the same call goes on with it.
    """
    folder = folder.absolute()  # a recipe's relative paths begin at its own folder
    asked = {"steps": options.fine_tune, "batch": options.batch, "lr": options.lr}
    resume = (folder / _RUN / RECIPE).is_file()
    if resume:
        recipe = _resume_recipe(folder, network, quantization, asked)
    else:
        teacher = _prepare_run(folder, network, original, quantization)
        recipe = Recipe(
            data=Path(data).absolute(),
            teacher=(str(teacher),),
            teacher_sees="full" if original.input_size > network.input_size else "changed",
            from_=str(folder / _CHANGED),
            input_size=network.input_size,
            rounding=None if quantization is None else folder / _QUANTIZATION,
            precision="auto" if quantization is None else "fp32",
            **asked,  # type: ignore[arg-type]
            **_ALWAYS,
        )
    outcome = train(recipe, folder / _RUN, resume=resume, threads=threads, watch=watch)
    if not outcome.finished:
        raise KeyboardInterrupt
    return read_network(folder / _RUN / MODEL, input_size=network.input_size)


def _prepare_run(
    folder: Path, network: EdgeFace, original: EdgeFace, quantization: FakeQuantization | None
) -> Path:
    """Write what a run begins with, and return the file of the teacher."""
    if not (folder / _CHANGED).is_file():
        make(folder)
    save_checkpoint(network, folder / _CHANGED)
    if quantization is not None:
        keep(folder / _QUANTIZATION, quantization.serialize())
    # A GPU runs the checkpoint of a teacher; a CPU is faster with ONNX.
    if torch.cuda.is_available() and original.input_size == FULL_SIDE:
        teacher = folder / "original.pt"
        save_checkpoint(original, teacher)
    else:
        teacher = folder / "original.onnx"
        export_onnx(original, teacher)
    return teacher


def _resume_recipe(
    folder: Path, network: EdgeFace, quantization: FakeQuantization | None, asked: dict[str, Any]
) -> Recipe:
    """Return the recipe of a stopped run, if network, quantization and options are the same."""
    recipe = resumed_recipe(folder / _RUN, {})
    begun = read_network(folder / _CHANGED, input_size=network.input_size).state_dict()
    now = network.state_dict()
    same = begun.keys() == now.keys() and all(torch.equal(now[name], begun[name]) for name in now)
    begun_quantization = (
        None if recipe.rounding is None else read_fake_quantization(recipe.rounding)
    )
    if not same or begun_quantization != quantization:
        raise InputError(
            f"{printable(folder)} holds the fine-tuning of another network; name another folder,"
            " or remove it"
        )
    begun_with = {name: getattr(recipe, name) for name in asked}
    if begun_with != asked:
        shown = ", ".join(f"{name} {value}" for name, value in begun_with.items())
        raise InputError(
            f"{printable(folder)} holds a fine-tuning that began with {shown}; ask for the same,"
            " name another folder, or remove it"
        )
    return recipe


def require_aligned_data(faces: FaceSet | None) -> Path:
    """Return where the faces lie that fine-tuning learns from; called before anything is done.

    Raises:
        InputError: There are none, or they are not aligned crops.
    """
    if faces is None or faces.path is None:
        raise InputError("fine-tuning needs faces to learn from; name some", "data")
    if not faces.samples.aligned:
        raise InputError(
            "fine-tuning needs aligned face crops; cut them out, and say that they are",
            "align",
        )
    return faces.path


def export_bytes(network: EdgeFace) -> bytes:
    """Return the ONNX file of a network."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.onnx"
        export_onnx(network, path)
        return path.read_bytes()


def train_quantization_aware(
    model: ModelEntry,
    options: Quantize,
    faces: FaceSet | None,
    folder: Path,
    quantize: Callable[[bytes], bytes] | None,
    *,
    reduce_range: bool,
    threads: int = 0,
    watch: Watch,
) -> bytes:
    """Train a model to embed faces in 8 bits as it does in float32.

    All layers are fake-quantized but the last and those to be skipped. Static ranges are those of
    one calibration before the training: a network learns little while its ranges move.

    Args:
        model: The model, which is its own teacher.
        options: How it will be quantized, and how long it is trained.
        faces: What it learns from.
        folder: Keeps a run that is stopped.
        quantize: Returns for an ONNX file the static network with all these layers in 8 bits, whose
            ranges are taken; None for a dynamic network.
        reduce_range: Whether its weights will have 7 bits.
        threads: CPU threads; 0 for PyTorch's own choice.
        watch: Shows progress.

    Returns:
        The ONNX file of the network, still in float32.

    Raises:
        InputError: There are no aligned faces, or no layer has a name that is to be skipped.
        ModelError: The model is not an EdgeFace network that facekeep can train.
        KeyboardInterrupt: Training was stopped; the same call goes on with it.
    """
    data = require_aligned_data(faces)
    try:
        network = read_network(model)
    except ModelError as error:
        raise ModelError(f"it cannot be fine-tuned: {error}; or do without", "fine_tune") from error
    source = export_bytes(network)
    if quantize is None:
        skip = match_layers(list_layers(fold_constants(source)), options.skip)
        quantization = read_dynamic_quantization(source, skip=skip, reduce_range=reduce_range)
    else:
        quantization = read_static_quantization(source, quantize(source), reduce_range=reduce_range)
    trained = fine_tune(
        network,
        network,
        folder / "fine-tuning",
        data,
        options,
        quantization=quantization,
        threads=threads,
        watch=watch,
    )
    return export_bytes(trained)


def read_static_quantization(
    exported: bytes, quantized: bytes, *, reduce_range: bool = False
) -> FakeQuantization:
    """Read what a static network quantizes, so that training can do the same.

    Args:
        exported: The network as ``export_onnx`` writes it.
        quantized: What `quantize_static` made of it, with ``weights="float32"``.
        reduce_range: As it was then.
    """
    from onnx import numpy_helper

    graph = load_onnx(quantized).graph
    values = {item.name: item for item in graph.initializer}
    writers = {name: node for node in graph.node for name in node.output}
    readers = {name: node for node in graph.node for name in node.input}

    def read_grid(node: Any) -> ActivationGrid:
        step, zero = (numpy_helper.to_array(values[name]) for name in node.input[1:3])
        return ActivationGrid(float(step), int(zero))

    found, names = {}, _name_parameters(exported)
    for node in graph.node:
        if node.name in names and node.input[1] in writers:  # its weights are dequantized
            output = read_grid(readers[node.output[0]]) if node.op_type == "Conv" else None
            found[names[node.name]] = QuantizedLayer(read_grid(writers[node.input[0]]), output)
    return FakeQuantization(found, _LARGEST[reduce_range])


def read_dynamic_quantization(
    exported: bytes, *, skip: Collection[str] = (), reduce_range: bool = False
) -> FakeQuantization:
    """Find what `quantize_dynamic` makes a network quantize, so that training can do the same.

    Args:
        exported: The network as ``export_onnx`` writes it.
        skip: As for `quantize_dynamic`.
        reduce_range: Likewise.

    Raises:
        ModelError: No layer is left to quantize.
    """
    names = _name_parameters(exported)
    found = {
        names[node]: QuantizedLayer() for node in list_products(fold_constants(exported), skip)
    }
    return FakeQuantization(found, _LARGEST[reduce_range])


def _name_parameters(exported: bytes) -> dict[str, str]:
    """Return the parameter from which the weights of each node come; they may be scaled first."""
    writers = {name: node for node in load_onnx(exported).graph.node for name in node.output}

    def trace(name: str) -> str:
        return trace(writers[name].input[0]) if name in writers else name

    return {layer.node: trace(layer.weights) for layer in list_layers(fold_constants(exported))}
