"""Evaluation: protocols, metrics and reports that a biometrics laboratory would accept.

``extract`` embeds the images of a test set (``lab.datasets``), ``protocols`` measures a model on
them, ``report`` shows the results, ``calibrate`` finds a model's thresholds, ``conditions``
measures by size, sharpness and the like, ``detection`` compares detectors. The names below are the
metrics, and the data that pass between them: NumPy on scores, labels and embeddings.
"""

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
    Identities,
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

__all__ = [
    "FAILED",
    "FMRS",
    "FPIRS",
    "IJB_FMRS",
    "Comparisons",
    "Curve",
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
