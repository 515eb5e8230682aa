"""The frame of the command line: every failure is one line and the right exit status."""

from __future__ import annotations

import errno
import json
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

import click
import pytest

import facekeep
from facekeep import errors
from facekeep.cli import main as entry
from facekeep.cli.command import ExitStatus, Run, command, group
from facekeep.cli.hints import explain_error
from facekeep.cli.options import PATH, argument

HEAVY = ("numpy", "cv2", "PIL", "onnx", "onnxruntime", "cryptography", "rich", "pydantic")


@pytest.fixture
def raising(monkeypatch: pytest.MonkeyPatch):
    """Put commands that fail on purpose in place of facekeep's own."""

    def replace(error: BaseException | int) -> None:
        app = group("facekeep")

        @command(app, "fail", examples=["facekeep fail"])
        def fail(run: Run) -> ExitStatus:
            """Fail."""
            if isinstance(error, int):
                return ExitStatus(error)
            raise error

        monkeypatch.setattr(entry, "build", lambda: app)

    return replace


def all_errors(root: type[errors.FacekeepError] = errors.FacekeepError):
    yield root
    for child in root.__subclasses__():
        if child.__module__ == "facekeep.errors":
            yield from all_errors(child)


FAULTS_OF_THE_MACHINE = {
    "DependencyError",
    "GalleryBusy",
    "GalleryReadOnly",
    "ModelCorrupt",
    "PullError",
    "RuntimeUnavailable",
    "StorageFull",
}


@pytest.mark.parametrize("kind", list(all_errors()), ids=lambda kind: kind.__name__)
def test_every_deliberate_error_is_one_line_and_its_own_status(cli, raising, kind):
    error = kind("a b: gone; look elsewhere")
    raising(error)
    plain = cli("fail")
    message = explain_error(error)
    assert message.startswith("a b: gone; look elsewhere")
    assert plain.err == f"facekeep: error: {message}\n"
    status = 3 if kind.__name__ in FAULTS_OF_THE_MACHINE else 2
    assert (plain.out, plain.status) == ("", status)
    as_json = cli("fail", "--json")
    assert as_json.json == {"error": {"kind": kind.kind, "message": message}}
    assert (as_json.err, as_json.status) == ("", status)


OUTSIDE = [
    (KeyboardInterrupt(), "interrupted", "interrupted", 130),
    (click.Abort(), "aborted", "aborted", 1),
    (MemoryError(), "memory", "out of memory; try fewer or smaller pictures", 3),
    (
        OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/data/x.db"),
        "storage_full",
        "/data/x.db: no room is left to write; free some space and try again",
        3,
    ),
    (
        OSError(errno.EFBIG, os.strerror(errno.EFBIG)),
        "storage_full",
        "no room is left to write; free some space and try again",
        3,
    ),
    (
        PermissionError(errno.EACCES, os.strerror(errno.EACCES), b"/x/\xff"),
        "system",
        "/x/\\udcff: Permission denied",
        3,
    ),
    (OSError(errno.EBADF, os.strerror(errno.EBADF), 7), "system", "7: Bad file descriptor", 3),
    (
        KeyError("x\ny"),
        "bug",
        "this is a bug in facekeep: KeyError: 'x\\ny'; please report it"
        " (FACEKEEP_DEBUG=1 shows the traceback)",
        3,
    ),
]


@pytest.mark.parametrize(("error", "kind", "message", "status"), OUTSIDE)
def test_other_errors_are_one_line_too(cli, raising, error, kind, message, status):
    raising(error)
    plain = cli("fail")
    assert (plain.err, plain.status, plain.out) == (f"facekeep: error: {message}\n", status, "")
    as_json = cli("fail", "--json")
    assert as_json.json == {"error": {"kind": kind, "message": message}}
    assert (as_json.err, as_json.status) == ("", status)


def test_an_import_that_ctrl_c_broke_is_an_interruption(cli, raising):
    broken = ImportError("initialization failed")
    broken.__cause__ = KeyboardInterrupt()
    unavailable = errors.RuntimeUnavailable("cannot be imported")
    unavailable.__cause__ = broken
    raising(unavailable)
    outcome = cli("fail")
    assert (outcome.err, outcome.status) == ("facekeep: error: interrupted\n", 130)


def test_a_traceback_appears_only_when_asked_for(cli, raising, monkeypatch):
    raising(ZeroDivisionError("boom"))
    assert "Traceback" not in cli("fail").err
    monkeypatch.setenv("FACEKEEP_DEBUG", "1")
    assert "Traceback" in cli("fail").err


@pytest.mark.parametrize("status", [0, 1, 2, 3])
def test_what_a_command_returns_is_the_exit_status(cli, raising, status):
    raising(status)
    outcome = cli("fail")
    assert (outcome.status, outcome.out, outcome.err) == (status, "", "")


@pytest.mark.parametrize("text", ["two\nlines", "\x1b[31mred", "\udcff", "\u202ereversed", "a\rb"])
def test_a_message_cannot_leave_its_line(cli, raising, text):
    raising(errors.ImageError(text))
    outcome = cli("fail")
    assert outcome.err.endswith("\n")
    assert outcome.err[:-1].isprintable()
    assert json.loads(cli("fail", "--json").out)["error"]["message"].isprintable()


WRONG_USE = [
    ([], "missing command; see 'facekeep --help'"),
    (["nonsense"], "no such command 'nonsense'; see 'facekeep --help'"),
    (["confg"], "no such command 'confg' (did you mean 'config'?); see 'facekeep --help'"),
    (
        ["people", "lst"],
        "no such command 'lst' (did you mean 'list', 'set'?); see 'facekeep people",
    ),
    (["config"], "missing command; see 'facekeep config --help'"),
    (["config", "show", "x"], "got unexpected extra argument"),
    (["config", "show", "--nope"], "no such option: --nope"),
    (["config", "show", "--galery"], "no such option: --galery (did you mean --gallery"),
    (["config", "show", "--fmr"], "option '--fmr' requires an argument"),
    (["config", "show", "--json=1"], "--json"),
    (["config", "show", "--fmr", "2"], "--fmr 2: expected a number from 1e-9 to 0.5"),
    (["config", "show", "--config", "/nowhere/x"], "/nowhere/x: there is no such configuration"),
]


@pytest.mark.parametrize(("words", "message"), WRONG_USE)
def test_wrong_use_is_one_line_and_status_2(cli, words, message):
    outcome = cli(*words)
    if not words:
        assert outcome.out.startswith("Usage: facekeep")
        assert outcome.err == ""
    else:
        assert outcome.err.startswith("facekeep: error: ")
        assert message in outcome.err
        assert outcome.err.count("\n") == 1
        assert outcome.out == ""
        as_json = cli(*words, "--json")
        assert as_json.status == 2
        assert as_json.err == ""
        assert set(as_json.json["error"]) == {"kind", "message"}
    assert outcome.status == (2 if words else 0)


def test_a_missing_argument_is_named(cli, monkeypatch):
    app = group("facekeep")

    @command(app, "look", examples=["facekeep look a.jpg"])
    @argument("image", type=PATH, metavar="IMAGE", help="One.")
    def look(run: Run, image: Path):
        """Look."""

    monkeypatch.setattr(entry, "build", lambda: app)
    outcome = cli("look", "--json")
    assert outcome.status == 2
    assert outcome.json["error"]["kind"] == "usage"
    assert "IMAGE" in outcome.json["error"]["message"]
    assert cli("look", "--", "--json").status == 0, "after -- it is an argument"
    outcome = cli("look", "--", "--json", "more")
    assert outcome.out == ""
    assert outcome.err.startswith("facekeep: error: ")


def test_version_and_help(cli):
    version = cli("--version")
    assert (version.out, version.status) == (f"facekeep {facekeep.__version__}\n", 0)
    outcome = cli("--help")
    assert outcome.status == 0
    assert max(map(len, outcome.out.splitlines())) <= 80
    assert "\x1b" not in outcome.out


def test_the_shell_completes_commands_and_options(cli, monkeypatch):
    monkeypatch.setenv("_FACEKEEP_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", "facekeep con")
    monkeypatch.setenv("COMP_CWORD", "1")
    outcome = cli()
    assert (outcome.out.split(), outcome.err, outcome.status) == (["config"], "", 0)
    monkeypatch.setenv("COMP_WORDS", "facekeep config show --fm")
    monkeypatch.setenv("COMP_CWORD", "3")
    assert cli().out.split() == ["--fmr"]


@pytest.mark.slow
def test_the_frame_imports_nothing_heavy():
    script = (
        "import sys\nfrom facekeep.cli.main import main\nmain(['--help'])\n"
        f"print(*(m for m in {HEAVY!r} if m in sys.modules), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stderr.strip() == ""


def test_the_log_goes_to_stderr_on_single_lines(cli, monkeypatch):
    app = group("facekeep")

    @command(app, "log", examples=["facekeep log"])
    def log(run: Run) -> None:
        """Log."""
        logger = logging.getLogger("facekeep.room")
        logger.warning("careful:\n%s", "now")
        logger.debug("detail")

    monkeypatch.setattr(entry, "build", lambda: app)
    assert cli("log").err == "facekeep: warning: careful:\\nnow\n"
    assert cli("log", "-v").err.splitlines()[1] == "facekeep: debug: detail"
    assert cli("log", "--quiet").err == ""


def process(*words: str, **options):
    command_line = [sys.executable, "-m", "facekeep", *words]
    # Unbuffered output would hide failures of the last flush.
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    environ |= options.pop("environ", {})
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
    return subprocess.Popen(command_line, text=True, env=environ, **streams)


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
@pytest.mark.parametrize("options", [(), ("--json",)])
def test_names_that_no_encoding_knows_are_printed_all_the_same(encoding, options):
    environ = {"PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}
    words = (
        "config",
        "show",
        *options,
        "--gallery",
        os.fsdecode("Zoë-\N{SNOWMAN}-".encode() + b"\xff"),
    )
    out, err = process(*words, environ=environ, encoding=encoding).communicate()
    assert err == ""
    assert "\\udcff" in out
    if options:
        name = json.loads(out)["settings"]["gallery"]["value"]
        assert name == "Zoë-\N{SNOWMAN}-\udcff"


@pytest.mark.slow
def test_a_reader_that_goes_away_is_no_error():
    read, write = os.pipe()
    os.close(read)
    child = process("config", "example", stdout=write)
    os.close(write)
    assert child.communicate()[1] == ""
    assert child.returncode == 141


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
@pytest.mark.parametrize("options", [(), ("--json",)])
def test_a_full_disk_under_stdout_is_told(options):
    with Path("/dev/full").open("w") as full:
        child = process("config", "example", *options, stdout=full)
        err = child.communicate()[1]
    assert child.returncode == 3
    if not options:
        assert err == "facekeep: error: no room is left to write; free some space and try again\n"
    assert "Traceback" not in err


@pytest.mark.slow
@pytest.mark.parametrize("closed", [1, 2])
def test_closed_streams_do_no_harm(closed: int):
    line = f"exec {sys.executable} -m facekeep config nonsense {closed}>&-"
    done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == (1 if closed == 1 else 0)


@pytest.mark.slow
def test_ctrl_c_ends_with_one_line_and_130(tmp_path: Path):
    fifo = tmp_path / "asked"
    os.mkfifo(fifo)
    keyring = f"def get_password(service, user):\n    return open({str(fifo)!r}).read()\n"
    (tmp_path / "keyring.py").write_text(keyring)
    (tmp_path / "people.db").touch()  # there is something to open with the key
    gallery = str(tmp_path / "people.db")
    words = ("gallery", "info", "--gallery", gallery, "--key", "keyring:facekeep/me")
    child = process(*words, environ={"PYTHONPATH": str(tmp_path)})
    with fifo.open("wb"):  # the child is asking its keyring by now, and waits
        child.send_signal(signal.SIGINT)
        _, err = child.communicate(timeout=60)
    assert (child.returncode, err) == (130, "facekeep: error: interrupted\n")
