"""Which pictures a command looks at: files, folders, standard input; and where results go."""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from facekeep._internal.files import printable, why
from facekeep._internal.listing import is_picture, walk_files
from facekeep.errors import ImageError, InputError

__all__ = ["Album", "Picture", "make_folder"]

STDIN: Final = "-"
_LARGEST: Final = 1 << 30  # bytes that are read from standard input


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture to look at.

    Attributes:
        name: What it is called: its path, or ``-``.
        place: The path of its results inside their folder, without an ending; no two are alike.
        in_folder: It was found in a folder, not named.
    """

    name: str
    place: Path
    in_folder: bool = False

    def source(self) -> str | bytes:
        """What ``load_image`` takes."""
        return _standard_input() if self.name == STDIN else self.name


def _standard_input() -> bytes:
    stream = getattr(sys.stdin, "buffer", None)
    if stream is None or sys.stdin.isatty():
        raise InputError("nothing comes on standard input: send a picture, as in: < photo.jpg")
    data: bytes = stream.read(_LARGEST + 1)
    if len(data) > _LARGEST:
        raise ImageError("standard input: more than 1 GiB came; save the picture to a file")
    return data


@dataclass(slots=True)
class Album:
    """The pictures that a command line names, one after the other, however many there are.

    Folders are read while one goes through them, so that memory does not grow with their size; what
    counts as a picture is as for ``list_images``.

    Args:
        words: Files, folders, and ``-`` for standard input.
        outputs: Folders that the command writes to: never looked into.

    Attributes:
        unread: Folders that could not be read when last gone through, each with the reason.
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

    def __iter__(self) -> Iterator[Picture]:
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
                yield Picture(word, _new(stem, names))

    def _inside(self, folder: str, top: Path) -> Iterator[Picture]:
        """Give the pictures of a folder and of those below it, by name."""
        outputs = [os.path.realpath(out) for out in self.outputs]
        empty = True
        found = walk_files(folder, is_picture, leave_out=outputs, on_skip=self._note)
        for base, paths in itertools.groupby(found, key=lambda path: path.parent):
            here = top / base.relative_to(folder)
            names: set[str] = set()
            for path in paths:
                yield Picture(str(path), here / _new(path.stem, names), in_folder=True)
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


def make_folder(folder: Path, option: str, *, private: bool = False) -> None:
    """Make a folder for results where it is missing.

    Raises:
        InputError: It cannot be made, or is a file.
    """
    shown = printable(folder)
    if folder.is_dir():
        return
    if is_picture(folder) or folder.exists():
        what = "one picture" if is_picture(folder) else "a file"
        raise InputError(f"{shown} is {what}: name a folder with {option} for several pictures")
    try:
        folder.mkdir(0o700 if private else 0o777)
    except OSError as error:
        raise InputError(f"cannot make the folder {shown} for {option}: {why(error)}") from error
