"""Workers seen from outside: one process a peer, asked turn by turn."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

WORKER = Path(__file__).with_name("worker.py")

_POOLS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")


class PeerError(Exception):
    """A peer cannot do what it was asked; the message says why, in one line."""


class Runner(NamedTuple):
    """What starts a worker.

    Attributes:
        python: The interpreter of the peer's environment.
        module: The adapter's module.
        home: The peer's own folder, which is its home directory and where it writes.
        options: See ``adapters.base.Settings``.
    """

    python: Path
    module: str
    home: Path
    options: Mapping[str, str]


class Worker:
    """A running worker; closing it, or leaving the ``with`` block, ends the process.

    Args:
        runner: What to start.
        threads: How many CPU threads the library may use; 0 for as many as it likes.
        path: A folder in which the adapter's module is looked for besides ``adapters``.
    """

    def __init__(self, runner: Runner, threads: int, *, path: Path | None = None) -> None:
        command = [runner.python, "-P", WORKER, runner.module, runner.home, str(threads)]
        self._log = runner.home / "worker.log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [*map(str, command), json.dumps(dict(runner.options))],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                cwd=runner.home,
                env=environment(runner.home, threads, path),
            )

    def ask(self, what: str, **arguments: Any) -> dict[str, Any]:
        """Send a request and wait for its answer.

        Raises:
            PeerError: The library failed, or its process ended.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps({"do": what, **arguments}) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise PeerError(f"its process ended: {self._last_words()}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise PeerError(answer["error"])
        return answer

    def _last_words(self) -> str:
        lines = self._log.read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else f"status {self._process.wait()}"

    def close(self) -> None:
        """End the process."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):  # it ended before
                    pipe.close()
        self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def environment(home: Path, threads: int, path: Path | None = None) -> dict[str, str]:
    """Return the environment of a worker: its own home, and the pools of threads limited."""
    hidden = ("FACEKEEP_", "XDG_", "PYTHON")
    env = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(hidden) and name not in _POOLS
    }
    if threads:
        env |= dict.fromkeys(_POOLS, str(threads))
    if path is not None:
        env["PYTHONPATH"] = str(path)
    return env | {"HOME": str(home), "ORT_DISABLE_TELEMETRY": "1"}


def interleaved(
    peers: Sequence[str], rounds: int, turn: Callable[[str], Mapping[str, Any]], pause: float = 0.05
) -> tuple[dict[str, list[Mapping[str, Any]]], dict[str, str]]:
    """Let peers take turns, each round in another order, so that what disturbs one disturbs all.

    Args:
        peers: Who takes part.
        rounds: How many turns each has.
        turn: Asks a peer once.
        pause: Seconds between turns, in which the threads of the last one come to rest.

    Returns:
        The answers of each peer, and of those that failed why; they take no further turn.
    """
    answers: dict[str, list[Mapping[str, Any]]] = {name: [] for name in peers}
    failed: dict[str, str] = {}
    for number in range(rounds):
        shift = number % len(peers) if peers else 0
        for name in [*peers[shift:], *peers[:shift]]:
            if name in failed:
                continue
            time.sleep(pause)
            try:
                answers[name].append(turn(name))
            except PeerError as error:
                failed[name] = str(error)
                del answers[name]
    return answers, failed
