"""The processes of a container, and the files they are writing."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_WRITE_MODES = (os.O_WRONLY, os.O_RDWR)


def processes_of(pid: int) -> list[psutil.Process]:
    """A process and everything below it."""
    try:
        top = psutil.Process(pid)
        return [top, *top.children(recursive=True)]
    except psutil.Error:
        return []


def files_being_written(processes: Iterable[psutil.Process]) -> frozenset[tuple[int, int]]:
    """(device, inode) of every file the processes have open for writing. Empty on a system without /proc."""
    return frozenset(inode for process in processes for inode in _written_by(process.pid))


def _written_by(pid: int) -> Iterator[tuple[int, int]]:
    folder = Path(f"/proc/{pid}")
    try:
        descriptors = [entry.name for entry in (folder / "fdinfo").iterdir()]
    except OSError:
        return
    for descriptor in descriptors:
        try:
            info = (folder / "fdinfo" / descriptor).read_text(encoding="ascii")
            flags = next(int(line.split()[1], 8) for line in info.splitlines() if line.startswith("flags:"))
            if flags & os.O_ACCMODE in _WRITE_MODES:
                found = (folder / "fd" / descriptor).stat()
                yield found.st_dev, found.st_ino
        except (OSError, ValueError, StopIteration):
            continue
