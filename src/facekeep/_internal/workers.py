"""Threads that share the parts of one job with the thread that has it."""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from facekeep._internal.closing import Closing
from facekeep._internal.fork import Forking, watch

__all__ = ["ALONE", "Workers"]

_T = TypeVar("_T")
_R = TypeVar("_R")


class Workers(Closing, Forking):
    """Threads for jobs in parts. They start with the first job, and again after `close`.

    The thread that has the job does parts of it, too: so a part may have parts itself, and a job
    ends even if all threads are busy with other ones.

    Args:
        threads: How many threads work on a job, the caller's among them; at least 1.
    """

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._lock = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None
        watch(self)

    def map(self, function: Callable[[_T], _R], parts: Sequence[_T]) -> list[_R]:
        """Call a function with each part, and return what it gives, in order.

        If it raises, the parts that nobody has begun are left out.
        """
        helpers = min(self.threads, len(parts)) - 1
        if helpers < 1:
            return [function(part) for part in parts]
        results: dict[int, _R] = {}
        left = deque(range(len(parts)))

        def work() -> None:
            while left:
                try:
                    place = left.popleft()
                except IndexError:  # another thread took the last one
                    return
                try:
                    results[place] = function(parts[place])
                except BaseException:
                    left.clear()
                    raise

        others: list[Future[None]] = []
        with self._lock:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(self.threads - 1, "facekeep")
            with contextlib.suppress(RuntimeError):  # the program ends: no thread begins any more
                others.extend(self._pool.submit(work) for _ in range(helpers))
        try:
            work()
        finally:
            begun = [each for each in others if not each.cancel()]
            failures = [failure for each in begun if (failure := each.exception())]
        if failures:
            raise failures[0]
        return [results[place] for place in range(len(parts))]

    def close(self) -> None:
        """Let the threads end once they have done what they work on."""
        with self._lock:
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(wait=False)

    def after_fork(self, *, child: bool) -> None:
        """Start other threads in the child: those of the parent are not there."""
        if child:
            self._lock = threading.Lock()
            self._pool = None


ALONE = Workers(1)
"""Nobody but the thread that has the job."""
