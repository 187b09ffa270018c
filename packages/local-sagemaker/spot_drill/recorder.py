"""Records what the container of each training job does."""

from __future__ import annotations

import shutil
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from .files import list_files
from .observe import Stretch
from .watch import Watch, watch_folder

if TYPE_CHECKING:
    from .evidence import Enough

_KEPT_LINES = 20_000


@dataclass(slots=True)
class _Recording:
    began: float
    restored: tuple[str, ...]
    watch: Watch
    lines: list[tuple[float, str]] = field(default_factory=list)


class Recorder:
    """A `ContainerObserver` that records the first host of each job."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Condition()
        self._current: dict[str, _Recording] = {}
        self._stretches: dict[str, list[Stretch]] = {}

    def starting(self, job_name: str, host: str, checkpoints: Path | None) -> None:
        if host != "algo-1" or checkpoints is None:
            return
        restored = tuple(sorted(p.relative_to(checkpoints).as_posix() for p in list_files(checkpoints)))
        if restored and len(self._stretches.get(job_name, ())) == 1:
            shutil.copytree(checkpoints, self.restored_folder(job_name))
        watch = watch_folder(checkpoints)
        with self._lock:
            self._current[job_name] = _Recording(time.monotonic(), restored, watch)
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

    def restored_folder(self, job_name: str) -> Path:
        """A copy of the files that the second stretch of the job started with. Does not exist if there were
        none.
        """
        return self._folder / f"restored-{job_name}"

    def stretches(self, job_name: str) -> tuple[Stretch, ...]:
        return tuple(self._stretches.get(job_name, ()))

    def wait_for(self, job_name: str, at_seconds: float, *, limit_seconds: float) -> bool:
        """Wait until the first stretch has run for this time. False if it ended before, or never started."""
        last = time.monotonic() + limit_seconds
        with self._lock:
            while not self._stretches.get(job_name):
                recording = self._current.get(job_name)
                due = recording.began + at_seconds if recording else last
                if time.monotonic() >= min(due, last):
                    return recording is not None
                # Nothing reports the end of a job that never started, so check at intervals.
                self._lock.wait(min(0.5, max(0.0, min(due, last) - time.monotonic())))
        return False

    def has_saved(self, job_name: str, enough: Enough) -> bool:
        """Whether the current stretch has saved enough."""
        return enough.is_there(self._current[job_name].watch.events_so_far())
