"""Decide at a stated false-match rate: thresholds, one-to-one and one-to-many decisions."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from facekeep._internal.arguments import require_count, require_rate
from facekeep.errors import Hint, InputError, ModelError
from facekeep.gallery import Hit
from facekeep.types import Calibrated, Candidate, Decision, Face, Threshold, Verification

__all__ = [
    "compare",
    "consistent_cosine",
    "decide",
    "fmr_among",
    "leave_unnamed",
    "lowest_fmr",
    "once_each",
    "threshold",
    "threshold_among",
    "threshold_of_pairs",
]

# Photos of one person are at least so alike as three in a hundred pairs of two people; the rate was
# chosen in benchmarks/consistency.py.
_CONSISTENT = 0.03

# A person of several templates is several chances for a stranger to match. Compared with their mean
# the rate grows with the number of templates, to 4.3 times at fifteen (benchmarks/person_score.py).
_MOST_CHANCES = 5


def threshold(
    model: Calibrated, fmr: float, *, templates: int = 1, faces: int = 1, decisions: int = 1
) -> Threshold:
    """Find the cosine for a false-match rate from the model's calibration.

    Between calibrated rates the cosine is interpolated over the logarithm of the rate. Above the
    highest calibrated rate that rate's cosine is used: it errs toward fewer false matches. Several
    templates of a person share the rate, so that a comparison with the person keeps to it. So do
    several faces whose mean is compared, twice where both sides are means, and repeated decisions
    (benchmarks/group_score.py, benchmarks/pooled_probes.py).

    Args:
        model: An embedder, or its entry in the catalog.
        fmr: The false-match rate asked for, such as 1e-4.
        templates: How many templates the person has whom a face is compared with.
        faces: Of how many faces of one person the mean is compared.
        decisions: The number of the decision on these faces, from 1, where more are added and
            decided again.

    Raises:
        InputError: The rate is no probability, or lower than anything that was calibrated.
        ModelError: The model was never calibrated.
    """
    require_rate("a false-match rate", fmr, "1e-4")
    require_count("templates", templates, 0)
    require_count("faces", faces)
    require_count("decisions", decisions)
    if not model.thresholds:
        raise ModelError(
            f"model {model.name} has no calibrated thresholds, so nothing can be decided with it;"
            " measure them on photos of people (docs/evaluation.md)",
            Hint("calibrate", {"model": model.name}),
        )
    rates, cosines = zip(*sorted(model.thresholds), strict=True)
    if fmr < rates[0] * (1 - 1e-9):
        raise InputError(
            f"model {model.name} is calibrated down to a false-match rate of {rates[0]:g}; "
            f"{fmr:g} cannot be promised; ask for {rates[0]:g} or more"
        )
    counts = (1, templates, faces, decisions)
    shares = [math.log10(fmr / min(max(count, 1), _MOST_CHANCES)) for count in counts]
    one, several, pooled, again = (
        _interpolate_cosine(share, np.log10(rates), cosines) for share in shares
    )
    more = (pooled - one) * (2 if templates > 1 else 1) + again - one
    return Threshold(several + more, fmr, model.comparisons)


def fmr_among(share: float, chances: int) -> float:
    """Return the false-match rate at which so many comparisons err at most so often, all in all.

    Args:
        share: How often at least one of them may be a false match: the false-positive
            identification rate (FPIR), where each stranger is compared with ``chances`` people.
        chances: How many comparisons; none counts as one.

    Raises:
        InputError: The share is no probability.
    """
    require_rate("the share of strangers", share, "0.01")
    return -math.expm1(math.log1p(-share) / max(chances, 1))


def lowest_fmr(model: Calibrated) -> float:
    """Return the lowest false-match rate that a model is calibrated for; 1 where it never was."""
    return min((rate for rate, _ in model.thresholds), default=1.0)


def threshold_among(
    model: Calibrated,
    fpir: float,
    people: int,
    *,
    templates: int = 1,
    faces: int = 1,
    decisions: int = 1,
) -> Threshold:
    """Find the cosine at which at most a share of all strangers gets a name among so many people.

    Args:
        model: An embedder, or its entry in the catalog.
        fpir: The share of strangers, such as 0.01 (the false-positive identification rate).
        people: How many people each face is compared with.
        templates: How many templates the person has whom a face is compared with.
        faces: Of how many faces of one person the mean is compared; see ``threshold``.
        decisions: The number of the decision on this person; see ``threshold``.

    Raises:
        InputError: The share is no probability, or takes a lower false-match rate than anything
            that was calibrated; the message says what can be promised.
        ModelError: The model was never calibrated.
    """
    require_rate("the share of strangers", fpir, "0.01")
    require_count("people", people, 0)
    rate = _share_rate(
        model, fpir, people, f"name at most {fpir:g} of all strangers among {people:,} people"
    )
    return threshold(model, rate, templates=templates, faces=faces, decisions=decisions)


def threshold_of_pairs(model: Calibrated, fmr: float, pairs: int) -> Threshold:
    """Find the cosine for the best of many pairs of faces, two images that err at one rate as one.

    Args:
        model: An embedder, or its entry in the catalog.
        fmr: The false-match rate for the two images.
        pairs: How many pairs of faces they hold.

    Raises:
        InputError: The rate is no probability, or one of so many pairs takes a lower rate than
            anything that was calibrated; the message says what can be promised.
        ModelError: The model was never calibrated.
    """
    whole = threshold(model, fmr)
    share = _share_rate(model, fmr, pairs, f"err in at most {fmr:g} of cases over {pairs:,} pairs")
    return Threshold(threshold(model, share).cosine, fmr, whole.comparisons // max(pairs, 1))


def _share_rate(model: Calibrated, share: float, chances: int, aim: str) -> float:
    """Return the rate of one of so many comparisons; InputError where it was not calibrated."""
    rate, lowest = fmr_among(share, chances), lowest_fmr(model)
    if model.thresholds and rate < lowest * (1 - 1e-9):
        promise = _round_up(-math.expm1(chances * math.log1p(-lowest)))
        raise InputError(
            f"to {aim}, a false-match rate of {rate:.2g} is needed, but model {model.name} is only "
            f"calibrated down to {lowest:g}; it can promise {promise:g}: ask for that or more"
        )
    return rate


def consistent_cosine(model: Calibrated) -> float:
    """Return the mean cosine that photos of one person reach, however many years lie between them.

    It stands for a false-match rate of 3 %; above the highest calibrated rate the last slope goes
    on. See ``facekeep.pipeline.enrollment_rules.find_main_group``.

    Raises:
        ModelError: The model was never calibrated.
    """
    threshold(model, max(rate for rate, _ in model.thresholds or ((0.5, 0.0),)))
    rates, cosines = zip(*sorted(model.thresholds), strict=True)
    rate, logs = math.log10(_CONSISTENT), np.log10(rates)
    if rate > logs[-1] and len(rates) > 1:
        slope = float((cosines[-1] - cosines[-2]) / (logs[-1] - logs[-2]))
        return float(cosines[-1]) + slope * (rate - float(logs[-1]))
    return _interpolate_cosine(rate, logs, cosines)


def decide(
    hits: Sequence[Hit],
    limit: Callable[[int], Threshold],
    people: int,
    top_k: int | None = None,
) -> Decision:
    """Decide who a face is: the most similar person at or above the threshold, or unknown.

    A person is passed over when the face is at least as similar to one of the templates that say
    "this is not the person".

    Args:
        hits: The people most similar to the face, best first, as ``Gallery.search`` gives them.
        limit: Gives the threshold for a person of so many templates.
        people: How many people were searched.
        top_k: How many of them to name as candidates; all when None.

    Raises:
        InputError: ``top_k`` is no whole number of 1 or more.
    """
    if top_k is not None:
        require_count("top_k", top_k)
    candidates = tuple(
        Candidate(
            name=hit.name,
            similarity=hit.similarity,
            threshold=limit(hit.templates).cosine,
            person_id=hit.person_id,
            template_id=hit.template_id,
            refused=hit.refused,
        )
        for hit in hits
    )
    matches = (c for c in candidates if c.similarity >= c.threshold and not c.refused)
    needed = limit(hits[0].templates if hits else 1)
    return Decision(next(matches, None), candidates[:top_k], needed, people)


def leave_unnamed(limit: Threshold, people: int) -> Decision:
    """The decision on an unusable face, which is compared with nobody."""
    return Decision(None, (), limit, people)


def once_each(decisions: Sequence[Decision]) -> list[Decision]:
    """Let nobody be in one photo twice: of several faces only the most similar keeps the name.

    The others become unknown; the candidate they would have matched says ``elsewhere``.

    Args:
        decisions: Those on the faces of one photo.
    """
    best: dict[str, int] = {}
    for place, decision in enumerate(decisions):
        if match := decision.match:
            held = decisions[best.setdefault(match.person_id, place)].match
            if held is not None and match.similarity > held.similarity:
                best[match.person_id] = place
    return [
        decision
        if decision.match is None or best[decision.match.person_id] == place
        else _take_name(decision, decision.match.person_id)
        for place, decision in enumerate(decisions)
    ]


def _take_name(decision: Decision, person_id: str) -> Decision:
    candidates = tuple(
        dataclasses.replace(each, elsewhere=True) if each.person_id == person_id else each
        for each in decision.candidates
    )
    return dataclasses.replace(decision, match=None, candidates=candidates)


def compare(
    firsts: Sequence[Face],
    seconds: Sequence[Face],
    limit: Callable[[int], Threshold],
    *,
    any_pair: bool = False,
) -> Verification:
    """Decide whether two images show the same person.

    Args:
        firsts: The faces of one image, the largest first, with their embeddings.
        seconds: Those of the other. An image without a usable face matches nothing.
        limit: Gives the threshold for the best of so many pairs.
        any_pair: Compare each usable face with each, and take the most similar pair; by default
            the largest two are compared.
    """
    faces = tuple(firsts), tuple(seconds)
    asked = [each if any_pair else each[:1] for each in faces]
    usable = [[place for place, face in enumerate(each) if face.usable] for each in asked]
    if not all(usable):
        poor = (
            each[0].reasons
            for each, places in zip(asked, usable, strict=True)
            if not places and each
        )
        return Verification(False, None, limit(1), faces, reasons=next(poor, ("no_face",)))
    rows = [
        np.stack([_require_embedding(each[place]) for place in places])
        for each, places in zip(faces, usable, strict=True)
    ]
    cosines = rows[0] @ rows[1].T
    first, second = divmod(int(cosines.argmax()), cosines.shape[1])
    similarity, needed = float(cosines[first, second]), limit(cosines.size)
    compared = usable[0][first], usable[1][second]
    return Verification(similarity >= needed.cosine, similarity, needed, faces, compared)


def _require_embedding(face: Face) -> NDArray[np.float32]:
    if face.embedding is None:
        raise InputError("a face without an embedding cannot be compared: embed it first")
    return face.embedding


def _round_up(share: float) -> float:
    """Round to two digits, never down, so that what is offered can be asked for."""
    digits = 1 - math.floor(math.log10(share))
    return float(math.ceil(share * 10**digits) / 10**digits)


def _interpolate_cosine(rate: float, rates: NDArray[np.float64], cosines: Sequence[float]) -> float:
    """Interpolate over the logarithm of the rate; below the lowest, go on with its last slope."""
    if rate < rates[0] and len(rates) > 1:
        slope = (cosines[1] - cosines[0]) / (rates[1] - rates[0])
        return float(cosines[0] + slope * (rate - rates[0]))
    return float(np.interp(rate, rates, cosines))
