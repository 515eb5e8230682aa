"""A model of the catalogue quantised: calibrated, searched for the layers to spare, checked."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from facekeep.compress.calibration import activation_ranges
from facekeep.compress.faces import LEAST, Faces, crops_of
from facekeep.compress.folding import folded
from facekeep.compress.layers import Layer, layers
from facekeep.compress.made import Made
from facekeep.compress.measure import Measuring
from facekeep.compress.options import Quantize
from facekeep.compress.quantize import Mode, dynamic_int8, saturates, static_int8
from facekeep.compress.sensitivity import Mixed, embedded, search_mix, sensitivities
from facekeep.compress.staging import staged
from facekeep.embed import Embedder
from facekeep.errors import InputError
from facekeep.models import ModelEntry, locate
from facekeep.models.pack import Numbers, pack

__all__ = ["quantised"]

_COMPARED: Final = 16  # faces by which the sensitivity of layers is ordered


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
        made = dynamic_int8(content, skip=skip, reduce_range=reduce_range)
        told = "8 bits, ranges found anew for each face"
        return Made(made, told, remarks, {"mode": mode, "reduce_range": reduce_range})
    if faces is None or len(faces.samples) < LEAST:
        raise InputError(
            f"static 8 bits need {LEAST} faces at least to calibrate on; name some with --data,"
            " or store the weights alone in 8 bits with --mode packed"
        )
    return _static(model, content, options, faces, measuring, skip, reduce_range, remarks)


_NAMED: Final = 6
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


def _static(
    model: ModelEntry,
    content: bytes,
    options: Quantize,
    faces: Faces,
    measuring: Measuring,
    skip: frozenset[str],
    reduce_range: bool,
    remarks: tuple[str, ...],
) -> Made:
    crops = _crops(model, faces, measuring)
    with Embedder(model) as embedder:
        tensors = embedder.tensor(crops)
    with measuring.watch("Calibrating", len(tensors)) as advance:
        ranges = activation_ranges(content, tensors, options.calibration, progress=advance)
    few = crops[:: max(1, len(crops) // _COMPARED)][:_COMPARED]
    every = layers(content)
    with measuring.watch("Trying layers one by one", len(every) - len(skip) - 1) as advance:
        order = sensitivities(
            content, ranges, model, few, skip=skip, reduce_range=reduce_range, progress=advance
        )

    def make(spared: Collection[str]) -> bytes:
        return static_int8(content, ranges, skip={*skip, *spared}, reduce_range=reduce_range)

    bounds = _Bounds(model, options, measuring, crops)
    mixed = search_mix(order, make, bounds.agrees)
    if not bounds.recognises(mixed.content):
        mixed = search_mix(order, make, bounds.recognises, least=len(mixed.spared) + 1)
    computed = len(order) - len(mixed.spared)
    return Made(
        mixed.content,
        f"8 bits in {computed} of {len(every)} layers, ranges by {options.calibration}"
        f" of {len(crops)} faces",
        (*remarks, *_spared(mixed)),
        {
            "mode": "static",
            "calibration": options.calibration,
            "faces": len(crops),
            "reduce_range": reduce_range,
            "layers": len(every),
            "computed_in_8_bits": computed,
            "spared": [each.layer.node for each in mixed.spared],
            "sensitivity": [
                {"layer": s.layer.node, "weights": s.layer.weights, "cosine": s.cosine}
                for s in order
            ],
        },
    )


def _spared(mixed: Mixed) -> Iterator[str]:
    """Say which layers were left float32, the most sensitive first."""
    if mixed.spared:
        names = ", ".join(each.layer.node for each in mixed.spared[:_NAMED])
        more = len(mixed.spared) - _NAMED
        yield f"left float32 for the bounds' sake: {names}" + (f", {more} more" * (more > 0))


def _crops(model: ModelEntry, faces: Faces, measuring: Measuring) -> NDArray[np.uint8]:
    with (
        Embedder(model) as embedder,
        measuring.watch("Cutting out faces", len(faces.samples)) as advance,
    ):
        crops = crops_of(faces, embedder.size, cache=measuring.trial.cache, progress=advance)
    if len(crops) < LEAST:
        raise InputError(
            f"{len(crops)} of {len(faces.samples)} images show a face, and calibration needs"
            f" {LEAST}; name more with --data, or say --aligned if they are face crops"
        )
    return crops


class _Bounds:
    """Tells whether networks made of a model are as good as was asked for."""

    def __init__(
        self, model: ModelEntry, options: Quantize, measuring: Measuring, crops: NDArray[np.uint8]
    ) -> None:
        self._model, self._options, self._measuring = model, options, measuring
        self._crops = crops
        self._rows = embedded(locate(model).read_bytes(), model, crops)
        self._tar = measuring.tar(model)

    def agrees(self, content: bytes) -> bool:
        """Compare the embeddings with the model's."""
        rows = embedded(content, self._model, self._crops)
        cosine = float(np.einsum("ij,ij->i", rows, self._rows).mean())
        return cosine >= self._options.min_cosine

    def recognises(self, content: bytes) -> bool:
        """Measure TAR, where people are known; it takes longer, so it is asked last."""
        if self._tar is None:
            return True
        with tempfile.TemporaryDirectory() as folder:
            trial = staged(Made(content, "a trial"), self._model, Path(folder))
            after = self._measuring.tar(trial)
        return after is not None and 100 * (self._tar - after) <= self._options.max_tar_loss
