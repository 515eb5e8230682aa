"""What people see: pictures that repeat to the byte, and a page that needs nothing else."""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import subprocess
import sys
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from evaluation_kit import crop_of, evaluation, known_people, system

from facekeep.errors import InputError, RuntimeUnavailable
from facekeep.lab.evaluate import plots
from facekeep.lab.evaluate.extract import Failure
from facekeep.lab.evaluate.page import Picture, check_report, write_report
from facekeep.lab.evaluate.protocols import run_identification
from facekeep.lab.evaluate.report import draw_pair_sheet, draw_pictures, write_evaluation_report
from facekeep.lab.evaluate.result import Evaluation, Pair
from facekeep.models import entry

COMMAND = "facekeep evaluate folder 'my people'"


@pytest.fixture(scope="module", autouse=True)
def fonts(tmp_path_factory: pytest.TempPathFactory):
    """Keep matplotlib's cache of fonts out of each test's own home."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MPLCONFIGDIR", str(tmp_path_factory.mktemp("matplotlib")))
        yield


def test_only_its_owner_may_look_at_a_report(tmp_path: Path) -> None:
    faces = Picture("faces.png", "Faces", "The worst pairs.", b"pixels")
    page = write_report(tmp_path / "report", "a", [], [faces], COMMAND)
    modes = {each.name: each.stat().st_mode & 0o777 for each in page.parent.iterdir()}
    assert modes == {"faces.png": 0o600, "report.html": 0o600}
    assert page.parent.stat().st_mode & 0o777 == 0o700


class Page(HTMLParser):
    """Collects what a page refers to, and checks that what is opened is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.references: list[str] = []
        self.tags: list[str] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in ("meta", "img", "link", "br"):
            self.open.append(tag)
        self.references += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag == "img":
            assert dict(attrs)["alt"]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.slow
def test_the_roc_shows_what_is_accepted(monkeypatch: pytest.MonkeyPatch):
    drawn = []
    draw = plots._draw

    def note(axes, place, label, x, y):
        drawn.append((label, x.tolist(), y.tolist()))
        draw(axes, place, label, x, y)

    monkeypatch.setattr(plots, "_draw", note)
    plots.draw_roc([plots.Line("sface", np.array([1, 0.25, 0]), np.array([0, 0.125, 0.5]))])
    assert drawn == [("sface", [1, 0.25], [1, 0.875])]


@pytest.mark.slow
def test_the_page_needs_nothing_else(tmp_path: Path):
    path = write_evaluation_report(tmp_path / "new" / "report", [evaluation()], COMMAND)
    text = path.read_text()
    page = Page(text)
    assert not page.open
    assert "script" not in page.tags
    assert page.references
    assert all(each.startswith("data:image/") for each in page.references)
    assert "http:" not in text
    assert "https:" not in text
    assert "url(" not in text
    assert "default-src 'none'" in text
    beside = {each.name for each in path.parent.iterdir()}
    assert beside == {
        "report.html",
        "det.png",
        "roc.png",
        "scores-sface.png",
        "false-matches-sface.jpg",
        "false-non-matches-sface.jpg",
    }


@pytest.mark.slow
def test_the_page_tells_the_figures(tmp_path: Path):
    made = evaluation()
    text = Page(write_evaluation_report(tmp_path, [made], COMMAND).read_text()).text
    point = made.result.tar[0]
    assert f"{100 * point.tar:.2f} %" in text
    assert f"{100 * point.low:.2f} to {100 * point.high:.2f} %" in text
    assert "120 images of 30 people, 180 mated and 6,844 non-mated comparisons" in text
    assert "1 of 120 images (0.83 %)" in text
    assert "no, needs 30,000" in text
    assert "image005.png" in text
    assert COMMAND in text
    assert "sface on made" in text


@pytest.mark.slow
def test_the_same_outcome_gives_the_same_bytes(tmp_path: Path):
    import matplotlib

    folders = [tmp_path / "a", tmp_path / "b"]
    write_evaluation_report(folders[0], [evaluation()], COMMAND)
    with matplotlib.rc_context({"axes.facecolor": "red", "font.size": 30}):
        write_evaluation_report(folders[1], [evaluation()], COMMAND)
    first, second = ({f.name: f.read_bytes() for f in folder.iterdir()} for folder in folders)
    assert first == second


@pytest.mark.slow
def test_names_cannot_break_the_page(tmp_path: Path):
    made = evaluation()
    hostile = "<script>alert(1)</script>\n\x1b[31m&\"'"
    result = dataclasses.replace(
        made.result, data=hostile, failures=(Failure(hostile, hostile),), model=made.result.model
    )
    evidence = dataclasses.replace(made.evidence, names=[hostile] * 120)
    text = write_evaluation_report(tmp_path, [Evaluation(result, evidence)], hostile).read_text()
    page = Page(text)
    assert "script" not in page.tags
    assert "\x1b" not in text
    assert page.text.count("<script>alert(1)</script>") > 5


@pytest.mark.slow
def test_several_models_share_a_page(tmp_path: Path):
    made = evaluation()
    other = Evaluation(
        dataclasses.replace(made.result, model="other"),
        dataclasses.replace(made.evidence, curve=dataclasses.replace(made.evidence.curve)),
    )
    write_evaluation_report(tmp_path, [made, other], COMMAND)
    names = {each.name for each in tmp_path.iterdir()}
    assert {"scores-sface.png", "scores-other.png", "det.png"} <= names


@pytest.mark.slow
def test_identification_has_its_own_pictures(tmp_path: Path):
    made = run_identification(*known_people(noise=1.5), system("identify"))
    text = Page(write_evaluation_report(tmp_path, [made], COMMAND).read_text()).text
    names = {each.name for each in tmp_path.iterdir()}
    assert {"det.png", "cmc.png", "scores-sface.png"} <= names
    assert "roc.png" not in names
    assert "rank 1" in text
    assert "FPIR at most" in text


@pytest.mark.slow
def test_many_failures_are_counted_not_listed(tmp_path: Path):
    made = evaluation()
    failures = tuple(Failure(f"f{i:04d}", "no face was found") for i in range(250))
    result = dataclasses.replace(made.result, failures=failures, images=1000)
    text = write_evaluation_report(
        tmp_path, [Evaluation(result, made.evidence)], COMMAND
    ).read_text()
    assert "f0199" in text
    assert "f0200" not in text
    assert "And 50 more." in text


def test_a_folder_that_cannot_be_is_refused_before_the_work(tmp_path: Path):
    (tmp_path / "file").write_text("here")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(InputError, match="no report can be written there"):
            check_report(folder)
    check_report(tmp_path / "new" / "report")
    assert not (tmp_path / "new").exists()


def test_without_matplotlib_the_cure_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(RuntimeUnavailable, match=r"pip install 'facekeep\[evaluate\]'"):
        check_report(tmp_path)


def decoded(png: bytes):
    return cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)


@pytest.mark.slow
def test_curves_without_any_error_can_be_drawn():
    perfect = plots.Line("perfect", np.array([1.0, 0.0, 0.0]), np.array([0.0, 0.0, 1.0]))
    for picture in (
        plots.draw_det([perfect]),
        plots.draw_roc([perfect]),
        plots.draw_cmc([("a", np.ones(1))]),
    ):
        assert decoded(picture).shape[2] == 3


@pytest.mark.slow
def test_a_worse_system_is_drawn_higher_in_a_det():
    rates = np.geomspace(0.5, 1e-4, 50)
    worse = plots.Line("worse", rates, np.full(50, 0.5))
    better = plots.Line("better", rates, np.full(50, 0.05))
    height = {}
    for color, lines in (("worse", [worse, better]), ("better", [better, worse])):
        blue = decoded(plots.draw_det(lines))[:, :, ::-1].astype(int)
        line = (np.abs(blue - (0, 0x72, 0xB2)).sum(axis=2) < 30).sum(axis=1)
        height[color] = int(line.argmax())
    assert height["worse"] < height["better"], "rows are counted from the top"


@pytest.mark.slow
def test_between_two_points_the_more_careful_one_holds():
    """FNMR is 0.5 until a false-match rate of 1e-1 has been paid for, and 0.05 from there on."""
    line = plots.Line("steps", np.array([0.5, 0.1, 1e-3]), np.array([0.05, 0.05, 0.5]))
    picture = decoded(plots.draw_det([line]))[:, :, ::-1].astype(int)
    blue = np.abs(picture - (0, 0x72, 0xB2)).sum(axis=2) < 30
    rows = np.flatnonzero(blue.sum(axis=1) > 50)
    upper, lower = blue[rows[0]].sum(), blue[rows[-1]].sum()
    assert upper > 2 * lower, "two decades at 0.5, less than one at 0.05"


def test_a_sheet_shows_each_pair_side_by_side():
    sheet = draw_pair_sheet([Pair(2 * i, 2 * i + 1, 0.5) for i in range(5)], crop_of)
    solid = [
        [(sheet[y : y + 112, x : x + 112] == 40 + place).all() for place in range(10)]
        for y in (36, 36 + 148)
        for x in (8, 128, 280, 400, 552, 672)
    ]
    shown = [cell.index(True) if any(cell) else None for cell in solid]
    assert shown == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, None, None]


def test_a_sheet_of_one_pair_is_one_pair_wide():
    assert draw_pair_sheet([Pair(0, 1, 0.5)], crop_of).shape[1] < 300


@pytest.mark.slow
def test_conditions_have_a_picture_of_all_models(monkeypatch: pytest.MonkeyPatch):
    drawn: list[tuple[Sequence[str], Sequence[tuple[str, Any]]]] = []

    def draw(rows: Sequence[str], panels: Sequence[tuple[str, Any]]) -> bytes:
        drawn.append((rows, panels))
        return original(rows, panels)

    original = plots.draw_bars
    monkeypatch.setattr(plots, "draw_bars", draw)
    yaw = np.where(np.arange(120) % 4 == 0, 50.0, 5.0)
    results = [
        evaluation(measures={"yaw": yaw}, model=entry(name)) for name in ("sface", "edgeface-xs-q")
    ]
    names = [picture.file for picture in draw_pictures(results)]
    assert names[:3] == ["det.png", "roc.png", "conditions.png"]
    ((rows, panels),) = drawn
    assert list(rows) == ["yaw, degrees: below 15", "yaw, degrees: 45 and above"]
    assert [title for title, _ in panels] == ["TAR", "FMR"]
    for _, systems in panels:
        assert [label for label, _ in systems] == ["sface", "edgeface-xs-q"]
    points = results[0].result.conditions.occupied
    assert panels[0][1][0][1] == [(p.tar, p.tar_low, p.tar_high) for p in points]
    assert panels[1][1][0][1] == [(p.fmr, p.fmr_low, p.fmr_high) for p in points]
    assert "conditions.png" not in [picture.file for picture in draw_pictures([evaluation()])]


@pytest.mark.slow
def test_bars_without_figures_or_intervals_are_drawn_all_the_same():
    rows = ["small", "large", "turned"]
    shares = [(0.9, 0.8, 0.95), (0.7, None, None), (None, None, None)]
    one = plots.draw_bars(rows, [("TAR", [("a", shares)]), ("FMR", [("a", shares)])])
    moved = [(0.8, 0.8, 0.95), *shares[1:]]
    assert one == plots.draw_bars(rows, [("TAR", [("a", shares)]), ("FMR", [("a", shares)])])
    assert one != plots.draw_bars(rows, [("TAR", [("a", moved)]), ("FMR", [("a", shares)])])


@pytest.mark.slow
def test_the_first_picture_ever_says_nothing(tmp_path: Path) -> None:
    """matplotlib lists the fonts then, and if that takes seconds, says so: here at once."""
    code = (
        "import threading; real = threading.Timer;"
        "threading.Timer = lambda _, function: real(0, function);"
        "from facekeep.lab.evaluate.plots import encode_figure, styled_figure\n"
        "with styled_figure() as figure: encode_figure(figure)"
    )
    environment = os.environ | {"MPLCONFIGDIR": str(tmp_path)}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert list(tmp_path.glob("fontlist*"))
    assert (done.stdout, done.stderr) == ("", "")
