"""The steps that make a network smaller, as they are asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final, get_args

from facekeep.compress.calibration import Method
from facekeep.compress.quantize import Mode, Target
from facekeep.errors import InputError

__all__ = ["STEPS", "Heal", "LowRank", "Prune", "Quantize", "Resize", "Step", "require"]


def require(condition: bool, told: str) -> None:
    """Refuse options that make no sense.

    Raises:
        InputError: The condition does not hold; ``told`` is its message.
    """
    if not condition:
        raise InputError(told)


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
        require(self.heal >= 0, f"heal must be a number of steps, 0 for none, not {self.heal}")
        require(self.batch >= 1, f"batch must be 1 at least, not {self.batch}")
        require(self.lr > 0, f"lr must be above 0, not {self.lr}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantize(Heal):
    """Compute, or store, in fewer bits; healing is training with rounded numbers.

    Attributes:
        mode: ``static``, ``dynamic``, ``float16`` or ``packed`` (weights alone in 8 bits); None for
            ``static`` where there are faces to calibrate on, and ``packed`` where there are none.
        calibration: Where the range of an activation ends; see ``activation_ranges``.
        min_cosine: Layers are spared until the mean cosine to the original is no less. Static only.
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

    def __post_init__(self) -> None:
        Heal.__post_init__(self)
        for name, kind in (("mode", Mode), ("calibration", Method), ("target", Target)):
            value, known = getattr(self, name), get_args(kind)
            told = f"{name} must be one of {', '.join(known)}, not {value!r}"
            require(value in known or (name == "mode" and value is None), told)
        require(0 < self.min_cosine < 1, "min-cosine must lie between 0 and 1")
        require(0 <= self.max_tar_loss <= 100, "max-tar-loss is in points, from 0 to 100")
        require(
            not self.heal or self.mode in (None, "static", "dynamic"),
            f"mode {self.mode} computes in float32, so that there is nothing to heal;"
            " static and dynamic can be healed",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Prune(Heal):
    """Leave out what a network misses least; or, with ``zeros``, single weights.

    Attributes:
        macs: The share of the multiply-accumulates that is left.
        params: The share of the parameters that is left.
        latency: The share of the time for one face that is left. One of the three is given.
        by: ``taylor`` or ``magnitude``; see ``facekeep.compress.prune``.
        kinds: What may go: ``hidden``, ``rank``, ``blocks``.
        multiple: Widths become multiples of it.
        rounds: In how many rounds, each scored anew and healed.
        zeros: Instead, the share of the weights that become nought, or ``2:4``; never healed.
    """

    kind: ClassVar[str] = "prune"

    macs: float | None = None
    params: float | None = None
    latency: float | None = None
    by: str = "taylor"
    kinds: tuple[str, ...] = ("hidden", "rank")
    multiple: int = 8
    rounds: int = 1
    zeros: str | None = None

    def __post_init__(self) -> None:
        Heal.__post_init__(self)
        given = [each for each in (self.macs, self.params, self.latency, self.zeros) if each]
        require(len(given) == 1, "say how much is left by one of macs, params, latency, or zeros")
        require(not (self.zeros and self.heal), "zeros cannot be healed: they would be filled")
        require(self.rounds >= 1, f"rounds must be 1 at least, not {self.rounds}")


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
        given = [each for each in (self.gamma, self.energy) if each is not None]
        require(len(given) == 1, "say how much is left by gamma or by energy")


@dataclass(frozen=True, slots=True, kw_only=True)
class Resize(Heal):
    """Take smaller crops.

    Attributes:
        size: Their side in pixels: a multiple of 16.
    """

    kind: ClassVar[str] = "resize"

    size: int
    lr: float = 3e-4  # there is more to learn anew than after a cut


Step = Quantize | Prune | LowRank | Resize

STEPS: Final[dict[str, type[Step]]] = {
    kind.kind: kind for kind in (Prune, LowRank, Resize, Quantize)
}
"""The kinds of steps by the word that a recipe names them by."""
