"""The scripts by which shells complete the command line, and how they are installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PLACES = {
    "bash": (".bash_completions/facekeep.sh", ".bashrc"),
    "zsh": (".zfunc/_facekeep", ".zshrc"),
    "fish": (".config/fish/completions/facekeep.fish", None),
}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    return folder


@pytest.mark.parametrize(("shell", "places"), PLACES.items())
def test_the_script_is_installed_once_and_loaded_by_the_shell(cli, home, shell, places):
    script, startup = places
    if startup:
        (home / startup).write_bytes(b"alias x=y  # \xff")
    for _ in range(2):
        outcome = cli("--install-completion", shell)
        assert (outcome.status, outcome.err) == (0, "")
        assert str(home / script) in outcome.out
    assert (home / script).read_text() == cli("--show-completion", shell).out
    assert f"{shell}_complete" in (home / script).read_text()
    if startup:
        lines = (home / startup).read_bytes().splitlines()
        assert lines[0] == b"alias x=y  # \xff"
        assert len(lines) == 2


def test_the_current_shell_is_meant_where_none_is_named(cli, home, monkeypatch):
    monkeypatch.setattr("facekeep.cli.shells.os.getppid", lambda: 0)
    monkeypatch.setenv("SHELL", "/usr/bin/fish")
    assert "fish_complete" in cli("--show-completion").out
    monkeypatch.setenv("SHELL", "/usr/bin/tcsh")
    outcome = cli("--install-completion")
    assert outcome.status == 2
    assert outcome.err == (
        "facekeep: error: there is no completion for the shell 'tcsh': name one of bash, zsh,"
        " fish\n"
    )
    assert list(home.iterdir()) == []


def test_a_script_that_cannot_be_installed_is_told(cli, home):
    (home / ".bash_completions").touch()
    outcome = cli("--install-completion", "bash")
    assert outcome.status == 2
    assert outcome.err.startswith("facekeep: error: the completion for bash cannot be installed: ")
    assert outcome.err.endswith("print it with --show-completion\n")


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash here")
def test_bash_completes_words_and_names_with_blanks(cli, home, photo_folder, tmp_path):
    cli("--install-completion", "bash")
    program = tmp_path / "bin" / "facekeep"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m facekeep "$@"\n')
    program.chmod(0o755)
    script = """
        . ~/.bashrc
        for line in "config sh" "detect --precision fl" "people show Gra" "detect hop"; do
            COMP_WORDS=(facekeep $line)
            COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
            _facekeep_completion facekeep
            printf "%s|" "${COMPREPLY[@]}"
            echo
        done
    """
    done = subprocess.run(
        ["bash", "--norc", "-c", script],
        env={**os.environ, "PATH": f"{program.parent}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    assert done.stdout.splitlines() == ["show|", "float32|float16|", "Grace\\ Hopper|", "|"]


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash here")
@pytest.mark.parametrize("begun", ["", '"', "'"])
def test_a_name_never_becomes_a_command_of_bash(monkeypatch, begun):
    """What bash reads is the name, letter by letter, however the user has begun to quote it."""
    from facekeep.cli.completion import _for_shell

    monkeypatch.setenv("_FACEKEEP_COMPLETE", "bash_complete")
    before = ["facekeep", "people", "merge", '"O\'Brien"', "it\\'s"]
    monkeypatch.setenv("COMP_WORDS", "\n".join([*before, begun]))
    monkeypatch.setenv("COMP_CWORD", str(len(before)))
    names = ["$(id)", "`id`", "A';id;'", 'A";id;"', "a\\", "*", "~", "a!b", "$HOME", "Zoë {a,b} #x"]
    line = " ".join(begun + _for_shell(name) + begun for name in names)
    # History is expanded where somebody types; the name has no such sign left to expand.
    script = f"set -o history; set -o histexpand; printf '%s\\n' {line}\n"
    done = subprocess.run(
        ["bash", "--norc"], input=script, capture_output=True, text=True, check=False
    )
    assert done.stdout.splitlines() == names


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash here")
def test_a_home_folder_with_an_apostrophe_stays_in_its_quotes(cli, tmp_path, monkeypatch):
    home = tmp_path / "o'brien; exit 3"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    assert cli("--install-completion", "bash").status == 0
    words = ["bash", "--norc", "-c", ". ~/.bashrc; complete -p facekeep"]
    assert subprocess.run(words, capture_output=True, check=False).returncode == 0


def test_fish_takes_names_with_commas_whole(cli):
    script = cli("--show-completion", "fish").out
    assert 'string split -m 1 "," $completion' in script
    assert script.count("string split") == 1


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The command line as shells find it."""
    program = tmp_path / "bin" / "facekeep"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m facekeep "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    return program


LINES = {
    "facekeep config sh": ["show"],
    "facekeep detect --precision fl": ["float32", "float16"],
    "facekeep people show Gra": ["Grace Hopper"],
}


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("fish") is None, reason="no fish here")
@pytest.mark.usefixtures("home", "photo_folder", "program")
@pytest.mark.parametrize("line", LINES)
def test_fish_completes_words_and_names_with_blanks(cli, line):
    script = cli("--show-completion", "fish").out
    done = subprocess.run(
        ["fish", "--no-config", "-c", f"{script}\ncomplete -C '{line}'"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    words = [each.partition("\t")[0] for each in done.stdout.splitlines()]
    assert words == sorted(LINES[line])  # fish sorts them


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("zsh") is None, reason="no zsh here")
@pytest.mark.usefixtures("home", "photo_folder", "program")
@pytest.mark.parametrize("line", LINES)
def test_zsh_completes_words_and_names_with_blanks(cli, line):
    """What the function gives to zsh's own, which need a terminal."""
    script = cli("--show-completion", "zsh").out
    words = " ".join(line.split())
    told = (
        "compdef() { : }; compadd() { print -rl -- ${(P)@[-1]} };"
        " _describe() { print -rl -- ${${(P)@[-2]}%%:*} };"
        f" {script}\nwords=({words}); CURRENT=$#words; _facekeep_completion"
    )
    done = subprocess.run(["zsh", "-f", "-c", told], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert done.stdout.splitlines() == LINES[line]


def test_without_the_words_of_a_shell_nothing_is_completed(cli, monkeypatch):
    monkeypatch.setenv("_FACEKEEP_COMPLETE", "bash_complete")
    monkeypatch.delenv("COMP_WORDS", raising=False)
    outcome = cli("--version")
    assert (outcome.status, outcome.err) == (0, "")
    assert outcome.out.startswith("facekeep ")
