"""Calls in a process of their own, for native code that a foreign file may hang or crash.

The child begins afresh: nothing of this process is forked, so that threads do no harm.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from facekeep import errors
from facekeep._internal.files import one_line
from facekeep._internal.memory import free_memory
from facekeep.errors import FacekeepError, Hint, ModelError

__all__ = ["call"]

_SECONDS = 120
_LEAST_MEMORY = 4 << 30  # of addresses, of which a runtime reserves more than it uses
_SIZE = 64 << 20  # of an answer


def call(label: str, function: str, *arguments: Any, seconds: int = _SECONDS) -> Any:
    """Call a function in a child, with bounds on its time and memory.

    Args:
        label: What messages call the file that it works on.
        function: ``module:name``; the function takes and returns what JSON can hold.
        arguments: Its arguments.
        seconds: How long it may take.

    Raises:
        FacekeepError: The one that the function raised.
        ModelError: It crashed, took too long or too much memory, or raised something else.
    """
    request = json.dumps([function, arguments, seconds]).encode()
    # -P: without the folder that one is in
    command = [sys.executable, "-P", "-m", "facekeep._internal.child"]
    try:
        done = subprocess.run(
            command,
            input=request,
            capture_output=True,
            timeout=seconds,
            check=False,
            env=_environ(),
        )
    except subprocess.TimeoutExpired as error:
        raise ModelError(f"{label} ran for more than {seconds} seconds and was stopped") from error
    except OSError as error:
        raise ModelError(f"no process can be started to try {label}: {error.strerror}") from error
    try:
        answer = json.loads(done.stdout[:_SIZE])
    except ValueError:
        answer = None
    if done.returncode or not isinstance(answer, dict):
        raise ModelError(f"{label} crashed what was to run it ({_ending(done.returncode)})")
    if "error" in answer:
        raise _error(label, answer["error"], answer["text"], answer.get("hint"))
    return answer["result"]


def _environ() -> dict[str, str]:
    """Return the environment, in which the child finds this facekeep and reports nothing."""
    paths = [
        str(Path(__file__).absolute().parents[2]),
        *filter(None, [os.environ.get("PYTHONPATH")]),
    ]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(paths),
        "ORT_DISABLE_TELEMETRY": os.environ.get("ORT_DISABLE_TELEMETRY", "1"),
    }


def _ending(status: int) -> str:
    if status in (-signal.SIGXCPU, -signal.SIGKILL):
        return "it took too much time or memory"
    with contextlib.suppress(ValueError):
        return signal.Signals(-status).name
    return f"status {status}"


def _error(label: str, kind: str, text: str, hint: str | None) -> FacekeepError:
    found = getattr(errors, kind, None)
    if isinstance(found, type) and issubclass(found, FacekeepError):
        error = found(text)
        error.hint = Hint(hint) if hint else None
        return error
    if kind == "MemoryError":
        return ModelError(f"{label} needs more memory than there is")
    return ModelError(f"{label} cannot be used: {kind}: {one_line(text)}")


def _limit(seconds: int) -> None:
    """Bound the time and the memory of this process, and let it leave no core behind."""
    try:
        import resource
    except ImportError:  # not on this system; the time is bounded from outside all the same
        return
    most = max(free_memory() or 0, _LEAST_MEMORY)
    for kind, value in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_AS, most),
    ):
        hard = resource.getrlimit(kind)[1]
        bound = value if hard == resource.RLIM_INFINITY else min(value, hard)
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(kind, (bound, hard))


def _main() -> None:
    """Read a request, and answer it."""
    answers = os.dup(1)
    os.dup2(2, 1)  # what native code prints is no answer
    function, arguments, seconds = json.load(sys.stdin.buffer)
    _limit(seconds)
    module, _, name = function.partition(":")
    try:
        answer = {"result": getattr(importlib.import_module(module), name)(*arguments)}
    except Exception as error:  # noqa: BLE001 - the other process tells of it
        answer = {"error": type(error).__name__, "text": f"{type(error).__name__}: {error}"}
        if isinstance(error, FacekeepError):
            answer |= {"text": str(error), "hint": error.hint and error.hint.key}
    with os.fdopen(answers, "wb") as stream:
        stream.write(json.dumps(answer).encode())


if __name__ == "__main__":
    _main()
