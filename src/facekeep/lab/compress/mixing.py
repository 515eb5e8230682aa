"""A model computed in 8 bits but for the layers that do not bear it: calibrated, tried, checked."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from facekeep.errors import InputError
from facekeep.lab.compress.calibration import activation_ranges
from facekeep.lab.compress.faces import LEAST, Faces, crops_of
from facekeep.lab.compress.folding import folded
from facekeep.lab.compress.layers import layers, named
from facekeep.lab.compress.loss import tar_loss
from facekeep.lab.compress.made import Made
from facekeep.lab.compress.measure import Measuring
from facekeep.lab.compress.options import Quantize
from facekeep.lab.compress.quantize import static_int8
from facekeep.lab.compress.sensitivity import (
    Mixed,
    Sensitivity,
    embedded,
    search_mix,
    sensitivities,
)
from facekeep.models import ModelEntry
from facekeep.pipeline.embed import Embedder
from facekeep.runtime import RuntimeOptions

__all__ = ["Mixing"]

Crops = NDArray[np.uint8]

_COMPARED: Final = 16  # faces by which the sensitivity of layers is ordered
_NAMED: Final = 6


class Mixing:
    """The making of one static network.

    Args:
        model: What it is made of, with which TAR is compared.
        source: The ONNX file to quantise: the model's, or what became of it by healing.
        options: Its bounds, its calibration, and what stays float32 in any case.
        measuring: Measures TAR on known people, where there are any, and shows progress.
        reduce_range: Use 7 bits for the weights.

    Raises:
        InputError: No layer has a name that is to be skipped.
    """

    def __init__(
        self,
        model: ModelEntry,
        source: bytes,
        options: Quantize,
        measuring: Measuring,
        *,
        reduce_range: bool,
    ) -> None:
        self._model, self._content, self._options = model, folded(source), options
        self._measuring, self._reduce_range = measuring, reduce_range
        self._skip = named(layers(self._content), options.skip)

    def done(self, faces: Faces) -> Made:
        """Calibrate on faces, order the layers, and spare as few as the bounds allow.

        Raises:
            InputError: Too few of the images show a face.
            ModelError: No mix is within the bounds.
        """
        ranges, crops = self._calibrated(faces)
        order = self._order(ranges, crops)
        mixed = self._searched(ranges, crops, order)
        return self._made(mixed, order, len(crops))

    def everything(self, faces: Faces) -> bytes:
        """Calibrate on faces, and compute all layers in 8 bits that are not to be skipped.

        Returns:
            The network, all weights that stay float32 as they were.

        Raises:
            InputError: Too few of the images show a face.
            ModelError: No layer is left.
        """
        ranges, _ = self._calibrated(faces)
        return static_int8(
            self._content,
            ranges,
            skip=self._skip,
            reduce_range=self._reduce_range,
            weights="float32",
        )

    def _calibrated(self, faces: Faces) -> tuple[Any, Crops]:
        """Return the ranges of activations, and the crops they were found on."""
        measuring, method = self._measuring, self._options.calibration
        with Embedder(self._model, options=RuntimeOptions(threads=1)) as embedder:
            with measuring.watch("Cutting out faces", len(faces.samples)) as advance:
                cache = measuring.trial.cache
                crops = crops_of(faces, embedder.size, cache=cache, progress=advance)
            if len(crops) < LEAST:
                raise InputError(
                    f"{len(crops)} of {len(faces.samples)} images show a face, and"
                    f" calibration needs {LEAST}; name more with --data, or say --aligned if they"
                    " are face crops"
                )
            tensors = embedder.tensor(crops)
        with measuring.watch("Calibrating", len(tensors)) as advance:
            return activation_ranges(self._content, tensors, method, progress=advance), crops

    def _order(self, ranges: Any, crops: Crops) -> tuple[Sensitivity, ...]:
        few = crops[:: max(1, len(crops) // _COMPARED)][:_COMPARED]
        count = len(layers(self._content)) - len(self._skip) - 1
        with self._measuring.watch("Trying layers one by one", count) as advance:
            return sensitivities(
                self._content,
                ranges,
                self._model,
                few,
                skip=self._skip,
                reduce_range=self._reduce_range,
                progress=advance,
            )

    def _searched(self, ranges: Any, crops: Crops, order: tuple[Sensitivity, ...]) -> Mixed:
        def make(spared: Collection[str]) -> bytes:
            skip = {*self._skip, *spared}
            return static_int8(self._content, ranges, skip=skip, reduce_range=self._reduce_range)

        bounds = _Bounds(self._model, self._content, self._options, self._measuring, crops)
        mixed = search_mix(order, make, bounds.agrees)
        if bounds.recognises(mixed.content):
            return mixed
        return search_mix(order, make, bounds.recognises, least=len(mixed.spared) + 1)

    def _made(self, mixed: Mixed, order: tuple[Sensitivity, ...], faces: int) -> Made:
        options, every = self._options, len(layers(self._content))
        computed = len(order) - len(mixed.spared)
        return Made(
            mixed.content,
            f"8 bits in {computed} of {every} layers, ranges by {options.calibration} of {faces}"
            " faces",
            tuple(_remarks(mixed)),
            {
                "mode": "static",
                "calibration": options.calibration,
                "faces": faces,
                "reduce_range": self._reduce_range,
                "layers": every,
                "computed_in_8_bits": computed,
                "spared": [each.layer.node for each in mixed.spared],
                "sensitivity": [
                    {"layer": s.layer.node, "weights": s.layer.weights, "cosine": s.cosine}
                    for s in order
                ],
            },
        )


class _Bounds:
    """Tells whether networks made of a model are as good as was asked for."""

    def __init__(
        self,
        model: ModelEntry,
        original: bytes,
        options: Quantize,
        measuring: Measuring,
        crops: Crops,
    ) -> None:
        self._model, self._options, self._measuring = model, options, measuring
        self._crops = crops
        self._rows = embedded(original, model, crops)

    def agrees(self, content: bytes) -> bool:
        """Compare the embeddings with those of the same network in float32."""
        rows = embedded(content, self._model, self._crops)
        cosine = float(np.einsum("ij,ij->i", rows, self._rows).mean())
        return cosine >= self._options.min_cosine

    def recognises(self, content: bytes) -> bool:
        """Measure TAR, where people are known; it takes longer, so it is asked last."""
        loss = tar_loss(content, self._model, self._measuring)
        return loss is None or loss <= self._options.max_tar_loss


def _remarks(mixed: Mixed) -> Iterator[str]:
    """Say which layers were left float32, the most sensitive first."""
    if mixed.spared:
        names = ", ".join(each.layer.node for each in mixed.spared[:_NAMED])
        more = len(mixed.spared) - _NAMED
        yield f"left float32 for the bounds' sake: {names}" + (f", {more} more" * (more > 0))
