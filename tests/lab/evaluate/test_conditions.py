"""TAR and FMR by conditions, against counts of every single comparison."""

from __future__ import annotations

import dataclasses
from itertools import combinations

import numpy as np
import pytest
from evaluation_kit import known_people, system

from facekeep.lab.datasets.test_sets import PairSet, PersonSet
from facekeep.lab.evaluate import measure_at_rates
from facekeep.lab.evaluate.conditions import (
    CONDITIONS,
    AllNonMated,
    Binned,
    ConditionInput,
    ListedNonMated,
    measure_conditions,
)
from facekeep.lab.evaluate.extract import Embeddings
from facekeep.lab.evaluate.pairs import exclude_alike, score_all_pairs
from facekeep.lab.evaluate.protocols import run_calibration, run_pairs, run_people
from facekeep.lab.evaluate.summary import list_tables

HARDER = {
    "size": lambda value: -value,
    "brightness": lambda value: abs(value - 0.475),
    "yaw": abs,
    "age": lambda value: -value,
}


def made_up(count: int) -> dict[str, np.ndarray]:
    """Facts of several kinds, some of them unknown."""
    rng = np.random.default_rng(3)
    facts = {
        "size": rng.uniform(10, 250, count),
        "brightness": rng.uniform(0, 1, count),
        "yaw": rng.uniform(-80, 80, count),
        "age": rng.uniform(1, 90, count),
    }
    facts["size"][::17] = np.nan
    return facts


def by_hand(data: PersonSet, found: Embeddings, name: str, values: np.ndarray, threshold: float):
    """Look at all pairs one by one: mated, hits, non-mated and false matches by bins."""
    edges = next(each.edges for each in CONDITIONS if each.name == name)
    counts = np.zeros((4, len(edges) + 1), int)
    for a, b in combinations(range(len(data.person)), 2):
        if not (found.found[a] and found.found[b]) or np.isnan(values[[a, b]]).any():
            continue
        worse = max(values[a], values[b], key=HARDER[name])
        place = sum(abs(worse) >= edge for edge in edges)
        hit = np.float32(found.rows[a] @ found.rows[b]) >= threshold
        kind = 0 if data.person[a] == data.person[b] else 2
        counts[kind, place] += 1
        counts[kind + 1, place] += hit
    return counts


def points_of(conditions, name: str):
    return [point for point in conditions.points if point.condition == name]


@pytest.mark.slow
@pytest.mark.parametrize("name", HARDER)
def test_all_pairs_are_counted_as_if_one_by_one(name: str):
    data, found = known_people(noise=2.0, failed=(5, 40))
    facts = made_up(len(data.person))
    result = run_people(data, found, system(measures=facts, rates=(0.05,))).result
    assert result.conditions is not None
    expected = by_hand(data, found, name, facts[name], result.conditions.threshold)
    points = points_of(result.conditions, name)
    assert [p.mated for p in points] == expected[0].tolist()
    assert [p.non_mated for p in points] == expected[2].tolist()
    assert 0 < expected[1].sum() < expected[0].sum()
    assert expected[3].sum() > 0
    for point, (mated, hits, others, wrong) in zip(points, expected.T, strict=True):
        assert point.tar == (pytest.approx(hits / mated) if mated else None)
        assert point.fmr == (pytest.approx(wrong / others) if others else None)
    known = ~np.isnan(facts[name])
    assert sum(p.faces for p in points) == known.sum()


@pytest.mark.slow
def test_a_list_of_pairs_is_counted_like_all_pairs():
    data, found = known_people(noise=2.0, failed=(5,))
    facts = made_up(len(data.person))
    left, right = np.array(list(combinations(range(len(data.person)), 2))).T
    mated = data.person[left] == data.person[right]
    person = np.array(data.people)[data.person]
    listed = PairSet("pairs", data.samples, left, right, mated, None, person)
    asked = system(measures=facts, rates=(0.05,))
    one, other = (
        run(which, found, asked).result.conditions
        for run, which in ((run_pairs, listed), (run_people, data))
    )
    assert one is not None
    assert other is not None
    assert one.points == other.points
    assert one.threshold == pytest.approx(other.threshold, abs=1e-6)
    unknown = dataclasses.replace(listed, person=None)
    assert run_pairs(unknown, found, asked).result.conditions is None


def test_people_count_as_often_as_they_are_drawn():
    rng = np.random.default_rng(0)
    person = np.repeat(np.arange(8), 5)
    made = rng.random(40) > 0.1
    excluded = np.array([[1, 4], [2, 3]])
    binned = Binned(rng.normal(size=40), rng.integers(3, size=40), 3)
    pairs = [
        (a, b)
        for a, b in combinations(np.flatnonzero(made), 2)
        if person[a] != person[b] and (person[a], person[b]) not in {(1, 4), (2, 3)}
    ]
    listed = ListedNonMated(*np.array(pairs).T, person).counting(binned)
    weights = rng.integers(4, size=8).astype(float)
    expected = np.zeros(3)
    for a, b in pairs:
        worse = max(a, b, key=lambda place: binned.harder[place])
        expected[binned.bins[worse]] += weights[person[a]] * weights[person[b]]
    np.testing.assert_allclose(
        AllNonMated(made, person, excluded).counting(binned)(weights), expected
    )
    np.testing.assert_allclose(listed(weights), expected)


def test_names_that_are_not_compared_count_nowhere():
    data, found = known_people(people=12, noise=0.5)
    rows = found.rows.copy()
    rows[4:8] = rows[0:4]  # the second person is the first one under another name
    twice = dataclasses.replace(found, rows=rows)
    asked = system("calibrate", measures={"yaw": np.zeros(48)}, rates=(0.1,))
    result = run_calibration(data, twice, asked, same_person=0.95).result
    assert result.conditions is not None
    assert sum(p.non_mated for p in result.conditions.points) == 48 * 44 // 2 - 16


def test_intervals_hold_the_figure_and_need_people():
    data, found = known_people(noise=2.0)
    asked = system(measures=made_up(len(data.person)), rates=(0.05,))
    result = run_people(data, found, asked).result
    assert result.conditions is not None
    points = [p for p in result.conditions.points if p.tar_low is not None]
    assert len(points) > 10
    assert all(p.tar_low <= p.tar <= p.tar_high for p in points)
    assert all(p.fmr_low <= p.fmr <= p.fmr_high for p in points if p.fmr_low is not None)
    data, found = known_people(people=9, noise=2.0)
    few = run_people(data, found, system(measures=made_up(36), rates=(0.05,))).result
    assert few.conditions is not None
    assert all(p.tar_low is None and p.fmr_low is None for p in few.conditions.points)


@pytest.mark.parametrize(
    ("rates", "chosen"), [((1e-1, 1e-2, 1e-3), 1e-2), ((1e-1, 1e-3), 1e-1), ((1e-4,), 1e-4)]
)
def test_one_threshold_decides_that_of_the_supported_rate_nearest_to_1e_3(
    rates: tuple[float, ...], chosen: float
):
    data, found = known_people(people=15, noise=2.0)  # 1,680 non-mated comparisons
    pairs = score_all_pairs(found.rows, data.person, fmr=max(rates))
    compared = ConditionInput.of_pairs(pairs, found.found)
    points = measure_at_rates(pairs.scores, rates, resamples=0)
    facts = {"yaw": np.zeros(60)}
    conditions = measure_conditions(facts, compared, points, resamples=0)
    assert conditions.target == chosen
    assert conditions.threshold == points[rates.index(chosen)].threshold
    assert [p.supported for p in conditions.occupied] == [chosen * 1680 >= 3]


@pytest.mark.slow
def test_what_is_not_known_of_any_face_is_left_out():
    data, found = known_people()
    facts = made_up(len(data.person)) | {"size": np.full(len(data.person), np.nan)}
    result = run_people(data, found, system(measures=facts)).result
    assert set(result.document()["conditions"]["by"]) == {"brightness", "yaw", "age"}
    assert "conditions" not in run_people(data, found, system()).result.document()


def test_tables_show_the_bins_that_faces_lie_in():
    data, found = known_people()
    yaw = np.where(np.arange(len(data.person)) % 4 == 0, -50.0, 5.0)
    result = run_people(data, found, system(measures={"yaw": yaw})).result
    (table,) = [t for t in list_tables([result]) if t.headers[0] == "condition"]
    assert "by the worse face" in table.caption
    assert [row[:4] for row in table.rows] == [
        ["yaw, degrees", "below 15", "90", "90"],
        ["yaw, degrees", "45 and above", "30", "90"],
    ]
    document = result.document()["conditions"]
    assert [each["low"] for each in document["by"]["yaw"]] == [None, 15, 30, 45]
    assert [each["faces"] for each in document["by"]["yaw"]] == [90, 0, 0, 30]


def test_excluding_people_leaves_the_rest_of_the_pairs():
    data, found = known_people(people=12, noise=0.5)
    pairs = score_all_pairs(found.rows, data.person, fmr=0.5)
    fewer = exclude_alike(pairs, found.rows, float(pairs.non_mated.scores[3]))
    compared = ConditionInput.of_pairs(fewer, found.found)
    binned = Binned(np.zeros(48), np.zeros(48, np.intp), 1)
    counted = compared.non_mated.counting(binned)(np.ones(12))
    assert counted.tolist() == [fewer.scores.non_mated]
    assert fewer.scores.non_mated < pairs.scores.non_mated
