"""A model of the catalogue quantised."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Final

from facekeep.errors import InputError
from facekeep.lab.compress.faces import LEAST, Faces
from facekeep.lab.compress.folding import folded
from facekeep.lab.compress.layers import layers, named
from facekeep.lab.compress.loss import tar_loss
from facekeep.lab.compress.made import Made
from facekeep.lab.compress.measure import Measuring
from facekeep.lab.compress.mixing import Mixing
from facekeep.lab.compress.options import Quantize
from facekeep.lab.compress.pytorch import importing_pytorch
from facekeep.lab.compress.quantize import Mode, dynamic_int8, saturates
from facekeep.models import ModelEntry, locate
from facekeep.models.pack import Numbers, pack, packed

__all__ = ["quantised"]


def quantised(
    model: ModelEntry,
    options: Quantize,
    faces: Faces | None,
    measuring: Measuring,
    folder: Path,
) -> Made:
    """Quantise a model.

    Args:
        model: It; an ONNX network.
        options: How.
        faces: What to calibrate and heal on; None where there are none.
        measuring: Measures TAR on known people, where there are any, and shows progress.
        folder: Keeps healing that is under way.

    Raises:
        InputError: The model is no ONNX network, there are too few faces for a static network, or
            no layer has a name that is to be skipped.
        ModelError: The network cannot be quantised within the bounds, or not healed.
        KeyboardInterrupt: Healing was stopped; the same call goes on with it.
    """
    if model.runtime != "onnxruntime":
        raise InputError(
            f"model {model.name!r} is no ONNX network, the only kind that is quantised"
        )
    mode: Mode = options.mode or ("packed" if faces is None and not options.heal else "static")
    if mode in ("packed", "float16"):
        return _stored(locate(model).read_bytes(), mode, chosen=options.mode is not None)
    if mode == "static" and (faces is None or len(faces.samples) < LEAST):
        raise InputError(
            f"static 8 bits need {LEAST} faces at least to calibrate on; name some with --data,"
            " or store the weights alone in 8 bits with --mode packed"
        )
    reduce_range = saturates(options.target)
    source = _source(model, options, faces, measuring, folder, reduce_range=reduce_range)
    return _computed(model, source, options, faces, measuring, reduce_range=reduce_range)


def _source(
    model: ModelEntry,
    options: Quantize,
    faces: Faces | None,
    measuring: Measuring,
    folder: Path,
    *,
    reduce_range: bool,
) -> bytes:
    """Return the ONNX file to quantise: the model's, or what healing makes of it."""
    if not options.heal:
        return locate(model).read_bytes()
    with importing_pytorch():
        from facekeep.lab.compress.retraining import retrained
    return retrained(model, options, faces, measuring, folder, reduce_range=reduce_range)


def _computed(
    model: ModelEntry,
    source: bytes,
    options: Quantize,
    faces: Faces | None,
    measuring: Measuring,
    *,
    reduce_range: bool,
) -> Made:
    """Make a network that computes in 8 bits, and say what should be known of it."""
    if options.mode == "dynamic" or faces is None:
        content = folded(source)
        skip = named(layers(content), options.skip)
        dynamic = dynamic_int8(content, skip=skip, reduce_range=reduce_range)
        details = {"mode": "dynamic", "reduce_range": reduce_range}
        made = Made(dynamic, "8 bits, ranges found anew for each face", details=details)
    else:
        made = Mixing(model, source, options, measuring, reduce_range=reduce_range).done(faces)
    remarks = (_SATURATES,) if reduce_range else ()
    if options.heal:
        told = f"{made.told}, trained with rounded numbers for {options.heal} steps"
        return replace(made, told=told, remarks=(*remarks, *made.remarks))
    loss = tar_loss(made.content, model, measuring)
    advice = () if loss is None or loss <= _MUCH else (_HEAL.format(loss),)
    return replace(made, remarks=(*remarks, *made.remarks, *advice))


_MUCH: Final = 0.3  # points of TAR
_HEAL: Final = (
    "{:.2f} points of TAR are lost: training with rounded numbers may win some of them back, for an"
    " EdgeFace network and with aligned --data: --heal STEPS"
)
_SATURATES: Final = (
    "weights are rounded to 7 bits: x86 processors without VNNI cut off sums of products of 8 bits"
)
_NOT_CALIBRATED: Final = (
    "only the weights are in 8 bits: computing in 8 bits needs faces to calibrate on; name some"
    " with --data"
)


def _stored(source: bytes, mode: Mode, *, chosen: bool) -> Made:
    """Store the weights alone in fewer bits."""
    numbers: Numbers = "float16" if mode == "float16" else "int8"
    told = "weights in 16 bits" if mode == "float16" else "weights in 8 bits"
    remarks = () if chosen else (_NOT_CALIBRATED,)
    if packed(source):
        source = folded(source)  # packing what is packed would give two constants one name
    return Made(pack(source, numbers), told, remarks, {"mode": mode})
