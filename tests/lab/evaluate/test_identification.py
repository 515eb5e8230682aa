"""Searches of a gallery: by hand, against plain loops, and with what fails."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facekeep.errors import InputError
from facekeep.lab.evaluate import identification, identify, split_gallery, trace_curve


def turned(*degrees):
    """Rows of unit length in the plane."""
    angles = np.deg2rad(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def cosine(degrees):
    return pytest.approx(np.cos(np.deg2rad(degrees)), abs=1e-6)


# Ada is found, Bob is nearer to Ada than to himself, Cy is found though far off; two strangers.
GALLERY = turned(0, 90, 180), ["ada", "bob", "cy"]
PROBES = turned(10, 40, 230, 20, 300), ["ada", "bob", "cy", "dan", "eve"]


def test_open_set_by_hand():
    found = identify(*GALLERY, *PROBES, fpirs=(0.5, 0.4), stated=[(0.1, 0.4)])
    assert (found.people, found.failed_to_enroll) == (3, 0)
    assert (found.mated, found.mated_failed) == (3, 0)
    assert (found.strangers, found.strangers_failed) == (2, 0)
    assert found.rank_1 == pytest.approx(2 / 3)
    assert found.cmc == pytest.approx((2 / 3, 1, 1))
    half, none = found.points
    assert half.threshold == cosine(60)
    assert half.measured_fpir == 0.5
    assert half.fnir == pytest.approx(1 / 3)
    assert none.threshold == cosine(20)
    assert none.measured_fpir == 0
    assert none.fnir == pytest.approx(2 / 3)
    (stated,) = found.stated
    assert (stated.fpir, stated.threshold, stated.measured_fpir) == (0.1, 0.4, 1)
    assert stated.fnir == pytest.approx(1 / 3)
    assert not stated.supported


def test_a_person_is_their_mean_template():
    gallery = turned(0, 60, 100)
    found = identify(gallery, [0, 0, 1], turned(30, 31), [0, 7], fpirs=(0.5,))
    assert found.scores.mated.tolist() == [cosine(0)]
    assert found.scores.tail.tolist() == [cosine(1)]


def test_templates_that_cancel_each_other_make_nobody_similar():
    found = identify(turned(0, 180, 90), [0, 0, 1], turned(10), [0])
    assert found.cmc == (0, 1)


def plain(gallery, owners, probes, who, threshold):
    """Rank-1, FPIR and FNIR by loops."""
    means = {}
    for name in set(owners):
        total = gallery[np.array(owners) == name].sum(axis=0)
        means[name] = total / np.linalg.norm(total)
    first = missed = mated = alarms = 0
    for probe, name in zip(probes, who, strict=True):
        scores = {each: float(mean @ probe) for each, mean in means.items()}
        best = max(scores, key=scores.get)
        if name in means:
            mated += 1
            first += best == name
            missed += best != name or scores[best] < threshold
        else:
            alarms += scores[best] >= threshold
    return first / mated, alarms / (len(who) - mated), missed / mated


@pytest.mark.slow
@given(st.integers(0, 2**32 - 1))
def test_it_agrees_with_plain_loops(seed):
    rng = np.random.default_rng(seed)
    centers = rng.normal(size=(12, 8))
    person = np.concatenate([np.arange(12), rng.integers(12, size=60)])
    rows = centers[person] + 0.6 * rng.normal(size=(72, 8))
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    who = rng.permutation([f"person {number}" for number in range(12)])[person].tolist()
    enrolled = np.arange(72) < 8
    again = (person < 8) & (np.arange(72) >= 12) & (np.arange(72) % 2 == 0)
    chosen = np.flatnonzero(enrolled | again)
    rest = np.setdiff1d(np.arange(8, 72), chosen)
    found = identify(
        rows[chosen],
        [who[i] for i in chosen],
        rows[rest],
        [who[i] for i in rest],
        fpirs=(0.3,),
        stated=[(0.1, 0.7)],
        resamples=0,
    )
    (point,) = found.stated
    first, fpir, fnir = plain(
        rows[chosen], [who[i] for i in chosen], rows[rest], [who[i] for i in rest], 0.7
    )
    assert found.points[0].measured_fpir <= 0.3
    assert found.rank_1 == pytest.approx(first)
    assert point.measured_fpir == pytest.approx(fpir)
    assert point.fnir == pytest.approx(fnir)
    assert found.cmc[0] == found.rank_1
    assert (np.diff(found.cmc) >= 0).all()
    assert found.cmc[-1] == 1
    assert len(found.cmc) == found.people == 8


def test_blocks_of_probes_change_nothing(monkeypatch):
    whole = identify(*GALLERY, *PROBES, fpirs=(0.5,))
    monkeypatch.setattr(identification, "_BLOCK", 4)
    cut = identify(*GALLERY, *PROBES, fpirs=(0.5,))
    assert (cut.points, cut.cmc) == (whole.points, whole.cmc)


def test_what_fails_is_missed_raises_no_alarm_and_is_counted():
    gallery, probes = GALLERY[0].copy(), np.concatenate([PROBES[0], turned(180)])
    gallery[1], probes[0], probes[3] = 0, 0, 0
    who = [*PROBES[1], "cy"]
    found = identify(gallery, GALLERY[1], probes, who, fpirs=(0.5,))
    assert (found.people, found.failed_to_enroll) == (3, 1)
    assert (found.mated, found.mated_failed) == (4, 1)
    assert (found.strangers, found.strangers_failed) == (1, 1)
    # Ada's probe failed, Bob could not be enrolled, both of Cy's are found.
    assert found.cmc == (0.5, 0.5)
    (point,) = found.points
    assert point.threshold == cosine(60)
    assert point.fnir == 0.5
    assert point.fnir_acquired == pytest.approx(1 / 3)


def test_of_equal_candidates_the_right_one_comes_last():
    found = identify(turned(0, 0, 90), [0, 1, 2], turned(0), [0])
    assert found.cmc == (0, 1, 1)


def test_a_closed_set_has_ranks_and_no_rates():
    found = identify(*GALLERY, PROBES[0][:3], PROBES[1][:3], stated=[(0.1, 0.4)])
    assert found.rank_1 == pytest.approx(2 / 3)
    assert (found.points, found.stated, found.strangers) == ((), (), 0)


def test_strangers_alone_have_rates_and_no_ranks():
    found = identify(*GALLERY, PROBES[0][3:], PROBES[1][3:], fpirs=(0.5,))
    assert (found.rank_1, found.cmc, found.mated) == (None, (), 0)
    (point,) = found.points
    assert (point.fnir, point.fnir_acquired, point.low) == (None, None, None)


def test_no_probes_at_all():
    found = identify(*GALLERY, np.empty((0, 2)), [])
    assert (found.rank_1, found.points) == (None, ())


def test_intervals_come_from_the_probes_people():
    rng = np.random.default_rng(0)
    centers = rng.normal(size=(60, 8))
    person = np.repeat(np.arange(60), 5)
    rows = centers[person] + 0.7 * rng.normal(size=(300, 8))
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    parts = split_gallery(person)
    found = identify(
        rows[parts.gallery],
        person[parts.gallery],
        rows[parts.mated],
        person[parts.mated],
    )
    assert found.points == ()
    everybody = np.concatenate([parts.mated, parts.strangers])
    found = identify(rows[parts.gallery], person[parts.gallery], rows[everybody], person[everybody])
    point = found.points[0]
    assert point.low < point.fnir < point.high
    assert point.fpir_low < point.measured_fpir < point.fpir_high
    assert dataclasses.asdict(point)["supported"] is True
    drawn = trace_curve(found.scores)
    assert drawn.fmr[0] == 1
    # At the lowest threshold only those not at rank 1 are missed.
    assert drawn.fnmr[0] == pytest.approx(1 - found.rank_1)


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ((np.zeros((2, 2)), [0, 1], turned(0), [0]), "nobody could be enrolled"),
        ((np.empty((0, 2)), [], turned(0), [0]), "nobody could be enrolled"),
        ((turned(0, 1), [0], turned(0), [0]), "gallery_person"),
        ((turned(0), [0], turned(0, 1), [0]), "probe_person"),
        ((turned(0), [0], np.full((1, 2), np.nan), [0]), "row 0"),
    ],
)
def test_what_cannot_be_searched_is_refused(arguments, why):
    with pytest.raises(InputError, match=why):
        identify(*arguments)


# --- who is enrolled ---


@given(
    st.lists(st.integers(0, 9), min_size=5, max_size=60),
    st.integers(1, 3),
    st.floats(0, 0.9),
    st.integers(0, 5),
)
def test_an_enrollment_divides_all_templates_by_person(person, templates, strangers, seed):
    person = np.array(person)
    counts = np.bincount(person)
    often = int((counts > templates).sum())
    if often == round(strangers * often):
        with pytest.raises(InputError, match="nobody"):
            split_gallery(person, templates=templates, strangers=strangers, seed=seed)
        return
    parts = split_gallery(person, templates=templates, strangers=strangers, seed=seed)
    assert sorted(np.concatenate(parts)) == list(range(len(person)))
    inside, mates, outside = (set(person[part]) for part in parts)
    assert inside == mates
    assert not inside & outside
    assert len(inside) == often - round(strangers * often)
    assert (np.bincount(person[parts.gallery])[sorted(inside)] == templates).all()
    for who in inside:
        assert parts.gallery[person[parts.gallery] == who].max() < (
            parts.mated[person[parts.mated] == who].min()
        )


def test_the_seed_decides_who_stays_outside():
    person = np.arange(100) % 20
    drawn = [set(person[split_gallery(person, seed=seed).gallery]) for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]


@pytest.mark.parametrize("wrong", [{"templates": 0}, {"strangers": -0.1}, {"strangers": 1.1}])
def test_an_enrollment_out_of_range_is_refused(wrong):
    with pytest.raises(InputError, match="enrollment needs"):
        split_gallery([0, 0, 1], **wrong)
