"""The models: what they are, where their files are, and that the files are the right ones.

Looking a model up never touches the network; only ``pull`` does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from facekeep.models.catalog import (
    DamagedEntry,
    damaged_models,
    default_model,
    entry,
    is_default,
    list_models,
)
from facekeep.models.model_entry import FileEntry, Measurement, ModelEntry, Task, space_id
from facekeep.models.resolve import (
    ModelStatus,
    checkpoint_path,
    locate,
    open_model,
    verify,
    weights,
)

if TYPE_CHECKING:
    from facekeep.models.choice import Choice, choose_embedders, measure_embedders
    from facekeep.models.cost import Cost, model_cost
    from facekeep.models.importing import (
        import_liveness_network,
        import_model,
        remove_model,
        set_thresholds,
    )
    from facekeep.models.pulling import pull

__all__ = [
    "Choice",
    "Cost",
    "DamagedEntry",
    "FileEntry",
    "Measurement",
    "ModelEntry",
    "ModelStatus",
    "Task",
    "checkpoint_path",
    "choose_embedders",
    "damaged_models",
    "default_model",
    "entry",
    "import_liveness_network",
    "import_model",
    "is_default",
    "list_models",
    "locate",
    "measure_embedders",
    "model_cost",
    "open_model",
    "pull",
    "remove_model",
    "set_thresholds",
    "space_id",
    "verify",
    "weights",
]

_LATE = {
    "Choice": "choice",
    "Cost": "cost",
    "model_cost": "cost",
    "choose_embedders": "choice",
    "import_liveness_network": "importing",
    "import_model": "importing",
    "measure_embedders": "choice",
    "pull": "pulling",
    "remove_model": "importing",
    "set_thresholds": "importing",
}
"""Names whose modules load what looking a model up does without, the network's libraries first."""


def __getattr__(name: str) -> Any:
    """Load what changes or counts the models only when it is used."""
    if name not in _LATE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"facekeep.models.{_LATE[name]}"), name)
