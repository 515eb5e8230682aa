"""The protocols: from a test set and the embeddings of its images to an ``Evaluation``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from facekeep.errors import InputError
from facekeep.lab.datasets.test_sets import PairSet, PersonSet, TemplateSet
from facekeep.lab.evaluate.calibrate import RATES, calibrate
from facekeep.lab.evaluate.conditions import ConditionInput, Conditions, measure_conditions
from facekeep.lab.evaluate.extract import Embeddings
from facekeep.lab.evaluate.face_measures import FaceMeasures
from facekeep.lab.evaluate.identification import FPIRS, GallerySplit, identify, split_gallery
from facekeep.lab.evaluate.metrics import (
    FMRS,
    OperatingPoint,
    measure_at_rates,
    measure_at_thresholds,
    measure_best_accuracy,
    measure_folds,
)
from facekeep.lab.evaluate.pairs import Comparisons, Pairs, pick_worst, score_all_pairs, score_pairs
from facekeep.lab.evaluate.plots import Line
from facekeep.lab.evaluate.result import (
    NEAREST_KEYS,
    Evaluation,
    Evidence,
    Pair,
    Result,
    format_rate,
    list_points,
)
from facekeep.lab.evaluate.scores import FAILED, Curve, Scores, build_scores, trace_curve
from facekeep.lab.evaluate.templates import (
    IJB_FMRS,
    PooledTemplates,
    pool_templates,
    verify_templates,
)
from facekeep.models import ModelEntry

__all__ = [
    "System",
    "run_calibration",
    "run_identification",
    "run_pairs",
    "run_people",
    "run_templates",
]

_WORST: Final = 24
_BLOCK: Final = 1024

_Set = PairSet | PersonSet | TemplateSet
_Errors = tuple[Comparisons, Comparisons]
"""The worst false matches, and the worst false non-matches."""


@dataclass(frozen=True, slots=True, kw_only=True)
class System:
    """What is being measured, and how.

    Attributes:
        protocol: What the result calls the protocol: one of ``summary.PROTOCOLS``.
        model: The embedder's catalog entry.
        crop: Gives the aligned face of a sample by its place, for the sheets.
        settings: How faces are taken from the images, for the record.
        rates: The target rates; None for the usual ones of the protocol.
        measures: What is known about the faces, where the result is to be measured by conditions.
    """

    protocol: str
    model: ModelEntry
    crop: Callable[[int], NDArray[np.uint8]]
    settings: Mapping[str, object] = field(default_factory=dict)
    rates: tuple[float, ...] | None = None
    measures: FaceMeasures | None = None


def run_pairs(data: PairSet, found: Embeddings, system: System) -> Evaluation:
    """Verify the pairs of a list; where it has folds or development pairs, with the accuracy.

    Args:
        data: The pairs.
        found: What ``extract`` made of their images.
        system: What is being measured.

    Raises:
        InputError: There are no mated or no non-mated comparisons.
    """
    every = score_pairs(found.rows, data.left, data.right)
    kept = np.ones(len(every), np.bool_) if data.development is None else ~data.development
    left, right, mated, values = data.left[kept], data.right[kept], data.mated[kept], every[kept]
    scores = build_scores(values, mated, left=left, right=right, person=data.person)
    _require_both(scores)
    accuracy = _measure_accuracy(data, every)
    errors = _pick_worst_pairs(left, right, mated, values)
    people = None if scores.identities is None else scores.identities.people
    points = measure_at_rates(scores, system.rates or FMRS)
    if data.person is not None:
        compared = ConditionInput.of_list(left, right, mated, values, data.person)
        accuracy["conditions"] = _measure_conditions(system, compared, points)
    return _make_verification(data, people, found, system, scores, points, errors, **accuracy)


def run_people(data: PersonSet, found: Embeddings, system: System) -> Evaluation:
    """Compare every image with every other one.

    Args:
        data: Images of known people.
        found: What ``extract`` made of them.
        system: What is being measured.

    Raises:
        InputError: There are no mated or no non-mated comparisons.
    """
    rates = system.rates or FMRS
    pairs = score_all_pairs(found.rows, data.person, fmr=max(rates))
    _require_both(pairs.scores)
    points = measure_at_rates(pairs.scores, rates)
    return _make_verification(
        data,
        len(data.people),
        found,
        system,
        pairs.scores,
        points,
        _pick_worst(pairs),
        conditions=_measure_conditions(system, ConditionInput.of_pairs(pairs, found.found), points),
    )


def run_calibration(
    data: PersonSet, found: Embeddings, system: System, *, same_person: float | None = None
) -> Evaluation:
    """Find the model's cosine at each false-match rate, and measure the model there.

    Args:
        data: Images of known people.
        found: What ``extract`` made of them.
        system: What is being measured; its rates are those to calibrate.
        same_person: See ``calibrate``.

    Raises:
        InputError: There are no mated comparisons, or too few non-mated ones.
    """
    calibration = calibrate(data, found, rates=system.rates or RATES, same_person=same_person)
    scores = calibration.pairs.scores
    _require_both(scores)
    names = [
        [data.people[data.person[place]] for place in side] for side in calibration.left_out[:2]
    ]
    details = {
        "same_person": calibration.same_person,
        "suspects": calibration.suspects,
        "left_out": [
            {"a": a, "b": b, "cosine": float(cosine)}
            for a, b, cosine in zip(*names, calibration.left_out.scores, strict=True)
        ],
        "unsupported": [format_rate(rate) for rate in calibration.unsupported],
    }
    return _make_verification(
        data,
        len(data.people),
        found,
        system,
        scores,
        calibration.points,
        _pick_worst(calibration.pairs),
        left_out=calibration.left_out,
        details={"calibration": details},
        conditions=_measure_conditions(
            system, ConditionInput.of_pairs(calibration.pairs, found.found), calibration.points
        ),
    )


def run_templates(data: TemplateSet, found: Embeddings, system: System) -> Evaluation:
    """Pool the images of templates and compare those: the 1:1 protocol of IJB-B and IJB-C.

    Args:
        data: The templates and their comparisons.
        found: What ``extract`` made of the images, with ``norms``.
        system: What is being measured.

    Raises:
        InputError: There are no mated or no non-mated comparisons.
    """
    weights = data.faceness if found.norms is None else data.faceness * found.norms
    pooled = pool_templates(found.rows, data.template, data.media, weights=weights)
    verified = verify_templates(pooled, *data.pairs, fmrs=system.rates or IJB_FMRS)
    details = {
        "tar_nearest": list_points(verified.nearest, NEAREST_KEYS),
        "templates": {"count": verified.templates, "failed": verified.failed},
    }
    return _make_verification(
        data,
        verified.people,
        found,
        system,
        verified.scores,
        verified.strict,
        _pick_worst_templates(data, found, pooled, verified.values),
        details=details,
    )


def run_identification(
    data: PersonSet,
    found: Embeddings,
    system: System,
    *,
    templates: int = 1,
    strangers: float = 0.5,
    seed: int = 0,
) -> Evaluation:
    """Enroll some of the people and search for everybody: open-set identification.

    Args:
        data: Images of known people.
        found: What ``extract`` made of them.
        system: What is being measured; its rates are those that FPIR is to keep to.
        templates: How many images a person is enrolled by.
        strangers: The share of the people with more images than that who are not enrolled.
        seed: Decides who.

    Raises:
        InputError: Nobody can be enrolled, or there are no probes of both kinds.
    """
    split = split_gallery(data.person, templates=templates, strangers=strangers, seed=seed)
    probes = np.concatenate([split.mated, split.strangers])
    searched = identify(
        found.rows[split.gallery],
        data.person[split.gallery],
        found.rows[probes],
        data.person[probes],
        fpirs=system.rates or FPIRS,
        stated=system.model.thresholds,
    )
    _require("mated probes", searched.mated - searched.mated_failed, searched.mated_failed)
    _require("probes of strangers", searched.strangers, searched.strangers_failed)
    result = Result(
        **_list_common(data, len(data.people), found, system, searched.scores),
        identified=searched,
        details={"split": {"templates": templates, "strangers": strangers, "seed": seed}},
    )
    marks = [(p.measured_fpir, p.fnir or 0.0) for p in searched.points if p.supported]
    errors = _pick_worst_searches(data, found, split)
    return Evaluation(
        result, _make_evidence(data, system, result, trace_curve(searched.scores), marks, errors)
    )


def _require_both(scores: Scores) -> None:
    _require("mated comparisons", len(scores.mated), scores.mated_failed)
    _require("non-mated comparisons", scores.non_mated, scores.non_mated_failed)


def _require(what: str, count: int, failed: int) -> None:
    """Refuse a test set on which nothing can be said; the error says why."""
    if not count:
        why = f"all {failed} failed to acquire" if failed else "the data hold none"
        raise InputError(
            f"there are no {what} to measure on: {why};"
            " give several people, and several images of some, that show a face"
        )


def _measure_accuracy(data: PairSet, values: NDArray[np.float32]) -> dict[str, Any]:
    if data.development is not None:
        accuracy, threshold = measure_best_accuracy(values, data.mated, data.development)
        return {"accuracy": accuracy, "folds": ((accuracy, threshold),)}
    if data.fold is None:
        return {}
    found = measure_folds(values, data.mated, data.fold)
    return {
        "accuracy": found.accuracy,
        "accuracy_sd": found.sd,
        "folds": tuple(zip(found.accuracies, found.thresholds, strict=True)),
    }


def _measure_conditions(
    system: System, compared: ConditionInput, points: Sequence[OperatingPoint]
) -> Conditions | None:
    return measure_conditions(system.measures, compared, points) if system.measures else None


def _make_verification(
    data: _Set,
    people: int | None,
    found: Embeddings,
    system: System,
    scores: Scores,
    points: tuple[OperatingPoint, ...],
    errors: _Errors,
    left_out: Comparisons | None = None,
    **more: Any,
) -> Evaluation:
    """Put together an outcome of verification."""
    trade_off = trace_curve(scores)
    result = Result(
        **_list_common(data, people, found, system, scores),
        tar=points,
        stated=measure_at_thresholds(scores, system.model.thresholds),
        eer=trade_off.eer,
        **more,
    )
    marks = [(point.measured_fmr, 1 - (point.tar or 0.0)) for point in points if point.supported]
    return Evaluation(
        result, _make_evidence(data, system, result, trade_off, marks, errors, left_out)
    )


def _list_common(
    data: _Set, people: int | None, found: Embeddings, system: System, scores: Scores
) -> dict[str, Any]:
    """What a result of any protocol tells."""
    return {
        "protocol": system.protocol,
        "model": system.model.name,
        "data": data.name,
        "settings": system.settings,
        "images": len(data.samples),
        "people": people,
        "scores": scores,
        "failures": found.failures,
    }


def _make_evidence(
    data: _Set,
    system: System,
    result: Result,
    trade_off: Curve,
    marks: Sequence[tuple[float, float]],
    errors: _Errors,
    left_out: Comparisons | None = None,
) -> Evidence:
    return Evidence(
        curve=Line(result.model, trade_off.fmr, trade_off.fnmr, tuple(marks)),
        histogram=result.scores.histogram,
        false_matches=_pick_pairs(errors[0]),
        false_non_matches=_pick_pairs(errors[1]),
        left_out=() if left_out is None else _pick_pairs(left_out),
        names=data.samples.names,
        crop=system.crop,
    )


def _pick_pairs(comparisons: Comparisons) -> tuple[Pair, ...]:
    columns = (column[:_WORST].tolist() for column in comparisons)
    return tuple(map(Pair, *columns))


def _pick_worst(pairs: Pairs) -> _Errors:
    highest, lowest = (pick_worst(p, pairs.person, _WORST) for p in (pairs.non_mated, pairs.mated))
    return highest, lowest


def _make_comparisons(
    first: NDArray[Any], second: NDArray[Any], scores: NDArray[np.float32]
) -> Comparisons:
    return Comparisons(first.astype(np.int32), second.astype(np.int32), scores)


def _pick_worst_pairs(
    left: NDArray[Any], right: NDArray[Any], mated: NDArray[np.bool_], values: NDArray[np.float32]
) -> _Errors:
    def first(kind: NDArray[np.bool_], keys: NDArray[np.float32]) -> Comparisons:
        places = np.flatnonzero(kind & (values != FAILED))
        places = places[np.argsort(keys[places], kind="stable")[:_WORST]]
        return _make_comparisons(left[places], right[places], values[places])

    return first(~mated, -values), first(mated, values)


def _pick_worst_templates(
    data: TemplateSet, found: Embeddings, pooled: PooledTemplates, values: NDArray[np.float32]
) -> _Errors:
    """The worst comparisons of templates; for each stands its first image that gave a face."""
    sides = pooled.places(data.pairs.left), pooled.places(data.pairs.right)
    errors = _pick_worst_pairs(*sides, data.pairs.mated, values)
    have = np.flatnonzero(found.found)
    ids, firsts = np.unique(data.template[have], return_index=True)
    shown = np.zeros(len(pooled.ids), np.intp)
    shown[pooled.places(ids)] = have[firsts]
    highest, lowest = (_make_comparisons(shown[e.first], shown[e.second], e.scores) for e in errors)
    return highest, lowest


def _pick_worst_searches(data: PersonSet, found: Embeddings, split: GallerySplit) -> _Errors:
    """The strangers most like somebody enrolled, and the probes least like their own templates."""
    gallery = split.gallery[found.found[split.gallery]]

    def nearest(probes: NDArray[np.intp], *, own: bool) -> Comparisons:
        probes = probes[found.found[probes]]
        best, scores = np.empty(len(probes), np.intp), np.empty(len(probes), np.float32)
        for start in range(0, len(probes), _BLOCK):
            here = slice(start, start + _BLOCK)
            block = found.rows[probes[here]] @ found.rows[gallery].T
            if own:
                block[data.person[probes[here], None] != data.person[gallery]] = FAILED
            best[here], scores[here] = block.argmax(axis=1), block.max(axis=1)
        order = np.argsort(scores if own else -scores, kind="stable")
        order = order[scores[order] != FAILED][:_WORST]
        return _make_comparisons(probes[order], gallery[best[order]], scores[order])

    return nearest(split.strangers, own=False), nearest(split.mated, own=True)
