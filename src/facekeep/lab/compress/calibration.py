"""What range the activations of a network take on real faces."""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from facekeep.errors import InputError, ModelError
from facekeep.lab.compress.layers import OPERATORS
from facekeep.runtime.session import short

__all__ = ["METHODS", "Method", "activation_ranges"]

Method = Literal["entropy", "percentile", "minmax"]
METHODS: Final[tuple[str, ...]] = get_args(Method)

_BATCH: Final = 8
_NAMES: Final = {"entropy": "Entropy", "percentile": "Percentile", "minmax": "MinMax"}
_PERCENTILE: Final = 99.99  # ONNX Runtime's 99.999 hardly differs from the largest value


def activation_ranges(
    content: bytes,
    tensors: NDArray[np.float32],
    method: Method = "percentile",
    *,
    progress: Callable[[int], object] | None = None,
) -> Any:
    """Run a network on faces, and note the range of what enters and leaves its layers.

    Args:
        content: An ONNX file with one input, its constants folded.
        tensors: float32, the faces as the network takes them, the batch first.
        method: Where a range ends: ``minmax`` at the extremes; ``percentile`` where 99.99 % of the
            values lie; ``entropy`` where the rounded values tell most of the true ones (the
            method of TensorRT).
        progress: Told how many more faces are done.

    Returns:
        The ranges, as ONNX Runtime's quantiser takes them.

    Raises:
        InputError: The method is unknown, or there are no faces.
        ModelError: The network cannot be run on them.
    """
    if method not in METHODS:
        raise InputError(f"unknown calibration {method!r}; known: {', '.join(METHODS)}")
    if not len(tensors):
        raise InputError("there are no faces to calibrate on; name some with --data")
    try:
        # ONNX Runtime prints what it counts.
        with contextlib.redirect_stdout(io.StringIO()), tempfile.TemporaryDirectory() as folder:
            calibrator = _calibrator(content, Path(folder), method)
            for start in range(0, len(tensors), _BATCH):
                part = tensors[start : start + _BATCH]
                calibrator.collect_data(_Reader(content, part))
                if progress:
                    progress(len(part))
            return calibrator.compute_data()
    except (RuntimeError, ValueError) as error:
        raise ModelError(f"the network cannot be calibrated: {short(error)}") from error


def _calibrator(content: bytes, folder: Path, method: Method) -> Any:
    from onnxruntime.quantization.calibrate import CalibrationMethod, create_calibrator

    source = folder / "model.onnx"
    source.write_bytes(content)
    options: dict[str, object] = {"symmetric": False}
    if method == "percentile":
        options["percentile"] = _PERCENTILE
    return create_calibrator(
        source,
        list(OPERATORS),
        augmented_model_path=str(folder / "augmented.onnx"),
        calibrate_method=CalibrationMethod[_NAMES[method]],
        providers=["CPUExecutionProvider"],
        extra_options=options,
    )


class _Reader:
    """Faces by one batch, in the form that ONNX Runtime's calibrators ask for."""

    def __init__(self, content: bytes, part: NDArray[np.float32]) -> None:
        from facekeep.lab.compress.folding import load

        self._feeds: Iterator[dict[str, NDArray[np.float32]]] = iter(
            [{load(content).graph.input[0].name: part}]
        )

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        """Return the next batch, or None."""
        return next(self._feeds, None)
