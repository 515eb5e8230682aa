"""What decides what a refiner learns, and the file that a run keeps it in."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from facekeep._files import open_regular, why
from facekeep.errors import ConfigError, InputError

__all__ = ["RECIPE", "RefinerRecipe", "read_recipe", "recipe_json"]

RECIPE: Final = "recipe.json"

_RANGES: Final[dict[str, tuple[float, float]]] = {
    "steps": (1, 100_000_000),
    "batch": (2, 65536),
    "lr": (1e-9, 1.0),
    "lift": (-0.5, 0.5),
    "holdout": (1, 1_000_000),
    "seed": (0, 2**31 - 1),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RefinerRecipe:
    """How a refiner is trained.

    Attributes:
        data: Annotated photos; see ``evaluate.readers.annotated.open_annotated``.
        steps: Length of the run.
        batch: Crops in a step.
        lr: Highest learning rate of AdamW.
        lift: How much higher than annotated the landmarks are taught, in distances of the eyes.
            Annotators put them lower than the detectors whose landmarks embedders were aligned by.
        holdout: People of ``data`` kept out to measure with.
        seed: Start of all random numbers, and who is kept out.
    """

    data: Path
    steps: int = 6000
    batch: int = 64
    lr: float = 3e-3
    lift: float = 0.03
    holdout: int = 70
    seed: int = 0

    def __post_init__(self) -> None:
        for name, (low, high) in _RANGES.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise InputError(f"{name} must be from {low:g} to {high:g}, not {value!r}")


def recipe_json(recipe: RefinerRecipe) -> bytes:
    """Write a recipe as JSON, its path absolute."""
    values = dataclasses.asdict(recipe) | {"data": str(recipe.data.absolute())}
    return (json.dumps(values, indent=2, ensure_ascii=False) + "\n").encode()


def read_recipe(folder: Path) -> RefinerRecipe:
    """Read the recipe of a run that is to go on.

    Raises:
        InputError: There is no run in the folder.
        ConfigError: The recipe is damaged.
    """
    file = folder / RECIPE
    if not file.is_file():
        raise InputError(f"there is no run in {folder} to go on with; begin one without --resume")
    try:
        with open_regular(file) as stream:
            values: dict[str, Any] = json.loads(stream.read())
        return RefinerRecipe(**values | {"data": Path(values["data"])})
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {why(error)}") from error
    except (KeyError, TypeError, ValueError, InputError) as error:
        raise ConfigError(f"{file}: is no recipe of a refiner; train anew") from error
