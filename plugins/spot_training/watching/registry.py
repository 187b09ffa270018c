"""The jobs of one watcher: who listens to each, what is known of it, and what its listeners are sent.

What the list, an event or a description says of a job comes in here; reports go out. Makes no calls.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from spot_training import metrics
from spot_training.domain.lifecycle import WAITING_STATUSES, JobSnapshot, TrainingStatus

from .gauges import Load
from .pace import Pace
from .periodic import Failing, after_failure
from .reports import Missing, Over, Report, Trouble
from .watched import DescribeQueue, Limits, Listener, Watched, state_of

if TYPE_CHECKING:
    from spot_training.sagemaker.clock import ServiceClock
    from spot_training.sagemaker.descriptions import Summary

    from .event_feed import EventFeed

log = logging.getLogger(__name__)


class WatchedJobs:
    """The registry of a watcher. Threads share it: its methods take `lock`, which a caller may hold already.

    Listeners are notified under the lock, so that each gets its reports in order.
    """

    def __init__(self, clock: ServiceClock, feed: EventFeed, *, monotonic: Callable[[], float]) -> None:
        self.lock = threading.RLock()
        self.pace = Pace()
        self._clock = clock
        self.feed = feed
        self.monotonic = monotonic
        self.by_name: dict[str, Watched] = {}
        #: Those that have registered since the watcher last asked.
        self.new: dict[str, Watched] = {}
        #: How late the latest change was seen since `take_lag`, if metrics are on.
        self._lag = 0.0
        self.forget_plans()

    def forget_plans(self) -> None:
        """No job is left: nothing is expected, and none is to be described."""
        self.limits = Limits()
        self.to_describe = DescribeQueue()

    # Listeners ---------------------------------------------------------------------------------------

    def add(self, listener: Listener, *, must_describe: bool, due_in_seconds: float | None) -> None:
        with self.lock:
            name, now = listener.name, self.monotonic()
            watched = self.by_name.setdefault(name, Watched(name=name))
            watched.listeners = (*watched.listeners, listener)
            # The new listener has had no report yet.
            watched.state, watched.reported, watched.is_over = None, None, False
            watched.must_describe |= must_describe
            self.new[name] = watched
            if due_in_seconds is not None:
                self.limits.expect(watched, now + due_in_seconds, now)
            self.pace.join(listener.interval_seconds)
            self.pace.stir(now)

    def remove(self, listener: Listener) -> bool:
        """False where it was not registered (any more)."""
        with self.lock:
            name = listener.name
            watched = self.by_name.get(name)
            if watched is None or listener not in watched.listeners:
                return False
            watched.listeners = tuple(other for other in watched.listeners if other is not listener)
            self.pace.leave(listener.interval_seconds)
            if not watched.listeners:
                del self.by_name[name]
                self.new.pop(name, None)
                self.feed.remember(name)
            return True

    def expect(self, name: str, seconds: float) -> None:
        """A listener of this job waits for a moment so many seconds from now."""
        with self.lock:
            if (watched := self.by_name.get(name)) is not None:
                now = self.monotonic()
                self.limits.expect(watched, now + seconds, now)
                self.limits.keep_few(len(self.by_name))
                self.to_describe.reorder(watched)

    def shows_log(self, name: str) -> bool:
        watched = self.by_name.get(name)
        return watched is not None and watched.shows_log

    def is_awaited(self, name: str) -> bool:
        watched = self.by_name.get(name)
        return watched is not None and watched.is_awaited

    # Jobs to describe --------------------------------------------------------------------------------

    def describe_soon(self, jobs: Iterable[Watched]) -> None:
        with self.lock:
            now = self.monotonic()
            for watched in jobs:
                self.to_describe.add(watched, now)

    def describe_all_soon(self) -> None:
        with self.lock:
            self.describe_soon(self.by_name.values())

    def next_to_describe(self) -> Watched | None:
        with self.lock:
            return self.to_describe.pop(self.monotonic(), only_musts=self.feed.is_flood)

    # What AWS says -----------------------------------------------------------------------------------

    def update(self, job: Summary, *, is_event: bool) -> bool:
        """Take in what the list or an event says of a job. False when no listener waits for it."""
        with self.lock:
            watched = self.by_name.get(job.name)
            if watched is None:
                return False
            if watched.is_over or not watched.is_news(job):
                return True
            is_first = watched.state is None
            watched.state = state_of(job)
            if not is_first:
                self._note_lag(job)
            if job.is_terminal:
                watched.is_over = True
                if not (is_event or is_first):
                    self._note_end_without_event(job)
                self.notify(
                    watched, Over(name=job.name, status=job.status, secondary_status=job.secondary_status)
                )
            elif not is_first:
                # A job that is stopping is over in a moment: the news of that is not worth a call.
                if watched.must_describe or job.status is not TrainingStatus.STOPPING:
                    self.describe_soon((watched,))
                self.pace.stir(self.monotonic())
        return True

    def update_described(self, watched: Watched, job: JobSnapshot | None) -> None:
        """Take in a description; None where AWS has no such job."""
        with self.lock:
            if watched.is_over:
                return  # an event reported the end while the description was on its way
            watched.failing = None
            if job is None:
                self.notify(watched, Missing(name=watched.name))
                return
            digest = hash((state_of(job), job.status, job.transitions))
            is_known = watched.state == state_of(job)
            watched.state = state_of(job)
            watched.is_over = job.is_terminal
            if digest == watched.reported:
                return
            now = self.monotonic()
            if watched.reported is not None:
                self.pace.stir(now)
                if not is_known:  # else the list or an event has said it before
                    self._note_lag(job)
                if job.is_terminal:
                    self._note_end_without_event(job)
            watched.reported = digest
            if (left := self._seconds_until_limit(job)) is not None:
                self.limits.set_limit(watched, now + left)
                self.limits.keep_few(len(self.by_name))
            self.notify(watched, job)

    def update_failed(self, watched: Watched, error: Exception, *, is_quiet: bool) -> None:
        """A job could not be described: it comes again, later each time. `is_quiet`: report nothing."""
        now = self.monotonic()
        with self.lock:
            watched.failing = after_failure(watched.failing, now)
            self.describe_soon((watched,))
            if not is_quiet and watched.failing.must_report(now):
                self.notify(watched, Trouble(since=watched.failing.since, error=str(error)))

    def _note_end_without_event(self, job: Summary | JobSnapshot) -> None:
        self.feed.note_end_without_event(self._seconds_since_change(job))

    def _note_lag(self, job: Summary | JobSnapshot) -> None:
        if metrics.are_on():
            self._lag = max(self._lag, self._seconds_since_change(job))

    def _seconds_since_change(self, job: Summary | JobSnapshot) -> float:
        return self._clock.real_seconds((self._clock.now() - job.last_modified_at).total_seconds())

    def take_load(self) -> Load:
        """What is waited for now, and the longest lag since the last call."""
        with self.lock:
            lag, self._lag = self._lag, 0.0
            states = [watched.state for watched in self.by_name.values() if watched.is_awaited]
        waiting = sum(state is not None and state[1] in WAITING_STATUSES for state in states)
        return Load(jobs=len(states), waiting=waiting, lag_seconds=lag)

    def _seconds_until_limit(self, job: JobSnapshot) -> float | None:
        """Until the first of the job's own time limits that is ahead."""
        if job.is_terminal:
            return None
        now = self._clock.now()
        limits = (
            (job.created_at, job.max_wait_seconds),
            (job.training_started_at, job.max_runtime_seconds),
        )
        ahead = (
            (since - now).total_seconds() + seconds
            for since, seconds in limits
            if since is not None and seconds is not None
        )
        left = min((left for left in ahead if left > 0), default=None)
        return None if left is None else self._clock.real_seconds(left)

    # Reports -----------------------------------------------------------------------------------------

    def notify(self, watched: Watched, report: Report, *, only_log_readers: bool = False) -> None:
        with self.lock:
            for listener in watched.listeners:
                if listener.shows_log or not only_log_readers:
                    _notify(listener, report)

    def notify_log_readers(self, name: str, report: Report) -> None:
        with self.lock:
            if (watched := self.by_name.get(name)) is not None:
                self.notify(watched, report, only_log_readers=True)

    def report_trouble(self, failing: Failing, error: Exception, *, only_queued: bool = False) -> None:
        """Notify the listeners of all jobs, or of those that are to be described."""
        trouble = Trouble(since=failing.since, error=str(error))
        with self.lock:
            for watched in dict.fromkeys(self.to_describe if only_queued else self.by_name.values()):
                self.notify(watched, trouble)


def _notify(listener: Listener, report: Report) -> None:
    try:
        listener.notify(report)
    except Exception:
        log.warning("A report on training job %s was not delivered", listener.name, exc_info=True)
