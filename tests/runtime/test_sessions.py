"""What ``Session`` promises, of every runtime."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from session_kit import Case, assert_one_line, case_of, close_while_others_run

from facekeep.errors import InputError, ModelCorrupt, ModelNotFound
from facekeep.runtime import Session

ONE_FILE = ("onnxruntime", "openvino", "litert")


@pytest.fixture(params=[*ONE_FILE, "ncnn"])
def case(request: pytest.FixtureRequest) -> Case:
    return case_of(request.param)


@pytest.fixture
def session(case: Case, tmp_path: Path) -> Session:
    return case.open(case.write(tmp_path))


def test_threads_share_a_session(case: Case, session: Session) -> None:
    inputs = [case.rows(1 + seed % 3, seed) for seed in range(100)]
    serial = [session.run({"x": x})[0] for x in inputs]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda x: session.run({"x": x})[0], inputs))
    for one, other in zip(serial, together, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-6)


def test_a_closed_session_says_so(case: Case, session: Session) -> None:
    session.close()
    session.close()
    with pytest.raises(InputError, match="closed"):
        session.run({"x": case.rows(1)})


def test_closing_while_others_run_harms_nobody(case: Case, session: Session) -> None:
    close_while_others_run(session, {"x": case.rows(16)})


def test_what_was_given_is_not_overwritten_by_the_next_run(case: Case, session: Session) -> None:
    (first,) = session.run({"x": case.rows(1, seed=1)})
    before = first.copy()
    session.run({"x": case.rows(1, seed=2)})
    np.testing.assert_array_equal(first, before)


def test_what_is_fed_stays_as_it_is(case: Case, session: Session) -> None:
    x = case.rows(1)
    before = x.copy()
    session.run({"x": x})
    np.testing.assert_array_equal(x, before)


def test_a_view_of_other_memory_order_is_fed_as_it_reads(case: Case, session: Session) -> None:
    x = case.rows(2)
    turned = np.asfortranarray(x)
    np.testing.assert_array_equal(session.run({"x": turned})[0], session.run({"x": x})[0])


@pytest.mark.parametrize(
    "wrong",
    ["nothing", "other name", "other size", "other rank", "other dtype", "too much"],
)
def test_wrong_input_is_one_line_and_spoils_nothing(
    case: Case, session: Session, wrong: str
) -> None:
    x = case.rows(1)
    feeds = {
        "nothing": {},
        "other name": {"y": x},
        "other size": {"x": x[:, :2]},
        "other rank": {"x": x[0]},
        "other dtype": {"x": x.astype(np.float64)},
        "too much": {"x": x, "z": np.ones(1, np.float32)},
    }[wrong]
    with pytest.raises(InputError) as caught:
        session.run(feeds)
    assert_one_line(caught.value)
    assert len(session.run({"x": case.rows(3)})[0]) == 3


@pytest.mark.parametrize("runtime", ["openvino", "litert", "ncnn"])
def test_no_rows_are_refused_where_there_must_be_some(runtime: str, tmp_path: Path) -> None:
    case = case_of(runtime)
    session = case.open(case.write(tmp_path))
    with pytest.raises(InputError, match="x must be float32"):
        session.run({"x": case.rows(0)})
    assert len(session.run({"x": case.rows(3)})[0]) == 3


@pytest.mark.parametrize("runtime", ONE_FILE)
def test_opens_a_file_and_its_content_alike(runtime: str, tmp_path: Path) -> None:
    case = case_of(runtime)
    path = case.write(tmp_path)
    one, other = (case.open(each).run({"x": case.rows(2)})[0] for each in (path, path.read_bytes()))
    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("damage", ["empty", "text", "zeros", "truncated", "only begun"])
@pytest.mark.parametrize("as_file", [True, False])
@pytest.mark.parametrize("runtime", ONE_FILE)
def test_a_damaged_network_is_one_line(
    tmp_path: Path, runtime: str, damage: str, as_file: bool
) -> None:
    case = case_of(runtime)
    path = case.write(tmp_path)
    whole = path.read_bytes()
    content = {
        "empty": b"",
        "text": b"this is no network" * 10,
        "zeros": bytes(1000),
        "truncated": whole[:200],
        "only begun": whole[:4],
    }[damage]
    path.write_bytes(content)
    with pytest.raises(ModelCorrupt) as caught:
        case.open(path if as_file else content)
    assert_one_line(caught.value)
    assert (path.name if as_file else "memory") in str(caught.value)


def test_no_file_at_the_path(case: Case, tmp_path: Path) -> None:
    for path in (tmp_path / "missing", tmp_path):
        with pytest.raises(ModelNotFound, match="no model file at"):
            case.open(path)
