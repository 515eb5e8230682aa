"""Settings: the order of origins, and that no file, variable or option can do harm."""

from __future__ import annotations

import inspect
import math
import os
import re
import tomllib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from facekeep.config.live import CAMERA, LIVE, LiveTable
from facekeep.config.settings import (
    SETTINGS,
    Resolved,
    Settings,
    config_path,
    default_config_path,
    example_toml,
    read_toml,
    resolve,
)
from facekeep.errors import ConfigError, FacekeepError

EXAMPLES = int(os.environ.get("FACEKEEP_FUZZ_EXAMPLES", "100"))

GOOD = {
    "gallery": ("/tmp/a.db", Path("/tmp/a.db")),
    "key": ("env:SECRET", "env:SECRET"),
    "keep_crops": ("yes", True),
    "review": ("strict", "strict"),
    "any_quality": ("true", True),
    "fmr": ("1e-3", 1e-3),
    "fpir": ("0.1", 0.1),
    "detector": ("mine", "mine"),
    "refiner": ("none", "none"),
    "orienter": ("none", "none"),
    "embedder": ("other", "other"),
    "terms": ("free, other", "free, other"),
    "min_face": ("40", 40),
    "max_faces": ("3", 3),
    "max_pixels": ("5_000", 5000),
    "max_bytes": ("7_000", 7000),
    "flip": ("ON", True),
    "runtime": ("openvino", "openvino"),
    "device": ("gpu", "gpu"),
    "precision": ("bfloat16", "bfloat16"),
    "threads": ("2", 2),
}


@pytest.fixture
def toml(tmp_path: Path):
    def write(content: str | bytes) -> Path:
        path = tmp_path / "config.toml"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def outcome(environ: dict[str, str], file: Path | None) -> tuple[Resolved | None, str]:
    """What came of it: the settings, or the message of the only error there may be."""
    try:
        return resolve(environ=environ, file=file), ""
    except FacekeepError as error:
        return None, str(error)


def fails(**given_to_resolve) -> str:
    with pytest.raises(ConfigError) as caught:
        resolve(**{"environ": {}, **given_to_resolve})
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_defaults_come_from_nowhere_else(private_home: Path):
    found = resolve({}, environ={})
    assert found.settings == Settings()
    assert {str(origin) for origin in found.origins.values()} == {"default"}
    assert found.settings.gallery == private_home / ".local/share/facekeep/people.db"
    assert found.file is None


@pytest.mark.parametrize("name", SETTINGS)
def test_flag_beats_environment_beats_file_beats_default(name: str, toml):
    text, value = GOOD[name]
    assert getattr(Settings(), name) != value, "the case must differ from the default"
    in_file = toml(f"{name} = {SETTINGS[name].example}")
    example = getattr(resolve(environ={}, file=in_file).settings, name)

    def origin_and_value(found: Resolved):
        return found.origins[name].source, getattr(found.settings, name)

    environ = {SETTINGS[name].env: text}
    assert origin_and_value(resolve(environ={}, file=in_file)) == ("file", example)
    assert origin_and_value(resolve(environ=environ, file=in_file)) == ("environment", value)
    other = str(example).lower() if isinstance(example, bool) else str(example)
    flags = {name: other}
    assert origin_and_value(resolve(flags, environ, in_file)) == ("flag", example)
    assert origin_and_value(resolve({name: None}, environ, in_file)) == ("environment", value)


def test_of_fmr_and_fpir_the_one_said_last_counts(toml):
    both = {"FACEKEEP_FMR": "1e-3", "FACEKEEP_FPIR": "0.01"}
    assert "FACEKEEP_FMR and FACEKEEP_FPIR" in fails(environ=both)
    assert "give one of them" in fails(flags={"fmr": "1e-3", "fpir": "0.01"})
    assert "give one of them" in fails(file=toml("fmr = 1e-3\nfpir = 0.01"))
    found = resolve({"fpir": "0.02"}, {}, toml("fmr = 1e-3"))
    assert (found.settings.fpir, found.settings.fmr) == (0.02, 1e-4)
    assert (found.origins["fpir"].source, found.origins["fmr"].source) == ("flag", "default")
    found = resolve({}, {"FACEKEEP_FMR": "1e-3"}, toml("fpir = 0.01"))
    assert (found.settings.fpir, found.settings.fmr) == (None, 1e-3)
    assert found.origins["fpir"].source == "default"


def test_origins_name_the_option_the_variable_and_the_file(toml):
    path = toml("threads = 3")
    found = resolve({"fmr": 0.01}, {"FACEKEEP_FLIP": "1"}, path)
    shown = {name: str(origin) for name, origin in found.origins.items()}
    assert shown["threads"] == f"file {path}"
    assert shown["fmr"] == "flag --fmr"
    assert shown["flip"] == "environment FACEKEEP_FLIP"


def test_an_empty_variable_is_not_set():
    assert resolve(environ={"FACEKEEP_THREADS": ""}).settings.threads == 0


def test_a_flag_can_say_no(toml):
    found = resolve({"flip": False}, {"FACEKEEP_FLIP": "1"}, toml("flip = true"))
    assert (found.settings.flip, found.origins["flip"].source) == (False, "flag")


@pytest.mark.parametrize("rate", ["1e-9", "0.5"])
def test_bounds_are_allowed(rate: str):
    assert resolve({"fmr": rate}, environ={}).settings.fmr == float(rate)


def test_natural_values_are_taken_as_flags(tmp_path: Path):
    flags = {"gallery": tmp_path, "fmr": 0.25, "flip": True, "threads": 4}
    found = resolve(flags, environ={}).settings
    assert (found.gallery, found.fmr, found.flip, found.threads) == (tmp_path, 0.25, True, 4)


BAD_TEXT = [
    ("fmr", "abc", "a number from 1e-9 to 0.5"),
    ("fmr", "0", "a number"),
    ("fmr", "nan", "a number"),
    ("fmr", "inf", "a number"),
    ("fmr", "0.6", "a number"),
    ("min_face", "7", "a whole number of pixels from 10"),
    ("min_face", "1.5", "a whole number"),
    ("threads", "-1", "a whole number from 0 to 1024"),
    ("threads", "9" * 5000, "a whole number"),
    ("flip", "maybe", "true or false"),
    ("review", "Strict", "one of off, standard, strict"),
    ("detector", "  ", "the name of a detection model"),
    ("device", "a\x1b[31m", "the name of a device"),
    ("gallery", "~no-such-user-here/x.db", "a path"),
    ("gallery", "a\0b", "a path"),
    ("embedder", "\udcff", "the name of a recognition model"),
    ("terms", "free;other", "free, research, any or names of models, separated by commas"),
    ("key", "file:", "file:PATH, env:NAME or keyring:SERVICE/USER"),
]


@pytest.mark.parametrize(("name", "text", "expected"), BAD_TEXT)
def test_bad_text_is_refused_by_name(name: str, text: str, expected: str):
    setting = SETTINGS[name]
    by_variable = fails(environ={setting.env: text})
    assert by_variable.startswith(f"{setting.env}=")
    assert f"expected {expected}" in by_variable
    by_flag = fails(flags={name: text})
    assert by_flag.startswith(f"{setting.option} ")
    assert f"expected {expected}" in by_flag
    assert len(by_flag) < 250


BAD_TOML = [
    ("threads = '2'", "threads = 2: expected a whole number"),
    ("threads = 2.0", "threads = 2.0: expected a whole number"),
    ("threads = true", "threads = True: expected a whole number"),
    ("fmr = true", "expected a number"),
    ("fmr = 1e999", "expected a number"),
    ("fmr = '1e-4'", "expected a number"),
    ("flip = 1", "flip = 1: expected true or false"),
    ("flip = 'true'", "expected true or false"),
    ("review = ['off']", "expected one of"),
    ("gallery = 3", "expected a path"),
    ('gallery = "a\\u0000b"', "expected a path"),
    ('gallery = ""', "expected a path"),
    ("device = 1979-05-27", "expected the name of a device"),
    ("[fmr]\nx = 1", "expected a number"),
    (f"threads = 0x{'F' * 6000}", "threads = a huge int: expected a whole number"),
    ("thread = 2", "unknown key thread; did you mean threads?"),
    ("FMR = 2", "unknown key FMR; did you mean fmr?"),
    ("zzz = 2", "unknown key zzz; known: gallery, key"),
    ('"a\\nb" = 2', "unknown key 'a\\nb'"),
    ("threads = ", "is not valid TOML"),
    ("threads = 1\nthreads = 2", "is not valid TOML"),
    (f"threads = {'9' * 5000}", "is not valid TOML"),
    ("x = " + "[" * 5000, "is not valid TOML"),
    (b"\xff\xfe", "is not UTF-8 text (byte 0)"),
    (b"\0\0\0\0", "is not valid TOML"),
    (b"#" * (1 << 20) + b"##", "larger than 1 MiB"),
]


@pytest.mark.parametrize(("content", "expected"), BAD_TOML, ids=range(len(BAD_TOML)))
def test_bad_files_are_refused_by_name_and_key(toml, content: str | bytes, expected: str):
    path = toml(content)
    message = fails(file=path)
    assert message.startswith(f"{path}: ")
    assert expected in message


def test_a_bad_file_spoils_nothing_that_flags_would_override(toml):
    fails(flags={"threads": 1}, file=toml("threads = 'two'"))


@pytest.mark.parametrize("name", ["key"])
def test_a_key_typed_in_place_of_its_reference_is_not_repeated(toml, name: str):
    secret = "c2VjcmV0c2VjcmV0c2VjcmV0"
    for message in (
        fails(environ={"FACEKEEP_KEY": secret}),
        fails(flags={"key": secret}),
        fails(file=toml(f'key = "{secret}"')),
    ):
        assert secret not in message
        assert "expected file:PATH" in message


def test_paths_in_a_file_start_at_its_folder(toml, tmp_path: Path, private_home: Path):
    found = read_toml(toml('gallery = "sub/a.db"\nkey = "file:k"'))
    assert found == {"gallery": tmp_path / "sub/a.db", "key": f"file:{tmp_path / 'k'}"}
    found = read_toml(toml('gallery = "~/a.db"\nkey = "file:~/k"'))
    assert found == {"gallery": private_home / "a.db", "key": f"file:{private_home / 'k'}"}
    assert read_toml(toml('key = "keyring:a/b"')) == {"key": "keyring:a/b"}


def test_byte_order_mark_and_windows_line_ends_are_fine(toml):
    assert read_toml(toml(b"\xef\xbb\xbfthreads = 1\r\nflip = true\r\n")) == {
        "threads": 1,
        "flip": True,
    }


def test_the_users_own_file_is_found(private_home: Path):
    assert config_path(None, {}) is None
    path = default_config_path()
    path.parent.mkdir(parents=True)
    path.write_text("threads = 1")
    assert config_path(None, {}) == path
    assert path == private_home / ".config/facekeep/config.toml"


def test_a_named_file_wins_and_must_exist(tmp_path: Path):
    one, two = tmp_path / "one", tmp_path / "two"
    one.touch()
    two.touch()
    assert config_path(str(one), {"FACEKEEP_CONFIG": str(two)}) == one
    assert config_path(None, {"FACEKEEP_CONFIG": str(two)}) == two
    with pytest.raises(ConfigError, match=r"no such configuration file$"):
        config_path(str(tmp_path / "none"), {})
    with pytest.raises(ConfigError, match=r"no such configuration file \(FACEKEEP_CONFIG\)"):
        config_path(None, {"FACEKEEP_CONFIG": str(tmp_path / "none")})
    with pytest.raises(ConfigError):
        config_path("a\0b", {})


def test_what_is_no_file_is_refused(tmp_path: Path):
    assert "it is a folder" in fails(file=tmp_path)
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    assert "cannot be read" in fails(file=loop)


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for file in (pipe, Path("/dev/zero")):
        assert "it is a pipe, socket or device" in fails(file=file)


def test_the_example_file_explains_every_key_and_is_valid(toml):
    text = example_toml()
    assert tomllib.loads(text) == {}, "as printed, everything is commented out"
    form = r"# (\w+ = .*|\[[\w.]+\])"
    lines = [found[1] for line in text.splitlines() if (found := re.fullmatch(form, line))]
    names = [line.split(" = ")[0] for line in lines]
    assert names == [*SETTINGS, "[live]", *LIVE, "[camera.door]", *CAMERA]
    tables = resolve(environ={}, file=toml("\n".join(line for line in lines if "fpir" not in line)))
    assert list(tables.cameras) == ["door"]
    for name, field in LIVE.items():
        value = getattr(tables.live, field.attribute)
        assert field.default_text or value == getattr(LiveTable(), field.attribute), name
    values = read_toml(toml("\n".join(lines)))
    for setting in SETTINGS.values():
        assert setting.env in text
        default = getattr(Settings(), setting.name)
        assert setting.default_text or values[setting.name] == default, (
            "the example shows the default"
        )


BAD_TABLES = [
    ('[live]\nmqt = "x"', "live: unknown key mqt; did you mean mqtt?"),
    ("live = 3", "live: expected a table"),
    ("[live]\nunknown = 3", "live: unknown = 3: expected true or false"),
    ('[live]\nview = "8080"', "expected an address such as :8080"),
    ("[live]\nregion = [[[0, 0], [2, 0], [1, 1]]]", "expected corners as shares of the picture"),
    ("[live]\nregion = [[[0, 0], [1, 1]]]", "expected corners as shares of the picture"),
    ("[camera]\ndoor = 1", "camera.door: expected a table"),
    ("[camera.door]\n", "camera.door: lacks the key source"),
    ('[camera.door]\nsorce = "0"', "camera.door: unknown key sorce; did you mean source?"),
    ("[camera.door]\nsource = 0", 'expected a text: a URL, a device such as "0"'),
    ('[camera."a/b"]\nsource = "0"', "expected a name of letters"),
]


@pytest.mark.parametrize(("content", "message"), BAD_TABLES)
def test_wrong_tables_are_told_with_their_place(toml, content: str, message: str):
    assert message in fails(file=toml(content))


def test_cameras_keep_their_order_and_find_secrets_beside_the_file(toml, tmp_path: Path):
    found = resolve(
        environ={},
        file=toml(
            '[live]\nmqtt = "mqtt://localhost"\nexec = "notify -q"\n'
            '[camera.yard]\nsource = "rtsp://ada@192.0.2.7/s"\npassword = "file:pw"\n'
            '[camera."Back door"]\nsource = "0"\nmask = [[[0, 0], [1, 0], [1, 0.5]]]'
        ),
    )
    assert list(found.cameras) == ["yard", "Back door"]
    assert found.cameras["yard"].password == f"file:{tmp_path / 'pw'}"
    assert found.cameras["Back door"].mask == (((0, 0), (1, 0), (1, 0.5)),)
    assert (found.live.mqtt, found.live.exec_) == ("mqtt://localhost", "notify -q")


@pytest.mark.parametrize("name", ["password", "source"])
def test_a_secret_in_a_table_is_not_repeated(toml, name: str):
    assert "hunter2" not in fails(file=toml(f'[camera.door]\n{name} = ["hunter2"]'))


def test_every_setting_has_a_row_of_the_table():
    assert list(SETTINGS) == list(Settings.__struct_fields__) == list(GOOD)
    for setting in SETTINGS.values():
        assert setting.doc.endswith(".")
        assert setting.expects
        assert len(setting.doc) < 90


def test_the_table_agrees_with_the_code():
    from facekeep.engine import FaceEngine
    from facekeep.models import default_model, entry
    from facekeep.pipeline.image import MAX_BYTES, load_image
    from facekeep.runtime import runtimes

    limit = inspect.signature(load_image).parameters["max_pixels"].default
    assert Settings().max_pixels == limit
    parameters = inspect.signature(FaceEngine).parameters
    for name in ("max_bytes", "max_pixels", "max_faces"):
        assert getattr(Settings(), name) == parameters[name].default
    assert Settings().max_bytes == MAX_BYTES
    assert SETTINGS["detector"].example == f'"{default_model("detect")}"'
    assert SETTINGS["embedder"].example == f'"{default_model("embed")}"'
    assert Settings().runtime is None
    chosen = (entry(default_model("embed")).runtime, Settings().device)
    assert chosen in {(device.runtime, device.device) for device in runtimes()}


VALUES = st.recursive(
    st.one_of(
        st.booleans().map(lambda b: str(b).lower()),
        st.integers().map(str),
        st.floats().map(repr),
        st.text().map(lambda t: '"' + t.replace("\\", "").replace('"', "") + '"'),
        st.sampled_from(["1979-05-27", "07:32:00", "0x1F", "''", '"""\n"""', "nan", "-inf"]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda items: f"[{', '.join(items)}]"),
        inner.map(lambda item: "{ a = " + item + " }"),
    ),
    max_leaves=4,
)
LINES = st.one_of(
    st.builds("{} = {}".format, st.sampled_from([*SETTINGS, "fmrr", '"a.b"']), VALUES),
    st.sampled_from(["[table]", "[[array]]", "# note", "a.b = 1", ""]),
)
DOCUMENTS = st.one_of(
    st.lists(LINES, max_size=4).map(lambda lines: "\n".join(lines).encode("utf-8", "replace")),
    st.binary(max_size=200),
    st.text(max_size=100).map(lambda text: text.encode("utf-8", "replace")),
)


@pytest.mark.slow
@settings(
    max_examples=EXAMPLES,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(content=DOCUMENTS)
def test_no_content_of_a_file_does_harm(toml, content: bytes):
    path = toml(content)
    found, message = outcome({}, path)
    if found is None:
        assert "\n" not in message
        assert message.startswith(str(path))
        return
    assert math.isfinite(found.settings.fmr)
    assert 0 <= found.settings.threads <= 1024


@settings(max_examples=EXAMPLES)
@given(
    name=st.sampled_from(sorted(SETTINGS)),
    text=st.text(st.characters(exclude_characters="\0"), max_size=40),
)
def test_no_text_of_a_variable_does_harm(name: str, text: str):
    found, message = outcome({SETTINGS[name].env: text}, None)
    if found is None:
        assert "\n" not in message
        assert SETTINGS[name].env in message
        return
    assert found.origins[name].source == ("environment" if text else "default")
