"""What commands say about a decision and a face, the same everywhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

from facekeep.cli.command import Run
from facekeep.cli.output import words

if TYPE_CHECKING:
    from facekeep.decide import Threshold
    from facekeep.face import Face

__all__ = ["box", "say_terms"]


def box(face: Face) -> str:
    """Write the box of a face for people."""
    return " ".join(f"{round(value)}" for value in face.bbox.tolist())


def say_terms(run: Run, limit: Threshold, people: int = 1) -> None:
    """Say on what terms was decided, and how far they can be trusted.

    Args:
        run: The run.
        limit: What was decided by.
        people: How many people each face was compared with.
    """
    if run.quiet:
        return
    text = f"decided at a false-match rate of {words(limit.fmr)} (cosine {limit.cosine:.3f})"
    if people > 1:
        text += (
            f"; a stranger is taken for one of {people} enrolled with a probability of about "
            f"{words(float(f'{limit.expected_fpir(people):.2g}'))}"
        )
    run.say(text)
    if not limit.supported:
        run.say(
            f"note: only {limit.comparisons:,} comparisons stand behind this threshold; a rate of "
            f"{words(limit.fmr)} would need {3 / limit.fmr:,.0f}"
        )
