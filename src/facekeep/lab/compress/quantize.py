"""The step that quantizes a catalog model: packed, float16, dynamic, or static mixed precision.

A static network computes in 8 bits except for the layers that lose too much: they stay float32.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from facekeep.errors import InputError, ModelError
from facekeep.lab.compress.data import MIN_CALIBRATION_FACES, FaceSet, crop_faces
from facekeep.lab.compress.int8 import (
    Mode,
    calibrate_ranges,
    quantize_dynamic,
    quantize_static,
    saturates,
)
from facekeep.lab.compress.measure import Evaluator
from facekeep.lab.compress.onnx_layers import (
    Layer,
    find_head,
    fold_constants,
    list_layers,
    match_layers,
)
from facekeep.lab.compress.options import Quantize
from facekeep.lab.compress.workspace import StepResult, write_model
from facekeep.models import ModelEntry, locate
from facekeep.models.weight_packing import Numbers, is_packed, pack_weights
from facekeep.pipeline.embed import Embedder
from facekeep.runtime import RuntimeOptions

__all__ = [
    "MixedNetwork",
    "Sensitivity",
    "measure_sensitivities",
    "quantize_model",
    "search_mixed_precision",
]

Crops = NDArray[np.uint8]

_COMPARED: Final = 16  # faces on which the sensitivity of layers is measured
_NAMED: Final = 6
_LARGE_LOSS: Final = 0.3  # points of TAR
_FINE_TUNE: Final = (
    "{:.2f} points of TAR are lost: quantization-aware training may win some of them back, for an"
    " EdgeFace network and with aligned --data: --fine-tune STEPS"
)
_SEVEN_BITS: Final = (
    "weights are quantized to 7 bits: on x86 processors without VNNI sums of 8-bit products"
    " overflow"
)
_NOT_CALIBRATED: Final = (
    "only the weights are in 8 bits: computing in 8 bits needs faces to calibrate on; name some"
    " with --data"
)


def quantize_model(
    model: ModelEntry,
    options: Quantize,
    faces: FaceSet | None,
    evaluator: Evaluator,
    folder: Path,
) -> StepResult:
    """Quantize a model.

    Args:
        model: The model; an ONNX network.
        options: How.
        faces: What to calibrate and fine-tune on; None where there are none.
        evaluator: Measures TAR on known people, where there are any, and shows progress.
        folder: Keeps training that is under way.

    Raises:
        InputError: The model is not an ONNX network, there are too few faces for a static network,
            or no layer has a name that is to be skipped.
        ModelError: The network cannot be quantized within the bounds, or not be trained.
        KeyboardInterrupt: Training was stopped; the same call goes on with it.
    """
    if model.runtime != "onnxruntime":
        raise InputError(f"model {model.name!r} is not an ONNX network; only those are quantized")
    mode: Mode = options.mode or ("packed" if faces is None and not options.fine_tune else "static")
    if mode in ("packed", "float16"):
        return _store_weights(locate(model).read_bytes(), mode, chosen=options.mode is not None)
    if mode == "static" and (faces is None or len(faces.samples) < MIN_CALIBRATION_FACES):
        raise InputError(
            f"static 8 bits need at least {MIN_CALIBRATION_FACES} faces to calibrate on; name some"
            ", or only store the weights in 8 bits",
            "data_or_packed",
        )
    reduce_range = saturates(options.target)
    calibration = faces if mode == "static" else None
    source = locate(model).read_bytes()
    if options.fine_tune:
        source = _train(model, options, faces, calibration, evaluator, folder, reduce_range)
    if calibration is None:
        result = _compute_dynamic(source, options.skip, reduce_range)
    else:
        mixed = _MixedPrecision(model, source, options, evaluator, reduce_range=reduce_range)
        result = mixed.quantize(calibration)
    remarks = (_SEVEN_BITS,) * reduce_range + result.remarks
    if options.fine_tune:
        summary = f"{result.summary}, quantization-aware training for {options.fine_tune} steps"
        return replace(result, summary=summary, remarks=remarks)
    loss = evaluator.tar_loss(result.content, model)
    if loss is not None and loss > _LARGE_LOSS:
        remarks += (_FINE_TUNE.format(loss),)
    return replace(result, remarks=remarks)


def _store_weights(source: bytes, mode: Mode, *, chosen: bool) -> StepResult:
    """Only store the weights in fewer bits."""
    numbers: Numbers = "float16" if mode == "float16" else "int8"
    summary = "weights in 16 bits" if mode == "float16" else "weights in 8 bits"
    remarks = () if chosen else (_NOT_CALIBRATED,)
    if is_packed(source):
        source = fold_constants(source)  # packing it again would give two constants one name
    return StepResult(pack_weights(source, numbers), summary, remarks, {"mode": mode})


def _compute_dynamic(source: bytes, skip: Collection[str], reduce_range: bool) -> StepResult:
    content = fold_constants(source)
    nodes = match_layers(list_layers(content), skip)
    return StepResult(
        quantize_dynamic(content, skip=nodes, reduce_range=reduce_range),
        "8 bits, ranges computed for each face",
        details={"mode": "dynamic", "reduce_range": reduce_range},
    )


def _train(
    model: ModelEntry,
    options: Quantize,
    faces: FaceSet | None,
    calibration: FaceSet | None,
    evaluator: Evaluator,
    folder: Path,
    reduce_range: bool,
) -> bytes:
    """Return the ONNX file of the model after quantization-aware training."""
    from facekeep.lab.compress.fine_tune import train_quantization_aware

    def quantize_all(source: bytes, faces: FaceSet) -> bytes:
        mixed = _MixedPrecision(model, source, options, evaluator, reduce_range=reduce_range)
        return mixed.quantize_all(faces)

    return train_quantization_aware(
        model,
        options,
        faces,
        folder,
        None if calibration is None else partial(quantize_all, faces=calibration),
        reduce_range=reduce_range,
        threads=evaluator.data.threads,
        watch=evaluator.watch,
    )


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """What computing one layer in 8 bits does.

    Attributes:
        layer: The layer.
        cosine: Mean cosine to the original's embeddings with only this layer in 8 bits.
    """

    layer: Layer
    cosine: float


@dataclass(frozen=True, slots=True)
class MixedNetwork:
    """A network of which some layers compute in 8 bits and others in float32.

    Attributes:
        content: Its ONNX file.
        spared: The layers that stay float32 because of the bounds, the most sensitive first.
    """

    content: bytes
    spared: tuple[Sensitivity, ...]


class _MixedPrecision:
    """Makes one static network.

    Args:
        model: What it is made from, with which TAR is compared.
        source: The ONNX file to quantize: the model's, or what training made of it.
        options: Its bounds, its calibration, and what stays float32 in any case.
        evaluator: Measures TAR on known people, where there are any, and shows progress.
        reduce_range: Use 7 bits for the weights.

    Raises:
        InputError: No layer has a name that is to be skipped.
    """

    def __init__(
        self,
        model: ModelEntry,
        source: bytes,
        options: Quantize,
        evaluator: Evaluator,
        *,
        reduce_range: bool,
    ) -> None:
        self._model, self._content, self._options = model, fold_constants(source), options
        self._evaluator, self._reduce_range = evaluator, reduce_range
        self._layers = list_layers(self._content)
        self._skip = match_layers(self._layers, options.skip)

    def quantize(self, faces: FaceSet) -> StepResult:
        """Calibrate on faces, order the layers, and spare as few as the bounds allow.

        Raises:
            InputError: Too few of the images show a face.
            ModelError: No mix is within the bounds.
        """
        ranges, crops = self._calibrate(faces)
        order = self._order_layers(ranges, crops)
        mixed = self._search(ranges, crops, order)
        computed = len(order) - len(mixed.spared)
        method = self._options.calibration
        return StepResult(
            mixed.content,
            f"8 bits in {computed} of {len(self._layers)} layers, ranges by {method} of"
            f" {len(crops)} faces",
            tuple(_describe_spared(mixed)),
            {
                "mode": "static",
                "calibration": method,
                "faces": len(crops),
                "reduce_range": self._reduce_range,
                "layers": len(self._layers),
                "computed_in_8_bits": computed,
                "spared": [each.layer.node for each in mixed.spared],
                "sensitivity": [
                    {"layer": s.layer.node, "weights": s.layer.weights, "cosine": s.cosine}
                    for s in order
                ],
            },
        )

    def quantize_all(self, faces: FaceSet) -> bytes:
        """Calibrate on faces, and compute all layers in 8 bits that are not to be skipped.

        Returns:
            The network, all weights that stay float32 as they were.

        Raises:
            InputError: Too few of the images show a face.
            ModelError: No layer is left.
        """
        ranges, _ = self._calibrate(faces)
        return quantize_static(
            self._content,
            ranges,
            skip=self._skip,
            reduce_range=self._reduce_range,
            weights="float32",
        )

    def _calibrate(self, faces: FaceSet) -> tuple[Any, Crops]:
        """Return the ranges of activations, and the crops they were found on."""
        evaluator, method = self._evaluator, self._options.calibration
        with Embedder(self._model, options=RuntimeOptions(threads=1)) as embedder:
            with evaluator.watch("Cutting out faces", len(faces.samples)) as advance:
                cache = evaluator.data.cache
                crops = crop_faces(faces, embedder.size, cache=cache, progress=advance)
            if len(crops) < MIN_CALIBRATION_FACES:
                raise InputError(
                    f"{len(crops)} of {len(faces.samples)} images show a face, and calibration"
                    f" needs {MIN_CALIBRATION_FACES}; name more, or say that they are face"
                    " crops",
                    "data aligned",
                )
            tensors = embedder.tensor(crops)
        with evaluator.watch("Calibrating", len(tensors)) as advance:
            return calibrate_ranges(self._content, tensors, method, progress=advance), crops

    def _order_layers(self, ranges: Any, crops: Crops) -> tuple[Sensitivity, ...]:
        few = crops[:: max(1, len(crops) // _COMPARED)][:_COMPARED]
        count = len(self._layers) - len(self._skip) - 1
        with self._evaluator.watch("Trying layers one by one", count) as advance:
            return measure_sensitivities(
                self._content,
                ranges,
                self._model,
                few,
                skip=self._skip,
                reduce_range=self._reduce_range,
                progress=advance,
            )

    def _search(self, ranges: Any, crops: Crops, order: tuple[Sensitivity, ...]) -> MixedNetwork:
        original = _embed(self._content, self._model, crops)

        def make(spared: Collection[str]) -> bytes:
            skip = {*self._skip, *spared}
            return quantize_static(
                self._content, ranges, skip=skip, reduce_range=self._reduce_range
            )

        def keeps_cosine(content: bytes) -> bool:
            rows = _embed(content, self._model, crops)
            return _mean_cosine(rows, original) >= self._options.min_cosine

        def keeps_tar(content: bytes) -> bool:
            loss = self._evaluator.tar_loss(content, self._model)
            return loss is None or loss <= self._options.max_tar_loss

        mixed = search_mixed_precision(order, make, keeps_cosine)
        if keeps_tar(mixed.content):  # it takes longer to measure, so it is checked last
            return mixed
        return search_mixed_precision(order, make, keeps_tar, least=len(mixed.spared) + 1)


def measure_sensitivities(
    content: bytes,
    ranges: Any,
    like: ModelEntry,
    crops: Crops,
    *,
    skip: Collection[str] = (),
    reduce_range: bool = False,
    progress: Callable[[int], object] | None = None,
) -> tuple[Sensitivity, ...]:
    """Compute one layer at a time in 8 bits, all others in float32, and compare the embeddings.

    Args:
        content: An ONNX file, its constants folded.
        ranges: From `calibrate_ranges`.
        like: The model that the network is fed like.
        crops: uint8 ``(n, size, size, 3)`` RGB; a few dozen are enough for the order.
        skip: Nodes that stay float32 in any case.
        reduce_range: As for `quantize_static`.
        progress: Called with the number of layers done since the last call.

    Returns:
        One for each layer, the most sensitive first.
    """
    layers = list_layers(content)
    original = _embed(content, like, crops)
    found = []
    for layer in layers:
        if layer.node in skip or layer.node == find_head(layers):
            continue
        others = {other.node for other in layers if other.node != layer.node}
        trial = quantize_static(
            content, ranges, skip=others, reduce_range=reduce_range, weights="float32"
        )
        found.append(Sensitivity(layer, _mean_cosine(_embed(trial, like, crops), original)))
        if progress:
            progress(1)
    return tuple(sorted(found, key=lambda each: (each.cosine, each.layer.node)))


def search_mixed_precision(
    order: Sequence[Sensitivity],
    make: Callable[[Collection[str]], bytes],
    accept: Callable[[bytes], bool],
    *,
    least: int = 0,
) -> MixedNetwork:
    """Find how few of the most sensitive layers must stay float32, by binary search.

    Args:
        order: The layers, the most sensitive first.
        make: Makes the network with these nodes in float32.
        accept: Tells whether a network is within the bounds.
        least: At least so many layers stay float32.

    Raises:
        ModelError: No mix is within the bounds.
        InputError: There are no layers.
    """
    if not order:
        raise InputError("there are no layers to choose from")
    best: MixedNetwork | None = None
    low, high = least, len(order) - 1  # with all of them in float32 nothing would be in 8 bits
    while low <= high:
        count = (low + high) // 2
        content = make({each.layer.node for each in order[:count]})
        if accept(content):
            best, high = MixedNetwork(content, tuple(order[:count])), count - 1
        else:
            low = count + 1
    if best is None:
        raise ModelError(
            "no mix of 8 bits and float32 stays within the bounds; allow a greater loss, use"
            " quantization-aware training, or longer, or only store the weights in 8 bits",
            "mixed_precision",
        )
    return best


def _embed(content: bytes, like: ModelEntry, crops: Crops) -> NDArray[np.float32]:
    """Embed crops with a network that is fed as a model of the catalog is."""
    with tempfile.TemporaryDirectory() as folder:
        trial = write_model(StepResult(content, "a trial"), like, Path(folder))
        with Embedder(trial, options=RuntimeOptions(threads=1)) as embedder:
            return embedder.embed(crops)


def _mean_cosine(rows: NDArray[np.float32], others: NDArray[np.float32]) -> float:
    return float(np.einsum("ij,ij->i", rows, others).mean())


def _describe_spared(mixed: MixedNetwork) -> Iterator[str]:
    """Say which layers stay float32, the most sensitive first."""
    if mixed.spared:
        names = ", ".join(each.layer.node for each in mixed.spared[:_NAMED])
        more = len(mixed.spared) - _NAMED
        yield f"left float32 to stay within the bounds: {names}" + f", {more} more" * (more > 0)
