"""Libraries that are broken or missing are called that, not a bug and not a damaged photo."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from facekeep._internal.libraries import broken_library
from facekeep.errors import ImageError, RuntimeUnavailable

REASON = "libGL.so.1: cannot open shared object file: No such file or directory"
WAYS = {
    "an ImportError": f"raise ImportError({REASON!r})",
    "missing": f"raise ModuleNotFoundError({REASON!r}, name=__name__)",
    "another error": f"raise AttributeError({REASON!r})",
    "an error of the system": f"raise OSError(5, {REASON!r})",
    "half a file": f"def {REASON!r}",
}
NEEDED = {
    "PIL": "pillow",
    "numpy": "numpy",
    "cryptography": "cryptography",
    "platformdirs": "platformdirs",
    "click": "click",
}


def run(tmp_path: Path, module: str, way: str, *words: object) -> subprocess.CompletedProcess[str]:
    """Run facekeep with a library that cannot be imported, in a home of its own."""
    (tmp_path / "broken" / module).mkdir(parents=True)
    (tmp_path / "broken" / module / "__init__.py").write_text(way)
    return subprocess.run(
        [sys.executable, "-m", "facekeep", *map(str, words)],
        env={**os.environ, "PYTHONPATH": str(tmp_path / "broken"), "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    Image.new("RGB", (64, 64)).save(tmp_path / "a.jpg")
    return tmp_path / "a.jpg"


@pytest.mark.slow
@pytest.mark.parametrize(("module", "package"), NEEDED.items())
def test_a_broken_library_is_named_with_its_reason_and_the_cure(
    tmp_path: Path, photo: Path, module: str, package: str
) -> None:
    words: tuple[object, ...] = ("detect", photo)
    if module == "cryptography":
        (tmp_path / "key").write_text("ab" * 32)
        (tmp_path / "key").chmod(0o600)
        words = ("cluster", photo.parent, "--key", f"file:{tmp_path / 'key'}")
    done = run(tmp_path, module, WAYS["an ImportError"], *words)
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr == (
        f"facekeep: error: the library {package} that facekeep needs cannot be loaded: {REASON};"
        f" reinstall it: pip install --force-reinstall {package}\n"
    )


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_in_whatever_way_it_is_broken(tmp_path: Path, photo: Path, way: str) -> None:
    done = run(tmp_path, "PIL", way, "detect", photo, "--json")
    error = json.loads(done.stdout)["error"]
    assert (done.returncode, error["kind"]) == (3, "dependency")
    assert error["message"].startswith(f"the library {NEEDED['PIL']} that facekeep needs cannot")


@pytest.mark.slow
def test_a_broken_runtime_is_named_too(tmp_path: Path, photo: Path) -> None:
    done = run(tmp_path, "onnxruntime", WAYS["an ImportError"], "detect", photo)
    assert done.returncode == 3
    assert REASON in done.stderr
    assert "bug" not in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("module", ["PIL", "keyring", "pillow_heif"])
def test_doctor_names_a_broken_library_and_looks_at_all_others(tmp_path: Path, module: str) -> None:
    done = run(tmp_path, module, WAYS["another error"], "doctor", "--json")
    checks = json.loads(done.stdout)["checks"]
    broken = [each for each in checks if REASON in each["detail"]]
    assert broken
    assert {each["area"] for each in broken} <= {"programs", "extras"}
    assert all("report this" not in each["cure"] for each in checks)
    assert len(checks) > 30


def test_what_is_no_fault_of_a_library_is_not_called_one() -> None:
    cases = [
        ImportError("cannot import name 'x'", name="facekeep.pipeline.image"),
        ValueError("numpy"),
        MemoryError(),
        KeyboardInterrupt(),
        ImageError("a.jpg: is damaged"),
        RuntimeUnavailable("OpenVINO cannot be imported"),
    ]
    assert [broken_library(error) for error in cases] == [None] * len(cases)


def test_a_part_of_python_that_is_missing_is_not_to_be_installed_with_pip() -> None:
    found = broken_library(ModuleNotFoundError("No module named '_sqlite3'", name="_sqlite3"))
    assert found is not None
    assert "this Python lacks a part of itself, _sqlite3" in str(found)
    assert "pip" not in str(found)


def test_what_an_extra_brings_is_installed_by_the_extra() -> None:
    found = broken_library(ModuleNotFoundError("No module named 'cv2'", name="cv2"))
    assert str(found) == "OpenCV is not installed; install it with: pip install 'facekeep[train]'"
    found = broken_library(ImportError(REASON, name="cv2"))
    assert "reinstall it: pip install --force-reinstall opencv-python-headless" in str(found)
