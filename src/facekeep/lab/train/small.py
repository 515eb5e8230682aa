"""What the runs of small networks share: their recipe, and the file that keeps it."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final, TypeVar, get_type_hints

from facekeep._internal.files import open_regular, why
from facekeep.errors import ConfigError, InputError

__all__ = ["RECIPE", "SmallRecipe", "read_recipe", "recipe_json"]

RECIPE: Final = "recipe.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class SmallRecipe:
    """How a small network is trained; each kind of network adds what else decides it.

    Attributes:
        network: What is trained, in a word.
        ranges: The least and the greatest value of each number.
        data: Annotated photos; see ``lab.datasets.annotated.open_annotated``.
        steps: Length of the run.
        batch: Images in a step.
        lr: Highest learning rate of AdamW.
        holdout: People of ``data`` kept out to measure with.
        seed: Start of all random numbers, and who is kept out.

    Raises:
        InputError: A number is out of its range.
    """

    network: ClassVar[str]
    ranges: ClassVar[dict[str, tuple[float, float]]]

    data: Path
    steps: int
    batch: int
    lr: float
    holdout: int = 70
    seed: int = 0

    def __post_init__(self) -> None:
        for name, (low, high) in self.ranges.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise InputError(f"{name} must be from {low:g} to {high:g}, not {value!r}")


Kind = TypeVar("Kind", bound=SmallRecipe)


def recipe_json(recipe: SmallRecipe) -> bytes:
    """Write a recipe as JSON, its paths absolute."""
    values = {
        name: str(value.absolute()) if isinstance(value, Path) else value
        for name, value in dataclasses.asdict(recipe).items()
    }
    return (json.dumps(values, indent=2) + "\n").encode()  # in ASCII, for paths that are no UTF-8


def read_recipe(kind: type[Kind], folder: Path) -> Kind:
    """Read the recipe of a run that is to go on.

    Raises:
        InputError: There is no run in the folder.
        ConfigError: The recipe is damaged.
    """
    file = folder / RECIPE
    if not file.is_file():
        raise InputError(f"there is no run in {folder} to go on with; begin a new one")
    try:
        with open_regular(file) as stream:
            return kind(**_with_paths(kind, json.loads(stream.read())))
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {why(error)}") from error
    except (TypeError, ValueError, InputError) as error:
        raise ConfigError(f"{file}: is no recipe of a {kind.network}; train anew") from error


def _with_paths(kind: type[SmallRecipe], content: Any) -> dict[str, Any]:
    hints = get_type_hints(kind)
    paths = {name for name, hint in hints.items() if hint in (Path, Path | None)}
    return {
        name: Path(value) if name in paths and (value is not None or hints[name] is Path) else value
        for name, value in dict(content).items()
    }
