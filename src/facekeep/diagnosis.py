"""Check what works here: the machine, the libraries, the models, the user's files."""

from __future__ import annotations

import contextlib
import importlib
import os
import platform
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from facekeep._internal.files import find_existing
from facekeep._internal.libraries import MODULES
from facekeep.config.settings import SETTINGS, Settings, config_path, resolve
from facekeep.errors import ConfigError, FacekeepError, Hint

__all__ = ["Check", "doctor"]

_SIMD: Final = re.compile(
    r"sse4_2|avx|avx2|avx512\w*|avx_vnni|fma|f16c|amx\w*|asimd\w*|i8mm|bf16|sve\w*"
)
"""Flags of a CPU that decide how fast a network runs."""

_OTHER_MODEL: Final[Mapping[str, Literal["ok", "warn"]]] = {"ok": "ok", "damaged": "warn"}
_OTHER_VARIABLES: Final = (
    "CONFIG",
    "DEBUG",
    "MODELS",
    "CACHE",
    "INDEX_URL",
    "SHARED",
    "FUZZ_EXAMPLES",
)


@dataclass(frozen=True, slots=True)
class Check:
    """One finding.

    Attributes:
        area: What it is about: ``machine``, ``programs``, ...
        name: The thing that was looked at.
        status: ``ok``; ``warn``, works but deserves a look; ``fail``, something needed does not
            work; ``absent``, something optional is not there.
        detail: What was found, or why it does not work.
        cure: What to do about it.
        hint: What a program may add, as for errors.
    """

    area: str
    name: str
    status: Literal["ok", "warn", "fail", "absent"]
    detail: str
    cure: str = ""
    hint: Hint | None = None

    def to_dict(self) -> dict[str, str]:
        """Return all but the hint by name, for JSON."""
        return {
            "area": self.area,
            "name": self.name,
            "status": self.status,
            "detail": self.detail,
            "cure": self.cure,
        }


def doctor(
    settings: Settings | None = None, *, config: str | os.PathLike[str] | None = None
) -> Iterator[Check]:
    """Check everything that facekeep needs here; a check that breaks stops no other.

    Args:
        settings: The settings to check for; None for the user's own, whose check then comes first.
        config: The file of the settings; None for the user's own.

    Yields:
        A finding at a time. All needed works where none has the status ``fail``.
    """
    if settings is None:
        settings, first = _read_settings(config)
        yield first
    areas: dict[str, Callable[[Settings], Iterator[Check]]] = {
        "machine": _machine,
        "programs": _programs,
        "devices": _devices,
        "models": _models,
        "extras": _extras,
        "files": _files,
    }
    for area, look in areas.items():
        try:
            yield from look(settings)
        except Exception as error:  # noqa: BLE001 - whatever is broken here is the finding
            yield Check(area, area, "fail", _failure(error), "report this with the line above")


def _read_settings(config: str | os.PathLike[str] | None) -> tuple[Settings, Check]:
    """The settings in force; where they cannot be used, that is a finding and defaults serve."""
    try:
        found = resolve(file=config_path(config))
    except ConfigError as error:
        return Settings(), Check(
            "settings", "settings", "fail", str(error), hint=Hint("config_example")
        )
    detail = str(found.file) if found.file else "no configuration file; defaults and variables"
    return found.settings, Check("settings", "settings", "ok", detail)


def _machine(_: Settings) -> Iterator[Check]:
    python = f"{platform.python_implementation()} {platform.python_version()}"
    yield Check("machine", "python", "ok", python)
    yield Check("machine", "system", "ok", platform.platform())
    model, flags = read_cpu(Path("/proc/cpuinfo"))
    simd = " ".join(sorted(filter(_SIMD.fullmatch, flags))) or "no SIMD flags known"
    cores = f"{os.cpu_count()} cores"
    yield Check("machine", "cpu", "ok", f"{model or platform.machine()}, {cores}, {simd}")
    yield _memory()
    yield _sqlite()


def read_cpu(cpuinfo: Path) -> tuple[str, frozenset[str]]:
    """Read the model and the flags of the CPU; empty where the system does not tell."""
    try:
        text = cpuinfo.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return platform.processor(), frozenset()
    model = re.search(r"^(?:model name|Model|Hardware)\s*:\s*(.+)$", text, re.MULTILINE)
    flags = re.search(r"^(?:flags|Features)\s*:\s*(.+)$", text, re.MULTILINE)
    found = frozenset(flags[1].split()) if flags else frozenset[str]()
    return (model[1].strip() if model else platform.processor()), found


def _memory() -> Check:
    try:
        size = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    except (AttributeError, ValueError, OSError):
        return Check("machine", "memory", "absent", "the system does not tell how much there is")
    if size < 0.4:
        cure = "use small pictures, and one thread"
        return Check("machine", "memory", "warn", f"{size:.1f} GiB is little", cure)
    return Check("machine", "memory", "ok", f"{size:.1f} GiB")


def _sqlite() -> Check:
    import sqlite3

    from facekeep.gallery.sqlite.schema import require_sqlite

    try:
        require_sqlite()
    except FacekeepError as error:
        what, _, cure = str(error).rpartition(": ")
        return Check("machine", "sqlite", "fail", what, cure)
    return Check("machine", "sqlite", "ok", sqlite3.sqlite_version)


def _programs(_: Settings) -> Iterator[Check]:
    from importlib import metadata  # here: it is slow to load, and help needs none of it

    for requirement in metadata.requires("facekeep") or []:
        if "extra ==" not in requirement:
            yield _program(re.split(r"[^A-Za-z0-9._-]", requirement)[0])


def _program(distribution: str) -> Check:
    """Find a required distribution, and import it: a broken library shows itself only then."""
    from importlib import metadata  # here: it is slow to load, and help needs none of it

    try:
        version = metadata.version(distribution)
    except metadata.PackageNotFoundError:
        cure = f"pip install {distribution}"
        return Check("programs", distribution, "fail", "is not installed", cure)
    try:
        importlib.import_module(MODULES.get(distribution, distribution))
    except Exception as error:  # noqa: BLE001 - a broken extension module can raise anything
        cure = f"pip install --force-reinstall {distribution}"
        return Check("programs", distribution, "fail", _failure(error), cure)
    return Check("programs", distribution, "ok", version)


def _devices(settings: Settings) -> Iterator[Check]:
    from facekeep.runtime import runtimes

    found = runtimes()
    wanted = {(runtime, settings.device) for runtime in _wanted_runtimes(settings)}
    for device in found:
        name = f"{device.runtime} {device.device}"
        needed = (device.runtime, device.device) in wanted
        status: Literal["ok", "fail", "absent"] = "fail" if needed else "absent"
        yield Check("devices", name, "ok" if device.available else status, device.detail)
    for runtime, name in sorted(wanted - {(d.runtime, d.device) for d in found}):
        detail = f"the settings ask for {runtime} {name}, which nobody knows"
        yield Check("devices", name, "fail", detail, hint=Hint("config_show"))


def _wanted_runtimes(settings: Settings) -> set[str]:
    """The runtimes that the settings' models are run with."""
    from facekeep.models import entry

    if settings.runtime is not None:
        return {settings.runtime}
    found: set[str] = set()
    for name in _wanted_models(settings):
        with contextlib.suppress(FacekeepError):  # the check of the models reports it
            found.add(entry(name).runtime)
    return found


def _wanted_models(settings: Settings) -> set[str]:
    from facekeep.factory import find_chosen_models
    from facekeep.pipeline.refine import NONE

    named = {settings.detector, settings.refiner, settings.orienter, settings.embedder}
    names = {each for each in named if each is not None} - {NONE}
    return names | {each.name for each in find_chosen_models(settings)}


def _terms(settings: Settings) -> Check:
    """Say under which terms the models in use stand, and whether the settings allow them."""
    from facekeep.factory import find_chosen_models, require_terms
    from facekeep.models.terms import describe_terms

    detail = describe_terms(find_chosen_models(settings))
    try:
        require_terms(settings)
    except ConfigError as error:
        return Check("models", "terms", "fail", f"{detail}; {error}", hint=error.hint)
    return Check("models", "terms", "ok", detail)


def _models(settings: Settings) -> Iterator[Check]:
    from facekeep.models import damaged_models, entry, list_models, verify

    wanted = _wanted_models(settings)
    yield _terms(settings)
    for name in sorted(wanted):
        try:
            status = verify(entry(name))
        except FacekeepError as error:
            yield Check("models", name, "fail", str(error), hint=error.hint)
            continue
        state: Literal["ok", "fail"] = "ok" if status.state == "ok" else "fail"
        yield Check("models", name, state, status.detail, hint=status.hint)
    for other in list_models():
        if other.name not in wanted and (status := verify(other)).state in _OTHER_MODEL:
            kind = _OTHER_MODEL[status.state]
            yield Check("models", other.name, kind, status.detail, hint=status.hint)
    for damaged in damaged_models():
        yield Check("models", damaged.name, "warn", damaged.reason)


def _extras(settings: Settings) -> Iterator[Check]:
    yield _extra("heic", "pillow_heif", "HEIC pictures cannot be read")
    yield _installed("video", "av", "cameras and videos cannot be read")
    yield _installed("import", "onnx", "networks can only be imported in the form that runs")
    yield _installed("evaluate", "matplotlib", "reports have no plots")
    yield _installed("train", "torch", "no network can be trained, no checkpoint be converted")
    yield _installed("export", "pnnx", "no model can be exported to ncnn")
    yield _keyring(needed=(settings.key or "").startswith("keyring"))


def _extra(extra: str, module: str, consequence: str) -> Check:
    try:
        found = importlib.import_module(module)
    except Exception as error:  # noqa: BLE001 - as above
        cure = f"pip install 'facekeep[{extra}]'"
        return Check("extras", extra, "absent", f"{consequence}: {_failure(error)}", cure)
    return Check("extras", extra, "ok", str(getattr(found, "__version__", "installed")))


def _installed(extra: str, distribution: str, consequence: str) -> Check:
    """Find an extra that takes too long to import only to look at it."""
    from importlib import metadata  # here: it is slow to load, and help needs none of it

    try:
        version = metadata.version(distribution)
    except metadata.PackageNotFoundError:
        cure = f"pip install 'facekeep[{extra}]'"
        detail = f"{consequence}: {distribution} is not installed"
        return Check("extras", extra, "absent", detail, cure)
    return Check("extras", extra, "ok", f"{distribution} {version}")


def _keyring(*, needed: bool) -> Check:
    status: Literal["fail", "absent"] = "fail" if needed else "absent"
    try:
        import keyring

        backend = keyring.get_keyring()
    except ImportError:
        detail, cure = "the module keyring is not installed", "pip install 'facekeep[keyring]'"
        return Check("extras", "keyring", status, detail, cure)
    except Exception as error:  # noqa: BLE001 - as above; also where there is no home folder
        cure = "keep the key in a file or a variable"
        return Check("extras", "keyring", status, _failure(error), cure)
    name = f"{type(backend).__module__}.{type(backend).__name__}"
    if backend.priority <= 0:
        cure = "keep the key in a file or a variable, or start a keyring service"
        return Check("extras", "keyring", status, f"no keyring answers ({name})", cure)
    return Check("extras", "keyring", "ok", name)


def _files(settings: Settings) -> Iterator[Check]:
    from facekeep.models.paths import cache_dir, models_dir

    looks: dict[str, Callable[[], Check]] = {
        "gallery": lambda: _gallery(settings),
        "models folder": lambda: _folder("models folder", models_dir()),
        "cache folder": lambda: _folder("cache folder", cache_dir()),
    }
    for name, look in looks.items():
        try:
            yield look()
        except ConfigError as error:  # there is no home folder; much works without
            what, _, cure = str(error).rpartition(": ")
            yield Check("files", name, "warn", what, cure)
    yield from _variables(dict(os.environ))


def _gallery(settings: Settings) -> Check:
    """Open the gallery, if there is one, without changing it."""
    from facekeep.gallery import Gallery, load_key

    path = settings.gallery
    try:
        key = load_key(settings.key) if settings.key else None
        if not os.path.lexists(path):
            return _future_gallery(path)
        with Gallery.open(path, key=key, read_only=True, busy_timeout=2) as gallery:
            info = gallery.info()
    except FacekeepError as error:
        return Check("files", "gallery", "fail", str(error), hint=error.hint)
    count = info.templates - info.negatives
    people = f"{info.people} {'person' if info.people == 1 else 'people'}"
    detail = f"{path}, {people}, {count} {'template' if count == 1 else 'templates'}"
    if not os.access(path, os.W_OK) or not os.access(path.parent, os.W_OK):
        return Check("files", "gallery", "warn", f"{detail}, but it cannot be written")
    return Check("files", "gallery", "ok", detail)


def _future_gallery(path: Path) -> Check:
    place = _folder("gallery", path.parent)
    if place.status != "ok":
        return place
    return Check(
        "files", "gallery", "ok", f"{path} does not exist yet", hint=Hint("enroll_creates")
    )


def _folder(name: str, folder: Path) -> Check:
    """Can files be made in a folder, or can the folder itself be made?"""
    nearest = find_existing(folder)
    if not nearest.is_dir():
        return Check("files", name, "fail", f"{nearest} is not a folder", "choose another place")
    if not os.access(nearest, os.W_OK | os.X_OK):
        return Check("files", name, "fail", f"{nearest} cannot be written", "choose another place")
    return Check("files", name, "ok", str(folder))


def _variables(environ: dict[str, str]) -> Iterator[Check]:
    """Find variables that look like settings but are none."""
    import difflib

    known = [setting.env for setting in SETTINGS.values()]
    known += [f"FACEKEEP_{name}" for name in _OTHER_VARIABLES]
    for name in sorted(environ):
        if name.startswith("FACEKEEP_") and name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            cure = f"did you mean {close[0]}?" if close else ""
            yield Check("files", name, "warn", "this variable means nothing to facekeep", cure)


def _failure(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
