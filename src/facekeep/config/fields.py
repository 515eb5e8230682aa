"""The fields of a class of options: what each takes, how it is checked, where it can be given.

An option is a field of a class of msgspec. The annotation says everything there is to say about it:
its type and bounds, and by `about` a sentence of help, an example, and the default in words.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, get_type_hints

import msgspec

from facekeep._internal.files import one_line, open_regular, why
from facekeep._internal.tables import describe, expand_path, unwrap
from facekeep.errors import ConfigError

__all__ = ["Field", "about", "list_fields", "read_document"]

_LIMIT: Final = 1 << 20  # bytes
_WORDS: Final = dict.fromkeys(("true", "yes", "on", "1"), True) | dict.fromkeys(
    ("false", "no", "off", "0"), False
)
_METAVARS: Final = {int: "N", float: "X", bool: "", Path: "PATH", str: "NAME"}


def about(
    doc: str,
    *,
    example: str = "",
    default: str = "",
    metavar: str | None = None,
    expects: str | None = None,
    unit: str = "",
    finish: Callable[[Any, Path | None], Any] | None = None,
    secret: bool = False,
    **limits: Any,
) -> msgspec.Meta:
    """Describe a field, for its annotation.

    Args:
        doc: One sentence of help.
        example: A value, in TOML.
        default: The default in words, where the value itself does not say it.
        metavar: The placeholder on the command line; None for that of the type.
        expects: What it takes, in words that complete "expected ..."; None for those of the type.
        unit: What a number counts, such as `` of pixels``.
        finish: Makes the value to use of a checked one and the folder that paths start at.
        secret: A wrong value may be a secret and must not be repeated.
        limits: Bounds, as of ``msgspec.Meta``: ``ge``, ``le``, ``pattern``.
    """
    extra = {
        "example": example,
        "default": default,
        "metavar": metavar,
        "unit": unit,
        "finish": finish,
        "secret": secret,
    }
    return msgspec.Meta(title=expects, description=doc, extra=extra, **limits)


class Field(msgspec.Struct, frozen=True):
    """An option.

    Attributes:
        attribute: Its name in the class.
        hint: Its type.
        default: Its default; None where ``default_text`` says it in words.
        doc: One sentence of help.
        metavar: The placeholder on the command line; empty for one that is yes or no.
        example: A value, in TOML.
        default_text: The default in words, empty where the value says it.
        secret: A wrong value may be a secret and must not be repeated.
        finish: See `about`.
    """

    attribute: str
    hint: Any
    default: Any
    doc: str
    metavar: str
    example: str
    default_text: str
    secret: bool
    finish: Callable[[Any, Path | None], Any] | None

    @property
    def name(self) -> str:
        """The key in TOML."""
        return self.attribute.removesuffix("_")

    @property
    def expects(self) -> str:
        """What it takes, in words that complete "expected ..."."""
        return describe(self.hint)

    @property
    def option(self) -> str:
        """The option of the command line."""
        return "--" + self.name.replace("_", "-")

    @property
    def env(self) -> str:
        """The environment variable, of a setting."""
        return "FACEKEEP_" + self.name.upper()

    def parse(self, given: object, shown: str) -> Any:
        """Read a value from text, and check it; anything but text is checked as it is.

        Args:
            given: The text or value.
            shown: The option and the value, for a message.

        Raises:
            ConfigError: It is not what the field takes.
        """
        base, _ = unwrap(self.hint)
        read: Callable[[str], object] = str
        if base in (int, float):
            read = base
        elif base is bool:
            read = _read_bool
        elif getattr(base, "__origin__", None) is tuple:
            read = _listed
        try:
            value = read(given) if isinstance(given, str) else given
        except ValueError as error:
            raise ConfigError(f"{shown}: expected {self.expects}") from error
        return self.check(value, shown)

    def check(self, value: object, shown: str, folder: Path | None = None) -> Any:
        """Return the value to use for a value of TOML; paths start at ``folder``; see `parse`."""
        try:
            found = msgspec.convert(value, self.hint, dec_hook=_read_path)
            _require_printable(found)
            if isinstance(found, Path):
                found = expand_path(str(found), folder)
            return self.finish(found, folder) if self.finish else found
        except (msgspec.ValidationError, ValueError) as error:
            raise ConfigError(f"{shown}: expected {self.expects}") from error


def list_fields(kind: Any) -> Mapping[str, Field]:
    """List the fields of a class of msgspec, or a dataclass, by their keys in TOML."""
    hints = get_type_hints(kind, include_extras=True)
    if issubclass(kind, msgspec.Struct):
        names = kind.__struct_fields__
        defaults = dict(zip(reversed(names), reversed(kind.__struct_defaults__), strict=False))
    else:
        names = tuple(each.name for each in dataclasses.fields(kind))
        defaults = {each.name: each.default for each in dataclasses.fields(kind)}
    found = [_field(name, hints[name], defaults.get(name)) for name in names]
    return {field.name: field for field in found}


def _field(attribute: str, hint: Any, default: Any) -> Field:
    base, metas = unwrap(hint)
    meta = next(each for each in metas if each.description)
    extra = meta.extra
    metavar = extra["metavar"]
    if metavar is None:
        metavar = _METAVARS[base] if base in _METAVARS else "|".join(base.__args__)
    return Field(
        attribute,
        Annotated[(base, *metas)],  # without None, which no text and no value of TOML is
        None if default in (msgspec.NODEFAULT, dataclasses.MISSING) else default,
        meta.description,
        metavar,
        extra["example"],
        extra["default"],
        extra["secret"],
        extra["finish"],
    )


def _read_path(kind: Any, value: object) -> Path:
    if kind is not Path or not isinstance(value, str | Path) or not str(value).strip():
        raise ValueError
    return Path(value)


def _require_printable(value: object) -> None:
    if isinstance(value, tuple):
        for each in value:
            _require_printable(each)
    elif isinstance(value, str) and not (value.strip() and value.isprintable()):
        raise ValueError


def _read_bool(text: str) -> bool:
    word = text.strip().lower()
    if word not in _WORDS:
        raise ValueError
    return _WORDS[word]


def _listed(text: str) -> list[str]:
    return [text]


def read_document(path: Path, what: str) -> dict[str, Any]:
    """Read a TOML file.

    Args:
        path: The file.
        what: What it should be, for a message: "a recipe".

    Raises:
        ConfigError: It cannot be read, is larger than 1 MiB, or is not TOML.
    """
    import tomllib  # here: most runs have no such file

    try:
        with open_regular(path) as stream:
            data = stream.read(_LIMIT + 1)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: cannot be read: {why(error)}") from error
    if len(data) > _LIMIT:
        raise ConfigError(f"{path}: is larger than 1 MiB and cannot be {what}")
    try:
        return tomllib.loads(data.decode("utf-8-sig").replace("\r\n", "\n"))
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not UTF-8 text (byte {error.start})") from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: is not valid TOML: {one_line(error)}") from error
