"""Training data: sources on disk, augmentation, people kept out, and batches.

Only `Loader` needs PyTorch, when it gives its first batch.
"""

from __future__ import annotations

from facekeep.train.data.augment import PRESETS, Augment, augment
from facekeep.train.data.loader import Batch, Loader
from facekeep.train.data.opening import FORMATS, open_source
from facekeep.train.data.pixels import decode
from facekeep.train.data.source import Source, name_people, select
from facekeep.train.data.splitting import split

__all__ = [
    "FORMATS",
    "PRESETS",
    "Augment",
    "Batch",
    "Loader",
    "Source",
    "augment",
    "decode",
    "name_people",
    "open_source",
    "select",
    "split",
]
