"""The unit of systemd: it is valid, and lets the program do little."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from facekeep.cli.main import build

UNIT = Path(__file__).resolve().parents[2] / "packaging" / "systemd" / "facekeep-live.service"
ANALYZE = shutil.which("systemd-analyze")
needs_systemd = pytest.mark.skipif(ANALYZE is None, reason="systemd-analyze is not installed")


def analyze(*words: str) -> tuple[int, str]:
    assert ANALYZE is not None
    done = subprocess.run(
        [ANALYZE, *words, str(UNIT)], capture_output=True, text=True, check=False, timeout=60
    )
    return done.returncode, done.stdout + done.stderr


@needs_systemd
def test_the_unit_is_valid() -> None:
    assert analyze("verify") == (0, "")


@needs_systemd
def test_the_unit_is_hardened() -> None:
    status, text = analyze("security", "--offline=true")
    level = re.search(r"Overall exposure level for facekeep-live.service: ([\d.]+)", text)
    if status or level is None:
        pytest.skip("this systemd-analyze cannot judge a file")
    assert float(level[1]) <= 2.0


def test_the_unit_runs_a_command_that_exists_and_is_told_how_it_goes() -> None:
    facts = dict(re.findall(r"^(\w+)=(.*)$", UNIT.read_text(), re.MULTILINE))
    words = shlex.split(facts["ExecStart"])
    assert words[:3] == ["/usr/bin/env", "facekeep", "live"]
    with build().commands["live"].make_context("live", words[3:], resilient_parsing=True) as ctx:
        assert ctx.params["config"] == "/etc/facekeep/facekeep.toml"
    assert (facts["Type"], facts["NotifyAccess"]) == ("notify", "main")
    assert facts["ExecReload"] == "/bin/kill -HUP $MAINPID"
