"""The recipe of a training run: one table of options, as users give them and as runs write them.

The fields of `Recipe` say everything there is to say about an option. The command line's options,
the keys of ``recipe.toml`` and the checks of both are derived from them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from facekeep._internal.tables import shorten
from facekeep.config.fields import about, list_fields, read_document
from facekeep.errors import ConfigError

__all__ = ["OPTIONS", "Recipe", "given_values", "make_recipe", "read_recipe_file", "recipe_toml"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Everything that decides what a run learns; attributes are documented in `OPTIONS`.

    None stands for a default that depends on the data or on other options; see
    `schedule.fill_defaults`.
    """

    data: Annotated[
        Path,
        about(
            "Training faces, aligned: a folder per person, RecordIO or WebDataset tars.",
            metavar="DIR",
        ),
    ]
    labels: Annotated[
        Path | None,
        about(
            "A table with the columns key and identity, if the data do not name the people.",
            metavar="FILE",
            default="as the data says",
            expects="a path of a file",
        ),
    ] = None
    max_corrupt: Annotated[
        float,
        about(
            "Share of the pictures that may be damaged; if more are, the run ends.", ge=0.0, le=1.0
        ),
    ] = 0.01
    arch: Annotated[
        str | None,
        about(
            "Network: edgeface-base, -s, -xs or -xxs.",
            metavar="ARCH",
            default="that of --from, else edgeface-xxs",
            expects="the name of an architecture",
        ),
    ] = None
    gamma: Annotated[
        float | None,
        about(
            "Rank of the low-rank layers as a share of their width; 0: full rank, even if --from"
            " has low-rank layers.",
            default="that of --from, else full rank",
            ge=0.0,
            le=1.0,
        ),
    ] = None
    input_size: Annotated[
        int | None,
        about(
            "Side of the faces in pixels: 112, 96, 80 or 64.",
            default="that of --from, else 112",
            ge=32,
            le=512,
        ),
    ] = None
    from_: Annotated[
        str | None,
        about(
            "Start from these weights: a model's name, an architecture's, or a .pt or .onnx file.",
            metavar="NAME|FILE",
            default="from scratch",
            expects="a model's name or a file",
        ),
    ] = None
    head: Annotated[
        Literal["softmax", "cosface", "arcface", "none"],
        about(
            "Loss by identity: softmax, cosface, arcface, or none to learn only from a teacher.",
            metavar="HEAD",
        ),
    ] = "cosface"
    margin: Annotated[
        float | None,
        about("Margin of the head.", default="0.4 cosface, 0.5 arcface", ge=0.0, le=2.0),
    ] = None
    scale: Annotated[float, about("Scale of the cosines in the head.", ge=1.0, le=1024.0)] = 64.0
    sample_rate: Annotated[
        float,
        about(
            "Share of the people that a step compares with; below 1: PartialFC.", ge=0.0001, le=1.0
        ),
    ] = 1.0
    teacher: Annotated[
        tuple[str, ...],
        about(
            "Learn from this model's embeddings too: its name, or an ONNX or .pt file; repeatable.",
            metavar="NAME|FILE",
            expects="a list, each a model's name or a file",
        ),
    ] = ()
    teacher_sees: Annotated[
        Literal["changed", "full", "plain"],
        about(
            "What teachers embed: changed: each augmented crop, in the training size; full: the"
            " same in full size; plain: every face once, unchanged, which is much faster on a CPU.",
            metavar="WHICH",
        ),
    ] = "changed"
    teacher_weight: Annotated[
        float, about("Weight of the teachers' loss; the head's is 1.", ge=0.0, le=1000000.0)
    ] = 1.0
    augment: Annotated[
        Literal["published", "strong", "none"],
        about(
            "Random changes of faces: published (as EdgeFace, and slight rotations and shifts),"
            " strong (more of all, and light, JPEG and patches), or none.",
            metavar="HOW",
        ),
    ] = "published"
    epochs: Annotated[
        int | None,
        about("Number of passes over the faces.", default="40, with --from 10", ge=1, le=100000),
    ] = None
    steps: Annotated[
        int | None,
        about(
            "Length of the run in steps, instead of --epochs.",
            default="by --epochs",
            ge=1,
            le=1000000000,
        ),
    ] = None
    batch: Annotated[
        int, about("Faces in a step, in all processes together.", ge=2, le=1000000)
    ] = 128
    optimizer: Annotated[
        Literal["adamw", "muon"],
        about(
            "Optimizer: adamw; or muon for the matrices in the network and adamw for the rest,"
            " which learns more from each face.",
            metavar="NAME",
        ),
    ] = "adamw"
    lr: Annotated[
        float | None,
        about("Highest learning rate.", default="5e-4, with --from 2e-5", ge=1e-09, le=10.0),
    ] = None
    weight_decay: Annotated[
        float, about("Weight decay of matrices and kernels.", ge=0.0, le=10.0)
    ] = 0.05
    warmup: Annotated[
        int | None,
        about(
            "Steps in which the learning rate rises.",
            default="a twentieth of the run",
            ge=0,
            le=1000000000,
        ),
    ] = None
    power: Annotated[
        float, about("Power of the learning rate's polynomial decay.", ge=0.0, le=20.0)
    ] = 2.0
    clip: Annotated[
        float, about("Maximum norm of the gradient; 0: no limit.", ge=0.0, le=1000000.0)
    ] = 5.0
    ema: Annotated[
        float,
        about(
            "Decay of the averaged weights, which are the result; 0: no average.",
            ge=0.0,
            le=0.999999,
        ),
    ] = 0.999
    layer_scale: Annotated[
        float, about("Initial layer scale when training from scratch.", ge=1e-09, le=10.0)
    ] = 1.0
    precision: Annotated[
        Literal["auto", "fp32", "bf16", "fp16"],
        about("Arithmetic: auto (bf16 on a GPU that has it), fp32, bf16 or fp16.", metavar="KIND"),
    ] = "auto"
    rounding: Annotated[
        Path | None,
        about(
            "Train with numbers rounded to 8 bits as this file says; facekeep compress"
            " quantize --fine-tune writes it. Needs fp32.",
            metavar="FILE",
            default="none are rounded",
            expects="a path of a file",
        ),
    ] = None
    device: Annotated[
        Literal["auto", "cpu", "cuda"],
        about("Where to train: auto (a GPU where there is one), cpu or cuda.", metavar="DEVICE"),
    ] = "auto"
    workers: Annotated[
        int | None,
        about(
            "Processes that read pictures, for each training process.",
            default="the cores less one, 8 at most",
            ge=0,
            le=1024,
        ),
    ] = None
    seed: Annotated[int, about("Start of all random numbers.", ge=0, le=2**31 - 1)] = 0
    holdout: Annotated[
        int | None,
        about(
            "People kept out of training to measure with; 0: none.",
            default="a tenth, 500 at most; none of fewer than 40 people",
            ge=0,
            le=1000000,
        ),
    ] = None
    eval_every: Annotated[
        int | None,
        about(
            "Steps between measurements on the people kept out.",
            default="a twentieth of the run",
            ge=1,
            le=1000000000,
        ),
    ] = None
    checkpoint_every: Annotated[
        int | None,
        about("Steps between checkpoints.", default="a twentieth of the run", ge=1, le=1000000000),
    ] = None


OPTIONS: Final = list_fields(Recipe)
"""The table of options, by their key in ``recipe.toml``."""


def given_values(flags: Mapping[str, object], file: Path | None = None) -> dict[str, Any]:
    """Merge flags over a recipe file.

    Args:
        flags: Values by key; text is parsed, None and an empty tuple mean "not given".
        file: A ``recipe.toml``, or None.

    Returns:
        The values that were given, by field of `Recipe`; what is not among them is a default.

    Raises:
        ConfigError: A value is of the wrong form or out of range, a key of the file is unknown, or
            both ``epochs`` and ``steps`` are given.
    """
    values = read_recipe_file(file) if file else {}
    given = {name: value for name, value in flags.items() if value not in (None, ())}
    if {"epochs", "steps"} <= given.keys():
        raise ConfigError("epochs and steps both say how long to train; give one of them")
    for one, other in (("epochs", "steps"), ("steps", "epochs")):
        if one in given:
            values.pop(other, None)
    read = {OPTIONS[name].attribute: _read(name, given[name]) for name in given}
    return {name: _located(value) for name, value in (values | read).items()}


def make_recipe(values: Mapping[str, Any]) -> Recipe:
    """Make a recipe of given values and defaults.

    Raises:
        ConfigError: ``data`` is missing.
    """
    if "data" not in values:
        raise ConfigError("there is nothing to train on; name the data", "data")
    return Recipe(**values)


def read_recipe_file(file: Path) -> dict[str, Any]:
    """Read a recipe file as values by field; relative paths in it are relative to its folder.

    Raises:
        ConfigError: It cannot be read, is not TOML, or holds unknown keys or bad values.
    """
    values = {}
    for name, value in read_document(file, "a recipe").items():
        if name not in OPTIONS:
            raise ConfigError(f"{file}: unknown key {name!r}; known: {', '.join(OPTIONS)}")
        option = OPTIONS[name]
        shown = f"{file}: {name} = {shorten(value, quote=True)}"
        values[option.attribute] = option.check(value, shown, file.parent)
    if {"epochs", "steps"} <= values.keys():
        raise ConfigError(f"{file}: epochs and steps both say how long to train; keep one of them")
    return values


def recipe_toml(recipe: Recipe) -> str:
    """Write a recipe as the TOML that `read_recipe_file` reads; what is None is left out."""
    lines = ["# The recipe of a run: facekeep train --recipe THIS-FILE --out RUN"]
    for name, option in OPTIONS.items():
        value = getattr(recipe, option.attribute)
        if value is not None:
            lines.append(f"{name} = {_toml(value)}")
    return "\n".join(lines) + "\n"


def _read(name: str, given: object) -> Any:
    option = OPTIONS[name]
    return option.parse(given, f"{option.option} {shorten(given)}")


def _located(value: Any) -> Any:
    """Make a path absolute, and a name that may be one too where there is such a file."""
    if isinstance(value, tuple):
        return tuple(map(_located, value))
    if isinstance(value, Path) or (isinstance(value, str) and Path(value).is_file()):
        return type(value)(Path(value).absolute())
    return value


def _toml(value: object) -> str:
    if isinstance(value, tuple):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, str | Path):
        return json.dumps(str(value), ensure_ascii=False)
    return repr(value)
