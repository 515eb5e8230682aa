"""The steps that make a network smaller or faster: their options, and recipes of several steps."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final, Literal

from msgspec import Meta, Struct, field

from facekeep._internal.files import printable
from facekeep._internal.tables import OptionError, check_fields, convert_table
from facekeep.config.fields import read_document
from facekeep.errors import ConfigError
from facekeep.lab.compress.data import DataOptions
from facekeep.lab.compress.int8 import Method, Mode, Target

__all__ = [
    "STEPS",
    "ChainRecipe",
    "FineTune",
    "LowRank",
    "Prune",
    "Quantize",
    "Resize",
    "Step",
    "read_chain_recipe",
]

_SHARES: Final = ("macs", "params", "latency", "zeros")
_LISTS: Final = ("compare", "kinds", "layers", "skip")

_Count = Annotated[int, Meta(ge=1)]
_Part = Annotated[float, Meta(gt=0, lt=1)]
_Rate = Annotated[float, Meta(gt=0, le=10)]
_Share = Annotated[float, Meta(gt=0, le=1)]


class FineTune(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="do"):
    """Fine-tuning of a changed network, so that it embeds faces like the original again.

    Attributes:
        fine_tune: The number of training steps; 0 for no fine-tuning.
        batch: Faces in a step.
        lr: The highest learning rate.
    """

    fine_tune: Annotated[int, Meta(ge=0, title="a number of steps, 0 for none")] = 0
    batch: Annotated[int, Meta(ge=2)] = 64
    lr: _Rate = 1.5e-4

    def __post_init__(self) -> None:
        check_fields(self)

    @property
    def kind(self) -> str:
        """What the step is called in a recipe."""
        return str(self.__struct_config__.tag)


class Quantize(FineTune, tag="quantize", frozen=True, kw_only=True):
    """Compute or store in fewer bits; fine-tuning is quantization-aware training.

    Attributes:
        mode: ``static``, ``dynamic``, ``float16`` or ``packed`` (only weights in 8 bits); None for
            ``static`` where there are faces to calibrate on, and ``packed`` where there are none.
        calibration: Where the range of an activation ends; see `calibrate_ranges`.
        min_cosine: Layers stay float32 until the mean cosine to the network in float32 (where it is
            fine-tuned, to the fine-tuned one) is at least this. Static only.
        max_tar_loss: Layers stay float32 until TAR at FMR 1e-3 falls by at most so many points,
            where faces of known people are given. Static only.
        skip: Layers that are not computed in 8 bits: patterns of the names of nodes or weights.
        target: Where the network will run; see `saturates`.
    """

    mode: Mode | None = None
    calibration: Method = "percentile"
    min_cosine: _Part = 0.99
    max_tar_loss: Annotated[float, Meta(ge=0, le=100, title="a number of points, 0 to 100")] = 0.3
    skip: tuple[str, ...] = ()
    target: Target = "here"
    lr: _Rate = 2e-5  # a larger one makes the network forget more than it learns

    def __post_init__(self) -> None:
        FineTune.__post_init__(self)
        if self.fine_tune and self.mode in ("float16", "packed"):
            raise OptionError(
                ["mode"],
                f"{self.mode} computes in float32, so that fine-tuning changes nothing;"
                " only static and dynamic can be fine-tuned",
            )


class Prune(FineTune, tag="prune", frozen=True, kw_only=True):
    """Remove the least important parts of a network; or, with ``zeros``, single weights.

    Attributes:
        macs: The share of the multiply-accumulates that is left.
        params: The share of the parameters that is left.
        latency: The share of the time for one face that is left. One of the three is given.
        by: ``taylor`` or ``magnitude``; see `importance`. None for ``taylor`` where
            there are faces, and ``magnitude`` where there are none.
        kinds: What may be removed: ``hidden``, ``rank``, ``blocks``.
        multiple: Widths become multiples of it.
        rounds: The number of rounds; importance is computed in each, and each is fine-tuned.
        zeros: Instead, the share of the weights that become zero, or ``2:4``; never fine-tuned.
    """

    macs: _Part | None = None
    params: _Part | None = None
    latency: _Part | None = None
    by: Annotated[Literal["taylor", "magnitude"], Meta(title="taylor or magnitude")] | None = None
    kinds: tuple[str, ...] = ("hidden", "rank")
    multiple: _Count = 8
    rounds: _Count = 1
    zeros: str | None = None

    def __post_init__(self) -> None:
        FineTune.__post_init__(self)
        _require_one(self, *_SHARES)
        if self.zeros is not None and not _is_share(self.zeros):
            problem = f"must be a share above 0 and below 1, or 2:4, not {self.zeros!r}"
            raise OptionError(["zeros"], problem)
        if self.zeros is not None and self.fine_tune:
            raise OptionError(["zeros"], "cannot be fine-tuned: training would fill the zeros")


def _require_one(step: FineTune, *names: str) -> None:
    """Make sure that a step says how much it leaves, once."""
    if sum(getattr(step, name) is not None for name in names) != 1:
        raise OptionError(names, "must say how much is left; give only one of them")


def _is_share(zeros: str) -> bool:
    try:
        return zeros == "2:4" or 0 < float(zeros) < 1
    except ValueError:
        return False


class LowRank(FineTune, tag="lowrank", frozen=True, kw_only=True):
    """Replace linear layers by products of thinner ones.

    Attributes:
        gamma: The share of the full rank that is left.
        energy: The share of the variance of each layer's outputs that is left. One of the two is
            given.
        layers: Which: patterns of names, as ``stages.3.*``.
        multiple: Ranks become multiples of it.
    """

    gamma: _Share | None = None
    energy: _Share | None = None
    layers: tuple[str, ...] = ("*",)
    multiple: _Count = 1

    def __post_init__(self) -> None:
        FineTune.__post_init__(self)
        _require_one(self, "gamma", "energy")


class Resize(FineTune, tag="resize", frozen=True, kw_only=True):
    """Take smaller crops.

    Attributes:
        size: Their side in pixels: a multiple of 16 from 32 to 512.
    """

    size: Annotated[int, Meta(ge=32, le=512, multiple_of=16)]
    lr: _Rate = 3e-4  # there is more to learn than after pruning


Step = Quantize | Prune | LowRank | Resize

STEPS: Final[dict[str, type[Step]]] = {
    "prune": Prune,
    "lowrank": LowRank,
    "resize": Resize,
    "quantize": Quantize,
}
"""The kinds of steps, by their names in a recipe."""


class ChainRecipe(DataOptions, frozen=True, kw_only=True):
    """A chain of steps, and the data for it.

    Attributes:
        model: The model that the chain begins with.
        out: What the result will be called.
        steps: The steps, in their order.
        compare: Further models for the report's picture.
    """

    model: str
    out: str
    steps: tuple[Step, ...] = field(name="step")
    compare: tuple[str, ...] = ()


def read_chain_recipe(path: Path) -> ChainRecipe:
    """Read a recipe.

    Its keys are ``model``, ``out``, ``compare`` and those of `DataOptions`, whose paths start at
    the folder of the file; each ``[[step]]`` has a ``do``, which names its kind, and the options of
    that kind.

    Raises:
        ConfigError: The file cannot be read, or a key or value is wrong.
    """
    table, shown = read_document(path, "a recipe"), printable(path)
    steps = table.get("step")
    if not isinstance(steps, list) or not steps:
        raise ConfigError(f"{shown}: there are no steps; add a [[step]] with a do")
    table["step"] = [_read_step(each, f"{shown}: step {n}") for n, each in enumerate(steps, 1)]
    return convert_table(
        _wrap_texts(table), ChainRecipe, shown, ConfigError, path.absolute().parent
    )


def _read_step(table: object, shown: str) -> Step:
    kind = table.get("do") if isinstance(table, dict) else None
    if not isinstance(table, dict) or kind not in list(STEPS):
        raise ConfigError(f"{shown}: do must be one of {', '.join(STEPS)}")
    if "heal" in table:  # its name in older recipes
        table = {"fine_tune": table["heal"]} | {k: v for k, v in table.items() if k != "heal"}
    return convert_table(_wrap_texts(table), STEPS[kind], f"{shown} ({kind})", ConfigError)


def _wrap_texts(table: dict[str, Any]) -> dict[str, Any]:
    """Make a list of one text where a key takes a list."""
    return {
        key: [value] if key in _LISTS and isinstance(value, str) else value
        for key, value in table.items()
    }
