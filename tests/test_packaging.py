"""What others pack facekeep with: PyInstaller and containers."""

from __future__ import annotations

import fnmatch
import importlib.util
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from facekeep._internal.pyinstaller import hook_dirs

ROOT = Path(__file__).resolve().parents[1]
PROGRAM = """\
import sys
from facekeep import FaceEngine

with FaceEngine(threads=1) as engine:
    (face,) = engine.embed(engine.find(sys.argv[1]))
    print(face.embedding.shape, round(float(face.embedding @ face.embedding), 3))
"""
# Of the extras, what a development environment has and a program that only recognizes has not.
EXTRAS = (
    *("torch", "onnx", "onnxscript", "matplotlib", "skimage", "sklearn", "scipy", "openvino"),
    *("ncnn", "pnnx", "ai_edge_litert", "faiss", "hypothesis", "pytest", "cv2", "keyring"),
    *("av", "paho"),
)


def test_pyinstaller_is_told_where_the_hook_is() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = project["entry-points"]["pyinstaller40"]["hook-dirs"]
    assert declared == f"{hook_dirs.__module__}:{hook_dirs.__name__}"
    (folder,) = hook_dirs()
    assert (Path(folder) / "hook-facekeep.py").is_file()


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("PyInstaller") is None, reason="needs PyInstaller")
@pytest.mark.timeout(1200)
def test_a_frozen_program_detects_and_embeds(
    tmp_path: Path, hopper_path: Path, ready_models: None
) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    words = ["-m", "PyInstaller", "--noconfirm", "--log-level", "WARN"]
    words += ["--additional-hooks-dir", *hook_dirs()]
    words += [word for name in EXTRAS for word in ("--exclude-module", name)]
    done = subprocess.run(
        [sys.executable, *words, "program.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    frozen = tmp_path / "dist" / "program"
    names = {path.name for path in frozen.rglob("*")}
    assert names >= {"catalog.toml", "sface.onnx", "yunet.onnx"}
    alone = {"HOME": str(tmp_path / "home"), "OMP_NUM_THREADS": "1"}
    outcome = subprocess.run(
        [frozen / "program", hopper_path], env=alone, capture_output=True, text=True, check=False
    )
    assert (outcome.stdout, outcome.returncode) == ("(128,) 1.0\n", 0), outcome.stderr


def test_the_container_file_copies_what_is_there_and_runs_as_a_user() -> None:
    text = re.sub(r"\\\n", " ", (ROOT / "Containerfile").read_text())
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    ignored = (ROOT / ".containerignore").read_text().split()
    kept = [word[1:] for word in ignored if word.startswith("!")]
    for line in lines:
        words = line.split()
        if words[0] == "COPY" and not words[1].startswith("--"):
            for source in words[1:-1]:
                assert (ROOT / source).exists(), source
                assert any(fnmatch.fnmatch(source, each) for each in kept), source
    last = lines[max(i for i, line in enumerate(lines) if line.startswith("FROM")) :]
    assert not any("pip" in line for line in last), "what runs needs no network"
    user = next(i for i, line in enumerate(last) if line.startswith("USER"))
    assert last[user].split()[1] not in ("root", "0")
    assert not any(line.startswith(("RUN", "COPY")) for line in last[user:])
    assert any("HOME=/tmp" in line for line in last), "whoever runs it, as --user says, can write"
    assert last[-2] == 'ENTRYPOINT ["facekeep"]'


@pytest.mark.slow
def test_what_the_container_copies_is_enough_to_build(tmp_path: Path, ready_models: None) -> None:
    """All but the image itself: no container runs in the tests."""
    copied = re.findall(r"^COPY ((?!--).*) \S+$", (ROOT / "Containerfile").read_text(), re.M)
    for source in (name for line in copied for name in line.split()):
        target = tmp_path / "source" / source
        target.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(["cp", "-r", ROOT / source, target], check=True)
    words = ["-m", "hatchling", "build", "--target", "wheel", "--directory", tmp_path / "dist"]
    subprocess.run(
        [sys.executable, *words],
        cwd=tmp_path / "source",
        env={**os.environ, "PIP_NO_INDEX": "1"},
        check=True,
        capture_output=True,
    )
    assert len(list((tmp_path / "dist").glob("*.whl"))) == 1
