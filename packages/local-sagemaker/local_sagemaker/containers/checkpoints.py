"""Syncs a host's checkpoint folder with S3: restores it before a start, uploads and deletes while the job
runs.

An incomplete file never reaches S3. A file is uploaded when two checks in a row found it unchanged (size,
time) and no process of the job has it open for writing. It is read whole and checked once more before
PutObject. A file that was being written when the job was killed is not uploaded. `.tmp` files are uploaded,
too, because AWS does not document an exception. Deleting a file deletes the object. Objects that others add
to the prefix later are not downloaded. Links and empty folders are not synced. While uploads are stalled,
nothing changes in S3, also at the end of the job: new files keep the marker of an upload that goes on.

The script sees two markers, as on AWS: the empty files `<file>.sagemaker-uploading`, from the check that
found the file new until it is in S3, and then `<file>.sagemaker-uploaded`. They are gone when their file is,
and a restored file has none. `*.sagemaker-ignore` stays local: AWS's XGBoost callback writes to such a name,
then renames. Source: `checkpointing.py` of aws/sagemaker-xgboost-container.
"""

from __future__ import annotations

import contextlib
import logging
import os
from typing import TYPE_CHECKING

from local_sagemaker.services.objects import Objects, folder_prefix

from .inputs import write_below
from .written import check_memory, is_key, open_file, open_folder, walk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

log = logging.getLogger(__name__)

#: The ends of the names of the empty files that tell a script about an upload.
MARKER_SUFFIXES = UPLOADING, UPLOADED = ".sagemaker-uploading", ".sagemaker-uploaded"
#: The ends of the names of files in a checkpoint folder that never reach S3.
UNSYNCED_SUFFIXES = (*MARKER_SUFFIXES, ".sagemaker-ignore")

_FileState = tuple[int, int, int]


class CheckpointSync:
    """One host, one stretch. Used by one thread at a time."""

    def __init__(
        self,
        objects: Objects,
        *,
        uri: str,
        folder: Path,
        uploaded: Callable[[], None],
        is_marked: bool = True,
        is_stalled: Callable[[], bool] = lambda: False,
    ) -> None:
        self._objects = objects
        self._bucket, self._prefix = folder_prefix(uri)
        self._folder = folder.resolve()
        self._uploaded = uploaded
        self._is_marked = is_marked
        self._is_stalled = is_stalled
        self._last_states: dict[str, _FileState] = {}
        self._in_s3: dict[str, _FileState] = {}
        self._marked: set[str] = set()
        self._warned: set[str] = set()

    def restore(self, should_go_on: Callable[[], bool] = lambda: True) -> None:
        """Copy everything below the prefix into the folder.

        The files get the times of their download. AWS does not document its order: here the last name comes
        first, so that a script that takes the file with the newest time for the newest checkpoint is found.
        """
        for key in sorted(self._objects.keys(self._bucket, self._prefix), reverse=True):
            if key.endswith("/") or not should_go_on():
                continue
            content = self._objects.read(self._bucket, key)
            if content is None:
                continue
            try:
                write_below(self._folder, key.removeprefix(self._prefix), content)
            except (OSError, ValueError) as exc:
                log.warning("The object %r is not restored, because it fits into no folder: %s", key, exc)
        self._last_states = dict(self._list_states())
        self._in_s3 = dict(self._last_states)

    def sync(
        self, *, being_written: Callable[[], frozenset[tuple[int, int]]] = frozenset, is_final: bool = False
    ) -> int:
        """Upload what is new and complete, and delete what is gone. Returns the number of uploads.

        `being_written` returns (device, inode) of the files open for writing. It is called only if there is
        something new. The final sync does not wait for a second check, and nobody is left to see markers.
        """
        errors: list[OSError] = []
        states = dict(sorted(self._list_states(errors.append)))
        new = [name for name, seen in states.items() if self._in_s3.get(name) != seen]
        incomplete = being_written() if new else frozenset()
        complete = [name for name in new if self._inode(name) not in incomplete]
        marks = self._is_marked and not is_final
        if marks:
            for name in complete:
                self._mark_uploading(name)
        is_stalled = self._is_stalled()
        count = sum(
            self._upload(name, states[name], is_marked=marks)
            for name in complete
            if not is_stalled and (is_final or self._last_states.get(name) == states[name])
        )
        knows_all = all(isinstance(error, FileNotFoundError) for error in errors)
        for name in [n for n in self._in_s3 if n not in states and knows_all and not is_stalled]:
            self._objects.delete(self._bucket, f"{self._prefix}{name}")
            del self._in_s3[name]
        for name in [n for n in self._marked if n not in states]:
            self._unmark(name)
        self._last_states = states
        for _ in range(count):
            self._uploaded()
        return count

    def _upload(self, name: str, seen: _FileState, *, is_marked: bool) -> int:
        try:
            check_memory(seen[0])
            with open_file(self._folder, name) as file:
                content = file.read() if _state_of(os.fstat(file.fileno())) == seen else None
                if content is None or _state_of(os.fstat(file.fileno())) != seen:
                    return 0
        except FileNotFoundError:
            return 0
        except OSError as exc:
            self._warn_once(name, exc.strerror or str(exc))
            return 0
        self._objects.write(self._bucket, f"{self._prefix}{name}", content)
        self._in_s3[name] = seen
        if is_marked:
            self._mark_uploaded(name)
        return 1

    def _mark_uploading(self, name: str) -> None:
        self._marked.add(name)
        folder, file = _split(name)
        with contextlib.suppress(OSError), open_folder(self._folder, folder) as at:
            _make_marker(f"{file}{UPLOADING}", at)
            _remove_marker(f"{file}{UPLOADED}", at)

    def _mark_uploaded(self, name: str) -> None:
        """With a rename, because a script may list the folder at any time."""
        folder, file = _split(name)
        with contextlib.suppress(OSError), open_folder(self._folder, folder) as at:
            try:
                os.replace(f"{file}{UPLOADING}", f"{file}{UPLOADED}", src_dir_fd=at, dst_dir_fd=at)
            except OSError:  # the script removed the marker
                _make_marker(f"{file}{UPLOADED}", at)

    def _unmark(self, name: str) -> None:
        self._marked.discard(name)
        folder, file = _split(name)
        with contextlib.suppress(OSError), open_folder(self._folder, folder) as at:
            for marker in MARKER_SUFFIXES:
                _remove_marker(f"{file}{marker}", at)

    def _list_states(
        self, report: Callable[[OSError], None] = lambda _: None
    ) -> Iterator[tuple[str, _FileState]]:
        start = len(str(self._folder)) + 1
        for entry in walk(self._folder, report=report):
            name = entry.path[start:]
            with contextlib.suppress(OSError):
                if name.endswith(UNSYNCED_SUFFIXES) or not entry.is_file(follow_symlinks=False):
                    continue
                if is_key(f"{self._prefix}{name}"):
                    yield name, _state_of(entry.stat(follow_symlinks=False))
                else:
                    self._warn_once(name, "its name is not one for an object")

    def _warn_once(self, name: str, why: str) -> None:
        if name not in self._warned:
            self._warned.add(name)
            log.warning("The checkpoint %r is not uploaded: %s.", name, why)

    def _inode(self, name: str) -> tuple[int, int] | None:
        try:
            found = (self._folder / name).lstat()
        except OSError:
            return None
        return found.st_dev, found.st_ino


def _state_of(found: os.stat_result) -> _FileState:
    return found.st_size, found.st_mtime_ns, found.st_ino


def _split(name: str) -> tuple[str, str]:
    """The folder of a file, and its name there."""
    folder, _, file = name.rpartition("/")
    return folder or ".", file


def _make_marker(name: str, folder: int) -> None:
    """Like all files in the folder, it belongs to the job. The script may have put a link there."""
    flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW
    with contextlib.suppress(OSError):
        number = os.open(name, flags, 0o644, dir_fd=folder)
        owner = os.fstat(folder)
        with contextlib.suppress(OSError):
            os.fchown(number, owner.st_uid, owner.st_gid)
        os.close(number)


def _remove_marker(name: str, folder: int) -> None:
    with contextlib.suppress(OSError):
        os.unlink(name, dir_fd=folder)
