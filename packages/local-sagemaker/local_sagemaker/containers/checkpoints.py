"""Two-way sync of a host's checkpoint folder: restored before a start, uploaded and pruned while it runs.

A torn file never reaches S3. A file is uploaded when it looked the same (size, time) at two looks in a row
and no process of the job has it open for writing; it is read whole and compared once more before one
PutObject. A file that was being written when the job was killed stays behind. Names do not matter: `.tmp`
files are uploaded like any other, as nothing is known of AWS leaving them out. Deleting a file here deletes
the object. Objects that others add to the prefix later are not fetched. Links and empty folders are not
synced.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from local_sagemaker.services.objects import Objects, folder_prefix

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_LOOK_OF_FILE = tuple[int, int, int]


class CheckpointSync:
    """One host, one stretch. Used by one thread at a time."""

    def __init__(self, objects: Objects, *, uri: str, folder: Path, uploaded: Callable[[], None]) -> None:
        self._objects = objects
        self._bucket, self._prefix = folder_prefix(uri)
        self._folder = folder
        self._uploaded = uploaded
        self._last_look: dict[str, _LOOK_OF_FILE] = {}
        self._in_s3: dict[str, _LOOK_OF_FILE] = {}

    def restore(self, should_go_on: Callable[[], bool] = lambda: True) -> None:
        """Copy everything under the prefix into the folder."""
        root = self._folder.resolve()
        for key in self._objects.keys(self._bucket, self._prefix):
            path = (root / key.removeprefix(self._prefix)).resolve()
            if key.endswith("/") or not path.is_relative_to(root) or not should_go_on():
                continue
            content = self._objects.read(self._bucket, key)
            if content is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
        self._last_look = dict(self._look())
        self._in_s3 = dict(self._last_look)

    def sync(
        self, *, being_written: Callable[[], frozenset[tuple[int, int]]] = frozenset, is_final: bool = False
    ) -> int:
        """Upload what is new and whole, delete what is gone; returns the number of uploads.

        `being_written` finds (device, inode) of the files open for writing; it is asked only when there is
        something to upload. The final sync does not wait for a second look.
        """
        look = dict(self._look())
        new = [name for name, seen in look.items() if self._in_s3.get(name) != seen]
        settled = [name for name in new if is_final or self._last_look.get(name) == look[name]]
        torn = being_written() if settled else frozenset()
        count = sum(self._upload(name, look[name]) for name in settled if self._inode(name) not in torn)
        for name in [n for n in self._in_s3 if n not in look]:
            self._objects.delete(self._bucket, f"{self._prefix}{name}")
            del self._in_s3[name]
        self._last_look = look
        for _ in range(count):
            self._uploaded()
        return count

    def _upload(self, name: str, seen: _LOOK_OF_FILE) -> int:
        path = self._folder / name
        try:
            content = path.read_bytes()
            if _look_at(path) != seen:
                return 0
        except FileNotFoundError:
            return 0
        self._objects.write(self._bucket, f"{self._prefix}{name}", content)
        self._in_s3[name] = seen
        return 1

    def _look(self) -> Iterator[tuple[str, _LOOK_OF_FILE]]:
        for folder, _, names in os.walk(self._folder):
            for name in sorted(names):
                path = Path(folder) / name
                try:
                    if not path.is_symlink() and path.is_file():
                        yield path.relative_to(self._folder).as_posix(), _look_at(path)
                except FileNotFoundError:
                    continue

    def _inode(self, name: str) -> tuple[int, int] | None:
        try:
            found = (self._folder / name).stat()
        except FileNotFoundError:
            return None
        return found.st_dev, found.st_ino


def _look_at(path: Path) -> _LOOK_OF_FILE:
    found = path.stat()
    return found.st_size, found.st_mtime_ns, found.st_ino
