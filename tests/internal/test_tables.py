from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import pytest
from msgspec import Meta, Struct

from facekeep._internal.tables import OptionError, check_fields, convert_table
from facekeep.errors import ConfigError


class Options(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    data: Path | None = None
    side: Annotated[int, Meta(ge=64, le=1024, multiple_of=32)] = 320
    by: Literal["size", "share"] | None = None


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"side": 100}, "side must be a multiple of 32 from 64 to 1024, not 100"),
        ({"side": "wide"}, "side must be a multiple of 32 from 64 to 1024, not 'wide'"),
        ({"by": "luck"}, "by must be one of size, share, not 'luck'"),
    ],
)
def test_fields_are_checked_and_named_as_the_command_line_names_them(values, message):
    with pytest.raises(OptionError) as caught:
        check_fields(Options(**values))
    assert str(caught.value) == message
    named = caught.value.with_flags({"side": "--side", "by": "--by"})
    assert str(named) == f"--{message}"
    check_fields(Options())


def test_paths_of_a_table_start_at_its_folder(tmp_path: Path):
    read = lambda path: convert_table({"data": path}, Options, "x", folder=tmp_path).data  # noqa: E731
    assert read("faces") == tmp_path / "faces"
    assert read("/faces") == Path("/faces")
    assert read("~/faces") == Path.home() / "faces"
    for wrong in ("", "a\0b", 3):
        with pytest.raises(ConfigError, match=r"^x: data = .*: expected a path$"):
            convert_table({"data": wrong}, Options, "x", ConfigError)
