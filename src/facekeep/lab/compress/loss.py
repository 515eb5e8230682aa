"""What a network loses against the model that it was made of."""

from __future__ import annotations

import tempfile
from pathlib import Path

from facekeep.lab.compress.made import Made
from facekeep.lab.compress.measure import Measuring
from facekeep.lab.compress.staging import staged
from facekeep.models import ModelEntry

__all__ = ["tar_loss"]


def tar_loss(content: bytes, model: ModelEntry, measuring: Measuring) -> float | None:
    """Return how many points of TAR a network loses; None where too few people are known.

    Args:
        content: Its ONNX file.
        model: What it was made of.
        measuring: Measures TAR; what it measured once it does not measure again.
    """
    before = measuring.tar(model)
    if before is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        after = measuring.tar(staged(Made(content, "a trial"), model, Path(folder)))
    return None if after is None else 100 * (before - after)
