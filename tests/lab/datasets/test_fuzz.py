"""Hostile lists: whatever is done to them, a reader gives a set or a one-line FacekeepError.

The default run is short and always the same. FACEKEEP_FUZZ_EXAMPLES=10000 asks for a long one with
new cases each time.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from readers_kit import LFW_PAIRS, cfp_tree, ijb_tree, lfw_tree, picture

from facekeep.errors import FacekeepError
from facekeep.lab.datasets import (
    read_bin_pack,
    read_cfp,
    read_ijb,
    read_lfw,
    read_pairs_table,
)

pytestmark = pytest.mark.slow

EXAMPLES = os.environ.get("FACEKEEP_FUZZ_EXAMPLES")

fuzz = settings(
    max_examples=int(EXAMPLES or 300),
    derandomize=EXAMPLES is None,
    database=None,
    suppress_health_check=list(HealthCheck),
)

Edit = tuple[int, int, bytes]
WORDS = [
    b"\t",
    b"\n",
    b",",
    b" ",
    b"..",
    b"/",
    b"0",
    b"-1",
    b"1e9",
    b"\0",
    b"\xff",
    b'"',
    b"9" * 20,
]
edits = st.lists(
    st.tuples(
        st.integers(0, 2000),
        st.integers(0, 8),
        st.one_of(st.sampled_from(WORDS), st.binary(max_size=6)),
    ),
    min_size=1,
    max_size=4,
)


def edited(content: bytes, changes: list[Edit]) -> bytes:
    """Replace a few bytes here and there, also by more or fewer."""
    for at, length, new in changes:
        start = at % (len(content) + 1)
        content = content[:start] + new + content[start + length :]
    return content


def survives(read: Callable[[], Any]) -> None:
    try:
        data = read()
    except FacekeepError as error:
        message = str(error)
    else:
        assert len(data.samples) > 0
        message = "read"
    assert message
    assert message.isprintable()


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("sets")


@pytest.fixture(scope="module")
def lfw_images(root) -> Path:
    return lfw_tree(root / "lfw")


@fuzz
@given(changes=edits)
def test_lfw_pairs(lfw_images, changes):
    path = lfw_images.parent / "pairs.txt"
    path.write_bytes(edited(LFW_PAIRS.encode(), changes))
    survives(lambda: read_lfw(lfw_images, path))


@fuzz
@given(changes=edits)
def test_tables_of_pairs(lfw_images, changes):
    path = lfw_images.parent / "pairs.csv"
    rows = b"left,right,mated,fold\nAda/Ada_0001.jpg,Ada/Ada_0002.jpg,1,3\n"
    path.write_bytes(edited(rows + b'"Bob/Bob_0001.jpg",Cy/Cy_0001.jpg,no,1\n', changes))
    survives(lambda: read_pairs_table(path, lfw_images))


CFP_LISTS = ("Pair_list_F.txt", "Pair_list_P.txt", "Split/FP/01/same.txt", "Split/FP/02/diff.txt")


@pytest.fixture(scope="module")
def cfp_root(root) -> Path:
    return cfp_tree(root / "cfp")


@fuzz
@given(changes=edits, name=st.sampled_from(CFP_LISTS))
def test_cfp_lists(cfp_root, changes, name):
    with_changes(cfp_root / "Protocol" / name, changes, lambda: read_cfp(cfp_root))


IJB_LISTS = ("face_tid_mid", "name_5pts_score", "template_pair_label")


@pytest.fixture(scope="module")
def ijb_root(root) -> Path:
    return ijb_tree(root / "ijb")


@fuzz
@given(changes=edits, name=st.sampled_from(IJB_LISTS))
def test_ijb_lists(ijb_root, changes, name):
    with_changes(ijb_root / "meta" / f"ijbc_{name}.txt", changes, lambda: read_ijb(ijb_root))


def with_changes(path: Path, changes: list[Edit], read: Callable[[], Any]) -> None:
    content = path.read_bytes()
    path.write_bytes(edited(content, changes))
    try:
        survives(read)
    finally:
        path.write_bytes(content)


IMAGE = picture(1, size=1)
ARRAY = np.frombuffer(IMAGE, np.uint8)
PACKS = [
    pickle.dumps(pack, protocol)
    for pack in (([IMAGE, IMAGE], [True]), ([ARRAY, ARRAY], [np.True_]))
    for protocol in range(6)
]
OPERATIONS = [bytes([i]) for i in (*b"(.0BCIJKMNSTUVXRabceghjlpqrt)]", *range(0x80, 0x99))]
operations = st.lists(
    st.tuples(
        st.integers(0, 2000),
        st.integers(0, 3),
        st.one_of(st.sampled_from(OPERATIONS), st.binary(max_size=6)),
    ),
    min_size=1,
    max_size=4,
)


@fuzz
@given(changes=operations, pack=st.sampled_from(PACKS))
def test_packs(root, changes, pack):
    path = root / "some.bin"
    path.write_bytes(edited(pack, changes))
    survives(lambda: read_bin_pack(path))


@fuzz
@given(parts=st.lists(st.one_of(st.sampled_from(OPERATIONS), st.binary(max_size=4)), max_size=40))
def test_packs_of_random_operations(root, parts):
    path = root / "some.bin"
    path.write_bytes(b"".join(parts) + b".")
    survives(lambda: read_bin_pack(path))
