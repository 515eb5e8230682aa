from __future__ import annotations

from pathlib import Path

import pytest

from facekeep.lab.compress.options import Prune, Quantize, read_chain_recipe


@pytest.mark.parametrize("key", ["fine_tune", "heal"])  # heal: its name in older recipes
def test_recipes_fine_tune_what_they_quantize(tmp_path: Path, key: str) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(f'model = "a"\nout = "b"\n[[step]]\ndo = "quantize"\n{key} = 500\n')
    assert read_chain_recipe(recipe).steps == (Quantize(fine_tune=500),)


def test_a_key_that_takes_a_list_takes_one_text(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(
        'model = "a"\nout = "b"\ndata = "faces"\ncompare = "c"\n'
        '[[step]]\ndo = "prune"\nmacs = 0.5\nkinds = "rank"\n'
    )
    read = read_chain_recipe(recipe)
    assert read.steps == (Prune(macs=0.5, kinds=("rank",)),)
    assert (read.compare, read.data) == (("c",), tmp_path / "faces")
