"""Settings, and where each value came from: flag, environment, TOML file or default.

One table, the fields of :class:`Settings`, says everything there is to say about a setting. The
names of environment variables and TOML keys, the command line's options, ``facekeep config show``
and the page ``docs/configuration.md`` are derived from it.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from facekeep._internal.files import user_folder, why
from facekeep.config import values as kinds
from facekeep.config.toml_file import check, parse, read_document
from facekeep.config.values import Kind
from facekeep.errors import ConfigError

__all__ = [
    "KNOBS",
    "Knob",
    "Origin",
    "Resolved",
    "Settings",
    "config_path",
    "default_config_path",
    "default_gallery_path",
    "example_toml",
    "load_settings",
    "read_toml",
    "resolve",
]

ENV_PREFIX: Final = "FACEKEEP_"
_NO_GALLERY: Final = Path()


def _about(doc: str, kind: Kind, example: str, default_text: str = "") -> dict[str, Any]:
    """Describe a setting; ``example`` is TOML, ``default_text`` says a default in words."""
    return {"doc": doc, "kind": kind, "example": example, "default_text": default_text}


def default_gallery_path() -> Path:
    """The gallery used when none is named: ``facekeep/people.db`` in the user's data folder.

    Raises:
        ConfigError: This user has no home folder.
    """
    return user_folder("data", "set HOME, or name the gallery", "gallery") / "people.db"


def default_config_path() -> Path:
    """The file read when none is named: ``facekeep/config.toml`` in the user's config folder.

    Raises:
        ConfigError: This user has no home folder.
    """
    return user_folder("config", "set HOME or FACEKEEP_CONFIG") / "config.toml"


def _default_gallery() -> Path:
    """The default, or where there is none what ``Settings`` refuses to give."""
    try:
        return default_gallery_path()
    except ConfigError:
        return _NO_GALLERY


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Every setting of facekeep; the attributes are documented by their ``doc`` in `KNOBS`.

    Where nothing names the gallery and this user has no home folder, asking for ``gallery`` raises
    ConfigError; the other settings are there all the same.
    """

    gallery: Path = field(
        default_factory=_default_gallery,
        metadata=_about(
            "File of the gallery.",
            kinds.path("a path of a file"),
            '"~/people.db"',
            "facekeep/people.db in your data folder",
        ),
    )
    key: str | None = field(
        default=None,
        metadata=_about(
            "Where the key of an encrypted gallery is.",
            kinds.key_spec(),
            '"file:~/.facekeep.key"',
            "the gallery is not encrypted",
        ),
    )
    keep_crops: bool = field(
        default=False,
        metadata=_about(
            "Keep the aligned face of each enrolled photo in the gallery.", kinds.flag(), "false"
        ),
    )
    review: Literal["off", "standard", "strict"] = field(
        default="standard",
        metadata=_about(
            "How strictly photos are checked before they are enrolled.",
            kinds.choice("off", "standard", "strict"),
            '"standard"',
        ),
    )
    any_quality: bool = field(
        default=False,
        metadata=_about(
            "Compare every face, even one that shows too little to be recognized.",
            kinds.flag(),
            "false",
        ),
    )
    fmr: float = field(
        default=1e-4,
        metadata=_about(
            "False-match rate: the share of pairs of different people taken for one person.",
            kinds.rate(1e-9, 0.5),
            "1e-4",
        ),
    )
    fpir: float | None = field(
        default=None,
        metadata=_about(
            "In place of fmr: the share of strangers that may get a name, at any size of gallery.",
            kinds.rate(1e-6, 0.5),
            "0.01",
            "none, fmr decides",
        ),
    )
    detector: str | None = field(
        default=None,
        metadata=_about(
            "Model that finds faces.",
            kinds.text("NAME", "the name of a detection model"),
            '"yunet"',
            "yunet",
        ),
    )
    refiner: str | None = field(
        default=None,
        metadata=_about(
            "Model that makes landmarks more exact; none to work without it.",
            kinds.text("NAME", 'the name of a model that refines landmarks, or "none"'),
            '"none"',
            "facekeep-refiner",
        ),
    )
    orienter: str | None = field(
        default=None,
        metadata=_about(
            "Model that detects turned faces; none to treat all faces as upright.",
            kinds.text("NAME", 'the name of a model that detects turned faces, or "none"'),
            '"none"',
            "facekeep-orienter",
        ),
    )
    embedder: str | None = field(
        default=None,
        metadata=_about(
            "Model that recognizes faces.",
            kinds.text("NAME", "the name of a recognition model"),
            '"sface"',
            "sface",
        ),
    )
    min_face: int | None = field(
        default=None,
        metadata=_about(
            "Shorter side of the smallest face to find, in pixels; smaller faces cost more time.",
            kinds.whole(10, 16384, " of pixels"),
            "24",
            "about 1/32 of the picture's longer side",
        ),
    )
    max_faces: int = field(
        default=500,
        metadata=_about(
            "Maximum number of faces in a picture; the largest are used.",
            kinds.whole(1, 1_000_000),
            "500",
        ),
    )
    max_pixels: int = field(
        default=100_000_000,
        metadata=_about(
            "Refuse pictures with more pixels.",
            kinds.whole(1, 10_000_000_000, " of pixels"),
            "100_000_000",
            "100 million",
        ),
    )
    max_bytes: int = field(
        default=500_000_000,
        metadata=_about(
            "Refuse picture files with more bytes.",
            kinds.whole(1, 1_000_000_000_000, " of bytes"),
            "500_000_000",
            "500 million",
        ),
    )
    flip: bool = field(
        default=False,
        metadata=_about(
            "Average each face with its mirror image: a little more accurate, twice the time.",
            kinds.flag(),
            "false",
        ),
    )
    runtime: str | None = field(
        default=None,
        metadata=_about(
            "Runtime that runs the models.",
            kinds.text("NAME", "the name of a runtime"),
            '"onnxruntime"',
            "what the file of each model needs",
        ),
    )
    device: str = field(
        default="cpu",
        metadata=_about(
            "Device that the models run on.", kinds.text("NAME", "the name of a device"), '"cpu"'
        ),
    )
    precision: Literal["float32", "bfloat16", "float16"] = field(
        default="float32",
        metadata=_about(
            "Number format in which the models compute.",
            kinds.choice("float32", "bfloat16", "float16"),
            '"float32"',
        ),
    )
    threads: int = field(
        default=0,
        metadata=_about(
            "Threads that a model may use; 0 for all cores.",
            kinds.whole(0, 1024),
            "0",
        ),
    )

    def __getattribute__(self, name: str) -> Any:
        value = object.__getattribute__(self, name)
        return default_gallery_path() if value is _NO_GALLERY else value


@dataclass(frozen=True, slots=True)
class Knob:
    """One row of the table of settings: its name, its documentation and its rules."""

    name: str
    doc: str
    kind: Kind
    example: str
    default_text: str

    @property
    def env(self) -> str:
        """The environment variable."""
        return ENV_PREFIX + self.name.upper()

    @property
    def option(self) -> str:
        """The option of the command line."""
        return "--" + self.name.replace("_", "-")


KNOBS: Final[Mapping[str, Knob]] = {
    item.name: Knob(item.name, **item.metadata) for item in dataclasses.fields(Settings)
}
"""The table of settings, by name."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a value came from: the source, and the option, variable or file that said it."""

    source: Literal["flag", "environment", "file", "default"]
    where: str = ""

    def __str__(self) -> str:
        return f"{self.source} {self.where}".rstrip()


@dataclass(frozen=True, slots=True)
class Resolved:
    """The settings in force, the origin of each, and the file that was read, if any."""

    settings: Settings
    origins: Mapping[str, Origin]
    file: Path | None


def load_settings(file: str | os.PathLike[str] | None = None, **changes: object) -> Settings:
    """Load the settings in force: changes over environment over file over defaults.

    Args:
        file: A TOML file; None for the one that ``FACEKEEP_CONFIG`` names, or the user's own.
        changes: Values by setting; None means "not given".

    Raises:
        ConfigError: A key is unknown, or a value is of the wrong type or out of range.
    """
    for name in changes:
        if name not in KNOBS:
            raise _unknown("", name)
    return resolve(changes, file=config_path(file), as_options=False).settings


def resolve(
    flags: Mapping[str, object] | None = None,
    environ: Mapping[str, str] | None = None,
    file: Path | None = None,
    *,
    as_options: bool = True,
) -> Resolved:
    """Merge flags over environment over file over defaults.

    Args:
        flags: Values by setting; text is parsed, other values must be of the setting's own type,
            None means "not given".
        environ: The environment, ``os.environ`` when None; empty variables count as not set.
        file: A TOML file, or None for no file; see `config_path`.
        as_options: Call flags by the names of options in messages, not by those of settings.

    Raises:
        ConfigError: A key is unknown, or a value is of the wrong type or out of range; names the
            file, variable or option, the key, and what is expected.
    """
    environ = os.environ if environ is None else environ
    values: dict[str, Any] = {}
    origins = {name: Origin("default") for name in KNOBS}
    for name, value in (read_toml(file) if file else {}).items():
        values[name], origins[name] = value, Origin("file", str(file))
    for name, knob in KNOBS.items():
        if text := environ.get(knob.env):
            values[name] = parse(knob.kind, text, f"{knob.env}={_shown(text, knob)}")
            origins[name] = Origin("environment", knob.env)
    for name, given in (flags or {}).items():
        if given is not None:
            knob = KNOBS[name]
            called = f"{knob.option} " if as_options else f"{name} = "
            values[name] = parse(knob.kind, given, f"{called}{_shown(given, knob)}")
            origins[name] = Origin("flag", called.rstrip(" ="))
    _choose_rate(values, origins)
    return Resolved(Settings(**values), origins, file)


def _choose_rate(values: dict[str, Any], origins: dict[str, Origin]) -> None:
    """Of fmr and fpir keep the one that was said last; both in one place are a mistake."""
    if values.get("fpir") is None or "fmr" not in values:
        return
    order = ("flag", "environment", "file")
    first, second = (order.index(origins[name].source) for name in ("fmr", "fpir"))
    if first == second:
        where = f"{origins['fmr'].where} and {origins['fpir'].where}"
        raise ConfigError(
            f"{where}: each of the two says how many mistakes are allowed: give one of them"
        )
    other = "fpir" if first < second else "fmr"
    del values[other]
    origins[other] = Origin("default")


def config_path(
    flag: str | os.PathLike[str] | None, environ: Mapping[str, str] | None = None
) -> Path | None:
    """Find the configuration file: ``flag``, else ``FACEKEEP_CONFIG``, else the user's own.

    Returns:
        The path, or None when no file was named and the user has none.

    Raises:
        ConfigError: The named file does not exist.
    """
    environ = os.environ if environ is None else environ
    named = flag or environ.get(ENV_PREFIX + "CONFIG")
    try:
        path = Path(named) if named else default_config_path()
    except ConfigError:  # there is no home, so no file in it either
        return None
    try:
        exists = path.exists()
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: cannot be read: {why(error)}") from error
    if exists:
        return path
    if named:
        source = "" if flag else f" ({ENV_PREFIX}CONFIG)"
        hint = "config" if flag else None
        raise ConfigError(f"{path}: there is no such configuration file{source}", hint)
    return None


def read_toml(path: Path) -> dict[str, Any]:
    """Read a configuration file; paths in it are relative to its folder.

    Raises:
        ConfigError: The file cannot be read or is not TOML, or holds unknown keys or bad values.
    """
    values = {}
    for name, value in read_document(path, "a configuration file").items():
        if name not in KNOBS:
            raise _unknown(f"{path}: ", name)
        knob = KNOBS[name]
        checked = check(knob.kind, value, f"{path}: {name} = {_shown(value, knob)}")
        values[name] = knob.kind.anchor(checked, path.parent)
    return values


def example_toml() -> str:
    """A configuration file with every key, explained and commented out."""
    parts = [
        "# facekeep reads this file; every key is optional. Remove the # before a key to set it."
    ]
    for knob in KNOBS.values():
        default = f" Default: {knob.default_text}." if knob.default_text else ""
        parts += [
            "",
            f"# {knob.doc}{default}",
            f"# Takes {knob.kind.expects}. Variable: {knob.env}",
            f"# {knob.name} = {knob.example}",
        ]
    return "\n".join(parts) + "\n"


def _unknown(where: str, name: str) -> ConfigError:
    import difflib

    told = f"{where}unknown key {_shown(name)}"
    if close := difflib.get_close_matches(name.lower(), KNOBS, n=1):
        return ConfigError(f"{told}; did you mean {close[0]}?")
    return ConfigError(f"{told}; known: {', '.join(KNOBS)}", "config_example")


def _shown(value: object, knob: Knob | None = None) -> str:
    """The value on one line, shortened; what may be a secret is not repeated."""
    if knob is not None and knob.kind.secret:
        return "..."
    try:
        text = value if isinstance(value, str) and value.isprintable() else repr(value)
    except ValueError:  # an integer of more digits than Python converts
        text = f"a huge {type(value).__name__}"
    return text if len(text) <= 60 else text[:57] + "..."
