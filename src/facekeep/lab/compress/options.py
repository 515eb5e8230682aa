"""The steps that make a network smaller, as they are asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final, get_args

from facekeep.errors import InputError
from facekeep.lab.compress.calibration import Method
from facekeep.lab.compress.quantize import Mode, Target

__all__ = ["STEPS", "Heal", "LowRank", "OptionError", "Prune", "Quantize", "Resize", "Step"]

_BY: Final = (None, "taylor", "magnitude")
_SHARES: Final = ("macs", "params", "latency", "zeros")


class OptionError(InputError):
    """Options of a step make no sense.

    Args:
        names: Which: the names of attributes.
        told: What is wrong with them, for behind their names.
    """

    def __init__(self, names: Sequence[str], told: str) -> None:
        super().__init__(f"{' or '.join(names)} {told}")
        self._names, self._told = names, told

    def with_flags(self, flags: Mapping[str, str]) -> OptionError:
        """Return the same error with what the command line calls the options."""
        return OptionError([flags[name] for name in self._names], self._told)


def _require(condition: bool, name: str | Sequence[str], told: str) -> None:
    if not condition:
        raise OptionError([name] if isinstance(name, str) else name, told)


@dataclass(frozen=True, slots=True, kw_only=True)
class Heal:
    """Training that brings a changed network back to what the original makes of faces.

    Attributes:
        heal: How many steps; 0 for none.
        batch: Faces in a step.
        lr: The highest learning rate.
    """

    heal: int = 0
    batch: int = 64
    lr: float = 1.5e-4

    def __post_init__(self) -> None:
        told = f"must be a number of steps, 0 for none, not {self.heal}"
        _require(self.heal >= 0, "heal", told)
        _require(self.batch >= 2, "batch", f"must be 2 at least, not {self.batch}")
        _require(0 < self.lr <= 10, "lr", f"must be above 0 and at most 10, not {self.lr}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantize(Heal):
    """Compute, or store, in fewer bits; healing is training with rounded numbers.

    Attributes:
        mode: ``static``, ``dynamic``, ``float16`` or ``packed`` (weights alone in 8 bits); None for
            ``static`` where there are faces to calibrate on, and ``packed`` where there are none.
        calibration: Where the range of an activation ends; see ``activation_ranges``.
        min_cosine: Layers are spared until the mean cosine to the network in float32 (where it is
            healed, to the healed one) is no less. Static only.
        max_tar_loss: Layers are spared until TAR at FMR 1e-3 falls by no more than so many points,
            where faces of known people are given. Static only.
        skip: Layers that are not computed in 8 bits: patterns of the names of nodes or weights.
        target: Where the network will run; see ``saturates``.
    """

    kind: ClassVar[str] = "quantize"

    mode: Mode | None = None
    calibration: Method = "percentile"
    min_cosine: float = 0.99
    max_tar_loss: float = 0.3
    skip: tuple[str, ...] = ()
    target: Target = "here"
    lr: float = 2e-5  # there is little to learn, and much to unlearn at a larger one

    def __post_init__(self) -> None:
        Heal.__post_init__(self)
        for name, kind in (("mode", Mode), ("calibration", Method), ("target", Target)):
            value, known = getattr(self, name), get_args(kind)
            told = f"must be one of {', '.join(known)}, not {value!r}"
            _require(value in known or (name == "mode" and value is None), name, told)
        _require(0 < self.min_cosine < 1, "min_cosine", "must lie between 0 and 1")
        _require(0 <= self.max_tar_loss <= 100, "max_tar_loss", "is in points, from 0 to 100")
        _require(
            not self.heal or self.mode in (None, "static", "dynamic"),
            "mode",
            f"{self.mode} computes in float32, so that there is nothing to heal;"
            " static and dynamic can be healed",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Prune(Heal):
    """Leave out what a network misses least; or, with ``zeros``, single weights.

    Attributes:
        macs: The share of the multiply-accumulates that is left.
        params: The share of the parameters that is left.
        latency: The share of the time for one face that is left. One of the three is given.
        by: ``taylor`` or ``magnitude``; see ``lab.compress.prune``. None for ``taylor`` where
            there are faces, and ``magnitude`` where there are none.
        kinds: What may go: ``hidden``, ``rank``, ``blocks``.
        multiple: Widths become multiples of it.
        rounds: In how many rounds, each scored anew and healed.
        zeros: Instead, the share of the weights that become nought, or ``2:4``; never healed.
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
        Heal.__post_init__(self)
        given = [name for name in _SHARES if getattr(self, name) is not None]
        _require(len(given) == 1, _SHARES, "must say how much is left, and one of them alone")
        if self.zeros is None:
            share = getattr(self, given[0])
            _require(0 < share < 1, given[0], f"must be above 0 and below 1, not {share}")
        else:
            told = f"must be a share above 0 and below 1, or 2:4, not {self.zeros!r}"
            _require(_is_sparse(self.zeros), "zeros", told)
            _require(not self.heal, "zeros", "cannot be healed: they would be filled")
        _require(self.by in _BY, "by", f"must be taylor or magnitude, not {self.by!r}")
        for name in ("multiple", "rounds"):
            value = getattr(self, name)
            _require(value >= 1, name, f"must be 1 at least, not {value}")


def _is_sparse(zeros: str) -> bool:
    try:
        return zeros == "2:4" or 0 < float(zeros) < 1
    except ValueError:
        return False


@dataclass(frozen=True, slots=True, kw_only=True)
class LowRank(Heal):
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
        Heal.__post_init__(self)
        shares = {"gamma": self.gamma, "energy": self.energy}
        given = [(name, share) for name, share in shares.items() if share is not None]
        _require(len(given) == 1, tuple(shares), "must say how much is left, and one of them alone")
        name, share = given[0]
        _require(0 < share <= 1, name, f"must be above 0 and at most 1, not {share}")
        _require(self.multiple >= 1, "multiple", f"must be 1 at least, not {self.multiple}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Resize(Heal):
    """Take smaller crops.

    Attributes:
        size: Their side in pixels: a multiple of 16 from 32 to 512.
    """

    kind: ClassVar[str] = "resize"

    size: int
    lr: float = 3e-4  # there is more to learn anew than after a cut

    def __post_init__(self) -> None:
        Heal.__post_init__(self)
        fits = self.size in range(32, 513, 16)
        _require(fits, "size", f"must be a multiple of 16 from 32 to 512, not {self.size}")


Step = Quantize | Prune | LowRank | Resize

STEPS: Final[dict[str, type[Step]]] = {
    kind.kind: kind for kind in (Prune, LowRank, Resize, Quantize)
}
"""The kinds of steps by the word that a recipe names them by."""
