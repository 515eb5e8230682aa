"""The protocols, on embeddings whose comparisons are counted here by hand."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from evaluation_kit import known_people, samples, system

from facekeep.errors import InputError
from facekeep.lab.datasets.test_sets import PairSet, TemplatePairs, TemplateSet
from facekeep.lab.evaluate.extract import Embeddings
from facekeep.lab.evaluate.protocols import run_identification, run_pairs, run_people, run_templates
from facekeep.lab.evaluate.summary import list_tables


def all_scores(data, found):
    """Scores and labels of all pairs of which both images gave a face."""
    left, right = np.triu_indices(len(found.rows), 1)
    made = found.found[left] & found.found[right]
    scores = np.einsum("ij,ij->i", found.rows[left], found.rows[right])
    return left, right, scores, data.person[left] == data.person[right], made


def test_all_pairs_of_people_are_counted_and_their_rates_are_right():
    data, found = known_people(failed=(5,))
    result = run_people(data, found, system(rates=(1e-2, 1e-1))).result
    _, _, scores, mated, made = all_scores(data, found)
    assert (len(result.scores.mated), result.scores.mated_failed) == (30 * 6 - 3, 3)
    assert result.scores.non_mated == (~mated & made).sum()
    for point in result.tar:
        others = scores[~mated & made]
        limit = point.threshold - 1e-6  # two ways to multiply round differently
        assert (others >= point.threshold + 1e-6).mean() <= point.fmr
        assert (others >= limit).mean() == pytest.approx(point.measured_fmr, abs=2 / len(others))
        assert (scores[mated & made] >= limit).sum() == pytest.approx(180 * point.tar)
        assert point.low < point.tar < point.high
    assert [failure.name for failure in result.failures] == ["image005.png"]
    assert (result.images, result.people, result.accuracy) == (120, 30, None)


def test_the_worst_comparisons_are_the_worst():
    data, found = known_people(failed=(5,))
    evidence = run_people(data, found, system()).evidence
    left, right, scores, mated, made = all_scores(data, found)
    best = np.flatnonzero(~mated & made)[scores[~mated & made].argmax()]
    first = evidence.false_matches[0]
    assert (first.left, first.right) == (left[best], right[best])
    assert first.cosine == pytest.approx(scores[best], abs=1e-6)
    assert evidence.false_non_matches[0].cosine == pytest.approx(
        scores[mated & made].min(), abs=1e-6
    )
    assert all(5 not in pair[:2] for pair in evidence.false_matches + evidence.false_non_matches)
    assert len(evidence.false_matches) == 24


def test_the_catalog_thresholds_are_measured_too():
    data, found = known_people()
    result = run_people(data, found, system()).result
    assert [point.fmr for point in result.stated] == [1e-2, 1e-3, 1e-4, 1e-5, 1e-6]
    assert result.stated[0].threshold == pytest.approx(0.3071)


def pairs_of(data, folds: int | None = 2) -> PairSet:
    """Mated and non-mated pairs in turn, in folds."""
    left = np.repeat(np.arange(0, 120, 4), 2)
    right = np.where(np.arange(60) % 2 == 0, left + 1, (left + 4) % 120)
    mated = np.arange(60) % 2 == 0
    fold = None if folds is None else np.arange(60) * folds // 60
    person = np.array(data.people)[data.person]
    return PairSet("pairs", data.samples, left, right, mated, fold, person)


def test_pairs_with_folds_have_an_accuracy():
    data, found = known_people(noise=0.2)
    result = run_pairs(pairs_of(data), found, system("lfw")).result
    assert (result.accuracy, result.accuracy_sd, len(result.folds)) == (1.0, 0.0, 2)
    assert (len(result.scores.mated), result.scores.non_mated, result.people) == (30, 30, 30)
    document = result.document()
    assert document["accuracy"] == 1.0
    assert len(document["folds"]) == 2


def test_a_failed_image_costs_accuracy_in_mated_pairs_only():
    data, found = known_people(noise=0.2, failed=(0,))
    result = run_pairs(pairs_of(data), found, system("lfw")).result
    assert result.accuracy == pytest.approx(1 - 1 / 60)
    comparisons = result.document()["comparisons"]
    assert (comparisons["mated"], comparisons["mated_failed"]) == (30, 1)
    assert (comparisons["non_mated"], comparisons["non_mated_failed"]) == (28, 2)


def test_pairs_without_folds_have_none():
    data, found = known_people()
    document = run_pairs(pairs_of(data, None), found, system("pairs")).result.document()
    assert "accuracy" not in document
    assert "folds" not in document
    assert set(document["tar"]) == {"1e-2", "1e-3", "1e-4", "1e-5"}


def test_pairs_to_choose_on_give_a_threshold_and_no_other_figure():
    data, found = known_people(noise=0.2, failed=(0,))
    first = np.arange(60) < 20
    pairs = dataclasses.replace(pairs_of(data, None), development=first)
    result = run_pairs(pairs, found, system("lfw")).result
    every = run_pairs(pairs_of(data, 3), found, system("lfw")).result
    assert (result.accuracy, result.accuracy_sd) == (1, None), "what failed was only to choose on"
    ((accuracy, threshold),) = result.folds
    assert accuracy == result.accuracy
    assert every.scores.tail[0] < threshold < every.scores.mated[0]
    assert (len(result.scores.mated), result.scores.mated_failed) == (20, 0)
    assert (result.scores.non_mated, result.scores.non_mated_failed) == (19, 1)
    document = result.document()
    assert "accuracy_sd" not in document
    assert len(document["folds"]) == 1
    (table, *_) = list_tables([result])
    assert table.headers[1] == "accuracy"
    assert table.rows[0][1] == "100.00 %"


def test_strangers_and_people_enrolled_are_told_apart():
    data, found = known_people(noise=0.3, failed=(0,))
    result = run_identification(data, found, system("identify"), seed=3).result
    searched = result.identified
    assert searched is not None
    assert (searched.people, searched.rank_1) == (15, 1.0)
    document = result.document()
    assert document["probes"]["mated"] == 15 * 3
    assert document["probes"]["strangers"] + document["probes"]["strangers_failed"] in (60, 59)
    assert document["fnir"]["1e-1"]["fnir"] == 0
    assert document["split"] == {"templates": 1, "strangers": 0.5, "seed": 3}
    assert "supported" not in document["stated_fnir"]["1e-2"]
    assert "comparisons" not in document


def test_the_worst_searches_name_probe_and_template():
    data, found = known_people(noise=1.5)
    evidence = run_identification(data, found, system("identify"), templates=2).evidence
    owners = {pair.right for pair in evidence.false_matches + evidence.false_non_matches}
    gallery = {int(data.person[place]) for place in owners}
    for pair in evidence.false_matches:
        assert data.person[pair.left] not in gallery
        assert pair.cosine == pytest.approx(
            found.rows[pair.left] @ found.rows[pair.right], abs=1e-5
        )
    for pair in evidence.false_non_matches:
        assert data.person[pair.left] == data.person[pair.right]
    cosines = [pair.cosine for pair in evidence.false_non_matches]
    assert cosines == sorted(cosines)


def test_templates_are_pooled_and_compared():
    _, found = known_people(people=12, images=4, noise=0.5)
    template = 10 + np.arange(48) // 2  # two of each person, of two images each
    ids = np.unique(template)
    a, b = np.triu_indices(len(ids), 1)
    pairs = TemplatePairs(ids[a], ids[b], (a // 2) == (b // 2))
    faceness, norms = np.random.default_rng(1).uniform(0.2, 2, (2, 48)).astype(np.float32)
    made = TemplateSet("IJB-C", samples(48), template, np.arange(48), faceness, pairs)
    with_norms = dataclasses.replace(found, norms=norms)
    outcome = run_templates(made, with_norms, system("ijb", rates=(1e-1,)))
    document = outcome.result.document()
    weighted = found.rows * (faceness * norms)[:, None]
    pooled = weighted.reshape(24, 2, -1).sum(axis=1)
    pooled /= np.linalg.norm(pooled, axis=1, keepdims=True)
    scores = (pooled @ pooled.T)[a, b]
    mated = scores[pairs.mated]
    threshold = document["tar"]["1e-1"]["threshold"]
    assert document["tar"]["1e-1"]["tar"] == pytest.approx((mated >= threshold).mean())
    assert document["templates"] == {"count": 24, "failed": 0}
    assert document["people"] == 12
    assert set(document["tar_nearest"]["1e-1"]) == {"tar", "threshold", "fmr"}
    worst = outcome.evidence.false_non_matches[0]
    assert worst.cosine == pytest.approx(mated.min(), abs=1e-5)
    assert template[worst.left] // 2 == template[worst.right] // 2


@pytest.mark.parametrize("run", [run_people, run_identification])
def test_one_image_each_gives_nothing_mated(run):
    data, found = known_people(images=1)
    with pytest.raises(InputError, match=r"no mated comparisons|nobody with more than 1"):
        run(data, found, system())


def test_one_person_alone_gives_nothing_non_mated():
    data, found = known_people(people=1)
    with pytest.raises(InputError, match="no non-mated comparisons to measure on: the data hold"):
        run_people(data, found, system())


def test_images_that_all_failed_are_told():
    data, found = known_people(people=3)
    empty = Embeddings(found.rows * 0, ~found.found, None, ())
    with pytest.raises(InputError, match="no mated comparisons to measure on: all 18 failed"):
        run_people(data, empty, system())


def test_every_document_is_json():
    data, found = known_people(failed=(1,))
    outcomes = [
        run_people(data, found, system()),
        run_pairs(pairs_of(data), found, system("lfw")),
        run_identification(data, found, system("identify")),
    ]
    for each in outcomes:
        text = json.dumps(each.result.document(), allow_nan=False)
        assert json.loads(text)["failures"]["rate"] == 1 / 120
