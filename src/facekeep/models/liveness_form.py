"""Finding out the form of a liveness network by running it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from facekeep.errors import FacekeepError, ModelError
from facekeep.models.model_entry import LARGEST_INPUT
from facekeep.runtime import RuntimeOptions, open_session

__all__ = ["probe_liveness_network"]


def probe_liveness_network(path: str, looks: int, live_class: int | None) -> dict[str, Any]:
    """Run a liveness network on noise and see what it takes and gives.

    Args:
        path: Its ONNX file.
        looks: How many crops of a face it is said to take.
        live_class: Which class is said to be a living face; None where it gives N x looks.

    Returns:
        The keys ``input_size`` and ``max_batch`` of its entry.

    Raises:
        ModelCorrupt: The file is not a network that can be run.
        ModelError: It takes or gives something else.
    """
    session = open_session(Path(path), options=RuntimeOptions(threads=1))
    try:
        (first, *others) = session.inputs
        shape = first.shape
        if others or first.dtype != "float32" or len(shape) != 4 or shape[1] != 3 * looks:
            shown = " x ".join("?" if side is None else str(side) for side in shape)
            raise ModelError(
                f"this network takes {shown}, but a liveness network of {looks} crops takes one"
                f" float32 N x {3 * looks} x S x S; check the number of crop scales"
            )
        side = shape[2] or 0
        if side != shape[3] or not 0 < side <= LARGEST_INPUT:
            raise ModelError("this network takes no square crops of a known size")
        most = 1 if shape[0] == 1 else None
        wanted_shape = (most or 2, 3 * looks, side, side)
        noise = np.random.default_rng(0).random(wanted_shape, dtype=np.float32)
        try:
            (output, *_) = session.run({first.name: noise})
        except FacekeepError as error:
            raise ModelError(f"this network is no liveness network: {error}") from error
    finally:
        session.close()
    fits = output.ndim == 2 and len(output) == len(noise) and np.isfinite(output).all()
    wide = fits and (
        output.shape[1] == looks if live_class is None else output.shape[1] > live_class
    )
    if not wide:
        given = " x ".join(map(str, output.shape))
        wanted = f"N x {looks}" if live_class is None else f"scores of a class {live_class}"
        raise ModelError(
            f"this network gives {given}, not {wanted}; say which class is a living face"
        )
    return {"input_size": side, "max_batch": most}
