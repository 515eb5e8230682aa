"""What watching cameras costs: frames a second, time to an event, processor, memory, and peers.

    python benchmarks/live.py --work /tmp/live
    python benchmarks/live.py --work /tmp/live --soak 30

Everything runs on one core, ten RTSP sources on two; the servers run on the other core. The footage
shows the two portraits of the demo, 640x480, two faces for most of the time. Run it on a machine
that does nothing else. The parts:

- speed: a file worked through as fast as it goes, decoding included, by facekeep with its default
  weights and with facekeep-xxs, and by a loop written as OpenCV's example programs do it: in turns,
  medians of the rounds. InsightFace and uniface have no detector whose weights can be had here.
- delay: MJPEG at 25 frames a second; each picture holds the time when it was sent. From there to
  the event, after the frame that confirmed it.
- share: of one core, while a file plays at 5, 15 and 25 frames a second.
- rtsp: ten sources of 5 frames a second on two cores.
- soak (``--soak MINUTES``): the resident memory while people come and go.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import common
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "helpers"))

import footage
from peers.roster import PEERS
from peers.venvs import PeerError, Workshop
from video_servers import RtspServer

from facekeep import FaceEngine, save_image

HERE = Path(__file__).parent
PARTS = ("speed", "delay", "share", "rtsp")
MODELS = ("sface", "facekeep-xxs")
CORE, OTHER = 0, 1
Answer = dict[str, Any]


class Bench:
    """What the parts share: the footage, the galleries, and processes on their cores.

    Args:
        options: The command line.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.work: Path = options.work.resolve()
        self.work.mkdir(parents=True, exist_ok=True)
        self.people = footage.portrait_people()
        for model in MODELS:
            self._enroll(model)
        (self.work / "photos").mkdir(exist_ok=True)
        for person in self.people:
            save_image(self.work / "photos" / f"{person.name}.png", person.photos[0])

    def gallery(self, model: str) -> Path:
        """Return the gallery of the two people."""
        return self.work / f"{model}.db"

    def _enroll(self, model: str) -> None:
        with FaceEngine(self.gallery(model), embedder=model, threads=1) as engine:
            for person in self.people:
                engine.enroll(person.name, list(person.photos))

    def video(self, fps: int, seconds: float) -> Path:
        """Return footage of two people who come, walk about before the camera, and go."""
        path = self.work / f"walk-{fps}-{seconds:g}.mp4"
        if not path.exists():
            walks = (
                _stroll(self.people[0], seconds, 200, 215, 110),
                _stroll(self.people[1], seconds, 460, 255, 90),
            )
            shown = footage.Footage(seconds, walks, footage.plain_background(), fps, noise=2.0)
            draft = path.with_name(f"draft-{path.name}")
            footage.write_video(draft, shown, fps)
            draft.replace(path)
        return path

    def watch(self, sources: Sequence[str | Path], model: str = "sface", **asked: Any) -> Answer:
        """Run a session in a process of its own and return what it counted."""
        asked = {"do": "watch", "cores": [CORE], "sources": [*map(str, sources)], **asked}
        asked |= {"gallery": str(self.gallery(model)), "model": model}
        return self._run(sys.executable, HERE / "live_worker.py", json.dumps(asked))

    def loop(self, runner: Any, video: Path) -> Answer:
        """Run OpenCV's loop over a video."""
        script = HERE / "peers" / "video_loop.py"
        return self._run(
            runner.python, "-P", script, video, runner.home, self.work / "photos", CORE
        )

    def _run(self, *command: object) -> Answer:
        with subprocess.Popen([*map(str, command)], stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            lines = [json.loads(line) for line in process.stdout]
        if process.returncode or not lines:
            raise SystemExit(f"{command[1]} failed with status {process.returncode}")
        return {**lines[-1], "memory": lines[:-1]}

    @contextlib.contextmanager
    def mjpeg(self, fps: int = 25) -> Iterator[str]:
        """Serve stamped footage on the other core; yields the address."""
        asked = {"do": "serve", "cores": [OTHER], "seconds": 5.0, "fps": fps}
        command = [sys.executable, str(HERE / "live_worker.py"), json.dumps(asked)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            try:
                yield process.stdout.readline().strip()
            finally:
                process.kill()


def _stroll(
    person: footage.Person, seconds: float, x: float, y: float, width: float
) -> footage.Walk:
    """Come in from the nearer side, walk to and fro, and leave there."""
    side = footage.SIZE[0] if x > footage.SIZE[0] / 2 else 0
    out = side + (1.3 * width if side else -1.3 * width)
    times = np.arange(1.5, seconds - 1.5, 1.5)
    middle = [
        footage.Point(time, x + 45 * (-1) ** turn, y, width) for turn, time in enumerate(times)
    ]
    ends = (footage.Point(time, out, y, width) for time in (0.2, seconds - 0.2))
    return footage.Walk(person, (next(ends), *middle, next(ends)))


def measure_speed(bench: Bench) -> list[Answer]:
    """Let facekeep and its peers work through one file, in turns."""
    video = bench.video(25, bench.options.seconds)
    turns: dict[str, Callable[[], Answer]] = {
        f"facekeep, {model}": lambda model=model: bench.watch([video], model) for model in MODELS
    }
    workshop = Workshop(bench.options.peers)
    for peer in (peer for peer in PEERS if peer.adapter == "adapters.opencv"):
        try:
            runner = workshop.set_up(peer, Path())
        except PeerError as error:
            print(f"{peer.name} is left out: {error}", file=sys.stderr)
        else:
            turns[f"{peer.title}, each frame"] = lambda runner=runner: bench.loop(runner, video)
    answers: dict[str, list[Answer]] = {name: [] for name in turns}
    for _ in range(bench.options.rounds):
        for name, turn in turns.items():
            answers[name].append(turn())
    return [_speed_row(name, found) for name, found in answers.items()]


def _speed_row(name: str, found: Sequence[Answer]) -> Answer:
    rates = [(each["frames"] - 1) / each["wall"] for each in found]
    last = found[-1]
    looks = sum(each["looks"] for each in last.get("cameras", ()))
    return {
        "program": name,
        "frames/s": round(statistics.median(rates), 1),
        "slowest": round(min(rates), 1),
        "fastest": round(max(rates), 1),
        "processor ms/frame": _median(found, lambda each: 1e3 * each["processor"] / each["frames"]),
        "looked at": f"{looks or last['frames']} of {last['frames']}",
        "peak MB": _median(found, lambda each: each["peak"]),
    }


def _median(found: Sequence[Answer], figure: Callable[[Answer], float]) -> float:
    return round(statistics.median(map(figure, found)), 2)


def measure_delay(bench: Bench) -> list[Answer]:
    """Measure the time from a picture's sending to the event, of people who come and go."""
    rows = []
    options = {"absence": 0.5, "cooldown": 0.0}
    for model in MODELS:
        with bench.mjpeg() as url:
            found = bench.watch(
                [url], model, stamped=True, seconds=bench.options.delay, options=options
            )
        waits = np.array(found["waits"]) * 1e3
        rows.append(
            {
                "model": model,
                "events": len(waits),
                "p50 ms": round(float(np.quantile(waits, 0.5)), 1),
                "p95 ms": round(float(np.quantile(waits, 0.95)), 1),
                "longest ms": round(float(waits.max()), 1),
                "dropped": found["cameras"][0]["dropped"],
            }
        )
    return rows


def measure_share(bench: Bench) -> list[Answer]:
    """Measure the share of a core that playing footage takes, and the memory."""
    rows = []
    for model in MODELS:
        for fps in (5, 15, 25):
            found = bench.watch([bench.video(fps, 12)], model, realtime=True)
            rows.append(
                {
                    "model": model,
                    "frames/s": fps,
                    "processor %": round(100 * found["processor"] / found["wall"], 1),
                    "dropped": found["cameras"][0]["dropped"],
                    "resident MB": found["rss"],
                    "peak MB": found["peak"],
                }
            )
    return rows


def measure_rtsp(bench: Bench) -> list[Answer]:
    """Watch ten RTSP sources on two cores."""
    seconds = bench.options.delay / 2
    video = bench.video(5, 2 * bench.options.delay)
    play = f"filesrc location={video} ! qtdemux ! h264parse ! rtph264pay name=pay0 pt=96"
    with RtspServer({f"/{number}": play for number in range(10)}) as server:
        urls = [server.url(f"/{number}") for number in range(10)]
        found = bench.watch(urls, cores=[CORE, OTHER], seconds=seconds)
    cameras = found["cameras"]
    latencies = [each["latency"] for each in cameras if each["latency"]]
    return [
        {
            "sources": len(cameras),
            "alive": sum(each["frames"] > 0 for each in cameras),
            "frames/s": round(found["frames"] / found["wall"] / len(cameras), 2),
            "dropped": sum(each["dropped"] for each in cameras),
            "processor % of a core": round(100 * found["processor"] / found["wall"], 1),
            "latency p50 ms": round(1e3 * statistics.median(each[0] for each in latencies), 1),
            "worst p95 ms": round(1e3 * max(each[1] for each in latencies), 1),
            "peak MB": found["peak"],
        }
    ]


def measure_soak(bench: Bench) -> list[Answer]:
    """Watch people come and go for a long time, and look at the resident memory."""
    seconds = 60 * bench.options.soak
    with bench.mjpeg() as url:
        found = bench.watch(
            [url],
            seconds=seconds,
            every=max(1.0, seconds / 180),
            options={"absence": 0.5, "cooldown": 0.0},
        )
    levels = [each["rss"] for each in found["memory"]]
    quarter = len(levels) // 4
    return [
        {
            "minutes": bench.options.soak,
            "visits": len(found["arrivals"]),
            "MB after the first quarter": statistics.median(levels[quarter : quarter + 5]),
            "MB at the end": statistics.median(levels[-5:]),
            "peak MB": found["peak"],
        }
    ]


def print_markdown(title: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Print a table as the documentation shows it."""
    print(f"\n### {title}\n")
    print("| " + " | ".join(rows[0]) + " |")
    print("|---" + "|---:" * (len(rows[0]) - 1) + "|")
    for row in rows:
        print("| " + " | ".join(map(str, row.values())) + " |")


def main() -> None:
    """Run the parts that were asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True, help="folder for footage and galleries")
    parser.add_argument("--peers", type=Path, help="folder of the peers' environments")
    parser.add_argument("--only", nargs="*", choices=PARTS, default=PARTS, help="what to measure")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each program")
    parser.add_argument("--seconds", type=float, default=20, help="length of the footage for speed")
    parser.add_argument("--delay", type=float, default=40, help="seconds in which events are timed")
    parser.add_argument("--soak", type=float, help="watch for so many minutes, after the rest")
    parser.add_argument("--json", action="store_true", help="print a line of JSON for each table")
    parser.add_argument("--markdown", action="store_true", help="print tables for a page")
    options = parser.parse_args()
    options.peers = options.peers or options.work / "peers"
    bench = Bench(options)
    parts: dict[str, tuple[str, Callable[[Bench], list[Answer]]]] = {
        "speed": ("A file of 640x480 with two faces, one core", measure_speed),
        "delay": ("From the picture to the event, 25 frames/s, one core", measure_delay),
        "share": ("Share of one core at a rate of frames", measure_share),
        "rtsp": ("Ten RTSP sources of 5 frames/s, two cores", measure_rtsp),
        "soak": ("Memory over time", measure_soak),
    }
    for part in [*options.only, *(["soak"] if options.soak else [])]:
        title, measure = parts[part]
        rows = measure(bench)
        if options.markdown:
            print_markdown(title, rows)
        else:
            common.report(options, title, rows)


if __name__ == "__main__":
    main()
