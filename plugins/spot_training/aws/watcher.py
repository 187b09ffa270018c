"""The one place that waits: a poll loop for all waiting jobs of a (connection, region).

Jobs register and deregister; one daemon thread finds out what changed and tells the listeners concerned.

- With few jobs each is described. With many, `ListTrainingJobs` says which changed since the last look, and
  only those are described. A job that is over needs no description: whoever waits describes it anyway.
- Many jobs that register together (a triggerer that starts) are looked up in the list, 100 a call.
- A round through the whole list, a page now and then, hears of every job within the hour; what it does not
  find is described. It catches what the windows and the events missed.
- State changes may come as events (`events`): then the list is a slow safety net.

Time is AWS's own (its answers carry it), so a clock that is off here does not matter. How often to look is
`pace`'s to say; every call passes the budget of calls a second that all watchers of the process share.
"""

from __future__ import annotations

import heapq
import logging
import queue
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Protocol, Self, TypeAlias

from spot_training.domain.lifecycle import JobSnapshot, SecondaryStatus

from .budget import CallBudget
from .clock import ServiceClock
from .logs import LogTail
from .pace import GATHER_SECONDS, Pace
from .post import Letterbox
from .reports import LogLines, Missing, Over, Report, TimeIsUp, Trouble, is_last

if TYPE_CHECKING:
    from .events import StateChanges
    from .jobs import Summary, TrainingJobs
    from .logs import TrainingLogs

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
    "follow_async",
    "is_last",
    "shared_budget",
    "shared_watcher",
]

log = logging.getLogger(__name__)

#: Up to so many jobs, describing each costs no more calls than listing.
DESCRIBE_EACH_UP_TO = 3
#: Up to so many jobs that come together are described; more are looked up in the list.
LOOK_UP_FROM = 20
#: AWS may report a change late: what changed shortly before the last look is listed again, ...
LIST_OVERLAP = timedelta(seconds=30)
#: ... and from time to time what changed well before it.
LONG_OVERLAP = timedelta(minutes=10)
LONG_OVERLAP_EVERY_SECONDS = 300.0
#: The round through the whole list: three calls a minute, and a rest.
ROUND_STEP_SECONDS = 20.0
ROUND_REST_SECONDS = 600.0
#: Logs are shown live for so many jobs of a watcher at most, so often.
LIVE_LOGS_UP_TO = 10
LIVE_LOG_SECONDS = 10.0
#: How long polling must have been failing before the listeners are told, and how often they are told again.
TROUBLE_AFTER_SECONDS = 60
TROUBLE_AGAIN_SECONDS = 300
#: After a look that failed, the next comes no sooner.
AFTER_FAILURE_SECONDS = 1.0
#: While the queue holds more events than fit into a batch, the list is looked at so often.
FLOOD_SECONDS = 1.0
#: It is quick from so long before a limit on.
BEFORE_A_LIMIT_SECONDS = 15.0


#: Until when a caller waits: a moment, or what tells it; that is asked anew before each wait.
Until: TypeAlias = datetime | Callable[[], datetime | None] | None


class Listener(Protocol):
    """Who waits for a job. `tell` is called from the watcher's thread, and must be quick."""

    name: str
    interval_seconds: float
    shows_log: bool

    def tell(self, report: Report, /) -> None: ...


@dataclass(eq=False, slots=True)
class Watch:
    """A listener that calls something."""

    name: str
    tell: Callable[[Report], None]
    interval_seconds: float
    shows_log: bool = False


#: What tells one state of a job from another: its LastModifiedTime in milliseconds, and its secondary status.
_State: TypeAlias = tuple[int, SecondaryStatus]


def _state_of(job: JobSnapshot | Summary) -> _State:
    return round(job.last_modified_at.timestamp() * 1000), job.secondary_status


@dataclass(eq=False, slots=True)
class _Watched:
    """One job, who waits for it, and what is known of it."""

    name: str
    listeners: tuple[Listener, ...] = ()
    state: _State | None = None
    #: What was last told of it; None when its listeners, or a new one, have not heard of it.
    told: int | None = None
    is_asked_for: bool = False
    must_describe: bool = False
    is_over: bool = False


@dataclass(slots=True)
class _Failing:
    since: datetime
    since_monotonic: float
    told_at_monotonic: float | None = None


@dataclass(slots=True)
class _Plan:
    """What is due when, on the monotonic clock, and who is to be described."""

    look_at: float = float("-inf")
    looked_at: float = float("-inf")
    long_look_at: float | None = None
    step_at: float = float("-inf")
    read_logs_at: float = float("-inf")
    #: Moments around which a job may change: its limits, and what its listeners wait for.
    limits: list[float] = field(default_factory=list)
    asked_for: deque[_Watched] = field(default_factory=deque)
    #: What changed at or after it has not been listed yet, in AWS's time.
    listed_until: datetime | None = None
    round: Iterator[None] | None = None


class JobWatcher:
    """Tells listeners how their jobs change, with one thread and as few calls as possible."""

    def __init__(
        self,
        make_jobs: Callable[[], TrainingJobs],
        *,
        make_logs: Callable[[], TrainingLogs] | None = None,
        budget: CallBudget | None = None,
        events: StateChanges | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.clock = ServiceClock()
        self._make_jobs = make_jobs
        self._make_logs = make_logs
        self._budget = budget or shared_budget()
        self._events = events
        self._monotonic = monotonic
        self._jobs: TrainingJobs | None = None
        self._logs: TrainingLogs | None = None
        self._tails: dict[str, LogTail] = {}
        self._watched: dict[str, _Watched] = {}
        self._new: dict[str, _Watched] = {}
        self._pace = Pace()
        self._plan = _Plan()
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self._failing: _Failing | None = None
        self._answers = 0

    # Who waits -------------------------------------------------------------------------------------

    def watch(
        self,
        name: str,
        tell: Callable[[Report], None],
        *,
        interval_seconds: float,
        must_describe: bool = True,
        shows_log: bool = False,
    ) -> Watch:
        """Register what is called, from another thread, with the job's state and each change: see `add`."""
        watch = Watch(name=name, tell=tell, interval_seconds=interval_seconds, shows_log=shows_log)
        self.add(watch, must_describe=must_describe)
        return watch

    def add(self, listener: Listener, *, must_describe: bool) -> None:
        """Register a listener.

        Without `must_describe` it may be told nothing before the first change, when many jobs came together.
        A listener that shows the log is told new lines of it, if not too many others are.
        """
        name = listener.name
        with self._lock:
            watched = self._watched.get(name)
            if watched is None:
                watched = self._watched[name] = _Watched(name=name)
            watched.listeners = (*watched.listeners, listener)
            # Whoever is new has heard nothing yet.
            watched.state, watched.told, watched.is_over = None, None, False
            watched.must_describe |= must_describe
            self._new[name] = watched
            if listener.shows_log and self._make_logs is not None and len(self._tails) < LIVE_LOGS_UP_TO:
                self._tails.setdefault(name, LogTail(name))
            self._pace.join(listener.interval_seconds)
            self._pace.stir(self._monotonic())
            self._start()
        self._wake.set()

    def unwatch(self, listener: Listener) -> None:
        """Deregister. The thread ends when nobody is left."""
        with self._lock:
            watched = self._watched.get(listener.name)
            if watched is None or listener not in watched.listeners:
                return
            watched.listeners = tuple(other for other in watched.listeners if other is not listener)
            self._pace.leave(listener.interval_seconds)
            if not watched.listeners:
                del self._watched[listener.name]
                self._new.pop(listener.name, None)
                self._tails.pop(listener.name, None)
            is_alone = not self._watched
        if is_alone:
            self._wake.set()

    def expect(self, seconds: float) -> None:
        """Be quick around a moment so many seconds from now: somebody waits for it."""
        with self._lock:
            heapq.heappush(self._plan.limits, self._monotonic() + seconds - BEFORE_A_LIMIT_SECONDS)

    def hear(self, job: Summary) -> bool:
        """Take in what the list or an event says of a job. False when nobody here waits for it."""
        with self._lock:
            watched = self._watched.get(job.name)
            if watched is None:
                return False
            if watched.is_over or not self._is_news(watched, job):
                return True
            is_first = watched.state is None
            watched.state = _state_of(job)
            if job.is_terminal:
                watched.is_over = True
                self._tell(
                    watched, Over(name=job.name, status=job.status, secondary_status=job.secondary_status)
                )
            elif not is_first:
                self._ask_for(watched)
                self._pace.stir(self._monotonic())
        return True

    def hear_event(self, job: Summary) -> bool:
        """`hear`, from another thread: what is to be described is described now, and a flood is listed."""
        is_known = self.hear(job)
        if self._events is not None and self._events.is_behind:
            with self._lock:
                self._plan.look_at = min(self._plan.look_at, self._plan.looked_at + FLOOD_SECONDS)
        if is_known:
            self._wake.set()
        return is_known

    def _is_news(self, watched: _Watched, job: Summary) -> bool:
        """Whether it is another state, and not an older one: events come twice, late, and in any order."""
        if watched.state is None:
            return True
        state = _state_of(job)
        return state != watched.state and (job.is_terminal or state[0] >= watched.state[0])

    # The thread ------------------------------------------------------------------------------------

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="spot-training-watcher", daemon=True)
            self._thread.start()
            if self._events is not None:
                self._events.subscribe(self.hear_event)

    def _run(self) -> None:
        while True:
            self._wake.clear()
            with self._lock:
                if not self._watched:
                    self._thread = None
                    self._plan = _Plan()
                    if self._events is not None:
                        self._events.unsubscribe(self.hear_event)
                    return
            self.look()
            self._wake.wait(self._seconds_until_due())
            # Jobs that come together, and changes that are heard together, are asked for together.
            time.sleep(min(GATHER_SECONDS, self._pace.seconds(self._monotonic())))

    def look(self) -> None:
        """Do what is due now: ask AWS who is new, what changed, and tell who is concerned."""
        answers_before = self._answers
        try:
            jobs = self._open()
            self._look_up_new(jobs)
            if self._monotonic() >= self._plan.look_at:
                self._plan.looked_at = self._monotonic()
                self._look_for_changes(jobs)
                self._plan.look_at = self._monotonic() + self._look_seconds()
            self._describe_who_was_asked_for(jobs)
            self._go_round(jobs)
            self._read_logs()
        except Exception as error:  # noqa: BLE001 - whatever it is, a poll that fails must never end a training
            self._plan.look_at = self._monotonic() + max(AFTER_FAILURE_SECONDS, self._look_seconds())
            self._remember_failure(error)
        else:
            if self._answers != answers_before:
                self._failing = None

    def _open(self) -> TrainingJobs:
        if self._jobs is None:
            jobs = self._make_jobs()
            jobs.listen(self.clock.listen_to)
            jobs.listen(self._budget.govern)
            self._jobs = jobs
        if self._plan.listed_until is None:
            # Before anybody is described: what changes from now on is in the windows.
            self._plan.listed_until = self._jobs.now()
        return self._jobs

    def _look_seconds(self) -> float:
        now = self._monotonic()
        events = self._events
        has_events = events is not None and events.is_healthy and not events.is_behind
        with self._lock:
            while self._plan.limits and self._plan.limits[0] <= now:
                heapq.heappop(self._plan.limits)
                self._pace.stir(now)
            seconds = self._pace.seconds(now, has_events=has_events)
            if self._plan.limits:
                seconds = min(seconds, self._plan.limits[0] - now)
        return max(seconds, 0.0)

    def _seconds_until_due(self) -> float:
        now = self._monotonic()
        with self._lock:
            if self._new or self._plan.asked_for:
                return 0.0 if self._failing is None else AFTER_FAILURE_SECONDS
            due_at = self._plan.look_at
            if self._is_listing():
                due_at = min(due_at, self._plan.step_at)
            if self._tails:
                due_at = min(due_at, self._plan.read_logs_at)
        return max(0.0, due_at - now)

    def _is_listing(self) -> bool:
        return len(self._watched) > DESCRIBE_EACH_UP_TO

    # Finding out -----------------------------------------------------------------------------------

    def _look_up_new(self, jobs: TrainingJobs) -> None:
        """Describe the few that are new; look many up in the list, and describe who is not there."""
        with self._lock:
            new = dict(self._new)
        missing = set(new)
        if len(new) >= LOOK_UP_FROM:
            for _ in self._find_in_list(jobs, missing):
                pass
        with self._lock:
            for name, watched in new.items():
                self._new.pop(name, None)
                if name in missing or watched.must_describe:
                    self._ask_for(watched)

    def _look_for_changes(self, jobs: TrainingJobs) -> None:
        with self._lock:
            if not self._is_listing():
                for watched in self._watched.values():
                    self._ask_for(watched)
                return
        now, plan = self._monotonic(), self._plan
        if plan.long_look_at is None:
            plan.long_look_at = now + LONG_OVERLAP_EVERY_SECONDS
        is_long = now >= plan.long_look_at
        listed_until = jobs.now()
        since = (plan.listed_until or listed_until) - (LONG_OVERLAP if is_long else LIST_OVERLAP)
        for page in jobs.pages(modified_since=since):
            self._hear_all(page)
        plan.listed_until = listed_until
        if is_long:
            plan.long_look_at = now + LONG_OVERLAP_EVERY_SECONDS

    def _hear_all(self, page: Iterable[Summary]) -> None:
        self._answers += 1
        for job in page:
            self.hear(job)

    def _find_in_list(self, jobs: TrainingJobs, wanted: set[str]) -> Iterator[None]:
        """Look for jobs in the whole list, newest first, a page a step; leaves in `wanted` who is not found.

        Ends early when going on would cost more calls than describing the rest.
        """
        pages_in_vain = 0
        for page in jobs.pages():
            found = {job.name for job in page} & wanted
            self._hear_all(page)
            wanted -= found
            pages_in_vain = 0 if found else pages_in_vain + 1
            yield
            if pages_in_vain >= len(wanted):
                return

    def _go_round(self, jobs: TrainingJobs) -> None:
        """The next step of the round through the list, when it is due."""
        now, plan = self._monotonic(), self._plan
        if now < plan.step_at or not self._is_listing():
            return
        if plan.round is None:
            plan.round = self._round(jobs)
            # Who is here now was just heard of.
            plan.step_at = now + ROUND_REST_SECONDS
            return
        plan.step_at = now + ROUND_STEP_SECONDS
        try:
            next(plan.round)
        except StopIteration:
            plan.round = None
        except Exception:
            plan.round = None
            raise

    def _round(self, jobs: TrainingJobs) -> Iterator[None]:
        with self._lock:
            wanted = set(self._watched)
        yield from self._find_in_list(jobs, wanted)
        for name in wanted:
            with self._lock:
                if (watched := self._watched.get(name)) is not None:
                    self._ask_for(watched)
            yield

    def _ask_for(self, watched: _Watched) -> None:
        if not watched.is_asked_for:
            watched.is_asked_for = True
            self._plan.asked_for.append(watched)

    def _describe_who_was_asked_for(self, jobs: TrainingJobs) -> None:
        """Describe them one by one; after a while the list has its turn again."""
        plan = self._plan
        while True:
            with self._lock:
                if not plan.asked_for:
                    return
                watched = plan.asked_for.popleft()
                watched.is_asked_for = False
                is_watched = bool(watched.listeners) and not watched.is_over
            if not is_watched:
                continue
            try:
                job = jobs.snapshot(watched.name)
            except Exception:
                with self._lock:
                    self._ask_for(watched)
                raise
            self._take_in(watched, job)
            if self._monotonic() >= plan.look_at:
                return

    def _take_in(self, watched: _Watched, job: JobSnapshot | None) -> None:
        self._answers += 1
        if job is None:
            with self._lock:
                self._tell(watched, Missing(name=watched.name))
            return
        state = _state_of(job)
        told = hash((state, job.status, job.transitions))
        now = self._monotonic()
        with self._lock:
            watched.state = state
            watched.must_describe = False
            watched.is_over = job.is_terminal
            if told == watched.told:
                return
            if watched.told is not None:
                self._pace.stir(now)
            watched.told = told
            for seconds in self._seconds_until_limits(job):
                heapq.heappush(self._plan.limits, now + seconds - BEFORE_A_LIMIT_SECONDS)
            self._tell(watched, job)

    def _seconds_until_limits(self, job: JobSnapshot) -> Iterator[float]:
        """Until the job's own time limits, as long as they are ahead."""
        now = self.clock.now()
        limits = (
            (job.created_at, job.max_wait_seconds),
            (job.training_started_at, job.max_runtime_seconds),
        )
        for since, seconds in limits:
            if since is not None and seconds is not None and not job.is_terminal:
                left = (since - now).total_seconds() + seconds
                if left > 0:
                    yield self.clock.real_seconds(left)

    def _read_logs(self) -> None:
        now = self._monotonic()
        with self._lock:
            tails = [
                (watched, tail)
                for name, tail in self._tails.items()
                if (watched := self._watched.get(name)) is not None and not watched.is_over
            ]
        if not tails or now < self._plan.read_logs_at or self._make_logs is None:
            return
        self._plan.read_logs_at = now + LIVE_LOG_SECONDS
        if self._logs is None:
            self._logs = self._make_logs()
            self._logs.listen(self._budget.govern)
        for watched, tail in tails:
            if lines := tail.new_lines(self._logs):
                with self._lock:
                    self._tell_lines(watched, LogLines(name=watched.name, lines=tuple(lines)))

    def _tell_lines(self, watched: _Watched, lines: LogLines) -> None:
        for listener in watched.listeners:
            if listener.shows_log:
                listener.tell(lines)

    def _tell(self, watched: _Watched, report: Report) -> None:
        for listener in watched.listeners:
            listener.tell(report)

    def _remember_failure(self, error: Exception) -> None:
        now = self._monotonic()
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
        with self._lock:
            for watched in self._watched.values():
                self._tell(watched, trouble)


# Following one job ---------------------------------------------------------------------------------


def follow(
    watcher: JobWatcher,
    name: str,
    *,
    interval_seconds: float,
    until: Until = None,
    shows_log: bool = False,
) -> Iterator[Report]:
    """Reports on a job until it is over or missing, or time is up; for code without a running event loop."""
    reports: queue.SimpleQueue[Report] = queue.SimpleQueue()
    watch = watcher.watch(name, reports.put, interval_seconds=interval_seconds, shows_log=shows_log)
    patience = _Patience(watcher, until)
    try:
        while True:
            try:
                report = reports.get(timeout=patience.seconds_left())
            except queue.Empty:
                report = patience.is_over()
            yield report
            if is_last(report):
                return
    finally:
        watcher.unwatch(watch)


class Follower(Letterbox[Report]):
    """Reports on a job until it is over or missing, or time is up, without blocking the event loop.

        with Follower(watcher, name, interval_seconds=30) as reports:
            async for report in reports:

    `must_describe` and `shows_log`: see `JobWatcher.add`.
    """

    __slots__ = (
        "_has_ended",
        "_must_describe",
        "_patience",
        "_watcher",
        "interval_seconds",
        "name",
        "shows_log",
    )

    def __init__(
        self,
        watcher: JobWatcher,
        name: str,
        *,
        interval_seconds: float,
        until: Until = None,
        must_describe: bool = True,
        shows_log: bool = False,
    ) -> None:
        super().__init__()
        self.name = name
        self.interval_seconds = interval_seconds
        self.shows_log = shows_log
        self._watcher = watcher
        self._must_describe = must_describe
        self._patience = None if until is None else _Patience(watcher, until)
        self._has_ended = False

    def __enter__(self) -> Self:
        self._watcher.add(self, must_describe=self._must_describe)
        return self

    def __exit__(self, *_: object) -> None:
        self._watcher.unwatch(self)

    def tell(self, report: Report, /) -> None:
        self.send(report)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Report:
        if self._has_ended:
            raise StopAsyncIteration
        try:
            report = await self.take(self._patience.seconds_left() if self._patience else None)
        except TimeoutError:
            report = TimeIsUp(until=datetime.now(UTC)) if self._patience is None else self._patience.is_over()
        self._has_ended = is_last(report)
        return report


async def follow_async(
    watcher: JobWatcher,
    name: str,
    *,
    interval_seconds: float,
    until: Until = None,
    must_describe: bool = True,
    shows_log: bool = False,
) -> AsyncIterator[Report]:
    """A `Follower` as a generator."""
    follower = Follower(
        watcher,
        name,
        interval_seconds=interval_seconds,
        until=until,
        must_describe=must_describe,
        shows_log=shows_log,
    )
    with follower as reports:
        async for report in reports:
            yield report


class _Patience:
    """Until when somebody waits. The watcher is told of each new moment."""

    __slots__ = ("_moment", "_until", "_watcher")

    def __init__(self, watcher: JobWatcher, until: Until) -> None:
        self._watcher = watcher
        self._until = until
        self._moment: datetime | None = None

    def seconds_left(self) -> float | None:
        moment = self._until() if callable(self._until) else self._until
        left = None if moment is None else max(0.0, (moment - datetime.now(UTC)).total_seconds())
        if left is not None and moment != self._moment:
            self._watcher.expect(left)
        self._moment = moment
        return left

    def is_over(self) -> TimeIsUp:
        return TimeIsUp(until=self._moment or datetime.now(UTC))


# What a process shares -----------------------------------------------------------------------------

_shared: dict[Hashable, JobWatcher] = {}
_shared_lock = threading.Lock()
_budget: list[CallBudget] = []


def shared_budget(calls_per_second: float | None = None) -> CallBudget:
    """The process's one budget of calls, made with the first rate that is asked for."""
    with _shared_lock:
        if not _budget:
            _budget.append(CallBudget() if calls_per_second is None else CallBudget(calls_per_second))
        return _budget[0]


def shared_watcher(
    key: Hashable,
    make_jobs: Callable[[], TrainingJobs],
    *,
    make_logs: Callable[[], TrainingLogs] | None = None,
    make_events: Callable[[], StateChanges | None] = lambda: None,
    calls_per_second: float | None = None,
) -> JobWatcher:
    """The process's one watcher for `key` (connection and region)."""
    budget = shared_budget(calls_per_second)
    with _shared_lock:
        if key not in _shared:
            _shared[key] = JobWatcher(make_jobs, make_logs=make_logs, budget=budget, events=make_events())
        return _shared[key]
