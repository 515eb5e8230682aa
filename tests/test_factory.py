"""What is opened as the settings say: engines, galleries, and the settings themselves."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

from facekeep import FaceEngine, RuntimeOptions, Settings, load_settings, open_engine
from facekeep.config.settings import SETTINGS
from facekeep.errors import ConfigError, GalleryKeyError, GalleryNotFound
from facekeep.factory import open_gallery
from facekeep.gallery import generate_key


def engine_parameters() -> dict[str, inspect.Parameter]:
    """All that a setting decides: whether the gallery is written is up to the command."""
    found = dict(inspect.signature(FaceEngine).parameters)
    for name in ("read_only", "options", "threads"):
        del found[name]
    return found | dict(inspect.signature(RuntimeOptions).parameters)


def test_the_engine_takes_every_setting():
    assert set(engine_parameters()) == set(SETTINGS)


def test_the_engine_is_opened_as_the_settings_say(tmp_path: Path):
    spec = f"file:{tmp_path / 'key'}"
    generate_key(spec)
    settings = Settings(fmr=1e-3, gallery=tmp_path / "p.db", key=spec)
    (tmp_path / "p.db").touch()  # a gallery to be read must be there
    for gallery in ("none", "read", "write"):
        with open_engine(settings, gallery) as engine:
            assert engine.fmr == 1e-3
    lost = Settings(key="env:NO_SUCH_VARIABLE", gallery=tmp_path / "p.db")
    with pytest.raises(GalleryKeyError):
        open_engine(lost, "read")
    open_engine(lost).close()


def test_defaults_agree_with_the_engines():
    with FaceEngine() as engine:
        assert engine.fmr == Settings().fmr  # None stands for it, so that an FPIR may be given
    for name, parameter in engine_parameters().items():
        if name not in ("gallery", "fmr"):
            assert getattr(Settings(), name) == parameter.default, name


def test_without_settings_the_users_own_are_taken(monkeypatch, tmp_path: Path):
    file = tmp_path / "facekeep.toml"
    file.write_text("fmr = 1e-3\nthreads = 1\n")
    monkeypatch.setenv("FACEKEEP_CONFIG", str(file))
    monkeypatch.setenv("FACEKEEP_THREADS", "2")
    assert (load_settings().fmr, load_settings().threads) == (1e-3, 2)
    assert load_settings(fmr=1e-2).fmr == 1e-2
    with open_engine() as engine:
        assert engine.fmr == 1e-3


def test_settings_that_are_wrong_are_refused():
    with pytest.raises(ConfigError, match="did you mean fmr"):
        load_settings(fmrr=1e-3)
    with pytest.raises(ConfigError, match=r"^fmr = 2: expected a number"):
        load_settings(fmr=2)


@pytest.mark.parametrize("open_it", [lambda s: open_engine(s, "read"), open_gallery])
def test_a_gallery_that_is_missing_is_named_without_words_of_the_command_line(open_it, tmp_path):
    gallery = tmp_path / "none.db"
    with pytest.raises(GalleryNotFound) as caught:
        open_it(Settings(gallery=gallery))
    assert str(caught.value) == f"there is no gallery at {gallery}: nobody is enrolled yet"
    assert caught.value.hint is not None
    assert caught.value.hint.facts == {"gallery": gallery}
