"""``facekeep config``."""

from __future__ import annotations

from pathlib import Path

import pytest

from facekeep.config.settings import SETTINGS, default_config_path, example_toml


def test_show_says_value_and_origin_of_every_setting(cli, monkeypatch, tmp_path: Path):
    file = tmp_path / "c.toml"
    file.write_text("threads = 3\nflip = true\n")
    monkeypatch.setenv("FACEKEEP_MIN_FACE", "50")
    words = ("config", "show", "--config", file, "--fmr", "1e-3", "--no-flip")
    outcome = cli(*words)
    assert outcome.status == 0
    rows = {line.split()[0]: line.split()[1:] for line in outcome.out.splitlines()[1:]}
    assert list(rows) == list(SETTINGS)
    assert rows["threads"] == ["3", "file", str(file)]
    assert rows["min_face"] == ["50", "environment", "FACEKEEP_MIN_FACE"]
    assert rows["fmr"] == ["0.001", "flag", "--fmr"]
    assert rows["flip"] == ["false", "flag", "--flip"]
    assert rows["key"] == ["-", "default"]
    assert rows["detector"] == ["yunet", "default"]
    document = cli(*words, "--json").json
    assert document["file"] == str(file)
    assert document["settings"]["threads"] == {"value": 3, "origin": f"file {file}"}
    assert document["settings"]["key"] == {"value": None, "origin": "default"}


@pytest.mark.parametrize("other", ["fmr", "fpir"])
def test_every_setting_can_be_given_as_an_option(cli, other: str):
    """All at once, but of the two rates only one may be given."""
    settings = [setting for setting in SETTINGS.values() if setting.name != other]
    words = []
    for setting in settings:
        words += (
            [setting.option]
            if not setting.metavar
            else [setting.option, setting.example.strip('"')]
        )
    origins = {
        name: row["origin"]
        for name, row in cli("config", "show", *words, "--json").json["settings"].items()
    }
    assert origins == {setting.name: f"flag {setting.option}" for setting in settings} | {
        other: "default"
    }


def test_the_file_is_found_by_variable(cli, monkeypatch, tmp_path: Path):
    file = tmp_path / "c.toml"
    file.write_text("threads = 3\n")
    monkeypatch.setenv("FACEKEEP_CONFIG", str(file))
    assert cli("config", "show", "--json").json["settings"]["threads"]["value"] == 3
    assert cli("config", "path").out == f"{file}\n"


def test_path_says_whether_the_file_exists(cli):
    path = default_config_path()
    outcome = cli("config", "path")
    assert (outcome.out, outcome.status) == (f"{path}\n", 1)
    assert cli("config", "path", "--json").json == {"path": str(path), "exists": False}
    path.parent.mkdir(parents=True)
    path.write_text("this is not TOML")
    assert cli("config", "path").status == 0
    assert cli("config", "path", "--json").json == {"path": str(path), "exists": True}


def test_example_prints_the_file(cli):
    assert cli("config", "example").out == example_toml()
    assert cli("config", "example", "--json").json == {"toml": example_toml()}


def test_show_prints_cameras_and_live_options_without_secrets(cli, tmp_path: Path):
    file = tmp_path / "c.toml"
    file.write_text(
        '[live]\nmqtt = "mqtt://ada:hunter2@localhost"\nwebhook = "https://h.example/hunter2"\n'
        '[camera.door]\nsource = "rtsp://ada:hunter2@192.0.2.7/s?pwd=hunter2"\n'
        '[camera.yard]\nsource = "0"\npassword = "env:YARD"\n'
    )
    words = ("config", "show", "--config", file)
    text, document = cli(*words).out, cli(*words, "--json").json
    assert "hunter2" not in text + str(document)
    assert '[live] mqtt = "mqtt://ada:***@localhost", webhook = "https://h.example/..."' in text
    assert '[camera.yard] source = "0", password = "env:YARD"' in text
    assert document["cameras"]["door"] == {"source": "rtsp://ada:***@192.0.2.7/s?pwd=***"}
