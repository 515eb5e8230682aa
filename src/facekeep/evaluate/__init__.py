"""Evaluation: protocols, metrics and reports that a biometrics laboratory would accept.

It calls the road from an image to a name; the road never calls it. Names are loaded when they are
first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from facekeep.evaluate.bootstrap import Identities
    from facekeep.evaluate.metrics import (
        FAILED,
        FMRS,
        FoldResult,
        Operating,
        at_rates,
        at_thresholds,
        folds,
        tar_at,
    )
    from facekeep.evaluate.pairs import (
        Comparisons,
        Pairs,
        all_pairs,
        exclude_alike,
        holdout_tar,
        pair_scores,
        worst,
    )
    from facekeep.evaluate.scores import Histogram, Scores, listed, scores_of

_MODULES = {
    "bootstrap": ("Identities",),
    "metrics": (
        "FAILED",
        "FMRS",
        "FoldResult",
        "Operating",
        "at_rates",
        "at_thresholds",
        "folds",
        "tar_at",
    ),
    "pairs": (
        "Comparisons",
        "Pairs",
        "all_pairs",
        "exclude_alike",
        "holdout_tar",
        "pair_scores",
        "worst",
    ),
    "scores": ("Histogram", "Scores", "listed", "scores_of"),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [
    "FAILED",
    "FMRS",
    "Comparisons",
    "FoldResult",
    "Histogram",
    "Identities",
    "Operating",
    "Pairs",
    "Scores",
    "all_pairs",
    "at_rates",
    "at_thresholds",
    "exclude_alike",
    "folds",
    "holdout_tar",
    "listed",
    "pair_scores",
    "scores_of",
    "tar_at",
    "worst",
]


def __getattr__(name: str) -> object:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'facekeep.evaluate' has no attribute {name!r}")
    return getattr(importlib.import_module(f"facekeep.evaluate.{_MODULE_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
