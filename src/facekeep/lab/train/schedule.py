"""The learning rate over a run: a linear rise, then a polynomial fall to nought."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Schedule"]


@dataclass(frozen=True, slots=True)
class Schedule:
    """The learning rate of every step.

    Attributes:
        peak: The highest rate.
        warmup: Steps of the rise; the last of them has the peak.
        total: Steps of the run.
        power: 0 keeps the peak, 1 falls in a line, 2 in a parabola.
    """

    peak: float
    warmup: int
    total: int
    power: float

    def __call__(self, step: int) -> float:
        """Return the rate of a step, 0 to ``total - 1``; it is never nought."""
        if step < self.warmup:
            return self.peak * (step + 1) / self.warmup
        left = (self.total - step) / max(self.total - self.warmup, 1)
        return float(self.peak * left**self.power)
