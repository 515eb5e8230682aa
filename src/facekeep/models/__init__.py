"""The models: what they are, where their files are, and that the files are the right ones.

Looking a model up never touches the network; only ``pull`` does.
"""

from __future__ import annotations

from facekeep.models.catalogue import (
    DamagedEntry,
    damaged_models,
    default_model,
    entry,
    list_models,
)
from facekeep.models.entry import FileEntry, Measurement, ModelEntry, Task, space_id
from facekeep.models.locate import ModelStatus, locate, verify, weights

__all__ = [
    "DamagedEntry",
    "FileEntry",
    "Measurement",
    "ModelEntry",
    "ModelStatus",
    "Task",
    "damaged_models",
    "default_model",
    "entry",
    "list_models",
    "locate",
    "space_id",
    "verify",
    "weights",
]
