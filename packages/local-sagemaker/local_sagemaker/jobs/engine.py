"""Moves all training jobs through their life: one lock, one thread, one clock.

Every public method first does what is due, then its own work, under the lock. `life` holds the steps of a
job, `schedule` what is due, `capacity` who waits for which instance type, `limits` the time limits,
`scripted` what a market file scripts, and `running` the jobs that are not over.
"""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from local_sagemaker.account import REGION
from local_sagemaker.clock import JumpingClock

from . import messages, rules
from .errors import NotInterruptibleError
from .job import TrainingJob
from .life import NOTICE_SECONDS, JobLife
from .lifecycle import SecondaryStatus, TrainingStatus
from .running import RunningJobs
from .schedule import Schedule

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from local_sagemaker.clock import Clock
    from local_sagemaker.market import Market

    from .run import Run
    from .store import Store
    from .work import Site, Work

S = SecondaryStatus

#: Real time. While the clock jumps, callers get the lock this often, and for this long.
_TURN_SECONDS = 0.005
_GIVE_WAY_SECONDS = 0.0005


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
        check_inputs: Callable[[Mapping[str, Any]], None] = lambda _request: None,
    ) -> None:
        self.clock = clock
        self._check_inputs = check_inputs
        self.region = region
        self.market = market
        self.store = store
        self._work_for = work_for
        self._lock = threading.RLock()
        self._wake = threading.Condition(self._lock)
        self._schedule = Schedule(clock.now(), wake=self._wake.notify_all, fail=self._fail)
        self._running = RunningJobs(store, self._schedule, listeners)
        self._life = JobLife(market, self._running, self._schedule, self._make_work)
        self._depth = 0
        self._closing = False
        self._thread: threading.Thread | None = None
        self._jump_to = clock.jump_to if isinstance(clock, JumpingClock) else None
        self._gave_way_at = 0.0

    # --- what clients do ---

    def __enter__(self) -> datetime:
        """`with engine as now:` everything due has happened, and nothing else happens meanwhile."""
        self._lock.acquire()
        if not self._depth:
            self._catch_up()
        self._depth += 1
        return self._schedule.now

    def __exit__(self, *_: object) -> None:
        self._depth -= 1
        self._lock.release()

    def create(self, request: Mapping[str, Any], tags: Mapping[str, str]) -> TrainingJob:
        """Start a job. The request is valid in form and by the rules that need no state.

        The inputs are checked before the lock is taken: a bucket may have many objects.
        """
        self._check_inputs(request)
        with self as now:
            name = str(request["TrainingJobName"])
            rules.check_name_is_free(self.store.get(name))
            job = TrainingJob(
                name=name, request=request, created_at=now, last_modified_at=now, region=self.region
            )
            rules.check_quota(
                job,
                self.market.rule,
                lambda each: self._running.count_instances(each, is_spot=job.is_spot),
            )
            self.store.tags(job.arn).update(tags)
            return self._running.job_of(self._life.begin(job))

    def stop(self, name: str) -> None:
        """StopTrainingJob."""
        with self as now:
            job = rules.check_stoppable(self.store.get(name))
            run = self._running.runs[job.name]
            if job.status is TrainingStatus.STOPPING:
                return
            if job.secondary_status is S.UPLOADING:
                run.ends_as = S.STOPPED
                self._running.save(replace(job, status=TrainingStatus.STOPPING, last_modified_at=now))
                return
            self._life.stop(run, S.STOPPED)

    def delete(self, name: str) -> None:
        """DeleteTrainingJob."""
        with self:
            self.store.remove(rules.check_deletable(self.store.get(name)).name)

    def interrupt(self, name: str, *, notice_seconds: float = NOTICE_SECONDS) -> None:
        """Interrupt a running spot job now, whatever the market says. Without notice there is no SIGTERM."""
        with self:
            job = self.store.get(name)
            if job is None:
                raise NotInterruptibleError(f"There is no training job {name}.")
            run = self._running.runs.get(name)
            if run is None or not job.is_spot or job.secondary_status not in (S.DOWNLOADING, S.TRAINING):
                kind = "a spot" if job.is_spot else "an on-demand"
                raise NotInterruptibleError(
                    f"{name} is {kind} job in {job.secondary_status}: only a spot job that is "
                    "Downloading or Training can be interrupted."
                )
            self._life.interrupt(run, notice_seconds)

    def set_capacity(self, instance_type: str, *, available: bool) -> None:
        """Set whether the type has spot capacity. Jobs on a type that loses it are interrupted."""
        with self:
            self.market.set_capacity(instance_type, available=available)
            self._life.capacity.change(instance_type)

    def stall_uploads(
        self, *, instance_type: str | None = None, job_names: str = "*", seconds: float | None = None
    ) -> None:
        """No checkpoint of these jobs reaches S3, for simulated seconds or until `resume_uploads`."""
        with self as now:
            until = None if seconds is None else now + timedelta(seconds=seconds)
            self.market.stall_uploads(instance_type=instance_type, job_names=job_names, until=until)

    def resume_uploads(self) -> None:
        """End what `stall_uploads` began."""
        with self:
            self.market.resume_uploads()

    def reset(self) -> None:
        """Delete every job, kill what runs, and start the market again."""
        with self as now:
            self._running.abandon_all()
            self._running.clear()
            self._life.capacity.clear()
            self._schedule.clear()
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
            self._running.abandon_all()
            self._wake.notify_all()
        if self._thread:
            self._thread.join(timeout=5)

    def wake(self) -> None:
        """Wait anew for what is due next: the clock has another speed."""
        with self._lock:
            self._wake.notify_all()

    def next_due(self) -> datetime | None:
        """When something is due next, for whoever drives the clock."""
        with self._lock:
            return self._schedule.next_due()

    def _loop(self) -> None:
        with self._wake:
            while not self._closing:
                self._catch_up()
                if self._jump():
                    continue
                due = self._schedule.next_due()
                wait = None if due is None else min(self.clock.real_seconds_until(due), 3600.0)
                self._wake.wait(wait)

    def _jump(self) -> bool:
        """Move a clock that can jump to the next event. It cannot while a program runs, or without a job."""
        if self._jump_to is None or self._running.has_programs or not self._running.runs:
            return False
        due = self._schedule.next_alive_due()
        if due is None:
            return False
        self._jump_to(due)
        if time.monotonic() - self._gave_way_at > _TURN_SECONDS:
            self._wake.wait(_GIVE_WAY_SECONDS)  # callers wait for the lock
            self._gave_way_at = time.monotonic()
        return True

    def _catch_up(self) -> None:
        self._depth += 1
        self._schedule.run_due(self.clock.now())
        self._depth -= 1

    def _fail(self, run: Run) -> None:
        self._life.fail(run, messages.INTERNAL_FAILURE)

    # --- the work ---

    def _make_work(self, run: Run, job: TrainingJob) -> Work:
        return self._work_for(_StretchSite(self, self._schedule, run), job)

    def report(self, run: Run, stretch: int, what: str, failure: str | None = None) -> None:
        """Something happened to the work of a stretch; from any thread."""
        with self:
            if run.stretch == stretch and not run.is_over:
                self._life.take_report(run, what, failure)

    def report_checkpoint(self, run: Run, stretch: int) -> None:
        with self:
            if run.stretch == stretch and not run.is_over:
                self._life.take_checkpoint(run)

    def are_uploads_stalled(self, run: Run) -> bool:
        with self as now:
            if run.is_over:
                return False
            job = self._running.job_of(run)
            return self.market.are_uploads_stalled(job.name, job.instances, now)


class _StretchSite:
    """The engine as the work of one stretch sees it."""

    def __init__(self, engine: Engine, schedule: Schedule, run: Run) -> None:
        self._engine = engine
        self._schedule = schedule
        self._run = run
        self._stretch = run.stretch
        self.started_at = schedule.now

    @property
    def speed(self) -> float:
        return self._engine.clock.speed

    def now(self) -> datetime:
        return self._schedule.now

    def after(self, seconds: float, action: Callable[[], None]) -> None:
        self._schedule.after(self._run, seconds, action)

    def prepared(self, failure: str | None = None) -> None:
        self._engine.report(self._run, self._stretch, "prepared", failure)

    def exited(self, failure: str | None = None) -> None:
        self._engine.report(self._run, self._stretch, "exited", failure)

    def stopped(self) -> None:
        self._engine.report(self._run, self._stretch, "stopped")

    def uploaded(self, failure: str | None = None) -> None:
        self._engine.report(self._run, self._stretch, "uploaded", failure)

    def checkpoint_uploaded(self) -> None:
        self._engine.report_checkpoint(self._run, self._stretch)

    def are_uploads_stalled(self) -> bool:
        return self._engine.are_uploads_stalled(self._run)
