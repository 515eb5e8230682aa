"""Tables of TOML read into classes of msgspec, with errors that say which key takes what."""

from __future__ import annotations

import re
import types
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec

from facekeep.errors import FacekeepError, InputError

__all__ = [
    "OptionError",
    "check_fields",
    "convert_table",
    "describe",
    "expand_path",
    "shorten",
    "unwrap",
]

_T = TypeVar("_T", bound=msgspec.Struct)
_WORDS = {int: "a whole number", float: "a number", bool: "true or false", Path: "a path"}


class OptionError(InputError):
    """Options are wrong.

    Args:
        names: The names of the attributes.
        problem: What is wrong with them; it follows their names.
    """

    def __init__(self, names: Sequence[str], problem: str) -> None:
        super().__init__(f"{' or '.join(names)} {problem}")
        self._names, self._problem = names, problem

    def with_flags(self, flags: Mapping[str, str]) -> OptionError:
        """Return the same error with what the command line calls the options."""
        return OptionError([flags[name] for name in self._names], self._problem)


def check_fields(options: msgspec.Struct) -> None:
    """Check the values of an object that was not made by `convert_table`.

    Raises:
        OptionError: A value is not what the annotation of its attribute says.
    """
    hints = get_type_hints(type(options), include_extras=True)
    for name in options.__struct_fields__:
        value = getattr(options, name)
        try:
            msgspec.convert(value, hints[name])
        except msgspec.ValidationError as error:
            problem = f"must be {describe(hints[name])}, not {shorten(value, quote=True)}"
            raise OptionError([name], problem) from error


def convert_table(
    content: object,
    kind: type[_T],
    where: str,
    error: type[FacekeepError] = FacekeepError,
    folder: Path | None = None,
) -> _T:
    """Check a table against a class, and make an object of it.

    Args:
        content: The table.
        kind: The class; its annotations say which keys there are, and what each takes.
        where: What errors call the table.
        error: The class of the error.
        folder: Relative paths start there.

    Raises:
        FacekeepError: Of the class ``error``: a key is missing, unknown, or of a wrong value.
    """
    try:
        return msgspec.convert(content, kind, dec_hook=partial(_read_path, folder))
    except msgspec.ValidationError as failure:
        raise error(f"{where}: {_explain(str(failure), content, kind)}") from failure
    except FacekeepError as failure:  # of the class itself, whose values do not go together
        raise error(f"{where}: {failure}") from failure


def describe(hint: Any) -> str:
    """Say what a type takes, in words that complete "expected ..."."""
    base, metas = unwrap(hint)
    limits = {
        name: value
        for meta in metas
        for name in ("title", "ge", "gt", "le", "lt", "multiple_of", "min_length", "extra")
        if (value := getattr(meta, name)) is not None
    }
    if "title" in limits:
        return str(limits["title"])
    if get_origin(base) is Literal:
        words = [str(each) for each in get_args(base)]
        return f"one of {', '.join(words)}" if words[1:] else words[0]
    if get_origin(base) is tuple:
        parts = get_args(base)
        if ... not in parts:
            return f"a list of {len(parts)}"
        each = describe(parts[0])
        return f"a list{' that is not empty' * ('min_length' in limits)}, each {each}"
    if base in (int, float):
        unit: str = limits.get("extra", {}).get("unit", "")
        what = f"a multiple of {step}" if (step := limits.get("multiple_of")) else _WORDS[base]
        return f"{what}{unit}{_describe_bounds(limits)}"
    return _WORDS.get(base, "a text" if base is str else "a table")


def unwrap(hint: Any) -> tuple[Any, tuple[Any, ...]]:
    """Split a type into what is left without None and annotations, and the annotations."""
    metas: tuple[Any, ...] = ()
    while True:
        if hasattr(hint, "__metadata__"):
            hint, metas = hint.__origin__, (*metas, *hint.__metadata__)
        elif get_origin(hint) in (Union, types.UnionType) and type(None) in get_args(hint):
            rest = [each for each in get_args(hint) if each is not type(None)]
            hint = rest[0] if len(rest) == 1 else Union[tuple(rest)]  # noqa: UP007 - made at run time
        else:
            return hint, tuple(each for each in metas if isinstance(each, msgspec.Meta))


def expand_path(text: str, folder: Path | None = None) -> Path:
    """Return the path that a text means: ``~`` is the home folder, and ``folder`` the start.

    Raises:
        ValueError: It is no path.
    """
    if not text.strip() or "\0" in text:
        raise ValueError
    try:
        path = Path(text).expanduser()
    except RuntimeError as error:  # there is no such user
        raise ValueError from error
    return folder / path if folder else path


def shorten(value: object, *, quote: bool = False) -> str:
    """Show a value on one line of 60 characters at most; texts in quotes where asked."""
    try:
        bare = isinstance(value, str) and value.isprintable() and not quote
        text = str(value) if bare else repr(value)
    except ValueError:  # an integer of more digits than Python converts
        text = f"a huge {type(value).__name__}"
    return text if len(text) <= 60 else text[:57] + "..."


def _read_path(folder: Path | None, kind: Any, value: object) -> Path:
    if kind is not Path or not isinstance(value, str):
        raise ValueError
    return expand_path(value, folder)


def _describe_bounds(limits: Mapping[str, Any]) -> str:
    low, high = limits.get("ge"), limits.get("le")
    if low is not None and high is not None:
        return f" from {_plain(low)} to {_plain(high)}"
    bounds = (("gt", "above"), ("ge", "at least"), ("lt", "below"), ("le", "at most"))
    words = [f"{word} {_plain(limits[name])}" for name, word in bounds if name in limits]
    return f" {' and '.join(words)}" if words else ""


def _plain(number: float) -> str:
    return str(number) if isinstance(number, int) else f"{number:g}".replace("e-0", "e-")


def _explain(message: str, content: Any, kind: Any) -> str:
    """Say in our words what msgspec says: it names the place, the class what belongs there."""
    message, _, place = message.removesuffix("`").partition(" - at `$")
    hint, value = kind, content
    for name, index in re.findall(r"\.(\w+)|\[(\d+)\]", place):
        hint = _find_hint(hint, name, int(index or 0))
        value = value[name or int(index)]
    if key := re.fullmatch(r"Object (missing required|contains unknown) field `(.*)`?", message):
        name = repr(key[2].rstrip("`"))
        known = getattr(unwrap(hint)[0], "__struct_encode_fields__", ())
        more = f"; known: {', '.join(known)}" if known else ""
        text = f"lacks the key {name}" if key[1][0] == "m" else f"has the unknown key {name}{more}"
        return f"{place.lstrip('.')} {text}".lstrip()
    where = f"{place.lstrip('.')} = " if place else ""
    return f"{where}{shorten(value, quote=True)}: expected {describe(hint)}"


def _find_hint(hint: Any, name: str, index: int) -> Any:
    """Return the type of an attribute or item of a type."""
    base, _ = unwrap(hint)
    if not name:
        parts = get_args(base)
        return parts[0] if ... in parts else parts[index]
    kinds = get_args(base) if get_origin(base) in (Union, types.UnionType) else (base,)
    hints = [get_type_hints(each, include_extras=True) for each in kinds]
    return next(each[name] for each in hints if name in each)
