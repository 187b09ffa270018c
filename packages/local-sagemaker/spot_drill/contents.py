"""Remembers what is in the files of a folder, to tell an append from new content."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

#: How much of a file is compared: its start, and the end of what was there before.
_SAMPLE_BYTES = 65536


@dataclass(frozen=True, slots=True)
class _Content:
    size: int
    changed_ns: int
    digest: bytes


class Contents:
    """The files of one folder, as they were when each was last looked at."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._seen: dict[str, _Content] = {}

    def learn(self, name: str) -> bool:
        """Look at a file. Returns whether everything that was in it before is still there."""
        before = self._seen.pop(name, None)
        try:
            with (self._folder / name).open("rb") as file:
                found = os.fstat(file.fileno())
                self._seen[name] = _Content(
                    found.st_size, found.st_mtime_ns, _digest(file.fileno(), found.st_size)
                )
                return (
                    before is not None
                    and 0 < before.size <= found.st_size
                    and _digest(file.fileno(), before.size) == before.digest
                )
        except OSError:
            return False

    def find_changed(self) -> list[str]:
        """The files that changed since then, such as through a memory map, which causes no event."""
        return sorted(name for name in list(self._seen) if self._has_changed(name))

    def _has_changed(self, name: str) -> bool:
        before = self._seen[name]
        try:
            if (self._folder / name).stat().st_mtime_ns == before.changed_ns:
                return False
        except OSError:
            return False
        self.learn(name)
        return name in self._seen and self._seen[name].digest != before.digest


def _digest(number: int, size: int) -> bytes:
    head = os.pread(number, min(size, _SAMPLE_BYTES), 0)
    tail = os.pread(number, min(size, _SAMPLE_BYTES), max(0, size - _SAMPLE_BYTES))
    return hashlib.blake2b(head + tail, digest_size=16).digest()
