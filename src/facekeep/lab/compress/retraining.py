"""A model trained with the rounding that it is to bear, before it is quantised."""

from __future__ import annotations

from pathlib import Path

from facekeep.errors import ModelError
from facekeep.lab.compress.faces import Faces
from facekeep.lab.compress.folding import folded
from facekeep.lab.compress.healing import aligned_data, exported, healed
from facekeep.lab.compress.layers import layers, named
from facekeep.lab.compress.measure import Measuring
from facekeep.lab.compress.mixing import Mixing
from facekeep.lab.compress.options import Quantize
from facekeep.lab.compress.rounding import dynamic_rounding, static_rounding
from facekeep.lab.nn import EdgeFace, read_network
from facekeep.lab.train.fake_quantization import FakeQuantization
from facekeep.models import ModelEntry

__all__ = ["retrained"]


def retrained(
    model: ModelEntry,
    options: Quantize,
    faces: Faces | None,
    measuring: Measuring,
    folder: Path,
    *,
    reduce_range: bool,
) -> bytes:
    """Train a model to embed faces in rounded numbers as it does in float32.

    All layers are rounded but the last and those to be skipped. Static grids are those of one
    calibration before the training: a network learns little while its grids move.

    Args:
        model: The model, which is its own teacher.
        options: How it will be quantised, and how long it is trained.
        faces: What it is calibrated on and learns from.
        measuring: Shows progress.
        folder: Keeps a run that is stopped.
        reduce_range: Whether its weights will have 7 bits.

    Returns:
        The ONNX file of the network, float32 still.

    Raises:
        InputError: There are no aligned faces, or no layer has a name that is to be skipped.
        ModelError: The model is no EdgeFace that facekeep can train.
        KeyboardInterrupt: Training was stopped; the same call goes on with it.
    """
    data, network = aligned_data(faces), _network(model)
    source = exported(network)

    def rounding() -> FakeQuantization:
        if options.mode == "dynamic" or faces is None:
            skip = named(layers(folded(source)), options.skip)
            return dynamic_rounding(source, skip=skip, reduce_range=reduce_range)
        job = Mixing(model, source, options, measuring, reduce_range=reduce_range)
        return static_rounding(source, job.everything(faces), reduce_range=reduce_range)

    done = healed(
        network, network, folder / "healing", data, options, measuring, rounding=rounding()
    )
    return exported(done)


def _network(model: ModelEntry) -> EdgeFace:
    try:
        return read_network(model)
    except ModelError as error:
        raise ModelError(f"it cannot be healed: {error}; or leave out --heal") from error
