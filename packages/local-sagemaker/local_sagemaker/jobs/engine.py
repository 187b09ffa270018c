"""Moves the training jobs through their life: one heap of due events, one thread, however many jobs.

A waiting job costs an entry in a dict; there is no poll or timer per job. Events happen at the instant they
were due, even when the thread comes late or the clock jumps, so a story is the same at every speed. Every
public method first does what is due (`_catch_up`), then its own work, under one lock.

Choices, where AWS's behaviour is unknown: an interrupted job is `Interrupted` (and no longer billed) from the
first signal on, and stays so for the two minutes of notice; max runtime counts the time instances are held
over all stretches; limits are enforced a minute late (`enforcement_lag` of the market); capacity that goes
away while a job uploads does not interrupt it.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
import time
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from local_sagemaker.account import REGION
from local_sagemaker.clock import JumpingClock
from local_sagemaker.market import Market, Shortage, TypeRule

from . import rules
from .errors import NotInterruptibleError
from .job import TrainingJob
from .lifecycle import HOLDING_STATUSES, SecondaryStatus, TrainingStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from local_sagemaker.clock import Clock

    from .store import Store
    from .work import Site, Work

log = logging.getLogger(__name__)

S = SecondaryStatus

#: What EC2 grants before it takes a Spot instance.
NOTICE_SECONDS = 120.0
#: What `docker stop -t 120` grants.
STOP_GRACE_SECONDS = 120.0
#: How long SageMaker takes to let a stopped job go, before and after it had instances.
_STOP_WAITING_SECONDS = 60.0
_STOP_DOWNLOADING_SECONDS = 5.0
#: How long a job that met an internal error is Restarting (ours).
_RESTART_SECONDS = 60.0

#: Real time. While the clock jumps, callers get their turn that often, and that long.
_TURN_SECONDS = 0.005
_GIVE_WAY_SECONDS = 0.0005
#: Events of jobs that moved on stay in the heap until due, but not more than so many, or a quarter of it.
_FEW_EVENTS = 1000

# Messages of real jobs. The texts of Interrupted, Restarting and max pending are not known, and are ours.
STARTING = "Starting the training job"
PREPARING = "Preparing the instances for training"
NO_SPOT = "Insufficient capacity error from EC2 while launching instances, retrying!"
PENDING = "Training job waiting for capacity"
DOWNLOADING = "Downloading input data"
TRAINING = "Training image download completed. Training in progress."
INTERRUPTED = "Training job interrupted: the Spot instances were reclaimed"
RESTARTING = "Restarting the training job after an internal error"
MAX_PENDING_EXCEEDED = "Training job pending time exceeded MaxPendingTimeInSeconds provided"
UPLOADING = "Uploading generated training model"
STOPPING = "Stopping the training job"
ENDINGS = {
    S.COMPLETED: (TrainingStatus.COMPLETED, "Training job completed"),
    S.FAILED: (TrainingStatus.FAILED, "Training job failed"),
    S.STOPPED: (TrainingStatus.STOPPED, "Training job stopped"),
    S.MAX_RUNTIME_EXCEEDED: (
        TrainingStatus.STOPPED,
        "Training job runtime exceeded MaxRuntimeInSeconds provided",
    ),
    S.MAX_WAIT_TIME_EXCEEDED: (
        TrainingStatus.STOPPED,
        "Training job wait time exceeded MaxWaitTimeInSeconds provided",
    ),
}
NO_CAPACITY_FAILURE = (
    "CapacityError: Unable to provision requested ML compute capacity. "
    "Please retry using a different ML instance type."
)
INTERNAL_FAILURE = "InternalServerError: We encountered an internal error. Please try again."


@dataclass(slots=True, eq=False)
class _Run:
    """What the engine knows of a job that is not over, beyond what a client may see."""

    name: str
    is_spot: bool
    phase: int = 0
    stretch: int = 0
    work: Work | None = None
    is_launching: bool = False
    #: What it runs on, or ran on last; several with instance groups.
    instance_types: tuple[str, ...] = ()
    price_ratio: float = 1.0
    checkpoints: int = 0
    awaited: set[str] = field(default_factory=set)
    then: Callable[[], None] | None = None
    ends_as: SecondaryStatus = S.COMPLETED
    failure: str | None = None
    ending_message: str | None = None
    retries: int = 0


@dataclass(order=True, slots=True)
class _Event:
    """Something due. One with a run happens only while the job is not over, and in its phase and stretch."""

    due: datetime
    order: int
    action: Callable[[], None] = field(compare=False)
    run: _Run | None = field(compare=False, default=None)
    phase: int | None = field(compare=False, default=None)
    stretch: int | None = field(compare=False, default=None)


class Engine:
    """See the module. Calls `listeners` for every change, under the lock: they must return at once."""

    def __init__(
        self,
        *,
        clock: Clock,
        market: Market,
        store: Store,
        work_for: Callable[[Site, TrainingJob], Work],
        listeners: tuple[Callable[[TrainingJob], None], ...] = (),
        region: str = REGION,
    ) -> None:
        self.clock = clock
        self.region = region
        self.market = market
        self.store = store
        self._work_for = work_for
        self._listeners = listeners
        self._lock = threading.RLock()
        self._wake = threading.Condition(self._lock)
        self._heap: list[_Event] = []
        self._sweep_above = _FEW_EVENTS
        self._orders = itertools.count()
        self._now = clock.now()
        self._runs: dict[str, _Run] = {}
        self._waiting: dict[str, dict[str, _Run]] = {}
        self._market_watches: dict[tuple[str, bool], datetime] = {}
        self._depth = 0
        self._closing = False
        self._thread: threading.Thread | None = None
        self._jump_to = clock.jump_to if isinstance(clock, JumpingClock) else None
        self._programs: set[int] = set()
        self._gave_way_at = 0.0

    # --- what clients do ---

    def __enter__(self) -> datetime:
        """`with engine as now:` everything due has happened, and nothing else happens meanwhile."""
        self._lock.acquire()
        if not self._depth:
            self._catch_up()
        self._depth += 1
        return self._now

    def __exit__(self, *_: object) -> None:
        self._depth -= 1
        self._lock.release()

    def create(self, request: Mapping[str, Any], tags: Mapping[str, str]) -> TrainingJob:
        """Start a job's life. The request is valid in form and by the rules that need no state."""
        with self as now:
            name = str(request["TrainingJobName"])
            rules.check_name_is_free(self.store.get(name))
            job = TrainingJob(
                name=name, request=request, created_at=now, last_modified_at=now, region=self.region
            )
            rules.check_quota(job, self.market.rule, lambda each: self._instances_in_use(each, job.is_spot))
            run = self._runs[name] = _Run(name=name, is_spot=job.is_spot)
            self.store.tags(job.arn).update(tags)
            self._save(job.entered(S.STARTING, now, STARTING))
            if job.is_spot:
                for instance_type in _all_types(job):
                    self.market.note_spot_request(instance_type, now)
                wait = float(job.max_wait_seconds or 0) + self._rule(job).enforcement_lag_seconds
                self._push(now + timedelta(seconds=wait), lambda: self._enforce_max_wait(run), run)
            self._seek_capacity(run)
            return self._job(run)

    def stop(self, name: str) -> None:
        """StopTrainingJob."""
        with self:
            job = rules.check_stoppable(self.store.get(name))
            run = self._runs[job.name]
            if job.status is TrainingStatus.STOPPING:
                return
            if job.secondary_status is S.UPLOADING:
                run.ends_as = S.STOPPED
                self._save(replace(job, status=TrainingStatus.STOPPING, last_modified_at=self._now))
                return
            self._stop(run, S.STOPPED)

    def delete(self, name: str) -> None:
        """DeleteTrainingJob."""
        with self:
            self.store.remove(rules.check_deletable(self.store.get(name)).name)

    def interrupt(self, name: str, *, notice_seconds: float = NOTICE_SECONDS) -> None:
        """Interrupt a running spot job now, whatever the market says; without notice there is no SIGTERM."""
        with self:
            job = self.store.get(name)
            if job is None:
                raise NotInterruptibleError(f"There is no training job {name}.")
            run = self._runs.get(name)
            if run is None or not job.is_spot or job.secondary_status not in (S.DOWNLOADING, S.TRAINING):
                kind = "a spot" if job.is_spot else "an on-demand"
                raise NotInterruptibleError(
                    f"{name} is {kind} job in {job.secondary_status}: only a spot job that is "
                    "Downloading or Training can be interrupted."
                )
            self._interrupt(run, notice_seconds)

    def set_capacity(self, instance_type: str, *, available: bool) -> None:
        """Say whether the type has spot capacity; jobs on a type that loses it are interrupted."""
        with self:
            self.market.set_capacity(instance_type, available=available)
            self._market_changed(instance_type)

    def reset(self) -> None:
        """Forget every job, kill what runs, and let the market start anew."""
        with self as now:
            for run in self._runs.values():
                run.phase += 1
                run.stretch += 1
                if run.work:
                    run.work.abandon()
            self._runs.clear()
            self._programs.clear()
            self._waiting.clear()
            self._heap.clear()
            self._sweep_above = _FEW_EVENTS
            self._market_watches.clear()
            self.store.clear()
            self.market.reset(now)

    # --- the thread ---

    def start(self) -> None:
        self._thread = threading.Thread(target=self._loop, name="engine", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Kill every job's processes and end the thread."""
        with self._lock:
            self._closing = True
            for run in self._runs.values():
                if run.work:
                    run.work.abandon()
            self._wake.notify_all()
        if self._thread:
            self._thread.join(timeout=5)

    def next_due(self) -> datetime | None:
        """When something will happen next, for whoever drives the clock."""
        with self._lock:
            return self._heap[0].due if self._heap else None

    def _loop(self) -> None:
        with self._wake:
            while not self._closing:
                self._catch_up()
                if self._jump():
                    continue
                wait = self.clock.real_seconds_until(self._heap[0].due) if self._heap else None
                self._wake.wait(None if wait is None else min(wait, 3600.0))

    def _jump(self) -> bool:
        """Move a clock that can jump to the next event; not while a program runs, nor without a job alive."""
        if self._jump_to is None or self._programs or not self._runs:
            return False
        while self._heap and not self._is_alive(self._heap[0]):
            heapq.heappop(self._heap)
        if not self._heap:
            return False
        self._jump_to(self._heap[0].due)
        if time.monotonic() - self._gave_way_at > _TURN_SECONDS:
            self._wake.wait(_GIVE_WAY_SECONDS)  # callers wait for the lock
            self._gave_way_at = time.monotonic()
        return True

    def _catch_up(self) -> None:
        now = self.clock.now()
        self._depth += 1
        while self._heap and self._heap[0].due <= now:
            event = heapq.heappop(self._heap)
            if self._is_alive(event):
                self._now = max(self._now, event.due)
                self._perform(event)
        self._depth -= 1
        self._now = max(self._now, now)

    def _perform(self, event: _Event) -> None:
        try:
            event.action()
        except Exception:
            # A bug in one job's life must not end everybody's: the trace is in the log, the job says
            # InternalServerError.
            log.exception("an event of the simulation failed")
            if event.run is not None and self._runs.get(event.run.name) is event.run:
                self._fail(event.run, INTERNAL_FAILURE)

    def _is_alive(self, event: _Event) -> bool:
        run = event.run
        return run is None or (
            self._runs.get(run.name) is run
            and event.phase in (None, run.phase)
            and event.stretch in (None, run.stretch)
        )

    def _drop_dead_events(self) -> None:
        """Each holds on to its job as it was, maybe for days. The next sweep is many events away."""
        self._heap = [event for event in self._heap if self._is_alive(event)]
        heapq.heapify(self._heap)
        self._sweep_above = _FEW_EVENTS + len(self._heap) * 5 // 4

    def _push(
        self,
        due: datetime,
        action: Callable[[], None],
        run: _Run | None = None,
        *,
        phase: int | None = None,
        stretch: int | None = None,
    ) -> None:
        event = _Event(due, next(self._orders), action, run, phase, stretch)
        heapq.heappush(self._heap, event)
        if self._heap[0] is event:
            self._wake.notify_all()
        if len(self._heap) > self._sweep_above:
            self._drop_dead_events()

    def _after(self, run: _Run, seconds: float, action: Callable[[], None]) -> None:
        """Do something later, unless the job has moved on by then."""
        self._push(self._now + timedelta(seconds=seconds), action, run, phase=run.phase)

    # --- the parts of a job's life ---

    def _seek_capacity(self, run: _Run) -> None:
        """Launch on the first choice that has capacity, or wait for one."""
        job = self._job(run)
        for instance_types in job.choices:
            if all(self._is_available(run, each) for each in instance_types):
                self._launch(run, instance_types)
                return
        if not run.is_spot:
            self._wait_on_demand(run)
        else:
            self._save(job.saying(NO_SPOT, self._now))
        for instance_type in _all_types(job):
            self._waiting.setdefault(instance_type, {})[run.name] = run
            self._watch_market(instance_type, run.is_spot)

    def _wait_on_demand(self, run: _Run) -> None:
        job = self._job(run)
        if job.secondary_status is S.PENDING:
            self._save(job.saying(PENDING, self._now))
        else:
            self._enter(run, S.PENDING, PENDING)
        rule = self._rule(job)
        if job.max_pending_seconds is not None:
            since = self._job(run).transitions[-1].started_at
            left = job.max_pending_seconds + rule.enforcement_lag_seconds
            left -= (self._now - since).total_seconds()
            self._after(run, max(0.0, left), lambda: self._end_pending(run))
        if rule.shortage is Shortage.FAIL:
            self._after(run, rule.fail_after_seconds, lambda: self._fail(run, NO_CAPACITY_FAILURE))

    def _launch(self, run: _Run, instance_types: tuple[str, ...]) -> None:
        self._unwait(run)
        run.is_launching = True
        run.instance_types = instance_types
        run.phase += 1
        self._save(self._job(run).saying(PREPARING, self._now))
        for instance_type in instance_types:
            self._watch_market(instance_type, run.is_spot)
        seconds = max(self.market.rule(each).launch_seconds for each in instance_types)
        self._after(run, seconds, lambda: self._launched(run))

    def _launched(self, run: _Run) -> None:
        first = run.instance_types[0]
        run.is_launching = False
        run.checkpoints = 0
        run.stretch += 1
        run.price_ratio = 1.0
        if run.is_spot:
            for instance_type in run.instance_types:
                self.market.note_spot_start(instance_type, run.name)
            run.price_ratio = self.market.price_ratio(first, self._now)
        job = self._job(run)
        selected = first if job.resources.get("InstancePreferences") else None
        self._save(replace(job, started_at=job.started_at or self._now, selected_type=selected))
        self._enter(run, S.DOWNLOADING, DOWNLOADING)
        self._limit_runtime(run)
        run.work = self._work_for(_StretchSite(self, run, self._now), self._job(run))
        if run.work.is_real:
            self._programs.add(id(run))
        self._await(run, {"time", "prepared"}, lambda: self._train(run))
        self._after(run, self._rule_of(run).download_seconds, lambda: self._arrive(run, "time"))
        run.work.prepare()

    def _limit_runtime(self, run: _Run) -> None:
        job = self._job(run)
        left = job.max_runtime_seconds - job.held_seconds + self._rule(job).enforcement_lag_seconds
        due = self._now + timedelta(seconds=max(0.0, left))
        self._push(due, lambda: self._enforce_max_runtime(run), run, stretch=run.stretch)

    def _train(self, run: _Run) -> None:
        assert run.work is not None  # noqa: S101
        self._enter(run, S.TRAINING, TRAINING)
        for instance_type in run.instance_types:
            self._script_troubles(run, instance_type)
        run.work.start()

    def _script_troubles(self, run: _Run, instance_type: str) -> None:
        """See to it that what the market file has in store for the job in this stretch happens."""
        if run.is_spot:
            for index, interruption in self.market.interruptions_for(instance_type, run.name):
                if interruption.after_seconds is not None:
                    fire = partial(self._fire_interruption, run, instance_type, index)
                    self._after(run, interruption.after_seconds, fire)
        for index, seconds in self.market.internal_errors_for(instance_type, run.name):
            self._after(run, seconds, partial(self._break_down, run, instance_type, index))

    def _break_down(self, run: _Run, instance_type: str, index: int) -> None:
        """An internal error of AWS: instances and processes are gone; the RetryStrategy says what then."""
        if index not in dict(self.market.internal_errors_for(instance_type, run.name)):
            return
        self.market.note_internal_error(instance_type, index, run.name)
        if run.retries >= self._job(run).retry_attempts:
            self._fail(run, INTERNAL_FAILURE)
            return
        run.retries += 1
        run.stretch += 1
        self._discard_work(run)
        self._enter(run, S.RESTARTING, RESTARTING)
        self._after(run, _RESTART_SECONDS, lambda: self._resume(run))

    def _end_pending(self, run: _Run) -> None:
        run.ending_message = MAX_PENDING_EXCEEDED
        self._stop(run, S.STOPPED)

    def _fire_interruption(self, run: _Run, instance_type: str, index: int) -> None:
        """A scripted interruption is due: it happens unless another job had it first."""
        if index not in dict(self.market.interruptions_for(instance_type, run.name)):
            return
        interruption = self.market.fire(instance_type, index, run.name)
        if interruption.away_seconds:
            self.market.withdraw_until(
                instance_type, self._now + timedelta(seconds=interruption.away_seconds)
            )
            self._market_changed(instance_type)
        if self._job(run).secondary_status is S.TRAINING:
            self._interrupt(run)

    def _interrupt(self, run: _Run, notice_seconds: float = NOTICE_SECONDS) -> None:
        assert run.work is not None  # noqa: S101
        self._enter(run, S.INTERRUPTED, INTERRUPTED)
        self._await(run, {"time", "stopped"}, lambda: self._resume(run))
        self._after(run, notice_seconds, lambda: self._arrive(run, "time"))
        run.work.interrupt(notice_seconds)

    def _resume(self, run: _Run) -> None:
        self._discard_work(run)
        self._enter(run, S.STARTING, STARTING)
        self._seek_capacity(run)

    def _upload(self, run: _Run) -> None:
        assert run.work is not None  # noqa: S101
        self._enter(run, S.UPLOADING, UPLOADING)
        self._await(run, {"time", "uploaded"}, lambda: self._end(run))
        self._after(run, self._rule_of(run).upload_seconds, lambda: self._arrive(run, "time"))
        run.work.upload()

    def _stop(self, run: _Run, ends_as: SecondaryStatus) -> None:
        """Bring a job to an early end, from wherever it is."""
        was = self._job(run).secondary_status
        run.ends_as = ends_as
        self._unwait(run)
        run.is_launching = False
        self._enter(run, S.STOPPING, STOPPING, coarse=TrainingStatus.STOPPING)
        if was is S.TRAINING and run.work:
            self._await(run, {"time", "stopped"}, lambda: self._upload(run))
            self._after(run, _STOP_DOWNLOADING_SECONDS, lambda: self._arrive(run, "time"))
            run.work.stop(STOP_GRACE_SECONDS)
            return
        if was in HOLDING_STATUSES:
            self._after(run, _STOP_DOWNLOADING_SECONDS, lambda: self._end(run))
        else:
            self._after(run, _STOP_WAITING_SECONDS, lambda: self._end(run))
        if was is not S.INTERRUPTED:
            self._discard_work(run)

    def _enforce_max_wait(self, run: _Run) -> None:
        job = self.store.get(run.name)
        if job and self._is_in_progress(run) and job.secondary_status is not S.UPLOADING:
            self._stop(run, S.MAX_WAIT_TIME_EXCEEDED)

    def _enforce_max_runtime(self, run: _Run) -> None:
        job = self.store.get(run.name)
        if job and self._is_in_progress(run) and job.secondary_status in (S.DOWNLOADING, S.TRAINING):
            self._stop(run, S.MAX_RUNTIME_EXCEEDED)

    def _is_in_progress(self, run: _Run) -> bool:
        return self._runs.get(run.name) is run and self._job(run).status is TrainingStatus.IN_PROGRESS

    def _fail(self, run: _Run, reason: str) -> None:
        run.ends_as = S.FAILED
        run.failure = reason
        self._end(run)

    def _end(self, run: _Run) -> None:
        ends_as = S.FAILED if run.failure else run.ends_as
        status, message = ENDINGS[ends_as]
        message = run.ending_message or message
        self._unwait(run)
        run.phase += 1
        run.stretch += 1
        self._discard_work(run)
        del self._runs[run.name]
        self.market.note_end(run.name)
        job = self._job(run).entered(ends_as, self._now, message, price_ratio=run.price_ratio)
        self._save(job.ended(status, self._now, failure_reason=run.failure))

    # --- reports from the work ---

    def report(self, run: _Run, stretch: int, what: str, failure: str | None) -> None:
        """Something happened to a stretch; from any thread."""
        with self:
            if run.stretch != stretch or self._runs.get(run.name) is not run:
                return
            status = self._job(run).secondary_status
            if what == "exited":
                if status is S.TRAINING:
                    run.failure = failure
                    self._upload(run)
            elif failure and status is S.DOWNLOADING:
                self._fail(run, failure)
            else:
                run.failure = run.failure or failure
                self._arrive(run, what)

    def report_checkpoint(self, run: _Run, stretch: int) -> None:
        with self:
            if run.stretch != stretch or self._runs.get(run.name) is not run:
                return
            run.checkpoints += 1
            if not run.is_spot or self._job(run).secondary_status is not S.TRAINING:
                return
            for instance_type in run.instance_types:
                for index, interruption in self.market.interruptions_for(instance_type, run.name):
                    wanted = interruption.after_checkpoints
                    if wanted is not None and run.checkpoints >= wanted:
                        self._fire_interruption(run, instance_type, index)
                        return

    def _await(self, run: _Run, what: set[str], then: Callable[[], None]) -> None:
        run.awaited = what
        run.then = then

    def _arrive(self, run: _Run, what: str) -> None:
        """One of the things the job's status waits for is there; with the last, it moves on."""
        if what not in run.awaited:
            return
        run.awaited.discard(what)
        if not run.awaited and run.then:
            then, run.then = run.then, None
            then()

    # --- the market ---

    def _is_available(self, run: _Run, instance_type: str) -> bool:
        if run.is_spot:
            return self.market.is_spot_available(instance_type, self._now)
        return self.market.is_on_demand_available(instance_type, self._now)

    def _watch_market(self, instance_type: str, is_spot: bool) -> None:
        """See to it that an event is due when the type's capacity next changes."""
        find = self.market.next_spot_change if is_spot else self.market.next_on_demand_change
        key = (instance_type, is_spot)
        if (due := self._market_watches.get(key)) is not None and due <= self._now:
            return  # this very change is met in a moment, for others who wait for it, and watched on then
        change_at = find(instance_type, self._now)
        if change_at is None:
            self._market_watches.pop(key, None)
        elif self._market_watches.get(key) != change_at:
            self._market_watches[key] = change_at
            self._push(change_at, lambda: self._meet_change(key, change_at))

    def _meet_change(self, key: tuple[str, bool], change_at: datetime) -> None:
        if self._market_watches.get(key) == change_at:
            del self._market_watches[key]
            self._market_changed(key[0], is_spot=key[1])

    def _market_changed(self, instance_type: str, *, is_spot: bool = True) -> None:
        """Launch who waits, or interrupt who runs; watch on while somebody cares."""
        concerned = [
            run
            for run in list(self._runs.values())
            if run.is_spot == is_spot
            and (instance_type in run.instance_types or run.name in self._waiting.get(instance_type, {}))
        ]
        for run in concerned:
            available = self._is_available(run, instance_type)
            if available and run.name in self._waiting.get(instance_type, {}):
                self._seek_capacity(run)
            elif not available and instance_type in run.instance_types:
                self._lose_capacity(run)
        if concerned:
            self._watch_market(instance_type, is_spot)

    def _lose_capacity(self, run: _Run) -> None:
        if run.is_launching:
            run.is_launching = False
            run.phase += 1
            self._seek_capacity(run)
        elif run.is_spot and self._job(run).secondary_status in (S.DOWNLOADING, S.TRAINING):
            self._interrupt(run)

    def _unwait(self, run: _Run) -> None:
        for waiting in self._waiting.values():
            waiting.pop(run.name, None)

    def _instances_in_use(self, instance_type: str, is_spot: bool) -> int:
        """Instances of the type that jobs alive of the same kind have; queued jobs count too."""
        others = (self.store.get(run.name) for run in self._runs.values() if run.is_spot == is_spot)
        return sum(other.instances.get(instance_type, 0) for other in others if other)

    # --- small things ---

    def _job(self, run: _Run) -> TrainingJob:
        job = self.store.get(run.name)
        assert job is not None  # noqa: S101
        return job

    def _rule(self, job: TrainingJob) -> TypeRule:
        return self.market.rule(job.instance_type)

    def _rule_of(self, run: _Run) -> TypeRule:
        return self._rule(self._job(run))

    def _enter(
        self, run: _Run, status: SecondaryStatus, message: str, *, coarse: TrainingStatus | None = None
    ) -> None:
        run.phase += 1
        run.awaited = set()
        run.then = None
        job = self._job(run).entered(status, self._now, message, price_ratio=run.price_ratio)
        self._save(replace(job, status=coarse) if coarse else job)

    def _discard_work(self, run: _Run) -> None:
        if run.work:
            run.work.abandon()
            run.work = None
            if id(run) in self._programs:
                self._programs.discard(id(run))
                self._wake.notify_all()

    def _save(self, job: TrainingJob) -> None:
        before = self.store.get(job.name)
        self.store.put(job)
        if before is None or (before.status, before.transitions) != (job.status, job.transitions):
            for listener in self._listeners:
                listener(job)


def _all_types(job: TrainingJob) -> list[str]:
    """Every instance type the job may run on, each once."""
    return list(dict.fromkeys(itertools.chain(*job.choices)))


class _StretchSite:
    """The engine as one stretch of a job sees it."""

    def __init__(self, engine: Engine, run: _Run, started_at: datetime) -> None:
        self._engine = engine
        self._run = run
        self._stretch = run.stretch
        self.started_at = started_at

    @property
    def speed(self) -> float:
        return self._engine.clock.speed

    def now(self) -> datetime:
        return self._engine._now  # noqa: SLF001

    def after(self, seconds: float, action: Callable[[], None]) -> None:
        self._engine._after(self._run, seconds, action)  # noqa: SLF001

    def prepared(self, failure: str | None = None) -> None:
        self._engine.report(self._run, self._stretch, "prepared", failure)

    def exited(self, failure: str | None = None) -> None:
        self._engine.report(self._run, self._stretch, "exited", failure)

    def stopped(self) -> None:
        self._engine.report(self._run, self._stretch, "stopped", None)

    def uploaded(self, failure: str | None = None) -> None:
        self._engine.report(self._run, self._stretch, "uploaded", failure)

    def checkpoint_uploaded(self) -> None:
        self._engine.report_checkpoint(self._run, self._stretch)
