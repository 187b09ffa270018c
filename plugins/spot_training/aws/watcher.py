"""The one place that waits: a poll loop for all waiting jobs of a (connection, region).

Jobs register and deregister; one daemon thread asks AWS what changed and tells the one listener concerned.
While there are few jobs each is described directly; with many, `ListTrainingJobs` says which changed and
only those are described. Time is AWS's own: the list is asked for what changed since the newest
LastModifiedTime seen, so a clock that is off here does not matter.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
import time
from collections.abc import AsyncIterator, Callable, Hashable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from spot_training.domain.lifecycle import JobSnapshot

if TYPE_CHECKING:
    from .jobs import TrainingJobs

log = logging.getLogger(__name__)

#: Up to so many jobs, describing each costs no more calls than listing.
DESCRIBE_EACH_UP_TO = 3
#: AWS may report a change late; what changed shortly before the newest change seen is looked at again.
LIST_OVERLAP = timedelta(minutes=5)
#: A job nobody reported on for so many looks is described all the same.
DESCRIBE_AT_LEAST_EVERY_LOOKS = 20
#: How long polling must have been failing before the listeners are told, and how often they are told again.
TROUBLE_AFTER_SECONDS = 60
TROUBLE_AGAIN_SECONDS = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """There is no job of that name (any more)."""

    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """AWS has not answered for a while. The watcher goes on asking."""

    since: datetime
    error: str

    def __str__(self) -> str:
        return (
            f"SageMaker has not answered since {self.since:%Y-%m-%d %H:%M:%S} UTC, still asking: {self.error}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeIsUp:
    """The moment until which the caller wanted to wait has passed; the job may go on."""

    until: datetime


Report = JobSnapshot | Missing | Trouble | TimeIsUp
#: Until when a caller waits: a moment, or what tells it; that is asked anew before each wait.
Until = datetime | Callable[[], datetime | None] | None


@dataclass(eq=False, slots=True)
class Watch:
    """One listener for one job."""

    name: str
    tell: Callable[[Report], None]
    interval_seconds: float
    is_new: bool = True


@dataclass(slots=True)
class _Known:
    job: JobSnapshot | None = None
    looks_ago: int = 0

    def has_not_seen(self, changed_at: datetime | None) -> bool:
        return changed_at is not None and (self.job is None or changed_at != self.job.last_modified_at)


@dataclass(slots=True)
class _Failing:
    since: datetime
    since_monotonic: float
    told_at_monotonic: float | None = None


@dataclass(slots=True)
class _Book:
    """Who watches what, and what is known of it."""

    watches: dict[str, list[Watch]] = field(default_factory=dict)
    known: dict[str, _Known] = field(default_factory=dict)


class JobWatcher:
    """Tells listeners how their jobs change, with one thread and as few calls as possible."""

    def __init__(self, make_jobs: Callable[[], TrainingJobs]) -> None:
        self._make_jobs = make_jobs
        self._jobs: TrainingJobs | None = None
        self._book = _Book()
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self._newest_change: datetime | None = None
        self._failing: _Failing | None = None

    def watch(self, name: str, tell: Callable[[Report], None], *, interval_seconds: float) -> Watch:
        """Register a listener: it is told the job's state at once, then each change, from another thread."""
        watch = Watch(name=name, tell=tell, interval_seconds=interval_seconds)
        with self._lock:
            self._book.watches.setdefault(name, []).append(watch)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="spot-training-watcher", daemon=True)
                self._thread.start()
        self._wake.set()
        return watch

    def unwatch(self, watch: Watch) -> None:
        """Deregister. The thread ends when nobody is left."""
        with self._lock:
            watches = self._book.watches.get(watch.name, [])
            if watch in watches:
                watches.remove(watch)
            if not watches:
                self._book.watches.pop(watch.name, None)
                self._book.known.pop(watch.name, None)
        self._wake.set()

    def look(self) -> None:
        """Ask AWS once and tell who is concerned."""
        with self._lock:
            everyone = {name: list(watches) for name, watches in self._book.watches.items()}
        try:
            self._jobs = self._jobs or self._make_jobs()
            for name in self._names_to_describe(self._jobs, everyone):
                self._describe_and_tell(self._jobs, name, everyone[name])
        except Exception as error:  # noqa: BLE001 - whatever it is, a poll that fails must never end a training
            self._remember_failure(error, everyone)
        else:
            self._failing = None

    def _run(self) -> None:
        while True:
            self._wake.clear()
            with self._lock:
                if not self._book.watches:
                    self._thread = None
                    return
            self.look()
            self._wake.wait(self._interval_seconds())

    def _interval_seconds(self) -> float:
        with self._lock:
            watches = [watch for same_job in self._book.watches.values() for watch in same_job]
        if any(watch.is_new for watch in watches):
            return 0 if self._failing is None else 1
        return min((watch.interval_seconds for watch in watches), default=0)

    def _names_to_describe(self, jobs: TrainingJobs, everyone: dict[str, list[Watch]]) -> list[str]:
        if len(everyone) <= DESCRIBE_EACH_UP_TO:
            return list(everyone)
        changed = self._changed(jobs)
        return [name for name, watches in everyone.items() if self._is_due(name, watches, changed)]

    def _changed(self, jobs: TrainingJobs) -> dict[str, datetime]:
        since = None if self._newest_change is None else self._newest_change - LIST_OVERLAP
        changed = {change.name: change.last_modified_at for change in jobs.changed_since(since)}
        self._notice(*changed.values())
        return changed

    def _notice(self, *moments: datetime) -> None:
        self._newest_change = max((m for m in (self._newest_change, *moments) if m is not None), default=None)

    def _is_due(self, name: str, watches: list[Watch], changed: dict[str, datetime]) -> bool:
        known = self._book.known.setdefault(name, _Known())
        known.looks_ago += 1
        return (
            any(watch.is_new for watch in watches)
            or known.looks_ago >= DESCRIBE_AT_LEAST_EVERY_LOOKS
            or known.has_not_seen(changed.get(name))
        )

    def _describe_and_tell(self, jobs: TrainingJobs, name: str, watches: list[Watch]) -> None:
        job = jobs.snapshot(name)
        report: Report = Missing(name=name) if job is None else job
        known = self._book.known.setdefault(name, _Known())
        is_news = job is None or job != known.job
        known.job = job
        known.looks_ago = 0
        if job is not None:
            self._notice(job.last_modified_at)
        for watch in watches:
            if is_news or watch.is_new:
                watch.is_new = False
                watch.tell(report)

    def _remember_failure(self, error: Exception, everyone: dict[str, list[Watch]]) -> None:
        now = time.monotonic()
        if self._failing is None:
            self._failing = _Failing(since=datetime.now(UTC), since_monotonic=now)
        failing = self._failing
        log.debug("A look at SageMaker failed", exc_info=error)
        told = failing.told_at_monotonic
        if now - failing.since_monotonic < TROUBLE_AFTER_SECONDS:
            return
        if told is not None and now - told < TROUBLE_AGAIN_SECONDS:
            return
        failing.told_at_monotonic = now
        trouble = Trouble(since=failing.since, error=str(error))
        for watches in everyone.values():
            for watch in watches:
                watch.tell(trouble)


def follow(
    watcher: JobWatcher, name: str, *, interval_seconds: float, until: Until = None
) -> Iterator[Report]:
    """Reports on a job until it is over or missing, or time is up; for code without a running event loop."""
    reports: queue.SimpleQueue[Report] = queue.SimpleQueue()
    watch = watcher.watch(name, reports.put, interval_seconds=interval_seconds)
    try:
        while True:
            try:
                report = reports.get(timeout=_seconds_left(moment := _moment_of(until)))
            except queue.Empty:
                report = _time_is_up(moment)
            yield report
            if is_last(report):
                return
    finally:
        watcher.unwatch(watch)


async def follow_async(
    watcher: JobWatcher, name: str, *, interval_seconds: float, until: Until = None
) -> AsyncIterator[Report]:
    """Reports on a job until it is over or missing, or time is up, without blocking the event loop."""
    loop = asyncio.get_running_loop()
    reports: asyncio.Queue[Report] = asyncio.Queue()
    watch = watcher.watch(
        name,
        lambda report: _hand_over(loop, reports, report),
        interval_seconds=interval_seconds,
    )
    try:
        while True:
            try:
                report = await asyncio.wait_for(
                    reports.get(), timeout=_seconds_left(moment := _moment_of(until))
                )
            except TimeoutError:
                report = _time_is_up(moment)
            yield report
            if is_last(report):
                return
    finally:
        watcher.unwatch(watch)


def _moment_of(until: Until) -> datetime | None:
    return until() if callable(until) else until


def _seconds_left(until: datetime | None) -> float | None:
    return None if until is None else max(0.0, (until - datetime.now(UTC)).total_seconds())


def _time_is_up(until: datetime | None) -> TimeIsUp:
    return TimeIsUp(until=until or datetime.now(UTC))


def _hand_over(loop: asyncio.AbstractEventLoop, reports: asyncio.Queue[Report], report: Report) -> None:
    if not loop.is_closed():
        loop.call_soon_threadsafe(reports.put_nowait, report)


def is_last(report: Report) -> bool:
    """Whether nothing will follow this report."""
    return isinstance(report, Missing | TimeIsUp) or (isinstance(report, JobSnapshot) and report.is_terminal)


_shared: dict[Hashable, JobWatcher] = {}
_shared_lock = threading.Lock()


def shared_watcher(key: Hashable, make_jobs: Callable[[], TrainingJobs]) -> JobWatcher:
    """The process's one watcher for `key` (connection and region)."""
    with _shared_lock:
        return _shared.setdefault(key, JobWatcher(make_jobs))
