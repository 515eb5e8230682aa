"""The recipe: read from flags and TOML, checked, written back."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facekeep.errors import ConfigError, InputError
from facekeep.lab.train.folder import begin
from facekeep.lab.train.recipe import (
    OPTIONS,
    Recipe,
    given_values,
    make_recipe,
    read_recipe_file,
    recipe_toml,
)

FULL = Recipe(
    data=Path("/faces"),
    labels=Path("/faces/labels.tsv"),
    arch="edgeface-xs",
    gamma=0.6,
    input_size=96,
    from_="edgeface-xs-gamma-06",
    head="arcface",
    margin=0.3,
    scale=32.0,
    sample_rate=0.5,
    teacher=("sface", "/models/big one.onnx"),
    epochs=3,
    lr=0.002,
    warmup=7,
    workers=2,
    holdout=10,
    eval_every=5,
    checkpoint_every=6,
)


@pytest.mark.parametrize("recipe", [Recipe(data=Path("/faces")), FULL])
def test_a_recipe_reads_back_as_it_was_written(tmp_path: Path, recipe: Recipe):
    file = tmp_path / "recipe.toml"
    file.write_text(recipe_toml(recipe))
    assert make_recipe(read_recipe_file(file)) == recipe


@pytest.mark.slow
@given(st.text(min_size=1).filter(str.isprintable).filter(lambda text: text.strip()))
def test_any_name_of_a_teacher_survives(tmp_path_factory, text: str):
    file = tmp_path_factory.mktemp("recipe") / "recipe.toml"
    recipe = Recipe(data=Path("/faces"), teacher=(text, text))
    file.write_text(recipe_toml(recipe), encoding="utf-8")
    assert make_recipe(read_recipe_file(file)) == recipe


def test_flags_win_over_the_file_and_the_file_over_defaults(tmp_path: Path):
    file = tmp_path / "recipe.toml"
    file.write_text('data = "people"\nlr = 0.5\nbatch = 16\nepochs = 4\n')
    recipe = make_recipe(given_values({"lr": "0.25", "steps": "9", "head": None}, file))
    assert recipe.data == tmp_path / "people", "relative to the file"
    assert (recipe.lr, recipe.batch, recipe.head) == (0.25, 16, "cosface")
    assert (recipe.steps, recipe.epochs) == (9, None), "steps replace the file's epochs"


def test_files_that_are_named_become_absolute_and_names_stay(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "start.pt").write_bytes(b"")
    values = given_values({"data": "people", "from": "start.pt", "teacher": ["sface", "start.pt"]})
    assert values["data"] == tmp_path / "people"
    assert values["from_"] == str(tmp_path / "start.pt")
    assert values["teacher"] == ("sface", str(tmp_path / "start.pt"))


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"lr": "fast"}, "--lr fast: expected a number from 1e-9 to 10"),
        ({"lr": "0"}, "--lr 0: expected"),
        ({"lr": "nan"}, "--lr nan: expected"),
        ({"batch": "1"}, "--batch 1: expected a whole number from 2"),
        ({"head": "triplet"}, "--head triplet: expected one of softmax, cosface, arcface"),
        ({"teacher": ["a\nb"]}, "--teacher .*: expected a list"),
        ({"epochs": "1", "steps": "1"}, "epochs and steps both say how long to train"),
    ],
)
def test_wrong_values_are_named_with_what_is_expected(flags: dict[str, object], message: str):
    with pytest.raises(ConfigError, match=f"^{message}") as caught:
        given_values({"data": "people", **flags})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("dta = 'x'", "unknown key 'dta'; known: data, labels"),
        ("lr = 'fast'", "lr = 'fast': expected a number"),
        ("batch = true", "batch = True: expected"),
        ("epochs = 1\nsteps = 1", "epochs and steps both say"),
        ("lr =", "is not valid TOML"),
    ],
)
def test_wrong_files_are_named(tmp_path: Path, text: str, message: str):
    file = tmp_path / "recipe.toml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=message) as caught:
        read_recipe_file(file)
    assert str(caught.value).startswith(f"{file}: ")


@pytest.mark.parametrize("content", [b"\xff\xfe", b"x = 1\n" * 300_000])
def test_files_that_are_no_recipes_are_refused(tmp_path: Path, content: bytes):
    file = tmp_path / "recipe.toml"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=str(file)):
        read_recipe_file(file)


def test_a_missing_file_is_told(tmp_path: Path):
    with pytest.raises(ConfigError, match="cannot be read: no such file"):
        read_recipe_file(tmp_path / "recipe.toml")


def test_without_data_there_is_nothing_to_train_on():
    with pytest.raises(ConfigError, match="name the data"):
        make_recipe({})


def test_the_table_names_every_field_and_accepts_its_default():
    assert [option.attribute for option in OPTIONS.values()] == [
        field.name for field in dataclasses.fields(Recipe)
    ]
    for option in OPTIONS.values():
        assert option.default is None or option.check(option.default, "") == option.default


def test_a_path_that_no_recipe_can_hold_is_refused_before_anything_is_made(tmp_path: Path):
    recipe = Recipe(data=tmp_path / os.fsdecode(b"caf\xe9"))
    with pytest.raises(InputError, match="is not UTF-8, so no recipe can hold it; rename it"):
        begin(tmp_path / "run", recipe)
    assert not (tmp_path / "run").exists()
