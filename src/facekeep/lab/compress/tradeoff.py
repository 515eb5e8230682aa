"""The picture of a trade-off: what networks cost against what they can do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from facekeep.lab.compress.measure import FMR, Facts
from facekeep.lab.evaluate.plots import axes_of, look, percentages, png

__all__ = ["Measure", "draw_tradeoff", "front", "measure_of"]

_HEIGHT: Final = 5.2  # inches


class Measure(NamedTuple):
    """What "good" is in a picture.

    Attributes:
        label: The axis.
        values: One for each network, as fractions.
    """

    label: str
    values: tuple[float, ...]


def measure_of(facts: Sequence[Facts]) -> Measure | None:
    """Choose the most telling measure that all networks have; None where there is none."""
    for label, values in (
        (f"TAR at FMR {FMR:g}", [each.accuracy.tar for each in facts]),
        ("accuracy on LFW", [each.accuracy.lfw for each in facts]),
        ("cosine to the original", [each.accuracy.cosine for each in facts]),
    ):
        known = tuple(value for value in values if value is not None)
        if len(known) == len(facts):
            return Measure(label, known)
    return None


def front(costs: Sequence[float], values: Sequence[float]) -> list[int]:
    """Return the places of those that none beats in both: Pareto's front, from cheap to dear."""
    best: list[int] = []
    for place in sorted(range(len(costs)), key=lambda each: (costs[each], -values[each])):
        if not best or values[place] > values[best[-1]]:
            best.append(place)
    return best


def draw_tradeoff(facts: Sequence[Facts], steps: int, measure: Measure) -> bytes:
    """Draw cost against quality, latency on the left, size on the right.

    Args:
        facts: The original, the networks after each step, further ones.
        steps: How many steps there were; they are joined by a line.
        measure: What good is.

    Returns:
        A PNG.
    """
    with axes_of(_HEIGHT, 2) as (figure, panes):
        costs = (
            ("milliseconds for one face", [each.latency_ms for each in facts]),
            ("megabytes on disk", [each.bytes / 1e6 for each in facts]),
        )
        for pane, (label, values) in zip(panes, costs, strict=True):
            _draw(pane, values, measure.values, steps)
            pane.set(xlabel=label, xlim=(0, 1.12 * max(values)))
        panes[0].set(ylabel=measure.label)
        percentages(panes[0].yaxis)
        panes[0].margins(y=0.15)
        names = [f"{number}  {each.name}" for number, each in enumerate(facts, 1)]
        figure.legend(
            [panes[0].plot([], [], " ")[0] for _ in names],
            names,
            loc="outside lower center",
            ncols=2,
            fontsize=9,
            handlelength=0,
        )
        return png(figure)


def _draw(pane: Any, costs: Sequence[float], values: Sequence[float], steps: int) -> None:
    best = front(costs, values)
    chain = range(steps + 1)
    pane.plot(
        [costs[place] for place in chain],
        [values[place] for place in chain],
        color="#999999",
        linewidth=1.0,
        linestyle=":",
    )
    pane.step(
        [costs[place] for place in best],
        [values[place] for place in best],
        where="post",
        **look(2),
    )
    for place, (cost, value) in enumerate(zip(costs, values, strict=True)):
        colour = look(0 if place <= steps else 1)["color"]
        marker = "o" if place <= steps else "s"
        pane.plot([cost], [value], marker, color=colour, markersize=7)
        pane.annotate(
            str(place + 1), (cost, value), textcoords="offset points", xytext=(6, 5), fontsize=9
        )
