"""Opening a model's network with the runtime that its file needs."""

from __future__ import annotations

import logging

from facekeep.errors import InputError
from facekeep.models.model_entry import ModelEntry
from facekeep.models.resolve import weights
from facekeep.runtime import Session, open_session, require_known
from facekeep.runtime.batches import InBatches

_log = logging.getLogger(__name__)

# What reads the files that a runtime reads, besides that runtime.
_READERS = {"onnxruntime": ("onnxruntime", "openvino")}


def open_model(
    entry: ModelEntry,
    *,
    runtime: str | None = None,
    device: str = "cpu",
    precision: str = "float32",
    threads: int = 0,
) -> Session:
    """Open a model for running.

    Args:
        entry: The model.
        runtime: What must run it; None for what its file needs.
        device: Where it is run; see ``open_session``.
        precision: What it computes in; see ``open_session``.
        threads: How many CPU threads one run may use; 0 for all cores.

    Raises:
        InputError: The runtime cannot run the model's file, or is unknown like the device or the
            precision.
        ModelNotFound: The model's files are not on this machine.
        ModelCorrupt: A file is not the one that the catalogue describes.
        RuntimeUnavailable: The runtime, device or precision does not work on this machine.
    """
    if runtime is not None:
        require_known(runtime)
    readers = _READERS.get(entry.runtime, (entry.runtime,))
    if runtime not in (None, *readers):
        raise InputError(
            f"model {entry.name!r} runs with {' or '.join(readers)} only, not with"
            f" {runtime!r}; leave the runtime unset"
        )
    _log.debug("model %s, to %s, is opened by %s", entry.name, entry.task, runtime or entry.runtime)
    session = open_session(
        weights(entry),
        runtime=runtime or entry.runtime,
        device=device,
        precision=precision,
        threads=threads,
    )
    return session if entry.batch is None else InBatches(session, entry.batch)
