"""How fast a model's bare network is, beside its plain export and the limit of the processor."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from facekeep._internal.timing import in_turns
from facekeep.errors import FacekeepError, InputError
from facekeep.models import ModelEntry, entry, model_cost, open_model
from facekeep.runtime import RuntimeOptions, Session, open_session

__all__ = ["NetworkSpeed", "measure_network"]

_PRODUCT = 1024  # the side of the matrices by which the processor is measured


@dataclass(frozen=True, slots=True)
class NetworkSpeed:
    """The speed of a bare network on one face.

    Attributes:
        model: Its name.
        median_ms: Median time of one run in milliseconds.
        p95_ms: Time below which 95 of 100 runs stay.
        repeats: How many runs were timed.
        plain_export_ms: Median time of the same network exported by PyTorch itself, opened alike
            and run in turns; None where there is none.
        plain_export: What made it, or why there is none.
        difference: The largest difference between the two in any number of an embedding of unit
            length; None where there is no plain export.
        macs: Multiply-accumulates of one run; None where they cannot be counted.
        limit_ms: The time they take at the rate of one large float32 matrix product, measured in
            turns too.
    """

    model: str
    median_ms: float
    p95_ms: float
    repeats: int
    plain_export_ms: float | None
    plain_export: str
    difference: float | None
    macs: int | None
    limit_ms: float | None

    @property
    def ratio(self) -> float | None:
        """The time as a share of the plain export's."""
        return None if self.plain_export_ms is None else self.median_ms / self.plain_export_ms


def measure_network(name: str, *, threads: int = 1, repeats: int = 200) -> NetworkSpeed:
    """Time a model's bare network.

    Args:
        name: An embedder of the catalog.
        threads: CPU threads; 0 for all cores. The matrix product takes as many as numpy does.
        repeats: How many runs are timed.

    Raises:
        InputError: The model embeds no faces.
        ModelError: It cannot be opened.
    """
    model = entry(name)
    if model.task != "embed":
        raise InputError(f"model {name!r} is one to {model.verb}, not to embed, faces")
    own = open_model(model, options=RuntimeOptions(threads=threads))
    plain, source = _open_plain_export(model, threads)
    crops = np.random.default_rng(0).random(_input_shape(own, model), np.float32) * 2 - 1
    matrix = np.ones((_PRODUCT, _PRODUCT), np.float32)
    turns: dict[str, Callable[[], object]] = {"own": lambda: own.run({own.inputs[0].name: crops})}
    if plain is not None:
        turns["plain"] = lambda: plain.run({plain.inputs[0].name: crops})
    turns["product"] = lambda: matrix @ matrix
    times = in_turns(turns, repeats)
    macs = _count_macs(model)
    product = float(np.median(times["product"]))
    return NetworkSpeed(
        model=model.name,
        median_ms=float(np.median(times["own"])),
        p95_ms=float(np.percentile(times["own"], 95)),
        repeats=repeats,
        plain_export_ms=None if plain is None else float(np.median(times["plain"])),
        plain_export=source,
        difference=None if plain is None else _measure_difference(own, plain, crops),
        macs=macs,
        limit_ms=None if macs is None else product * macs / _PRODUCT**3,
    )


def _open_plain_export(model: ModelEntry, threads: int) -> tuple[Session | None, str]:
    """Open the plain export of a model's network; say what made it, or why there is none."""
    try:
        from facekeep.lab.nn import read_network
        from facekeep.lab.nn.plain import plain_export

        content, source = plain_export(read_network(model))
        return open_session(content, options=RuntimeOptions(threads=threads)), source
    except FacekeepError as error:
        return None, str(error)


def _input_shape(session: Session, model: ModelEntry) -> tuple[int, int, int, int]:
    side = model.input_size or 112
    return (1, side, side, 3) if session.inputs[0].channels_last else (1, 3, side, side)


def _measure_difference(own: Session, plain: Session, crops: NDArray[np.float32]) -> float:
    rows = [session.run({session.inputs[0].name: crops})[0] for session in (own, plain)]
    units = [row / np.linalg.norm(row) for row in rows]
    return float(np.abs(units[0] - units[1]).max())


def _count_macs(model: ModelEntry) -> int | None:
    try:
        return model_cost(model).macs
    except FacekeepError:
        return None
