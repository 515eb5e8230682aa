"""Every bundled network has a card that says what its users must know."""

from __future__ import annotations

from pathlib import Path

import pytest

from facekeep.models import ModelEntry, list_models
from facekeep.models.schema import BundledSource

ROOT = Path(__file__).resolve().parents[2]
CARDS = ROOT / "docs" / "models"
BUNDLED = [
    model
    for model in list_models()
    if any(isinstance(source, BundledSource) for source in model.files[0].sources)
]
PARTS = ["## Data and terms", "## Recipe", "## Results", "## Weak spots"]


@pytest.mark.parametrize("model", list_models(), ids=lambda model: model.name)
def test_a_model_that_needs_no_offer_has_a_card(model: ModelEntry) -> None:
    card = CARDS / f"{model.name}.md"
    if not model.offered:
        assert card.read_text("utf-8").startswith(f"# {model.name}\n")


@pytest.mark.parametrize("model", BUNDLED, ids=lambda model: model.name)
def test_a_card_states_terms_recipe_results_and_weak_spots(model: ModelEntry) -> None:
    text = (CARDS / f"{model.name}.md").read_text("utf-8")
    assert [line for line in text.splitlines() if line in PARTS] == PARTS
    assert f"recipes/{model.name}.toml" in text
    assert model.weights_licence in text
    assert f"{model.params:,}" in text


def test_no_card_is_of_a_model_that_is_gone() -> None:
    names = {model.name for model in list_models()}
    assert {path.stem for path in CARDS.glob("*.md")} <= names
