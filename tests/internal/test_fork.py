"""A process that used an engine forks, as servers with a master and workers do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="the system does not fork"),
]

HEAD = """
import json, multiprocessing, os, signal, sys, threading, time, warnings
from facekeep import FaceEngine, Gallery, PhotoCache
warnings.simplefilter("ignore", DeprecationWarning)  # Python's, of forks beside threads
photo, other, path, threads = *sys.argv[1:4], int(sys.argv[4])
engine = FaceEngine(path, threads=threads)

def names(engine, photo=photo):
    return [face.name for face in engine.identify(photo)]

def child(work):
    pid = os.fork()
    if pid:
        return pid
    signal.alarm(40)  # one that hangs is ended
    work()
    sys.exit(0)       # with the interpreter's own end, unlike os._exit

def ended(pid):
    return os.waitpid(pid, 0)[1]

def use(engine):
    assert names(engine) == ["Grace Hopper"], names(engine)
"""


def run(
    code: str, tmp_path: Path, photos: tuple[Path, Path], threads: int, **environment: str
) -> object:
    """Run code after ``HEAD``; it prints one JSON value."""
    hopper, collins = photos
    words = [str(hopper), str(collins), str(tmp_path / "people.db"), str(threads)]
    done = subprocess.run(
        [sys.executable, "-c", HEAD + code, *words],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={**os.environ, **environment},
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture
def photos(hopper_path: Path, collins_path: Path, ready_models: None) -> tuple[Path, Path]:
    return hopper_path, collins_path


WAYS = """
engine.enroll("Grace Hopper", photo)
use(engine)

def drop():
    global engine
    engine = None

def anew():
    with FaceEngine(path, threads=threads) as own:
        use(own)

def enroll():
    engine.enroll("Eileen Collins", other)

ways = {
    "nothing": lambda: None,
    "close": lambda: engine.close(),
    "drop": drop,
    "use": lambda: use(engine),
    "use and close": lambda: (use(engine), engine.close()),
    "a new engine": anew,
    "enroll": enroll,
    "a child's child": lambda: (use(engine), ended(child(lambda: use(engine))) == 0 or sys.exit(9)),
}
done = {name: ended(child(way)) for name, way in ways.items()}
use(engine)
done["parent sees it"] = names(engine, other) != ["Eileen Collins"]
done["sound"] = len(engine.gallery.check())
engine.close()
print(json.dumps(done))
"""


@pytest.mark.parametrize("threads", [0, 1, 3])
def test_children_of_a_process_with_an_engine_end_and_work(
    tmp_path: Path, photos: tuple[Path, Path], threads: int
) -> None:
    done = run(WAYS, tmp_path, photos, threads)
    assert isinstance(done, dict)
    assert len(done) == 10
    assert {name: status for name, status in done.items() if status} == {}


POOL = """
engine.enroll("Grace Hopper", photo)
use(engine)
context = multiprocessing.get_context("fork")

def work(number):
    engine.enroll(f"Person {number}", photo) if number == 99 else use(engine)
    return number

with context.Pool(2) as pool:
    first = pool.map(work, range(4))
process = context.Process(target=use, args=(engine,))
process.start()
process.join(60)
print(json.dumps([sorted(first), process.exitcode]))
"""


def test_workers_of_multiprocessing_use_what_their_parent_opened(
    tmp_path: Path, photos: tuple[Path, Path]
) -> None:
    assert run(POOL, tmp_path, photos, 3) == [[0, 1, 2, 3], 0]


BUSY = """
engine.enroll("Grace Hopper", photo)
use(engine)
going = True

def keep_using():
    while going:
        use(engine)

users = [threading.Thread(target=keep_using) for _ in range(2)]
for user in users:
    user.start()
done = [ended(child(lambda: use(engine))) for _ in range(3)]
going = False
for user in users:
    user.join()
engine.close()
print(json.dumps(done))
"""


def test_a_fork_while_other_threads_are_at_work(tmp_path: Path, photos: tuple[Path, Path]) -> None:
    assert run(BUSY, tmp_path, photos, 3) == [0, 0, 0]


TOGETHER = """
engine.enroll("Grace Hopper", photo)
use(engine)
template = engine.gallery.person("Grace Hopper").templates

def write(worker):
    from facekeep import NewTemplate
    vector = engine.analyze(photo)[0].embedding
    for number in range(15):
        engine.gallery.enroll(f"Person {worker} {number}", [NewTemplate(vector)])

workers = [child(lambda worker=worker: write(worker)) for worker in range(3)]
write("parent")
done = [ended(worker) for worker in workers]
count = engine.gallery.count()
engine.close()
with Gallery.open(path) as gallery:
    done += [count, gallery.count(), len(gallery.check())]
print(json.dumps(done))
"""


def test_parent_and_children_write_to_one_gallery(
    tmp_path: Path, photos: tuple[Path, Path]
) -> None:
    assert run(TOGETHER, tmp_path, photos, 1) == [0, 0, 0, 61, 61, 0]


CLOSED = """
engine.enroll("Grace Hopper", photo)
closed = Gallery.open(path)
closed.close()
print(json.dumps(ended(child(lambda: use(engine)))))
"""


def test_a_gallery_that_was_closed_does_not_disturb_a_fork(
    tmp_path: Path, photos: tuple[Path, Path]
) -> None:
    assert run(CLOSED, tmp_path, photos, 1) == 0


CACHED = """
with PhotoCache() as cache:
    cache.keep("d" * 64, "r", "cannot be read")

    def look():
        assert cache.find("d" * 64, "r") == "cannot be read"
        cache.keep("e" * 64, "r", "cannot be read either")

    done = [ended(child(look))]
    done.append(cache.find("e" * 64, "r"))
print(json.dumps(done))
"""


def test_a_cache_of_photos_is_used_on_in_the_child(
    tmp_path: Path, photos: tuple[Path, Path]
) -> None:
    assert run(CACHED, tmp_path, photos, 1) == [0, "cannot be read either"]
