"""Runs one live session for ``benchmarks/live.py`` in a process of its own; prints a JSON line.

    python benchmarks/live_worker.py '{"do": "watch", "sources": ["door.mp4"], ...}'
    python benchmarks/live_worker.py '{"do": "serve", ...}'

``watch`` opens the sources in one session and counts; ``serve`` sends drawn footage as MJPEG over
HTTP, with the time of sending in each picture, and prints its address.
"""

from __future__ import annotations

import json
import os
import re
import sys
import threading
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "helpers"))

_WRAP = 1 << 16  # the stamp counts milliseconds of the system's monotonic clock


def main() -> None:
    """Do what the first argument asks."""
    asked = json.loads(sys.argv[1])
    os.sched_setaffinity(0, asked.pop("cores"))
    {"watch": watch, "serve": serve}[asked.pop("do")](**asked)


def serve(seconds: float, fps: int) -> None:
    """Send two people who come and go, again and again, until this process ends."""
    import footage
    from video_servers import MjpegServer

    first, second = footage.portrait_people()
    walks = (
        footage.cross_picture(first, 0.2, 2.6, y=200),
        footage.cross_picture(second, 1.4, 2.6, y=280, back=True),
    )
    pictures = list(footage.Footage(seconds, walks, footage.plain_background(), fps))

    def play() -> Any:
        due = time.monotonic()
        for number in range(1 << 40):
            due += 1 / fps
            yield max(0.0, due - time.monotonic())
            stamp = int(time.monotonic() * 1000) % _WRAP
            yield footage.stamp(pictures[number % len(pictures)], stamp)

    server = MjpegServer(play)
    print(server.url(), flush=True)
    threading.Event().wait()


def watch(
    sources: list[str],
    gallery: str,
    *,
    model: str | None = None,
    realtime: bool = False,
    stamped: bool = False,
    seconds: float | None = None,
    every: float | None = None,
    options: dict[str, Any] | None = None,
) -> None:
    """Watch the sources with one engine on one thread, and count.

    Args:
        sources: As of ``Camera``.
        gallery: Who is known; it exists.
        model: The embedder.
        realtime: Play files at their own speed.
        stamped: The pictures tell when they were sent.
        seconds: Stop then; None: at the end.
        every: Print the resident memory so often meanwhile, in seconds.
        options: Of ``LiveOptions``.
    """
    from footage import read_stamp

    from facekeep import Camera, FaceEngine, Frame
    from facekeep.samples import load_portraits
    from facekeep.types import Observation
    from facekeep.video.live import LiveOptions, LiveSession

    counts = {"frames": 0, "faces": 0}
    marks: list[tuple[float, float]] = []
    sent = [0]
    waits: list[float] = []

    def note(frame: Frame, seen: list[Observation]) -> None:
        marks[1:] = [(time.monotonic(), time.process_time())]
        if len(marks) == 1:
            marks.append(marks[0])
        counts["frames"] += 1
        counts["faces"] += len(seen)
        if stamped:
            sent[0] = read_stamp(frame.image)

    def memory() -> None:
        while True:
            time.sleep(every or 1)
            print(json.dumps({"rss": _memory("VmRSS"), "at": time.monotonic()}), flush=True)

    with FaceEngine(gallery, embedder=model, threads=1, read_only=True) as engine:
        engine.identify(next(iter(load_portraits().values())))  # all networks are loaded
        cameras = [
            Camera(source, name=f"camera {number}", realtime=realtime, give_up=20)
            for number, source in enumerate(sources)
        ]
        session = LiveSession(engine, cameras, LiveOptions(**options or {}), on_frame=note)
        if seconds is not None:
            threading.Thread(target=_stop_later, args=(session, seconds), daemon=True).start()
        if every is not None:
            threading.Thread(target=memory, daemon=True).start()
        arrivals: list[str | None] = []
        with session:
            for event in session.events():
                if event.event == "arrived":
                    now = int(time.monotonic() * 1000) % _WRAP
                    waits.append(((now - sent[0]) % _WRAP) / 1000)
                    arrivals.append(event.name)
            status = session.status()
    wall, processor = (marks[-1][place] - marks[0][place] for place in (0, 1))
    answer = {
        **counts,
        "wall": wall,
        "processor": processor,
        "rss": _memory("VmRSS"),
        "peak": _memory("VmHWM"),
        "arrivals": arrivals,
        "waits": waits if stamped else [],
        "cameras": [
            {
                "frames": each.frames,
                "looks": each.looks,
                "dropped": each.dropped,
                "latency": each.latency,
                "error": each.error,
            }
            for each in status
        ],
    }
    print(json.dumps(answer), flush=True)


def _stop_later(session: Any, seconds: float) -> None:
    time.sleep(seconds)
    session.stop()


def _memory(what: str) -> float:
    """Return a figure of this process's memory in MB."""
    (kilobytes,) = re.findall(rf"{what}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return round(int(kilobytes) / 1024, 1)


if __name__ == "__main__":
    main()
