"""The race: facekeep and other libraries, measured in turns on one machine.

    python -m benchmarks.peers --work DIR
    python -m benchmarks.peers --work DIR --lfw lfw/ --pairs pairs.txt
    python -m benchmarks.peers --work DIR --only lfw --peers facekeep opencv --lfw lfw/ --pairs ...

Run it from the root of the checkout, with ``facekeep[demo,evaluate]`` installed. Every library gets
an environment of its own in DIR, which is kept, as are the embeddings of LFW; the peers' packages
come from the package registry that pip is set up for. Results go to ``results.json`` in DIR, each
part as soon as it is there; ``--publish`` puts them into docs/, with tables and a picture.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import sys
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

from facekeep import __version__
from facekeep.lab import datasets

from .driver import PeerError, Worker
from .lfw import measure_lfw
from .phases import THREADS, Entries, Team, measure_search, measure_speed, measure_start
from .photos import frames
from .report import publish
from .roster import PEERS
from .venvs import ROOT, Workshop

PARTS = ("start", "speed", "search", "size", "lfw")

_PARTS_SHOWN = 12


class Results:
    """What was measured so far, kept in a file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def content(self) -> dict[str, Any]:
        """All of it."""
        return json.loads(self._path.read_text()) if self._path.exists() else {}

    def add(self, entries: Entries, threads: str | None = None) -> None:
        """Add columns of peers, those that depend on the threads under their limit."""
        content = self.content  # read anew, for another run may have added to it
        for name, columns in entries.items():
            place = content.setdefault("peers", {}).setdefault(name, {})
            if threads is not None:
                place = place.setdefault("threads", {}).setdefault(threads, {})
            place |= columns
        content["machine"] = _machine()
        draft = self._path.with_suffix(".draft")
        draft.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")
        draft.replace(self._path)


def main() -> None:
    """Run the race."""
    args = _arguments()
    workshop = Workshop(args.work)
    results = Results(workshop.folder / "results.json")
    if args.only:
        team = _set_up(args, workshop, results)
        for part in PARTS:
            if part in args.only:
                print(f"{part}: {', '.join(peer.name for peer, _ in team)}", flush=True)
                _RUN[part](args, workshop, team, results)
    if args.publish:
        publish(results.content, ROOT / "docs" / "peers.md")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    names = [peer.name for peer in PEERS]
    parser.add_argument("--work", type=Path, required=True, help="folder for everything made")
    parser.add_argument("--peers", nargs="+", choices=names, default=names, help="who takes part")
    parser.add_argument("--only", nargs="*", choices=PARTS, default=PARTS, help="what to measure")
    parser.add_argument("--threads", nargs="+", choices=THREADS, default=tuple(THREADS))
    parser.add_argument("--rounds", type=int, default=15, help="turns of each peer")
    parser.add_argument("--lfw", type=Path, help="folder of LFW's images")
    parser.add_argument("--pairs", type=Path, help="LFW's pairs.txt")
    parser.add_argument("--publish", action="store_true", help="write docs/peers.md anew")
    args = parser.parse_args()
    if (args.lfw is None) != (args.pairs is None):
        parser.error("--lfw and --pairs are given together, or neither")
    return args


def _set_up(args: argparse.Namespace, workshop: Workshop, results: Results) -> Team:
    """Install everybody; who cannot be installed takes no part, and the results say why."""
    wheel = workshop.build_wheel()
    team = []
    for peer in PEERS:
        if peer.name not in args.peers:
            continue
        try:
            team.append((peer, workshop.set_up(peer, wheel)))
            results.add({peer.name: {"failed": None}})
        except PeerError as error:
            results.add({peer.name: {"failed": str(error)}})
            print(f"{peer.name} is left out: {error}", file=sys.stderr)
    return team


def _size(_: argparse.Namespace, workshop: Workshop, team: Team, results: Results) -> None:
    picture = frames(workshop.folder)["one"]
    for peer, runner in team:
        try:
            with Worker(runner, threads=1) as worker:  # what it writes at its first use is counted
                worker.ask("embed", image=str(picture))
        except PeerError as error:
            results.add({peer.name: {"installed": {"failed": str(error)}}})
            continue
        results.add(
            {
                peer.name: {
                    "installed": workshop.installed(peer, runner),
                    "parts": workshop.parts(runner)[:_PARTS_SHOWN],
                    "versions": workshop.versions(runner),
                }
            }
        )


def _start(args: argparse.Namespace, workshop: Workshop, team: Team, results: Results) -> None:
    pictures = frames(workshop.folder)
    for label in args.threads:
        found = measure_start(team, pictures, THREADS[label], max(args.rounds // 3, 1))
        results.add(found, label)


def _speed(args: argparse.Namespace, workshop: Workshop, team: Team, results: Results) -> None:
    pictures = frames(workshop.folder)
    for label in args.threads:
        results.add(measure_speed(team, pictures, THREADS[label], args.rounds), label)


def _search(args: argparse.Namespace, _: Workshop, team: Team, results: Results) -> None:
    for label in args.threads:
        results.add(measure_search(team, THREADS[label], max(args.rounds // 3, 1)), label)


def _lfw(args: argparse.Namespace, workshop: Workshop, team: Team, results: Results) -> None:
    if args.lfw is None:
        print("no --lfw and --pairs: accuracy is not measured")
        return
    data = datasets.read_lfw(args.lfw, args.pairs)
    for peer, runner in team:
        if not (peer.detects and peer.recognizes):
            continue
        versions = workshop.versions(runner)
        try:
            found = measure_lfw(peer, runner, data, workshop.folder / "lfw", versions)
        except PeerError as error:
            found = {"lfw": {"failed": str(error)}}
        results.add({peer.name: found})
        print(f"{peer.name}: {found}", flush=True)


_RUN: dict[str, Callable[[argparse.Namespace, Workshop, Team, Results], None]] = {
    "size": _size,
    "start": _start,
    "speed": _speed,
    "search": _search,
    "lfw": _lfw,
}


def _machine() -> dict[str, Any]:
    """What the race ran on."""
    facts = Path("/proc/cpuinfo")
    found = re.findall(r"model name\s*:\s*(.*)", facts.read_text()) if facts.exists() else []
    return {
        "processor": (found or [platform.processor()])[0],
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
        "system": platform.system(),
        "date": date.today().isoformat(),
        "facekeep": __version__,
    }


if __name__ == "__main__":
    main()
