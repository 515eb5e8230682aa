"""Completion in bash, zsh and fish: the answer to a shell, and the script that asks for it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final

import click
from click.shell_completion import (
    BashComplete,
    CompletionItem,
    add_completion_class,
    get_completion_class,
)

from facekeep._internal.files import why, write_whole
from facekeep.cli.completion import COMPLETE
from facekeep.errors import InputError

__all__ = ["complete", "install_script", "script_for"]

_PLACES: Final = {
    "bash": (".bash_completions/facekeep.sh", ".bashrc", "source {script}"),
    "zsh": (".zfunc/_facekeep", ".zshrc", "fpath+=~/.zfunc; autoload -Uz compinit; compinit"),
    "fish": (".config/fish/completions/facekeep.fish", "", ""),
}
"""For each shell the file of the script, the file that loads it, and the line that does."""


@add_completion_class
class _Bash(BashComplete):
    """As click's, but names stay as they are written, and files complete where none is."""

    source_template = """\
%(complete_func)s() {
    local IFS=$'\\n' line
    COMPREPLY=()
    while read -r line; do COMPREPLY+=("$line"); done < <(
        env COMP_WORDS="${COMP_WORDS[*]}" COMP_CWORD="$COMP_CWORD" \\
            %(complete_var)s=bash_complete "$1")
}
complete -o default -F %(complete_func)s %(prog_name)s
"""

    def format_completion(self, item: CompletionItem[Any]) -> str:
        return str(item.value) if item.type == "plain" else ""


def complete(program: click.Command) -> None:
    """Print what the shell may complete, and exit."""
    program.main([], prog_name="facekeep", complete_var=COMPLETE)


def script_for(shell: str, program: click.Command) -> tuple[str, str]:
    """Return the name of a shell and the script that makes it complete the command line.

    Args:
        shell: Its name; that of the current one when empty.
        program: The whole command line.

    Raises:
        InputError: There is no script for it.
    """
    shell = shell or _current_shell()
    kind = get_completion_class(shell) if shell in _PLACES else None
    if kind is None:
        raise InputError(
            f"there is no completion for the shell {shell!r}: name one of {', '.join(_PLACES)}"
        )
    return shell, kind(program, {}, "facekeep", COMPLETE).source()


def install_script(shell: str, script: str) -> Path:
    """Write the script to where the shell finds it, and return its path.

    Raises:
        InputError: It cannot be written.
    """
    place, startup, line = _PLACES[shell]
    try:
        home = Path.home()
        target = home / place
        target.parent.mkdir(parents=True, exist_ok=True)
        write_whole(target, script.encode())
        if startup:
            quoted = str(target).replace("'", r"'\''")
            _add_line(home / startup, line.format(script=f"'{quoted}'"))
    except (OSError, RuntimeError) as error:
        reason = why(error) if isinstance(error, OSError) else "there is no home folder"
        raise InputError(
            f"the completion for {shell} cannot be installed: {reason}; print it with"
            " --show-completion"
        ) from error
    return target


def _add_line(file: Path, line: str) -> None:
    """Add a line to the end of a file, unless it is there."""
    text = file.read_text(errors="surrogateescape") if file.exists() else ""
    if line not in text.splitlines():
        with file.open("a", errors="surrogateescape") as stream:
            stream.write("\n" * (text != "" and not text.endswith("\n")) + line + "\n")


def _current_shell() -> str:
    """Name the shell that started this process, or else the user's own."""
    try:
        parent = Path(f"/proc/{os.getppid()}/comm").read_text().strip()
    except OSError:
        parent = ""
    return parent if parent in _PLACES else Path(os.environ.get("SHELL", "")).name
