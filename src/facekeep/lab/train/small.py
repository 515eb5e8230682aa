"""What the runs of small networks share: their recipe, and the file that keeps it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, ClassVar, Final, TypeVar

from msgspec import Meta, Struct, structs

from facekeep._internal.files import open_regular, why
from facekeep._internal.tables import check_fields, convert_table
from facekeep.errors import ConfigError, FacekeepError
from facekeep.lab.train.folder import require_run

__all__ = [
    "RECIPE",
    "Batch",
    "Holdout",
    "Rate",
    "SmallRecipe",
    "Steps",
    "read_recipe",
    "recipe_json",
]

RECIPE: Final = "recipe.json"

Batch = Annotated[int, Meta(ge=2, le=65536)]
Holdout = Annotated[int, Meta(ge=1, le=1_000_000)]
Rate = Annotated[float, Meta(ge=1e-9, le=1.0)]
Steps = Annotated[int, Meta(ge=1, le=100_000_000)]


class SmallRecipe(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a small network is trained; each kind of network adds what else decides it.

    Attributes:
        network: What is trained, in a word.
        data: Annotated photos; see ``lab.datasets.annotated.open_annotated``.
        steps: Length of the run.
        batch: Images in a step.
        lr: Highest learning rate of AdamW.
        holdout: People of ``data`` kept out to measure with.
        seed: Start of all random numbers, and who is kept out.

    Raises:
        OptionError: A number is out of its range.
    """

    network: ClassVar[str]

    data: Path
    steps: Steps
    batch: Batch
    lr: Rate
    holdout: Holdout = 70
    seed: Annotated[int, Meta(ge=0, le=2**31 - 1)] = 0

    def __post_init__(self) -> None:
        check_fields(self)


Kind = TypeVar("Kind", bound=SmallRecipe)


def recipe_json(recipe: SmallRecipe) -> bytes:
    """Write a recipe as JSON, its paths absolute."""
    values = {
        name: str(value.absolute()) if isinstance(value, Path) else value
        for name, value in structs.asdict(recipe).items()
    }
    return (json.dumps(values, indent=2) + "\n").encode()  # in ASCII, for paths that are no UTF-8


def read_recipe(kind: type[Kind], folder: Path) -> Kind:
    """Read the recipe of a run that is to go on.

    Raises:
        InputError: There is no run in the folder.
        ConfigError: The recipe is damaged.
    """
    file = require_run(folder / RECIPE)
    try:
        with open_regular(file) as stream:
            content = stream.read()
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {why(error)}") from error
    try:
        return convert_table(json.loads(content), kind, str(file))
    except (ValueError, FacekeepError) as error:
        raise ConfigError(f"{file}: is no recipe of a {kind.network}; train anew") from error
