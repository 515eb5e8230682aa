"""Messages: the library names no option and no command, and the command line adds both."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import facekeep
from facekeep import errors
from facekeep.cli.hints import (
    _OF_ERRORS,
    _OF_FINDINGS,
    _OF_REJECTIONS,
    TEXTS,
    add_hint,
    explain_error,
    explain_finding,
    explain_rejection,
)
from facekeep.cli.main import build
from facekeep.errors import Hint
from facekeep.gallery import Finding
from facekeep.pipeline.enrollment import Rejection

PACKAGE = Path(facekeep.__file__).parent
# The packages of the laboratory whose errors have hints already.
LABORATORY = ("lab/export/", "lab/datasets/", "lab/compress/", "lab/train/")
# What quotes a command line: reports, recipes, and the help of options.
REPORTS = (
    "lab/compress/report.py",
    "lab/compress/quantize.py",
    "lab/compress/reshape.py",
    "lab/train/recipe.py",
    "lab/train/recipe.py",
    "lab/train/results.py",
)
FOREIGN = ("--force-reinstall", "--shm-size")


def library() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        name = path.relative_to(PACKAGE).as_posix()
        if not name.startswith(("cli/", "lab/")) or name.startswith(LABORATORY):
            yield name, ast.parse(path.read_text())


def texts_of(tree: ast.Module) -> Iterator[ast.Constant]:
    """All texts but docstrings."""
    bare = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in bare:
            yield node


def commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    yield path, command
    for name, inner in getattr(command, "commands", {}).items():
        yield from commands(inner, (*path, name))


@pytest.fixture(scope="module")
def known() -> SimpleNamespace:
    """The verbs of the command line, and all options there are."""
    found = dict(commands(build()))
    options = {path: {o for p in c.params for o in p.opts} for path, c in found.items()}
    return SimpleNamespace(options=options, every=set().union(*options.values()))


def test_no_text_of_the_library_names_an_option_or_a_command(known):
    groups = {path[:-1] for path in known.options if path}
    verbs = "|".join(" ".join(path) for path in known.options if path not in groups)
    wrong = re.compile(rf"(?<![\w-])--[a-z]|\bfacekeep ({verbs})\b(?! \d)")
    found = [
        f"{name}:{text.lineno}: {text.value}"
        for name, tree in library()
        for text in texts_of(tree)
        if wrong.search(str(text.value)) and not any(each in str(text.value) for each in FOREIGN)
    ]
    assert [each for each in found if not each.startswith(REPORTS)] == []


def test_every_hint_of_the_library_is_a_text_or_an_option(known):
    kinds = {name for name in dir(errors) if name.endswith("Error")} | set(dir(errors))
    keys = set()
    for _, tree in library():
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call):
                continue
            called = getattr(node.func, "id", "")
            place = {"Hint": 0, "UnusableIndexError": 1, "UnusableCacheError": 1}.get(
                called, 1 if called in kinds else None
            )
            if place is not None and len(node.args) > place:
                key = node.args[place]
                if isinstance(key, ast.Constant):
                    keys.add(str(key.value))
    assert len(keys) > 15
    options = {f"--{name.replace('_', '-')}" for key in keys - set(TEXTS) for name in key.split()}
    assert options - known.every == {"--enroll-first"}


@pytest.mark.parametrize("key", TEXTS)
def test_what_a_hint_names_exists(known, key):
    text = TEXTS[key].format(model="sface", name="Ada", template="7f6c")
    for part in re.split(r", (?:or run: |then )", text):
        path: tuple[str, ...] = ()
        for word in part.partition("facekeep ")[2].split():
            if (*path, word) not in known.options:
                break
            path = (*path, word)
        options = set(re.findall(r"--[a-z-]+", part))
        assert options <= (known.options[path] if path else known.every), part
        assert path or options


def test_hints_by_class_kind_and_reason_are_texts_or_options(known):
    for key in (*_OF_ERRORS.values(), *_OF_FINDINGS.values(), *_OF_REJECTIONS.values()):
        assert key in TEXTS or f"--{key.replace('_', '-')}" in known.every


def test_an_error_gets_the_option_or_the_command_that_helps():
    image = errors.ImageError("too large: raise max_bytes", "max_bytes")
    assert explain_error(image) == "too large: raise max_bytes (--max-bytes)"
    assert str(image) == "too large: raise max_bytes"
    missing = errors.ModelNotFound("not here", Hint("pull", {"model": "a b"}))
    assert explain_error(missing) == "not here; run: facekeep models pull 'a b'"
    assert explain_error(errors.PersonNotFound("nobody")) == "nobody; see: facekeep people list"
    changed = errors.TemplateTampered("changed", person="Ada", template_id="7f")
    assert explain_error(changed) == "changed; run: facekeep people remove Ada --template 7f"
    other = errors.SpaceMismatch("other", model="sface")
    assert "--embedder sface" in explain_error(other)
    assert explain_error(errors.InputError("wrong")) == "wrong"
    assert add_hint("text", None) == "text"


def test_rejections_and_findings_get_theirs_by_reason_and_kind():
    rejection = Rejection("a.jpg", "multiple_faces", "take the largest face")
    assert explain_rejection(rejection) == "take the largest face (--largest)"
    assert explain_rejection(Rejection("a.jpg", "no_face", "none")) == "none"
    assert explain_finding(Finding("erasure", "left")) == "left; run: facekeep gallery compact"


def test_a_hint_survives_pickling_and_raising_again():
    import pickle

    error = errors.ImageError("too large", "max_bytes")
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.hint) == ("too large", Hint("max_bytes"))


def test_a_logged_hint_is_printed(cli, capsys):
    import logging

    cli("config", "path")
    logging.getLogger("facekeep").warning("gone", extra={"hint": Hint("cache_clear")})
    assert capsys.readouterr().err == "facekeep: warning: gone; run: facekeep cache clear\n"
