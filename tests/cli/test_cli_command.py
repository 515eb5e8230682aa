"""How commands are made: settings become options, and the run carries them."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from facekeep.cli import main as entry
from facekeep.cli import output
from facekeep.cli.command import ExitStatus, Run, command, group, group_command
from facekeep.cli.options import ENGINE, GALLERY, PATH, argument


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch):
    """Put a command that records its runs in place of facekeep's own."""
    seen: list[tuple[Run, dict]] = []
    app = group("facekeep")
    inner = group("inner", "A group.", examples=["facekeep inner look a.jpg"])
    uses = (*ENGINE, *GALLERY)

    @command(inner, "look", uses=uses, examples=["facekeep inner look a.jpg"])
    @argument("image", type=PATH, metavar="IMAGE", help="A picture.")
    @click.option("--top", default=3, metavar="N", help="How many.")
    def look(run: Run, image: Path, top: int) -> ExitStatus:
        """Look."""
        seen.append((run, {"image": image, "top": top}))
        with run.progress("Looking", 1) as advance:
            advance()
        run.say("text")
        run.table(["a"], [[1]])
        return ExitStatus.NO

    @command(inner, "lazy", examples=["facekeep inner lazy"])
    def lazy(run: Run) -> None:
        """Do nothing."""
        seen.append((run, {}))

    @group_command("both", uses=("threads",), examples=["facekeep both --top 2"])
    @click.option("--top", type=int, metavar="N", help="How many.")
    @click.option("--names", multiple=True, metavar="X", help="Who.")
    def both(run: Run, *, top: int | None, names: tuple[str, ...]) -> ExitStatus:
        """Do it without a verb."""
        seen.append((run, {"top": top, "names": names}))
        return ExitStatus.NO

    command(both, "lazy", examples=["facekeep both lazy"])(lazy)
    app.add_command(inner)
    app.add_command(both)
    monkeypatch.setattr(entry, "build", lambda: app)
    return seen


def test_settings_reach_the_run_and_arguments_the_command(cli, runs, monkeypatch):
    monkeypatch.setenv("FACEKEEP_THREADS", "5")
    outcome = cli("inner", "look", "a.jpg", "--top", "2", "-g", "x.db", "--flip")
    assert outcome.status == 1
    run, own = runs[0]
    assert own == {"image": Path("a.jpg"), "top": 2}
    assert (run.settings.gallery, run.settings.flip) == (Path("x.db"), True)
    assert run.settings.threads == 5
    assert outcome.out == "text\na\n1\n"


def test_text_and_progress_are_silent_under_json(cli, runs, monkeypatch):
    monkeypatch.setattr(output, "PLAIN_PROGRESS_SECONDS", 0)
    assert cli("inner", "look", "a.jpg").err == "Looking: 1 of 1\n"
    outcome = cli("inner", "look", "a.jpg", "--json")
    assert (outcome.out, outcome.err) == ("", "")
    assert runs[1][0].json
    outcome = cli("inner", "look", "a.jpg", "--quiet")
    assert (outcome.out, outcome.err) == ("text\na\n1\n", ""), "the answer is no remark"


def test_a_wrong_setting_stops_the_command_before_it_starts(cli, runs):
    assert cli("inner", "look", "a.jpg", "--threads", "x").status == 2
    assert runs == []


def test_a_command_without_settings_does_not_care_about_them(cli, runs, monkeypatch):
    monkeypatch.setenv("FACEKEEP_THREADS", "x")
    assert cli("inner", "lazy").status == 0


def test_a_setting_that_the_command_does_not_obey_is_no_option(cli, runs):
    assert cli("inner", "look", "a.jpg", "--review", "off").status == 2


def test_a_group_may_do_something_without_a_verb(cli, runs):
    outcome = cli("both", "--top", "2", "--threads", "3")
    assert outcome.status == 1
    ((run, own),) = runs
    assert own == {"top": 2, "names": ()}
    assert run.settings.threads == 3
    shown = cli("both", "--help").out
    assert "Do it without a verb." in shown
    assert "--top N" in shown
    assert "facekeep both --top 2" in shown
    assert "lazy" in shown


def test_a_verb_of_such_a_group_runs_alone(cli, runs):
    assert cli("both", "lazy", "--json").status == 0
    ((run, own),) = runs
    assert (own, run.json) == ({}, True)


@pytest.mark.parametrize(
    "words", [["--top", "2"], ["--names", "a"], ["--threads", "1"], ["--json"]]
)
def test_options_before_a_verb_are_not_lost_in_silence(cli, runs, words):
    outcome = cli("both", *words, "lazy")
    assert outcome.status == 2
    assert "give the options after 'lazy', not before it" in outcome.out + outcome.err
    assert runs == []
