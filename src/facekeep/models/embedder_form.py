"""Finding out the form of an embedder by running it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facekeep.errors import FacekeepError, ModelError
from facekeep.models.model_entry import LARGEST_INPUT, Runtime
from facekeep.runtime import RuntimeOptions, Session, open_session
from facekeep.runtime.batches import InBatches

_LARGEST_BATCH = 256
_DEFAULT_SIZE = 112  # where the network leaves height and width open


@dataclass(frozen=True, slots=True)
class Form:
    """The form of an embedder.

    Attributes:
        input_size: The side of its square input in pixels.
        width: The length of an embedding.
        max_batch: How many faces one run takes; None where any number will do.
        batch: How many faces each run takes, where it takes no other number; else None.
    """

    input_size: int
    width: int
    max_batch: int | None
    batch: int | None = None


def probe_embedder(model: Path | bytes, runtime: Runtime = "onnxruntime") -> Form:
    """Run an embedder on noise and see what it takes and gives.

    Raises:
        ModelCorrupt: The file is not a network that can be run.
        ModelError: It is a network, but not one from N x 3 x S x S, or N x S x S x 3, to one
            embedding each.
        RuntimeUnavailable: The runtime is not installed.
    """
    opened = open_session(model, options=RuntimeOptions(runtime=runtime, threads=1))
    try:
        size, batch = _size_and_batch(opened)
        session = opened if batch is None else InBatches(opened, batch)
        last = session.inputs[0].channels_last
        shape = (2, size, size, 3) if last else (2, 3, size, size)
        noise = np.random.default_rng(0).random(shape, dtype=np.float32)
        singles = [_embed(session, noise[i : i + 1]) for i in range(2)]
        most = _max_batch(session, noise, np.vstack(singles))
        if batch is not None and most is not None:
            raise ModelError("this network is no face embedder: its faces change each other's")
        return Form(size, singles[0].shape[1], most, batch)
    finally:
        opened.close()


def probe_file(path: str, runtime: Runtime) -> dict[str, Any]:
    """Return what `probe_embedder` finds out about a file, as a table."""
    return asdict(probe_embedder(Path(path), runtime))


def as_rows(values: NDArray[Any]) -> NDArray[Any]:
    """Return embeddings N x width that may be given as N x width x 1 x 1."""
    single = values.ndim == 4 and values.shape[2:] == (1, 1)
    return values.reshape(values.shape[:2]) if single else values


def _size_and_batch(session: Session) -> tuple[int, int | None]:
    shapes = [tensor.shape for tensor in session.inputs]
    if len(shapes) != 1 or session.inputs[0].dtype != "float32" or len(shapes[0]) != 4:
        raise ModelError("this network is no face embedder: it must take one float32 N x 3 x S x S")
    batch, channels, height, width = shapes[0]
    if session.inputs[0].channels_last:
        batch, height, width, channels = shapes[0]
    shown = " x ".join("?" if size is None else str(size) for size in shapes[0])
    if channels not in (3, None):
        raise ModelError(f"this network is no face embedder: it takes {shown}, not N x 3 x S x S")
    if height != width:
        raise ModelError(
            f"this network takes {shown}: faces are aligned as squares, and of others only 112 x 96"
            " in an ONNX file is known; export it for square faces"
        )
    if (height or 0) > LARGEST_INPUT or (batch or 0) > _LARGEST_BATCH:
        raise ModelError(f"this network is no face embedder: it takes {shown}, which is too much")
    return height or _DEFAULT_SIZE, None if batch in (1, None) else batch


def _embed(session: Session, faces: NDArray[np.float32]) -> NDArray[np.float32]:
    try:
        rows: NDArray[np.float32] = as_rows(session.run({session.inputs[0].name: faces})[0])
    except FacekeepError as error:
        raise ModelError(f"this network is no face embedder: {error}") from error
    if rows.ndim != 2 or rows.shape[0] != len(faces) or rows.shape[1] < 2:
        shown = " x ".join(map(str, rows.shape))
        raise ModelError(f"this network is no face embedder: it gives {shown}, not N x width")
    if rows.dtype != np.float32 or not np.isfinite(rows).all():
        raise ModelError("this network is no face embedder: its output is not finite float32")
    return rows


def _max_batch(
    session: Session, faces: NDArray[np.float32], singles: NDArray[np.float32]
) -> int | None:
    """Tell whether a batch gives what single faces give; some exports fix the batch at one."""
    try:
        together = _embed(session, faces)
    except ModelError:
        return 1
    scale = float(np.abs(singles).max()) or 1.0
    return None if np.allclose(together, singles, rtol=1e-3, atol=1e-3 * scale) else 1
