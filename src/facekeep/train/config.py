"""The recipe of a training run: one table of options, read from flags and TOML, written back.

The fields of `Recipe` say everything there is to say about an option. The command line's options,
the keys of ``recipe.toml`` and the checks of both are derived from them.
"""

from __future__ import annotations

import dataclasses
import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from facekeep import _kinds as kinds
from facekeep._files import one_line, open_regular, why
from facekeep._kinds import Kind
from facekeep.errors import ConfigError

__all__ = [
    "OPTIONS",
    "Option",
    "Recipe",
    "given_values",
    "make_recipe",
    "read_recipe",
    "recipe_toml",
]

_FILE_LIMIT: Final = 1 << 20  # bytes


def _number(low: float, high: float) -> Kind:
    return dataclasses.replace(kinds.rate(low, high), metavar="X")


def _named(metavar: str, kind: Kind) -> Kind:
    return dataclasses.replace(kind, metavar=metavar)


def _texts(metavar: str, expects: str) -> Kind:
    """A list of printable texts; on the command line the option is repeated."""
    one = kinds.text(metavar, expects)

    def check(value: object) -> tuple[str, ...]:
        if not isinstance(value, list | tuple):
            raise ValueError
        return tuple(one.check(item) for item in value)

    return Kind(metavar, f"a list, each {expects}", lambda text: [text], check)


def _about(doc: str, kind: Kind, default_text: str = "") -> dict[str, Any]:
    """Describe an option; ``default_text`` says in words a default that depends on others."""
    return {"doc": doc, "kind": kind, "default_text": default_text}


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Everything that decides what a run learns; attributes are documented in `OPTIONS`.

    None stands for a default that depends on the data or on other options; see `plan.settle`.
    """

    data: Path = field(
        metadata=_about(
            "Training faces, aligned: a folder per person, RecordIO or WebDataset tars.",
            _named("DIR", kinds.path("a path")),
        )
    )
    labels: Path | None = field(
        default=None,
        metadata=_about(
            "Who is on each picture of --data, where the data does not say it itself.",
            _named("FILE", kinds.path("a path of a file")),
            "as the data says",
        ),
    )
    arch: str | None = field(
        default=None,
        metadata=_about(
            "Network: edgeface-base, -s, -xs or -xxs.",
            kinds.text("ARCH", "the name of an architecture"),
            "that of --from, else edgeface-xxs",
        ),
    )
    gamma: float | None = field(
        default=None,
        metadata=_about(
            "Rank of the low-rank layers as a share of their width.",
            _number(0.01, 1.0),
            "that of --from, else full rank",
        ),
    )
    input_size: int | None = field(
        default=None,
        metadata=_about(
            "Side of the faces in pixels: 112, 96, 80 or 64.",
            kinds.whole(32, 512),
            "that of --from, else 112",
        ),
    )
    from_: str | None = field(
        default=None,
        metadata=_about(
            "Start from these weights: a model's name, an architecture's, or a .pt file.",
            kinds.text("NAME|FILE", "a model's name or a file"),
            "from scratch",
        ),
    )
    head: str = field(
        default="cosface",
        metadata=_about(
            "Loss by identity: softmax, cosface, arcface, or none to learn from a teacher alone.",
            _named("HEAD", kinds.choice("softmax", "cosface", "arcface", "none")),
        ),
    )
    margin: float | None = field(
        default=None,
        metadata=_about("Margin of the head.", _number(0.0, 2.0), "0.4 cosface, 0.5 arcface"),
    )
    scale: float = field(
        default=64.0,
        metadata=_about("Scale of the cosines in the head.", _number(1.0, 1024.0)),
    )
    sample_rate: float = field(
        default=1.0,
        metadata=_about(
            "Share of the people that a step compares with; below 1: PartialFC.",
            _number(0.0001, 1.0),
        ),
    )
    teacher: tuple[str, ...] = field(
        default=(),
        metadata=_about(
            "Learn from this model's embeddings too: its name or ONNX file; may be repeated.",
            _texts("NAME|FILE", "a model's name or a file"),
        ),
    )
    teacher_weight: float = field(
        default=1.0,
        metadata=_about("Weight of the teachers' loss beside the head's.", _number(0.0, 1e6)),
    )
    epochs: int | None = field(
        default=None,
        metadata=_about(
            "How often each face is seen.", kinds.whole(1, 100_000), "40, with --from 10"
        ),
    )
    steps: int | None = field(
        default=None,
        metadata=_about(
            "Length of the run in steps, instead of --epochs.",
            kinds.whole(1, 1_000_000_000),
            "by --epochs",
        ),
    )
    batch: int = field(
        default=128,
        metadata=_about(
            "Faces in a step, those of all processes together.", kinds.whole(2, 1_000_000)
        ),
    )
    lr: float | None = field(
        default=None,
        metadata=_about("Highest learning rate.", _number(1e-9, 10.0), "5e-4, with --from 2e-5"),
    )
    weight_decay: float = field(
        default=0.05, metadata=_about("Weight decay of AdamW.", _number(0.0, 10.0))
    )
    warmup: int | None = field(
        default=None,
        metadata=_about(
            "Steps in which the learning rate rises.",
            kinds.whole(0, 1_000_000_000),
            "a twentieth of the run",
        ),
    )
    power: float = field(
        default=2.0,
        metadata=_about("Power of the learning rate's polynomial decay.", _number(0.0, 20.0)),
    )
    clip: float = field(
        default=5.0,
        metadata=_about("Longest gradient of the network; 0: any.", _number(0.0, 1e6)),
    )
    ema: float = field(
        default=0.999,
        metadata=_about(
            "Decay of the averaged weights, which are what is kept; 0: no average.",
            _number(0.0, 0.999999),
        ),
    )
    layer_scale: float = field(
        default=1.0,
        metadata=_about("Initial layer scale when training from scratch.", _number(1e-9, 10.0)),
    )
    precision: str = field(
        default="auto",
        metadata=_about(
            "Arithmetic: auto (bf16 on a GPU that has it), fp32, bf16 or fp16.",
            _named("KIND", kinds.choice("auto", "fp32", "bf16", "fp16")),
        ),
    )
    device: str = field(
        default="auto",
        metadata=_about(
            "Where to train: auto (a GPU where there is one), cpu or cuda.",
            _named("DEVICE", kinds.choice("auto", "cpu", "cuda")),
        ),
    )
    workers: int | None = field(
        default=None,
        metadata=_about(
            "Processes that read and decode, for each that trains.",
            kinds.whole(0, 1024),
            "the cores less one, 8 at most",
        ),
    )
    seed: int = field(
        default=0, metadata=_about("Start of all random numbers.", kinds.whole(0, 2**31 - 1))
    )
    holdout: int | None = field(
        default=None,
        metadata=_about(
            "People kept out of training to measure with; 0: none.",
            kinds.whole(0, 1_000_000),
            "a tenth, 500 at most; none of fewer than 40 people",
        ),
    )
    eval_every: int | None = field(
        default=None,
        metadata=_about(
            "Steps between measurements on the people kept out.",
            kinds.whole(1, 1_000_000_000),
            "a twentieth of the run",
        ),
    )
    checkpoint_every: int | None = field(
        default=None,
        metadata=_about(
            "Steps between checkpoints.",
            kinds.whole(1, 1_000_000_000),
            "a twentieth of the run",
        ),
    )


@dataclass(frozen=True, slots=True)
class Option:
    """One row of the table of options.

    Attributes:
        field: The attribute of `Recipe`.
        doc: One sentence.
        kind: What values it takes, and how one is read from text.
        default: Its default; None where ``default_text`` says it in words.
        default_text: The default in words, empty where there is none.
    """

    field: str
    doc: str
    kind: Kind
    default: Any
    default_text: str

    @property
    def name(self) -> str:
        """The key in ``recipe.toml``."""
        return self.field.removesuffix("_")

    @property
    def flag(self) -> str:
        """The option of the command line."""
        return "--" + self.name.replace("_", "-")


OPTIONS: Final[Mapping[str, Option]] = {
    option.name: option
    for option in (
        Option(
            item.name,
            item.metadata["doc"],
            item.metadata["kind"],
            None if item.default is dataclasses.MISSING else item.default,
            item.metadata["default_text"],
        )
        for item in dataclasses.fields(Recipe)
    )
}
"""The table of options, by their key in ``recipe.toml``."""


def given_values(flags: Mapping[str, object], file: Path | None = None) -> dict[str, Any]:
    """Merge flags over a recipe file.

    Args:
        flags: Values by key; text is parsed, None and an empty list mean "not given".
        file: A ``recipe.toml``, or None.

    Returns:
        The values that were given, by field of `Recipe`; what is not among them is a default.

    Raises:
        ConfigError: A value is of the wrong form or out of range, a key of the file is unknown, or
            both ``epochs`` and ``steps`` are given.
    """
    values = read_recipe(file) if file else {}
    given = {name: value for name, value in flags.items() if value not in (None, [])}
    if {"epochs", "steps"} <= given.keys():
        raise ConfigError("--epochs and --steps both say how long to train; give one of them")
    for one, other in (("epochs", "steps"), ("steps", "epochs")):
        if one in given:
            values.pop(other, None)
    read = {OPTIONS[name].field: _read(OPTIONS[name], given[name]) for name in given}
    return {name: _located(value) for name, value in (values | read).items()}


def make_recipe(values: Mapping[str, Any]) -> Recipe:
    """Make a recipe of given values and defaults.

    Raises:
        ConfigError: ``data`` is missing.
    """
    if "data" not in values:
        raise ConfigError("there is nothing to train on; name it with --data")
    return Recipe(**values)


def read_recipe(file: Path) -> dict[str, Any]:
    """Read a recipe file as values by field; relative paths in it are relative to its folder.

    Raises:
        ConfigError: It cannot be read, is not TOML, or holds unknown keys or bad values.
    """
    values = {}
    for name, value in _document(file).items():
        if name not in OPTIONS:
            raise ConfigError(f"{file}: unknown key {name!r}; known: {', '.join(OPTIONS)}")
        option = OPTIONS[name]
        checked = _checked(option, value, f"{file}: {name} = {_short(repr(value))}")
        values[option.field] = option.kind.anchor(checked, file.parent)
    if {"epochs", "steps"} <= values.keys():
        raise ConfigError(f"{file}: epochs and steps both say how long to train; keep one of them")
    return values


def recipe_toml(recipe: Recipe) -> str:
    """Write a recipe as the TOML that `read_recipe` reads; what is None is left out."""
    lines = ["# The recipe of a run: facekeep train --recipe THIS-FILE --out RUN"]
    for name, option in OPTIONS.items():
        value = getattr(recipe, option.field)
        if value is not None:
            lines.append(f"{name} = {_toml(value)}")
    return "\n".join(lines) + "\n"


def _document(file: Path) -> dict[str, Any]:
    try:
        with open_regular(file) as stream:
            data = stream.read(_FILE_LIMIT + 1)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{file}: cannot be read: {why(error)}") from error
    if len(data) > _FILE_LIMIT:
        raise ConfigError(f"{file}: is larger than 1 MiB and cannot be a recipe")
    try:
        return tomllib.loads(data.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{file}: is not valid TOML: {one_line(error)}") from error


def _read(option: Option, given: object) -> Any:
    shown = f"{option.flag} {_short(given)}"
    if not isinstance(given, str):
        return _checked(option, given, shown)
    try:
        value = option.kind.read(given)
    except ValueError as error:
        raise ConfigError(f"{shown}: expected {option.kind.expects}") from error
    return _checked(option, value, shown)


def _checked(option: Option, value: object, shown: str) -> Any:
    try:
        return option.kind.check(value)
    except ValueError as error:
        raise ConfigError(f"{shown}: expected {option.kind.expects}") from error


def _short(value: object) -> str:
    text = one_line(value)
    return text if len(text) <= 60 else text[:57] + "..."


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
