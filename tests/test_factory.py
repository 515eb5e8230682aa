"""What is opened as the settings say: engines, galleries, and the settings themselves."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest
from msgspec import structs

from facekeep import FaceEngine, RuntimeOptions, Settings, load_settings, open_engine
from facekeep.config.settings import SETTINGS
from facekeep.errors import ConfigError, GalleryKeyError, GalleryNotFound, ModelNotFound
from facekeep.factory import find_chosen_models, open_gallery
from facekeep.gallery import generate_key
from facekeep.models import entry
from facekeep.models.terms import require_allowed


def engine_parameters() -> dict[str, inspect.Parameter]:
    """All that a setting decides: whether the gallery is written is up to the command."""
    found = dict(inspect.signature(FaceEngine).parameters)
    for name in ("read_only", "options", "threads"):
        del found[name]
    found["terms"] = found["gallery"]  # whoever names a model in a program allows it
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
        if name not in ("gallery", "fmr", "terms"):
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


@pytest.mark.parametrize(
    ("setting", "name"), [("embedder", "facekeep-xxs"), ("detector", "facekeep-detect")]
)
def test_a_model_that_is_not_free_is_used_only_where_it_is_allowed(setting: str, name: str):
    for terms in ("free", "free, facekeep-xs"):
        with pytest.raises(ConfigError) as caught:
            open_engine(Settings(**{setting: name, "terms": terms}))
        assert str(caught.value) == (
            f"model {name!r} is for research only, and the terms in use are {terms!r};"
            f' allow it by its name: terms = "{name}"'
        )
    for terms in (name, f"free, {name}", "research", "any"):
        open_engine(Settings(**{setting: name, "terms": terms})).close()


@pytest.mark.parametrize("terms", ["nosuch", "free, nosuch", "nosuch, any"])
def test_terms_that_are_no_word_and_no_model_are_refused(terms: str):
    with pytest.raises(ConfigError, match=r"'nosuch' are neither free.* known model: .*sface"):
        open_engine(Settings(terms=terms))


def test_terms_hold_for_an_embedder_besides_that_of_the_settings():
    with pytest.raises(ConfigError, match="for research only"):
        open_engine(Settings(), embedder="facekeep-xs")
    open_engine(Settings(terms="facekeep-xs"), embedder="facekeep-xs").close()


def test_what_is_named_and_free_or_unknown_needs_no_allowance():
    open_engine(Settings(embedder="sface", detector="yunet", refiner="none")).close()
    with pytest.raises(ModelNotFound):
        open_engine(Settings(embedder="nobody"))


def test_a_disputed_model_is_not_one_for_research():
    disputed = entry("edgeface-xxs")
    for terms in ("free", "research"):
        with pytest.raises(ConfigError, match="of disputed terms"):
            require_allowed(disputed, terms)
    for terms in ("any", "edgeface-xxs", "research, edgeface-xxs"):
        require_allowed(disputed, terms)


def test_the_users_own_models_are_always_allowed():
    require_allowed(structs.replace(entry("facekeep-xs"), name="mine", terms="own"), "free")


def test_chosen_models_are_those_of_the_settings_and_by_default():
    names = [each.name for each in find_chosen_models(Settings(refiner="none"))]
    assert sorted(names) == ["facekeep-orienter", "facekeep-quality", "sface", "yunet"]
    assert "facekeep-xs" in {
        each.name for each in find_chosen_models(Settings(embedder="facekeep-xs"))
    }
    assert "sface" not in {each.name for each in find_chosen_models(Settings(embedder="nobody"))}


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
