"""The one place that waits: a poll loop for all waiting jobs of a (connection, region).

Jobs register and deregister; one daemon thread finds out what changed and notifies their listeners. Its loop
has periodic tasks, which fail and rest each for itself: what is refused or does not answer delays nothing
else.

- `listing`: what `ListTrainingJobs` says, a hundred jobs a call.
- `describing`: a call for each job of which the list says too little. A job that is over needs none: the task
  that waits describes it anyway.
- `live_logs`: the logs of a few jobs.

`registry` holds the jobs and what is known of them, `pace` says how often to look, `event_feed` whether
events make the list a slow safety net. Every call passes the process's one rate limit. Time is AWS's own (its
answers carry it), so a clock that is off here does not matter.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from .connection import Connection
from .describing import DescribeJobs
from .event_feed import EventFeed
from .following import Follower, Until, follow
from .gauges import Load, SendGauges
from .listing import LOOK_UP_FROM, GoRound, LookForChanges, LookUpNewJobs, TakeInNewJobs
from .live_logs import ReadLogs
from .pace import GATHER_SECONDS
from .rate_limit import RateLimit, shared_rate_limit
from .registry import WatchedJobs
from .reports import LogLines, Missing, Over, Report, TimeIsUp, Trouble, is_last
from .watched import Listener, Watch

if TYPE_CHECKING:
    from spot_training.sagemaker.clock import ServiceClock
    from spot_training.sagemaker.descriptions import Summary
    from spot_training.sagemaker.jobs import TrainingJobs
    from spot_training.sagemaker.logs import TrainingLogs

    from .events import StateChanges
    from .periodic import PeriodicTask

__all__ = [
    "Follower",
    "JobWatcher",
    "Listener",
    "LogLines",
    "Missing",
    "Over",
    "Report",
    "TimeIsUp",
    "Trouble",
    "Until",
    "Watch",
    "follow",
    "is_last",
]

#: While so many come at each turn it waits for more of them: a look-up reads the whole list.
GATHER_TIMES = 10


class JobWatcher:
    """Notifies listeners of how their jobs change, with one thread and as few calls as possible."""

    def __init__(
        self,
        make_jobs: Callable[[], TrainingJobs],
        *,
        make_logs: Callable[[], TrainingLogs] | None = None,
        rate_limit: RateLimit | None = None,
        events: StateChanges | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        on_start: Callable[[JobWatcher], None] = lambda _watcher: None,
        on_idle: Callable[[JobWatcher], None] = lambda _watcher: None,
        send_gauges: Callable[[], None] | None = None,
    ) -> None:
        """`on_start` is called when its thread starts, `on_idle` when that has ended: no listener is left.

        `send_gauges` is called now and then, if metrics are on.
        """
        self._on_start = on_start
        self._on_idle = on_idle
        self._send_gauges = send_gauges
        self._monotonic = monotonic
        rate_limit = rate_limit or shared_rate_limit()
        self._connection = Connection(
            make_jobs, rate_limit=rate_limit, prepare=self._prepare, monotonic=monotonic
        )
        self._feed = EventFeed(events, monotonic=monotonic)
        self._watched = WatchedJobs(self.clock, self._feed, monotonic=monotonic)
        self._logs = ReadLogs(make_logs, self._watched, rate_limit) if make_logs else None
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self._plan()

    def _plan(self) -> None:
        """Nobody waits: nothing is due, and nothing is known."""
        client, watched = self._connection, self._watched
        watched.forget_plans()
        self._changes = LookForChanges(client, watched)
        self._look_up = LookUpNewJobs(client, watched, self._changes)
        self._tasks: list[PeriodicTask] = [
            self._changes,
            TakeInNewJobs(client, watched, self._look_up),
            self._look_up,
            DescribeJobs(client, watched, self._changes, self._look_up),
            GoRound(client, watched),
        ]
        if self._logs is not None:
            self._logs.failing = None
            self._tasks.append(self._logs)
        if self._send_gauges is not None:
            self._tasks.append(SendGauges(client, self._send_gauges, self._monotonic))

    def take_load(self) -> Load:
        """What it waits for, and how late it saw changes since the last call."""
        load, failing = self._watched.take_load(), self._changes.failing
        if failing is None:
            return load
        without_answer = self._monotonic() - failing.since_monotonic
        return replace(load, lag_seconds=max(load.lag_seconds, without_answer))

    @property
    def clock(self) -> ServiceClock:
        """AWS's time."""
        return self._connection.clock

    # Listeners ---------------------------------------------------------------------------------------

    def watch(
        self,
        name: str,
        notify: Callable[[Report], None],
        *,
        interval_seconds: float,
        must_describe: bool = True,
        shows_log: bool = False,
    ) -> Watch:
        """Have `notify` called, from another thread, with the job's state and each change: see `add`."""
        watch = Watch(name=name, notify=notify, interval_seconds=interval_seconds, shows_log=shows_log)
        self.add(watch, must_describe=must_describe)
        return watch

    def add(
        self, listener: Listener, *, must_describe: bool = True, due_in_seconds: float | None = None
    ) -> None:
        """Register a listener. Raises what starting a thread raises; then nothing was registered.

        Without `must_describe` it may get no report before the first change, when many jobs came together,
        and not every change in a storm of them. Jobs that must be described come first, and of these the ones
        due soonest. A listener that shows the log gets new lines of it, unless too many others do.
        """
        with self._watched.lock:
            has_started = self._start()
            self._watched.add(listener, must_describe=must_describe, due_in_seconds=due_in_seconds)
            if listener.shows_log and self._logs is not None:
                self._logs.add(listener.name)
        self._wake.set()
        if has_started:
            self._on_start(self)

    def unwatch(self, listener: Listener) -> None:
        """Deregister. The thread ends when no listener is left."""
        with self._watched.lock:
            if not self._watched.remove(listener):
                return
            if self._logs is not None and not self._watched.shows_log(listener.name):
                self._logs.drop(listener.name)
            is_alone = not self._watched.by_name
        if is_alone:
            self._wake.set()

    def expect(self, name: str, seconds: float) -> None:
        """Look quickly around a moment so many seconds from now: a listener of this job waits for it."""
        self._watched.expect(name, seconds)

    def handle(self, job: Summary) -> bool:
        """Take in an event about a job, from another thread. A flood of events is read from the list instead.

        True for a job that a listener here waits for, or did until lately.
        """
        if not self._watched.update(job, is_event=True):
            with self._watched.lock:
                return self._feed.remembers(job.name)
        with self._watched.lock:
            self._feed.note_event()
            if self._feed.is_flood:
                self._changes.hurry()
        self._wake.set()
        return True

    @property
    def is_idle(self) -> bool:
        """Whether no listener waits, and no thread runs."""
        with self._watched.lock:
            return not self._watched.by_name and self._thread is None

    @property
    def is_settled(self) -> bool:
        """Whether no job is new, is being looked up, or is to be described."""
        with self._watched.lock:
            return not (self._watched.new or self._look_up.is_busy or any(self._watched.to_describe))

    # The thread --------------------------------------------------------------------------------------

    def _start(self) -> bool:
        """Whether a thread had to be started."""
        if self._thread is not None and self._thread.is_alive():
            return False
        thread = threading.Thread(target=self._run, name="spot-training-watcher", daemon=True)
        thread.start()
        self._thread = thread
        return True

    def _run(self) -> None:
        while not self._is_over():
            self._gather()
            self.look()
            self._wake.wait(self._seconds_until_due())
        self._on_idle(self)

    def _is_over(self) -> bool:
        """Whether no listener is left: then the thread ends."""
        self._wake.clear()
        with self._watched.lock:
            if self._watched.by_name:
                return False
            self._thread = None
            self._feed.unsubscribe(self.handle)
            self._plan()
            return True

    def _gather(self) -> None:
        """Wait a moment, so that jobs and changes that come together are asked for together."""
        if self._look_up.is_busy or self._feed.is_flood:
            return
        for _ in range(GATHER_TIMES):
            known = len(self._watched.new)
            time.sleep(min(GATHER_SECONDS, self._watched.pace.seconds(self._monotonic())))
            if len(self._watched.new) < known + LOOK_UP_FROM:
                return

    def look(self) -> None:
        """Do what is due now."""
        for task in self._tasks:
            if task.is_due:
                task.attempt()

    def _seconds_until_due(self) -> float:
        return max(0.0, min(task.next_at() for task in self._tasks) - self._monotonic())

    def _prepare(self, jobs: TrainingJobs) -> None:
        """Before the first job is described: what changes from now on is in the windows and the events."""
        if not self._changes.windows.is_open:
            moment = None
            with suppress(Exception):  # an answer that refuses carries the time, too
                moment = jobs.now()
            self._changes.windows.open(moment or self.clock.now())
        self._feed.subscribe(self.handle, jobs)
