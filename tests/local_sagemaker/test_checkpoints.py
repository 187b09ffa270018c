"""The checkpoint sync against a real folder: what reaches S3, what leaves it, and what never does."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest

from local_sagemaker.containers.checkpoints import CheckpointSync
from local_sagemaker.containers.processes import files_being_written, processes_of

from .support import DictObjects, wait_until

URI = "s3://bucket/runs/one"


@pytest.fixture
def objects() -> DictObjects:
    return DictObjects()


@pytest.fixture
def uploads() -> list[None]:
    return []


@pytest.fixture
def sync(objects: DictObjects, tmp_path: Path, uploads: list[None]) -> CheckpointSync:
    return CheckpointSync(objects, uri=URI, folder=tmp_path, uploaded=lambda: uploads.append(None))


def _in_s3(objects: DictObjects) -> dict[str, bytes]:
    return {key.removeprefix("runs/one/"): content for (_, key), content in objects.content.items()}


def test_a_file_is_uploaded_once_it_stands_still(
    sync: CheckpointSync, objects: DictObjects, tmp_path: Path, uploads: list[None]
) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "model.1").write_bytes(b"one")
    sync.sync()
    assert _in_s3(objects) == {}
    sync.sync()
    assert _in_s3(objects) == {"sub/model.1": b"one"}
    sync.sync()
    assert len(uploads) == 1


def test_a_growing_file_waits(sync: CheckpointSync, objects: DictObjects, tmp_path: Path) -> None:
    path = tmp_path / "model"
    for size in range(1, 5):
        path.write_bytes(b"x" * size)
        sync.sync()
    assert _in_s3(objects) == {}
    sync.sync()
    assert _in_s3(objects) == {"model": b"xxxx"}


def test_a_file_open_for_writing_waits_even_if_it_stands_still(
    sync: CheckpointSync, objects: DictObjects, tmp_path: Path
) -> None:
    with (tmp_path / "model").open("wb") as file:
        file.write(b"half")
        file.flush()
        mine = processes_of(os.getpid())
        for _ in range(3):
            sync.sync(being_written=lambda: files_being_written(mine))
        assert _in_s3(objects) == {}
    sync.sync(being_written=lambda: files_being_written(mine))
    assert _in_s3(objects) == {"model": b"half"}


def test_a_file_open_for_reading_does_not_wait(tmp_path: Path) -> None:
    (tmp_path / "model").write_bytes(b"whole")
    found = (tmp_path / "model").stat()
    with (tmp_path / "model").open("rb"):
        assert (found.st_dev, found.st_ino) not in files_being_written(processes_of(os.getpid()))


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    code = (
        "import sys; f = open(sys.argv[1], 'wb'); f.write(b'x'); f.flush(); print('up', flush=True); input()"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "model")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
        process.kill()


def test_what_another_process_writes_is_seen(tmp_path: Path, writer: subprocess.Popen[str]) -> None:
    found = (tmp_path / "model").stat()
    assert (found.st_dev, found.st_ino) in files_being_written(processes_of(writer.pid))


def test_the_final_sync_takes_everything_but_what_was_being_written(
    sync: CheckpointSync, objects: DictObjects, tmp_path: Path
) -> None:
    for name in ("whole", "torn"):
        (tmp_path / name).write_bytes(name.encode())
    found = (tmp_path / "torn").stat()
    sync.sync(being_written=lambda: frozenset({(found.st_dev, found.st_ino)}), is_final=True)
    assert _in_s3(objects) == {"whole": b"whole"}


def test_while_uploads_are_stalled_nothing_changes_in_s3_and_then_all_that_is_there_is_uploaded(
    objects: DictObjects, tmp_path: Path, uploads: list[None]
) -> None:
    stalled = [False]
    sync = CheckpointSync(
        objects,
        uri=URI,
        folder=tmp_path,
        uploaded=lambda: uploads.append(None),
        is_stalled=lambda: stalled[0],
    )
    (tmp_path / "model.1").write_bytes(b"one")
    sync.sync()
    sync.sync()
    stalled[0] = True
    (tmp_path / "model.2").write_bytes(b"two")
    sync.sync()
    (tmp_path / "model.1").unlink()
    (tmp_path / "model.3").write_bytes(b"three")
    for _ in range(3):
        sync.sync()
    assert _in_s3(objects) == {"model.1": b"one"}
    assert len(uploads) == 1
    assert (tmp_path / "model.2.sagemaker-uploading").exists()
    stalled[0] = False
    sync.sync()
    assert _in_s3(objects) == {"model.2": b"two", "model.3": b"three"}
    assert (tmp_path / "model.2.sagemaker-uploaded").exists()


def test_what_a_job_wrote_during_a_stall_that_outlives_it_is_lost(
    objects: DictObjects, tmp_path: Path
) -> None:
    sync = CheckpointSync(objects, uri=URI, folder=tmp_path, uploaded=lambda: None, is_stalled=lambda: True)
    (tmp_path / "model").write_bytes(b"whole")
    sync.sync()
    sync.sync(is_final=True)
    assert _in_s3(objects) == {}


def test_a_deletion_here_is_a_deletion_in_s3(
    sync: CheckpointSync, objects: DictObjects, tmp_path: Path
) -> None:
    for name in ("model.1", "model.2"):
        (tmp_path / name).write_bytes(b"x")
    sync.sync(is_final=True)
    (tmp_path / "model.1").unlink()
    sync.sync()
    assert _in_s3(objects) == {"model.2": b"x"}


def test_objects_of_others_are_left_alone(sync: CheckpointSync, objects: DictObjects) -> None:
    objects.write("bucket", "runs/one/theirs", b"x")
    sync.sync()
    assert _in_s3(objects) == {"theirs": b"x"}


def test_the_whole_prefix_is_restored_and_not_uploaded_again(
    sync: CheckpointSync, objects: DictObjects, tmp_path: Path, uploads: list[None]
) -> None:
    objects.write("bucket", "runs/one/a/model.1", b"one")
    objects.write("bucket", "runs/one/model.2", b"two")
    objects.write("bucket", "runs/one2/other", b"not ours")
    sync.restore()
    sync.sync(is_final=True)
    assert (tmp_path / "a" / "model.1").read_bytes() == b"one"
    assert sorted(p.name for p in tmp_path.rglob("*") if p.is_file()) == ["model.1", "model.2"]
    assert uploads == []


def test_the_time_of_a_restored_file_does_not_say_which_checkpoint_is_the_newest(
    sync: CheckpointSync, objects: DictObjects, tmp_path: Path
) -> None:
    for number in range(1, 5):
        objects.write("bucket", f"runs/one/model.{number}", b"x")
    sync.restore()
    assert max(tmp_path.iterdir(), key=lambda path: path.stat().st_mtime_ns).name == "model.1"


def test_a_restored_file_that_is_rotated_away_leaves_s3_too(
    sync: CheckpointSync, objects: DictObjects, tmp_path: Path
) -> None:
    objects.write("bucket", "runs/one/model.1", b"one")
    sync.restore()
    (tmp_path / "model.1").unlink()
    sync.sync()
    assert _in_s3(objects) == {}


def test_a_key_cannot_leave_the_folder(sync: CheckpointSync, objects: DictObjects, tmp_path: Path) -> None:
    objects.write("bucket", "runs/one/../../escaped", b"x")
    sync.restore()
    assert list(tmp_path.iterdir()) == []
    assert not (tmp_path.parent.parent / "escaped").exists()


def test_a_renamed_file_is_the_new_file(sync: CheckpointSync, objects: DictObjects, tmp_path: Path) -> None:
    (tmp_path / "model").write_bytes(b"old")
    sync.sync(is_final=True)
    (tmp_path / "model.tmp").write_bytes(b"new")
    (tmp_path / "model.tmp").replace(tmp_path / "model")
    wait_until(lambda: sync.sync() > 0)
    assert _in_s3(objects) == {"model": b"new"}


def test_links_are_not_followed(sync: CheckpointSync, objects: DictObjects, tmp_path: Path) -> None:
    (tmp_path / "passwords").symlink_to("/etc/passwd")
    sync.sync(is_final=True)
    assert _in_s3(objects) == {}


# --- what the script sees of the upload ---


def _names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_a_file_is_marked_while_it_is_uploaded_and_afterwards(
    sync: CheckpointSync, objects: DictObjects, tmp_path: Path
) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "model-1").write_bytes(b"one")
    sync.sync()
    assert _names(tmp_path) == ["sub/model-1", "sub/model-1.sagemaker-uploading"]
    sync.sync()
    assert _names(tmp_path) == ["sub/model-1", "sub/model-1.sagemaker-uploaded"]
    assert (tmp_path / "sub" / "model-1.sagemaker-uploaded").read_bytes() == b""
    for _ in range(3):
        sync.sync()
    sync.sync(is_final=True)
    assert _in_s3(objects) == {"sub/model-1": b"one"}
    assert _names(tmp_path) == ["sub/model-1", "sub/model-1.sagemaker-uploaded"]


def test_a_file_that_is_being_written_is_not_marked(sync: CheckpointSync, tmp_path: Path) -> None:
    with (tmp_path / "model").open("wb") as file:
        file.write(b"half")
        file.flush()
        mine = processes_of(os.getpid())
        sync.sync(being_written=lambda: files_being_written(mine))
        assert _names(tmp_path) == ["model"]


def test_a_file_that_changes_is_being_uploaded_again(
    sync: CheckpointSync, objects: DictObjects, tmp_path: Path
) -> None:
    path = tmp_path / "model"
    for content in (b"one", b"second"):
        path.write_bytes(content)
        sync.sync()
        assert _names(tmp_path) == ["model", "model.sagemaker-uploading"]
        sync.sync()
        assert _names(tmp_path) == ["model", "model.sagemaker-uploaded"]
    assert _in_s3(objects) == {"model": b"second"}


@pytest.mark.parametrize("checks", [1, 2])
def test_a_deletion_takes_markers_and_object_with_it(
    sync: CheckpointSync, objects: DictObjects, tmp_path: Path, checks: int
) -> None:
    """AWS's XGBoost callback deletes checkpoints while and after they are uploaded."""
    (tmp_path / "model-1").write_bytes(b"one")
    for _ in range(checks):
        sync.sync()
    (tmp_path / "model-1").unlink()
    sync.sync()
    assert _names(tmp_path) == []
    assert _in_s3(objects) == {}


def test_a_removed_folder_does_no_harm(sync: CheckpointSync, objects: DictObjects, tmp_path: Path) -> None:
    (tmp_path / "checkpoint-1").mkdir()
    (tmp_path / "checkpoint-1" / "model").write_bytes(b"one")
    sync.sync()
    shutil.rmtree(tmp_path / "checkpoint-1")
    sync.sync()
    assert (_names(tmp_path), _in_s3(objects)) == ([], {})


def test_a_file_to_ignore_stays_local_until_it_is_renamed(
    sync: CheckpointSync, objects: DictObjects, tmp_path: Path
) -> None:
    path = tmp_path / "tmp123.sagemaker-ignore"
    path.write_bytes(b"one")
    for _ in range(3):
        sync.sync()
    sync.sync(is_final=True)
    assert (_names(tmp_path), _in_s3(objects)) == ([path.name], {})
    path.rename(tmp_path / "xgboost-checkpoint.1")
    for _ in range(2):
        sync.sync()
    assert _in_s3(objects) == {"xgboost-checkpoint.1": b"one"}


def test_a_link_in_the_place_of_a_marker_is_not_followed(sync: CheckpointSync, tmp_path: Path) -> None:
    outside = tmp_path.parent / f"{tmp_path.name}-outside"
    (tmp_path / "model").write_bytes(b"one")
    (tmp_path / "model.sagemaker-uploading").symlink_to(outside)
    sync.sync()
    assert not outside.exists()


def test_a_job_without_markers_has_none(objects: DictObjects, tmp_path: Path) -> None:
    sync = CheckpointSync(objects, uri=URI, folder=tmp_path, uploaded=lambda: None, is_marked=False)
    (tmp_path / "model").write_bytes(b"one")
    for _ in range(3):
        sync.sync()
    assert (_names(tmp_path), _in_s3(objects)) == (["model"], {"model": b"one"})


def test_restored_files_have_no_markers(sync: CheckpointSync, objects: DictObjects, tmp_path: Path) -> None:
    objects.write("bucket", "runs/one/model.1", b"one")
    sync.restore()
    for _ in range(3):
        sync.sync()
    assert _names(tmp_path) == ["model.1"]


# --- what a script may do to the server ---


def test_a_checkpoint_that_becomes_a_link_between_two_looks_is_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server may read more than the job: what the folder leads to must not reach S3."""
    folder, secrets = tmp_path / "folder", tmp_path / "secrets"
    for each in (folder / "sub", secrets):
        each.mkdir(parents=True)
    (secrets / "file").write_text("secret")
    objects = DictObjects()
    sync = CheckpointSync(objects, uri=URI, folder=folder, uploaded=lambda: None)
    (folder / "sub" / "file").write_text("mine")
    states = sync._list_states

    def list_and_swap(*arguments: Any) -> Iterator[Any]:
        found = [("sub/file", _state(secrets / "file")), *states(*arguments)][:1]
        shutil.rmtree(folder / "sub")
        (folder / "sub").symlink_to(secrets)
        yield from found

    monkeypatch.setattr(sync, "_list_states", list_and_swap)
    assert sync.sync(is_final=True) == 0
    sync._mark_uploading("sub/file")
    assert objects.content == {}
    assert _names(secrets) == ["file"]


def _state(path: Path) -> tuple[int, int, int]:
    found = path.stat()
    return found.st_size, found.st_mtime_ns, found.st_ino


def test_only_files_that_fit_into_s3_are_uploaded_and_the_rest_is_named(
    sync: CheckpointSync, objects: DictObjects, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "model").write_bytes(b"one")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / os.fsdecode(b"\xff\xfe")).write_bytes(b"no text")
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(1 << 43)
    for _ in range(3):
        sync.sync()
    assert sync.sync(is_final=True) == 0
    assert _in_s3(objects) == {"model": b"one"}
    assert caplog.text.count("is not uploaded: its name is not one for an object") == 1
    assert caplog.text.count("bytes do not fit into the memory of this machine") == 1


def test_a_folder_that_cannot_be_listed_deletes_nothing_in_s3(
    sync: CheckpointSync, objects: DictObjects, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "model").write_bytes(b"one")
    sync.sync(is_final=True)
    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", _refuse)
        sync.sync(is_final=True)
    assert _in_s3(objects) == {"model": b"one"}
    (tmp_path / "model").unlink()
    sync.sync(is_final=True)
    assert _in_s3(objects) == {}


def _refuse(*_: object) -> NoReturn:
    raise PermissionError(errno.EACCES, "Permission denied")


def test_keys_that_are_no_names_of_files_are_left_out(
    sync: CheckpointSync, objects: DictObjects, tmp_path: Path
) -> None:
    for key in ("a", "a/b", "null\0byte", "n" * 300, "ok"):
        objects.write("bucket", f"runs/one/{key}", b"x")
    sync.restore()
    assert _names(tmp_path) == ["a/b", "ok"]  # not "a", which comes later
