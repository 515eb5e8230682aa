"""What commands print about faces and thresholds, the same everywhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

from facekeep.cli.command import Run
from facekeep.cli.hints import first_enroll
from facekeep.cli.output import format_value

if TYPE_CHECKING:
    from facekeep.engine import FaceEngine
    from facekeep.types import Face, Threshold

__all__ = ["format_box", "say_identification", "say_threshold"]

_MANY = 1_000_000
"""More templates than the threshold for one person goes on rising with."""


def format_box(face: Face) -> str:
    """Write the box of a face for people."""
    return " ".join(f"{round(value)}" for value in face.bbox.tolist())


def say_identification(run: Run, engine: FaceEngine) -> None:
    """Say by which threshold faces were identified, and what it means for a stranger."""
    if run.quiet or run.json:
        return
    people = engine.gallery.count()
    if not people:
        run.say(f"nobody is enrolled yet; {first_enroll(run.settings.gallery)}")
        return
    one = engine.threshold(people=people)
    most = engine.threshold(people=people, templates=_MANY)
    run.say(
        f"decided at a false-match rate of {_format_rate(one)} (cosine {one.cosine:.3f}; up to "
        f"{most.cosine:.3f} for people of several templates)"
    )
    among = f"among {people:,} people" if people > 1 else "with one person enrolled"
    share = _format_named(one.expected_fpir(people))
    run.say(f"{among} at FMR {_format_rate(one)} {share}; --fpir sets this share")
    _say_support(run, one)


def say_threshold(run: Run, limit: Threshold) -> None:
    """Say by which threshold faces were compared, and how far it can be trusted."""
    if run.quiet:
        return
    run.say(f"decided at a false-match rate of {_format_rate(limit)} (cosine {limit.cosine:.3f})")
    _say_support(run, limit)


def _say_support(run: Run, limit: Threshold) -> None:
    if not limit.supported:
        run.say(
            f"note: only {limit.comparisons:,} comparisons stand behind this threshold; a rate of "
            f"{_format_rate(limit)} would need {3 / limit.fmr:,.0f}"
        )


def _format_rate(limit: Threshold) -> str:
    return format_value(float(f"{limit.fmr:.2g}"))


def _format_named(share: float) -> str:
    """Write which share of strangers gets a name: "about 1 stranger in 250 gets a name"."""
    if share > 0.15:
        return f"about {10 * share:.0f} strangers in 10 get a name"
    return f"about 1 stranger in {float(f'{1 / share:.2g}'):,.0f} gets a name"
