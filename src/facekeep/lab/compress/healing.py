"""What the healing of a step needs, and what a step needs of it."""

from __future__ import annotations

import tempfile
from pathlib import Path

from facekeep.errors import InputError
from facekeep.lab.compress.faces import Faces
from facekeep.lab.compress.heal import heal
from facekeep.lab.compress.measure import Measuring
from facekeep.lab.compress.options import Heal
from facekeep.lab.nn import EdgeFace, export_onnx
from facekeep.lab.train.fake_quantization import FakeQuantization

__all__ = ["aligned_data", "exported", "healed"]


def healed(
    network: EdgeFace,
    original: EdgeFace,
    folder: Path,
    data: Path,
    step: Heal,
    measuring: Measuring,
    *,
    steps: int | None = None,
    rounding: FakeQuantization | None = None,
) -> EdgeFace:
    """Train a network to be like another.

    Args:
        network: The network.
        original: The other.
        folder: Keeps the run.
        data: Aligned faces to learn from.
        step: How to train.
        measuring: Shows progress.
        steps: How long to train; None for as long as the step says.
        rounding: What is rounded meanwhile.

    Raises:
        FacekeepError: As by `heal`.
        KeyboardInterrupt: It was stopped; the same call goes on with it.
    """
    done = heal(
        network,
        original,
        folder,
        data,
        steps=steps or step.heal,
        batch=step.batch,
        lr=step.lr,
        rounding=rounding,
        threads=measuring.trial.threads,
        watch=measuring.watch,
    )
    if not done.finished:
        raise KeyboardInterrupt
    return done.model


def aligned_data(faces: Faces | None) -> Path:
    """Return where the faces lie that healing learns from; asked before anything is done.

    Raises:
        InputError: There are none, or they are no aligned crops.
    """
    if faces is None or faces.path is None:
        raise InputError("healing needs faces to learn from; name some with --data")
    if not faces.samples.aligned:
        raise InputError(
            "healing needs aligned face crops; cut them out with facekeep align, and say --aligned"
        )
    return faces.path


def exported(network: EdgeFace) -> bytes:
    """Return the ONNX file of a network."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.onnx"
        export_onnx(network, path)
        return path.read_bytes()
