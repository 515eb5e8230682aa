"""IJB-B and IJB-C as they are commonly laid out."""

from __future__ import annotations

import numpy as np
import pytest
from readers_kit import ijb_tree, put

from facekeep.errors import ImageError, InputError
from facekeep.lab.datasets import read_ijb


def test_ijb(tmp_path):
    data = read_ijb(ijb_tree(tmp_path), "C")
    assert data.name == "IJB-C"
    assert data.samples.names == ("1.jpg", "2.jpg", "3.jpg", "4.jpg")
    assert data.template.tolist() == [7, 7, 7, 9]
    assert data.media.tolist() == [5, 5, 6, 8]
    assert data.faceness.tolist() == pytest.approx([0.1, 0.2, 0.3, 0.4])
    assert data.samples.landmarks is not None
    assert data.samples.landmarks.dtype == np.float32
    assert data.samples.landmarks[2].tolist() == [[i + 0.5, i + 1.5] for i in range(0, 10, 2)]
    assert [values.tolist() for values in data.pairs] == [
        [7, 7, 9],
        [9, 7, 7],
        [False, True, False],
    ]
    assert data.samples.load(2).mean() == 3
    assert not data.samples.aligned


def test_ijb_b_has_its_own_lists(tmp_path):
    for path in (ijb_tree(tmp_path) / "meta").iterdir():
        path.rename(path.with_name(path.name.replace("ijbc", "ijbb")))
    assert read_ijb(tmp_path, "B").name == "IJB-B"
    with pytest.raises(InputError, match=r"ijbc_face_tid_mid.txt: cannot be read"):
        read_ijb(tmp_path, "C")
    with pytest.raises(InputError, match="B and C"):
        read_ijb(tmp_path, "A")


def test_lists_with_tabs_and_other_line_ends(tmp_path):
    meta = ijb_tree(tmp_path) / "meta"
    for path in meta.iterdir():
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n\r\n").replace(b" ", b"\t"))
    assert read_ijb(tmp_path).pairs.left.tolist() == [7, 7, 9]


def test_images_beyond_the_list_do_no_harm(tmp_path):
    put(ijb_tree(tmp_path) / "loose_crop" / "99.jpg", b"")
    assert len(read_ijb(tmp_path).samples) == 4


@pytest.mark.parametrize(
    ("file", "line", "text", "message"),
    [
        ("face_tid_mid", 2, "2.jpg 7", "expected IMAGE TEMPLATE MEDIA"),
        ("face_tid_mid", 2, "2.jpg 7 x", "expected IMAGE TEMPLATE MEDIA"),
        ("face_tid_mid", 2, "2.jpg -7 5", "expected IMAGE TEMPLATE MEDIA"),
        ("face_tid_mid", 2, "2.jpg 7 9999999999999999999", "expected IMAGE TEMPLATE MEDIA"),
        ("face_tid_mid", 2, "../2.jpg 7 5", "expected IMAGE TEMPLATE MEDIA"),
        ("name_5pts_score", 1, "2.jpg 1 1 1 1 1 1 1 1 1 1 1", "expected '1.jpg', as the"),
        ("name_5pts_score", 1, "1.jpg 1 1 1 1 1 1 1 1 1 1", "expected IMAGE, five times X Y"),
        ("name_5pts_score", 1, "1.jpg 1 1 1 1 1 1 1 1 1 1 nan", "expected IMAGE, five times X Y"),
        ("name_5pts_score", 1, "1.jpg 1 1 1 1 1 1 1 1 1 inf 1", "expected IMAGE, five times X Y"),
        ("name_5pts_score", 1, "1.jpg 1 1 1 1 1 1 1 1 1 x 1", "expected IMAGE, five times X Y"),
        ("name_5pts_score", 4, "4.jpg" + 11 * " 1" + "\n5.jpg", "expected no more"),
        ("template_pair_label", 3, "9 7", "expected TEMPLATE TEMPLATE 1|0"),
        ("template_pair_label", 3, "9 7 2", "expected TEMPLATE TEMPLATE 1|0"),
        ("template_pair_label", 3, "9 7 -1", "expected TEMPLATE TEMPLATE 1|0"),
        ("template_pair_label", 3, "9 7 0.0", "expected TEMPLATE TEMPLATE 1|0"),
        ("template_pair_label", 3, "9 7 0 #", "expected TEMPLATE TEMPLATE 1|0"),
        ("template_pair_label", 3, "9 8 0", "no image is of such a template"),
        ("template_pair_label", 3, "-9 7 0", "expected TEMPLATE TEMPLATE 1|0"),
        ("template_pair_label", 1, "# 7 9 0", "expected TEMPLATE TEMPLATE 1|0"),
    ],
)
def test_damaged_lists_name_the_line(tmp_path, file, line, text, message):
    path = ijb_tree(tmp_path) / "meta" / f"ijbc_{file}.txt"
    rows = path.read_text().splitlines()
    rows[line - 1] = text
    path.write_text("\n".join(rows))
    with pytest.raises(InputError) as error:
        read_ijb(tmp_path)
    assert str(error.value).isprintable()
    assert f"{path}:{line + text.count(chr(10))}: {message}" in str(error.value)


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("face_tid_mid", "names no images"),
        ("name_5pts_score", "has 0 images, the templates 4"),
        ("template_pair_label", "holds no comparisons"),
    ],
)
def test_empty_and_missing_lists(tmp_path, file, message):
    path = ijb_tree(tmp_path) / "meta" / f"ijbc_{file}.txt"
    path.write_text("\n\n")
    with pytest.raises(InputError, match=message):
        read_ijb(tmp_path)
    path.unlink()
    with pytest.raises(InputError, match="cannot be read"):
        read_ijb(tmp_path)


def test_a_list_of_comparisons_that_is_no_text(tmp_path):
    path = ijb_tree(tmp_path) / "meta" / "ijbc_template_pair_label.txt"
    path.write_bytes(b"7 9 0\n7 \xff 1\n")
    with pytest.raises(InputError, match=":2: is not UTF-8"):
        read_ijb(tmp_path)


def test_missing_images_are_named(tmp_path):
    root = ijb_tree(tmp_path)
    (root / "loose_crop" / "3.jpg").unlink()
    with pytest.raises(ImageError, match=r"face_tid_mid.txt:3: the image '3.jpg' is not in"):
        read_ijb(root)
    for path in (root / "loose_crop").iterdir():
        path.unlink()
    with pytest.raises(ImageError, match=r":1: the image '1.jpg' and 3 others are not in"):
        read_ijb(root)
    (root / "loose_crop").rmdir()
    with pytest.raises(InputError, match="loose_crop: cannot be read"):
        read_ijb(root)
