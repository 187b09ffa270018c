"""Records what the container of each training job does."""

from __future__ import annotations

import math
import shutil
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from .files import list_files
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
    lines: list[tuple[float, str]] = field(default_factory=list)
    killed_at: float = math.inf


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
        if exit_code is None:
            events = _without_closing_by_kill(events, recording.killed_at)
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

    def wait_for(self, job_name: str, planned: PlannedInterruption, *, limit_seconds: float) -> bool:
        """Wait until an interruption of the first stretch is due. False if it ended before, or never
        started.
        """
        last = time.monotonic() + limit_seconds
        while not self._stretches.get(job_name) and (now := time.monotonic()) < last:
            recording = self._current.get(job_name)
            if recording and planned.is_due(now - recording.began, recording.watch.events_so_far()):
                recording.killed_at = time.monotonic() - recording.began + planned.notice_seconds
                return True
            took = time.monotonic() - now  # many events take longer, and the script needs the processor
            with self._lock:
                self._lock.wait(max(_LOOK_EVERY_SECONDS, 5 * took))
        return False


def _without_closing_by_kill(events: tuple[FileEvent, ...], killed_at: float) -> tuple[FileEvent, ...]:
    """Without the ends of writes that the kill caused: the system closes the files of a killed process."""
    alive = max((i for i, e in enumerate(events) if e.what not in _CLOSINGS or e.at < killed_at), default=-1)
    return events[: alive + 1]
