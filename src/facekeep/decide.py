"""Decide at a stated false-match rate: thresholds, one-to-one and one-to-many decisions."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from facekeep.errors import InputError, ModelError
from facekeep.gallery import Hit
from facekeep.models import ModelEntry

__all__ = [
    "Candidate",
    "Decision",
    "Threshold",
    "Verification",
    "compare",
    "decide",
    "once_each",
    "threshold",
    "unnamed",
]

# With no false match among n comparisons the rate is below 3/n at 95 % confidence, the "rule of
# three" (ISO/IEC 19795-1); a claim of rate f needs as many comparisons.
_RULE_OF_THREE = 3

# A person of several templates is several chances for a stranger to match. Compared with their mean
# the rate grows with the number of templates, to 4.3 times at fifteen (benchmarks/person_score.py).
_MOST_CHANCES = 5


@dataclass(frozen=True, slots=True)
class Threshold:
    """The cosine at and above which two faces count as the same person.

    Attributes:
        cosine: The threshold.
        fmr: The false-match rate it stands for: how often two different people reach it.
        comparisons: Non-mated comparisons behind the calibration.
    """

    cosine: float
    fmr: float
    comparisons: int

    @property
    def supported(self) -> bool:
        """Whether there were enough comparisons to claim the rate (ISO/IEC 19795-1)."""
        return self.comparisons * self.fmr >= _RULE_OF_THREE

    def expected_fpir(self, people: int) -> float:
        """How often a stranger is taken for one of ``people``: each is one more chance to err."""
        return -math.expm1(people * math.log1p(-self.fmr))


@dataclass(frozen=True, slots=True)
class Candidate:
    """Somebody in the gallery whom a face resembles.

    Attributes:
        name: The person's name.
        similarity: Cosine, -1 to 1, to the mean of the person's templates.
        threshold: The cosine that it must reach; higher for people of several templates.
        person_id: The person's UUID.
        template_id: UUID of the template that is most similar.
        refused: The face is at least as similar to a "this is not the person" template.
        elsewhere: Another face of the same photo matches the person better.
    """

    name: str
    similarity: float
    threshold: float
    person_id: str
    template_id: str
    refused: bool = False
    elsewhere: bool = False


@dataclass(frozen=True, slots=True)
class Decision:
    """Who a face is.

    Attributes:
        match: The person, or None: unknown, or an unusable face.
        candidates: The most similar people, best first, whether above the threshold or not.
        threshold: What was decided by: for the best candidate, where there is one.
        people: How many people the face was compared with.
    """

    match: Candidate | None
    candidates: tuple[Candidate, ...]
    threshold: Threshold
    people: int

    @property
    def expected_fpir(self) -> float:
        """How often a stranger would have been given a name here, by the stated rate."""
        return self.threshold.expected_fpir(self.people)


@dataclass(frozen=True, slots=True)
class Verification:
    """Whether two faces are of one person.

    Attributes:
        match: Whether the similarity reaches the threshold.
        similarity: Their cosine, -1 to 1; None where one of them has no face or no usable one.
        threshold: What was decided by.
        reasons: Why a face is unusable, as in ``Face.reasons``; such faces never match.
    """

    match: bool
    similarity: float | None
    threshold: Threshold
    reasons: tuple[str, ...] = ()


def threshold(model: ModelEntry, fmr: float, *, templates: int = 1) -> Threshold:
    """Find the cosine for a false-match rate from the model's calibration.

    Between calibrated rates the cosine is interpolated over the logarithm of the rate. Above the
    highest calibrated rate that rate's cosine is used: it errs towards fewer false matches. Several
    templates of a person share the rate, so that a comparison with the person keeps to it.

    Args:
        model: An embedder's catalogue entry.
        fmr: The false-match rate asked for, such as 1e-4.
        templates: How many templates the person has whom a face is compared with.

    Raises:
        InputError: The rate is no probability, or lower than anything that was calibrated.
        ModelError: The model was never calibrated.
    """
    if not 0 < fmr < 1:
        raise InputError(f"a false-match rate lies between 0 and 1, such as 1e-4; got {fmr!r}")
    if not model.thresholds:
        raise ModelError(
            f"model {model.name} has no calibrated thresholds, so nothing can be decided with it;"
            f" measure them: facekeep evaluate calibrate PEOPLE --model {model.name}"
            " (docs/evaluation.md)"
        )
    rates, cosines = zip(*sorted(model.thresholds), strict=True)
    if fmr < rates[0] * (1 - 1e-9):
        raise InputError(
            f"model {model.name} is calibrated down to a false-match rate of {rates[0]:g}; "
            f"{fmr:g} cannot be promised; ask for {rates[0]:g} or more"
        )
    share = math.log10(fmr / min(max(templates, 1), _MOST_CHANCES))
    return Threshold(_cosine_at(share, np.log10(rates), cosines), fmr, model.comparisons)


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
        InputError: ``top_k`` is below 1.
    """
    if top_k is not None and top_k < 1:
        raise InputError(f"top_k must be 1 or more, not {top_k!r}")
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
    terms = limit(hits[0].templates if hits else 1)
    return Decision(next(matches, None), candidates[:top_k], terms, people)


def unnamed(limit: Threshold, people: int) -> Decision:
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
        else _beaten(decision, decision.match.person_id)
        for place, decision in enumerate(decisions)
    ]


def _beaten(decision: Decision, person_id: str) -> Decision:
    candidates = tuple(
        dataclasses.replace(each, elsewhere=True) if each.person_id == person_id else each
        for each in decision.candidates
    )
    return dataclasses.replace(decision, match=None, candidates=candidates)


def compare(
    first: NDArray[np.float32] | None,
    second: NDArray[np.float32] | None,
    limit: Threshold,
    reasons: tuple[str, ...] = (),
) -> Verification:
    """Decide whether two embeddings, float32 ``(d,)`` of unit length, are of one person.

    None stands for an image without a face, which matches nothing; ``reasons``, where there are
    any, say why one of the faces is unusable, which matches nothing either.
    """
    if first is None or second is None or reasons:
        return Verification(match=False, similarity=None, threshold=limit, reasons=reasons)
    similarity = float(first @ second)
    return Verification(similarity >= limit.cosine, similarity, limit)


def _cosine_at(rate: float, rates: NDArray[np.float64], cosines: Sequence[float]) -> float:
    """Interpolate over the logarithm of the rate; below the lowest, go on with its last slope."""
    if rate < rates[0] and len(rates) > 1:
        slope = (cosines[1] - cosines[0]) / (rates[1] - rates[0])
        return float(cosines[0] + slope * (rate - rates[0]))
    return float(np.interp(rate, rates, cosines))
