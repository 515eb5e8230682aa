"""Manual pages: one for each command, with what its help says, in roff that man takes as it is."""

from __future__ import annotations

import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "gen_man.py"


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    return dict(runpy.run_path(str(SCRIPT))["pages"]())


def test_every_command_has_a_page(pages: dict[str, str]) -> None:
    assert {"facekeep", "facekeep-identify", "facekeep-models", "facekeep-models-pull"} <= set(
        pages
    )
    assert len(pages) > 50
    for name, text in pages.items():
        assert text.startswith(f".TH {name.upper()} 1 ".replace("-", "\\-"))
        for title in ("NAME", "SYNOPSIS", "OPTIONS", "EXIT STATUS"):
            assert f"\n.SH {title}\n" in text, (name, title)
    assert ".BR facekeep\\-models\\-pull (1)" in pages["facekeep-models"]


def test_a_page_says_what_the_help_says(pages: dict[str, str], cli) -> None:
    text = pages["facekeep-enroll"].replace("\\-", "-").replace("\\&", "")
    words = text.split()
    assert "-h, --help" in text
    top = pages["facekeep-identify"].replace("\\-", "-")
    assert "candidates for each face in the JSON. [default: 5; 1 to 1000]" in " ".join(top.split())
    for line in cli("enroll", "--help").out.splitlines():
        for option in (word for word in line.split() if word.startswith("--")):
            assert option.rstrip(".,;:)") in text
    assert "photo that passes the review" in " ".join(words)


@pytest.mark.parametrize(
    ("text", "roff"),
    [
        ("a - b", "a \\- b"),
        (".hidden", "\\&.hidden"),
        ("'quoted'", "\\&'quoted'"),
        ("C:\\x", "C:\\ex"),
    ],
)
def test_what_roff_would_take_for_a_request_is_text(text: str, roff: str) -> None:
    assert runpy.run_path(str(SCRIPT))["escape"](text) == roff


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("man") is None, reason="needs man")
def test_man_has_nothing_to_say_against_the_pages(tmp_path: Path) -> None:
    subprocess.run([sys.executable, SCRIPT, tmp_path / "man1"], check=True)
    environment = {
        "LC_ALL": "C.UTF-8",
        "MANROFFSEQ": "",
        "MANWIDTH": "100",
        "PATH": "/usr/bin:/bin",
    }
    for page in sorted((tmp_path / "man1").iterdir()):
        words = ["man", "--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z", str(page)]
        done = subprocess.run(words, env=environment, capture_output=True, text=True, check=True)
        assert done.stderr == ""
