"""One folder that may not be read, in the middle of many that may, ends no run."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from facekeep import save_image

pytestmark = pytest.mark.slow


@pytest.fixture
def people(tmp_path: Path, hopper: Any, collins: Any, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two photos of each of two people, a third person's folder that may not be read, one below."""
    folder = tmp_path / "people"
    for name, photo in (("Grace", hopper), ("Eileen", collins)):
        for number in range(2):
            (folder / name / str(number)).mkdir(parents=True)
            save_image(folder / name / str(number) / "a.jpg", photo, quality=90 - number)
    (folder / "lost+found").mkdir()
    (folder / "Grace" / "lost+found").mkdir()
    scan, listing = os.scandir, os.listdir

    def guarded(path: Any = ".") -> Any:
        if str(path).endswith("lost+found"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scan(path)

    def guarded_list(path: Any = ".") -> Any:
        if str(path).endswith("lost+found"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return listing(path)

    monkeypatch.setattr(os, "scandir", guarded)
    monkeypatch.setattr(os, "listdir", guarded_list)
    return folder


@pytest.mark.usefixtures("ready_models")
@pytest.mark.parametrize(
    "words",
    [
        "enroll {people} --gallery {tmp}/people.db --review off",
        "enroll Grace {people}/Grace --gallery {tmp}/people.db --review off",
        "search {people}/Grace/0/a.jpg {people} --no-cache",
        "cluster {people} --no-cache",
        "align {people} --out {tmp}/crops",
        "evaluate folder {people}",
        "demo --photos {people} --out {tmp}/pictures",
    ],
    ids=lambda words: " ".join(words.split()[:2]),
)
def test_the_run_goes_on_and_says_what_it_left_out(
    cli: Callable[..., Any], people: Path, tmp_path: Path, words: str
) -> None:
    filled = [word.format(people=people, tmp=tmp_path) for word in words.split()]
    outcome = cli(*filled)
    assert outcome.status in (0, 1), outcome.err
    output = outcome.out + outcome.err
    assert "lost+found" in output
    assert "permission denied" in output
    assert "facekeep: error" not in output


@pytest.mark.usefixtures("ready_models")
@pytest.mark.parametrize("verb", ["search", "cluster"])
def test_programs_are_told_too(cli: Callable[..., Any], people: Path, verb: str) -> None:
    probe = [people / "Grace" / "0" / "a.jpg"] if verb == "search" else []
    found = cli(verb, *probe, people, "--no-cache", "--json").json["skipped"]
    assert {each["folder"] for each in found} == {
        str(people / "lost+found"),
        str(people / "Grace" / "lost+found"),
    }
    assert all(each["reason"].startswith("the folder cannot be read: ") for each in found)
