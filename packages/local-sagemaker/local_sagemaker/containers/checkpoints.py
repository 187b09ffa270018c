"""Syncs a host's checkpoint folder with S3: restores it before a start, uploads and deletes while the job
runs.

An incomplete file never reaches S3. A file is uploaded when two checks in a row found it unchanged (size,
time) and no process of the job has it open for writing. It is read whole and checked once more before
PutObject. A file that was being written when the job was killed is not uploaded. `.tmp` files are uploaded,
too, because AWS does not document an exception. Deleting a file deletes the object. Objects that others add
to the prefix later are not downloaded. Links and empty folders are not synced.

The script sees two markers, as on AWS: the empty files `<file>.sagemaker-uploading`, from the check that
found the file new until it is in S3, and then `<file>.sagemaker-uploaded`. They are gone when their file is,
and a restored file has none. `*.sagemaker-ignore` stays local: AWS's XGBoost callback writes to such a name,
then renames. Source: `checkpointing.py` of aws/sagemaker-xgboost-container.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from local_sagemaker.services.objects import Objects, folder_prefix

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: The ends of the names of the empty files that tell a script about an upload.
MARKER_SUFFIXES = UPLOADING, UPLOADED = ".sagemaker-uploading", ".sagemaker-uploaded"
#: The ends of the names of files in a checkpoint folder that never reach S3.
UNSYNCED_SUFFIXES = (*MARKER_SUFFIXES, ".sagemaker-ignore")

_FileState = tuple[int, int, int]


class CheckpointSync:
    """One host, one stretch. Used by one thread at a time."""

    def __init__(self, objects: Objects, *, uri: str, folder: Path, uploaded: Callable[[], None]) -> None:
        self._objects = objects
        self._bucket, self._prefix = folder_prefix(uri)
        self._folder = folder
        self._uploaded = uploaded
        self._last_states: dict[str, _FileState] = {}
        self._in_s3: dict[str, _FileState] = {}
        self._marked: set[str] = set()

    def restore(self, should_go_on: Callable[[], bool] = lambda: True) -> None:
        """Copy everything below the prefix into the folder."""
        root = self._folder.resolve()
        for key in self._objects.keys(self._bucket, self._prefix):
            path = (root / key.removeprefix(self._prefix)).resolve()
            if key.endswith("/") or not path.is_relative_to(root) or not should_go_on():
                continue
            content = self._objects.read(self._bucket, key)
            if content is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
        self._last_states = dict(self._list_states())
        self._in_s3 = dict(self._last_states)

    def sync(
        self, *, being_written: Callable[[], frozenset[tuple[int, int]]] = frozenset, is_final: bool = False
    ) -> int:
        """Upload what is new and complete, and delete what is gone. Returns the number of uploads.

        `being_written` returns (device, inode) of the files open for writing. It is called only if there is
        something new. The final sync does not wait for a second check, and nobody is left to see markers.
        """
        states = dict(self._list_states())
        new = [name for name, seen in states.items() if self._in_s3.get(name) != seen]
        incomplete = being_written() if new else frozenset()
        complete = [name for name in new if self._inode(name) not in incomplete]
        if not is_final:
            for name in complete:
                self._mark_uploading(name)
        count = sum(
            self._upload(name, states[name], is_seen=not is_final)
            for name in complete
            if is_final or self._last_states.get(name) == states[name]
        )
        for name in [n for n in self._in_s3 if n not in states]:
            self._objects.delete(self._bucket, f"{self._prefix}{name}")
            del self._in_s3[name]
        for name in [n for n in self._marked if n not in states]:
            self._unmark(name)
        self._last_states = states
        for _ in range(count):
            self._uploaded()
        return count

    def _upload(self, name: str, seen: _FileState, *, is_seen: bool) -> int:
        path = self._folder / name
        try:
            content = path.read_bytes()
            if _state_of(path) != seen:
                return 0
        except FileNotFoundError:
            return 0
        self._objects.write(self._bucket, f"{self._prefix}{name}", content)
        self._in_s3[name] = seen
        if is_seen:
            self._mark_uploaded(name)
        return 1

    def _mark_uploading(self, name: str) -> None:
        self._marked.add(name)
        self._make_marker(name, UPLOADING)
        self._remove_marker(name, UPLOADED)

    def _mark_uploaded(self, name: str) -> None:
        """With a rename, because a script may list the folder at any time."""
        try:
            (self._folder / f"{name}{UPLOADING}").replace(self._folder / f"{name}{UPLOADED}")
        except OSError:  # the script removed the marker
            self._make_marker(name, UPLOADED)

    def _unmark(self, name: str) -> None:
        self._marked.discard(name)
        for marker in (UPLOADING, UPLOADED):
            self._remove_marker(name, marker)

    def _make_marker(self, name: str, marker: str) -> None:
        """The script may have removed the folder, and it may have put a link there: it is not followed."""
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW
        with contextlib.suppress(OSError):
            os.close(os.open(self._folder / f"{name}{marker}", flags, 0o644))

    def _remove_marker(self, name: str, marker: str) -> None:
        with contextlib.suppress(OSError):
            (self._folder / f"{name}{marker}").unlink()

    def _list_states(self) -> Iterator[tuple[str, _FileState]]:
        for folder, _, names in os.walk(self._folder):
            for name in sorted(n for n in names if not n.endswith(UNSYNCED_SUFFIXES)):
                path = Path(folder) / name
                try:
                    if not path.is_symlink() and path.is_file():
                        yield path.relative_to(self._folder).as_posix(), _state_of(path)
                except FileNotFoundError:
                    continue

    def _inode(self, name: str) -> tuple[int, int] | None:
        try:
            found = (self._folder / name).stat()
        except FileNotFoundError:
            return None
        return found.st_dev, found.st_ino


def _state_of(path: Path) -> _FileState:
    found = path.stat()
    return found.st_size, found.st_mtime_ns, found.st_ino
