"""Every network of facekeep's own has a card that says what its users must know."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from facekeep.models import ModelEntry, list_models
from facekeep.models.model_entry import BundledSource

ROOT = Path(__file__).resolve().parents[2]
CARDS = ROOT / "docs" / "models"
OWN = [
    model
    for model in list_models()
    if any(isinstance(source, BundledSource) for source in model.files[0].sources)
    and model.files[0].origin is None
]
FACTS = ["what", "parameters", "input", "output", "license of the weights", "trained on", "file"]
PARTS = ["## How it was trained", "## Results", "## Where it is weak"]


@pytest.mark.parametrize("model", list_models(), ids=lambda model: model.name)
def test_a_model_that_needs_no_offer_has_a_card(model: ModelEntry) -> None:
    card = CARDS / f"{model.name}.md"
    if not model.offered:
        assert card.read_text("utf-8").startswith(f"# {model.name}\n")


@pytest.mark.parametrize("model", OWN, ids=lambda model: model.name)
def test_a_card_states_terms_recipe_results_and_weak_spots(model: ModelEntry) -> None:
    text = (CARDS / f"{model.name}.md").read_text("utf-8")
    rows = re.findall(r"^\| ([a-z ]+) \|", text, re.MULTILINE)
    assert [fact for fact in FACTS if fact not in rows] == []
    assert [line for line in text.splitlines() if line in PARTS] == PARTS
    assert f"{model.params:,}" in text
    assert f"models/weights/{model.files[0].name}" in text


@pytest.mark.parametrize("model", OWN, ids=lambda model: model.name)
def test_a_card_names_the_commands_of_the_recipe(model: ModelEntry) -> None:
    recipe = tomllib.loads((ROOT / "recipes" / f"{model.name}.toml").read_text("utf-8"))
    text = (CARDS / f"{model.name}.md").read_text("utf-8")
    commands = [line.split() for line in text.replace("\\\n", " ").splitlines()]
    for command in recipe["commands"]:
        own = {word for word in command if "{" not in word}
        assert any(own <= set(words) for words in commands if words[:1] == ["facekeep"])
    assert "make weights" in text


def test_no_card_is_of_a_model_that_is_gone() -> None:
    names = {model.name for model in list_models()}
    assert {path.stem for path in CARDS.glob("*.md")} <= names
