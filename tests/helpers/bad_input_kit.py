"""A small world of photos, galleries, keys and exports, and the means to break each of them."""

from __future__ import annotations

import hashlib
import os
import resource
import shutil
import sqlite3
import stat
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from facekeep import FaceEngine, Gallery, NewTemplate, Space, load_key, save_image
from facekeep.gallery import generate_key
from facekeep.models import entry
from facekeep.models.resolve import WEIGHTS

NOBODY = 65534
KEY = "--key file:gallery.key"


@dataclass(frozen=True)
class Case:
    """One thing that goes wrong.

    Attributes:
        title: What.
        words: The words after ``facekeep``; a string is split at its spaces.
        status: The exit status.
        kind: The kind of error under ``--json``.
        says: What the one line must contain.
        breaks: What is done to the world before.
    """

    title: str
    words: str | Sequence[str]
    status: int
    kind: str
    says: str
    breaks: Callable[[World], object] = lambda world: None

    @property
    def arguments(self) -> list[str]:
        return self.words.split() if isinstance(self.words, str) else list(self.words)


class World:
    """A folder in which everything is whole, until a case breaks it."""

    def __init__(self, root: Path, patch: pytest.MonkeyPatch, stack: ExitStack) -> None:
        self.root = root
        self.patch = patch
        self.stack = stack

    def snapshot(self) -> dict[str, object]:
        """All that there is, byte for byte: nothing may be lost, changed or left behind."""
        return {str(path): _nature(path) for path in self.root.rglob("*") if not _is_trace(path)}

    # Pictures

    def write(self, name: str, data: bytes | str = b"") -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data.encode() if isinstance(data, str) else data)
        return path

    def cut(self, name: str, share: float = 0.5) -> None:
        path = self.root / name
        data = path.read_bytes()
        path.write_bytes(data[: int(len(data) * share)])

    def fill(self, name: str, start: float, size: int) -> None:
        """Overwrite a part of a file with noise."""
        path = self.root / name
        data = bytearray(path.read_bytes())
        at = int(len(data) * start)
        data[at : at + size] = np.random.default_rng(0).bytes(size)
        path.write_bytes(data)

    def replace(self, name: str, old: str, new: str) -> None:
        path = self.root / name
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))

    # Galleries

    def sql(self, name: str, statement: str) -> None:
        """Change a gallery behind facekeep's back."""
        with closing(sqlite3.connect(self.root / name)) as connection:
            connection.execute(statement)
            connection.commit()
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def a_long_fact(self, name: str) -> None:
        """Keep so much about somebody that an export is larger than the gallery's own log."""
        with Gallery.open(self.root / name) as gallery:
            gallery.update("Grace Hopper", metadata={"life": "x" * 60_000})

    def lock(self, name: str, how: str = "BEGIN IMMEDIATE") -> None:
        """Have another process hold a lock for longer than anybody waits."""
        code = (
            f"import sqlite3; c = sqlite3.connect({str(self.root / name)!r}, isolation_level=None);"
            f"c.execute({how!r}); print('held', flush=True); input()"
        )
        holder = subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.stack.enter_context(holder)
        self.stack.callback(holder.kill)
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        self.patch.setattr(Gallery, "open", partial(Gallery.open, busy_timeout=0.1))

    def gallery_of_another_model(self, name: str) -> None:
        space = Space("0de1b" + "0" * 59, "model-b", 16)
        vector = np.eye(1, 16, dtype=np.float32)[0]
        with Gallery.open(self.root / name, space=space, create=True) as gallery:
            gallery.enroll("Somebody", [NewTemplate(vector)])
            gallery.export(self.root / f"{name}.jsonl")

    # Models

    def weights(self, model: str, change: Callable[[bytes], bytes]) -> None:
        """Put a changed copy of a model's file where a pulled one would lie."""
        self.patch.setenv("FACEKEEP_MODELS", str(self.root / "models"))
        file = entry(model).files[0]
        self.write(f"models/{model}/{file.name}", change(_published(model)))

    def without_weights(self, model: str) -> None:
        """Let the weights of a model be missing where facekeep is installed."""
        folder = self.root / "installed"
        folder.mkdir()
        for path in WEIGHTS.glob("*.onnx"):
            if path.name != entry(model).files[0].name:
                (folder / path.name).symlink_to(path)
        self.patch.setattr("facekeep.models.resolve.WEIGHTS", folder)

    # Limits

    def file_limit(self, size: int) -> None:
        """Let no file grow beyond a size, as on a disk that is nearly full."""
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        self.stack.callback(resource.setrlimit, resource.RLIMIT_FSIZE, (soft, hard))
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))

    def step_down(self) -> None:
        """Go on as an ordinary user, for the superuser may read and write everything."""
        if os.geteuid() != 0:
            return
        for path in (self.root, *self.root.rglob("*")):
            os.chown(path, NOBODY, NOBODY, follow_symlinks=False)
        self.patch.setenv("HOME", str(self.root))
        os.seteuid(NOBODY)
        self.stack.callback(os.seteuid, 0)

    def mode(self, name: str, mode: int) -> None:
        """Give a file or folder other permissions, to be obeyed by an ordinary user."""
        self.step_down()
        path = self.root / name
        self.stack.callback(path.chmod, 0o755 if path.is_dir() else 0o644)
        path.chmod(mode)


def make_world(root: Path, hopper: Path, collins: np.ndarray) -> None:
    """Fill a folder with two photos, galleries plain and encrypted, their keys and exports."""
    shutil.copyfile(hopper, root / "hopper.jpg")
    save_image(root / "collins.jpg", collins)
    photos = {"Grace Hopper": root / "hopper.jpg", "Eileen Collins": root / "collins.jpg"}
    for name, key in (("people", None), ("locked", f"file:{root}/gallery.key")):
        secret = generate_key(key) if key else None
        with FaceEngine(root / f"{name}.db", key=secret) as engine:
            for person, photo in photos.items():
                assert engine.enroll(person, photo).enrolled == 1
            engine.gallery.export(root / f"{name}.jsonl")
    generate_key(f"file:{root}/other.key")
    assert load_key(f"file:{root}/other.key") != load_key(f"file:{root}/gallery.key")


def bomb_png(side: int = 50_000) -> bytes:
    """A PNG of a few bytes that claims to have side x side pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        checksum = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(1000))
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def bomb_jpeg(photo: bytes, side: int = 50_000) -> bytes:
    """A photo whose header claims side x side pixels."""
    at = photo.index(b"\xff\xc0") + 5
    return photo[:at] + struct.pack(">HH", side, side) + photo[at + 4 :]


def flipped(data: bytes) -> bytes:
    """One bit in the middle is another."""
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


def _published(model: str) -> bytes:
    from facekeep.models.resolve import find

    known = entry(model)
    path = find(known, known.files[0])
    assert path is not None
    return path.read_bytes()


def _is_trace(path: Path) -> bool:
    """Locks, or an empty log: what SQLite leaves beside a file that it may not write."""
    return path.name.endswith("-shm") or (path.name.endswith("-wal") and not path.lstat().st_size)


def _nature(path: Path) -> object:
    status = path.lstat()
    if stat.S_ISLNK(status.st_mode):
        return f"link to {os.readlink(path)}"  # noqa: PTH115 - the text, not a path made of it
    if stat.S_ISREG(status.st_mode) and os.access(path, os.R_OK, effective_ids=True):
        return hashlib.sha256(path.read_bytes()).hexdigest()
    return (stat.filemode(status.st_mode), stat.S_ISREG(status.st_mode) and status.st_mtime_ns)
