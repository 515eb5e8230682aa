"""The package as a whole: its public names, what importing it costs, its version."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import facekeep
from facekeep import errors

ROOT = Path(__file__).resolve().parents[1]
HEAVY = (
    "torch",
    "cv2",
    "onnxruntime",
    "PIL",
    "onnx",
    "rich",
    "cryptography",
    "numpy",
    "click",
    "platformdirs",
)
PUBLIC = [name for name in facekeep.__all__ if name != "__version__"]


def test_all_is_sorted_and_names_everything_once() -> None:
    assert facekeep.__all__ == sorted(set(facekeep.__all__))
    lazy = [name for names in facekeep._MODULES.values() for name in names]
    assert sorted([*lazy, "__version__"]) == facekeep.__all__


def test_no_public_name_is_hidden_by_a_module() -> None:
    """Importing a module sets it as an attribute of the package, before any lazy name."""
    modules = {path.stem for path in Path(facekeep.__file__).parent.iterdir()}
    assert not modules & set(facekeep.__all__)


def test_type_checkers_see_the_same_names_from_the_same_modules() -> None:
    source = inspect.getsource(facekeep)
    block = source[source.index("if TYPE_CHECKING:") : source.index("_MODULES =")]
    imports = ast.parse(textwrap.dedent(block.partition("\n")[2])).body
    seen = {
        each.module.removeprefix("facekeep."): {name.name for name in each.names}
        for each in imports
        if isinstance(each, ast.ImportFrom) and each.module
    }
    assert seen == {module: set(names) for module, names in facekeep._MODULES.items()}


def test_every_error_can_be_imported_from_the_package() -> None:
    classes = vars(errors).values()
    names = {
        each.__name__
        for each in classes
        if inspect.isclass(each) and each.__module__ == errors.__name__
    }
    assert names <= set(facekeep.__all__)


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_is_there_and_documented(name: str) -> None:
    thing = getattr(facekeep, name)
    assert name in dir(facekeep)
    module = importlib.import_module(f"facekeep.{facekeep._MODULE_OF[name]}")
    assert name in getattr(module, "__all__", [name])
    assert inspect.getdoc(thing)
    if inspect.isclass(thing):
        own = [member for key, member in vars(thing).items() if not key.startswith("_")]
        functions = [member for member in own if inspect.isfunction(member)]
        assert [f.__qualname__ for f in functions if not inspect.getdoc(f)] == []


def test_a_name_that_does_not_exist_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'facekeep' has no attribute 'nothing'"):
        _ = facekeep.nothing  # type: ignore[attr-defined]


def test_importing_facekeep_imports_nothing_heavy() -> None:
    code = f"import facekeep, sys; print(*(m for m in {HEAVY!r} if m in sys.modules))"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_the_citation_names_the_version() -> None:
    lines = (ROOT / "CITATION.cff").read_text().splitlines()
    assert [line for line in lines if line.startswith("version:")] == [
        f"version: {facekeep.__version__}"
    ]


def test_the_changelog_knows_the_version() -> None:
    text = (ROOT / "CHANGELOG.md").read_text()
    versions = re.findall(
        r"^## \[(\d+\.\d+\.\d+)\] - (\d{4}-\d\d-\d\d|unreleased)$", text, re.MULTILINE
    )
    assert versions[0][0] == facekeep.__version__
    assert len({version for version, _ in versions}) == len(versions)


def test_the_package_says_that_it_is_typed() -> None:
    assert (Path(facekeep.__file__).parent / "py.typed").is_file()
