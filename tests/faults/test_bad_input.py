"""Whatever users give it, facekeep answers with one line that says what to do, and harms nothing.

Every case of the table is run plain and with ``--json``. Before and after, every file of the little
world around it (galleries, keys, exports, photos) is compared byte for byte, which also finds
half-written results and forgotten temporary files.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bad_input_cases import TABLE, another_photo
from bad_input_kit import KEY, Case, World, make_world
from numpy.typing import NDArray
from PIL import Image

import facekeep
from facekeep import FaceEngine, Gallery, NewTemplate
from facekeep.cli.main import main
from facekeep.errors import InputError

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("ready_models")]


@pytest.fixture(scope="module")
def whole(
    tmp_path_factory: pytest.TempPathFactory,
    hopper_path: Path,
    collins: NDArray[np.uint8],
) -> Path:
    """The world before anything goes wrong; built once."""
    root = tmp_path_factory.mktemp("whole")
    cache = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FACEKEEP_CACHE", str(cache))
        make_world(root, hopper_path, collins)
        # The ordinary user of some cases may be unable to read Python's own files.
        export, gallery = str(root / "people.jsonl"), ["-g", str(cache / "warm.db")]
        assert main(["people", "import", export, *gallery]) == 0
        assert main(["people", "remove", "Grace Hopper", "--yes", *gallery]) == 0
    return root


@pytest.fixture
def world(whole: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """A copy of the world, in a place that an ordinary user can reach, as the working folder."""
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        root = Path(name)
        root.chmod(0o755)
        shutil.copytree(whole, root, dirs_exist_ok=True)
        monkeypatch.chdir(root)
        monkeypatch.setenv("FACEKEEP_GALLERY", "people.db")
        yield World(root, monkeypatch, stack)
        monkeypatch.chdir("/")


CASES = [
    pytest.param(case, id=f"{what}: {case.title}")
    for what, cases in TABLE.items()
    for case in cases
]


@pytest.mark.parametrize("case", CASES)
def test_bad_input_is_one_line_and_harms_nothing(case: Case, world: World, cli: Any) -> None:
    case.breaks(world)
    before = world.snapshot()
    assert before
    plain = cli(*case.arguments)
    assert world.snapshot() == before
    assert plain.out == ""
    prefix = "facekeep: error: "
    assert plain.err.startswith(prefix)
    message = plain.err.removeprefix(prefix).removesuffix("\n")
    assert message.isprintable()
    assert case.says in message
    assert plain.status == case.status
    as_json = cli(*case.arguments, "--json")
    assert world.snapshot() == before
    assert as_json.json == {"error": {"kind": case.kind, "message": message}}
    assert (as_json.status, as_json.err) == (case.status, "")


def test_the_table_is_long_enough() -> None:
    assert len({case.id for case in CASES}) == len(CASES) >= 60


GRAY = np.full((90, 90, 3), 128, np.uint8)
VECTOR = np.eye(1, 128, dtype=np.float32)[0]

LIBRARY: list[tuple[str, Callable[[FaceEngine], object], str]] = [
    (
        "no number",
        lambda e: e.detect(np.full((9, 9, 3), np.nan)),
        "uint8 RGB, 0 to 255; got float64",
    ),
    ("fractions", lambda e: e.identify(np.zeros((9, 9, 3), np.float32)), "scale it to 0-255"),
    ("16 bits", lambda e: e.enroll("Ada", np.zeros((9, 9, 3), np.uint16)), "divide it by 257"),
    ("gray", lambda e: e.detect(GRAY[..., 0]), "looks gray; stack it"),
    ("alpha", lambda e: e.identify(np.dstack([GRAY, GRAY[..., :1]])), "looks like RGBA"),
    ("channels first", lambda e: e.detect(GRAY.transpose(2, 0, 1)), "looks channels first"),
    ("a batch", lambda e: e.detect(GRAY[None]), "looks like a batch; pass its images one by one"),
    ("nothing", lambda e: e.detect(np.zeros((0, 9, 3), np.uint8)), "at least one pixel"),
    ("objects", lambda e: e.detect(np.array([[None]])), "uint8 RGB"),
    ("a list", lambda e: e.detect([[1, 2, 3]]), "not an image: builtins.list; give a path"),
    ("None", lambda e: e.verify(None, GRAY), "not an image: builtins.NoneType"),
    ("an array to enroll as BGR", lambda e: facekeep.from_bgr(GRAY[..., 0]), "looks gray"),
    ("a rate in percent", lambda e: e.identify(GRAY, fmr=100), "between 0 and 1, such as 1e-4"),
    (
        "a rate in words",
        lambda e: e.identify(GRAY, fmr="x"),
        "between 0 and 1, such as 1e-4; got 'x'",
    ),
    ("a rate that is true", lambda e: e.verify(GRAY, GRAY, fmr=True), "between 0 and 1"),
    ("a share in words", lambda e: e.identify(GRAY, fpir="x"), "between 0 and 1, such as 0.01"),
    ("a count in words", lambda e: e.identify(GRAY, top_k="5"), "top_k must be a whole number"),
    ("a fraction", lambda e: e.match([], top_k=2.5), "top_k must be a whole number; got 2.5"),
    ("people in words", lambda e: e.threshold(fpir=0.1, people="x"), "people must be a whole"),
    ("templates in words", lambda e: e.threshold(templates="x"), "templates must be a whole"),
    ("a rate of search", lambda e: facekeep.search_folder(e, GRAY, ".", fmr="x"), "0 and 1"),
    ("a count of search", lambda e: facekeep.search_folder(e, GRAY, ".", top="x"), "top must be a"),
    ("a size of groups", lambda e: facekeep.cluster_folder(e, ".", min_size="x"), "min_size must"),
    ("a limit in words", lambda e: facekeep.load_image(GRAY, max_pixels="x"), "max_pixels must be"),
    ("no candidates", lambda e: e.gallery.search(VECTOR[None], 0), "top_k must be 1 or more"),
    ("probes with NaN", lambda e: e.gallery.search(VECTOR[None] * np.nan), "probes"),
    ("probes of another width", lambda e: e.gallery.search(VECTOR[None, :9]), "probes"),
    ("a probe that is no batch", lambda e: e.gallery.search(VECTOR), "probes"),
    ("a template with NaN", lambda e: e.gallery.enroll("A", [NewTemplate(VECTOR * np.nan)]), "vec"),
    ("a long template", lambda e: e.gallery.enroll("A", [NewTemplate(VECTOR * 2)]), "length"),
    ("no template", lambda e: e.gallery.enroll("A", []), "template"),
    ("no photo", lambda e: e.enroll("A", []), "at least one photo"),
    (
        "strange facts",
        lambda e: e.gallery.update("Grace Hopper", metadata={"a": object()}),
        "metadata",
    ),
]


@pytest.mark.parametrize(
    ("use", "says"), [case[1:] for case in LIBRARY], ids=[c[0] for c in LIBRARY]
)
def test_bad_arguments_of_the_library(
    use: Callable[[FaceEngine], object], says: str, world: World
) -> None:
    with FaceEngine("people.db") as engine:
        people = engine.gallery.people()
        with pytest.raises(InputError, match=re.escape(says)) as caught:
            use(engine)
        assert "\n" not in str(caught.value)
        assert engine.gallery.people() == people
        assert engine.gallery.check() == []


# What looks bad and is not


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photo_turned_by_its_exif_orientation_is_recognized(
    orientation: int, world: World, cli: Any
) -> None:
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # of Pillow's transpositions, by orientation
    with Image.open("hopper.jpg") as photo:
        exif = Image.Exif()
        exif[0x0112] = orientation
        turned = photo.transpose(undo[orientation]) if orientation > 1 else photo
        turned.save("turned.jpg", exif=exif, quality=90)
    outcome = cli("identify", "turned.jpg", "--json")
    assert outcome.status == 0
    (face,) = outcome.json["faces"]
    assert face["match"]["name"] == "Grace Hopper"
    assert (outcome.json["width"], outcome.json["height"]) == (512, 600)


@pytest.mark.parametrize(
    "name", ["caf\udce9.jpg", "a\nb\x1b[31m.jpg", "photo.png", "noextension", "-photo.jpg", " .jpg"]
)
def test_strange_names_and_wrong_extensions_are_no_hindrance(
    name: str, world: World, cli: Any
) -> None:
    (world.root / "hopper.jpg").rename(name)
    outcome = cli("identify", "--out", "marked.jpg", "--", name)
    assert outcome.status == 0
    assert "Grace Hopper" in outcome.out
    assert outcome.out.replace("\n", "").isprintable()
    assert (world.root / "marked.jpg").stat().st_size > 1000
    as_json = cli("identify", "--json", "--", name)
    assert os.fsencode(as_json.json["image"]) == os.fsencode(name)


def test_one_bad_photo_among_several_does_not_keep_the_others_from_being_enrolled(
    world: World, cli: Any
) -> None:
    world.write("bad.jpg", b"\xff\xd8\xff nothing")
    world.write("new.jpg", (world.root / "hopper.jpg").read_bytes() + b"\0")
    outcome = cli("enroll", "Grace Hopper", "bad.jpg", "new.jpg", "--json")
    assert outcome.status == 0
    assert outcome.json["enrolled"] == 1
    assert [(each["image"], each["reason"]) for each in outcome.json["rejected"]] == [
        ("bad.jpg", "unreadable")
    ]


@pytest.mark.parametrize(
    ("harm", "kind"),
    [
        (lambda w: w.fill("locked.db", 0.5, 9000), "structure"),
        (lambda w: w.sql("locked.db", "UPDATE templates SET person = 2"), "template"),
        (lambda w: w.sql("locked.db", "UPDATE templates SET negative = 1"), "template"),
    ],
    ids=["noise", "a template given to somebody else", "a changed fact"],
)
def test_check_finds_damage(
    harm: Callable[[World], object], kind: str, world: World, cli: Any
) -> None:
    sound = cli("gallery", "check", "-g", "locked.db", *KEY.split(), "--json")
    assert (sound.status, sound.json) == (0, {"ok": True, "findings": []})
    harm(world)
    before = world.snapshot()
    outcome = cli("gallery", "check", "-g", "locked.db", *KEY.split(), "--json")
    assert (outcome.status, outcome.json["ok"]) == (1, False)
    assert kind in {finding["kind"] for finding in outcome.json["findings"]}
    assert world.snapshot() == before


def test_everything_recovers_when_there_is_room_again(world: World, cli: Any) -> None:
    another_photo(world)
    with ExitStack() as stack:
        World(world.root, world.patch, stack).file_limit(33_000)
        assert cli("enroll", "Grace Hopper", "hopper2.jpg").status == 3
    assert cli("enroll", "Grace Hopper", "hopper2.jpg").status == 0
    with Gallery.open("people.db") as gallery:
        assert gallery.check() == []
        assert gallery.person("Grace Hopper").template_count == 2
