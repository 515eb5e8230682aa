"""Opening a model's network with the runtime that its file needs."""

from __future__ import annotations

import dataclasses
import logging

from facekeep.errors import InputError
from facekeep.models.model_entry import ModelEntry
from facekeep.models.resolve import weights
from facekeep.runtime import RuntimeOptions, Session, open_session
from facekeep.runtime.batches import InBatches

_log = logging.getLogger(__name__)

# What reads the files that a runtime reads, besides that runtime.
_READERS = {"onnxruntime": ("onnxruntime", "openvino")}


def open_model(entry: ModelEntry, options: RuntimeOptions = RuntimeOptions()) -> Session:  # noqa: B008 - frozen
    """Open a model for running.

    Args:
        entry: The model.
        options: How it is run; without a runtime by what its file needs.

    Raises:
        InputError: The runtime cannot run the model's file, or the device is unknown.
        ModelNotFound: The model's files are not on this machine.
        ModelCorrupt: A file is not the one that the catalog describes.
        RuntimeUnavailable: The runtime, device or precision does not work on this machine.
    """
    readers = _READERS.get(entry.runtime, (entry.runtime,))
    runtime = options.runtime or entry.runtime
    if runtime not in readers:
        raise InputError(
            f"model {entry.name!r} runs with {' or '.join(readers)} only, not with"
            f" {runtime!r}; leave the runtime unset"
        )
    _log.debug("model %s, to %s, is opened by %s", entry.name, entry.task, runtime)
    session = open_session(weights(entry), dataclasses.replace(options, runtime=runtime))
    return session if entry.batch is None else InBatches(session, entry.batch)
