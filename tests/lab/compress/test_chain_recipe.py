from __future__ import annotations

from pathlib import Path

from facekeep.lab.compress.options import Quantize
from facekeep.lab.compress.recipe import read_chain_recipe


def test_recipes_heal_what_they_quantize(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text('model = "a"\nout = "b"\n[[step]]\ndo = "quantize"\nheal = 500\n')
    assert read_chain_recipe(recipe).steps == (Quantize(heal=500),)
