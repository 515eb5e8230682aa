"""The protocols: from a test set and the embeddings of its images to an ``Outcome``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from facekeep.errors import InputError
from facekeep.lab.evaluate.calibrate import RATES, calibrate
from facekeep.lab.evaluate.conditions import Compared, Conditions, by_conditions
from facekeep.lab.evaluate.curves import Curve, curve
from facekeep.lab.evaluate.data import PairSet, PersonSet, TemplateSet
from facekeep.lab.evaluate.extract import Extracted
from facekeep.lab.evaluate.facts import Facts
from facekeep.lab.evaluate.identification import FPIRS, Enrolment, enrolment, identify
from facekeep.lab.evaluate.ijb import IJB_FMRS, verify_templates
from facekeep.lab.evaluate.metrics import (
    FMRS,
    Operating,
    accuracy_at_best,
    at_rates,
    at_thresholds,
    folds,
)
from facekeep.lab.evaluate.pairs import Comparisons, Pairs, all_pairs, pair_scores, worst
from facekeep.lab.evaluate.plots import Line
from facekeep.lab.evaluate.pooling import Pooled, pool
from facekeep.lab.evaluate.result import Evidence, Outcome, Result, nearest_points, rate_text
from facekeep.lab.evaluate.scores import FAILED, Scores, listed
from facekeep.lab.evaluate.sheet import Pair
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
        protocol: What the result calls the protocol: one of ``words.PROTOCOLS``.
        model: The embedder's catalogue entry.
        crop: Gives the aligned face of a sample by its place, for the sheets.
        settings: How faces are taken from the images, for the record.
        rates: The target rates; None for the usual ones of the protocol.
        facts: What is known about the faces, where the result is to be told by conditions.
    """

    protocol: str
    model: ModelEntry
    crop: Callable[[int], NDArray[np.uint8]]
    settings: Mapping[str, object] = field(default_factory=dict)
    rates: tuple[float, ...] | None = None
    facts: Facts | None = None


def run_pairs(data: PairSet, found: Extracted, system: System) -> Outcome:
    """Verify the pairs of a list; where it has folds or development pairs, with the accuracy.

    Args:
        data: The pairs.
        found: What ``extract`` made of their images.
        system: What is being measured.

    Raises:
        InputError: There are no mated or no non-mated comparisons.
    """
    every = pair_scores(found.rows, data.left, data.right)
    kept = np.ones(len(every), np.bool_) if data.development is None else ~data.development
    left, right, mated, values = data.left[kept], data.right[kept], data.mated[kept], every[kept]
    scores = listed(values, mated, left=left, right=right, person=data.person)
    _require_both(scores)
    accuracy = _accuracy(data, every)
    errors = _worst_pairs(left, right, mated, values)
    people = None if scores.identities is None else scores.identities.people
    points = at_rates(scores, system.rates or FMRS)
    if data.person is not None:
        compared = Compared.of_list(left, right, mated, values, data.person)
        accuracy["conditions"] = _conditions(system, compared, points)
    return _verified(data, people, found, system, scores, points, errors, **accuracy)


def run_people(data: PersonSet, found: Extracted, system: System) -> Outcome:
    """Compare every image with every other one.

    Args:
        data: Images of known people.
        found: What ``extract`` made of them.
        system: What is being measured.

    Raises:
        InputError: There are no mated or no non-mated comparisons.
    """
    rates = system.rates or FMRS
    pairs = all_pairs(found.rows, data.person, fmr=max(rates))
    _require_both(pairs.scores)
    points = at_rates(pairs.scores, rates)
    return _verified(
        data,
        len(data.people),
        found,
        system,
        pairs.scores,
        points,
        _worst_of(pairs),
        conditions=_conditions(system, Compared.of_pairs(pairs, found.found), points),
    )


def run_calibration(
    data: PersonSet, found: Extracted, system: System, *, same_person: float | None = None
) -> Outcome:
    """Find the model's cosine at each false-match rate, and measure the model there.

    Args:
        data: Images of known people.
        found: What ``extract`` made of them.
        system: What is being measured; its rates are those to calibrate.
        same_person: See ``calibrate``.

    Raises:
        InputError: There are no mated comparisons, or too few non-mated ones.
    """
    made = calibrate(data, found, rates=system.rates or RATES, same_person=same_person)
    scores = made.pairs.scores
    _require_both(scores)
    names = [[data.people[data.person[place]] for place in side] for side in made.left_out[:2]]
    details = {
        "same_person": made.same_person,
        "suspects": made.suspects,
        "left_out": [
            {"a": a, "b": b, "cosine": float(cosine)}
            for a, b, cosine in zip(*names, made.left_out.scores, strict=True)
        ],
        "unsupported": [rate_text(rate) for rate in made.unsupported],
    }
    return _verified(
        data,
        len(data.people),
        found,
        system,
        scores,
        made.points,
        _worst_of(made.pairs),
        left_out=made.left_out,
        details={"calibration": details},
        conditions=_conditions(system, Compared.of_pairs(made.pairs, found.found), made.points),
    )


def run_templates(data: TemplateSet, found: Extracted, system: System) -> Outcome:
    """Pool the images of templates and compare those: the 1:1 protocol of IJB-B and IJB-C.

    Args:
        data: The templates and their comparisons.
        found: What ``extract`` made of the images, with ``norms``.
        system: What is being measured.

    Raises:
        InputError: There are no mated or no non-mated comparisons.
    """
    weights = data.faceness if found.norms is None else data.faceness * found.norms
    pooled = pool(found.rows, data.template, data.media, weights=weights)
    verified = verify_templates(pooled, *data.pairs, fmrs=system.rates or IJB_FMRS)
    details = {
        "tar_nearest": nearest_points(verified.nearest),
        "templates": {"count": verified.templates, "failed": verified.failed},
    }
    return _verified(
        data,
        verified.people,
        found,
        system,
        verified.scores,
        verified.strict,
        _worst_templates(data, found, pooled, verified.values),
        details=details,
    )


def run_identification(
    data: PersonSet,
    found: Extracted,
    system: System,
    *,
    templates: int = 1,
    strangers: float = 0.5,
    seed: int = 0,
) -> Outcome:
    """Enrol some of the people and search for everybody: open-set identification.

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
    split = enrolment(data.person, templates=templates, strangers=strangers, seed=seed)
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
        **_common(data, len(data.people), found, system, searched.scores),
        identified=searched,
        details={"split": {"templates": templates, "strangers": strangers, "seed": seed}},
    )
    marks = [(p.measured_fpir, p.fnir or 0.0) for p in searched.points if p.supported]
    errors = _worst_searches(data, found, split)
    return Outcome(result, _evidence(data, system, result, curve(searched.scores), marks, errors))


def _require_both(scores: Scores) -> None:
    _require("mated comparisons", len(scores.mated), scores.mated_failed)
    _require("non-mated comparisons", scores.non_mated, scores.non_mated_failed)


def _require(what: str, made: int, failed: int) -> None:
    """Refuse a test set on which nothing can be said; the error says why."""
    if not made:
        why = f"all {failed} failed to acquire" if failed else "the data hold none"
        raise InputError(
            f"there are no {what} to measure on: {why};"
            " give several people, and several images of some, that show a face"
        )


def _accuracy(data: PairSet, values: NDArray[np.float32]) -> dict[str, Any]:
    if data.development is not None:
        accuracy, threshold = accuracy_at_best(values, data.mated, data.development)
        return {"accuracy": accuracy, "folds": ((accuracy, threshold),)}
    if data.fold is None:
        return {}
    found = folds(values, data.mated, data.fold)
    return {
        "accuracy": found.accuracy,
        "accuracy_sd": found.sd,
        "folds": tuple(zip(found.accuracies, found.thresholds, strict=True)),
    }


def _conditions(
    system: System, compared: Compared, points: Sequence[Operating]
) -> Conditions | None:
    return by_conditions(system.facts, compared, points) if system.facts else None


def _verified(
    data: _Set,
    people: int | None,
    found: Extracted,
    system: System,
    scores: Scores,
    points: tuple[Operating, ...],
    errors: _Errors,
    left_out: Comparisons | None = None,
    **more: Any,
) -> Outcome:
    """Put together an outcome of verification."""
    trade_off = curve(scores)
    result = Result(
        **_common(data, people, found, system, scores),
        tar=points,
        stated=at_thresholds(scores, system.model.thresholds),
        eer=trade_off.eer,
        **more,
    )
    marks = [(point.measured_fmr, 1 - (point.tar or 0.0)) for point in points if point.supported]
    return Outcome(result, _evidence(data, system, result, trade_off, marks, errors, left_out))


def _common(
    data: _Set, people: int | None, found: Extracted, system: System, scores: Scores
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


def _evidence(
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
        false_matches=_shown(errors[0]),
        false_non_matches=_shown(errors[1]),
        left_out=() if left_out is None else _shown(left_out),
        names=data.samples.names,
        crop=system.crop,
    )


def _shown(comparisons: Comparisons) -> tuple[Pair, ...]:
    columns = (column[:_WORST].tolist() for column in comparisons)
    return tuple(map(Pair, *columns))


def _worst_of(pairs: Pairs) -> _Errors:
    highest, lowest = (worst(p, pairs.person, _WORST) for p in (pairs.non_mated, pairs.mated))
    return highest, lowest


def _comparisons(
    first: NDArray[Any], second: NDArray[Any], scores: NDArray[np.float32]
) -> Comparisons:
    return Comparisons(first.astype(np.int32), second.astype(np.int32), scores)


def _worst_pairs(
    left: NDArray[Any], right: NDArray[Any], mated: NDArray[np.bool_], values: NDArray[np.float32]
) -> _Errors:
    def first(kind: NDArray[np.bool_], keys: NDArray[np.float32]) -> Comparisons:
        places = np.flatnonzero(kind & (values != FAILED))
        places = places[np.argsort(keys[places], kind="stable")[:_WORST]]
        return _comparisons(left[places], right[places], values[places])

    return first(~mated, -values), first(mated, values)


def _worst_templates(
    data: TemplateSet, found: Extracted, pooled: Pooled, values: NDArray[np.float32]
) -> _Errors:
    """The worst comparisons of templates; for each stands its first image that gave a face."""
    sides = pooled.places(data.pairs.left), pooled.places(data.pairs.right)
    errors = _worst_pairs(*sides, data.pairs.mated, values)
    have = np.flatnonzero(found.found)
    ids, firsts = np.unique(data.template[have], return_index=True)
    shown = np.zeros(len(pooled.ids), np.intp)
    shown[pooled.places(ids)] = have[firsts]
    highest, lowest = (_comparisons(shown[e.first], shown[e.second], e.scores) for e in errors)
    return highest, lowest


def _worst_searches(data: PersonSet, found: Extracted, split: Enrolment) -> _Errors:
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
        return _comparisons(probes[order], gallery[best[order]], scores[order])

    return nearest(split.strangers, own=False), nearest(split.mated, own=True)
