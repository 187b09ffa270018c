"""Reports what happens to the files in a folder as events.

On Linux, inotify reports every change, however short, and renames and reads. On other systems the folder is
polled fifty times a second. This misses what is undone in between, and takes a quick write for a rename.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import struct
import sys
import threading
import time
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from local_sagemaker import UNSYNCED_SUFFIXES

from .contents import Contents

if TYPE_CHECKING:
    from collections.abc import Iterator


class Happening(StrEnum):
    """What happened to a file."""

    CREATED = "created"
    WRITTEN = "written"
    CLOSED = "closed"
    """by the process that wrote it"""
    APPENDED = "appended"
    """closed, and what was in it before is unchanged"""
    ARRIVED = "arrived"
    """complete, by a rename"""
    LEFT = "left"
    """by a rename"""
    DELETED = "deleted"
    READ = "read"


@dataclass(frozen=True, slots=True)
class FileEvent:
    """`at` is in seconds since the watch began; `name` is relative to the folder."""

    at: float
    what: Happening
    name: str


class Watch(Protocol):
    def stop(self) -> tuple[FileEvent, ...]:
        """Stop watching. Returns everything that happened until now."""

    def events_so_far(self) -> tuple[FileEvent, ...]:
        """Everything that happened until now. The watch continues."""


def watch_folder(folder: Path) -> Watch:
    """Start watching a folder and everything below it."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            return _Inotify(folder)
    return Poller(folder)


class _Events:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._began = time.monotonic()
        self._events: list[FileEvent] = []
        self._known = {name for name, _ in _files(folder, folder)}
        self._being_written: set[str] = set()
        self._contents = Contents(folder)
        for name in self._known:
            self._contents.learn(name)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="checkpoint watch", daemon=True)

    def stop(self) -> tuple[FileEvent, ...]:
        self._stopping.set()
        self._thread.join()
        ended_at = time.monotonic() - self._began
        changed = [name for name in self._contents.find_changed() if name not in self._being_written]
        for name in changed:
            for what in (Happening.WRITTEN, Happening.CLOSED):
                self._events.append(FileEvent(ended_at, what, name))
        return tuple(self._events)

    def events_so_far(self) -> tuple[FileEvent, ...]:
        return tuple(self._events)

    def _loop(self) -> None:
        raise NotImplementedError

    def _note(self, what: Happening, name: str) -> None:
        """Markers of SageMaker and what stays local are no checkpoints. That a script reads them counts."""
        if name.endswith(UNSYNCED_SUFFIXES) and what is not Happening.READ:
            return
        what = self._examine(what, name)
        if what in (Happening.LEFT, Happening.DELETED):
            self._known.discard(name)
        elif what is not Happening.READ:
            self._known.add(name)
        self._events.append(FileEvent(time.monotonic() - self._began, what, name))

    def _examine(self, what: Happening, name: str) -> Happening:
        """A file that was open for writing and did not change was read; one that grew was appended to."""
        if what in (Happening.CREATED, Happening.WRITTEN):
            self._being_written.add(name)
        elif what is Happening.CLOSED:
            if name not in self._being_written:
                return Happening.READ
            self._being_written.discard(name)
            return Happening.APPENDED if self._contents.learn(name) else Happening.CLOSED
        elif what is Happening.ARRIVED:
            self._contents.learn(name)
        return what


# --- inotify ---

_ACCESS, _MODIFY, _CLOSE_WRITE, _CLOSE_NOWRITE = 0x1, 0x2, 0x8, 0x10
_MOVED_FROM, _MOVED_TO, _CREATE, _DELETE, _IS_DIR = 0x40, 0x80, 0x100, 0x200, 0x40000000
_ALL = _ACCESS | _MODIFY | _CLOSE_WRITE | _CLOSE_NOWRITE | _MOVED_FROM | _MOVED_TO | _CREATE | _DELETE
_HEAD = struct.Struct("iIII")
_BY_BIT = {
    # Reading a file that is mapped into memory shows only when the file is closed.
    _ACCESS: Happening.READ,
    _CLOSE_NOWRITE: Happening.READ,
    _MODIFY: Happening.WRITTEN,
    _CLOSE_WRITE: Happening.CLOSED,
    _MOVED_FROM: Happening.LEFT,
    _MOVED_TO: Happening.ARRIVED,
    _CREATE: Happening.CREATED,
    _DELETE: Happening.DELETED,
}


class _Inotify(_Events):
    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._fd: int = self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "inotify_init1")
        self._paths: dict[int, Path] = {}
        self._found: set[str] = set()
        self._add(folder)
        self._thread.start()

    def _loop(self) -> None:
        poll = select.poll()
        poll.register(self._fd, select.POLLIN)
        try:
            while not self._stopping.is_set():
                if poll.poll(50):
                    self._read()
            self._read()
        finally:
            os.close(self._fd)

    def _add(self, folder: Path) -> None:
        """Watch a folder and those below it. A renamed folder keeps its number and gets its new path."""
        for path in (folder, *(found for found in folder.rglob("*") if found.is_dir())):
            number = self._libc.inotify_add_watch(self._fd, os.fsencode(path), _ALL)
            if number >= 0:
                self._paths[number] = path

    def _read(self) -> None:
        while True:
            try:
                data = os.read(self._fd, 65536)
            except BlockingIOError:
                return
            position = 0
            while position < len(data):
                number, mask, _cookie, length = _HEAD.unpack_from(data, position)
                position += _HEAD.size
                name = os.fsdecode(data[position : position + length].rstrip(b"\0"))
                position += length
                if name and number in self._paths:
                    self._meet(mask, self._paths[number] / name)

    def _meet(self, mask: int, path: Path) -> None:
        if mask & _IS_DIR:
            self._meet_folder(mask, path)
            return
        name = path.relative_to(self._folder).as_posix()
        for bit, what in _BY_BIT.items():
            if mask & bit and not self._is_reported(what, name):
                self._note(what, name)

    def _is_reported(self, what: Happening, name: str) -> bool:
        """Whether this belongs to a first write that was already reported when its folder was found."""
        is_rest = name in self._found and what in (Happening.CREATED, Happening.WRITTEN, Happening.CLOSED)
        if is_rest and what is Happening.CLOSED:
            self._contents.learn(name)
        if what not in (Happening.CREATED, Happening.WRITTEN, Happening.READ):
            self._found.discard(name)
        return is_rest

    def _meet_folder(self, mask: int, path: Path) -> None:
        if mask & (_CREATE | _MOVED_TO):
            self._add(path)
            for name, _ in _files(path, self._folder):
                if mask & _MOVED_TO:
                    self._note(Happening.ARRIVED, name)
                elif name not in self._known:  # its first write started before the folder was watched
                    self._found.add(name)
                    self._note(Happening.CREATED, name)
                    self._note(Happening.CLOSED, name)
        elif mask & _MOVED_FROM:
            below = f"{path.relative_to(self._folder).as_posix()}/"
            for name in sorted(name for name in self._known if name.startswith(below)):
                self._note(Happening.LEFT, name)


# --- polling ---


class Poller(_Events):
    """For systems without inotify."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._look = dict(_files(folder, folder))
        self._thread.start()

    def _loop(self) -> None:
        while not self._stopping.wait(0.02):
            self._compare()
        self._compare()

    def _compare(self) -> None:
        look = dict(_files(self._folder, self._folder))
        moved = {found.st_ino: name for name, found in self._look.items() if name not in look}
        for name, found in look.items():
            before = self._look.get(name)
            if found.st_ino in moved and (before is None or before.st_ino != found.st_ino):
                self._note(Happening.LEFT, moved.pop(found.st_ino))
                self._note(Happening.ARRIVED, name)
            elif before is None or before.st_ino != found.st_ino:
                self._note(Happening.ARRIVED, name)
            elif (before.st_mtime_ns, before.st_size) != (found.st_mtime_ns, found.st_size):
                self._note(Happening.WRITTEN, name)
                self._note(Happening.CLOSED, name)
            elif before.st_atime_ns != found.st_atime_ns:
                self._note(Happening.READ, name)
        for name in moved.values():
            self._note(Happening.DELETED, name)
        self._look = look


def _files(folder: Path, root: Path) -> Iterator[tuple[str, os.stat_result]]:
    for at, _, names in os.walk(folder):
        for name in sorted(names):
            path = Path(at) / name
            with contextlib.suppress(FileNotFoundError):
                yield path.relative_to(root).as_posix(), path.stat()
