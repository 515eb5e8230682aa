"""Thresholds by false-match rate, unknown, and "this is not"."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from facekeep.errors import Hint, InputError, ModelError
from facekeep.gallery import Hit
from facekeep.models import ModelEntry, entry
from facekeep.pipeline.decide import (
    compare,
    consistent_cosine,
    decide,
    fmr_among,
    leave_unnamed,
    once_each,
    threshold,
    threshold_among,
    threshold_of_pairs,
)
from facekeep.types import Candidate, Decision, Face, Threshold


@pytest.fixture
def model() -> ModelEntry:
    table = ((1e-2, 0.2), (1e-3, 0.3), (1e-4, 0.4), (1e-5, 0.5))
    return structs.replace(entry("sface"), thresholds=table, comparisons=1_000_000)


@pytest.mark.parametrize(
    ("fmr", "cosine"),
    [(1e-2, 0.2), (1e-4, 0.4), (1e-5, 0.5), (10**-3.5, 0.35), (0.3, 0.2)],
)
def test_threshold_between_calibrated_rates(model: ModelEntry, fmr: float, cosine: float) -> None:
    found = threshold(model, fmr)
    assert found.cosine == pytest.approx(cosine)
    assert (found.fmr, found.comparisons) == (fmr, 1_000_000)


def test_several_templates_share_the_rate(model: ModelEntry) -> None:
    cosines = [threshold(model, 1e-4, templates=n).cosine for n in (1, 2, 5, 6, 100)]
    assert cosines[0] == pytest.approx(0.4)
    assert cosines[1] == pytest.approx(threshold(model, 0.5e-4).cosine)
    assert cosines[2] == pytest.approx(threshold(model, 0.2e-4).cosine)
    assert cosines[2:] == [cosines[2]] * 3
    assert threshold(model, 1e-4, templates=5).fmr == 1e-4


def test_several_pooled_faces_share_the_rate_twice_against_several_templates(
    model: ModelEntry,
) -> None:
    alone = threshold(model, 1e-3)
    pooled = threshold(model, 1e-3, faces=3)
    assert pooled.cosine == pytest.approx(threshold(model, 1e-3, templates=3).cosine)
    assert (pooled.fmr, pooled.comparisons) == (alone.fmr, alone.comparisons)
    more = pooled.cosine - alone.cosine
    several = threshold(model, 1e-3, templates=2)
    both = threshold(model, 1e-3, templates=2, faces=3)
    assert both.cosine == pytest.approx(several.cosine + 2 * more)
    again = threshold(model, 1e-3, templates=2, faces=3, decisions=2)
    assert again.cosine == pytest.approx(both.cosine + several.cosine - alone.cosine)
    assert threshold(model, 1e-3, faces=5) == threshold(model, 1e-3, faces=50)
    with pytest.raises(InputError, match="faces"):
        threshold(model, 1e-3, faces=0)


def test_the_lowest_rate_can_be_shared_too(model: ModelEntry) -> None:
    shared = threshold(model, 1e-5, templates=5).cosine
    assert shared == pytest.approx(0.5 + 0.1 * np.log10(5))
    with pytest.raises(InputError):
        threshold(model, 1e-5 / 5)


@pytest.mark.parametrize("fmr", [0.0, 1.0, -1e-4, 9e-6, float("nan")])
def test_rates_that_cannot_be_promised(model: ModelEntry, fmr: float) -> None:
    with pytest.raises(InputError):
        threshold(model, fmr)


def test_an_uncalibrated_model_decides_nothing(model: ModelEntry) -> None:
    with pytest.raises(ModelError, match=r"no calibrated.*measure them") as caught:
        threshold(structs.replace(model, thresholds=()), 1e-4)
    assert caught.value.hint == Hint("calibrate", {"model": model.name})


@pytest.mark.parametrize(
    ("comparisons", "fmr", "supported"),
    [(30_000, 1e-4, True), (29_999, 1e-4, False), (0, 0.5, False), (10**9, 1e-8, True)],
)
def test_a_rate_needs_three_comparisons_for_one_error(
    comparisons: int, fmr: float, supported: bool
) -> None:
    assert Threshold(0.4, fmr, comparisons).supported is supported


@given(st.integers(0, 10**7), st.floats(1e-9, 0.5))
def test_strangers_are_mistaken_more_often_in_larger_galleries(people: int, fmr: float) -> None:
    expected = Threshold(0.4, fmr, 0).expected_fpir(people)
    assert expected == pytest.approx(1 - (1 - fmr) ** people, abs=1e-6)
    assert expected <= Threshold(0.4, fmr, 0).expected_fpir(people + 1)


def limit(templates: int) -> Threshold:
    """Gives 0.4, and 0.1 more for every template beyond the first."""
    return Threshold(0.3 + 0.1 * templates, 1e-4, 0)


def hit(name: str, similarity: float, negative: float | None = None, templates: int = 1) -> Hit:
    return Hit(f"id-{name}", name, similarity, f"template-{name}", templates, negative)


@pytest.mark.parametrize(
    ("hits", "match"),
    [
        ([], None),
        ([hit("Ada", 0.399)], None),
        ([hit("Ada", 0.4)], "Ada"),
        ([hit("Ada", 0.9), hit("Bob", 0.8)], "Ada"),
        ([hit("Ada", 0.9, negative=0.9), hit("Bob", 0.8)], "Bob"),
        ([hit("Ada", 0.9, negative=0.89)], "Ada"),
        ([hit("Ada", 0.49, templates=2), hit("Bob", 0.45)], "Bob"),
        ([hit("Ada", 0.5, templates=2), hit("Bob", 0.45)], "Ada"),
        ([hit("Ada", 0.9, negative=0.95), hit("Bob", 0.3)], None),
    ],
)
def test_who_it_is(hits: list[Hit], match: str | None) -> None:
    decision = decide(hits, limit, people=7)
    assert (decision.match.name if decision.match else None) == match
    assert [c.name for c in decision.candidates] == [h.name for h in hits]
    assert decision.expected_fpir == pytest.approx(7e-4, rel=1e-3)


def test_how_many_candidates_are_named_does_not_change_the_answer() -> None:
    hits = [hit("Ada", 0.9, negative=0.95), hit("Bob", 0.8), hit("Cy", 0.1)]
    decision = decide(hits, limit, people=3, top_k=1)
    assert [candidate.name for candidate in decision.candidates] == ["Ada"]
    assert decision.match is not None
    assert decision.match.name == "Bob"
    with pytest.raises(InputError, match="top_k"):
        decide(hits, limit, people=3, top_k=0)


def face(*vector: float) -> Face:
    bbox, landmarks = np.array([0, 0, 9, 9], np.float32), np.zeros((5, 2), np.float32)
    return Face(bbox, landmarks, 0.9, embedding=np.array(vector, np.float32))


def by_pairs(pairs: int) -> Threshold:
    """Gives 0.6, and 0.1 more for every pair beyond the first."""
    return Threshold(0.5 + 0.1 * pairs, 1e-4, 0)


def test_compare() -> None:
    first, second, against = face(1, 0), face(0.6, 0.8), face(-1, 0)
    assert compare([first], [first], by_pairs).match
    assert compare([first], [second], by_pairs).similarity == pytest.approx(0.6)
    assert not compare([first], [against], by_pairs).match
    nobody = compare([first], [], by_pairs)
    assert (nobody.match, nobody.similarity, nobody.compared) == (False, None, None)
    assert nobody.faces == ((first,), ())
    with pytest.raises(InputError, match="without an embedding"):
        compare([first], [second.replace(embedding=None)], by_pairs)


def test_the_best_pair_needs_more_than_the_largest_two() -> None:
    groups = [face(-1, 0), face(0, 1)], [face(1, 0), face(0.6, 0.8)]
    largest = compare(*groups, by_pairs)
    assert (largest.similarity, largest.compared, largest.threshold.cosine) == (-1, (0, 0), 0.6)
    best = compare(*groups, by_pairs, any_pair=True)
    assert (best.similarity, best.compared) == (pytest.approx(0.8), (1, 1))
    assert (best.threshold.cosine, best.match) == (pytest.approx(0.9), False)


@given(st.floats(1e-6, 0.5), st.integers(1, 10**6))
def test_many_chances_share_a_rate(share: float, chances: int) -> None:
    rate = fmr_among(share, chances)
    assert Threshold(0.4, rate, 0).expected_fpir(chances) == pytest.approx(share, rel=1e-9)
    assert fmr_among(share, 0) == pytest.approx(share)


def test_a_share_of_strangers_follows_the_number_of_people(model: ModelEntry) -> None:
    found = threshold_among(model, 0.01, 100)
    assert found.cosine == threshold(model, fmr_among(0.01, 100)).cosine
    assert found.expected_fpir(100) == pytest.approx(0.01)
    assert threshold_among(model, 0.01, 100, templates=3).cosine > found.cosine
    assert threshold_among(model, 0.01, 0).cosine == threshold(model, 0.01).cosine
    with pytest.raises(InputError, match=r"among 2,000.*down to 1e-05; it can promise 0.02"):
        threshold_among(model, 0.01, 2000)
    assert threshold_among(model, 0.02, 2000).fmr == pytest.approx(1.01e-5, rel=1e-2)
    with pytest.raises(InputError, match="between 0 and 1"):
        threshold_among(model, 1.0, 5)
    with pytest.raises(ModelError):
        threshold_among(structs.replace(model, thresholds=()), 0.01, 5)


def test_pairs_share_a_rate_without_changing_what_is_stated(model: ModelEntry) -> None:
    found = threshold_of_pairs(model, 1e-3, 10)
    assert (found.fmr, found.comparisons) == (1e-3, 100_000)
    assert found.cosine == pytest.approx(threshold(model, 1e-4).cosine, abs=1e-4)
    with pytest.raises(InputError, match=r"over 10 pairs.*it can promise 0.0001"):
        threshold_of_pairs(model, 1e-5, 10)


def test_the_bound_for_photos_of_one_person_is_the_models_own(model: ModelEntry) -> None:
    assert consistent_cosine(model) == pytest.approx(0.2 - 0.1 * np.log10(3))
    wide = structs.replace(model, thresholds=((0.1, 0.1), (1e-2, 0.2)))
    assert consistent_cosine(wide) == pytest.approx(0.1 + 0.1 * np.log10(0.1 / 0.03))
    one = structs.replace(model, thresholds=((1e-3, 0.3),))
    assert consistent_cosine(one) == 0.3
    with pytest.raises(ModelError):
        consistent_cosine(structs.replace(model, thresholds=()))


def matched(name: str, similarity: float, others: tuple[str, ...] = ()) -> Decision:
    """A decision for a person, who is the first of the candidates."""
    hits = [Candidate(each, similarity, 0.4, each, "t") for each in (name, *others)]
    return Decision(hits[0] if similarity >= 0.4 else None, tuple(hits), limit(1), 9)


def test_nobody_is_in_a_photo_twice() -> None:
    first, second, third = once_each(
        [matched("Ada", 0.5, ("Bob",)), matched("Ada", 0.7), matched("Bob", 0.6)]
    )
    assert first.match is None
    assert [c.elsewhere for c in first.candidates] == [True, False]
    assert second.match is not None
    assert second.match.name == "Ada"
    assert not second.candidates[0].elsewhere
    assert third.match is not None
    assert third.match.name == "Bob"


def test_of_equal_faces_the_first_keeps_the_name() -> None:
    made = once_each([matched("Ada", 0.5), matched("Ada", 0.5), matched("Ada", 0.3)])
    assert [each.match is not None for each in made] == [True, False, False]
    assert not made[2].candidates[0].elsewhere


def test_an_unusable_face_matches_nothing() -> None:
    clear, poor = face(1, 0), face(1, 0).replace(reasons=("too_blurry",))
    made = compare([clear], [poor, clear], by_pairs)
    assert (made.match, made.similarity, made.compared) == (False, None, None)
    assert made.reasons == ("too_blurry",)
    made = compare([clear, poor], [poor, clear], by_pairs, any_pair=True)
    assert (made.match, made.compared, made.threshold.cosine) == (True, (0, 1), 0.6)
    made = compare([poor], [], by_pairs, any_pair=True)
    assert (made.similarity, made.reasons) == (None, ("too_blurry",))
    decision = leave_unnamed(limit(1), 7)
    assert (decision.match, decision.candidates, decision.people) == (None, (), 7)
