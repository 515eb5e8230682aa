"""A user that the system does not know, without a home folder: what needs none works."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

# What platformdirs and pathlib do for a user who is in no list of users, and has no HOME.
HOMELESS = """
import pwd, sys
def unknown(uid):
    raise KeyError(f"getpwuid(): uid not found: {uid}")
pwd.getpwuid = unknown
from facekeep.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


def run(folder: Path, *words: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", HOMELESS, *map(str, words)],
        cwd=folder,
        env={"OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.fixture
def cache(tmp_path: Path) -> str:
    """A place for the cache."""
    (tmp_path / "cache").mkdir()
    return str(tmp_path / "cache")


def test_what_needs_no_folder_of_the_user_works(tmp_path: Path, hopper_path: Path) -> None:
    done = run(tmp_path, "detect", hopper_path, "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(json.loads(done.stdout)["faces"]) == 1
    assert done.stderr == ""
    assert list(tmp_path.iterdir()) == [], "no folder called ~ is made"


@pytest.mark.parametrize(
    "words",
    ["models list", "config show --gallery g.db", "config example", "search {0} {1}", "--version"],
)
def test_and_so_do_others(tmp_path: Path, hopper_path: Path, cache: str, words: str) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes(hopper_path.read_bytes())
    filled = words.format(hopper_path, tmp_path / "photos").split()
    environment = {} if "search" not in words else {"FACEKEEP_CACHE": cache}
    done = run(tmp_path, *filled, **environment)
    assert done.returncode == 0, done.stdout + done.stderr


def test_who_names_the_places_lacks_nothing(tmp_path: Path, hopper_path: Path, cache: str) -> None:
    places = {"FACEKEEP_GALLERY": str(tmp_path / "g.db"), "FACEKEEP_CACHE": cache}
    for words in (["enroll", "Grace", hopper_path], ["identify", hopper_path]):
        done = run(tmp_path, *words, **places)
        assert done.returncode == 0, done.stderr
        assert "warning" not in done.stderr
    assert "Grace" in done.stdout


@pytest.mark.parametrize(
    ("words", "mend"),
    [
        ("people list", "set HOME, or name the gallery (--gallery)"),
        ("identify {0}", "set HOME, or name the gallery (--gallery)"),
        ("cache info", "set HOME or FACEKEEP_CACHE"),
        ("config path", "set HOME or FACEKEEP_CONFIG"),
        ("models import {0} --name mine", "set HOME or FACEKEEP_MODELS"),
    ],
)
def test_what_needs_one_says_what_to_set(
    tmp_path: Path, hopper_path: Path, words: str, mend: str
) -> None:
    done = run(tmp_path, *words.format(hopper_path).split(), "--json")
    error = json.loads(done.stdout)["error"]
    assert (done.returncode, error["kind"]) == (2, "config"), error
    assert error["message"].startswith("this user has no home folder for facekeep's ")
    assert error["message"].endswith(mend)
    assert list(tmp_path.iterdir()) == []


def test_doctor_finds_it_and_looks_at_the_rest(tmp_path: Path) -> None:
    done = run(tmp_path, "doctor", "--json")
    document = json.loads(done.stdout)
    assert document["ok"], [each for each in document["checks"] if each["status"] == "fail"]
    warned = {each["name"] for each in document["checks"] if each["status"] == "warn"}
    assert {"gallery", "models folder", "cache folder"} <= warned
