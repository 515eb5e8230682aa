"""Settings, and where each value came from: flag, environment, TOML file or default.

One table, the fields of :class:`Settings`, says everything there is to say about a setting. The
names of environment variables and TOML keys, the command line's options, ``facekeep config show``
and the page ``docs/configuration.md`` are derived from it.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from msgspec import Struct, field

from facekeep._internal.files import user_folder, why
from facekeep._internal.tables import shorten
from facekeep.config.fields import Field, about, list_fields, read_document
from facekeep.config.live import (
    CAMERA,
    LIVE,
    CameraTable,
    LiveTable,
    locate_secret,
    read_cameras,
    read_live,
)
from facekeep.errors import ConfigError

__all__ = [
    "SETTINGS",
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
_TABLES: Final = ("live", "camera")


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


_TERMS = r"^[a-z0-9][a-z0-9._-]{0,63}(, ?[a-z0-9][a-z0-9._-]{0,63}){0,99}\Z"
_KEY = r"^((file|keyring):(?=.*\S)|env:[A-Za-z_]\w*\Z)"


class Settings(Struct, frozen=True, kw_only=True):
    """Every setting of facekeep; the annotations document them, as `SETTINGS` lists them.

    Where nothing names the gallery and this user has no home folder, asking for ``gallery`` raises
    ConfigError; the other settings are there all the same.
    """

    gallery: Annotated[
        Path,
        about(
            "File of the gallery.",
            example='"~/people.db"',
            default="facekeep/people.db in your data folder",
            expects="a path of a file",
        ),
    ] = field(default_factory=_default_gallery)
    key: Annotated[
        str | None,
        about(
            "Where the key of an encrypted gallery is.",
            example='"file:~/.facekeep.key"',
            default="the gallery is not encrypted",
            metavar="SPEC",
            expects="file:PATH, env:NAME or keyring:SERVICE/USER",
            pattern=_KEY,
            finish=locate_secret,
            secret=True,
        ),
    ] = None
    keep_crops: Annotated[
        bool, about("Keep the aligned face of each enrolled photo in the gallery.", example="false")
    ] = False
    review: Annotated[
        Literal["off", "standard", "strict"],
        about("How strictly photos are checked before they are enrolled.", example='"standard"'),
    ] = "standard"
    any_quality: Annotated[
        bool,
        about(
            "Compare every face, even one that shows too little to be recognized.", example="false"
        ),
    ] = False
    fmr: Annotated[
        float,
        about(
            "False-match rate: the share of pairs of different people taken for one person.",
            example="1e-4",
            metavar="RATE",
            ge=1e-9,
            le=0.5,
        ),
    ] = 1e-4
    fpir: Annotated[
        float | None,
        about(
            "In place of fmr: the share of strangers that may get a name, at any size of gallery.",
            example="0.01",
            default="none, fmr decides",
            metavar="RATE",
            ge=1e-6,
            le=0.5,
        ),
    ] = None
    detector: Annotated[
        str | None,
        about(
            "Model that finds faces.",
            example='"yunet"',
            default="yunet",
            expects="the name of a detection model",
        ),
    ] = None
    refiner: Annotated[
        str | None,
        about(
            "Model that makes landmarks more exact; none to work without it.",
            example='"none"',
            default="facekeep-refiner",
            expects='the name of a model that refines landmarks, or "none"',
        ),
    ] = None
    orienter: Annotated[
        str | None,
        about(
            "Model that detects turned faces; none to treat all faces as upright.",
            example='"none"',
            default="facekeep-orienter",
            expects='the name of a model that detects turned faces, or "none"',
        ),
    ] = None
    embedder: Annotated[
        str | None,
        about(
            "Model that recognizes faces.",
            example='"sface"',
            default="sface",
            expects="the name of a recognition model",
        ),
    ] = None
    terms: Annotated[
        str,
        about(
            "Which models may be used: free, research or any; and names of models to allow.",
            example='"free"',
            metavar="TERMS",
            expects="free, research, any or names of models, separated by commas",
            pattern=_TERMS,
        ),
    ] = "free"
    min_face: Annotated[
        int | None,
        about(
            "Shorter side of the smallest face to find, in pixels; smaller faces cost more time.",
            example="24",
            default="about 1/32 of the picture's longer side",
            ge=10,
            le=16384,
            unit=" of pixels",
        ),
    ] = None
    max_faces: Annotated[
        int,
        about(
            "Maximum number of faces in a picture; the largest are used.",
            example="500",
            ge=1,
            le=1_000_000,
        ),
    ] = 500
    max_pixels: Annotated[
        int,
        about(
            "Refuse pictures with more pixels.",
            example="100_000_000",
            default="100 million",
            ge=1,
            le=10_000_000_000,
            unit=" of pixels",
        ),
    ] = 100_000_000
    max_bytes: Annotated[
        int,
        about(
            "Refuse picture files with more bytes.",
            example="500_000_000",
            default="500 million",
            ge=1,
            le=1_000_000_000_000,
            unit=" of bytes",
        ),
    ] = 500_000_000
    flip: Annotated[
        bool,
        about(
            "Average each face with its mirror image: a little more accurate, twice the time.",
            example="false",
        ),
    ] = False
    runtime: Annotated[
        str | None,
        about(
            "Runtime that runs the models.",
            example='"onnxruntime"',
            default="what the file of each model needs",
            expects="the name of a runtime",
        ),
    ] = None
    device: Annotated[
        str,
        about("Device that the models run on.", example='"cpu"', expects="the name of a device"),
    ] = "cpu"
    precision: Annotated[
        Literal["float32", "bfloat16", "float16"],
        about("Number format in which the models compute.", example='"float32"'),
    ] = "float32"
    threads: Annotated[
        int,
        about(
            "Threads that a model may use; 0 for all cores.",
            example="0",
            ge=0,
            le=1024,
        ),
    ] = 0

    def __getattribute__(self, name: str) -> Any:
        value = object.__getattribute__(self, name)
        return default_gallery_path() if value is _NO_GALLERY else value


SETTINGS: Final = list_fields(Settings)
"""The fields of `Settings`, by name."""


class Origin(Struct, frozen=True):
    """Where a value came from: the source, and the option, variable or file that said it."""

    source: Literal["flag", "environment", "file", "default"]
    where: str = ""

    def __str__(self) -> str:
        return f"{self.source} {self.where}".rstrip()


class Resolved(Struct, frozen=True):
    """The settings in force, the origin of each, and the file that was read, if any.

    Of the file's tables, ``live`` holds the options of ``facekeep live``, ``cameras`` the cameras
    by name.
    """

    settings: Settings
    origins: Mapping[str, Origin]
    file: Path | None
    live: LiveTable = LiveTable()
    cameras: Mapping[str, CameraTable] = {}


def load_settings(file: str | os.PathLike[str] | None = None, **changes: object) -> Settings:
    """Load the settings in force: changes over environment over file over defaults.

    Args:
        file: A TOML file; None for the one that ``FACEKEEP_CONFIG`` names, or the user's own.
        changes: Values by setting; None means "not given".

    Raises:
        ConfigError: A key is unknown, or a value is of the wrong type or out of range.
    """
    for name in changes:
        if name not in SETTINGS:
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
    origins = {name: Origin("default") for name in SETTINGS}
    document = read_document(file, "a configuration file") if file else {}
    live, cameras = _read_tables(document, file)
    for name, value in (_read_settings(document, file) if file else {}).items():
        values[name], origins[name] = value, Origin("file", str(file))
    for name, setting in SETTINGS.items():
        if text := environ.get(setting.env):
            values[name] = setting.parse(text, f"{setting.env}={_shown(text, setting)}")
            origins[name] = Origin("environment", setting.env)
    for name, given in (flags or {}).items():
        if given is not None:
            setting = SETTINGS[name]
            called = f"{setting.option} " if as_options else f"{name} = "
            values[name] = setting.parse(given, f"{called}{_shown(given, setting)}")
            origins[name] = Origin("flag", called.rstrip(" ="))
    _choose_rate(values, origins)
    return Resolved(Settings(**values), origins, file, live, cameras)


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
    document = read_document(path, "a configuration file")
    _read_tables(document, path)
    return _read_settings(document, path)


def _read_settings(document: Mapping[str, Any], path: Path) -> dict[str, Any]:
    values = {}
    for name, value in document.items():
        if name in _TABLES:
            continue
        if name not in SETTINGS:
            raise _unknown(f"{path}: ", name)
        setting = SETTINGS[name]
        shown = f"{path}: {name} = {_shown(value, setting)}"
        values[name] = setting.check(value, shown, path.parent)
    return values


def _read_tables(
    document: Mapping[str, Any], path: Path | None
) -> tuple[LiveTable, dict[str, CameraTable]]:
    folder = path.parent if path else None
    live = read_live(document.get("live", {}), f"{path}: live", folder)
    return live, read_cameras(document.get("camera", {}), f"{path}: camera", folder)


def example_toml() -> str:
    """A configuration file with every key, explained and commented out."""
    parts = [
        "# facekeep reads this file; every key is optional. Remove the # before a key to set it."
    ]
    for setting in SETTINGS.values():
        default = f" Default: {setting.default_text}." if setting.default_text else ""
        parts += [
            "",
            f"# {setting.doc}{default}",
            f"# Takes {setting.expects}. Variable: {setting.env}",
            f"# {setting.name} = {setting.example}",
        ]
    parts += _example_table("live", "How cameras are watched.", LIVE)
    parts += _example_table("camera.door", "A camera, called door.", CAMERA)
    return "\n".join(parts) + "\n"


def _example_table(name: str, doc: str, fields: Mapping[str, Field]) -> list[str]:
    parts = ["", "", f"# {doc}", f"# [{name}]"]
    for each in fields.values():
        default = f" Default: {each.default_text}." if each.default_text else ""
        parts += ["", f"# {each.doc}{default}", f"# Takes {each.expects}."]
        parts.append(f"# {each.name} = {each.example}")
    return parts


def _unknown(where: str, name: str) -> ConfigError:
    import difflib

    message = f"{where}unknown key {shorten(name)}"
    if close := difflib.get_close_matches(name.lower(), SETTINGS, n=1):
        return ConfigError(f"{message}; did you mean {close[0]}?")
    return ConfigError(f"{message}; known: {', '.join(SETTINGS)}", "config_example")


def _shown(value: object, setting: Field) -> str:
    """The value on one line, shortened; what may be a secret is not repeated."""
    return "..." if setting.secret else shorten(value)
