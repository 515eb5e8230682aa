"""Pictures for people: what is drawn can be read, stays inside, and needs no color to be told."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from facekeep import draw
from facekeep._internal.label_layout import Label, place
from facekeep.draw import annotate, contact_sheet
from facekeep.errors import InputError
from facekeep.types import Face

RGB = NDArray[np.uint8]

KNOWN, UNKNOWN, FOUND, UNUSABLE = draw._KNOWN, draw._UNKNOWN, draw._FOUND, draw._UNUSABLE


def decision(name: str | None, similarity: float | None) -> Any:
    candidates = () if similarity is None else (SimpleNamespace(similarity=similarity),)
    return SimpleNamespace(
        match=SimpleNamespace(name=name) if name else None, candidates=candidates
    )


def face(*bbox: float, decided: Any = None) -> Face:
    box = np.array(bbox, np.float32)
    spots = np.array([[0.3, 0.4], [0.7, 0.4], [0.5, 0.6], [0.4, 0.8], [0.6, 0.8]], np.float32)
    return Face(box, spots * (box[2:] - box[:2]) + box[:2], 0.9, decision=decided)


def known(*bbox: float) -> Face:
    return face(*bbox, decided=decision("Ada", 0.7))


def unknown(*bbox: float) -> Face:
    return face(*bbox, decided=decision(None, 0.2))


def unusable(*bbox: float) -> Face:
    return unknown(*bbox).replace(reasons=("too_blurry",))


def gray(height: int = 300, width: int = 400, level: int = 128) -> RGB:
    return np.full((height, width, 3), level, np.uint8)


def count(image: RGB, color: tuple[int, int, int]) -> int:
    return int((image == color).all(axis=2).sum())


def letters(image: RGB) -> NDArray[np.bool_]:
    """Where the white letters of a known person's label are, on a ground of gray 128."""
    return (image > 150).all(axis=2)


def test_annotate_draws_on_a_copy(hopper: RGB) -> None:
    before = hopper.copy()
    drawn = annotate(hopper, [known(190, 70, 330, 270)])
    np.testing.assert_array_equal(hopper, before)
    assert drawn.shape == hopper.shape
    assert drawn.dtype == np.uint8
    assert not np.shares_memory(drawn, hopper)
    assert not np.array_equal(drawn, hopper)
    np.testing.assert_array_equal(annotate(hopper, []), hopper)


def test_only_the_marks_are_changed() -> None:
    drawn = annotate(gray(), [face(100, 100, 200, 220)], [""])
    changed = (drawn != 128).any(axis=2)
    rows, columns = np.nonzero(changed)
    assert (rows.min(), columns.min()) >= (97, 97)
    assert (rows.max(), columns.max()) <= (223, 203)
    assert changed[110:140, 110:120].sum() == 0


def test_the_box_and_the_five_landmarks_are_where_the_face_is() -> None:
    marked = face(100, 100, 200, 220)
    drawn = annotate(gray(), [marked])
    sides = [(100, 160), (200, 160), (150, 100), (150, 220)]
    for x, y in [*sides, *marked.landmarks.astype(int)]:
        assert tuple(drawn[y, x]) == FOUND.color
    compared = annotate(gray(), [known(100, 100, 200, 220)])
    assert (compared[110:210, 110:190] == 128).all(), "dots would hide a face that has a name"
    small = annotate(gray(), [face(100, 100, 130, 138)])
    assert (small[105:133, 105:125] == 128).all(), "dots would hide a small face"


def edge(drawn: RGB, color: tuple[int, int, int]) -> NDArray[np.bool_]:
    return (drawn[220, 104:196] == color).all(axis=1)


def test_unknown_faces_differ_from_known_ones_without_color() -> None:
    assert edge(annotate(gray(), [known(100, 100, 200, 220)]), KNOWN.color).all()
    dashes = edge(annotate(gray(), [unknown(100, 100, 200, 220)]), UNKNOWN.color)
    assert 0.3 < dashes.mean() < 0.8
    dots = edge(annotate(gray(), [unusable(100, 100, 200, 220)]), UNUSABLE.color)
    assert 0.3 < dots.mean() < 0.8
    assert np.count_nonzero(np.diff(dots.astype(int))) >= 1.5 * np.count_nonzero(
        np.diff(dashes.astype(int))
    )
    assert np.count_nonzero(np.diff(dashes.astype(int))) >= 8


def luminance(color: tuple[int, int, int]) -> float:
    """Relative luminance (WCAG 2.2)."""
    share = np.array(color) / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


@pytest.mark.parametrize("style", [KNOWN, UNKNOWN, FOUND, UNUSABLE])
def test_labels_have_the_contrast_that_wcag_asks(style: Any) -> None:
    low, high = sorted([luminance(style.color), luminance(style.ink)])
    assert (high + 0.05) / (low + 0.05) >= 4.5


@pytest.mark.parametrize("level", [0, 128, 255])
def test_a_label_looks_the_same_on_every_ground(level: int) -> None:
    drawn = annotate(gray(level=level), [unknown(100, 100, 200, 220)])
    reference = annotate(gray(level=77), [unknown(100, 100, 200, 220)])
    np.testing.assert_array_equal(drawn[83:97, 100:108], reference[83:97, 100:108])
    assert count(drawn[83:97, 100:108], UNKNOWN.color) > 50


@pytest.mark.parametrize(
    "bbox",
    [
        (150, 100, 250, 200),
        (-30, -30, 50, 60),
        (370, -30, 450, 60),
        (-30, 250, 50, 330),
        (370, 250, 450, 330),
        (0, 0, 399, 299),
        (-500, -500, 900, 900),
        (300, 2, 398, 298),
    ],
)
def test_a_label_lies_whole_inside_the_picture(bbox: tuple[float, ...]) -> None:
    (placed,) = place([label(*np.clip(bbox, 0, [399, 299] * 2))], (400, 300))
    assert placed is not None
    assert placed.text == "Ada Lovelace"
    x1, y1, x2, y2 = placed.box
    assert 0 <= x1 < x2 <= 400
    assert 0 <= y1 < y2 <= 300
    assert letters(annotate(gray(), [known(*bbox)], ["Ada Lovelace"])).sum() > 50


def label(*box: float, text: str = "Ada Lovelace", named: bool = True) -> Label:
    x1, y1, x2, y2 = (int(value) for value in box)
    return Label(text, "0.71" if named else "", "7", (x1, y1, x2, y2), named)


def overlap(a: Any, b: Any) -> int:
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    return max(0, width) * max(0, height)


def test_labels_of_a_crowd_hide_neither_faces_nor_each_other() -> None:
    """Thirty faces in rows, a third of them with names that are wider than their place."""
    boxes = [
        (40 + 110 * c, 50 + 130 * r, 110 + 110 * c, 140 + 130 * r)
        for r in range(5)
        for c in range(6)
    ]
    names = ["Bo", "Ada Lovelace", "Bartholomew Featherstonehaugh-Cholmondeley III"]
    labels = [
        label(*box, text=names[i % 3] if i % 2 else str(i + 1), named=bool(i % 2))
        for i, box in enumerate(boxes)
    ]
    placed = [each for each in place(labels, (720, 720)) if each is not None]
    assert len(placed) == 30
    for i, each in enumerate(placed):
        assert sum(overlap(each.box, box) for box in boxes) == 0
        assert sum(overlap(each.box, other.box) for other in placed[:i]) == 0
    assert {each.text for each in placed} > {"Bo", "1", "3"}


def test_a_name_has_the_place_that_a_number_would_have_taken() -> None:
    """Two faces so near each other that only one of the labels fits between them."""
    one, two = (100, 100, 160, 170), (100, 186, 160, 256)
    rest = [
        label(30, 0, 98, 299, text="1", named=False),
        label(162, 0, 230, 299, text="2", named=False),
    ]
    number, name, *_ = place([label(*one, text="3", named=False), label(*two), *rest], (400, 300))
    assert number is not None
    assert name is not None
    assert name.text.startswith("A")
    assert overlap(name.box, number.box) == 0


def test_a_name_without_room_becomes_the_number_of_its_face() -> None:
    walls = [(0, 0, 97, 97), (0, 123, 97, 219), (123, 0, 219, 97), (123, 123, 219, 219)]
    walls += [(98, 0, 122, 84), (98, 136, 122, 219), (0, 98, 84, 122), (136, 98, 219, 122)]
    middle = label(100, 100, 120, 120, text="Bartholomew Featherstonehaugh")
    around = [label(*wall, text="", named=False) for wall in walls]
    placed = place([middle, *around], (220, 220))[0]
    assert placed is not None
    assert placed.text == "7"


def test_a_name_that_no_font_can_write_becomes_the_number_of_its_face() -> None:
    found = [
        place([label(100, 100, 200, 220, text=text)], (400, 300))[0]
        for text in ("\U00013000\U00013001", "a")
    ]
    assert [each and each.text for each in found] == ["7", "a"]


def test_the_similarity_is_smaller_than_the_name_and_goes_first() -> None:
    (wide,) = place([label(100, 100, 200, 220)], (400, 300))
    assert wide is not None
    assert (wide.text, wide.detail) == ("Ada Lovelace", "0.71")
    assert wide.side[3] - wide.side[1] < 0.8 * (wide.main[3] - wide.main[1])
    narrow = place([label(100, 100, 135, 150, text="Ada Lovelace of London")], (400, 300))[0]
    assert narrow is not None
    assert (narrow.text, narrow.detail) == ("Ada Lovelace of London", "")


def test_a_long_label_is_shortened_to_the_width_of_the_picture() -> None:
    drawn = annotate(gray(100, 120), [known(40, 40, 80, 80)], ["Ada " * 100])
    assert letters(drawn)[:, :-3].sum() > 30
    assert not letters(drawn)[:, -3:].any()


def test_a_picture_too_small_for_text_still_gets_its_box() -> None:
    drawn = annotate(gray(35, 40), [known(10, 10, 30, 30)])
    assert count(drawn, KNOWN.color) > 40
    assert not letters(drawn).any()


def test_lines_and_letters_grow_with_the_face_not_with_the_picture() -> None:
    small = annotate(gray(1200, 1600), [known(500, 500, 560, 570)])
    alone = annotate(gray(240, 320), [known(100, 100, 160, 170)])
    large = annotate(gray(1200, 1600), [known(500, 500, 1100, 1200)])
    assert letters(small).sum() == letters(alone).sum() > 0
    assert letters(large).sum() > 10 * letters(small).sum()
    assert (small[530, 495:505] == KNOWN.color).all(axis=1).sum() == 1
    assert 8 <= (large[800, 480:520] == KNOWN.color).all(axis=1).sum() <= 12


def test_known_faces_have_names_and_the_others_their_numbers() -> None:
    first, second = (30, 100, 130, 220), (230, 100, 330, 220)
    for one, number in [(known, 0), (unknown, 2), (face, 2), (unusable, 2)]:
        drawn = annotate(gray(), [one(*second), known(*first)])
        if number:
            alone = place([label(*second, text="2", named=False)], (400, 300))[0]
            assert alone is not None
            assert not (
                drawn[alone.box[1] : alone.box[3], alone.box[0] : alone.box[2]] == 128
            ).any()
    plain = annotate(gray(), [known(*first)], [""])
    assert not np.array_equal(annotate(gray(), [known(*first)]), plain)


@pytest.mark.parametrize(
    "name", ["Zoë", "李雷", "Ада", "عمر", "a\nb\x00c", "\ud800", "😀", "\u0301", " ", "\u202eadA"]
)
def test_any_name_can_be_written(name: str) -> None:
    drawn = annotate(gray(), [known(100, 100, 200, 220)], [name])
    assert not np.array_equal(drawn, annotate(gray(), [known(100, 100, 200, 220)], [""]))


def test_letters_without_a_glyph_lose_their_accents(monkeypatch: pytest.MonkeyPatch) -> None:
    from facekeep._internal import text as _text

    monkeypatch.setattr(_text, "_SYSTEM_FONTS", ("no-such-font.ttf",))
    _text._choose.cache_clear()
    line, font = _text._choose("Zoë 1", 20)
    _text._choose.cache_clear()
    written = _text._letters(font, "Zoë 1")
    assert line == ("Zoë 1" if "ë" in written else "Zoe 1")


def test_marks_that_turn_a_line_round_are_left_out() -> None:
    from facekeep._internal import text as _text

    assert _text._clean("\u202eadA\u2066 x\u200c\n") == "adA x\u200c\\n"


def test_right_to_left_is_not_written_where_nothing_orders_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from facekeep._internal import text as _text

    monkeypatch.setattr(_text, "_orders_letters", lambda: False)
    assert not _text.legible("عمر")
    assert _text.legible("Omar")


def test_labels_must_match_the_faces() -> None:
    with pytest.raises(InputError, match="1 faces need as many labels; got 2"):
        annotate(gray(), [known(1, 1, 9, 9)], ["a", "b"])
    with pytest.raises(InputError, match="float64"):
        annotate(np.zeros((9, 9, 3)), [])  # type: ignore[arg-type]


sides = st.integers(1, 300)
ends = st.floats(-1e6, 1e6, width=32) | st.floats(-50, 350, width=32)


@pytest.mark.slow
@settings(max_examples=150, derandomize=True)
@given(sides, sides, st.lists(st.tuples(ends, ends, ends, ends), max_size=3), st.text(max_size=40))
def test_any_box_on_any_picture(
    height: int, width: int, boxes: list[tuple[float, ...]], text: str
) -> None:
    faces = [unknown(*box) for box in boxes]
    assert annotate(gray(height, width), faces, [text] * len(faces)).shape == (height, width, 3)


# ---- contact sheets ------------------------------------------------------------------------------


def crop(level: int, side: int = 112) -> RGB:
    return np.random.default_rng(level).integers(0, 256, (side, side, 3), np.uint8)


def test_a_sheet_shows_every_crop_in_its_place() -> None:
    groups = [("Ada", [crop(1), crop(2)]), ("Zoë 李雷", [crop(3)])]
    sheet = contact_sheet(groups, columns=3)
    assert sheet.shape == (8 + 2 * (28 + 112 + 8), 8 + 3 * 120, 3)
    np.testing.assert_array_equal(sheet[36:148, 8:120], crop(1))
    np.testing.assert_array_equal(sheet[36:148, 128:240], crop(2))
    np.testing.assert_array_equal(sheet[184:296, 8:120], crop(3))
    assert (sheet[36:148, 248:360] == 255).all()
    assert (sheet[8:36] < 100).any(), "no title"


@pytest.mark.parametrize(("count", "last_is_crop"), [(4, True), (5, False), (400, False)])
def test_a_long_group_ends_in_a_count(count: int, last_is_crop: bool) -> None:
    sheet = contact_sheet([("Ada", [crop(n % 9) for n in range(count)])], columns=4)
    last = sheet[36:148, 8 + 3 * 120 : 8 + 3 * 120 + 112]
    assert np.array_equal(last, crop(3)) == last_is_crop
    assert sheet.shape[1] == 8 + 4 * 120
    np.testing.assert_array_equal(sheet[36:148, 248:360], crop(2))


def test_crops_of_any_size_keep_their_proportions() -> None:
    tall = np.zeros((200, 100, 3), np.uint8)
    sheet = contact_sheet([("Ada", [tall])], tile=112, columns=1)
    assert (sheet[36:148, 8 + 30 : 8 + 82] == 0).all()
    assert (sheet[36:148, 8 : 8 + 26] > 200).all()


def test_a_sheet_of_very_many_groups_is_cut_and_says_so() -> None:
    groups = [("Ada", [crop(1, 32)])] * 2000
    sheet = contact_sheet(groups, tile=112, columns=2)
    assert 15_000 < sheet.shape[0] <= 16_000
    assert (sheet[-28:] < 128).any(), "no note"
    assert (sheet[-36:-28] == 255).all()


def test_every_crop_has_its_caption_under_it() -> None:
    groups = [("Ada", [crop(1), crop(2), crop(3)])]
    sheet = contact_sheet(groups, captions=[["a\nb", "", "c"]], columns=2)
    np.testing.assert_array_equal(sheet[36:148, 8:120], crop(1))
    under = [(sheet[148:162, 8:120] < 100).any(), (sheet[162:176, 8:120] < 100).any()]
    assert under == [True, True], "two lines"
    assert (sheet[148:176, 128:240] == 255).all(), "an empty caption"
    np.testing.assert_array_equal(sheet[184:296, 8:120], crop(3))
    assert (sheet[296:310, 8:120] < 100).any()
    with pytest.raises(InputError, match="as many captions as crops"):
        contact_sheet(groups, captions=[["a"]])


def test_a_sheet_of_nothing_says_so() -> None:
    sheet = contact_sheet([])
    assert sheet.size > 0
    assert (sheet < 128).any()
    assert contact_sheet([("Ada", [])]).size > 0


@pytest.mark.parametrize("options", [{"tile": 31}, {"tile": 513}, {"columns": 0}, {"columns": 65}])
def test_sheets_out_of_range(options: dict[str, int]) -> None:
    with pytest.raises(InputError, match="tile must be 32 to 512 and columns 1 to 64; got"):
        contact_sheet([], **options)


def test_a_crop_of_the_wrong_form_is_refused() -> None:
    with pytest.raises(InputError, match="looks gray"):
        contact_sheet([("Ada", [np.zeros((9, 9), np.uint8)])])
