"""Whose fault it is when another library cannot be loaded: never the photo's, nor facekeep's."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from facekeep._internal.files import one_line
from facekeep.errors import DependencyError, FacekeepError

__all__ = ["MODULES", "broken_library"]

MODULES: Final = {"opencv-python-headless": "cv2", "pillow": "PIL", "protobuf": "google"}
"""What the packages are imported as that do not say it by their own names."""

_EXTRAS: Final = {
    "av": ("PyAV", "video"),
    "cv2": ("OpenCV", "train"),
    "paho": ("Paho", "mqtt"),
}
"""What only an extra brings, and is imported where it is used: its name and the extra."""

_OWN: Final = ("facekeep", "__main__")


def broken_library(error: BaseException) -> DependencyError | None:
    """Return the error to tell of, if this one is that of a library that cannot be loaded.

    Libraries that are not whole raise all there is, not ImportError only, while they are imported.
    """
    cause: BaseException | None = error
    while isinstance(cause, Exception) and not isinstance(cause, FacekeepError | MemoryError):
        module = _culprit(cause)
        if module is not None:
            return _dependency_error(module, cause)
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
    return None


def _culprit(error: Exception) -> str | None:
    """Name the package that failed while it was imported, the innermost if there are several."""
    if isinstance(error, ImportError) and (name := _package(error.name)):
        return name
    if isinstance(error, SyntaxError) and (name := _package_at(error.filename)):
        return name
    packages = [_package(name) for name in _being_imported(error)]
    return next((name for name in reversed(packages) if name), None)


def _being_imported(error: Exception) -> Iterator[str]:
    """Name the modules whose bodies the error went through, the outermost first."""
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_name == "<module>":
            yield str(trace.tb_frame.f_globals.get("__name__", ""))
        trace = trace.tb_next


def _package(module: str | None) -> str | None:
    top = (module or "").partition(".")[0]
    return None if not top or top in _OWN else top


def _package_at(path: str | None) -> str | None:
    """Name the package that a file of Python code belongs to, if it is another library's."""
    for folder in sys.path:
        if path and folder and path.startswith(os.path.join(folder, "")):  # noqa: PTH118
            return _package(Path(path).relative_to(folder).parts[0].removesuffix(".py"))
    return None


def _dependency_error(module: str, error: Exception) -> DependencyError:
    if module in sys.stdlib_module_names:
        return DependencyError(
            f"this Python lacks a part of itself, {module} ({one_line(error)});"
            " install a Python that is complete"
        )
    if module in _EXTRAS and isinstance(error, ModuleNotFoundError):
        name, extra = _EXTRAS[module]
        return DependencyError(
            f"{name} is not installed; install it with: pip install 'facekeep[{extra}]'"
        )
    library = _distribution(module)
    return DependencyError(
        f"the library {library} that facekeep needs cannot be loaded: {one_line(error)};"
        f" reinstall it: pip install --force-reinstall {library}"
    )


def _distribution(module: str) -> str:
    """Name the package that pip knows a module by."""
    known = {name: package for package, name in MODULES.items()}
    if module in known:
        return known[module]
    import importlib.metadata  # slow, and needed only here

    with contextlib.suppress(Exception):  # what is installed is broken; its records may be too
        return importlib.metadata.packages_distributions()[module][0]
    return module
