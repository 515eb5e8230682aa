"""Defaults that depend on the data, and the learning rate of every step."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facekeep.errors import InputError
from facekeep.lab.train.recipe import Recipe, read_recipe_file, recipe_toml
from facekeep.lab.train.schedule import (
    LearningRate,
    count_holdout,
    count_workers,
    fill_defaults,
    make_schedule,
)


def recipe(**values) -> Recipe:
    return Recipe(data=Path("/faces"), **values)


def test_the_rate_rises_in_a_line_and_falls_by_the_power():
    schedule = LearningRate(peak=1.0, warmup=4, total=12, power=2.0)
    assert [schedule(step) for step in range(4)] == [0.25, 0.5, 0.75, 1.0]
    assert schedule(4) == 1.0
    assert schedule(8) == pytest.approx(0.25)
    assert schedule(11) == pytest.approx((1 / 8) ** 2)


def test_without_a_power_the_rate_stays():
    schedule = LearningRate(peak=0.1, warmup=0, total=5, power=0.0)
    assert [schedule(step) for step in range(5)] == [0.1] * 5


@given(st.integers(0, 50), st.integers(1, 200), st.floats(0, 5))
def test_every_step_learns_and_none_more_than_the_peak(warmup: int, more: int, power: float):
    schedule = LearningRate(peak=0.01, warmup=warmup, total=warmup + more, power=power)
    rates = [schedule(step) for step in range(warmup + more)]
    assert all(0 < rate <= 0.01 for rate in rates)
    assert rates[:warmup] == sorted(rates[:warmup])
    assert rates[warmup:] == sorted(rates[warmup:], reverse=True)
    assert 0.01 in rates


@pytest.mark.parametrize(
    ("wanted", "people", "kept_out"),
    [(None, 39, 0), (None, 40, 4), (None, 90_000, 500), (0, 90, 0), (7, 9, 7)],
)
def test_people_kept_out(wanted: int | None, people: int, kept_out: int):
    assert count_holdout(recipe(holdout=wanted), people) == kept_out


@pytest.mark.parametrize(
    ("wanted", "message"),
    [(1, "can be compared with nobody"), (4, "leaves fewer than 2"), (5, "leaves fewer")],
)
def test_a_hold_out_that_cannot_be(wanted: int, message: str):
    with pytest.raises(InputError, match=message):
        count_holdout(recipe(holdout=wanted), 5)


def test_a_run_from_scratch_is_longer_and_bolder_than_a_fine_tuning():
    scratch, fine = make_schedule(recipe(), 7), make_schedule(recipe(from_="edgeface-xs"), 7)
    assert (scratch.steps, fine.steps) == (280, 70)
    assert scratch.rate.peak > fine.rate.peak
    assert (scratch.rate.warmup, scratch.eval_every, scratch.checkpoint_every) == (14, 14, 14)


def test_steps_and_periods_as_asked():
    plan = make_schedule(recipe(steps=9, warmup=2, lr=0.5, eval_every=4, checkpoint_every=3), 7)
    assert plan.rate == LearningRate(0.5, 2, 9, 2.0)
    assert (plan.steps, plan.eval_every, plan.checkpoint_every) == (9, 4, 3)


def test_the_shortest_run_has_a_plan():
    plan = make_schedule(recipe(steps=1), 1)
    assert plan.rate(0) == plan.rate.peak
    assert plan.eval_every == plan.checkpoint_every == 1


def test_a_warm_up_that_never_ends_is_refused():
    with pytest.raises(InputError, match="a warmup of 9 is not shorter than the run, 9 steps"):
        make_schedule(recipe(steps=9, warmup=9), 3)


@pytest.mark.parametrize("values", [{}, {"steps": 33}, {"epochs": 2, "from_": "edgeface-xs"}])
def test_a_settled_recipe_gives_the_same_plan_however_it_is_read(tmp_path: Path, values):
    begun = recipe(**values)
    plan = make_schedule(begun, 7)
    settled = fill_defaults(begun, plan, 5)
    file = tmp_path / "recipe.toml"
    file.write_text(recipe_toml(settled))
    read = Recipe(**read_recipe_file(file))
    assert read == settled
    assert make_schedule(read, 7) == plan
    assert count_holdout(read, 50) == 5


def test_workers_are_as_asked_or_leave_a_core(monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(6)), raising=False)
    assert count_workers(recipe(workers=3), 1) == 3
    assert count_workers(recipe(), 1) == 5
    assert count_workers(recipe(), 2) == 2
    assert count_workers(recipe(), 6) == 0
