"""The steps that make a network smaller, as they are asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final, get_args

from facekeep.compress.calibration import Method
from facekeep.compress.quantize import Mode, Target
from facekeep.errors import InputError

__all__ = ["STEPS", "Quantize", "Step", "require"]


def require(condition: bool, told: str) -> None:
    """Refuse options that make no sense.

    Raises:
        InputError: The condition does not hold; ``told`` is its message.
    """
    if not condition:
        raise InputError(told)


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantize:
    """Compute, or store, in fewer bits.

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
        for name, kind in (("mode", Mode), ("calibration", Method), ("target", Target)):
            value, known = getattr(self, name), get_args(kind)
            told = f"{name} must be one of {', '.join(known)}, not {value!r}"
            require(value in known or (name == "mode" and value is None), told)
        require(0 < self.min_cosine < 1, "min-cosine must lie between 0 and 1")
        require(0 <= self.max_tar_loss <= 100, "max-tar-loss is in points, from 0 to 100")


Step = Quantize

STEPS: Final[dict[str, type[Step]]] = {kind.kind: kind for kind in (Quantize,)}
"""The kinds of steps by the word that a recipe names them by."""
