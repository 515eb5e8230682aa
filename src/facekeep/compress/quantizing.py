"""A model of the catalogue quantised."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Final

from facekeep.compress.faces import LEAST, Faces
from facekeep.compress.folding import folded
from facekeep.compress.layers import Layer, layers
from facekeep.compress.made import Made
from facekeep.compress.measure import Measuring
from facekeep.compress.mixing import Mixing
from facekeep.compress.options import Quantize
from facekeep.compress.quantize import Mode, dynamic_int8, saturates
from facekeep.errors import InputError
from facekeep.models import ModelEntry, locate
from facekeep.models.pack import Numbers, pack, packed

__all__ = ["quantised"]


def quantised(
    model: ModelEntry, options: Quantize, faces: Faces | None, measuring: Measuring
) -> Made:
    """Quantise a model.

    Args:
        model: It; an ONNX network.
        options: How.
        faces: What to calibrate on; None where there are none.
        measuring: Measures TAR on known people, where there are any, and shows progress.

    Raises:
        InputError: The model is no ONNX network, there are too few faces for a static network, or
            no layer has a name that is to be skipped.
        ModelError: The network cannot be quantised within the bounds.
    """
    if model.runtime != "onnxruntime":
        raise InputError(
            f"model {model.name!r} is no ONNX network, the only kind that is quantised"
        )
    source = locate(model).read_bytes()
    mode: Mode = options.mode or ("packed" if faces is None else "static")
    if mode in ("packed", "float16"):
        return _stored(source, mode, chosen=options.mode is not None)
    content = folded(source)
    skip = _skipped(layers(content), options.skip)
    reduce_range = saturates(options.target)
    remarks = (_SATURATES,) if reduce_range else ()
    if mode == "dynamic":
        told = "8 bits, ranges found anew for each face"
        dynamic = dynamic_int8(content, skip=skip, reduce_range=reduce_range)
        return Made(dynamic, told, remarks, {"mode": mode, "reduce_range": reduce_range})
    if faces is None or len(faces.samples) < LEAST:
        raise InputError(
            f"static 8 bits need {LEAST} faces at least to calibrate on; name some with --data,"
            " or store the weights alone in 8 bits with --mode packed"
        )
    job = Mixing(model, content, options, measuring, skip, reduce_range=reduce_range)
    made = job.done(faces)
    return replace(made, remarks=(*remarks, *made.remarks))


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


def _skipped(every: tuple[Layer, ...], patterns: Collection[str]) -> frozenset[str]:
    """Return the nodes that the patterns name."""
    found: set[str] = set()
    for pattern in patterns:
        named = {
            each.node
            for each in every
            if fnmatchcase(each.node, pattern) or fnmatchcase(each.weights, pattern)
        }
        if not named:
            names = ", ".join(each.node for each in every[:3])
            raise InputError(f"no layer is called {pattern!r}; the first are {names}")
        found |= named
    return frozenset(found)
