"""Recordings: whole files of bounded size, whatever ends the process that writes them."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import threading
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from facekeep import Face, InputError, Observation

av = pytest.importorskip("av")

from facekeep.video.recorder import Recorder  # noqa: E402

START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@dataclass
class Frame:
    """The part of ``facekeep.Frame`` that is recorded."""

    image: Any
    position: float
    camera: str = "door"

    @property
    def time(self) -> datetime:
        return START + timedelta(seconds=self.position)


def noise(seed: int, height: int = 120, width: int = 160) -> Any:
    small = np.random.default_rng(seed).integers(0, 255, (height // 8, width // 8, 3), np.uint8)
    return small.repeat(8, 0).repeat(8, 1)


def add(recorder: Recorder, frame: Frame, observations: tuple[Observation, ...] = ()) -> None:
    recorder.add(frame, observations, wait=True)  # type: ignore[arg-type]


def films(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.mkv"))


def frames_of(path: Path) -> list[Any]:
    with av.open(str(path)) as container:
        return list(container.decode(video=0))


def test_frames_are_recorded_with_boxes_and_their_times(tmp_path: Path) -> None:
    folder = tmp_path / "films"
    box = np.array([40, 30, 90, 100], np.float32)
    face = Face(box, np.full((5, 2), 60, np.float32), 0.9)
    seen = (Observation(face, 1, "door", START),)
    gray = np.full((121, 161, 3), 128, np.uint8)  # odd sides, which H.264 does not take
    with Recorder(folder) as recorder:
        for number in range(10):
            add(recorder, Frame(gray, number * 0.2), seen)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    (film,) = films(folder)
    assert film.name == "door-20260102T030405.000Z.mkv"
    assert stat.S_IMODE(film.stat().st_mode) == 0o600
    frames = frames_of(film)
    assert [round(frame.time, 3) for frame in frames] == [n / 5 for n in range(10)]
    image = frames[-1].to_ndarray(format="rgb24")
    assert image.shape == (120, 160, 3)
    assert np.abs(image[32:98, 39:42].astype(int) - 128).max() > 40, "the box is drawn"
    assert np.abs(image[2:20, 100:150].astype(int) - 128).max() < 10


def test_files_end_by_length_and_where_size_or_clock_jump(tmp_path: Path) -> None:
    positions = [0, 1, 2, 3.5, 4, 0.5, 1.0]
    with Recorder(tmp_path, seconds=3) as recorder:
        for seed, position in enumerate(positions):
            add(recorder, Frame(noise(seed), position))
        add(recorder, Frame(noise(9, 64, 64), 1.5))
        add(recorder, Frame(noise(9, 64, 64), 1.5, camera="../yard"))
    found = {film.name: len(frames_of(film)) for film in films(tmp_path)}
    assert found == {
        "door-20260102T030405.000Z.mkv": 3,
        "door-20260102T030408.500Z.mkv": 2,
        "door-20260102T030405.500Z.mkv": 2,
        "door-20260102T030406.500Z.mkv": 1,
        "___yard-20260102T030406.500Z.mkv": 1,
    }
    assert not list(tmp_path.glob(".*.part"))


def test_the_oldest_recordings_make_room(tmp_path: Path) -> None:
    other = tmp_path / "holiday.mkv"
    other.write_bytes(b"mine")
    with Recorder(tmp_path, max_bytes=1_000_000, seconds=1) as recorder:
        for number in range(400):
            add(recorder, Frame(noise(number, 240, 320), number / 10))
    names = [film.name for film in films(tmp_path) if film != other]
    total = sum((tmp_path / name).stat().st_size for name in names)
    assert 300_000 < total <= 1_000_000
    assert names[-1] == "door-20260102T030444.000Z.mkv"
    assert "door-20260102T030405.000Z.mkv" not in names
    assert other.read_bytes() == b"mine", "what is no recording stays"


def test_two_processes_do_not_share_a_folder(tmp_path: Path) -> None:
    with Recorder(tmp_path), pytest.raises(InputError, match="another process records in"):
        Recorder(tmp_path)
    Recorder(tmp_path).close()
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot record in"):
        Recorder(tmp_path / "file")


CHILD = """
import sys, time
sys.path[:0] = [{helpers!r}]
from pathlib import Path
from test_recorder import Frame, add, noise
from facekeep.video.recorder import Recorder
recorder = Recorder(Path({folder!r}))
for number in range(10**6):
    add(recorder, Frame(noise(number), number / 10))
    if number == 100:
        print("ready", flush=True)
    time.sleep(0.002)
"""


@pytest.mark.slow
def test_files_of_others_stay_as_they_are(tmp_path: Path) -> None:
    folder, precious = tmp_path / "films", tmp_path / "precious.txt"
    folder.mkdir(0o700)
    precious.write_text("keep me")
    name = "door-20260102T030405.000Z.mkv"
    for link in (".lock", f".{name}.part"):
        (folder / link).symlink_to(precious)
        refused = pytest.raises(InputError) if link == ".lock" else nullcontext()
        with refused, Recorder(folder) as recorder:
            add(recorder, Frame(noise(1), 0.0))
        assert precious.read_text() == "keep me"
        (folder / link).unlink(missing_ok=True)
    (folder / name).symlink_to(tmp_path / "nowhere")
    os.mkfifo(folder / f".{name}.part")
    with Recorder(folder):
        pass


def test_what_a_killed_process_leaves_is_kept_as_far_as_it_plays(tmp_path: Path) -> None:
    code = CHILD.format(helpers=str(Path(__file__).parent), folder=str(tmp_path))
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        os.kill(child.pid, signal.SIGKILL)
    assert films(tmp_path) == []
    (tmp_path / ".door-20260102T000000.000Z.mkv.part").write_bytes(b"no film at all")
    Recorder(tmp_path).close()
    (film,) = films(tmp_path)
    assert len(frames_of(film)) > 20
    assert not list(tmp_path.glob(".*.part"))


def test_frames_are_left_out_while_the_writer_is_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = threading.Event()
    write = Recorder._write

    def write_late(*arguments: Any) -> None:
        go_on.wait(60)
        write(*arguments)

    monkeypatch.setattr(Recorder, "_write", write_late)
    with Recorder(tmp_path) as recorder:
        for number in range(30):
            recorder.add(Frame(noise(number), number / 10), ())  # type: ignore[arg-type]
        go_on.set()
    (film,) = films(tmp_path)
    assert recorder.dropped >= 20
    assert len(frames_of(film)) == 30 - recorder.dropped


def test_a_disk_that_is_full_is_told_and_stops_nobody(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with Recorder(tmp_path) as recorder:
        recorder._folder = tmp_path / "gone"  # what root, too, cannot write to
        for number in range(30):
            add(recorder, Frame(noise(number), number / 10))
    assert recorder.dropped >= 29
    assert "recording pauses for 10 s: no such file or folder" in caplog.text
