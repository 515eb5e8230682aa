"""What the README and the pages say is so: examples run as printed, links lead somewhere."""

from __future__ import annotations

import functools
import importlib
import inspect
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import facekeep
from facekeep import FaceEngine, load_image, save_image
from facekeep.cli.main import build
from facekeep.gallery import generate_key

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
PROGRAM: Any = build()
COMMANDS = PROGRAM.commands


def example(kind: str) -> str:
    """The block of the README that is marked as this kind of test."""
    (block,) = re.findall(rf"<!-- test: {kind} -->\n```\w+\n(.*?)```\n", README, re.DOTALL)
    assert len(block.splitlines()) <= 5
    return str(block)


@pytest.fixture
def photos(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    ready_models: None,
    hopper: NDArray[np.uint8],
    collins: NDArray[np.uint8],
) -> Path:
    """The photos that the examples name, in the working folder, and facekeep on the PATH."""
    height = min(len(hopper), len(collins))
    save_image(tmp_path / "ada1.jpg", hopper)
    save_image(tmp_path / "ada2.jpg", (hopper * 0.8).astype(np.uint8), quality=70)
    save_image(tmp_path / "charles.jpg", collins)
    save_image(tmp_path / "party.jpg", np.hstack([hopper[:height], collins[:height]]))
    monkeypatch.chdir(tmp_path)
    scripts = str(Path(sys.executable).parent)
    monkeypatch.setenv("PATH", scripts, prepend=os.pathsep)
    return tmp_path


def run(*command: str) -> list[str]:
    """Run a program that must succeed and complain about nothing; return the lines it printed."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    # A slow machine makes commands tell how far they are.
    complaints = re.sub(r"^\w+: \d+ of \d+.*\n", "", done.stderr, flags=re.MULTILINE)
    assert (done.returncode, complaints) == (0, "")
    return done.stdout.splitlines()


@pytest.mark.slow
def test_the_shell_example(photos: Path) -> None:
    lines = run("sh", "-e", "-c", example("shell"))
    assert lines[:2] == ["Ada Lovelace: 2 photos enrolled", "Charles Babbage: 1 photo enrolled"]
    assert lines[2] == "party.jpg: 2 faces"
    assert {line.partition("  ")[0] for line in lines[4:6]} == {"Ada Lovelace", "Charles Babbage"}
    assert any(line.startswith("yes: similarity ") for line in lines)
    assert [line.split()[:3] for line in lines[-2:]] == [
        ["Ada", "Lovelace", "2"],
        ["Charles", "Babbage", "1"],
    ]
    assert load_image(photos / "marked.jpg").shape == load_image(photos / "party.jpg").shape


@pytest.mark.slow
def test_the_library_example(photos: Path) -> None:
    lines = run(sys.executable, "-W", "error", "-c", example("python"))
    known, stranger = sorted(lines)
    assert known.startswith("Ada Lovelace 0.9")
    assert stranger.startswith("unknown 0.")


PROGRAMS = [
    pytest.param(block, id=f"{page.stem}-{number}")
    for page in PAGES
    if page.parent.name in ("docs", "guides")
    for number, block in enumerate(re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL))
]


@pytest.mark.slow
@pytest.mark.parametrize("program", PROGRAMS)
def test_the_programs_of_the_guides_run(photos: Path, program: str) -> None:
    (photos / "photos").mkdir()
    for name in ("ada.jpg", "id-card.jpg", "photos/1.jpg", "photos/2.jpg"):
        shutil.copy("ada1.jpg", name)
    shutil.copy("ada2.jpg", "selfie.jpg")
    key = generate_key("file:gallery.key") if "gallery.key" in program else None
    with FaceEngine("people.db", key=key) as engine:
        engine.enroll("Ada Lovelace", "ada1.jpg")
    program = program.replace("VideoCapture(0)", 'VideoCapture("photos/%d.jpg")')  # no camera here
    program = program.replace("rtsp://ada:secret@192.0.2.7/stream", "photos")
    assert run(sys.executable, "-W", "error", "-c", program) != []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_leads_to_a_file(page: Path) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", page.read_text())
    inside = [link.partition("#")[0] for link in links if "://" not in link]
    assert [link for link in inside if link and not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_that_a_page_names_exists(page: Path) -> None:
    code = re.findall(r"`facekeep ([^`]+)`|^    facekeep (.+)$", page.read_text(), re.MULTILINE)
    unknown = []
    for words in ((inline or block).split() for inline, block in code):
        if not words[0].isalpha() or "|" in "".join(words):
            continue  # texts that the file formats contain
        deeper = getattr(COMMANDS.get(words[0]), "commands", {})
        verb = words[1] if deeper and words[1:] and words[1][0].islower() else None
        if words[0] not in COMMANDS or (verb and verb not in deeper):
            unknown.append(" ".join(words))
    assert unknown == []


def test_every_page_is_in_the_navigation_of_the_site() -> None:
    named = re.findall(r"([\w/-]+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE)
    pages = [str(page.relative_to(ROOT / "docs")) for page in (ROOT / "docs").rglob("*.md")]
    assert sorted(named) == sorted(pages)


def test_each_laboratory_note_begins_with_what_it_means_for_users() -> None:
    _, _, notes = (ROOT / "mkdocs.yml").read_text().partition("  - Laboratory notes:\n")
    pages = re.findall(
        r"^      - .*: (\w+\.md)$", notes.partition("  - Developers:")[0], re.MULTILINE
    )
    assert len(pages) == 9
    for page in pages:
        lines = (ROOT / "docs" / page).read_text().splitlines()
        assert lines[2].startswith("**What this means for you.** ")
        assert all(lines[2:5])
        assert lines[5] == ""


def test_the_readme_is_short_and_its_picture_small() -> None:
    assert len(README.splitlines()) < 120
    assert (ROOT / "docs" / "demo.jpg").stat().st_size < 100_000


def test_the_make_targets_that_the_readme_names_exist() -> None:
    named = set(re.findall(r"\bmake ([a-z]+)\b", README))
    assert named >= {"demo", "test"}
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert named <= targets


TEXTS = [
    *(page for page in PAGES if page.name != "CHANGELOG.md"),
    *sorted((ROOT / "recipes").glob("*.toml")),
    *sorted((ROOT / "benchmarks").rglob("*.py")),
    *sorted((ROOT / "scripts").glob("*.py")),
    ROOT / "src" / "facekeep" / "models" / "catalog.toml",
]


# Files that users have, not the repository.
OF_USERS = {"facekeep/config.toml"}


@functools.cache
def resolves(path: str) -> bool:
    """Whether a dotted path leads to a module, a name in it or an attribute of that name."""
    module, rest = path, []
    while True:
        try:
            found: object = importlib.import_module(module)
            break
        except ModuleNotFoundError:
            module, _, name = module.rpartition(".")
            rest.insert(0, name)
    for name in rest:
        if not hasattr(found, name):
            # An attribute that instances have.
            return inspect.isclass(found) and f"self.{name}" in inspect.getsource(found)
        found = getattr(found, name)
    return True


def names_of_ours(content: str) -> set[str]:
    """The dotted names in a text that begin with `facekeep`, or in code with a public class."""
    classes = "|".join(name for name in facekeep.__all__ if name[0].isupper())
    found = set(re.findall(r"(?<![\w/.-])facekeep(?:\.[A-Za-z_]\w*)+", content))
    found |= {f"facekeep.{name}" for name in re.findall(rf"`((?:{classes})\.[a-z]\w*)", content)}
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]
    return found - {f"facekeep.{each}" for each in ("db", "toml", "json")} - groups.keys()


def test_every_name_of_ours_that_a_text_uses_exists() -> None:
    named = {(text.name, path) for text in TEXTS for path in names_of_ours(text.read_text())}
    assert sorted((text, path) for text, path in named if not resolves(path)) == []


def test_every_file_of_ours_that_a_text_names_exists() -> None:
    pattern = re.compile(r"(?:`|python )([\w.-]+/[\w./-]+\.(?:py|md|toml|sh|json))\b")
    roots = (ROOT, ROOT / "src" / "facekeep", ROOT / "src")
    wrong = [
        (text.name, name)
        for text in TEXTS
        for name in set(pattern.findall(text.read_text())) - OF_USERS
        if "NAME" not in name and not any((root / name).exists() for root in (*roots, text.parent))
    ]
    assert wrong == []


def options_of(words: list[str]) -> set[str]:
    """The options of the command that these words call."""
    command: Any = PROGRAM
    for word in words:
        if word not in getattr(command, "commands", {}):
            break
        command = command.commands[word]
    options = {name for each in command.params for name in (*each.opts, *each.secondary_opts)}
    return options | {"-h", "--help"}


def command_lines(text: Path) -> Iterator[list[str]]:
    """The words of each command line of facekeep's in a text, after `facekeep`."""
    content = re.sub(r"\\\n\s*", "", text.read_text())
    if text.suffix == ".toml":
        for command in tomllib.loads(content).get("commands", []):
            yield list(map(str, command))
    found = re.findall(r"^(?: {4})?facekeep ([a-z][^`\n]*)", content, re.MULTILINE)
    found += re.findall(r"`facekeep ([a-z][^`]*)`", content)  # on several lines, too
    found += re.findall(r'"facekeep ([a-z][^"\n]*)"', content)
    for words in found:
        yield re.split(r"\s+#|[|;]", words)[0].split()


def test_every_option_in_a_command_line_of_a_text_exists() -> None:
    unknown = [
        (text.name, word, *words)
        for text in TEXTS
        for words in command_lines(text)
        for word in words
        if re.match(r"--?[a-z]", word)
        and word.partition("=")[0].strip("[]().,") not in options_of(words)
    ]
    assert unknown == []


def test_every_option_of_a_script_in_a_text_exists() -> None:
    call = re.compile(r"python ((?:benchmarks|scripts)/\w+\.py)([^`\n]*)")
    shared = (ROOT / "benchmarks" / "common.py").read_text()
    unknown = [
        (text.name, script, option)
        for text in TEXTS
        for script, words in call.findall(re.sub(r"\\\n\s*", "", text.read_text()))
        for option in re.findall(r"(?<!\S)--[a-z-]+", words)
        if not re.search(f'"(?:--)?{option[2:]}"', (ROOT / script).read_text() + shared)
    ]
    assert unknown == []


def test_every_public_name_is_on_the_page_of_the_library() -> None:
    page = (ROOT / "docs" / "library.md").read_text()
    names = [name for name in facekeep.__all__ if not name.startswith("__")]
    assert [name for name in names if f"::: facekeep.{name}\n" not in page] == []
