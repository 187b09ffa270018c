"""What the watch of a checkpoint folder reports about real files."""

from __future__ import annotations

import mmap
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from spot_drill.history import Arrival, read_history
from spot_drill.observe import Stretch
from spot_drill.watch import Happening, Poller, Watch, watch_folder

from .support import wait_until

_COMPLETED = (Happening.CLOSED, Happening.APPENDED, Happening.ARRIVED)
needs_inotify = pytest.mark.skipif(sys.platform != "linux", reason="inotify is Linux's")


def _names(watch: Watch, *what: Happening) -> list[str]:
    return [event.name for event in watch.stop() if event.what in what]


def _count_saved(watch: Watch) -> int:
    """How many times a file became whole so far."""
    return sum(event.what in _COMPLETED for event in watch.events_so_far())


@needs_inotify
def test_a_rename_a_write_in_place_and_a_deletion_are_told_apart(tmp_path: Path) -> None:
    watch = watch_folder(tmp_path)
    (tmp_path / "tmp").write_text("x")
    (tmp_path / "tmp").rename(tmp_path / "a")
    (tmp_path / "b").write_text("x")
    (tmp_path / "a").unlink()
    events = [(event.what, event.name) for event in watch.stop()]
    assert [name for what, name in events if what is Happening.CLOSED] == ["tmp", "b"]
    assert [e for e in events if e[0] in (Happening.LEFT, Happening.ARRIVED, Happening.DELETED)] == [
        (Happening.LEFT, "tmp"),
        (Happening.ARRIVED, "a"),
        (Happening.DELETED, "a"),
    ]


@needs_inotify
def test_folders_that_come_later_are_watched_and_their_rename_moves_their_files(tmp_path: Path) -> None:
    watch = watch_folder(tmp_path)
    (tmp_path / "tmp-10").mkdir()
    (tmp_path / "tmp-10" / "weights").write_text("x")
    wait_until(lambda: _count_saved(watch) >= 1)
    (tmp_path / "tmp-10").rename(tmp_path / "step-10")
    wait_until(lambda: _count_saved(watch) >= 2)
    (tmp_path / "step-10" / "more").write_text("x")
    events = [(event.what, event.name) for event in watch.stop()]
    assert (Happening.LEFT, "tmp-10/weights") in events
    assert (Happening.ARRIVED, "step-10/weights") in events
    assert (Happening.CLOSED, "step-10/more") in events


@needs_inotify
def test_a_file_written_into_a_new_folder_at_once_is_new_and_not_overwritten(tmp_path: Path) -> None:
    watch = watch_folder(tmp_path)
    for number in range(200):
        (tmp_path / f"step-{number}").mkdir()
        (tmp_path / f"step-{number}" / "weights").write_bytes(bytes(100_000))
    story = read_history(Stretch(seconds=1, events=watch.stop()), frozenset({"step-#/weights"}))
    assert {save.arrival for save in story.saves} == {Arrival.NEW_IN_PLACE}
    assert len({save.name for save in story.saves}) == 200


@needs_inotify
def test_a_file_that_is_read_shows(tmp_path: Path) -> None:
    (tmp_path / "step-1").write_text("x")
    watch = watch_folder(tmp_path)
    (tmp_path / "step-1").read_text()
    assert set(_names(watch, Happening.READ)) == {"step-1"}


@needs_inotify
def test_a_file_that_grows_is_told_apart_from_one_that_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "log-1").write_text("one\n")
    watch = watch_folder(tmp_path)
    writes = [("log-1", "a", "two\n"), ("new", "w", "tree"), ("new", "a", "end"), ("log-1", "w", "all new\n")]
    for count, (name, mode, text) in enumerate(writes):
        with (tmp_path / name).open(mode) as file:
            file.write(text)
        wait_until(lambda count=count: _count_saved(watch) > count)  # type: ignore[misc]
    events = watch.stop()
    assert [(e.what, e.name) for e in events if e.what in (Happening.CLOSED, Happening.APPENDED)] == [
        (Happening.APPENDED, "log-1"),
        (Happening.CLOSED, "new"),
        (Happening.APPENDED, "new"),
        (Happening.CLOSED, "log-1"),
    ]
    stretch = Stretch(seconds=1, restored=("log-1",), events=events)
    saves = read_history(stretch, frozenset({"log-#", "new"})).saves
    assert [(save.name, save.arrival) for save in saves] == [
        ("log-1", Arrival.APPENDED),
        ("new", Arrival.NEW_IN_PLACE),
        ("log-1", Arrival.OVERWRITTEN),
    ]


@needs_inotify
def test_a_file_that_is_mapped_into_memory_is_read_and_its_change_is_an_overwrite(tmp_path: Path) -> None:
    (tmp_path / "state").write_bytes(bytes(4096))
    watch = watch_folder(tmp_path)
    with (tmp_path / "state").open("r+b") as file:
        state = mmap.mmap(file.fileno(), 0)
    state[0] = 1
    state.flush()
    state.close()
    stretch = Stretch(seconds=1, restored=("state",), events=watch.stop())
    assert stretch.files_read() == {"state"}
    saves = read_history(stretch, frozenset({"state"})).saves
    assert [save.arrival for save in saves] == [Arrival.OVERWRITTEN]


def test_where_there_is_no_inotify_looking_finds_the_same_files(tmp_path: Path) -> None:
    watch = Poller(tmp_path)
    (tmp_path / "a").write_text("x")
    wait_until(lambda: _count_saved(watch) == 1)
    (tmp_path / "a").rename(tmp_path / "b")
    wait_until(lambda: _count_saved(watch) == 2)
    (tmp_path / "b").write_text("longer")
    wait_until(lambda: _count_saved(watch) == 3)
    (tmp_path / "b").unlink()
    events = [(event.what, event.name) for event in watch.stop() if event.what is not Happening.READ]
    assert events == [
        (Happening.ARRIVED, "a"),
        (Happening.LEFT, "a"),
        (Happening.ARRIVED, "b"),
        (Happening.WRITTEN, "b"),
        (Happening.CLOSED, "b"),
        (Happening.DELETED, "b"),
    ]


@pytest.mark.parametrize("make", [pytest.param(watch_folder, marks=needs_inotify), Poller])
def test_the_markers_of_an_upload_and_what_stays_local_are_no_checkpoints(
    tmp_path: Path, make: Callable[[Path], Watch]
) -> None:
    watch = make(tmp_path)
    for name in ("m-1.sagemaker-uploading", "m-1.sagemaker-uploaded", "t.sagemaker-ignore", "m-1"):
        (tmp_path / name).write_text("x")
    (tmp_path / "t.sagemaker-ignore").rename(tmp_path / "m-2")
    wait_until(lambda: {event.name for event in watch.events_so_far()} >= {"m-1", "m-2"})
    assert {event.name for event in watch.stop()} == {"m-1", "m-2"}
