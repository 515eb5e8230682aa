"""Every command explains itself, and the pages made from the help are up to date."""

from __future__ import annotations

import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from facekeep.cli.app import COMMANDS
from facekeep.cli.completion import DEVICES, RUNTIMES
from facekeep.cli.main import build
from facekeep.config.settings import SETTINGS

ROOT = Path(__file__).resolve().parents[2]
DOCS = runpy.run_path(str(ROOT / "scripts/gen_cli_docs.py"))
PROGRAM = build()
TREE = list(DOCS["commands"](PROGRAM, "facekeep"))


def runs(command: object) -> bool:
    """Whether it does something by itself, with or without verbs below it."""
    return not hasattr(command, "commands") or command.invoke_without_command


LEAVES = [(path, command) for path, command in TREE if runs(command)]
COMMON = {"config", "json", "quiet", "verbose"}


def name_of(value: object) -> str:
    return value if isinstance(value, str) else ""


@pytest.mark.parametrize(("path", "command"), TREE, ids=name_of)
def test_every_command_has_help_and_examples(path: str, command):
    assert command.help
    summary = command.help.splitlines()[0]
    assert summary.endswith("."), "the first line is a sentence"
    examples = DOCS["examples"](command.epilog)
    assert examples
    assert all(line.strip().startswith("facekeep") for line in examples)


@pytest.mark.parametrize(("path", "command"), TREE, ids=name_of)
def test_every_parameter_is_documented(path: str, command):
    for parameter in command.params:
        assert parameter.help, parameter.name
        assert parameter.help.rstrip("]").endswith((".", *"abcdefghijklmnopqrstuvwxyz0123456789BG"))
        takes_value = parameter.param_type_name == "argument" or not parameter.is_flag
        if takes_value and parameter.name not in COMMON:
            assert parameter.metavar, f"{parameter.name} needs a metavar"


@pytest.mark.parametrize(("path", "command"), LEAVES, ids=name_of)
def test_every_command_takes_the_common_options(path: str, command):
    assert {parameter.name for parameter in command.params} >= COMMON


@pytest.mark.parametrize(("path", "command"), LEAVES, ids=name_of)
def test_options_of_settings_are_those_of_the_table(path: str, command):
    for parameter in command.params:
        if parameter.name in SETTINGS and parameter.param_type_name == "option":
            assert SETTINGS[parameter.name].option in parameter.opts
            assert SETTINGS[parameter.name].env in parameter.help


@pytest.mark.parametrize(("path", "command"), TREE, ids=name_of)
def test_help_is_in_words_and_fits_eighty_columns_in_a_pipe(cli, path: str, command):
    """Neither click nor Python shows through: no types, no literals, no comparisons."""
    outcome = cli(*path.split()[1:], "-h")
    assert outcome.status == 0
    lines = outcome.out.splitlines()
    long = [line for line in lines if len(line) > 80 and "  facekeep " not in line]
    assert not long, "only examples may be longer"
    assert "\x1b" not in outcome.out
    for line in DOCS["examples"](command.epilog):
        assert line.strip() in outcome.out, "examples keep their lines"
    code = re.compile(r"list\[|<str|\bNone\b|<=|>=|\bTrue\b|\bFalse\b(?!-)|\de-0|the catalog's")
    assert not code.findall(outcome.out)
    commands = outcome.out.partition("\nCommands:\n")[2].partition("\n\n")[0]
    assert "..." not in commands, "no sentence is cut"
    assert not re.search(r"default: [^]]*\d_\d", outcome.out)


def test_the_help_of_all_tells_of_each_command_what_its_own_help_does():
    groups = [command for _, command in TREE if hasattr(command, "summaries")]
    summaries = [(group, name, text) for group in groups for name, text in group.summaries.items()]
    assert len(summaries) > len(COMMANDS), "those of groups too"
    for group, name, text in summaries:
        assert text == group.commands[name].get_short_help_str(limit=400)


def test_a_command_that_was_left_out_is_no_bug(cli, monkeypatch):
    monkeypatch.setitem(sys.modules, "facekeep.cli.lab.bench", None)
    outcome = cli("bench")
    assert outcome.status == 3
    assert outcome.err == (
        "facekeep: error: this program was built without the command 'bench'; install facekeep"
        " with pip\n"
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "loaded"),
    [
        (["--help"], set()),
        (["confg"], set()),
        (["config", "path"], {"config"}),
        (["identify", "-h"], {"identify"}),
        (["models", "-h"], {"models"}),
        (["models", "export", "-h"], {"models", "lab"}),
    ],
)
def test_a_command_is_imported_when_it_is_called(words, loaded):
    script = (
        "import sys\nfrom facekeep.cli.main import main\nmain(sys.argv[1:])\n"
        "print(*(m for m in sys.modules if m.startswith('facekeep.')), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *words], capture_output=True, text=True, check=True
    )
    modules = {m.split(".")[2] for m in done.stderr.split() if m.startswith("facekeep.cli.")}
    assert modules & {module.split(".")[0] for module, _ in COMMANDS.values()} == loaded
    assert "facekeep.lab" not in done.stderr.split()


@pytest.mark.parametrize("words", [["--colour", "bgr"], ["--licence", "MIT"]])
def test_british_spellings_are_understood_but_not_shown(cli, words):
    command = PROGRAM.commands["models"].commands["import"]
    context = command.make_context("import", ["a.onnx", "--name", "mine", *words])
    assert words[1] in context.params.values()
    assert words[0] not in cli("models", "import", "-h").out


@pytest.mark.parametrize("path", ["facekeep", "facekeep people", "facekeep people show"])
def test_both_spellings_of_help_print_the_same(cli, path: str):
    words = path.split()[1:]
    assert cli(*words, "-h").out == cli(*words, "--help").out


def test_options_stand_in_groups(cli):
    lines = cli("identify", "--help").out.splitlines()
    titles = [line for line in lines if line.endswith(":") and not line.startswith(" ")]
    assert titles == ["Arguments:", "Input:", "Output:", "Decision:", "Models:", "Advanced:"]
    where = {title: lines.index(title) for title in titles}
    for option, title, following in [
        ("--gallery", "Input:", "Output:"),
        ("--csv", "Output:", "Decision:"),
        ("--fmr", "Decision:", "Models:"),
        ("--detector", "Models:", "Advanced:"),
    ]:
        (place,) = [n for n, line in enumerate(lines) if f" {option} " in line[:30]]
        assert where[title] < place < where[following], option
    assert "[default: 5; 1 to 1000]" in " ".join(" ".join(lines).split())


def test_defaults_are_told_by_their_real_values():
    from facekeep.cli.options import default_of
    from facekeep.models import default_model

    tasks = {"detector": "detect", "refiner": "refine", "orienter": "orient", "embedder": "embed"}
    for name, task in tasks.items():
        assert default_of(SETTINGS[name]) == default_model(task)


def completed(cli, monkeypatch, shell: str, *words: str) -> list[str]:
    monkeypatch.setenv("_FACEKEEP_COMPLETE", f"{shell}_complete")
    monkeypatch.setenv("COMP_WORDS", "\n".join(["facekeep", *words]))
    monkeypatch.setenv("COMP_CWORD", str(len(words)))
    outcome = cli()
    assert outcome.err == ""
    return outcome.out.split("\n")[:-1] if outcome.out.strip() else []


@pytest.mark.slow
def test_the_shell_completes_choices_and_names_of_models(cli, monkeypatch):
    def complete(*words: str) -> list[str]:
        return completed(cli, monkeypatch, "bash", *words)

    assert complete("detect", "--precision", "fl") == ["float32", "float16"]
    assert complete("models", "pull", "espressif-mb") == ["espressif-mbf"]
    assert complete("models", "pull", "sfa") == [], "it is here, and cannot be pulled"
    assert complete("detect", "--detector", "yu") == ["yunet"]
    assert "sface" not in complete("detect", "--detector", "''")
    assert complete("models", "info", "sf") == ["sface"]
    assert complete("bench", "--model", "sf") == ["sface"]


@pytest.mark.slow
def test_what_is_completed_is_what_there_is(cli, monkeypatch):
    """The words stand in the command line, where they cost no import; here they are compared."""
    from facekeep import runtime
    from facekeep.lab.bench.stages import STAGES
    from facekeep.lab.export.exporter import TARGETS
    from facekeep.models.model_entry import EDGEFACE, FOREIGN

    assert set(RUNTIMES) == {each.runtime for each in runtime.runtimes()}
    assert set(DEVICES) == {each.device for each in runtime.runtimes()}
    for words, found in [
        (("bench", "''"), list(STAGES)),
        (("models", "export", "sface", "--to", "''"), list(TARGETS)),
        (
            ("models", "import", "x", "--arch", "''"),
            ["onnx", "tflite", "ncnn", *FOREIGN, *EDGEFACE],
        ),
        (("detect", "--runtime", "''"), list(RUNTIMES)),
    ]:
        assert sorted(completed(cli, monkeypatch, "bash", *words)) == sorted(found)


@pytest.mark.slow
def test_the_shell_completes_names_of_people(cli, monkeypatch, photo_folder):
    before = sorted(photo_folder.iterdir())
    for words, found in [
        (("people", "show", "Gra"), ["Grace\\ Hopper"]),
        (("people", "show", "-g", "no.db", "Gra"), []),
        (("people", "show", "-g", "broken.jpg", "Gra"), []),
        (("enroll", "Ei"), ["Eileen\\ Collins"]),
        (("enroll", '"Ei'), ["Eileen Collins"]),
        (("enroll", "'Ei"), ["Eileen Collins"]),
        (("enroll", "Eileen\\ Co"), ["Eileen\\ Collins"]),
        (("people", "merge", '"O\'Brien"', "Ei"), ["Eileen\\ Collins"]),
    ]:
        assert completed(cli, monkeypatch, "bash", *words) == found
    assert sorted(photo_folder.iterdir()) == before


def example_lines():
    return [(line.strip()) for _, command in TREE for line in DOCS["examples"](command.epilog)]


@pytest.mark.slow
@pytest.mark.parametrize("line", example_lines())
def test_every_example_is_a_command_line_that_is_understood(line: str):
    words = shlex.split(line, comments=True)
    words = words[: next((i for i, word in enumerate(words) if word in ("|", ">", "<")), None)]
    command, path = PROGRAM, [words[0]]
    for word in words[1:]:
        if word not in getattr(command, "commands", {}):
            break
        command = command.commands[word]
        path.append(word)
    assert runs(command), "an example runs a command"
    command.make_context(" ".join(path), words[len(path) :])


@pytest.mark.slow
@pytest.mark.parametrize("columns", ["40", "200"])
def test_the_pages_are_what_the_program_says(monkeypatch, columns):
    script = [sys.executable, str(ROOT / "scripts/gen_cli_docs.py"), "--check"]
    monkeypatch.setenv("COLUMNS", columns)
    done = subprocess.run(script, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_page_describes_common_options_once_and_names_them_in_each_command():
    page = DOCS["cli_page"]()
    common = DOCS["common_options"]([command for _, command in TREE])
    names = [DOCS["longest"](option) for _, c in TREE for option in DOCS["options_of"](c)]
    assert {"--json", "--fmr", "--detector", "--threads", "--gallery"} <= set(names)
    for line in common:
        assert page.count(line) == 1
    sections = dict(re.findall(r"^## (facekeep.*)\n((?:(?!## ).*\n)*)", page, re.MULTILINE))
    for path, command in TREE:
        for option in DOCS["options_of"](command):
            assert re.search(rf"`{DOCS['longest'](option)}\b", sections[path])


@pytest.mark.slow
def test_stale_pages_are_told(monkeypatch, tmp_path: Path):
    script = ROOT / "scripts/gen_cli_docs.py"
    copy = tmp_path / "scripts" / script.name
    copy.parent.mkdir()
    copy.write_text(script.read_text())
    (tmp_path / "docs").mkdir()
    check = [sys.executable, str(copy), "--check"]
    done = subprocess.run(check, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "cli.md, configuration.md" in done.stderr
    subprocess.run(check[:-1], check=True)
    assert subprocess.run(check, check=False).returncode == 0
