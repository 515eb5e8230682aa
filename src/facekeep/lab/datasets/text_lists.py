"""What the readers of lists share: lines with their numbers, faults, and images named in them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from facekeep._internal.files import open_regular, path_text, printable, why
from facekeep.errors import ImageError, InputError
from facekeep.lab.datasets.test_sets import Samples, make_file_samples

__all__ = [
    "NamedImages",
    "find_file",
    "is_name",
    "list_error",
    "missing_image_error",
    "parse_whole",
    "quote",
    "read_lines",
    "require_folder",
]

_LONGEST = 10_000  # bytes of a line; the lists of the test sets have less than 300
_SHOWN = 60


def read_lines(path: str | os.PathLike[str]) -> Iterator[tuple[int, str]]:
    """Yield the lines of a UTF-8 text file that are not blank, stripped, with their numbers.

    Raises:
        InputError: The file cannot be read, is no such text, or has an endless line.
    """
    where = Path(path_text(path))
    try:
        with open_regular(where) as stream:
            for number, line in enumerate(iter(lambda: stream.readline(_LONGEST + 1), b""), 1):
                text = _decode_line(line, number, where)
                if text:
                    yield number, text
    except (OSError, ValueError) as error:
        raise InputError(f"{printable(where)}: cannot be read: {why(error)}") from error


def _decode_line(line: bytes, number: int, where: Path) -> str:
    if len(line) > _LONGEST:
        raise list_error(
            where, number, f"the line is longer than {_LONGEST} bytes; is this a list?"
        )
    try:
        return line.decode("utf-8-sig" if number == 1 else "utf-8").strip()
    except UnicodeDecodeError as error:
        raise list_error(where, number, "is not UTF-8 text; save the file as UTF-8") from error


def list_error(path: str | os.PathLike[str], number: int, what: str) -> InputError:
    """Make the error for a line of a list; ``what`` says what is wrong with it."""
    return InputError(f"{printable(path)}:{number}: {what}")


def quote(text: str) -> str:
    """Quote a piece of a list for a message, shortened."""
    return f"'{printable(text if len(text) <= _SHOWN else text[:_SHOWN] + '...')}'"


def parse_whole(text: str) -> int | None:
    """Read a whole number of up to 15 digits; None when the text is none."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 15 else None


def require_folder(path: str | os.PathLike[str], holding: str) -> Path:
    """Return a folder, or refuse what is none; ``holding`` says what it should hold."""
    folder = Path(path_text(path))
    if not os.path.isdir(folder):  # noqa: PTH112 - it is False, not an error, for impossible names
        raise InputError(f"{printable(folder)}: is no folder; name the one that holds {holding}")
    return folder


def is_name(word: str) -> bool:
    """Tell whether a word can be the name of a file or folder, not a way to another place."""
    return not (word.startswith(".") or set(word) & set("/\\\0"))


def missing_image_error(
    path: str | os.PathLike[str], line: int, name: str, others: int, folder: Path
) -> ImageError:
    """Make the error for images that a list names and that are not there."""
    missing = f"{quote(name)} and {others} others are" if others else f"{quote(name)} is"
    return ImageError(
        f"{printable(path)}:{line}: the image {missing} not in {printable(folder)}; "
        "name the folder that holds the images of this list"
    )


def find_file(path: Path) -> Path | None:
    """Return the path if a file is there."""
    return path if os.path.isfile(path) else None  # noqa: PTH113 - as in folder_at


class NamedImages:
    """Images that a list names, each once, in the order of their first lines.

    Args:
        path: The list.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = path
        self._place: dict[str, int] = {}
        self._line: list[int] = []

    @property
    def names(self) -> tuple[str, ...]:
        """The images as the list calls them."""
        return tuple(self._place)

    def add(self, name: str, line: int) -> int:
        """Return the place of an image, a new one for one that was not named before."""
        place = self._place.setdefault(name, len(self._line))
        if place == len(self._line):
            self._line.append(line)
        return place

    def samples(
        self, folder: Path, find: Callable[[str], Path | None], *, aligned: bool
    ) -> Samples:
        """Make samples of the images; ``find`` leads from a name to its file.

        Raises:
            ImageError: Images are missing; the first is named.
        """
        found = {name: find(name) for name in self._place}
        paths = [path for path in found.values() if path is not None]
        if len(paths) < len(found):
            missing = next(name for name, path in found.items() if path is None)
            line = self._line[self._place[missing]]
            others = len(found) - len(paths) - 1
            raise missing_image_error(self.path, line, missing, others, folder)
        names = [_relative_name(path, folder) for path in paths]
        return make_file_samples(names, paths, aligned=aligned)


def _relative_name(path: Path, folder: Path) -> str:
    return str(path.relative_to(folder) if path.is_relative_to(folder) else path)
