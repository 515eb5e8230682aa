"""The network that a run starts with: new, or with the weights of another."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Final

from facekeep._internal.files import printable
from facekeep.errors import InputError, ModelError, ModelNotFound
from facekeep.lab.nn import (
    MODELS,
    EdgeFace,
    create_model,
    load_checkpoint,
    network_of,
    read_network,
    read_state,
)
from facekeep.lab.nn.shapes import full_rank
from facekeep.lab.train.recipe import Recipe
from facekeep.models import ModelEntry, checkpoint_path, entry, list_models
from facekeep.models.resolve import pull_hint

__all__ = ["find_origin", "make_starting_model"]

_ARCH: Final = "edgeface-xxs"
_SIZE: Final = 112
_ONNX: Final = ".onnx"


def make_starting_model(recipe: Recipe) -> EdgeFace:
    """Make the network of a recipe, with the weights that ``from`` names.

    ``from`` is a ``.pt`` file, an ONNX file that facekeep wrote, a model of the catalog, or an
    architecture, which means its published weights where they are on this machine. With a gamma of
    0 the low-rank layers of these become full ones that compute the same.

    Raises:
        InputError: There is no such network, or the recipe says otherwise than the weights.
        ModelNotFound: The weights are not on this machine.
        ModelError: They are of another network, or of one that can only be run.
    """
    if recipe.gamma == 0:
        return full_rank(make_starting_model(dataclasses.replace(recipe, gamma=None)))
    if recipe.from_ is None:
        return create_model(
            recipe.arch or _ARCH,
            gamma=recipe.gamma,
            input_size=recipe.input_size or _SIZE,
            layer_scale=recipe.layer_scale,
        )
    if _is_file(recipe.from_):
        file = Path(recipe.from_)
        if file.suffix.lower() == _ONNX:
            return _fitting(read_network(file, input_size=recipe.input_size), recipe)
        return _loaded(file, recipe, *_form(file, recipe))
    known = _entry(recipe)
    path = checkpoint_path(known)
    if path is None or path.suffix == _ONNX:
        return _fitting(read_network(known, input_size=recipe.input_size), recipe)
    _check_form(recipe, known.architecture, known.gamma, known.name)
    return _loaded(path, recipe, known.architecture, known.gamma, known.input_size)


def find_origin(recipe: Recipe) -> ModelEntry | None:
    """Look up the model of the catalog that a recipe begins with; None where there is none."""
    return None if recipe.from_ is None or _is_file(recipe.from_) else _entry(recipe)


def _fitting(model: EdgeFace, recipe: Recipe) -> EdgeFace:
    _check_form(recipe, model.arch, model.gamma, recipe.from_ or "")
    return model


def _check_form(recipe: Recipe, arch: str, gamma: float | None, name: str) -> None:
    """Refuse a recipe that asks for another network than it begins with."""
    for what, wanted, found in (("arch", recipe.arch, arch), ("gamma", recipe.gamma, gamma)):
        if wanted not in (None, found):
            shown = printable(name)
            raise InputError(f"{what} {wanted} does not fit {shown}, which has {found}")


def _is_file(name: str) -> bool:
    return "/" in name or name.endswith((".pt", ".pth", _ONNX)) or Path(name).is_file()


def _form(path: Path, recipe: Recipe) -> tuple[str, float | None]:
    """Return the architecture and gamma of a file: those asked for, else what it looks like."""
    if recipe.arch is not None:
        return recipe.arch, recipe.gamma
    try:
        found = network_of(read_state(path))
    except ModelError:
        return _ARCH, recipe.gamma  # loading it tells what is wrong with it
    return found.arch, found.gamma if recipe.gamma is None else recipe.gamma


def _loaded(
    path: Path, recipe: Recipe, arch: str, gamma: float | None, size: int | None = None
) -> EdgeFace:
    side = recipe.input_size or size or _SIZE
    return load_checkpoint(path, arch, gamma=gamma, input_size=side)


def _entry(recipe: Recipe) -> ModelEntry:
    """Look ``from`` up: a model's name, or an architecture's."""
    name = recipe.from_ or ""
    if name not in MODELS or any(each.name == name and not each.offered for each in list_models()):
        return entry(name)
    family = [each for each in list_models() if each.architecture == name]
    fitting = [each for each in family if recipe.gamma in (None, each.gamma)]
    for each in fitting:
        try:
            checkpoint_path(each)
        except ModelError:
            continue
        return each
    what = f"no weights of {name} are on this machine"
    if fitting:
        names = " or ".join(each.name for each in fitting)
        raise ModelNotFound(f"{what}; pull {names}", pull_hint(fitting[0]))
    raise ModelNotFound(f"{what}; give a file")
