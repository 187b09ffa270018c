"""Records what the container of each training job does."""

from __future__ import annotations

import shutil
import threading
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from .files import digest_of, list_files
from .observe import Stretch
from .watch import FileEvent, Happening, Watch, watch_folder

if TYPE_CHECKING:
    from .moments import PlannedInterruption

_KEPT_LINES = 20_000
_LOOK_EVERY_SECONDS = 0.01
_CLOSINGS = frozenset({Happening.CLOSED, Happening.APPENDED, Happening.READ})


@dataclass(slots=True)
class _Recording:
    began: float
    restored: tuple[str, ...]
    watch: Watch
    folder: Path
    lines: list[tuple[float, str]] = field(default_factory=list)


class Recorder:
    """A `ContainerObserver` that records the first host of each job."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Condition()
        self._current: dict[str, _Recording] = {}
        self._stretches: dict[str, list[Stretch]] = {}
        self._at_kill: dict[str, dict[str, str]] = {}

    def starting(self, job_name: str, host: str, checkpoints: Path | None) -> None:
        if host != "algo-1" or checkpoints is None:
            return
        restored = tuple(sorted(p.relative_to(checkpoints).as_posix() for p in list_files(checkpoints)))
        if restored and len(self._stretches.get(job_name, ())) == 1:
            shutil.copytree(checkpoints, self.restored_folder(job_name))
        self._remove_closings_by_kill(job_name, checkpoints)
        watch = watch_folder(checkpoints)
        with self._lock:
            self._current[job_name] = _Recording(time.monotonic(), restored, watch, checkpoints)
            self._lock.notify_all()

    def wrote(self, job_name: str, host: str, line: str) -> None:
        recording = self._current.get(job_name)
        if host == "algo-1" and recording and len(recording.lines) < _KEPT_LINES:
            recording.lines.append((time.monotonic() - recording.began, line))

    def ended(self, job_name: str, host: str, exit_code: int | None) -> None:
        if host != "algo-1" or job_name not in self._current:
            return
        recording = self._current[job_name]
        seconds = time.monotonic() - recording.began
        events = recording.watch.stop()
        if exit_code is None:
            _, closed = _find_last_closings(events)
            there = [name for name in closed if (recording.folder / name).is_file()]
            self._at_kill[job_name] = {name: digest_of(recording.folder / name) for name in there}
        with self._lock:
            self._stretches.setdefault(job_name, []).append(
                Stretch(
                    seconds=seconds,
                    exit_code=exit_code,
                    restored=recording.restored,
                    events=events,
                    lines=tuple(recording.lines),
                )
            )
            self._lock.notify_all()

    def _remove_closings_by_kill(self, job_name: str, restored: Path) -> None:
        """Without the ends of writes that the kill caused: the system closes the files of a killed process.

        What was complete is restored with the same content.
        """
        at_kill = self._at_kill.pop(job_name, None)
        if at_kill is None:
            return
        whole = {
            name
            for name, digest in at_kill.items()
            if (restored / name).is_file() and digest_of(restored / name) == digest
        }
        stretch = self._stretches[job_name][-1]
        start, _ = _find_last_closings(stretch.events)
        kept = tuple(e for e in stretch.events[start:] if e.name in whole or e.what is Happening.READ)
        self._stretches[job_name][-1] = replace(stretch, events=(*stretch.events[:start], *kept))

    def restored_folder(self, job_name: str) -> Path:
        """A copy of the files that the second stretch of the job started with. Does not exist if there were
        none.
        """
        return self._folder / f"restored-{job_name}"

    def stretches(self, job_name: str) -> tuple[Stretch, ...]:
        return tuple(self._stretches.get(job_name, ()))

    def wait_for(self, job_name: str, planned: PlannedInterruption, *, limit_seconds: float) -> bool:
        """Wait until an interruption of the first stretch is due. False if it ended before, or never
        started.
        """
        last = time.monotonic() + limit_seconds
        while not self._stretches.get(job_name) and (now := time.monotonic()) < last:
            recording = self._current.get(job_name)
            if recording and planned.is_due(now - recording.began, recording.watch.events_so_far()):
                return True
            took = time.monotonic() - now  # many events take longer, and the script needs the processor
            with self._lock:
                self._lock.wait(max(_LOOK_EVERY_SECONDS, 5 * took))
        return False


def _find_last_closings(events: tuple[FileEvent, ...]) -> tuple[int, frozenset[str]]:
    """Where the ends of writes begin after which nothing else happened, and the files."""
    start = len(events)
    while start and events[start - 1].what in _CLOSINGS:
        start -= 1
    ended = (event.name for event in events[start:] if event.what is not Happening.READ)
    return start, frozenset(ended)
