"""``facekeep config``: which settings are in force, and where each came from."""

from __future__ import annotations

import json
from typing import Any

from facekeep.cli import output
from facekeep.cli.command import ExitStatus, Run, command, group
from facekeep.cli.options import default_of
from facekeep.cli.output import format_value, to_plain
from facekeep.config.live import CAMERA, LIVE, CameraTable, LiveTable
from facekeep.config.settings import SETTINGS, config_path, default_config_path, example_toml

app = group(
    "config",
    "The settings in force, and the file that holds them.",
    examples=["facekeep config show"],
)


@command(
    app,
    "show",
    uses=tuple(SETTINGS),
    examples=["facekeep config show", "facekeep config show --fmr 1e-5 --json"],
)
def show(run: Run) -> None:
    """Print every setting with its value and where the value came from."""
    from facekeep.factory import find_chosen_models
    from facekeep.models.terms import describe_terms

    origins = run.resolved.origins
    values = {name: getattr(run.settings, name) for name in SETTINGS}
    live = _describe(run.resolved.live)
    cameras = {name: _describe(each) for name, each in run.resolved.cameras.items()}
    if run.json:
        rows = {n: {"value": v, "origin": str(origins[n])} for n, v in values.items()}
        words = {model.name: model.terms for model in find_chosen_models(run.settings)}
        run.emit(
            {"file": run.resolved.file, "settings": rows, "terms": words}
            | {"live": live, "cameras": cameras}
        )
        return
    run.table(
        ["setting", "value", "from"],
        [[name, _shown(name, value), str(origins[name])] for name, value in values.items()],
    )
    for name, table in [("live", live), *((f"camera.{name}", cameras[name]) for name in cameras)]:
        if table:
            facts = (f"{key} = {json.dumps(to_plain(table[key]))}" for key in table)
            run.say(f"[{name}] {', '.join(facts)}")
    run.say(f"terms of the models in use: {describe_terms(find_chosen_models(run.settings))}")


@command(app, "path", examples=["facekeep config path"])
def path(run: Run) -> ExitStatus:
    """Print the path of the configuration file; exit status 1 when it does not exist yet."""
    found = config_path(run.config)
    where = found or default_config_path()
    run.say(where)
    if run.json:
        run.emit({"path": where, "exists": found is not None})
    return ExitStatus.YES if found else ExitStatus.NO


@command(app, "example", examples=["facekeep config example > facekeep.toml"])
def example(run: Run) -> None:
    """Print a configuration file with every setting explained and commented out."""
    if run.json:
        run.emit({"toml": example_toml()})
        return
    for line in example_toml().splitlines():
        output.say(line)


def _shown(name: str, value: object) -> str:
    """A value as the file would say it; of one that is not set, what holds then if a word says."""
    if value is None:
        default = default_of(SETTINGS[name])
        return "-" if " " in default else default
    return str(value).lower() if isinstance(value, bool) else format_value(value)


def _describe(table: CameraTable | LiveTable) -> dict[str, Any]:
    """Return what a table sets, by its keys, to be shown: URLs without what may be a secret."""
    from facekeep.video.sources import hide_password

    fields = LIVE if isinstance(table, LiveTable) else CAMERA
    found = {name: getattr(table, each.attribute) for name, each in fields.items()}
    given = {name: value for name, value in found.items() if value != fields[name].default}
    for name in given.keys() & {"source", "mqtt", "webhook"}:
        given[name] = hide_password(given[name])
    if "webhook" in given:  # the path of a webhook is often what keeps others from using it
        scheme, _, rest = given["webhook"].partition("://")
        given["webhook"] = f"{scheme}://{rest.partition('/')[0]}/..."
    return given
