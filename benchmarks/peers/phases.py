"""The parts of the race: each measures some columns for all peers."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from .driver import PeerError, Runner, Worker, interleaved
from .roster import Peer

THREADS = {"one": 1, "all": 0}
"""The limits under which everything is measured, and what an adapter is told for each."""

SIZES = (100_000, 1_000_000)
"""How many templates are searched."""

Entries = dict[str, dict[str, Any]]
"""What was measured, by peer and column; a column that failed holds ``{"failed": why}``."""

Team = Sequence[tuple[Peer, Runner]]


def measure_start(team: Team, frames: Mapping[str, Path], threads: int, rounds: int) -> Entries:
    """Time new processes to their first answer, and read their peak of memory after the frames."""
    runners = {peer.name: runner for peer, runner in team if peer.detects}

    def turn(name: str) -> Mapping[str, Any]:
        start = time.perf_counter()
        with Worker(runners[name], threads) as worker:
            worker.ask("frame", image=str(frames["one"]), times=0)
            ms = (time.perf_counter() - start) * 1e3
            for frame in frames.values():
                worker.ask("frame", image=str(frame), times=1)
            return {"ms": ms, "peak": worker.ask("memory")["peak"]}

    answers, failed = interleaved(list(runners), rounds + 1, turn)
    found: Entries = {
        name: {
            "start_ms": float(np.median([turn["ms"] for turn in turns[1:]])),
            "rss": int(np.median([turn["peak"] for turn in turns[1:]])),
        }
        for name, turns in answers.items()
    }
    return found | {name: {"start_ms": {"failed": why}} for name, why in failed.items()}


def measure_speed(team: Team, frames: Mapping[str, Path], threads: int, rounds: int) -> Entries:
    """Time frames and aligned faces, the workers taking turns."""
    found: Entries = {peer.name: {} for peer, _ in team}
    with ExitStack() as stack:
        workers = {peer.name: stack.enter_context(Worker(runner, threads)) for peer, runner in team}
        seers = [peer.name for peer, _ in team if peer.detects]
        for frame, path in frames.items():
            turn = _asking(workers, "frame", image=str(path), times=2)
            answers, failed = interleaved(seers, rounds, turn)
            _note(found, f"{frame}_ms", answers, failed)
            for name, turns in answers.items():
                found[name][f"{frame}_faces"] = len(turns[0]["boxes"])
        turn = _asking(workers, "embed", image=str(frames["one"]), times=4)
        _note(found, "embed_ms", *interleaved(list(workers), rounds, turn))
    return found


def measure_search(team: Team, threads: int, rounds: int) -> Entries:
    """Time the search for one probe among many templates, one a person."""
    found: Entries = {peer.name: {} for peer, _ in team}
    own = [(peer, runner) for peer, runner in team if peer.search]
    for size in SIZES:
        with ExitStack() as stack:
            workers, failed = {}, {}
            for peer, runner in own:
                worker = stack.enter_context(Worker(runner, threads))
                try:
                    worker.ask("gallery", count=size)
                    workers[peer.name] = worker
                except PeerError as error:
                    failed[peer.name] = str(error)
            turn = _asking(workers, "search")
            answers, more = interleaved(list(workers), rounds + 1, turn)
            counted = {name: turns[1:] for name, turns in answers.items()}
            _note(found, f"search_{size}_ms", counted, failed | more)
            for name, turns in answers.items():
                right = [turn["right"] for turn in turns]
                found[name][f"search_{size}_right"] = sum(right) / len(right)
    for peer, _ in team:
        if peer.searches_as in found:
            found[peer.name] = found[peer.searches_as]
    return found


def _asking(
    workers: Mapping[str, Worker], what: str, **arguments: Any
) -> Callable[[str], Mapping[str, Any]]:
    return lambda name: workers[name].ask(what, **arguments)


def _note(
    found: Entries,
    column: str,
    answers: Mapping[str, Sequence[Mapping[str, Any]]],
    failed: Mapping[str, str],
) -> None:
    """Write down medians of all calls of all turns, by the clock and of the processor."""
    for name, turns in answers.items():
        wall = [ms for turn in turns for ms in turn["ms"]]
        cpu = [ms for turn in turns for ms in turn["cpu_ms"]]
        found[name][column] = float(np.median(wall))
        found[name][column.replace("_ms", "_cpu_ms")] = float(np.median(cpu))
    for name, why in failed.items():
        found[name][column] = {"failed": why}
