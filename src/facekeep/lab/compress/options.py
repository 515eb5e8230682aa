"""The steps that make a network smaller or faster: their options."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final, get_args

from facekeep.errors import InputError
from facekeep.lab.compress.int8 import Method, Mode, Target

__all__ = ["STEPS", "FineTune", "LowRank", "OptionError", "Prune", "Quantize", "Resize", "Step"]

_BY: Final = (None, "taylor", "magnitude")
_SHARES: Final = ("macs", "params", "latency", "zeros")


class OptionError(InputError):
    """Options of a step are wrong.

    Args:
        names: The names of the attributes.
        problem: What is wrong with them; it follows their names.
    """

    def __init__(self, names: Sequence[str], problem: str) -> None:
        super().__init__(f"{' or '.join(names)} {problem}")
        self._names, self._problem = names, problem

    def with_flags(self, flags: Mapping[str, str]) -> OptionError:
        """Return the same error with what the command line calls the options."""
        return OptionError([flags[name] for name in self._names], self._problem)


def _require(condition: bool, name: str | Sequence[str], problem: str) -> None:
    if not condition:
        raise OptionError([name] if isinstance(name, str) else name, problem)


@dataclass(frozen=True, slots=True, kw_only=True)
class FineTune:
    """Fine-tuning of a changed network, so that it embeds faces like the original again.

    Attributes:
        heal: The number of training steps; 0 for no fine-tuning.
        batch: Faces in a step.
        lr: The highest learning rate.
    """

    heal: int = 0
    batch: int = 64
    lr: float = 1.5e-4

    def __post_init__(self) -> None:
        problem = f"must be a number of steps, 0 for none, not {self.heal}"
        _require(self.heal >= 0, "heal", problem)
        _require(self.batch >= 2, "batch", f"must be at least 2, not {self.batch}")
        _require(0 < self.lr <= 10, "lr", f"must be above 0 and at most 10, not {self.lr}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantize(FineTune):
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

    kind: ClassVar[str] = "quantize"

    mode: Mode | None = None
    calibration: Method = "percentile"
    min_cosine: float = 0.99
    max_tar_loss: float = 0.3
    skip: tuple[str, ...] = ()
    target: Target = "here"
    lr: float = 2e-5  # a larger one makes the network forget more than it learns

    def __post_init__(self) -> None:
        FineTune.__post_init__(self)
        for name, kind in (("mode", Mode), ("calibration", Method), ("target", Target)):
            value, known = getattr(self, name), get_args(kind)
            problem = f"must be one of {', '.join(known)}, not {value!r}"
            _require(value in known or (name == "mode" and value is None), name, problem)
        _require(0 < self.min_cosine < 1, "min_cosine", "must lie between 0 and 1")
        _require(0 <= self.max_tar_loss <= 100, "max_tar_loss", "is in points, from 0 to 100")
        _require(
            not self.heal or self.mode in (None, "static", "dynamic"),
            "mode",
            f"{self.mode} computes in float32, so that fine-tuning changes nothing;"
            " only static and dynamic can be fine-tuned",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Prune(FineTune):
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

    kind: ClassVar[str] = "prune"

    macs: float | None = None
    params: float | None = None
    latency: float | None = None
    by: str | None = None
    kinds: tuple[str, ...] = ("hidden", "rank")
    multiple: int = 8
    rounds: int = 1
    zeros: str | None = None

    def __post_init__(self) -> None:
        FineTune.__post_init__(self)
        given = [name for name in _SHARES if getattr(self, name) is not None]
        _require(len(given) == 1, _SHARES, "must say how much is left; give only one of them")
        if self.zeros is None:
            share = getattr(self, given[0])
            _require(0 < share < 1, given[0], f"must be above 0 and below 1, not {share}")
        else:
            problem = f"must be a share above 0 and below 1, or 2:4, not {self.zeros!r}"
            _require(_is_sparse(self.zeros), "zeros", problem)
            _require(not self.heal, "zeros", "cannot be fine-tuned: training would fill the zeros")
        _require(self.by in _BY, "by", f"must be taylor or magnitude, not {self.by!r}")
        for name in ("multiple", "rounds"):
            value = getattr(self, name)
            _require(value >= 1, name, f"must be at least 1, not {value}")


def _is_sparse(zeros: str) -> bool:
    try:
        return zeros == "2:4" or 0 < float(zeros) < 1
    except ValueError:
        return False


@dataclass(frozen=True, slots=True, kw_only=True)
class LowRank(FineTune):
    """Replace linear layers by products of thinner ones.

    Attributes:
        gamma: The share of the full rank that is left.
        energy: The share of the variance of each layer's outputs that is left. One of the two is
            given.
        layers: Which: patterns of names, as ``stages.3.*``.
        multiple: Ranks become multiples of it.
    """

    kind: ClassVar[str] = "lowrank"

    gamma: float | None = None
    energy: float | None = None
    layers: tuple[str, ...] = ("*",)
    multiple: int = 1

    def __post_init__(self) -> None:
        FineTune.__post_init__(self)
        shares = {"gamma": self.gamma, "energy": self.energy}
        given = [(name, share) for name, share in shares.items() if share is not None]
        _require(len(given) == 1, tuple(shares), "must say how much is left; give only one of them")
        name, share = given[0]
        _require(0 < share <= 1, name, f"must be above 0 and at most 1, not {share}")
        _require(self.multiple >= 1, "multiple", f"must be at least 1, not {self.multiple}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Resize(FineTune):
    """Take smaller crops.

    Attributes:
        size: Their side in pixels: a multiple of 16 from 32 to 512.
    """

    kind: ClassVar[str] = "resize"

    size: int
    lr: float = 3e-4  # there is more to learn than after pruning

    def __post_init__(self) -> None:
        FineTune.__post_init__(self)
        fits = self.size in range(32, 513, 16)
        _require(fits, "size", f"must be a multiple of 16 from 32 to 512, not {self.size}")


Step = Quantize | Prune | LowRank | Resize

STEPS: Final[dict[str, type[Step]]] = {
    kind.kind: kind for kind in (Prune, LowRank, Resize, Quantize)
}
"""The kinds of steps, by their names in a recipe."""
