"""The images that a command reads: files, folders, standard input."""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from facekeep._internal.files import printable
from facekeep._internal.listing import is_picture, walk_files
from facekeep.errors import ImageError, InputError

__all__ = ["STDIN", "InputImage", "InputImages", "name_stdin", "read_input"]

STDIN: Final = "-"


@dataclass(frozen=True, slots=True)
class InputImage:
    """An image to read.

    Attributes:
        name: What it is called: its path, or ``-``.
        place: The path of its results inside their folder, without an ending; no two are alike.
        in_folder: It was found in a folder, not named.
    """

    name: str
    place: Path
    in_folder: bool = False

    def source(self, max_bytes: int) -> str | bytes:
        """Return what ``load_image`` takes."""
        return read_input(self.name, max_bytes)


def read_input(name: str, max_bytes: int) -> str | bytes:
    """Return what the engine takes for an image: its path or, for ``-``, standard input.

    Of standard input no more is read than one byte above the limit, so that it is refused.

    Raises:
        InputError: Standard input is closed, or a terminal.
    """
    if name != STDIN:
        return name
    stream = getattr(sys.stdin, "buffer", None)
    if stream is None or sys.stdin.isatty():
        raise InputError("nothing comes on standard input: send a picture, as in: < photo.jpg")
    data: bytes = stream.read(max_bytes + 1)
    return data


@contextmanager
def name_stdin(name: str) -> Iterator[None]:
    """Call standard input by its name where it cannot be read."""
    try:
        yield
    except ImageError as error:
        if name != STDIN:
            raise
        message = str(error).replace("image bytes", "standard input", 1)
        raise ImageError(message, error.hint) from error


@dataclass(slots=True)
class InputImages:
    """The images that a command line names, one after the other, however many there are.

    Folders are read on the way, so that memory does not grow with their size; what counts as an
    image is as for ``list_images``.

    Args:
        words: Files, folders, and ``-`` for standard input.
        outputs: Folders that the command writes to: never read.

    Attributes:
        unread: Folders that could not be read in the last pass, each with the reason.
    """

    words: Sequence[str]
    outputs: Sequence[Path] = ()
    unread: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.words.count(STDIN) > 1:
            raise InputError("- stands for one picture on standard input; name it once")
        for folder in self.folders:
            for out in self.outputs:
                if Path(os.path.realpath(folder)).is_relative_to(os.path.realpath(out)):
                    raise InputError(
                        f"{printable(out)} holds the pictures to look at: name another folder for"
                        " the results"
                    )

    @property
    def folders(self) -> list[str]:
        """Those words that name folders."""
        named = (word for word in self.words if word != STDIN)
        return [word for word in named if os.path.isdir(word)]  # noqa: PTH112 - of any text

    @property
    def files(self) -> list[str]:
        """Those words that name files, whether these exist or not."""
        folders = set(self.folders)
        return [word for word in self.words if word != STDIN and word not in folders]

    @property
    def many(self) -> bool:
        """Whether there may be more than one picture."""
        return len(self.words) > 1 or bool(self.folders)

    def __len__(self) -> int:
        """Count the pictures."""
        return sum(1 for _ in self)

    def __iter__(self) -> Iterator[InputImage]:
        self.unread.clear()
        names: set[str] = set()
        folders = self.folders
        alone = len(self.words) == 1
        for word in self.words:
            if word in folders:
                top = Path() if alone else _new(Path(os.path.realpath(word)).name, names)
                yield from self._inside(word, top)
            else:
                stem = "stdin" if word == STDIN else Path(word).stem
                yield InputImage(word, _new(stem, names))

    def _inside(self, folder: str, top: Path) -> Iterator[InputImage]:
        """Give the pictures of a folder and of those below it, by name."""
        outputs = [os.path.realpath(out) for out in self.outputs]
        empty = True
        found = walk_files(folder, is_picture, leave_out=outputs, on_skip=self._note)
        for base, paths in itertools.groupby(found, key=lambda path: path.parent):
            here = top / base.relative_to(folder)
            names: set[str] = set()
            for path in paths:
                yield InputImage(str(path), here / _new(path.stem, names), in_folder=True)
            empty = False
        if empty:
            raise ImageError(f"{printable(folder)}: the folder holds no pictures; name another one")

    def _note(self, folder: Path, reason: str) -> None:
        self.unread.append(f"{printable(folder)}: {reason}")


def _new(stem: str, names: set[str]) -> Path:
    """Give a name that is not in use, on disks too that take large and small letters for one."""
    endings = itertools.chain([""], (f"-{number}" for number in itertools.count(2)))
    name = next(f"{stem}{each}" for each in endings if f"{stem}{each}".casefold() not in names)
    names.add(name.casefold())
    return Path(name)
