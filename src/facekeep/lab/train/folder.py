"""The folder of a run: begun once, never overwritten, gone on with on request."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from facekeep.errors import InputError
from facekeep.lab.train.config import OPTIONS, Recipe
from facekeep.lab.train.recipe import read_recipe, recipe_toml
from facekeep.models.files import cannot_write, keep

__all__ = ["KEPT_OUT", "RECIPE", "begin", "make", "require_new", "require_run", "resumed_recipe"]

RECIPE: Final = "recipe.toml"
KEPT_OUT: Final = "holdout.tsv"

_FREE: Final = ("data", "labels", "workers")
"""What may differ when a run goes on: where the same faces lie, and who reads them."""


def require_new(folder: Path) -> None:
    """Make sure, before anything else is done, that a run can begin here.

    Raises:
        InputError: Something is there already.
    """
    if folder.is_symlink() or folder.exists():
        raise InputError(
            f"{folder} exists already and is not overwritten;"
            " name another folder, or resume the run in it",
            "out resume",
        )


def require_run(recipe: Path) -> Path:
    """Return the file that a run's recipe is in.

    Raises:
        InputError: There is no run.
    """
    if not recipe.is_file():
        raise InputError(f"there is no run in {recipe.parent} to go on with; begin a new one")
    return recipe


def begin(folder: Path, recipe: Recipe) -> None:
    """Make the folder of a run, with its recipe.

    Raises:
        InputError: A path in the recipe is not UTF-8, which a recipe must be.
        ModelError: The folder cannot be made, or the recipe not be written.
        StorageFull: There is no room.
    """
    try:
        content = recipe_toml(recipe).encode()
    except UnicodeEncodeError as error:
        raise InputError(
            "a path of the data or an option is not UTF-8, so no recipe can hold it; rename it"
        ) from error
    make(folder)
    keep(folder / RECIPE, content)


def make(folder: Path) -> None:
    """Make the folder of a run.

    Raises:
        InputError: It was made meanwhile.
        ModelError: It cannot be made.
        StorageFull: There is no room.
    """
    try:
        folder.mkdir(parents=True)
    except FileExistsError:
        require_new(folder)
    except OSError as error:
        raise cannot_write(folder, error) from error


def resumed_recipe(folder: Path, given: Mapping[str, Any]) -> Recipe:
    """Read the recipe of a run that is to go on.

    Args:
        folder: Of the run.
        given: Values by field that the user gave again; they must be the run's own, but for where
            the data are and how many workers read them.

    Raises:
        InputError: There is no run in the folder, or the user asks for another recipe.
        ConfigError: The recipe in the folder is damaged.
    """
    values = read_recipe(require_run(folder / RECIPE))
    for option in OPTIONS.values():
        if option.attribute not in given or option.name in _FREE:
            continue
        wanted, begun = given[option.attribute], values.get(option.attribute, option.default)
        if wanted != begun:
            shown = f"without {option.option}" if begun is None else f"with {begun}"
            raise InputError(
                f"{option.option} {wanted}: this run began {shown}, and goes on so;"
                " leave the option out, or train anew into another folder"
            )
    return Recipe(**(values | {name: given[name] for name in _FREE if name in given}))
