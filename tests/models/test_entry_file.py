from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from facekeep.errors import InputError
from facekeep.models import FileEntry, Measurement, ModelEntry, entry, list_models, space_id
from facekeep.models.entry_file import format_entry, parse_entry
from facekeep.models.model_entry import (
    ArchiveSource,
    BundledSource,
    FileSource,
    PackageSource,
    Source,
    UrlSource,
)


def test_the_spaces_of_the_interim_embedder_never_change() -> None:
    """Galleries in use record this value: another one would orphan their templates."""
    assert space_id(entry("sface")) == (
        "d6e7d0aa85426aaa19871116d8f9bb3c75aea26f5098c54061dea04c94886351"
    )


@pytest.mark.parametrize(
    "change",
    [
        {"color": "bgr"},
        {"mean": (127.5, 127.5, 127.5)},
        {"scale": (1.0, 1.0, 0.5)},
        {"input_size": 128},
        {"alignment": "other"},
        {"files": (FileEntry("other.onnx", "0" * 64, 1),)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_another_feed_is_another_space(change: dict[str, Any]) -> None:
    sface = entry("sface")
    assert space_id(structs.replace(sface, **change)) != space_id(sface)


@pytest.mark.parametrize(
    "change",
    [
        {"name": "other"},
        {"summary": "other"},
        {"notes": "other"},
        {"folder": Path("/other")},
        {"runtime": "litert"},
        {"files": (structs.replace(entry("sface").files[0], sha256="0" * 64),)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_the_network_does_not_see_is_not_of_the_space(change: dict[str, Any]) -> None:
    sface = entry("sface")
    assert space_id(structs.replace(sface, **change)) == space_id(sface)


LINES = st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=20)
NUMBERS = st.floats(-1e6, 1e6, allow_nan=False).map(float)
DIGESTS = st.text("0123456789abcdef", min_size=64, max_size=64)
SOURCES = st.one_of(
    st.builds(UrlSource, LINES),
    st.builds(FileSource, LINES),
    st.builds(BundledSource, st.just("net.onnx")),
    st.builds(ArchiveSource, LINES, DIGESTS, st.integers(1, 99), LINES),
    st.builds(PackageSource, LINES, st.just("a-1.whl"), DIGESTS, st.integers(1, 99), LINES),
)
ENTRIES = st.builds(
    ModelEntry,
    name=st.just("mine"),
    task=st.just("embed"),
    architecture=LINES,
    summary=LINES | st.just(""),
    files=st.tuples(
        st.builds(
            FileEntry,
            st.just("net.onnx"),
            DIGESTS,
            st.integers(1, 1 << 40),
            st.lists(SOURCES, max_size=3).map(tuple),
        )
    ),
    weights_license=LINES,
    training_data=LINES,
    color=st.sampled_from(["rgb", "bgr"]),
    mean=st.tuples(NUMBERS, NUMBERS, NUMBERS),
    scale=st.tuples(NUMBERS, NUMBERS, NUMBERS),
    input_size=st.integers(1, 1000),
    runtime=st.sampled_from(["onnxruntime", "litert"]),
    max_batch=st.none() | st.integers(1, 64),
    width=st.integers(1, 4096),
    alignment=st.just("arcface-112"),
    thresholds=st.just(((0.01, 0.25), (1e-05, 0.5))),
    comparisons=st.integers(1, 1 << 50),
    calibrated_on=LINES,
    calibration_command=LINES,
    accuracy=st.lists(st.builds(Measurement, LINES, NUMBERS, LINES), max_size=2).map(tuple),
    caution=LINES | st.just(""),
    notes=LINES,
)


@pytest.mark.slow
@given(ENTRIES)
def test_what_is_written_reads_back_the_same(made: ModelEntry) -> None:
    assert parse_entry("mine", tomllib.loads(format_entry(made)), "test") == made


REMOTE = (
    UrlSource("https://a/b"),
    PackageSource("a", "a-1.whl", "0" * 64, 1, "b"),
    ArchiveSource("https://a/b.tgz", "0" * 64, 1, "b"),
)
LOCAL = (BundledSource("b"), FileSource("/b"))


def test_a_model_of_the_catalog_that_only_the_network_has_is_offered() -> None:
    known = entry("sface")

    def offered(*sources: Source, folder: Path | None = None) -> bool:
        file = FileEntry("b", "0" * 64, 1, sources)
        return structs.replace(known, files=(file,), folder=folder).offered

    assert all(offered(source) for source in REMOTE)
    assert offered(*REMOTE)
    assert not any(offered(source) or offered(*REMOTE, source) for source in LOCAL)
    assert not offered()
    assert not offered(*REMOTE, folder=Path("/mine"))


def test_an_archive_costs_all_of_it_to_fetch() -> None:
    assert FileEntry("b", "0" * 64, 7, REMOTE[:1]).transfer == 7
    for source in REMOTE[1:]:
        assert FileEntry("b", "0" * 64, 7, (source,)).transfer == 1


def test_the_builtin_entries_can_be_written() -> None:
    for known in list_models():
        assert parse_entry(known.name, tomllib.loads(format_entry(known)), "test") == known


@pytest.mark.parametrize("text", ["two\nlines", "\x7f", "\ud800", "\u2028"])
def test_texts_that_are_not_one_printable_line_are_not_written(text: str) -> None:
    with pytest.raises(InputError, match="control characters"):
        format_entry(structs.replace(entry("sface"), notes=text))
