"""Training: from faces of many people, or a teacher, to a network that ``identify`` uses.

Everything but recipes needs the train extra.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from facekeep.lab.train.recipe import Recipe

if TYPE_CHECKING:
    from facekeep.lab.train.run import TrainingResult, train

__all__ = ["Recipe", "TrainingResult", "train"]


def __getattr__(name: str) -> Any:
    """Load what needs PyTorch when it is used, and say so where PyTorch is missing."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import facekeep.lab.nn  # noqa: F401 - its error names the cure
    from facekeep.lab.train import run

    return getattr(run, name)
