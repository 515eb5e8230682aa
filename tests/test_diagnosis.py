"""``facekeep doctor``: sound machines are found sound, and what is broken is named with a cure."""

from __future__ import annotations

import importlib.metadata
import json
import os
import sqlite3
import sys
from pathlib import Path

import pytest
from litert_kit import means

from facekeep import Check, Settings, diagnosis, doctor
from facekeep.diagnosis import read_cpu
from facekeep.errors import Hint
from facekeep.models import ModelEntry, default_model, entry, import_model
from facekeep.models.resolve import ModelStatus
from facekeep.runtime import DeviceStatus


def found(settings: Settings | None = None) -> dict[str, Check]:
    return {check.name: check for check in doctor(settings or Settings())}


@pytest.mark.slow
def test_everything_needed_works_here(cli):
    outcome = cli("doctor")
    assert outcome.status == 0, outcome.out
    assert outcome.out.splitlines()[-1] == "everything needed works"
    assert outcome.err == ""
    document = cli("doctor", "--json").json
    assert document["ok"] is True
    names = [check["name"] for check in document["checks"]]
    assert len(names) == len(outcome.out.splitlines()) - 1
    for name in (
        "python",
        "cpu",
        "memory",
        "sqlite",
        "numpy",
        "onnxruntime cpu",
        "yunet",
        "sface",
        default_model("refine"),
        default_model("orient"),
        entry("sface").quality,
        "heic",
    ):
        assert name in names
    for name in ("keyring", "gallery", "models folder", "cache folder", "settings"):
        assert name in names
    assert all(check["status"] in ("ok", "warn", "absent") for check in document["checks"])


def test_every_required_program_is_looked_at():
    required = [r for r in importlib.metadata.requires("facekeep") or [] if "extra ==" not in r]
    programs = [check for check in doctor(Settings()) if check.area == "programs"]
    assert len(programs) == len(required) >= 8
    for check in programs:
        assert check.detail == importlib.metadata.version(check.name)


def test_a_missing_program_fails_with_a_cure(monkeypatch):
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: ["no-such-thing>=1"])
    check = found()["no-such-thing"]
    assert (check.status, check.cure) == ("fail", "pip install no-such-thing")


def test_a_broken_program_fails_with_its_reason(monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    check = found()["pillow"]
    assert check.status == "fail"
    assert "PIL" in check.detail


def test_a_bad_configuration_is_a_finding_and_the_rest_is_still_looked_at(cli, monkeypatch):
    monkeypatch.setenv("FACEKEEP_FMR", "9")
    outcome = cli("doctor", "--json")
    assert outcome.status == 3
    by_name = {check["name"]: check for check in outcome.json["checks"]}
    assert by_name["settings"]["status"] == "fail"
    assert by_name["settings"]["detail"].startswith("FACEKEEP_FMR=9: expected")
    assert by_name["onnxruntime cpu"]["status"] == "ok"


def test_the_command_that_helps_is_named(cli, tmp_path: Path, monkeypatch):
    gallery = tmp_path / "none.db"
    monkeypatch.setenv("FACEKEEP_EMBEDDER", "edgeface-xxs")
    monkeypatch.setenv("FACEKEEP_GALLERY", str(gallery))
    lines = cli("doctor").out.splitlines()
    assert "fail    edgeface-xxs: not pulled; run: facekeep models pull edgeface-xxs" in lines
    assert f"ok      gallery: {gallery} does not exist yet; facekeep enroll creates it" in lines


def test_the_configuration_file_is_named(cli, tmp_path: Path):
    file = tmp_path / "c.toml"
    file.write_text("threads = 1")
    assert f"ok      settings: {file}" in cli("doctor", "--config", file).out.splitlines()


@pytest.mark.parametrize(("embedder", "status"), [("sface", "fail"), ("facekeep-xs", "warn")])
def test_a_damaged_quality_network_fails_where_the_embedder_needs_it(monkeypatch, embedder, status):
    def seen(model: ModelEntry) -> ModelStatus:
        whole = model.name != entry("sface").quality
        return ModelStatus("ok" if whole else "damaged", "")

    monkeypatch.setattr("facekeep.models.verify", seen)
    assert found(Settings(embedder=embedder))[entry("sface").quality].status == status


def test_a_check_that_breaks_stops_no_other(monkeypatch):
    def broken(settings):
        raise RuntimeError("two\nlines")
        yield

    monkeypatch.setattr(diagnosis, "_devices", broken)
    names = found()
    assert names["devices"].status == "fail"
    assert names["devices"].detail == "RuntimeError: two\nlines"
    assert names["yunet"].status == "ok"


def test_weights_that_are_not_where_facekeep_put_them_fail_with_a_cure(monkeypatch, tmp_path):
    monkeypatch.setattr("facekeep.models.resolve.WEIGHTS", tmp_path)
    checks = found()
    for name in (default_model("refine"), default_model("orient"), entry("sface").quality):
        assert checks[name].status == "fail"
        assert "install facekeep again" in checks[name].detail


def test_findings_stay_on_their_lines(cli, monkeypatch):
    monkeypatch.setenv("FACEKEEP_FMRR", "1")
    monkeypatch.setenv("FACEKEEP_GALLERY", "/no\nwhere/\x1b[2Jx.db")
    outcome = cli("doctor")
    assert "\x1b" not in outcome.out
    lines = outcome.out.splitlines()
    assert all(line[:8] in ("ok      ", "warn    ", "fail    ", "absent  ") for line in lines[:-1])
    assert any("did you mean FACEKEEP_FMR?" in line for line in lines)


def test_only_the_device_that_is_asked_for_must_work(monkeypatch):
    statuses = [
        DeviceStatus("onnxruntime", "cpu", available=True, detail="1.0"),
        DeviceStatus("onnxruntime", "cuda", available=False, detail="install it"),
    ]
    monkeypatch.setattr("facekeep.runtime.runtimes", lambda: statuses)
    assert found()["onnxruntime cuda"].status == "absent"
    assert found(Settings(device="cuda"))["onnxruntime cuda"].status == "fail"
    assert found(Settings(device="abacus"))["abacus"].status == "fail"


@pytest.mark.slow
def test_a_runtime_is_needed_where_the_settings_or_their_models_need_it(monkeypatch, tmp_path):
    monkeypatch.setenv("FACEKEEP_MODELS", str(tmp_path))
    assert found()["litert cpu"].status == "ok"
    (tmp_path / "mine.tflite").write_bytes(means())
    import_model(tmp_path / "mine.tflite", "mine", arch="tflite")
    statuses = [
        DeviceStatus("onnxruntime", "cpu", available=False, detail="install it"),
        DeviceStatus("litert", "cpu", available=False, detail="install it"),
    ]
    monkeypatch.setattr("facekeep.runtime.runtimes", lambda: statuses)

    def states(**settings):
        checks = found(Settings(**settings))
        return checks["onnxruntime cpu"].status, checks["litert cpu"].status

    assert states() == ("fail", "absent")
    assert states(embedder="mine") == ("fail", "fail")
    assert states(runtime="litert") == ("absent", "fail")
    assert found(Settings(embedder="nosuch"))["onnxruntime cpu"].status == "fail"


def test_offers_that_were_not_pulled_are_no_findings_unless_asked_for():
    assert not any(name.startswith("edgeface") for name in found())
    check = found(Settings(embedder="edgeface-xxs"))["edgeface-xxs"]
    assert check.status == "fail"
    assert check.hint == Hint("pull", {"model": "edgeface-xxs"})


def test_models_that_are_asked_for_must_be_there(monkeypatch, tmp_path: Path):
    check = found(Settings(detector="nosuch"))["nosuch"]
    assert check.status == "fail"
    assert "nosuch" in check.detail
    monkeypatch.setenv("FACEKEEP_MODELS", str(tmp_path))
    (tmp_path / "sface").mkdir()
    (tmp_path / "sface" / "sface.onnx").write_bytes(b"x")
    check = found()["sface"]
    assert check.status == "fail"
    assert "install facekeep again" in check.detail
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "model.toml").write_text("nonsense")
    assert found()["mine"].status == "warn"


@pytest.mark.slow
def test_a_missing_extra_is_absent_unless_the_settings_need_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    monkeypatch.setitem(sys.modules, "keyring", None)
    assert found()["heic"].status == "absent"
    assert found()["heic"].cure == "pip install 'facekeep[heic]'"
    assert found()["keyring"].status == "absent"
    assert found(Settings(key="keyring:a/b"))["keyring"].status == "fail"


def test_extras_too_heavy_to_import_are_found_by_name(monkeypatch):
    assert found()["train"].detail == f"torch {importlib.metadata.version('torch')}"

    def missing(distribution):
        raise importlib.metadata.PackageNotFoundError(distribution)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    for extra, program in (("evaluate", "matplotlib"), ("train", "torch")):
        check = found()[extra]
        assert (check.status, check.cure) == ("absent", f"pip install 'facekeep[{extra}]'")
        assert check.detail.endswith(f": {program} is not installed")


def test_a_keyring_without_a_service_is_absent(monkeypatch):
    import keyring
    from keyring.backends import fail, null

    monkeypatch.setattr(keyring, "get_keyring", fail.Keyring)
    assert found()["keyring"].status == "absent"

    class Working(null.Keyring):
        priority = 5

    monkeypatch.setattr(keyring, "get_keyring", Working)
    assert found()["keyring"].status == "ok"


def test_the_gallery_is_opened_and_counted(monkeypatch, tmp_path: Path):
    import numpy as np

    from facekeep.gallery import Gallery, NewTemplate, Space

    path = tmp_path / "people.db"
    assert "does not exist yet" in found(Settings(gallery=path))["gallery"].detail
    vector = np.eye(4, dtype=np.float32)[0]
    with Gallery.open(path, space=Space("0" * 64, "m", 4), create=True) as gallery:
        gallery.enroll("Ada", [NewTemplate(vector)])
    real, asked = Gallery.open, []
    monkeypatch.setattr(Gallery, "open", lambda *a, **k: asked.append(k) or real(*a, **k))
    check = found(Settings(gallery=path))["gallery"]
    assert asked[0]["read_only"] is True, "the doctor changes nothing"
    assert (check.status, check.detail) == ("ok", f"{path}, 1 person, 1 template")
    path.write_bytes(b"not a gallery")
    assert found(Settings(gallery=path))["gallery"].status == "fail"


def test_a_missing_key_is_a_fault_of_the_gallery(tmp_path: Path):
    settings = Settings(gallery=tmp_path / "p.db", key=f"file:{tmp_path / 'none'}")
    assert found(settings)["gallery"].status == "fail"


def test_a_place_that_cannot_hold_files_fails(monkeypatch, tmp_path: Path):
    (tmp_path / "file").write_text("x")
    settings = Settings(gallery=tmp_path / "file" / "sub" / "people.db")
    assert "is not a folder" in found(settings)["gallery"].detail
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert "cannot be written" in found()["cache folder"].detail


def test_an_old_sqlite_is_named_with_a_cure(monkeypatch):
    assert found()["sqlite"].detail == sqlite3.sqlite_version
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 36, 1))
    monkeypatch.setattr(sqlite3, "sqlite_version", "3.36.1")
    check = found()["sqlite"]
    assert (check.status, check.detail) == (
        "fail",
        "this Python has SQLite 3.36.1, a gallery needs 3.37.0 or newer",
    )
    assert check.cure.startswith("use a Python that has it")


def test_cpu_facts_are_read_or_missing(tmp_path: Path):
    intel = tmp_path / "intel"
    intel.write_text("processor\t: 0\nmodel name\t: Fast One\nflags\t\t: fpu avx2 fma\n")
    assert read_cpu(intel) == ("Fast One", {"fpu", "avx2", "fma"})
    pi = tmp_path / "pi"
    pi.write_text("processor\t: 0\nFeatures\t: fp asimd asimddp\n\nModel\t\t: Raspberry Pi 5\n")
    assert read_cpu(pi) == ("Raspberry Pi 5", {"fp", "asimd", "asimddp"})
    assert read_cpu(tmp_path / "none")[1] == frozenset()


def test_a_machine_that_tells_nothing_is_no_failure(monkeypatch):
    def unknown(name):
        raise ValueError(name)

    monkeypatch.setattr(os, "sysconf", unknown)
    assert found()["memory"].status == "absent"
    monkeypatch.setattr(os, "sysconf", {"SC_PHYS_PAGES": 1000, "SC_PAGE_SIZE": 4096}.get)
    assert found()["memory"].status == "warn"


def test_json_has_the_same_shape_for_every_check(cli):
    document = json.loads(cli("doctor", "--json").out)
    keys = {tuple(check) for check in document["checks"]}
    assert keys == {("area", "name", "status", "detail", "cure")}
