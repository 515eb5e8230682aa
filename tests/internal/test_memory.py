"""How much memory there is, and threads that take it in turns."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from facekeep._internal.memory import MemoryBudget, can_allocate, free_memory

MB = 1 << 20


def machine(root: Path, free: int, groups: str = "") -> None:
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/meminfo").write_text(f"MemTotal: 9 kB\nMemAvailable:  {free // 1024} kB\n")
    (root / "proc/self/cgroup").write_text(groups)


def group(folder: Path, **files: object) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in files.items():
        (folder / name.replace("__", ".")).write_text(f"{value}\n")


def test_without_groups_it_is_what_the_machine_has_left(tmp_path: Path) -> None:
    assert free_memory(tmp_path) is None
    machine(tmp_path, 500 * MB)
    assert free_memory(tmp_path) == 500 * MB


def test_a_control_group_bounds_it(tmp_path: Path) -> None:
    machine(tmp_path, 500 * MB, "0::/box/inner\n")
    inner, top = tmp_path / "sys/fs/cgroup/box/inner", tmp_path / "sys/fs/cgroup"
    group(inner, memory__max="max", memory__current=7)
    assert free_memory(tmp_path) == 500 * MB
    group(inner, memory__max=300 * MB, memory__current=250 * MB)
    assert free_memory(tmp_path) == 50 * MB
    group(inner, memory__stat=f"anon 5\ninactive_file {100 * MB}")
    assert free_memory(tmp_path) == 150 * MB
    group(top / "box", memory__max=90 * MB, memory__current=80 * MB)
    assert free_memory(tmp_path) == 10 * MB
    group(top, memory__max=1, memory__current=2)
    assert free_memory(tmp_path) == 0


def test_a_control_group_of_version_1_bounds_it(tmp_path: Path) -> None:
    machine(tmp_path, 500 * MB, "5:cpu:/x\n4:memory:/x\n")
    group(
        tmp_path / "sys/fs/cgroup/memory/x",
        memory__limit_in_bytes=200 * MB,
        memory__usage_in_bytes=120 * MB,
        memory__stat=f"total_inactive_file {20 * MB}",
    )
    assert free_memory(tmp_path) == 100 * MB


def test_this_machine_tells() -> None:
    assert (free_memory() or 0) > MB


def test_who_is_alone_does_not_wait_and_small_ones_never_do() -> None:
    budget = MemoryBudget(lambda: 100 * MB)
    with budget.taken(99 * MB), budget.taken(MB), budget.taken(MB):
        pass
    with pytest.raises(MemoryError, match="it takes 101 MB"), budget.taken(101 * MB):
        pytest.fail("there is no room")
    with MemoryBudget(lambda: None).taken(1 << 50):
        pass


def test_threads_take_turns() -> None:
    budget, inside, most = MemoryBudget(lambda: 300 * MB), 0, 0
    lock = threading.Lock()

    def work() -> None:
        nonlocal inside, most
        for _ in range(50):
            with budget.taken(70 * MB):
                with lock:
                    inside += 1
                    most = max(most, inside)
                with lock:
                    inside -= 1

    threads = [threading.Thread(target=work) for _ in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(60)
    assert not any(each.is_alive() for each in threads)
    assert 1 <= most <= 2
    assert inside == 0


def test_there_is_room_for_little_and_none_for_all() -> None:
    assert can_allocate(1 << 20)
    assert not can_allocate(1 << 60)
    assert not can_allocate(1 << 80)


@pytest.mark.skipif(sys.platform != "linux", reason="a limit of Linux's")
def test_a_limit_of_the_process_counts() -> None:
    code = (
        "import resource; from facekeep._internal.memory import can_allocate\n"
        "taken = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()\n"
        "resource.setrlimit(resource.RLIMIT_AS, (taken + (64 << 20), resource.RLIM_INFINITY))\n"
        "print(can_allocate(1 << 20), can_allocate(256 << 20))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "False"]


_GAPS = """
import ctypes, sys
from contextlib import nullcontext
from facekeep._internal.memory import large_blocks_apart

c = ctypes.CDLL(None)
for name in ("malloc", "memset"):
    getattr(c, name).restype = ctypes.c_void_p
c.memset.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]
c.free.argtypes = [ctypes.c_void_p]
c.malloc.argtypes = [ctypes.c_size_t]

def taken(size):
    block = c.malloc(size)
    c.memset(block, 1, size)
    return block

def resident():
    line = next(line for line in open("/proc/self/status") if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024

c.free(taken(30 << 20))  # from now on glibc keeps blocks of this size
with large_blocks_apart() if sys.argv[1] == "apart" else nullcontext():
    before = resident()
    blocks = [(taken(4 << 20), taken(1 << 10)) for _ in range(10)]
    for large, _ in blocks:
        c.free(large)
    print(resident() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_large_blocks_leave_no_gaps_while_they_are_kept_apart() -> None:
    kept = {}
    for way in ("apart", "as usual"):
        command = [sys.executable, "-c", _GAPS, way]
        kept[way] = float(subprocess.run(command, capture_output=True, check=True).stdout)
    assert kept["apart"] < 4
    if kept["as usual"] < 30:
        pytest.skip("this is not glibc, which would keep the blocks")


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MALLOC_MMAP_THRESHOLD_", "33554432"),
        ("GLIBC_TUNABLES", "glibc.malloc.mmap_threshold=33554432"),
    ],
)
def test_limits_that_were_set_for_the_whole_program_stay(name: str, value: str) -> None:
    kept = {}
    for way in ("apart", "as usual"):
        command = [sys.executable, "-c", _GAPS, way]
        environ = {**os.environ, name: value}
        done = subprocess.run(command, capture_output=True, check=True, env=environ)
        kept[way] = float(done.stdout)
    assert kept["apart"] == pytest.approx(kept["as usual"], abs=4)
