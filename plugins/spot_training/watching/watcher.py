"""The one place that waits: a poll loop for all waiting jobs of a (connection, region).

Jobs register and deregister; one daemon thread finds out what changed and tells the listeners concerned.

- With few jobs each is described. With many, `ListTrainingJobs` says which changed since the last look, and
  only those are described. A job that is over needs no description: whoever waits describes it anyway.
- Many jobs that register together (a triggerer that starts) are looked up in the list, 100 a call.
- A round through the whole list, a page now and then, hears of every job within the hour; what it does not
  find is described. It catches what the windows and the events missed.
- State changes may come as events (`events`): then the list is a slow safety net.

Each of these is a duty (`duty`) that fails and rests by itself: what is refused or does not answer delays
nothing else. Time is AWS's own (its answers carry it), so a clock that is off here does not matter. How
often to look is `pace`'s to say; every call passes the one budget of calls a second of the process.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from spot_training.domain.lifecycle import JobSnapshot, TrainingStatus
from spot_training.sagemaker.clock import ServiceClock

from .events import STORM_LASTS_SECONDS
from .following import Follower, Until, follow
from .live_logs import LiveLogs
from .pace import GATHER_SECONDS, Pace
from .periodic import Duty, Failing, Renewed, after_failure
from .rate_limit import CallBudget, shared_budget
from .reports import LogLines, Missing, Over, Report, TimeIsUp, Trouble, is_last
from .watched import DescribeQueue, Limits, Listener, Watched, state_of
from .windows import Windows

if TYPE_CHECKING:
    from spot_training.sagemaker.descriptions import Summary
    from spot_training.sagemaker.jobs import TrainingJobs
    from spot_training.sagemaker.logs import TrainingLogs

    from .events import StateChanges

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
    "shared_budget",
    "shared_watcher",
]

log = logging.getLogger(__name__)

#: Up to so many jobs, describing each costs no more calls than listing.
DESCRIBE_EACH_UP_TO = 3
#: Up to so many jobs that come together are described; more are looked up in the list.
LOOK_UP_FROM = 20
#: While so many come at each turn it waits for more of them: a look-up reads the whole list.
GATHER_TIMES = 10
#: The round through the whole list: three calls a minute, and a rest.
ROUND_STEP_SECONDS = 20.0
ROUND_REST_SECONDS = 600.0
#: While the queue holds more events than fit into a batch, the list is looked at so often, until none about a
#: job of ours has come for as long as a storm lasts.
FLOOD_SECONDS = 1.0
#: After so many jobs in a row that cannot be described the others wait, too: it is not these jobs.
GIVE_UP_AFTER = 3
#: An end that the list tells, and no event told within so long: events do not come, whatever the queue says.
EVENTS_ARE_LATE_AFTER_SECONDS = 20.0
#: An event about a job that nobody waits for any more is nobody else's for so long, and so many jobs.
REMEMBER_SECONDS = 600.0
REMEMBER_JOBS = 20_000

_NOW, _NEVER = float("-inf"), float("inf")


@dataclass(eq=False, slots=True)
class Watch:
    """A listener that calls something."""

    name: str
    tell: Callable[[Report], None]
    interval_seconds: float
    shows_log: bool = False


@dataclass(slots=True)
class _LookUp:
    """Jobs that came together; `missing` are those the list has not shown so far."""

    wanted: dict[str, Watched]
    missing: set[str]
    pages: Iterator[None] | None = None


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
        on_start: Callable[[JobWatcher], None] = lambda _watcher: None,
        on_idle: Callable[[JobWatcher], None] = lambda _watcher: None,
    ) -> None:
        """`on_start` and `on_idle` are told when its thread starts, and when it has ended: nobody is left."""
        self.clock = ServiceClock()
        self._on_start = on_start
        self._on_idle = on_idle
        self._make_jobs = make_jobs
        self._budget = budget or shared_budget()
        self._events = events
        self._is_subscribed = False
        self._events_are_missed = False
        self._monotonic = monotonic
        self._jobs = Renewed(self._connect_jobs, monotonic=monotonic)
        self._live_logs = (
            None if make_logs is None else LiveLogs(make_logs, self._budget, monotonic=monotonic)
        )
        self._watched: dict[str, Watched] = {}
        self._new: dict[str, Watched] = {}
        #: Who was waited for lately, and until when: the oldest first.
        self._left: dict[str, float] = {}
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self._pace = Pace()
        self._begin_anew()

    def _begin_anew(self) -> None:
        """Nobody waits: nothing is due, and nothing is known."""
        self._limits = Limits()
        self._queue = DescribeQueue()
        self._windows = Windows()
        self._looked_at = self._look_at = self._step_at = self._flooded_until = _NOW
        self._look_up: _LookUp | None = None
        self._round: Iterator[None] | None = None
        # A listing goes before descriptions: it tells more for a call.
        self._looking = Duty(self._look_for_changes, lambda: self._look_at, self._tell_all)
        self._taking_in_new = Duty(self._take_in_new, self._take_in_new_at, self._tell_all)
        self._looking_up = Duty(self._go_on_looking_up, self._look_up_at, self._tell_all)
        self._describing = Duty(self._describe_who_was_asked_for, self._describe_at, self._tell_asked_for)
        self._going_round = Duty(self._go_round, self._go_round_at, self._tell_nobody)
        self._reading_logs = Duty(self._read_logs, self._logs_at, self._tell_log_readers)
        self._duties = (
            self._looking,
            self._taking_in_new,
            self._looking_up,
            self._describing,
            self._going_round,
            self._reading_logs,
        )

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

    def add(self, listener: Listener, *, must_describe: bool, due_in_seconds: float | None = None) -> None:
        """Register a listener. Raises what starting a thread raises; then nobody was registered.

        Without `must_describe` it may be told nothing before the first change, when many jobs came together,
        and not every change in a storm of them. Who must have descriptions is described first, and of these
        who is due soonest. A listener that shows the log is told new lines of it, if not too many others are.
        """
        name = listener.name
        with self._lock:
            has_started = self._start()
            watched = self._watched.get(name)
            if watched is None:
                watched = self._watched[name] = Watched(name=name)
            watched.listeners = (*watched.listeners, listener)
            # Whoever is new has heard nothing yet.
            watched.state, watched.told, watched.is_over = None, None, False
            watched.must_describe |= must_describe
            self._new[name] = watched
            if listener.shows_log and self._live_logs is not None:
                self._live_logs.add(name)
            now = self._monotonic()
            if due_in_seconds is not None:
                self._limits.expect(watched, now + due_in_seconds, now)
            self._pace.join(listener.interval_seconds)
            self._pace.stir(now)
        self._wake.set()
        if has_started:
            self._on_start(self)

    def unwatch(self, listener: Listener) -> None:
        """Deregister. The thread ends when nobody is left."""
        with self._lock:
            watched = self._watched.get(listener.name)
            if watched is None or listener not in watched.listeners:
                return
            watched.listeners = tuple(other for other in watched.listeners if other is not listener)
            self._pace.leave(listener.interval_seconds)
            if self._live_logs is not None and not any(other.shows_log for other in watched.listeners):
                self._live_logs.drop(listener.name)
            if not watched.listeners:
                del self._watched[listener.name]
                self._new.pop(listener.name, None)
                if self._events is not None:
                    self._remember(listener.name)
            is_alone = not self._watched
        if is_alone:
            self._wake.set()

    def expect(self, name: str, seconds: float) -> None:
        """Be quick around a moment so many seconds from now: somebody who waits for this job expects it."""
        with self._lock:
            if (watched := self._watched.get(name)) is not None:
                now = self._monotonic()
                self._limits.expect(watched, now + seconds, now)
                self._limits.keep_few(len(self._watched))
                self._queue.hurry(watched)

    def hear(self, job: Summary, *, is_event: bool = False) -> bool:
        """Take in what the list or an event says of a job. False when nobody here waits for it."""
        with self._lock:
            watched = self._watched.get(job.name)
            if watched is None:
                return False
            if watched.is_over or not self._is_news(watched, job):
                return True
            is_first = watched.state is None
            watched.state = state_of(job)
            if job.is_terminal:
                watched.is_over = True
                if not (is_event or is_first):
                    self._note_untold_end(job)
                self._tell(
                    watched, Over(name=job.name, status=job.status, secondary_status=job.secondary_status)
                )
            elif not is_first:
                # What is stopping is over in a moment: a call for the news of that alone is one too many.
                if watched.must_describe or job.status is not TrainingStatus.STOPPING:
                    self._ask_for(watched)
                self._pace.stir(self._monotonic())
        return True

    def hear_event(self, job: Summary) -> bool:
        """`hear`, from another thread: what is to be described is described now, and a flood is listed.

        True for a job that somebody here waits for, or did until lately.
        """
        if not self.hear(job, is_event=True):
            with self._lock:
                return self._left.get(job.name, _NOW) > self._monotonic()
        with self._lock:
            self._events_are_missed = False
            if self._is_flood():
                self._flooded_until = self._monotonic() + STORM_LASTS_SECONDS
                self._look_at = min(self._look_at, self._looked_at + FLOOD_SECONDS)
        self._wake.set()
        return True

    def _is_news(self, watched: Watched, job: Summary) -> bool:
        """Whether it is another state, and not an older one: events come twice, late, and in any order."""
        if watched.state is None:
            return True
        state = state_of(job)
        return state != watched.state and (job.is_terminal or state[0] >= watched.state[0])

    def _remember(self, name: str) -> None:
        """Events about it may come late."""
        now = self._monotonic()
        self._left.pop(name, None)
        self._left[name] = now + REMEMBER_SECONDS
        while len(self._left) > REMEMBER_JOBS or next(iter(self._left.values())) <= now:
            del self._left[next(iter(self._left))]

    def _note_untold_end(self, job: Summary | JobSnapshot) -> None:
        """An event should have told it: a rule may be disabled, or another account's, with the queue well."""
        if self._is_subscribed and not self._is_flood():
            ago = (self.clock.now() - job.last_modified_at).total_seconds()
            self._events_are_missed |= self.clock.real_seconds(ago) > EVENTS_ARE_LATE_AFTER_SECONDS

    def _is_flood(self) -> bool:
        return self._events is not None and self._events.is_behind

    @property
    def is_idle(self) -> bool:
        """Whether nobody waits, and no thread runs."""
        with self._lock:
            return not self._watched and self._thread is None

    @property
    def is_settled(self) -> bool:
        """Whether nobody is new, is being looked up, or is to be described."""
        with self._lock:
            return not (self._new or self._look_up or any(job.is_asked_for for job in self._queue))

    # The thread ------------------------------------------------------------------------------------

    def _start(self) -> bool:
        """Whether a thread had to be started."""
        if self._thread is not None and self._thread.is_alive():
            return False
        thread = threading.Thread(target=self._run, name="spot-training-watcher", daemon=True)
        thread.start()
        self._thread = thread
        return True

    def _run(self) -> None:
        while not self._has_nobody():
            self._gather()
            self.look()
            self._wake.wait(self._seconds_until_due())
        self._on_idle(self)

    def _has_nobody(self) -> bool:
        """Whether nobody is left: then the thread ends."""
        self._wake.clear()
        with self._lock:
            if self._watched:
                return False
            self._thread = None
            self._unsubscribe()
            self._begin_anew()
            return True

    def _gather(self) -> None:
        """Jobs that come together, and changes that are heard together, are asked for together."""
        if self._look_up is not None or self._is_flood():
            return
        for _ in range(GATHER_TIMES):
            known = len(self._new)
            time.sleep(min(GATHER_SECONDS, self._pace.seconds(self._monotonic())))
            if len(self._new) < known + LOOK_UP_FROM:
                return

    def look(self) -> None:
        """Do what is due now: ask AWS who is new, what changed, and tell who is concerned."""
        for duty in self._duties:
            if duty.next_at() <= self._monotonic():
                self._attempt(duty)

    def _attempt(self, duty: Duty) -> None:
        try:
            duty.do()
        except Exception as error:
            # Whatever it is: a poll that fails must never end a training.
            log.debug("A look at AWS failed", exc_info=error)
            if duty is self._reading_logs and self._live_logs is not None:
                self._live_logs.client.failed()
            else:
                self._jobs.failed()
            duty.failing = after_failure(duty.failing, self._monotonic())
            duty.tell_trouble(duty.failing, error)
        else:
            duty.failing = None

    def _open(self) -> TrainingJobs:
        jobs = self._jobs.get()
        if not self._windows.is_open:
            # Before anybody is described: what changes from now on is in the windows. An answer that refuses
            # tells the time, too.
            moment = None
            with suppress(Exception):
                moment = jobs.now()
            self._windows.open(moment or self.clock.now())
        if self._events is not None and not self._is_subscribed:
            with suppress(RuntimeError):  # no thread to be had: polling goes on, and it is tried again
                self._is_subscribed = self._events.subscribe(self.hear_event, region=jobs.region)
        return jobs

    def _unsubscribe(self) -> None:
        if self._events is not None and self._is_subscribed:
            self._events.unsubscribe(self.hear_event)
            self._is_subscribed = False

    def _connect_jobs(self) -> TrainingJobs:
        jobs = self._make_jobs()
        jobs.listen(self.clock.listen_to)
        jobs.listen(self._budget.govern)
        return jobs

    # What is due when ------------------------------------------------------------------------------

    def _has_events(self) -> bool:
        events = self._events
        return (
            events is not None
            and self._is_subscribed
            and events.is_healthy
            and not (events.is_behind or self._events_are_missed)
        )

    def _look_seconds(self, now: float) -> float:
        if self._limits.pass_due(now):
            self._pace.stir(now)
        seconds = self._pace.seconds(now, has_events=self._has_events())
        if now < self._flooded_until:
            seconds = min(seconds, FLOOD_SECONDS)
        return max(0.0, min(seconds, self._limits.next_at() - now))

    def _seconds_until_due(self) -> float:
        return max(0.0, min(duty.next_at() for duty in self._duties) - self._monotonic())

    def _take_in_new_at(self) -> float:
        # Many that come while others are looked up wait for their turn.
        can_go = self._look_up is None or len(self._new) < LOOK_UP_FROM
        return _NOW if self._new and can_go else _NEVER

    def _look_up_at(self) -> float:
        return _NEVER if self._look_up is None else _NOW

    def _describe_at(self) -> float:
        return self._queue.due_at(only_musts=self._is_flood())

    def _go_round_at(self) -> float:
        return self._step_at if self._is_listing() else _NEVER

    def _logs_at(self) -> float:
        return _NEVER if self._live_logs is None else self._live_logs.due_at()

    def _is_listing(self) -> bool:
        return len(self._watched) > DESCRIBE_EACH_UP_TO

    # Finding out -----------------------------------------------------------------------------------

    def _look_for_changes(self) -> None:
        jobs = self._open()
        self._looked_at = now = self._monotonic()
        if self._is_listing():
            try:
                self._read_window(jobs, now)
            except Exception:
                if self._looking.lasts_failing(now):
                    self._ask_for_all()
                raise
        else:
            # All that changed before is about to be described.
            self._windows.done(jobs.now(), now)
            self._ask_for_all()
        with self._lock:  # an event of a flood may come meanwhile, and wants the next look soon
            now = self._monotonic()
            self._look_at = now + self._look_seconds(now)

    def _read_window(self, jobs: TrainingJobs, now: float) -> None:
        is_flood, until = self._is_flood(), jobs.now()
        for page in jobs.pages(modified_since=self._windows.since(now, is_flood=is_flood)):
            self._hear_all(page)
        self._windows.done(until, now, is_flood=is_flood)

    def _take_in_new(self) -> None:
        """Describe the few that are new; many are looked up in the list."""
        self._open()
        with self._lock:
            new, self._new = self._new, {}
            if len(new) < LOOK_UP_FROM:
                for watched in new.values():
                    self._ask_for(watched)
            else:
                self._look_up = _LookUp(new, set(new))

    def _go_on_looking_up(self) -> None:
        """Read on in the list until all are found, or the windows' turn comes; describe who is not there."""
        jobs, look_up = self._open(), self._look_up
        if look_up is None:
            return
        look_up.pages = look_up.pages or self._find_in_list(jobs, look_up.missing)
        try:
            for _ in look_up.pages:
                if self._looking.next_at() <= self._monotonic():
                    return
        except Exception:
            look_up.pages = None
            if self._looking_up.lasts_failing(self._monotonic()):
                self._end_look_up(look_up)
            raise
        self._end_look_up(look_up)

    def _end_look_up(self, look_up: _LookUp) -> None:
        self._look_up = None
        for name, watched in look_up.wanted.items():
            if name in look_up.missing or watched.must_describe:
                with self._lock:
                    self._ask_for(watched)

    def _hear_all(self, page: Iterable[Summary]) -> None:
        self._jobs.answered()
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

    def _go_round(self) -> None:
        """The next step of the round through the list."""
        jobs, now = self._open(), self._monotonic()
        if self._round is None:
            self._round = self._walk_round(jobs)
            # Who is here now was just heard of.
            self._step_at = now + ROUND_REST_SECONDS
            return
        self._step_at = now + ROUND_STEP_SECONDS
        try:
            next(self._round)
        except StopIteration:
            self._round = None
        except Exception:
            self._round = None
            raise

    def _walk_round(self, jobs: TrainingJobs) -> Iterator[None]:
        with self._lock:
            wanted = set(self._watched)
        yield from self._find_in_list(jobs, wanted)
        for name in wanted:
            with self._lock:
                if (watched := self._watched.get(name)) is not None:
                    self._ask_for(watched)
            yield

    def _ask_for(self, watched: Watched) -> None:
        self._queue.ask(watched, self._monotonic())

    def _ask_for_all(self) -> None:
        with self._lock:
            for watched in self._watched.values():
                self._ask_for(watched)

    def _describe_who_was_asked_for(self) -> None:
        """Describe them one by one; after a while the list has its turn again."""
        jobs = self._open()
        in_vain = 0
        while (watched := self._next_to_describe()) is not None:
            try:
                job = jobs.snapshot(watched.name)
            except Exception as error:
                self._put_off(watched, error)
                in_vain += 1
                if in_vain == GIVE_UP_AFTER:
                    raise  # which counts for the client as well
                self._jobs.failed()
            else:
                in_vain = 0
                self._jobs.answered()
                self._take_in(watched, job)
            listing_at = min(self._looking.next_at(), self._looking_up.next_at())
            if listing_at <= self._monotonic():
                return

    def _next_to_describe(self) -> Watched | None:
        with self._lock:
            return self._queue.pop(self._monotonic(), only_musts=self._is_flood())

    def _put_off(self, watched: Watched, error: Exception) -> None:
        """A job that cannot be described comes again, later each time; others may be better off."""
        now = self._monotonic()
        with self._lock:
            watched.failing = after_failure(watched.failing, now)
            self._ask_for(watched)
            if self._looking.failing is None and watched.failing.is_to_be_told(now):
                self._tell(watched, Trouble(since=watched.failing.since, error=str(error)))

    def _take_in(self, watched: Watched, job: JobSnapshot | None) -> None:
        now = self._monotonic()
        with self._lock:
            if watched.is_over:
                return  # an event told the end while the description was on its way
            watched.failing = None
            if job is None:
                self._tell(watched, Missing(name=watched.name))
                return
            told = hash((state_of(job), job.status, job.transitions))
            watched.state = state_of(job)
            watched.is_over = job.is_terminal
            if told == watched.told:
                return
            if watched.told is not None:
                self._pace.stir(now)
                if job.is_terminal:
                    self._note_untold_end(job)
            watched.told = told
            if (left := self._seconds_until_limit(job)) is not None:
                self._limits.set_limit(watched, now + left)
                self._limits.keep_few(len(self._watched))
            self._tell(watched, job)

    def _seconds_until_limit(self, job: JobSnapshot) -> float | None:
        """Until the first of the job's own time limits that is ahead."""
        if job.is_terminal:
            return None
        now = self.clock.now()
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
        return None if left is None else self.clock.real_seconds(left)

    def _read_logs(self) -> None:
        assert self._live_logs is not None  # noqa: S101 - or it is never due
        for lines in self._live_logs.read(self._is_awaited):
            with self._lock:
                if (watched := self._watched.get(lines.name)) is not None:
                    self._tell_lines(watched, lines)

    def _is_awaited(self, name: str) -> bool:
        watched = self._watched.get(name)
        return watched is not None and watched.is_awaited

    # Telling ---------------------------------------------------------------------------------------

    def _tell(self, watched: Watched, report: Report) -> None:
        for listener in watched.listeners:
            self._tell_one(listener, report)

    def _tell_lines(self, watched: Watched, report: Report) -> None:
        for listener in watched.listeners:
            if listener.shows_log:
                self._tell_one(listener, report)

    def _tell_one(self, listener: Listener, report: Report) -> None:
        try:
            listener.tell(report)
        except Exception:
            log.warning("Nobody took the news of training job %s", listener.name, exc_info=True)

    def _tell_all(self, failing: Failing, error: Exception) -> None:
        if failing.is_to_be_told(self._monotonic()):
            with self._lock:
                self._tell_trouble(self._watched.values(), failing, error)

    def _tell_asked_for(self, failing: Failing, error: Exception) -> None:
        if self._looking.failing is None and failing.is_to_be_told(self._monotonic()):
            with self._lock:
                concerned = [watched for watched in self._queue if watched.is_asked_for]
                self._tell_trouble(dict.fromkeys(concerned), failing, error)

    def _tell_trouble(self, concerned: Iterable[Watched], failing: Failing, error: Exception) -> None:
        trouble = Trouble(since=failing.since, error=str(error))
        for watched in concerned:
            self._tell(watched, trouble)

    def _tell_log_readers(self, failing: Failing, error: Exception) -> None:
        if failing.is_to_be_told(self._monotonic()):
            trouble = Trouble(since=failing.since, error=str(error), service="CloudWatch Logs")
            with self._lock:
                for name in self._live_logs.names() if self._live_logs else ():
                    if (watched := self._watched.get(name)) is not None:
                        self._tell_lines(watched, trouble)

    def _tell_nobody(self, _: Failing, __: Exception) -> None:
        """The round is a safety net: it begins again, and the windows' failures are told."""


# What a process shares -----------------------------------------------------------------------------

#: A watcher that was asked for and never used is forgotten after so long: who asked for it has failed.
UNUSED_SECONDS = 60.0


@dataclass(slots=True)
class _Handed:
    """A watcher, and when it was last asked for."""

    watcher: JobWatcher
    at: float


_shared: dict[Hashable, _Handed] = {}
_shared_lock = threading.Lock()


def _forget_after_fork() -> None:
    """A child has none of its parent's threads, and may have got a lock that is never let go."""
    global _shared_lock  # noqa: PLW0603
    _shared_lock = threading.Lock()
    _shared.clear()


os.register_at_fork(after_in_child=_forget_after_fork)


def shared_watcher(
    key: Hashable,
    make_jobs: Callable[[], TrainingJobs],
    *,
    make_logs: Callable[[], TrainingLogs] | None = None,
    make_events: Callable[[], StateChanges | None] = lambda: None,
    budget: CallBudget | None = None,
) -> JobWatcher:
    """The process's one watcher for `key` (connection, region and settings).

    It is forgotten when nobody waits any more: settings that differ from run to run leave nothing behind.
    """
    with _shared_lock:
        _forget_unused()
        if key not in _shared:
            watcher = JobWatcher(
                make_jobs,
                make_logs=make_logs,
                budget=budget,
                events=make_events(),
                on_start=partial(_remember, key),
                on_idle=partial(_forget, key),
            )
            _shared[key] = _Handed(watcher, time.monotonic())
        handed = _shared[key]
        handed.at = time.monotonic()
        return handed.watcher


def _remember(key: Hashable, watcher: JobWatcher) -> None:
    """It may have been forgotten between being asked for and being used."""
    with _shared_lock:
        _shared.setdefault(key, _Handed(watcher, time.monotonic()))


def _forget(key: Hashable, watcher: JobWatcher) -> None:
    """Nobody waits any more, unless somebody has come just now."""
    with _shared_lock:
        handed = _shared.get(key)
        if handed is not None and handed.watcher is watcher and watcher.is_idle:
            del _shared[key]


def _forget_unused() -> None:
    limit = time.monotonic() - UNUSED_SECONDS
    for key in [key for key, handed in _shared.items() if handed.at < limit and handed.watcher.is_idle]:
        del _shared[key]
