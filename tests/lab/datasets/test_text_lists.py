"""LFW, CFP, tables of pairs, folders of people: what is read, and how damage is told."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from readers_kit import LFW_PAIRS, cfp_tree, lfw_tree, picture, put

from facekeep.errors import ImageError, InputError
from facekeep.lab.datasets import (
    read_cfp,
    read_lfw,
    read_lfw_view_1,
    read_pairs_table,
    read_person_folder,
)


def shade(data, place) -> int:
    return round(float(data.samples.load(place).mean()))


def said(error, text) -> None:
    """The message is one line and says this."""
    message = str(error.value)
    assert message.isprintable()
    assert text in message


# LFW


@pytest.fixture
def images(tmp_path) -> Path:
    return lfw_tree(tmp_path / "images")


@pytest.fixture
def pairs(tmp_path) -> Path:
    return put(tmp_path / "pairs.txt", LFW_PAIRS)


def test_lfw_view_2(images, pairs):
    data = read_lfw(images, pairs)
    assert [shade(data, i) for i in data.left] == [11, 11, 22, 31]
    assert [shade(data, i) for i in data.right] == [12, 21, 21, 12]
    assert data.mated.tolist() == [True, False, True, False]
    assert data.fold is not None
    assert data.fold.tolist() == [0, 0, 1, 1]
    assert data.person is not None
    assert data.person.tolist() == ["Ada", "Ada", "Bob", "Bob", "Cy"]
    assert data.samples.names[3] == "Bob/Bob_0002.png"
    assert not data.samples.aligned
    assert data.samples.landmarks is None


def test_each_image_is_read_once_however_often_it_is_named(images, pairs):
    data = read_lfw(images, pairs)
    assert len(set(data.samples.names)) == len(data.samples) == 5


def test_lfw_view_1_has_no_folds(images, tmp_path):
    text = "2\nAda\t1\t2\nBob\t1\t3\nAda\t1\tBob\t1\nCy\t1\tAda\t2\n"
    data = read_lfw(images, put(tmp_path / "pairsDevTest.txt", text), aligned=True)
    assert data.mated.tolist() == [True, True, False, False]
    assert data.fold is None
    assert data.samples.aligned


def test_lfw_view_1_joins_its_lists(images, tmp_path):
    train = put(tmp_path / "pairsDevTrain.txt", "1\nAda 1 2\nAda 1 Bob 2\n")
    test = put(tmp_path / "pairsDevTest.txt", "1\nCy 1 3\nBob 1 Cy 3\n")
    data = read_lfw_view_1(images, train, test, aligned=True)
    assert [shade(data, i) for i in data.left] == [11, 11, 31, 21]
    assert [shade(data, i) for i in data.right] == [12, 22, 33, 33]
    assert data.mated.tolist() == [True, False, True, False]
    assert data.development is not None
    assert data.development.tolist() == [True, True, False, False]
    assert data.fold is None
    assert data.person is not None
    assert data.person.tolist() == ["Ada", "Ada", "Bob", "Cy", "Cy", "Bob"]
    assert data.samples.names[2:4] == ("Bob/Bob_0002.png", "Cy/Cy_0001.jpg")
    assert data.samples.aligned


def test_the_folds_of_view_2_do_not_choose_for_view_1(images, pairs, tmp_path):
    test = put(tmp_path / "pairsDevTest.txt", "1\nCy 1 3\nBob 1 Cy 3\n")
    for lists in ((pairs, test), (test, pairs)):
        with pytest.raises(InputError) as error:
            read_lfw_view_1(images, *lists)
        said(error, f"{pairs}: has folds")
    with pytest.raises(InputError) as error:
        read_lfw_view_1(images, test, put(tmp_path / "worse.txt", "1\nCy 1 1\nBob 1 Cy 3\n"))
    said(error, "worse.txt:2: compares")


@pytest.mark.parametrize("change", ["\r\n", " ", "\ufeff"])
def test_lists_as_other_systems_write_them(images, tmp_path, change):
    text = {
        "\r\n": LFW_PAIRS.replace("\n", "\r\n") + "\r\n\r\n",
        " ": LFW_PAIRS.replace("\t", "  "),
        "\ufeff": "\ufeff" + LFW_PAIRS,
    }[change]
    assert len(read_lfw(images, put(tmp_path / "pairs.txt", text)).left) == 4


def test_names_may_be_of_any_alphabet(tmp_path):
    put(tmp_path / "Zoë_Ōta" / "Zoë_Ōta_0001.jpg", picture(7))
    put(tmp_path / "Zoë_Ōta" / "Zoë_Ōta_0002.jpg", picture(8))
    put(tmp_path / "B" / "B_0001.jpg", picture(9))
    data = read_lfw(tmp_path, put(tmp_path / "pairs.txt", "1\nZoë_Ōta 1 2\nZoë_Ōta 1 B 1\n"))
    assert [shade(data, i) for i in (0, 1, 2)] == [7, 8, 9]


@pytest.mark.parametrize(
    ("line", "text", "message"),
    [
        (1, "ten\t1", "numbers of folds"),
        (1, "2\t1\t1", "numbers of folds"),
        (1, "0\t1", "numbers of folds"),
        (1, "2\t2", "promises 8"),
        (1, "999999999999999999999\t1", "numbers of folds"),
        (2, "Ada\t1", "a mated pair"),
        (2, "Ada\t1\tBob\t1", "a mated pair"),
        (2, "Ada\t1\ttwo", "numbers from 1"),
        (2, "Ada\t0\t1", "numbers from 1"),
        (2, "Ada\t1\t10000", "numbers from 1"),
        (2, "Ada\t1\t1", "with itself"),
        (2, "..\t1\t2", "no names"),
        (2, "../../etc\t1\t2", "no names"),
        (3, "Ada\t1\t2", "a non-mated pair"),
        (3, "Ada\t1\tAda\t2", "two people"),
        (3, "Ada\t1\tB\0b\t2", "no names"),
        (4, "x" * 20_000, "longer than"),
    ],
)
def test_damaged_lfw_lists_name_the_line(images, tmp_path, line, text, message):
    rows = LFW_PAIRS.splitlines()
    rows[line - 1] = text
    path = put(tmp_path / "pairs.txt", "\n".join(rows))
    with pytest.raises(InputError) as error:
        read_lfw(images, path)
    said(error, message)
    last = 5 if "promises" in message else line
    said(error, f"{path}:{last}: ")


def test_lists_that_cannot_be_read(images, tmp_path):
    for content, message in (
        (b"", "pairs.txt:1: "),
        (b"2\t1\nAda\xff\t1\t2\n", ":2: is not UTF-8"),
    ):
        with pytest.raises(InputError) as error:
            read_lfw(images, put(tmp_path / "pairs.txt", content))
        said(error, message)
    for path in (tmp_path / "none.txt", tmp_path, Path("/dev/zero"), tmp_path / "a\0b"):
        with pytest.raises(InputError, match="cannot be read"):
            read_lfw(images, path)
    with pytest.raises(InputError, match="is no folder"):
        read_lfw(tmp_path / "none", put(tmp_path / "pairs.txt", LFW_PAIRS))


def test_missing_images_are_named_before_any_work(images, pairs):
    (images / "Bob" / "Bob_0002.png").unlink()
    with pytest.raises(ImageError) as error:
        read_lfw(images, pairs)
    said(error, f"{pairs}:4: the image 'Bob/Bob_0002' is not in")
    (images / "Cy" / "Cy_0001.jpg").unlink()
    with pytest.raises(ImageError) as error:
        read_lfw(images, pairs)
    said(error, "'Bob/Bob_0002' and 1 others are not in")


def test_an_image_that_cannot_be_decoded_is_an_error_when_it_is_loaded(images, pairs):
    put(images / "Ada" / "Ada_0002.jpg", b"no picture")
    data = read_lfw(images, pairs)
    with pytest.raises(ImageError, match=r"^Ada/Ada_0002.jpg: is not a picture"):
        data.samples.load(1)


@pytest.mark.shared
def test_the_published_pairs_of_lfw(shared):
    data = read_lfw(shared / "lfw" / "images", shared / "lfw" / "pairs.txt")
    assert (len(data.samples), len(data.left), int(data.mated.sum())) == (7701, 6000, 3000)
    assert data.fold is not None
    assert np.bincount(data.fold).tolist() == [600] * 10
    assert data.person is not None
    assert len(set(data.person)) == 4281
    assert ((data.person[data.left] == data.person[data.right]) == data.mated).all()


# CFP


def test_cfp_frontal_to_profile(tmp_path):
    data = read_cfp(cfp_tree(tmp_path), "FP")
    assert data.name == "CFP-FP"
    assert [shade(data, i) for i in data.left] == [11, 11, 11, 21, 12, 12]
    assert [shade(data, i) for i in data.right] == [112, 121, 122, 122, 121, 122]
    assert data.mated.tolist() == [True, False, False, True, False, False]
    assert data.fold is not None
    assert data.fold.tolist() == [0, 0, 0, 1, 1, 1]
    assert data.person is not None
    assert data.person[data.right].tolist() == ["001", "002", "002", "002", "002", "002"]
    assert data.samples.names[0] == "001/frontal/01.jpg"


def test_cfp_frontal_to_frontal(tmp_path):
    data = read_cfp(cfp_tree(tmp_path), "FF", aligned=True)
    assert [shade(data, i) for i in data.right] == [12, 21, 22, 22, 21, 22]
    assert data.samples.aligned


def test_folds_of_cfp_come_in_the_order_of_their_numbers(tmp_path):
    split = cfp_tree(tmp_path) / "Protocol" / "Split" / "FF"
    (split / "01").rename(split / "10")
    put(split / "about" / "same.txt", "no fold")
    data = read_cfp(tmp_path, "FF")
    assert [shade(data, i) for i in data.left] == [21, 12, 12, 11, 11, 11]


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("Pair_list_F.txt", "1 ../Data/Images/001/profile/01.jpg", ":1: expected NUMBER"),
        ("Pair_list_P.txt", "x ../Data/Images/001/profile/01.jpg", ":1: expected NUMBER"),
        ("Pair_list_P.txt", "1 ../../../etc/profile/passwd", ":1: expected NUMBER"),
        ("Pair_list_P.txt", "1 ../Data/Images/../profile/..", ":1: expected NUMBER"),
        ("Pair_list_P.txt", "1", ":1: expected NUMBER"),
        ("Pair_list_P.txt", "1 Data/Images/001/profile/01.jpg\n" * 2, ":2: the number 1"),
        ("Split/FP/01/same.txt", "1;2", ":1: expected NUMBER,NUMBER"),
        ("Split/FP/01/same.txt", "1,2,3", ":1: expected NUMBER,NUMBER"),
        ("Split/FP/02/diff.txt", "\n1,9", ":2: the lists of images have no"),
        ("Split/FP/02/diff.txt", "\n-1,1", ":2: expected NUMBER,NUMBER"),
    ],
)
def test_damaged_cfp_lists_name_the_line(tmp_path, file, text, message):
    cfp_tree(tmp_path)
    path = put(tmp_path / "Protocol" / file, text)
    with pytest.raises(InputError) as error:
        read_cfp(tmp_path)
    said(error, f"{path}{message}")


def test_cfp_that_is_not_there(tmp_path):
    with pytest.raises(InputError, match="FF and FP"):
        read_cfp(tmp_path, "PP")
    with pytest.raises(InputError, match=r"Pair_list_F.txt: cannot be read"):
        read_cfp(tmp_path)
    cfp_tree(tmp_path)
    (tmp_path / "Data" / "Images" / "001" / "profile" / "02.jpg").unlink()
    with pytest.raises(ImageError, match=r"'001/profile/02.jpg' is not in"):
        read_cfp(tmp_path)
    for path in (tmp_path / "Protocol" / "Split" / "FP").glob("*/*.txt"):
        path.write_text("")
    with pytest.raises(InputError, match="hold no pairs"):
        read_cfp(tmp_path)
    shutil.rmtree(tmp_path / "Protocol" / "Split")
    with pytest.raises(InputError, match="FP: cannot be read: no such file"):
        read_cfp(tmp_path)


# Tables of pairs


@pytest.fixture
def table(tmp_path) -> Path:
    for i in (1, 2, 3):
        put(tmp_path / "faces" / f"{i}.png", picture(i))
    return tmp_path / "pairs.csv"


def test_a_table_of_pairs(table):
    put(table, "left,right,mated\nfaces/2.png,faces/1.png,1\n faces/2.png ,faces/3.png,No\n")
    data = read_pairs_table(table)
    assert [shade(data, i) for i in data.left] == [2, 2]
    assert [shade(data, i) for i in data.right] == [1, 3]
    assert data.mated.tolist() == [True, False]
    assert data.mated.dtype == np.bool_
    assert (data.fold, data.person, data.name) == (None, None, "pairs")


def test_a_table_with_tabs_folds_and_another_order(table, tmp_path):
    put(table, "fold\tMated\tright\tleft\n7\ttrue\t1.png\t2.png\n3\t0\t1.png\t3.png\n")
    data = read_pairs_table(table, tmp_path / "faces", aligned=True)
    assert [shade(data, i) for i in data.left] == [2, 3]
    assert data.fold is not None
    assert data.fold.tolist() == [1, 0]
    assert data.samples.aligned


def test_quoted_cells(table, tmp_path):
    put(tmp_path / "a, b.png", picture(77))
    put(table, 'left,right,mated\n"a, b.png",faces/1.png,0\n')
    assert shade(read_pairs_table(table), 0) == 77


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("a.png,b.png,1", ":1: the first line must name"),
        ("left,right", ":1: the first line must name"),
        ("left,right,mated,who", ":1: the first line must name"),
        ("left,right,mated,mated", ":1: the first line must name"),
        ("", ":1: the first line must name"),
        ("left,right,mated", "holds no pairs"),
        ("left,right,mated\n1,2", ":2: has 2 cells"),
        ("left,right,mated\n\n1,2,maybe", ":3: mated must be 1 or 0"),
        ("left,right,mated\n,2,1", ":2: left and right must name"),
        ("left,right,mated\n1,1,1", ":2: compares an image with itself"),
        ("left,right,mated\n1,2,1\n2,1,1", ":3: this pair stands in line 2"),
        ("left,right,mated\n1,2,1\n1,2,0", ":3: this pair stands in line 2"),
        ("left,right,mated,fold\n1,2,1,x", ":2: fold must be"),
        ("left,right,mated,fold\n1,2,1,", ":2: fold must be"),
        ('left,right,mated\n"1,2,1', ":2: cannot be read as cells"),
        ('left,right,mated\n"1"x,2,1', ":2: cannot be read as cells"),
    ],
)
def test_damaged_tables_name_the_line(table, rows, message):
    put(table, rows)
    with pytest.raises(InputError) as error:
        read_pairs_table(table)
    said(error, f"{table}{message}" if message[0] == ":" else message)


def test_missing_images_of_a_table(table):
    put(table, "left,right,mated\nfaces/1.png,no\0ne.png,1\n")
    with pytest.raises(ImageError) as error:
        read_pairs_table(table)
    said(error, f"{table}:2: the image 'no\\x00ne.png' is not in")


# A folder for each person


def test_a_folder_for_each_person(tmp_path):
    lfw_tree(tmp_path / "people")
    put(tmp_path / "people" / "Ada" / "old" / "x.png", picture(99))
    put(tmp_path / "people" / "Nobody" / "note.txt", "no picture")
    put(tmp_path / "people" / ".thumbs" / "x.png", picture(1))
    put(tmp_path / "people" / "loose.png", picture(1))
    for name, target in (("again", "."), ("above", "..")):
        (tmp_path / "people" / name).symlink_to(target)
    data = read_person_folder(tmp_path / "people")
    assert data.people == ("Ada", "Bob", "Cy")
    assert data.person.tolist() == [0, 0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert shade(data, 3) == 99
    assert data.samples.names[3] == "Ada/old/x.png"
    assert data.name == "people"


def test_folders_without_people(tmp_path):
    with pytest.raises(InputError, match="holds no pictures in folders"):
        read_person_folder(tmp_path)
    with pytest.raises(InputError, match="is no folder"):
        read_person_folder(tmp_path / "none")
