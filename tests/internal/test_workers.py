from __future__ import annotations

import os
import threading
import time

import pytest

from facekeep._internal.workers import ALONE, Workers


def test_results_come_in_the_order_of_the_parts():
    with Workers(3) as workers:
        assert workers.map(lambda part: part * 2, range(50)) == list(range(0, 100, 2))
        assert workers.map(str, []) == []


def test_parts_are_shared_with_other_threads():
    """Two parts that wait for each other end only if two threads have them."""
    meeting = threading.Barrier(2)
    with Workers(2) as workers:
        workers.map(lambda _: meeting.wait(60), range(2))


def test_one_thread_is_that_of_the_caller():
    here = threading.get_ident()
    for workers in (ALONE, Workers(1)):
        assert set(workers.map(lambda _: threading.get_ident(), range(5))) == {here}


def test_parts_may_have_parts():
    with Workers(2) as workers:
        sums = workers.map(lambda n: sum(workers.map(lambda m: m, range(n))), range(20))
    assert sums == [n * (n - 1) // 2 for n in range(20)]


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_what_a_part_raises_reaches_the_caller(threads):
    def fail(part: int) -> None:
        if part == 3:
            raise ValueError("three")

    with Workers(threads) as workers:
        with pytest.raises(ValueError, match="three"):
            workers.map(fail, range(8))
        assert workers.map(abs, [-1, -2]) == [1, 2]


def test_closing_ends_the_threads_and_a_new_job_starts_others():
    workers = Workers(2)
    before = threading.active_count()
    meeting = threading.Barrier(2)
    workers.map(lambda _: meeting.wait(60), range(2))
    assert threading.active_count() == before + 1
    workers.close()
    workers.close()
    while threading.active_count() > before:
        time.sleep(0.001)
    workers.map(lambda _: meeting.wait(60), range(2))
    workers.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_process_starts_its_own_threads():
    with Workers(2) as workers:
        meeting = threading.Barrier(2)
        workers.map(lambda _: meeting.wait(60), range(2))
        child = os.fork()
        if child == 0:
            again = threading.Barrier(2)
            try:
                workers.map(lambda _: again.wait(60), range(2))
                os._exit(0)
            finally:
                os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        workers.map(lambda _: meeting.wait(60), range(2))
