from __future__ import annotations

import gc
import hashlib
import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
import torch
from data_kit import encoded, picture, write_people

from facekeep.errors import ImageError, InputError, RuntimeUnavailable
from facekeep.lab.datasets.augment import Augment
from facekeep.lab.datasets.source import Source
from facekeep.lab.datasets.training_set import open_source
from facekeep.lab.train.loader import Batch, Loader

HARD = Augment(light=0.5, jpeg=0.5, erase=0.5)


class Listed(Source):
    """So many images in memory; those in ``broken`` are none."""

    def __init__(self, count: int, broken: frozenset[int] = frozenset()) -> None:
        super().__init__("list", np.arange(count) % 7, [f"p{n}" for n in range(7)])
        self.broken = broken

    def key(self, index: int) -> str:
        return f"k{index}"

    def read(self, index: int) -> bytes:
        return encoded(index)[: 40 if index in self.broken else None]


def list_batches(batches: list[Batch]) -> list[tuple[str, list[int], list[int]]]:
    return [
        (
            hashlib.sha256(each.images.numpy().tobytes()).hexdigest(),
            each.labels.tolist(),
            each.index.tolist(),
        )
        for each in batches
    ]


def run(source: Source, epoch: int = 0, start_step: int = 0, **settings: object) -> list[Batch]:
    chosen = {"batch": 5, "size": 24, "seed": 3, "augment": HARD} | settings
    return list(Loader(source, **chosen).epoch(epoch, start_step=start_step))  # type: ignore[arg-type]


def test_an_epoch_gives_each_image_once_and_leaves_out_the_rest() -> None:
    batches = run(Listed(38), augment=None)
    index = [int(i) for each in batches for i in each.index]
    assert len(batches) == 7
    assert len(set(index)) == 35
    assert set(index) <= set(range(38))
    for each in batches:
        assert each.images.shape == (5, 3, 24, 24)
        assert each.images.is_contiguous()
        assert each.images.dtype == torch.uint8
        assert each.labels.dtype == each.index.dtype == torch.int64
        assert each.labels.tolist() == (each.index % 7).tolist()
        for place, i in enumerate(each.index.tolist()):
            assert (each.images[place].permute(1, 2, 0).numpy() == picture(i)).all()


@pytest.mark.slow
def test_epochs_and_seeds_differ_in_order_and_in_augmentation() -> None:
    source = Listed(30)
    ways = [
        list_batches(run(source, epoch, seed=seed))
        for epoch, seed in ((0, 0), (1, 0), (0, 1), (1, 1), (0, 2**32 - 1))
    ]
    assert all(a != b for n, a in enumerate(ways) for b in ways[:n])
    assert list_batches(run(source, 1, seed=0)) == ways[1]
    faces = {}
    for epoch in range(3):
        for each in run(source, epoch):
            for i, image in zip(each.index.tolist(), each.images, strict=True):
                faces.setdefault(i, set()).add(image.numpy().tobytes())
    assert np.mean([len(found) for found in faces.values()]) > 2.5


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_workers_change_nothing(tmp_path: Path, workers: int) -> None:
    (write_people(tmp_path) / "Cy" / "0.png").write_bytes(b"broken")
    source = open_source(tmp_path)
    for epoch in (0, 1):
        alone = list_batches(run(source, epoch, batch=2))
        assert list_batches(run(source, epoch, batch=2, workers=workers)) == alone
        assert list_batches(run(source, epoch, 3, batch=2, workers=workers)) == alone[3:]


def test_a_run_goes_on_in_the_middle_of_an_epoch() -> None:
    source = Listed(30, frozenset({4, 5, 6}))
    whole = list_batches(run(source))
    for start in range(7):
        assert list_batches(run(source, 0, start)) == whole[start:]


@pytest.mark.parametrize(("world", "batch"), [(2, 5), (5, 2), (10, 1)])
def test_processes_share_the_batch_of_one(world: int, batch: int) -> None:
    source = Listed(47, frozenset({11, 12}))
    one = run(source, batch=10)
    ranks = [run(source, batch=batch, rank=rank, world=world) for rank in range(world)]
    assert {len(each) for each in ranks} == {len(one)} == {4}
    for step, whole in enumerate(one):
        parts = [each[step] for each in ranks]
        for field in ("images", "labels", "index"):
            joined = torch.cat([getattr(part, field) for part in parts])
            assert torch.equal(joined, getattr(whole, field))


def test_steps_are_counted_alike_in_all_processes() -> None:
    for rank in range(3):
        loader = Loader(Listed(32), batch=5, rank=rank, world=3)
        assert loader.steps_per_epoch == 2


def test_faces_are_augmented_by_their_own_numbers() -> None:
    """A face's augmentation does not depend on its place in a batch."""
    source = Listed(12)
    pair, single = run(source, batch=2), run(source, batch=1)
    faces = [image for each in pair for image in each.images]
    assert all(torch.equal(a, b.images[0]) for a, b in zip(faces, single, strict=True))
    plain = run(source, batch=1, augment=None)
    assert any(not torch.equal(a.images, b.images) for a, b in zip(plain, single, strict=True))


def test_no_augmentation_equals_the_settings_that_do_nothing() -> None:
    assert list_batches(run(Listed(10), augment=None)) == list_batches(
        run(Listed(10), augment=Augment.none())
    )


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_what_cannot_be_used_is_replaced_and_counted(
    workers: int, caplog: pytest.LogCaptureFixture
) -> None:
    broken = frozenset(range(0, 40, 4))
    loader = Loader(Listed(40, broken), batch=8, size=24, seed=1, workers=workers)
    batches = list(loader.epoch(0))
    assert [len(each.images) for each in batches] == [8] * 5
    index = torch.cat([each.index for each in batches]).tolist()
    assert not broken & set(index)
    assert len(index) == 40
    replaced = sum(i in broken for i in np.random.default_rng((0, 1, 0)).permutation(40))
    assert loader.corrupt >= replaced == 10
    skipped = [each.getMessage() for each in caplog.records if "skipped" in each.getMessage()]
    assert len(skipped) == 5
    assert all("k" in text and "\n" not in text for text in skipped)


@pytest.mark.slow
def test_the_count_of_a_run_that_goes_on_is_that_of_one_that_was_not_stopped() -> None:
    source = Listed(40, frozenset(range(0, 40, 3)))
    whole = Loader(source, batch=4, size=24)
    assert list(whole.epoch(0))
    first = Loader(source, batch=4, size=24, workers=2)
    for step, _ in enumerate(first.epoch(0)):
        if step == 5:
            break
    second = Loader(source, batch=4, size=24)
    second.corrupt = first.corrupt
    assert list(second.epoch(0, start_step=6))
    assert second.corrupt == whole.corrupt > 0


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_a_source_in_which_nearly_all_is_broken_stops(workers: int) -> None:
    loader = Loader(Listed(4000, frozenset(range(3999))), batch=8, size=24, workers=workers)
    with pytest.raises(ImageError, match=r"list: 64 images in a row cannot be used; k\d+: ") as why:
        list(loader.epoch(0))
    assert "\n" not in str(why.value)


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"batch": 0}, "batch must be a whole number, 1 at least"),
        ({"batch": 2.5}, "batch must be"),
        ({"batch": True}, "batch must be"),
        ({"size": 0}, "size must be"),
        ({"seed": -1}, "seed must be"),
        ({"seed": 2**32}, "seed must be .* 4294967295 at most"),
        ({"workers": -1}, "workers must be"),
        ({"world": 0}, "world must be"),
        ({"world": 2, "rank": 2}, "rank must be .* 1 at most"),
        ({"batch": 5, "world": 3, "rank": 0}, "10 images are fewer than the 15 of one batch"),
    ],
)
def test_settings_that_make_no_sense(wrong: dict[str, int], why: str) -> None:
    with pytest.raises(InputError, match=why):
        Loader(Listed(10), **({"batch": 5} | wrong))  # type: ignore[arg-type]


def test_epochs_and_steps_that_make_no_sense() -> None:
    loader = Loader(Listed(10), batch=5)
    with pytest.raises(InputError, match="epoch must be"):
        next(loader.epoch(-1))
    with pytest.raises(InputError, match="start_step must be"):
        next(loader.epoch(0, start_step=-1))
    assert list(loader.epoch(0, start_step=2)) == []


def test_too_little_shared_memory_is_told_before_a_bus_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import shutil

    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=0))
    loader = Loader(Listed(10), batch=5, workers=1)
    with pytest.raises(InputError, match=r"workers need .* of shared memory.*lower"):
        next(loader.epoch(0))


def workers_now() -> list[psutil.Process]:
    return [each for each in psutil.Process().children() if each.status() != psutil.STATUS_ZOMBIE]


@pytest.mark.slow
def test_an_epoch_that_is_left_early_takes_its_workers_with_it() -> None:
    before = workers_now()
    epoch = Loader(Listed(400), batch=4, size=24, workers=2).epoch(0)
    next(epoch)
    assert len(workers_now()) == len(before) + 2
    del epoch
    gc.collect()
    assert workers_now() == before
    assert not multiprocessing.active_children()


@pytest.mark.slow
def test_global_random_numbers_are_left_alone() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    numbers = np.random.get_state()[1].copy()
    list(Loader(Listed(20), batch=5, size=24, workers=1, augment=HARD).epoch(0))
    assert torch.equal(torch.get_rng_state(), before)
    assert (np.random.get_state()[1] == numbers).all()


@pytest.mark.slow
def test_handlers_of_signals_are_left_alone() -> None:
    numbers = (signal.SIGCHLD, signal.SIGINT, signal.SIGTERM)
    before = [signal.getsignal(number) for number in numbers]
    epoch = Loader(Listed(40), batch=4, size=24, workers=1).epoch(0)
    next(epoch)
    assert [signal.getsignal(number) for number in numbers] == before


@pytest.mark.slow
def test_a_worker_that_is_killed_ends_the_epoch_with_one_line() -> None:
    before = workers_now()
    epoch = Loader(Listed(4000), batch=4, size=24, workers=1).epoch(0)
    next(epoch)
    (worker,) = [each for each in workers_now() if each not in before]
    worker.kill()
    worker.wait()
    with pytest.raises(RuntimeUnavailable, match="a worker ended unexpectedly") as why:
        list(epoch)
    assert "\n" not in str(why.value)


SCRIPT = """
import sys, time
from facekeep.lab.train.loader import Loader
from facekeep.lab.datasets.training_set import open_source
loader = Loader(open_source(sys.argv[1]), batch=2, size=24, workers=2)
for epoch in range(10_000):
    for batch in loader.epoch(epoch):
        print("batch", flush=True)
        time.sleep(0.05)
"""


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_worker_outlives_the_run(tmp_path: Path, number: signal.Signals) -> None:
    """Ctrl-C reaches the whole group; a SIGTERM or SIGKILL often the main process alone."""
    write_people(tmp_path, {"Ada": 300})
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", SCRIPT, str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "batch\n"
    workers = psutil.Process(process.pid).children(recursive=True)
    assert len(workers) == 2
    if number == signal.SIGINT:
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)
    _, complaints = process.communicate(timeout=60)
    _, alive = psutil.wait_procs(workers, timeout=30)
    assert not alive
    assert process.returncode == -number
    if number == signal.SIGINT:
        assert complaints.count("Traceback") == 1
        assert complaints.rstrip().endswith("KeyboardInterrupt")


@pytest.mark.slow
def test_a_worker_that_begins_after_its_parent_was_killed_ends_too() -> None:
    code = """
import os, time
from facekeep.lab.train.loader import _begin
_begin(0, parent=os.getpid())
time.sleep(50)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=40).returncode == 1


@pytest.mark.slow
def test_workers_of_a_process_whose_opencv_has_threads() -> None:
    import cv2

    threads = cv2.getNumThreads()
    cv2.setNumThreads(4)
    try:
        large = np.zeros((3000, 3000, 3), np.uint8)
        cv2.warpAffine(large, np.eye(2, 3), (3000, 3000))
        assert list_batches(run(Listed(20), workers=2)) == list_batches(run(Listed(20)))
        assert cv2.getNumThreads() == 4
    finally:
        cv2.setNumThreads(threads)


@pytest.mark.slow
def test_the_package_needs_no_pytorch_until_a_batch_is_made(tmp_path: Path) -> None:
    write_people(tmp_path)
    code = """
import sys
from facekeep.lab.datasets.augment import Augment
from facekeep.lab.train.loader import Loader
from facekeep.lab.datasets.source import hold_out_people
from facekeep.lab.datasets.training_set import open_source
loader = Loader(open_source(sys.argv[1]), batch=2, augment=Augment())
hold_out_people(loader.source, people=1)
for heavy in ("torch", "cv2", "PIL"):
    assert heavy not in sys.modules, heavy
sys.modules["torch"] = None
try:
    next(loader.epoch(0))
except Exception as error:
    print(type(error).__name__, error)
"""
    words = [sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("RuntimeUnavailable PyTorch is not installed")
    assert "facekeep[train]" in done.stdout


@pytest.mark.slow
@pytest.mark.shared
def test_shared_faces_through_workers(shared: Path) -> None:
    source = open_source(shared / "faces")
    loader = Loader(source, batch=32, size=96, augment=Augment(), workers=2)
    start = loader.steps_per_epoch - 4
    batches = list(loader.epoch(0, start_step=start))
    assert [tuple(each.images.shape) for each in batches] == [(32, 3, 96, 96)] * 4
    assert loader.corrupt == 0
    assert 80 < float(torch.cat([each.images for each in batches]).float().mean()) < 150
