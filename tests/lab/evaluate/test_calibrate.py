"""Thresholds from labeled images: rounded to the safe side, and not set by wrong labels."""

from __future__ import annotations

import numpy as np
import pytest
from evaluation_kit import known_people, system

from facekeep.errors import InputError
from facekeep.lab.evaluate.calibrate import calibrate
from facekeep.lab.evaluate.protocols import run_calibration


def test_each_threshold_keeps_its_rate_and_the_next_lower_does_not():
    data, found = known_people(people=70)
    made = calibrate(data, found, same_person=2)
    scores = found.rows @ found.rows.T
    others = scores[np.triu(data.person[:, None] != data.person)]
    assert [rate for rate, _ in made.thresholds] == [1e-2, 1e-3, 1e-4]
    assert made.unsupported == (1e-5, 1e-6)
    for rate, cosine in made.thresholds:
        assert cosine == round(cosine, 4)
        assert (others >= cosine).mean() <= rate < (others >= cosine - 2e-4).mean() + 1e-4
    cosines = [cosine for _, cosine in made.thresholds]
    assert cosines == sorted(cosines)


def with_a_double():
    """The last person's images are another photo each of the first person's."""
    data, found = known_people(people=70)
    found.rows[-4:] = found.rows[:4]
    return data, found


@pytest.mark.slow
def test_two_names_of_one_person_are_not_compared():
    data, found = with_a_double()
    made = calibrate(data, found)
    assert [len(part) for part in made.left_out] == [1, 1, 1]
    names = {int(data.person[made.left_out.first[0]]), int(data.person[made.left_out.second[0]])}
    assert names == {0, 69}
    assert made.left_out.scores[0] == pytest.approx(1)
    assert made.pairs.scores.non_mated == 280 * 279 // 2 - 70 * 6 - 16
    misled = calibrate(data, found, same_person=2)
    assert len(misled.left_out.scores) == 0
    assert dict(misled.thresholds)[1e-4] > dict(made.thresholds)[1e-4] + 0.1


def test_a_model_that_cannot_tell_people_apart_is_not_flattered():
    data, found = known_people(people=70, noise=8)
    made = calibrate(data, found)
    assert made.suspects > 1
    assert (made.same_person, len(made.left_out.scores)) == (None, 0)
    assert made.pairs.scores.non_mated == 280 * 279 // 2 - 70 * 6


def test_too_few_comparisons_are_told():
    data, found = known_people(people=3, images=2)
    with pytest.raises(InputError, match=r"12 comparisons of different people .* needs 300"):
        calibrate(data, found)


@pytest.mark.slow
def test_the_outcome_tells_what_was_left_out():
    data, found = with_a_double()
    result = run_calibration(data, found, system("calibrate")).result
    calibration = result.document()["calibration"]
    assert {calibration["left_out"][0]["a"], calibration["left_out"][0]["b"]} == {
        "person00",
        "person69",
    }
    assert calibration["unsupported"] == ["1e-5", "1e-6"]
    assert 0 < calibration["same_person"] < 1
    assert [point.fmr for point in result.tar] == [1e-2, 1e-3, 1e-4]
