"""What every session must stand, whichever runtime is behind it."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from facekeep.errors import FacekeepError, InputError
from facekeep.runtime import Session


def close_while_others_run(session: Session, feeds: Mapping[str, NDArray[Any]]) -> None:
    """Close a session that four threads use: each must end with the error that says so."""
    started = threading.Event()
    failures: list[BaseException] = []

    def work() -> None:
        try:
            while True:
                session.run(feeds)
                started.set()
        except InputError:
            pass
        except BaseException as error:  # noqa: BLE001 - any other end is the failure looked for
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    assert started.wait(30)
    session.close()
    for thread in threads:
        thread.join(30)
    assert not failures
    assert not any(thread.is_alive() for thread in threads)


def assert_one_line(error: FacekeepError) -> None:
    assert "\n" not in str(error)
    assert 10 < len(str(error)) < 400
