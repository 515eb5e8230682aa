"""What facekeep leaves in the home folder, and what it says to the network: its own, and nothing.

The libraries below it report their use to their makers, or keep folders of their own, unless they
are told not to in time.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

OWN = (".cache/facekeep", ".local/share/facekeep", ".config/facekeep")

# The first command is the first thing that a new user may type, on every import's first time.
COMMANDS = """
doctor
doctor --json
models list
models info yunet
models verify
config show
config path
config example
enroll people
enroll Somebody people/Grace/0.jpg --review off
identify people/Grace/0.jpg --out marked.jpg
detect people/Grace/0.jpg
verify people/Grace/0.jpg people/Eileen/0.jpg
search people/Grace/0.jpg people --out found.jpg
cluster people --out groups.jpg
cache info
cache clear
live people/Grace --json
live people/Grace --record films --csv events.csv --once
live --status
enroll Visitor --camera people/Grace --yes --new-person
events list
events status
events expire
people list
people show Grace
people rename Grace Hopper
people export people.jsonl
people remove Hopper --yes
people import people.jsonl --on-conflict skip
gallery info
gallery check
gallery audit
gallery keygen file:key
gallery compact
evaluate folder people --report report --cache crops-cache
demo --photos people --out pictures
align people --out crops
bench embed --repeats 3
models export yunet --to openvino
models export facekeep-xxs --to ncnn
"""

RUN = """
import sys
import facekeep
from facekeep.cli.main import build, main

def commands(command, words=()):
    yield words
    for name, each in getattr(command, "commands", {}).items():
        yield from commands(each, (*words, name))

for line in open("commands"):
    if words := line.split():
        print("##", main(words), line.strip(), flush=True)
for words in commands(build()):
    status = main([*words, "--help"])
    print("##", status, *words, "--help", flush=True)

from facekeep import FaceEngine, RuntimeOptions, search_folder
for runtime in ("onnxruntime", "openvino"):
    try:
        with FaceEngine(options=RuntimeOptions(runtime=runtime, threads=1)) as engine:
            engine.analyze("people/Grace/0.jpg")
    except facekeep.FacekeepError as error:
        print(runtime, error)
for name in facekeep.__all__:
    getattr(facekeep, name)
print("## all")
"""


def environment(home: Path) -> dict[str, str]:
    """What ``env -i HOME=...`` leaves, and one thread, which these machines share."""
    home.mkdir()
    return {"HOME": str(home), "OMP_NUM_THREADS": "1"}


def foreign(home: Path) -> list[str]:
    """All files in a home folder that are not facekeep's own."""
    found = [str(each.relative_to(home)) for each in home.rglob("*") if not each.is_dir()]
    return [each for each in found if not each.startswith(OWN)]


def watched(trace: Path) -> list[str]:
    """The words that write down all use of the network, where there is a program for it."""
    program = shutil.which("strace")
    words = ["-f", "-qq", "-e", "trace=connect,sendto,sendmsg,bind", "-e", "signal=none"]
    if program is None:
        return []
    probe = subprocess.run([program, "-o", os.devnull, "true"], capture_output=True, check=False)
    return [program, *words, "-o", str(trace)] if probe.returncode == 0 else []


@pytest.fixture
def folder(tmp_path: Path, hopper_path: Path, collins_path: Path) -> Path:
    """A folder with photos of two people, two of each."""
    for name, photo in (("Grace", hopper_path), ("Eileen", collins_path)):
        (tmp_path / "people" / name).mkdir(parents=True)
        for number in range(2):
            shutil.copy(photo, tmp_path / "people" / name / f"{number}.jpg")
    (tmp_path / "commands").write_text(COMMANDS)
    return tmp_path


def test_all_commands_and_the_library_leave_nothing_foreign_and_reach_nobody(
    folder: Path,
) -> None:
    home, trace = folder / "home", folder / "trace"
    done = subprocess.run(
        [*watched(trace), sys.executable, "-c", RUN],
        cwd=folder,
        env=environment(home),
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    headings = [line for line in done.stdout.splitlines() if line.startswith("## ")]
    assert (done.returncode, headings[-1:]) == (0, ["## all"]), done.stdout + done.stderr
    odd = [line for line in headings if not line.startswith(("## 0 ", "## 1 "))]
    assert odd == ["## all"], done.stderr
    assert len(headings) > 90
    assert foreign(home) == []
    assert (home / ".cache/facekeep/matplotlib").is_dir(), "the report was drawn"
    if trace.exists():
        reached = [line for line in trace.read_text().splitlines() if "AF_INET" in line]
        assert reached == []


@pytest.mark.parametrize(
    "code",
    [
        "import facekeep, onnxruntime",
        "from facekeep.cli.main import main; assert main(['doctor']) == 0",
        "from facekeep.lab.compress.int8 import quantize_dynamic; quantize_dynamic(b'')",
        "from facekeep.runtime import runtimes; runtimes()",
        "from facekeep.runtime.openvino import import_openvino; import_openvino()",
        "from facekeep.lab.evaluate.plots import styled_figure\nwith styled_figure(): pass",
    ],
)
def test_whatever_is_imported_first_leaves_nothing(tmp_path: Path, code: str) -> None:
    home = tmp_path / "home"
    subprocess.run(
        [sys.executable, "-c", code],
        env=environment(home),
        capture_output=True,
        check=False,
        timeout=300,
    )
    assert foreign(home) == []
