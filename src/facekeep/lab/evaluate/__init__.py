"""Evaluation: protocols, metrics and reports that a biometrics laboratory would accept.

``readers`` turn published lists and folders into test sets, ``extract`` embeds their images,
``run`` measures a model on them by a protocol, ``report`` tells what came out, ``calibrate`` finds
a model's thresholds, ``conditions`` tells figures apart by facts about the images, ``detection``
tries detectors. The names below are the data that pass between these, and the metrics: NumPy
on scores, labels and embeddings. They are loaded when they are first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from facekeep.lab.evaluate.bootstrap import Identities
    from facekeep.lab.evaluate.crop_cache import CropCache
    from facekeep.lab.evaluate.curves import Curve, curve
    from facekeep.lab.evaluate.data import PairSet, PersonSet, Samples, TemplatePairs, TemplateSet
    from facekeep.lab.evaluate.extract import Extracted, Failure
    from facekeep.lab.evaluate.identification import (
        FPIRS,
        Enrolment,
        Identified,
        SearchPoint,
        enrolment,
        identify,
    )
    from facekeep.lab.evaluate.ijb import (
        IJB_FMRS,
        Nearest,
        TemplateVerification,
        nearest_tar,
        verify_templates,
    )
    from facekeep.lab.evaluate.metrics import (
        FAILED,
        FMRS,
        FoldResult,
        Operating,
        accuracy_at_best,
        at_rates,
        at_thresholds,
        folds,
        tar_at,
    )
    from facekeep.lab.evaluate.pairs import (
        Comparisons,
        Pairs,
        all_pairs,
        exclude_alike,
        holdout_tar,
        pair_scores,
        worst,
    )
    from facekeep.lab.evaluate.pooling import Pooled, pool
    from facekeep.lab.evaluate.scores import Histogram, Scores, listed, scores_of

_MODULES = {
    "bootstrap": ("Identities",),
    "crop_cache": ("CropCache",),
    "curves": ("Curve", "curve"),
    "data": ("PairSet", "PersonSet", "Samples", "TemplatePairs", "TemplateSet"),
    "extract": ("Extracted", "Failure"),
    "identification": (
        "FPIRS",
        "Enrolment",
        "Identified",
        "SearchPoint",
        "enrolment",
        "identify",
    ),
    "ijb": ("IJB_FMRS", "Nearest", "TemplateVerification", "nearest_tar", "verify_templates"),
    "metrics": (
        "FAILED",
        "FMRS",
        "FoldResult",
        "Operating",
        "accuracy_at_best",
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
    "pooling": ("Pooled", "pool"),
    "scores": ("Histogram", "Scores", "listed", "scores_of"),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [
    "FAILED",
    "FMRS",
    "FPIRS",
    "IJB_FMRS",
    "Comparisons",
    "CropCache",
    "Curve",
    "Enrolment",
    "Extracted",
    "Failure",
    "FoldResult",
    "Histogram",
    "Identified",
    "Identities",
    "Nearest",
    "Operating",
    "PairSet",
    "Pairs",
    "PersonSet",
    "Pooled",
    "Samples",
    "Scores",
    "SearchPoint",
    "TemplatePairs",
    "TemplateSet",
    "TemplateVerification",
    "accuracy_at_best",
    "all_pairs",
    "at_rates",
    "at_thresholds",
    "curve",
    "enrolment",
    "exclude_alike",
    "folds",
    "holdout_tar",
    "identify",
    "listed",
    "nearest_tar",
    "pair_scores",
    "pool",
    "scores_of",
    "tar_at",
    "verify_templates",
    "worst",
]


def __getattr__(name: str) -> object:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'facekeep.lab.evaluate' has no attribute {name!r}")
    return getattr(importlib.import_module(f"facekeep.lab.evaluate.{_MODULE_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
