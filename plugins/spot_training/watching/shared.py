"""The watchers of a process: one for each access to AWS, for as long as a listener waits."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from spot_training import metrics
from spot_training.process import PerProcess

from .gauges import Load, LoadGauges
from .watcher import JobWatcher

if TYPE_CHECKING:
    from spot_training.sagemaker.jobs import TrainingJobs
    from spot_training.sagemaker.logs import TrainingLogs

    from .events import StateChanges
    from .rate_limit import RateLimit

#: A watcher that nobody has used so long after it was asked for is forgotten: the caller has failed.
UNUSED_SECONDS = 60.0


@dataclass(slots=True)
class _Entry:
    """A watcher, and when it was last asked for."""

    watcher: JobWatcher
    at: float


class SharedWatchers:
    """Watchers by key. One without listeners is forgotten: settings that differ by run leave nothing."""

    def __init__(self) -> None:
        self.entries: dict[Hashable, _Entry] = {}
        self._gauges = LoadGauges()
        self._lock = threading.Lock()

    def get(self, key: Hashable, make: Callable[[], JobWatcher]) -> JobWatcher:
        with self._lock:
            self._forget_unused()
            if key not in self.entries:
                self.entries[key] = _Entry(make(), time.monotonic())
            entry = self.entries[key]
            entry.at = time.monotonic()
            return entry.watcher

    def keep(self, key: Hashable, watcher: JobWatcher) -> None:
        """It is used now, and may have been forgotten since it was asked for."""
        with self._lock:
            self.entries.setdefault(key, _Entry(watcher, time.monotonic()))

    def forget(self, key: Hashable, watcher: JobWatcher) -> None:
        """It has no listener any more, unless one has come just now."""
        with self._lock:
            entry = self.entries.get(key)
            if entry is not None and entry.watcher is watcher and watcher.is_idle:
                del self.entries[key]
        self.send_gauges(at_once=True)

    def send_gauges(self, *, at_once: bool = False) -> None:
        """Send what all of them wait for."""
        if metrics.are_on():
            self._gauges.send(self._loads, at_once=at_once)

    def _loads(self) -> list[Load]:
        with self._lock:
            watchers = [entry.watcher for entry in self.entries.values()]
        return [watcher.take_load() for watcher in watchers]

    def _forget_unused(self) -> None:
        limit = time.monotonic() - UNUSED_SECONDS
        for key, entry in list(self.entries.items()):
            if entry.at < limit and entry.watcher.is_idle:
                del self.entries[key]


_kept: PerProcess[SharedWatchers] = PerProcess()


def shared_watchers() -> SharedWatchers:
    return _kept.get(SharedWatchers)


def shared_watcher(
    key: Hashable,
    make_jobs: Callable[[], TrainingJobs],
    *,
    make_logs: Callable[[], TrainingLogs] | None = None,
    make_events: Callable[[], StateChanges | None] = lambda: None,
    rate_limit: RateLimit | None = None,
) -> JobWatcher:
    """The process's one watcher for `key` (connection, region and settings)."""
    watchers = shared_watchers()

    def make() -> JobWatcher:
        return JobWatcher(
            make_jobs,
            make_logs=make_logs,
            rate_limit=rate_limit,
            events=make_events(),
            on_start=partial(watchers.keep, key),
            on_idle=partial(watchers.forget, key),
            send_gauges=watchers.send_gauges,
        )

    return watchers.get(key, make)
