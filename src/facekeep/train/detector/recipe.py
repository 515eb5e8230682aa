"""What decides what a detector learns, and the file that a run keeps it in."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from facekeep._files import open_regular, why
from facekeep.errors import ConfigError, InputError

__all__ = ["RECIPE", "DetectorRecipe", "read_recipe", "recipe_json"]

RECIPE: Final = "recipe.json"

_RANGES: Final[dict[str, tuple[float, float]]] = {
    "steps": (1, 100_000_000),
    "batch": (1, 4096),
    "side": (64, 1024),
    "lr": (1e-9, 1.0),
    "holdout": (1, 1_000_000),
    "seed": (0, 2**31 - 1),
    "crops_used": (1, 10_000_000),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectorRecipe:
    """How a detector is trained.

    Attributes:
        data: Annotated photos; see ``evaluate.readers.annotated.open_annotated``.
        scenes: A tar of photos that nobody annotated: backgrounds, and faces for the teacher.
        crops: Aligned faces of many people, in which the teacher finds the face again.
        crops_used: How many of these, spread over all.
        teacher: The detector that labels what nobody annotated; a name of the catalogue.
        begin: Begin with the weights of this small YuNet, a name of the catalogue; None: with
            random ones.
        steps: Length of the run.
        batch: Canvases in a step.
        side: Of a canvas in pixels, a multiple of 32.
        lr: Highest learning rate of AdamW.
        holdout: People of ``data`` kept out to measure with.
        seed: Start of all random numbers, and who is kept out.
    """

    data: Path
    scenes: Path | None = None
    crops: Path | None = None
    crops_used: int = 4000
    teacher: str = "yunet"
    begin: str | None = None
    steps: int = 4000
    batch: int = 12
    side: int = 320
    lr: float = 1e-3
    holdout: int = 70
    seed: int = 0

    def __post_init__(self) -> None:
        for name, (low, high) in _RANGES.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise InputError(f"{name} must be from {low:g} to {high:g}, not {value!r}")
        if self.side % 32:
            raise InputError(f"side must be a multiple of 32, not {self.side}")


def recipe_json(recipe: DetectorRecipe) -> bytes:
    """Write a recipe as JSON, its paths absolute."""
    values = {
        name: str(value.absolute()) if isinstance(value, Path) else value
        for name, value in dataclasses.asdict(recipe).items()
    }
    return (json.dumps(values, indent=2, ensure_ascii=False) + "\n").encode()


def read_recipe(folder: Path) -> DetectorRecipe:
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
            return DetectorRecipe(**_with_paths(json.loads(stream.read())))
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {why(error)}") from error
    except (TypeError, ValueError, InputError) as error:
        raise ConfigError(f"{file}: is no recipe of a detector; train anew") from error


def _with_paths(content: Any) -> dict[str, Any]:
    paths = ("data", "scenes", "crops")
    return {
        name: Path(value) if name in paths and value is not None else value
        for name, value in dict(content).items()
    }
