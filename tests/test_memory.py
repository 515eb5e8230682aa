"""Whether there is memory to be had."""

from __future__ import annotations

import subprocess
import sys

import pytest

from facekeep._memory import has_room


def test_there_is_room_for_little_and_none_for_all() -> None:
    assert has_room(1 << 20)
    assert not has_room(1 << 60)
    assert not has_room(1 << 80)


@pytest.mark.skipif(sys.platform != "linux", reason="a limit of Linux's")
def test_a_limit_of_the_process_counts() -> None:
    code = (
        "import resource; from facekeep._memory import has_room\n"
        "taken = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()\n"
        "resource.setrlimit(resource.RLIMIT_AS, (taken + (64 << 20), resource.RLIM_INFINITY))\n"
        "print(has_room(1 << 20), has_room(256 << 20))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "False"]
