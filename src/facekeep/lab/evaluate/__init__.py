"""Evaluation: protocols, metrics and reports that a biometrics laboratory would accept.

``extract`` embeds the images of a test set (``lab.datasets``), ``protocols`` measures a model on
them, ``report`` shows the results, ``calibrate`` finds a model's thresholds, ``conditions``
measures by size, sharpness and the like, ``detection`` compares detectors. The names below are the
data that pass between these, and the metrics: NumPy on scores, labels and embeddings. They are
loaded when they are first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from facekeep.lab.evaluate.bootstrap import Identities
    from facekeep.lab.evaluate.crops import CropCache
    from facekeep.lab.evaluate.extract import Embeddings, Failure
    from facekeep.lab.evaluate.identification import (
        FPIRS,
        GallerySplit,
        SearchPoint,
        SearchResult,
        identify,
        split_gallery,
    )
    from facekeep.lab.evaluate.metrics import (
        FAILED,
        FMRS,
        FoldResult,
        OperatingPoint,
        measure_at_rates,
        measure_at_thresholds,
        measure_best_accuracy,
        measure_folds,
        measure_tar,
    )
    from facekeep.lab.evaluate.pairs import (
        Comparisons,
        Pairs,
        exclude_alike,
        measure_holdout_tar,
        pick_worst,
        score_all_pairs,
        score_pairs,
    )
    from facekeep.lab.evaluate.scores import (
        Curve,
        Histogram,
        Scores,
        build_scores,
        build_unnamed_scores,
        trace_curve,
    )
    from facekeep.lab.evaluate.templates import (
        IJB_FMRS,
        NearestPoint,
        PooledTemplates,
        TemplateVerification,
        measure_nearest_tar,
        pool_templates,
        verify_templates,
    )

_MODULES = {
    "bootstrap": ("Identities",),
    "crops": ("CropCache",),
    "extract": ("Embeddings", "Failure"),
    "identification": (
        "FPIRS",
        "GallerySplit",
        "SearchPoint",
        "SearchResult",
        "identify",
        "split_gallery",
    ),
    "metrics": (
        "FAILED",
        "FMRS",
        "FoldResult",
        "OperatingPoint",
        "measure_at_rates",
        "measure_at_thresholds",
        "measure_best_accuracy",
        "measure_folds",
        "measure_tar",
    ),
    "pairs": (
        "Comparisons",
        "Pairs",
        "exclude_alike",
        "measure_holdout_tar",
        "pick_worst",
        "score_all_pairs",
        "score_pairs",
    ),
    "scores": (
        "Curve",
        "Histogram",
        "Scores",
        "build_scores",
        "build_unnamed_scores",
        "trace_curve",
    ),
    "templates": (
        "IJB_FMRS",
        "NearestPoint",
        "PooledTemplates",
        "TemplateVerification",
        "measure_nearest_tar",
        "pool_templates",
        "verify_templates",
    ),
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
    "Embeddings",
    "Failure",
    "FoldResult",
    "GallerySplit",
    "Histogram",
    "Identities",
    "NearestPoint",
    "OperatingPoint",
    "Pairs",
    "PooledTemplates",
    "Scores",
    "SearchPoint",
    "SearchResult",
    "TemplateVerification",
    "build_scores",
    "build_unnamed_scores",
    "exclude_alike",
    "identify",
    "measure_at_rates",
    "measure_at_thresholds",
    "measure_best_accuracy",
    "measure_folds",
    "measure_holdout_tar",
    "measure_nearest_tar",
    "measure_tar",
    "pick_worst",
    "pool_templates",
    "score_all_pairs",
    "score_pairs",
    "split_gallery",
    "trace_curve",
    "verify_templates",
]


def __getattr__(name: str) -> object:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'facekeep.lab.evaluate' has no attribute {name!r}")
    return getattr(importlib.import_module(f"facekeep.lab.evaluate.{_MODULE_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
