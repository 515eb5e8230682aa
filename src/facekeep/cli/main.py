"""The entry of the command line: the commands, and how errors become one line and a status."""

from __future__ import annotations

import io
import os
import re
import sys
import traceback
from collections.abc import Sequence
from typing import Any, Final

from facekeep._internal.files import is_full
from facekeep._internal.libraries import broken_library
from facekeep.cli import output
from facekeep.cli.exit_status import INTERRUPTED, PIPE_CLOSED, ExitStatus, status_of
from facekeep.cli.hints import explain_error
from facekeep.cli.signals import EndSignal, catch_end_signals
from facekeep.errors import FacekeepError

__all__ = ["build", "main"]


def build() -> Any:
    """Build the command, with every group under it."""
    # Imported here: what this module needs must be there even where a library is broken.
    from facekeep.cli.app import build_app

    return build_app()


def main(args: Sequence[str] | None = None) -> int:
    """Run the command line; every failure ends in one line on stderr and an exit status.

    Args:
        args: The words after ``facekeep``; ``sys.argv[1:]`` when None.
    """
    words = list(sys.argv[1:] if args is None else args)
    _prepare_streams()
    received = EndSignal()
    try:
        with catch_end_signals() as received:
            status = _invoke(words)
            sys.stdout.flush()
    except BaseException as error:  # noqa: BLE001 - the one place where all errors end
        options = words[: words.index("--")] if "--" in words else words
        return _conclude(error, received, as_json="--json" in options)
    return status


def _invoke(words: list[str]) -> int:
    root = build()
    from facekeep.cli.completion import COMPLETE  # loaded already, by build

    if COMPLETE in os.environ:
        from facekeep.cli.shells import complete

        complete(root)
    with root.make_context("facekeep", words or ["--help"]) as context:
        return int(root.invoke(context) or ExitStatus.YES)


def _prepare_streams() -> None:
    """Make stdout and stderr take any text, and exist even where the caller closed them."""
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: PTH123, SIM115
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: PTH123, SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _conclude(error: BaseException, received: EndSignal, *, as_json: bool) -> int:
    """Tell the user about an error, and choose the exit status."""
    if isinstance(error, _of_click("Exit")):
        return int(error.exit_code)
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else ExitStatus.FAULT
    if isinstance(error, BrokenPipeError):
        _drop_stdout()
        return PIPE_CLOSED
    if os.environ.get("FACEKEEP_DEBUG", "") not in ("", "0"):
        traceback.print_exception(error)
    if received.number is not None:
        kind, message, status = "interrupted", received.text, received.status
    else:
        kind, message, status = _explain(_interruption(error) or error)
    try:
        if as_json:
            output.emit_json({"error": {"kind": kind, "message": output.escape_line(message)}})
        else:
            output.say(f"facekeep: error: {message}", sys.stderr)
        sys.stdout.flush()
    except (OSError, ValueError):
        _drop_stdout()
    return status


def _interruption(error: BaseException) -> KeyboardInterrupt | None:
    """Find the Ctrl-C behind an error: while a compiled module is imported it fails the import."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, KeyboardInterrupt):
        cause = cause.__cause__
    return cause


def _drop_stdout() -> None:
    """Point stdout at nothing, so that the interpreter's last flush cannot fail."""
    sys.stdout = open(os.devnull, "w")  # noqa: PTH123, SIM115


_ABORTED: Final = ("aborted", "aborted", ExitStatus.NO)
_OUTSIDE: Final[tuple[tuple[Any, tuple[str, str, int]], ...]] = (
    (KeyboardInterrupt, ("interrupted", "interrupted", INTERRUPTED)),
    (MemoryError, ("memory", "out of memory; try fewer or smaller pictures", ExitStatus.FAULT)),
)


def _of_click(name: str) -> tuple[type[Any], ...]:
    """Find an error of click's, for isinstance; there is none where click was not loaded."""
    found = getattr(sys.modules.get("click.exceptions"), name, None)
    return () if found is None else (found,)


def _explain(error: BaseException) -> tuple[str, str, int]:
    """Name the kind of an error, its line for people, and the exit status."""
    if isinstance(error, FacekeepError):
        return error.kind, explain_error(error), status_of(error)
    if isinstance(error, _of_click("ClickException")):
        return "usage", _usage_message(error), ExitStatus.MISUSE
    known = (*_OUTSIDE, (_of_click("Abort"), _ABORTED))
    for outside, explanation in known:
        if isinstance(error, outside):
            return explanation
    broken = broken_library(error)
    if broken is not None:
        return _explain(broken)
    if isinstance(error, OSError) and error.errno is not None:
        return _explain_os_error(error)
    return _explain_bug(error)


def _explain_bug(error: BaseException) -> tuple[str, str, int]:
    name = type(error).__name__
    message = (
        f"this is a bug in facekeep: {name}: {error}; please report it"
        " (FACEKEEP_DEBUG=1 shows the traceback)"
    )
    return "bug", message, ExitStatus.FAULT


def _explain_os_error(error: OSError) -> tuple[str, str, int]:
    name = error.filename  # of a file that was opened by its number: that number
    text = os.fsdecode(name) if isinstance(name, str | bytes | os.PathLike) else str(name)
    place = "" if name is None else f"{text}: "
    if is_full(error):
        message = f"{place}no room is left to write; free some space and try again"
        return "storage_full", message, ExitStatus.FAULT
    return "system", f"{place}{error.strerror}", ExitStatus.FAULT


def _usage_message(error: Any) -> str:
    from facekeep.cli.help import in_words

    message = " ".join(error.format_message().split()).rstrip(".")
    if isinstance(error, _of_click("NoSuchOption")):  # versions of click say it in different words
        similar = f". Did you mean {', '.join(error.possibilities)}?" if error.possibilities else ""
        message = f"No such option: {error.option_name}{similar}"
    message = re.sub(r"\. \(?Did you mean (?:one of: )?(.+)\?\)?$", r" (did you mean \1?)", message)
    message = in_words(message[:1].lower() + message[1:])
    context = getattr(error, "ctx", None)
    command = context.command_path if context else "facekeep"
    return f"{message}; see '{command} --help'"
