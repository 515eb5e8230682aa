"""The built wheel, installed alone: it holds what it should, and runs without any network."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from facekeep.models import entry, list_models, verify
from facekeep.models.model_entry import BundledSource
from facekeep.models.resolve import WEIGHTS

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]
TERMS = WEIGHTS / "TERMS.md"
CUT = ("unshare", "--map-root-user", "--net")
"""Runs a command where there is no network device but a loopback that is down."""

ALARM = """\
import os, sys


def refuse(event, details):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto"):
        os.write(2, f"{event} {details}\\n".encode())
        os._exit(97)


sys.addaudithook(refuse)
"""
"""Ends a process that so much as asks for an address, whatever it would do about a refusal."""

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of the working tree, built with what is installed."""
    folder = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", folder]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (built,) = folder.iterdir()
    return built


@pytest.fixture(scope="session")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment that sees the dependencies, the alarm, and of facekeep the wheel only."""
    folder = tmp_path_factory.mktemp("alone")
    venv.create(folder, with_pip=False, symlinks=True)
    found = folder / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", found, "--disable-pip-version-check", "install"]
    subprocess.run([*pip, "--no-deps", "--no-index", wheel], check=True, capture_output=True)
    (site,) = folder.glob("lib/python*/site-packages")
    # A path file: the .pth of an editable facekeep that lies in these folders is not read.
    paths = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (site / "dependencies.pth").write_text("\n".join([*sorted(paths), "import alarm", ""]))
    (site / "alarm.py").write_text(ALARM)
    return found


@pytest.fixture
def run(python: Path, tmp_path: Path) -> Run:
    """Run a command of that environment, all proxies refusing."""
    proxies = dict.fromkeys(("http_proxy", "https_proxy", "all_proxy"), "http://127.0.0.1:9")
    proxies |= {name.upper(): proxy for name, proxy in proxies.items()}
    quiet = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "FACEKEEP"))}
    environment = {**quiet, **proxies, "HOME": str(tmp_path)}

    def run(*words: str, before: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
        command = [*before, str(python), *words]
        return subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )

    return run


def can_cut() -> bool:
    if shutil.which(CUT[0]) is None:
        return False
    return subprocess.run([*CUT, "true"], check=False, capture_output=True).returncode == 0


def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    source = ROOT / "src"
    files = {path.relative_to(source).as_posix() for path in source.rglob("*") if path.is_file()}
    wanted = {name for name in files if "__pycache__" not in name}
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert held == wanted


def test_the_bundled_weights_are_those_of_the_catalog_and_small() -> None:
    bundled = {
        source.bundled: model
        for model in list_models()
        for file in model.files
        for source in file.sources
        if isinstance(source, BundledSource)
    }
    lying = {path.name: path.stat().st_size for path in WEIGHTS.iterdir() if path != TERMS}
    assert set(lying) == set(bundled)
    of_others = {name for name, model in bundled.items() if model.files[0].origin is not None}
    assert of_others == {"sface.onnx", "yunet.onnx"}
    assert sum(size for name, size in lying.items() if name in of_others) <= 11_500_000
    assert sum(size for name, size in lying.items() if name not in of_others) <= 6_000_000
    assert {verify(model).state for model in bundled.values()} <= {"ok"}
    terms = [f"| `{name}` | {model.weights_license} |" for name, model in sorted(bundled.items())]
    assert [line for line in TERMS.read_text().splitlines() if line.startswith("| `")] == terms


def test_the_alarm_goes_off(run: Run) -> None:
    asking = "import urllib.request as u; u.build_opener(u.ProxyHandler({})).open('http://a.test')"
    done = run("-c", asking)
    assert done.returncode == 97
    assert done.stderr.startswith("socket.getaddrinfo ('a.test'")


@pytest.mark.usefixtures("ready_models")
@pytest.mark.parametrize("before", [(), CUT], ids=["alarmed", "cut off"])
def test_the_wheel_alone_runs_the_demo_without_network(
    cli, run: Run, python: Path, tmp_path: Path, before: tuple[str, ...]
) -> None:
    if before and not can_cut():
        pytest.skip("this system lets nobody make a network namespace")
    where = run("-c", "import facekeep; print(facekeep.__file__)").stdout
    assert Path(where).is_relative_to(python.parents[1])
    done = run("-m", "facekeep", "demo", "--out", "shown", "--json", before=before)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    expected = cli("demo", "--out", tmp_path / "here", "--json").json
    found = json.loads(done.stdout)
    assert found["trials"] == expected["trials"]
    assert found["right"] == len(found["trials"]) > 10
    names = [sorted(path.name for path in (tmp_path / to).iterdir()) for to in ("here", "shown")]
    assert names[0] == names[1]
    checked = json.loads(run("-m", "facekeep", "models", "verify", "--json", before=before).stdout)
    assert {model["name"]: model["state"] for model in checked["models"]} == {
        model.name: "ok" for model in list_models() if not entry(model.name).offered
    }
