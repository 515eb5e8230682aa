"""``facekeep doctor``: what works on this machine, and why not."""

from __future__ import annotations

from dataclasses import replace

from facekeep.cli.command import ExitStatus, Run, command, group
from facekeep.cli.hints import add_hint
from facekeep.diagnosis import Check
from facekeep.diagnosis import doctor as check_all

app = group()


@command(app, "doctor", examples=["facekeep doctor", "facekeep doctor --json"])
def doctor(run: Run) -> ExitStatus:
    """Check what works on this machine and what does not, why, and how to fix it.

    Each line is ok, warn, fail or absent (optional and not there). The exit status is 0 when
    nothing needed fails, and 3 otherwise.
    """
    checks = []
    for found in check_all(config=run.config):
        check = replace(found, detail=add_hint(found.detail, found.hint))
        checks.append(check)
        run.say(_line(check))
    works = all(check.status != "fail" for check in checks)
    if run.json:
        run.emit({"ok": works, "checks": [check.to_dict() for check in checks]})
    else:
        run.say("everything needed works" if works else "something needed does not work: see fail")
    return ExitStatus.YES if works else ExitStatus.FAULT


def _line(check: Check) -> str:
    cure = f"; to fix it: {check.cure}" if check.cure else ""
    return f"{check.status:<6}  {check.name}: {check.detail}{cure}"
