"""Training data: sources on disk, augmentation, people kept out, and batches.

Only `Loader` needs PyTorch, when it gives its first batch.
"""

from __future__ import annotations

from facekeep.lab.train.data.augment import PRESETS, Augment, augment
from facekeep.lab.train.data.loader import Batch, Loader
from facekeep.lab.train.data.opening import FORMATS, open_source
from facekeep.lab.train.data.pixels import decode
from facekeep.lab.train.data.source import Source, name_people, select
from facekeep.lab.train.data.splitting import split

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
