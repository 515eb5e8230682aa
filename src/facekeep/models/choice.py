"""Facts to choose an embedder by: time and memory on this machine, accuracy, terms."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from facekeep._internal.child import call
from facekeep.errors import FacekeepError
from facekeep.models.catalog import entry, list_models
from facekeep.models.model_entry import ModelEntry, Terms
from facekeep.models.resolve import locate, open_model, verify
from facekeep.runtime import RuntimeOptions

__all__ = ["Choice", "choose_embedders", "measure", "measure_embedders"]

_RUNS: Final = 100
_UNRESTRICTED: Final = ("free", "own")


@dataclass(frozen=True, slots=True)
class Choice:
    """An embedder on this machine.

    Attributes:
        name: The model.
        terms: What it may be used for.
        width: Numbers in an embedding.
        lfw: Accuracy on LFW in percent; None where it was not measured.
        calibrated: Whether it has thresholds, without which it cannot decide.
        size: Bytes of the file that is run.
        seconds: Processor time of one face on one thread, which other programs change little; None
            where it cannot be run.
        memory: Bytes that the process grew by at most while the network was opened and run; None
            where the system does not tell.
        failed: Why it cannot be run; empty where it can.
    """

    name: str
    terms: Terms
    width: int | None
    lfw: float | None
    calibrated: bool
    size: int
    seconds: float | None = None
    memory: int | None = None
    failed: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return all attributes, for JSON."""
        return asdict(self)


def measure_embedders() -> Iterator[Choice]:
    """Measure each embedder whose files are on this machine, in a process of its own."""
    for model in list_models("embed"):
        if verify(model).state == "ok":
            yield _measure_apart(model)


def choose_embedders(found: Sequence[Choice]) -> list[tuple[str, Choice]]:
    """Choose the best calibrated embedder for each need.

    Returns:
        What it is best at, and the embedder. Only free models and the user's own are chosen.
    """
    usable = [
        each for each in found if each.seconds and each.terms in _UNRESTRICTED and each.calibrated
    ]
    known = [each for each in usable if each.lfw is not None]
    chosen = []
    if known:
        chosen.append(("most accurate", max(known, key=lambda each: each.lfw or 0)))
    if usable:
        chosen.append(("fastest", min(usable, key=lambda each: each.seconds or 0)))
    if measured := [each for each in usable if each.memory]:
        chosen.append(("least memory", min(measured, key=lambda each: each.memory or 0)))
    return chosen


def measure(name: str) -> dict[str, Any]:
    """Measure an embedder in this process, which should have done nothing else before.

    Returns:
        ``seconds`` and ``memory``, as `Choice` has them.
    """
    import numpy as np

    model = entry(name)
    side = model.input_size or 112
    before = _peak()
    session = open_model(model, RuntimeOptions(threads=1))
    last = session.inputs[0].channels_last
    shape = (1, side, side, 3) if last else (1, 3, side, side)
    face = {session.inputs[0].name: np.full(shape, 0.5, np.float32)}
    session.run(face)
    start = time.process_time()
    for _ in range(_RUNS):
        session.run(face)
    seconds = (time.process_time() - start) / _RUNS  # whose steps may be longer than one run
    after = _peak()
    memory = None if before is None or after is None else after - before
    return {"seconds": seconds, "memory": memory}


def _peak() -> int | None:
    """Return the most bytes that this process has had in memory; None where no file says it.

    Not by getrusage, which begins with what the parent had.
    """
    with contextlib.suppress(OSError):
        found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text("ascii"))
        return int(found[1]) * 1024 if found else None
    return None


def _measure_apart(model: ModelEntry) -> Choice:
    choice: dict[str, Any] = {
        "name": model.name,
        "terms": model.terms,
        "width": model.width,
        "lfw": model.lfw,
        "calibrated": bool(model.thresholds),
        "size": locate(model).stat().st_size,
    }
    try:
        facts = call(f"model {model.name!r}", "facekeep.models.choice:measure", model.name)
    except FacekeepError as error:
        facts = {"failed": str(error)}
    return Choice(**choice, **facts)
