"""The models: what they are, where their files are, and that the files are the right ones.

Looking a model up never touches the network; only ``pull`` does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from facekeep.models.catalogue import (
    DamagedEntry,
    damaged_models,
    default_model,
    entry,
    list_models,
)
from facekeep.models.local import ModelStatus, locate, verify, weights
from facekeep.models.schema import FileEntry, Measurement, ModelEntry, Task, space_id

if TYPE_CHECKING:
    from facekeep.models.importing import import_model, remove_model, set_thresholds
    from facekeep.models.pulling import pull

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
    "import_model",
    "list_models",
    "locate",
    "pull",
    "remove_model",
    "set_thresholds",
    "space_id",
    "verify",
    "weights",
]

_IMPORTING = ("import_model", "remove_model", "set_thresholds")


def __getattr__(name: str) -> Any:
    """Load what changes the models, the network's libraries among it, only when it is used."""
    if name == "pull":
        from facekeep.models.pulling import pull

        return pull
    if name in _IMPORTING:
        from facekeep.models import importing

        return getattr(importing, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
