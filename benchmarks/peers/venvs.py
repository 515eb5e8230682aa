"""Environments of the peers: made once, measured, and used again."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import runpy
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import cast

from msgspec import structs

from facekeep.errors import FacekeepError
from facekeep.models import ModelEntry, entry, list_models, locate
from facekeep.models.onnx_folding import fold_block_quantized
from facekeep.models.resolve import find

from .driver import PeerError, Runner
from .roster import Peer

ROOT = Path(__file__).resolve().parents[2]
_HOOK = ROOT / "hatch_build.py"


class Workshop:
    """The folder where the environments are.

    Args:
        folder: Created if need be.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        self.folder.mkdir(parents=True, exist_ok=True)

    def build_wheel(self) -> Path:
        """Build facekeep's wheel from this checkout, and return it."""
        place = self.folder / "wheel"
        shutil.rmtree(place, ignore_errors=True)
        _run([sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", place, ROOT])
        (wheel,) = place.glob("*.whl")
        return wheel

    def set_up(self, peer: Peer, wheel: Path) -> Runner:
        """Make the environment of a peer, unless it is there as asked for, and lay its weights.

        Raises:
            PeerError: It cannot be installed, or its weights are not on this machine.
        """
        wanted = [*peer.weights, *peer.options.values()]
        known = {model.name for model in list_models()}
        if missing := [model for model in wanted if model not in known]:
            raise PeerError(f"this checkout has no model {missing[0]!r}")
        steps = [step.format(wheel=wheel) for step in peer.install]
        content = _digest(wheel.read_bytes()) if "{wheel}" in peer.install else ""
        python = self._environment(peer.venv, steps, content)
        home = self.folder / peer.name / "home"
        shutil.rmtree(home, ignore_errors=True)  # so that it holds what this version writes
        home.mkdir(parents=True)
        for model, name in peer.weights.items():
            _lay(model, home / name)
        return Runner(python, peer.adapter, home, peer.options)

    def installed(self, peer: Peer, runner: Runner) -> int:
        """Bytes that the peer's packages and weights take, with what it wrote at its first use."""
        written = [file for file in _files(runner.home) if file.suffix != ".log"]
        return size_of(_site(runner.python)) + sum(file.stat().st_size for file in written)

    def parts(self, runner: Runner) -> list[tuple[str, int]]:
        """Bytes of each folder of the peer's packages, the largest first."""
        parts = [(path.name, size_of(path)) for path in _site(runner.python).iterdir()]
        return sorted(parts, key=lambda part: -part[1])

    def versions(self, runner: Runner) -> dict[str, str]:
        """What is installed, by name."""
        found = importlib.metadata.distributions(path=[str(_site(runner.python))])
        return {each.name: each.version for each in found}

    def _environment(self, name: str, steps: Sequence[str], content: str = "") -> Path:
        """Return the interpreter of an environment, made anew if it was made otherwise."""
        place = self.folder / name / "venv"
        stamp = place / "race.json"
        asked = json.dumps([sys.version, list(steps), content])
        if not stamp.exists() or stamp.read_text() != asked:
            shutil.rmtree(place, ignore_errors=True)
            _run([sys.executable, "-m", "venv", "--without-pip", place])
            pip = [sys.executable, "-m", "pip", "--python", place / "bin" / "python"]
            for step in steps:
                _run([*pip, "install", "-q", *step.split()])
            stamp.write_text(asked)
        return place / "bin" / "python"


def size_of(folder: Path) -> int:
    """Bytes of all files below a folder, or of a file."""
    return sum(file.stat().st_size for file in _files(folder))


def _files(folder: Path) -> list[Path]:
    paths = [folder] if folder.is_file() else folder.rglob("*")
    return [path for path in paths if path.is_file() and not path.is_symlink()]


def _site(python: Path) -> Path:
    (site,) = (python.parents[1] / "lib").glob("python3*/site-packages")
    return site


def _lay(model: str, target: Path) -> None:
    """Lay the weights of a model as published, but for 8-bit constants, which few can read."""
    known = entry(model)
    try:
        source = locate(known)
    except FacekeepError as error:
        raise PeerError(f"its weights are missing: {error}") from error
    target.parent.mkdir(parents=True, exist_ok=True)
    published = _published(known)
    if published is not None:
        content = published
        any_size = known.input_size is None
        target.write_bytes(fold_block_quantized(content, any_size=any_size, quick=False))
    else:
        shutil.copyfile(source, target)


def _published(known: ModelEntry) -> bytes | None:
    """Read the file of a model before it was converted; None where it was not."""
    file = known.files[0]
    if file.origin is not None:
        read_published = runpy.run_path(str(_HOOK))["read_published"]
        return cast("bytes", read_published(structs.asdict(file.origin)))
    path = find(known, file) if file.conversion else None
    return path.read_bytes() if path else None


def _run(command: Sequence[str | os.PathLike[str]]) -> None:
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        raise PeerError(f"it cannot be installed: {(lines or ['pip failed'])[-1]}")


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
