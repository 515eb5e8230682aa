"""``facekeep doctor``: what works on this machine, and why not."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from facekeep.cli.command import ExitStatus, Run, command, group
from facekeep.config.settings import Settings
from facekeep.errors import ConfigError

if TYPE_CHECKING:
    from facekeep.cli.checks import Check

app = group()


@command(app, "doctor", examples=["facekeep doctor", "facekeep doctor --json"])
def doctor(run: Run) -> ExitStatus:
    """Say what works on this machine, and what does not, why, and how to mend it.

    Each line is ok, warn, fail or absent (optional and not there). The exit status is 0 when
    nothing needed fails, and 3 otherwise.
    """
    from facekeep.cli.checks import run_checks

    settings, first = _settings(run)
    checks = [first]
    run.say(_line(first))
    for check in run_checks(settings):
        checks.append(check)
        run.say(_line(check))
    works = all(check.status != "fail" for check in checks)
    if run.json:
        run.emit({"ok": works, "checks": [asdict(check) for check in checks]})
    else:
        run.say("everything needed works" if works else "something needed does not work: see fail")
    return ExitStatus.YES if works else ExitStatus.FAULT


def _settings(run: Run) -> tuple[Settings, Check]:
    """The settings in force; where they cannot be used, that is a finding and defaults serve."""
    from facekeep.cli.checks import Check

    try:
        file = run.resolved.file
    except ConfigError as error:
        cure = "facekeep config example shows what is allowed"
        return Settings(), Check("settings", "settings", "fail", str(error), cure)
    detail = str(file) if file else "no configuration file; defaults and variables"
    return run.settings, Check("settings", "settings", "ok", detail)


def _line(check: Check) -> str:
    cure = f"; to mend it: {check.cure}" if check.cure else ""
    return f"{check.status:<6}  {check.name}: {check.detail}{cure}"
