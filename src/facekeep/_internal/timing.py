"""Timing things against each other, also where the machine has other work."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Mapping
from typing import TypeVar

import numpy as np

__all__ = ["in_turns"]

Name = TypeVar("Name", bound=Hashable)


def in_turns(
    functions: Mapping[Name, Callable[[], object]], turns: int, *, warm_up: int = 3
) -> dict[Name, list[float]]:
    """Time functions in turns, each turn in another order.

    In one order the same function would always meet what another leaves behind: cold caches, or, on
    a busy machine, the end of this process's share of the processor.

    Args:
        functions: What to time, by name.
        turns: How many calls of each are timed.
        warm_up: How many are made before.

    Returns:
        The milliseconds of each call, by name.
    """
    random = np.random.default_rng(0)
    names = list(functions)
    times: dict[Name, list[float]] = {name: [] for name in names}
    for turn in range(warm_up + turns):
        for name in (names[place] for place in random.permutation(len(names))):
            start = time.perf_counter()
            functions[name]()
            if turn >= warm_up:
                times[name].append((time.perf_counter() - start) * 1e3)
    return times
