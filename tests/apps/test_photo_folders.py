"""Searching and grouping folders of photos, with and without the cache."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from facekeep import FaceEngine
from facekeep.apps import photo_reader as folder_module
from facekeep.apps.contact_sheets import cluster_sheet, search_sheet
from facekeep.apps.photo_cache import PhotoCache
from facekeep.apps.photo_cache_file import cache_info
from facekeep.apps.photo_folders import Clustering, cluster_folder, search_folder
from facekeep.apps.photo_reader import Photos, read_folder, read_photos
from facekeep.errors import ImageError, InputError
from facekeep.pipeline.image import load_image

Draw = Callable[..., bytes]


@pytest.fixture
def cache_file(tmp_path: Path) -> Path:
    return tmp_path / "photos.db"


def read(engine: FaceEngine, folder: Path, cache_file: Path) -> Photos:
    with PhotoCache(cache_file) as cache:
        return read_folder(engine, folder, cache=cache)


def names(result: Clustering) -> list[list[str]]:
    return [sorted(path.name for path in group.photos) for group in result.groups]


# Reading


def test_photos_come_in_order_and_the_unreadable_are_listed(engine: FaceEngine, photo_folder: Path):
    photos = read_folder(engine, photo_folder)
    assert [photo.path for photo in photos.photos] == sorted(p.path for p in photos.photos)
    assert [len(photo.faces) for photo in photos.photos] == [1, 1, 1, 1, 1, 0]
    assert photos.faces == 5
    (failed,) = photos.unreadable
    assert failed.path == photo_folder / "broken.jpg"
    assert "broken" not in failed.reason
    assert "is not a picture" in failed.reason


@pytest.mark.slow
def test_faces_are_those_of_the_engine(engine: FaceEngine, photo_folder: Path, cache_file: Path):
    for _ in ("analysed", "from the cache"):
        photos = read(engine, photo_folder, cache_file)
        for photo in photos.photos:
            for found, expected in zip(photo.faces, engine.analyze(photo.path), strict=True):
                np.testing.assert_array_equal(found.bbox, expected.bbox)
                np.testing.assert_array_equal(found.landmarks, expected.landmarks)
                assert found.score == expected.score
                assert found.embedding is not None
                assert expected.embedding is not None
                assert found.embedding @ expected.embedding > 0.99999
                assert found.quality is not None
                assert expected.quality is not None
                assert found.quality.overall == pytest.approx(expected.quality.overall, abs=1e-6)


@pytest.mark.slow
def test_large_photos_wait_until_it_is_their_turn(
    engine: FaceEngine, photo_folder: Path, monkeypatch: pytest.MonkeyPatch
):
    plain = read_folder(engine, photo_folder)
    loaders: list[str] = []

    def load(*given: Any, **options: Any) -> Any:
        loaders.append(threading.current_thread().name)
        return load_image(*given, **options)

    monkeypatch.setattr("facekeep.apps.photo_reader._LARGE", 1)
    monkeypatch.setattr("facekeep.apps.photo_reader.load_image", load)
    large = read_folder(engine, photo_folder)
    assert set(loaders) == {threading.current_thread().name}
    assert [each.path for each in large.photos] == [each.path for each in plain.photos]
    assert large.faces == plain.faces
    assert large.unreadable == plain.unreadable


def test_progress_counts_every_photo(engine: FaceEngine, photo_folder: Path, cache_file: Path):
    for _ in ("analysed", "from the cache"):
        steps: list[tuple[int, int]] = []
        with PhotoCache(cache_file) as cache:
            watch = lambda *step: steps.append(step)  # noqa: B023, E731
            read_folder(engine, photo_folder, cache=cache, progress=watch)
        assert steps == [(done, 7) for done in range(8)]


def test_an_empty_folder_is_an_error(engine: FaceEngine, tmp_path: Path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ImageError, match="empty: the folder holds no pictures"):
        read_folder(engine, tmp_path / "empty")
    with pytest.raises(ImageError, match="no such file or folder"):
        read_folder(engine, tmp_path / "missing")


def test_photos_that_vanish_meanwhile_are_skipped(engine: FaceEngine, photo_folder: Path):
    gone = photo_folder / "hopper1.png"
    photos = read_photos(
        engine, [photo_folder / "hopper0.png", photo_folder / "never-was.png", gone]
    )
    assert [photo.path.name for photo in photos.photos] == ["hopper0.png", "hopper1.png"]
    assert photos.unreadable == ()


@pytest.mark.slow
def test_a_folder_that_cannot_be_read_is_skipped_and_told_of(
    engine: FaceEngine, photo_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (photo_folder / "lost+found").mkdir()
    scan = os.scandir

    def guarded(path: Any) -> Any:
        if str(path).endswith("lost+found"):
            raise PermissionError(errno.EACCES, "denied", str(path))
        return scan(path)

    whole = read_folder(engine, photo_folder)
    monkeypatch.setattr(os, "scandir", guarded)
    found = read_folder(engine, photo_folder)
    (skipped,) = found.skipped
    assert skipped.path == photo_folder / "lost+found"
    assert skipped.reason.startswith("the folder cannot be read: permission denied")
    assert whole.skipped == ()
    assert [each.path for each in found.photos] == [each.path for each in whole.photos]


def wrapped(error: Exception, cause: BaseException | None) -> Exception:
    error.__cause__ = cause
    return error


NOT_THE_FILES = {
    "no memory": MemoryError(),
    "no memory in a decoder": wrapped(ValueError("bad"), MemoryError()),
    "no memory, as Pillow says it": OSError("out of memory error when reading image file"),
    "no memory, as libheif says it": RuntimeError("Memory allocation error: out of memory"),
    "a read error": OSError(errno.EIO, "Input/output error"),
    "no more files": OSError(errno.EMFILE, "Too many open files"),
    "a lost connection": wrapped(ValueError("short"), OSError(errno.ESTALE, "Stale file handle")),
    "a missing library": ImportError("libheif.so.1: cannot open shared object file"),
}


@pytest.mark.parametrize("cause", NOT_THE_FILES.values(), ids=NOT_THE_FILES)
def test_only_what_the_bytes_say_is_remembered(
    engine: FaceEngine,
    photo_folder: Path,
    cache_file: Path,
    monkeypatch: pytest.MonkeyPatch,
    cause: Exception,
) -> None:
    """Short of memory once, or on a bad line, a photo is looked at again by the next run."""

    def fail(path: Path, **options: Any) -> Any:
        raise ImageError(f"{path}: cannot be read") from cause

    with PhotoCache(cache_file) as cache:
        with monkeypatch.context() as patch:
            patch.setattr("facekeep.apps.photo_reader.load_image", fail)
            found = read_folder(engine, photo_folder, cache=cache)
        assert len(found.unreadable) == 7
        found = read_folder(engine, photo_folder, cache=cache)
    assert [each.path.name for each in found.unreadable] == ["broken.jpg"]
    assert len(found.photos) == 6


def test_nothing_is_remembered_while_memory_is_short(
    engine: FaceEngine, photo_folder: Path, cache_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some decoders call a picture damaged when they lack the memory for it."""
    monkeypatch.setattr(folder_module, "can_allocate", lambda size: False)
    found = read(engine, photo_folder, cache_file)
    assert [each.path.name for each in found.unreadable] == ["broken.jpg"]
    assert cache_info(cache_file).unreadable == 0


def test_a_photo_that_fails_once_is_tried_again(
    engine: FaceEngine, photo_folder: Path, cache_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another thread may have had the memory."""
    load, failed = folder_module.load_image, set[Path]()

    def flaky(path: Path, **options: Any) -> Any:
        if path not in failed:
            failed.add(path)
            raise ImageError(f"{path}: is damaged (broken data stream)")
        return load(path, **options)

    monkeypatch.setattr(folder_module, "load_image", flaky)
    found = read(engine, photo_folder, cache_file)
    assert [each.path.name for each in found.unreadable] == ["broken.jpg"]
    assert len(found.photos) == 6


def test_what_the_bytes_say_is_remembered(
    engine: FaceEngine, photo_folder: Path, cache_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(path: Path, **options: Any) -> Any:
        raise AssertionError(path)

    with PhotoCache(cache_file) as cache:
        first = read_folder(engine, photo_folder, cache=cache)
        monkeypatch.setattr("facekeep.apps.photo_reader.load_image", fail)
        second = read_folder(engine, photo_folder, cache=cache)
    assert second.unreadable == first.unreadable
    assert len(second.unreadable) == 1


@pytest.mark.skipif(sys.platform == "darwin", reason="names are Unicode there")
def test_names_in_no_encoding_are_read(
    engine: FaceEngine, tmp_path: Path, portrait: Draw, cache_file: Path
):
    folder = tmp_path / "photo folder"
    folder.mkdir()
    name = os.fsencode(folder) + b"/\xff\xfe\x1b[2J.png"
    with open(name, "wb") as file:  # noqa: PTH123 - bytes
        file.write(portrait("hopper"))
    assert read(engine, folder, cache_file).analyzed == 1
    again = read(engine, folder, cache_file)
    assert (again.analyzed, again.faces) == (0, 1)


# The second run


def test_the_second_run_loads_no_network(
    photo_folder: Path, cache_file: Path, engine: FaceEngine, monkeypatch: pytest.MonkeyPatch
):
    with PhotoCache(cache_file) as cache:
        first = cluster_folder(engine, photo_folder, cache=cache)
        search_folder(engine, photo_folder / "hopper0.png", photo_folder, cache=cache)

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a network was loaded")

    monkeypatch.setattr("facekeep.pipeline.detect.open_model", refuse)
    monkeypatch.setattr("facekeep.pipeline.embed.open_model", refuse)
    with FaceEngine(threads=1) as fresh, PhotoCache(cache_file) as cache:
        second = cluster_folder(fresh, photo_folder, cache=cache)
        found = search_folder(fresh, photo_folder / "hopper0.png", photo_folder, cache=cache)
    assert names(second) == names(first)
    assert second.photos.analyzed == found.photos.analyzed == 0
    assert second.photos.unreadable == first.photos.unreadable, "not tried again, but listed"


def test_moved_and_copied_photos_are_recognized(
    engine: FaceEngine, photo_folder: Path, cache_file: Path
):
    read(engine, photo_folder, cache_file)
    (photo_folder / "hopper0.png").rename(photo_folder / "renamed.png")
    shutil.copy(photo_folder / "hopper1.png", photo_folder / "copy.png")
    shutil.copy(photo_folder / "broken.jpg", photo_folder / "bad.jpg")
    photos = read(engine, photo_folder, cache_file)
    assert photos.analyzed == 0
    assert len(photos.photos) == 7
    bad, broken = photos.unreadable
    assert (bad.path.name, bad.reason) == ("bad.jpg", broken.reason)


def test_a_changed_photo_is_looked_at_again(
    engine: FaceEngine, photo_folder: Path, cache_file: Path, portrait: Draw
):
    read(engine, photo_folder, cache_file)
    (photo_folder / "wall.png").write_bytes(portrait("collins", 9))
    photos = read(engine, photo_folder, cache_file)
    assert (photos.analyzed, photos.faces) == (1, 6)


def test_a_change_that_hides_behind_size_and_time_is_seen(
    engine: FaceEngine, photo_folder: Path, cache_file: Path
):
    path = photo_folder / "broken.jpg"
    read(engine, photo_folder, cache_file)
    before, changed = path.stat(), (photo_folder / "hopper2.png").read_bytes()
    path.write_bytes(changed)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    photos = read(engine, photo_folder, cache_file)
    assert (photos.analyzed, photos.unreadable) == (0, ())
    assert len(photos.photos) == 7


def test_what_is_found_while_a_photo_changes_is_not_kept(
    engine: FaceEngine, photo_folder: Path, cache_file: Path, monkeypatch: pytest.MonkeyPatch
):
    path, other = photo_folder / "wall.png", (photo_folder / "hopper0.png").read_bytes()
    wall, load = path.read_bytes(), folder_module.load_image

    def change_then_load(source: Path, **options: int) -> NDArray[np.uint8]:
        source.write_bytes(other)
        return load(source, **options)

    monkeypatch.setattr(folder_module, "load_image", change_then_load)
    with PhotoCache(cache_file) as cache:
        assert read_photos(engine, [path], cache=cache).faces == 1
    monkeypatch.undo()
    path.write_bytes(wall)
    with PhotoCache(cache_file) as cache:
        photos = read_photos(engine, [path], cache=cache)
    assert (photos.analyzed, photos.faces) == (1, 0)


@pytest.mark.slow
def test_other_settings_begin_anew(photo_folder: Path, cache_file: Path, engine: FaceEngine):
    read(engine, photo_folder, cache_file)
    with FaceEngine(threads=1, max_faces=1) as other:
        assert other.fingerprint != engine.fingerprint
        assert read(other, photo_folder, cache_file).analyzed == 6
    with FaceEngine(threads=0, fmr=1e-2) as same:
        assert same.fingerprint == engine.fingerprint


@pytest.mark.slow
def test_an_interrupted_run_goes_on_where_it_stopped(
    engine: FaceEngine, tmp_path: Path, portrait: Draw, cache_file: Path
):
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(20):
        (folder / f"{number:02}.png").write_bytes(portrait("hopper", number))

    def interrupt(done: int, total: int) -> None:
        if done == 11:
            raise KeyboardInterrupt

    with PhotoCache(cache_file) as cache, pytest.raises(KeyboardInterrupt):
        read_folder(engine, folder, cache=cache, progress=interrupt)
    assert not [each for each in threading.enumerate() if each.name.startswith("facekeep-photos")]
    photos = read(engine, folder, cache_file)
    assert photos.analyzed == 9
    assert photos.faces == 20


@pytest.mark.slow
def test_a_killed_run_leaves_what_it_had_done(
    engine: FaceEngine, tmp_path: Path, portrait: Draw, cache_file: Path
):
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(12):
        (folder / f"{number:02}.png").write_bytes(portrait("collins", number))
    script = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from facekeep import FaceEngine\n"
        "from facekeep.apps.photo_cache import PhotoCache\n"
        "from facekeep.apps.photo_reader import read_folder\n"
        "def kill(done, total):\n"
        "    if done == 5:\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "cache = PhotoCache(Path(sys.argv[2]))\n"
        "read_folder(FaceEngine(threads=1), sys.argv[1], cache=cache, progress=kill)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, folder, cache_file], check=False, capture_output=True
    )
    assert done.returncode == -9, done.stderr
    photos = read(engine, folder, cache_file)
    assert (photos.analyzed, photos.faces) == (7, 12)


@pytest.mark.slow
def test_two_runs_at_once_get_the_same(
    engine: FaceEngine, photo_folder: Path, cache_file: Path, caplog: pytest.LogCaptureFixture
):
    results: list[Photos] = []
    runs = [
        threading.Thread(target=lambda: results.append(read(engine, photo_folder, cache_file)))
        for _ in range(2)
    ]
    for each in runs:
        each.start()
    for each in runs:
        each.join()
    first, second = results
    assert [p.path for p in first.photos] == [p.path for p in second.photos]
    assert first.unreadable == second.unreadable
    assert caplog.text == ""
    assert cache_info(cache_file).photos == 6


# Unusable faces


@pytest.fixture
def poor(photo_folder: Path, hopper: NDArray[np.uint8]) -> Path:
    """The photos with a negative of Hopper in it, in which a face is found."""
    from facekeep import save_image

    save_image(photo_folder / "poor.png", 255 - hopper[:400, 60:460])
    return photo_folder / "poor.png"


def test_unusable_faces_are_counted_and_passed_over(
    engine: FaceEngine, photo_folder: Path, poor: Path, cache_file: Path
):
    for _ in ("analysed", "from the cache"):
        with PhotoCache(cache_file) as cache:
            groups = cluster_folder(engine, photo_folder, cache=cache)
            found = search_folder(engine, photo_folder / "hopper1.png", photo_folder, cache=cache)
            with pytest.raises(ImageError, match=r"poor\.png: the face is unusable \(unclear\)"):
                search_folder(engine, poor, photo_folder, cache=cache)
        assert (groups.photos.faces, groups.photos.unusable, groups.alone) == (6, 1, 0)
        assert all(poor not in group.photos for group in groups.groups)
        assert poor not in {each.path for each in found.found}
        assert found.expected_false == pytest.approx(5 * 1e-4)


def test_another_setting_judges_what_is_remembered_anew(
    engine: FaceEngine, photo_folder: Path, poor: Path, cache_file: Path
):
    read(engine, photo_folder, cache_file)
    with FaceEngine(threads=1, any_quality=True) as other:
        photos = read(other, photo_folder, cache_file)
    assert (photos.analyzed, photos.unusable, photos.faces) == (0, 0, 6)
    assert read(engine, photo_folder, cache_file).unusable == 1


def test_a_person_is_in_a_photo_once_unless_it_is_a_collage(
    engine: FaceEngine, tmp_path: Path, hopper: NDArray[np.uint8]
):
    from facekeep import save_image

    (tmp_path / "photo folder").mkdir()
    save_image(tmp_path / "photo folder" / "twice.png", np.hstack([hopper[:400, 60:460]] * 2))
    assert cluster_folder(engine, tmp_path / "photo folder").groups == ()
    (group,) = cluster_folder(engine, tmp_path / "photo folder", collage=True).groups
    assert len(group.sightings) == 2


# Searching


def test_search_finds_the_person_and_nobody_else(engine: FaceEngine, photo_folder: Path):
    result = search_folder(engine, photo_folder / "hopper1.png", photo_folder)
    assert {each.path.name for each in result.found} == {f"hopper{n}.png" for n in range(3)}
    assert result.found[0].path == photo_folder / "hopper1.png", "the most similar comes first"
    assert result.found[0].similarity == pytest.approx(1, abs=1e-4)
    assert [e.similarity for e in result.found] == sorted(
        (e.similarity for e in result.found), reverse=True
    )
    assert all(each.similarity >= result.threshold.cosine for each in result.found)
    assert result.expected_false == pytest.approx(5 * 1e-4)


def test_search_takes_pixels_and_finds_the_face_among_others(
    engine: FaceEngine,
    tmp_path: Path,
    hopper: NDArray[np.uint8],
    collins: NDArray[np.uint8],
):
    from facekeep import save_image

    group = np.ascontiguousarray(np.hstack([hopper[:500], collins[:500]]))
    (tmp_path / "photo folder").mkdir()
    save_image(tmp_path / "photo folder" / "both.png", group)
    (found,) = search_folder(engine, collins, tmp_path / "photo folder").found
    assert found.face.bbox[0] > hopper.shape[1], "the box is that of the face on the right"


def test_top_gives_the_best(engine: FaceEngine, photo_folder: Path):
    result = search_folder(engine, photo_folder / "hopper1.png", photo_folder, top=1)
    assert [each.path.name for each in result.found] == ["hopper1.png"]


@pytest.mark.parametrize(
    ("probe", "words"),
    [
        ("wall.png", "wall.png: no face was found"),
        ("broken.jpg", "broken.jpg: is not a picture"),
        ("missing.png", "missing.png: there is no such file"),
    ],
)
def test_a_probe_without_a_face_is_an_error(
    engine: FaceEngine, photo_folder: Path, probe: str, words: str
):
    with pytest.raises(ImageError, match=words) as caught:
        search_folder(engine, photo_folder / probe, photo_folder)
    assert str(caught.value).count(probe) == 1
    with pytest.raises(ImageError, match="the probe: no face was found"):
        search_folder(engine, np.zeros((64, 64, 3), np.uint8), photo_folder)


@pytest.mark.parametrize("fmr", [0.0, 2.0, 1e-12])
def test_an_impossible_rate_fails_before_any_work(engine: FaceEngine, fmr: float, tmp_path: Path):
    for run in (
        lambda: search_folder(engine, tmp_path / "none", tmp_path / "none", fmr=fmr),
        lambda: cluster_folder(engine, tmp_path / "none", fmr=fmr),
    ):
        with pytest.raises(InputError, match="false-match rate"):
            run()


def test_arguments_out_of_range_are_refused(engine: FaceEngine, photo_folder: Path):
    with pytest.raises(InputError, match="top must be 1 or more; got 0"):
        search_folder(engine, photo_folder / "hopper0.png", photo_folder, top=0)
    with pytest.raises(InputError, match="min_size must be 1 or more; got 0"):
        cluster_folder(engine, photo_folder, min_size=0)


# Clustering


def test_cluster_groups_the_photos_by_person(engine: FaceEngine, photo_folder: Path):
    result = cluster_folder(engine, photo_folder)
    assert names(result) == [
        ["hopper0.png", "hopper1.png", "hopper2.png"],
        ["collins\n0.png", "collins\n1.png"],
    ]
    assert result.alone == 0
    for group in result.groups:
        typical = [each.similarity for each in group.sightings]
        assert typical == sorted(typical, reverse=True)
        rows = np.stack([each.face.embedding for each in group.sightings])
        center = rows.sum(axis=0)
        assert typical == pytest.approx(rows @ center / np.linalg.norm(center), abs=1e-6)


def test_small_groups_are_left_out_but_counted(engine: FaceEngine, photo_folder: Path):
    result = cluster_folder(engine, photo_folder, min_size=3)
    assert (len(result.groups), result.alone) == (1, 2)
    assert len(cluster_folder(engine, photo_folder, min_size=1).groups) == 2


def test_a_folder_without_faces_has_no_groups(engine: FaceEngine, photo_folder: Path):
    (photo_folder / "walls").mkdir()
    (photo_folder / "wall.png").rename(photo_folder / "walls" / "wall.png")
    result = cluster_folder(engine, photo_folder / "walls")
    assert (result.groups, result.alone, result.photos.faces) == ((), 0, 0)


@pytest.mark.slow
@pytest.mark.shared
def test_real_people_are_told_apart(engine: FaceEngine, shared: Path, tmp_path: Path):
    """Eight people of LFW with eight photos each: nobody is mixed up, few are lost."""
    folders = sorted((shared / "lfw" / "images").iterdir())
    many = [folder for folder in folders if len(list(folder.iterdir())) >= 8][:8]
    for folder in many:
        for path in sorted(folder.iterdir())[:8]:
            shutil.copy(path, tmp_path / path.name)
    result = cluster_folder(engine, tmp_path)
    main = [group for group in result.groups if len(group.sightings) >= 4]
    people = [{path.name.rpartition("_")[0] for path in group.photos} for group in main]
    assert all(len(who) == 1 for who in people)
    assert len({name for who in people for name in who}) == 8
    assert sum(len(group.photos) for group in main) >= 56


# Contact sheets


def test_a_sheet_shows_a_row_for_each_person(engine: FaceEngine, photo_folder: Path):
    result = cluster_folder(engine, photo_folder)
    sheet = cluster_sheet(result, max_pixels=10**6)
    one_row = cluster_sheet(
        Clustering(result.groups[:1], 0, result.threshold, result.photos), max_pixels=10**6
    )
    assert sheet.dtype == np.uint8
    assert len(sheet) > 1.8 * len(one_row) - 20
    tiles = sheet[:, : sheet.shape[1] // 4]
    assert tiles.std() > 30, "real faces, not blanks"


def test_a_sheet_leaves_a_blank_for_a_photo_that_is_gone(
    engine: FaceEngine, photo_folder: Path, caplog: pytest.LogCaptureFixture
):
    result = search_folder(engine, photo_folder / "hopper0.png", photo_folder)
    whole = search_sheet(result, max_pixels=10**6)
    (photo_folder / "hopper2.png").unlink()
    blank = search_sheet(result, max_pixels=10**6)
    assert whole.shape == blank.shape
    assert (whole != blank).any()
    assert "hopper2.png cannot be shown" in caplog.text


def test_a_sheet_of_nothing_can_be_drawn(engine: FaceEngine, photo_folder: Path):
    nothing = cluster_folder(engine, photo_folder, min_size=9)
    assert cluster_sheet(nothing, max_pixels=10**6).size
