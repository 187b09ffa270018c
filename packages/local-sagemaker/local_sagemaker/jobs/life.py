"""The steps of a job's life, from CreateTrainingJob to its end: what each does and what follows.

Choices, where AWS's behaviour is unknown: an interrupted job is `Interrupted`, and no longer billed, from the
first signal on, and stays so for the two minutes of notice; capacity that goes away while a job uploads does
not interrupt it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from local_sagemaker.market import Market, Shortage

from . import messages
from .capacity import Capacity
from .lifecycle import HOLDING_STATUSES, SecondaryStatus, TrainingStatus
from .limits import Limits
from .run import Run
from .scripted import ScriptedEvents

if TYPE_CHECKING:
    from collections.abc import Callable

    from .job import TrainingJob
    from .running import RunningJobs
    from .schedule import Schedule
    from .work import Work

S = SecondaryStatus

#: What EC2 grants before it takes a Spot instance.
NOTICE_SECONDS = 120.0
#: What `docker stop -t 120` grants.
STOP_GRACE_SECONDS = 120.0
#: How long a stop takes SageMaker, before and after the job had instances.
_STOP_WAITING_SECONDS = 60.0
_STOP_DOWNLOADING_SECONDS = 5.0
#: How long a job is Restarting after an internal error (ours).
_RESTART_SECONDS = 60.0


class JobLife:
    """Guarded by the engine's lock. `make_work` makes the work of a stretch that begins now."""

    def __init__(
        self,
        market: Market,
        running: RunningJobs,
        schedule: Schedule,
        make_work: Callable[[Run, TrainingJob], Work],
    ) -> None:
        self._market = market
        self._running = running
        self._schedule = schedule
        self._make_work = make_work
        self.capacity = Capacity(
            market, running, schedule, gained=self._seek_capacity, lost=self._lose_capacity
        )
        self._limits = Limits(market, running, schedule, stop=self.stop)
        self._scripted = ScriptedEvents(
            market, running, schedule, self.capacity, interrupt=self.interrupt, break_down=self._break_down
        )

    def begin(self, job: TrainingJob) -> Run:
        """Start the life of a new job."""
        now = self._schedule.now
        run = self._running.runs[job.name] = Run(name=job.name, is_spot=job.is_spot)
        self._running.save(job.entered(S.STARTING, now, messages.STARTING))
        if job.is_spot:
            for instance_type in job.possible_types:
                self._market.note_spot_request(instance_type, now)
        if job.max_wait_seconds is not None:
            self._limits.limit_wait(run)
        self._seek_capacity(run)
        return run

    # --- capacity ---

    def _seek_capacity(self, run: Run) -> None:
        """Launch on the first choice that has capacity, or wait for one."""
        instance_types = self.capacity.find(run)
        if instance_types is not None:
            self._launch(run, instance_types)
            return
        if run.is_spot:
            self._running.say(run, messages.NO_SPOT)
        else:
            self._wait_on_demand(run)
        self.capacity.wait(run)

    def _wait_on_demand(self, run: Run) -> None:
        if self._running.status_of(run) is S.PENDING:
            self._running.say(run, messages.PENDING)
        else:
            self._running.enter(run, S.PENDING, messages.PENDING)
        self._limits.limit_pending(run)
        rule = self._market.rule(self._running.job_of(run).instance_type)
        if rule.shortage is Shortage.FAIL:
            self._schedule.after(
                run, rule.fail_after_seconds, lambda: self.fail(run, messages.NO_CAPACITY_FAILURE)
            )

    def _lose_capacity(self, run: Run) -> None:
        if run.is_launching:
            run.is_launching = False
            run.phase += 1
            self._seek_capacity(run)
        elif run.is_spot and self._running.status_of(run) in (S.DOWNLOADING, S.TRAINING):
            self.interrupt(run)

    # --- a stretch on instances ---

    def _launch(self, run: Run, instance_types: tuple[str, ...]) -> None:
        self.capacity.stop_waiting(run)
        run.is_launching = True
        run.instance_types = instance_types
        run.phase += 1
        self._running.say(run, messages.PREPARING)
        for instance_type in instance_types:
            self.capacity.watch(instance_type, is_spot=run.is_spot)
        seconds = max(self._market.rule(each).launch_seconds for each in instance_types)
        self._schedule.after(run, seconds, lambda: self._download(run))

    def _download(self, run: Run) -> None:
        now, first = self._schedule.now, run.instance_types[0]
        run.is_launching = False
        run.checkpoints = 0
        run.stretch += 1
        run.price_ratio = 1.0
        if run.is_spot:
            for instance_type in run.instance_types:
                self._market.note_spot_start(instance_type, run.name)
            run.price_ratio = self._market.price_ratio(first, now)
        job = self._running.job_of(run)
        selected = first if job.resources.get("InstancePreferences") else None
        self._running.save(replace(job, started_at=job.started_at or now, selected_type=selected))
        self._running.enter(run, S.DOWNLOADING, messages.DOWNLOADING)
        self._limits.limit_runtime(run)
        job = self._running.job_of(run)
        work = self._make_work(run, job)
        self._running.take_work(run, work)
        run.wait_for({"time", "prepared"}, lambda: self._train(run))
        seconds = self._market.rule(job.instance_type).download_seconds
        self._schedule.after(run, seconds, lambda: run.arrive("time"))
        work.prepare()

    def _train(self, run: Run) -> None:
        assert run.work is not None  # noqa: S101
        self._running.enter(run, S.TRAINING, messages.TRAINING)
        self._scripted.schedule_for(run)
        run.work.start()

    def interrupt(self, run: Run, notice_seconds: float = NOTICE_SECONDS) -> None:
        assert run.work is not None  # noqa: S101
        self._running.enter(run, S.INTERRUPTED, messages.INTERRUPTED)
        run.wait_for({"time", "stopped"}, lambda: self._resume(run))
        self._schedule.after(run, notice_seconds, lambda: run.arrive("time"))
        run.work.interrupt(notice_seconds)

    def _break_down(self, run: Run) -> None:
        """Instances and processes are gone: RetryStrategy says whether the job restarts or fails."""
        if run.retries >= self._running.job_of(run).retry_attempts:
            self.fail(run, messages.INTERNAL_FAILURE)
            return
        run.retries += 1
        run.stretch += 1
        self._running.discard_work(run)
        self._running.enter(run, S.RESTARTING, messages.RESTARTING)
        self._schedule.after(run, _RESTART_SECONDS, lambda: self._resume(run))

    def _resume(self, run: Run) -> None:
        self._running.discard_work(run)
        self._running.enter(run, S.STARTING, messages.STARTING)
        self._seek_capacity(run)

    # --- the end ---

    def _upload(self, run: Run) -> None:
        assert run.work is not None  # noqa: S101
        self._running.enter(run, S.UPLOADING, messages.UPLOADING)
        run.wait_for({"time", "uploaded"}, lambda: self._end(run))
        seconds = self._market.rule(self._running.job_of(run).instance_type).upload_seconds
        self._schedule.after(run, seconds, lambda: run.arrive("time"))
        run.work.upload()

    def stop(self, run: Run, ends_as: SecondaryStatus) -> None:
        """Bring a job to an early end, from whatever status it is in."""
        was = self._running.status_of(run)
        run.ends_as = ends_as
        self.capacity.stop_waiting(run)
        run.is_launching = False
        self._running.enter(run, S.STOPPING, messages.STOPPING, coarse=TrainingStatus.STOPPING)
        if was is S.TRAINING and run.work:
            run.wait_for({"time", "stopped"}, lambda: self._upload(run))
            self._schedule.after(run, _STOP_DOWNLOADING_SECONDS, lambda: run.arrive("time"))
            run.work.stop(STOP_GRACE_SECONDS)
            return
        seconds = _STOP_DOWNLOADING_SECONDS if was in HOLDING_STATUSES else _STOP_WAITING_SECONDS
        self._schedule.after(run, seconds, lambda: self._end(run))
        if was is not S.INTERRUPTED:
            self._running.discard_work(run)

    def fail(self, run: Run, reason: str) -> None:
        run.ends_as = S.FAILED
        run.failure = reason
        self._end(run)

    def _end(self, run: Run) -> None:
        ends_as = S.FAILED if run.failure else run.ends_as
        status, message = messages.ENDINGS[ends_as]
        message = run.ending_message or message
        self.capacity.stop_waiting(run)
        self._running.discard_work(run)
        run.is_over = True
        del self._running.runs[run.name]
        self._market.note_end(run.name)
        now = self._schedule.now
        job = self._running.job_of(run).entered(ends_as, now, message, price_ratio=run.price_ratio)
        self._running.save(job.ended(status, now, failure_reason=run.failure))

    # --- reports from the work ---

    def take_report(self, run: Run, what: str, failure: str | None) -> None:
        """The work of the current stretch has `prepared`, `exited`, `stopped` or `uploaded`."""
        status = self._running.status_of(run)
        if what == "exited":
            if status is S.TRAINING:
                run.failure = failure
                self._upload(run)
        elif failure and status is S.DOWNLOADING:
            self.fail(run, failure)
        else:
            run.failure = run.failure or failure
            run.arrive(what)

    def take_checkpoint(self, run: Run) -> None:
        self._scripted.count_checkpoint(run)
