"""Waiting for a training job in the triggerer: thin, over the shared watcher.

A trigger holds no client, no session and no log: it reads reports and yields one event. There are two places
to add to that:

- `_until`: the moment at which to stop waiting. It is called before each wait, so after each report.
- `_on_news`: what to do with a report that has new transitions (the task log, a note in the ledger). It runs
  in the triggerer's event loop: what blocks runs in its own thread (`take_note`), or through `aside`.

Calls that stop a job have their own threads: no slow ledger delays them.

What a trigger needs for that is one more argument with a default, in `__init__` and `serialize`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from airflow.triggers.base import BaseTrigger, TriggerEvent

from .compat import calls_on_kill_of_triggers, conf, remember_event_loop
from .connections import AwsAccess
from .domain.checkpoints_seen import CheckpointsToWatch
from .domain.messages import COULD_NOT_STOP, TransitionTracker, stop_command
from .domain.stop_reasons import StopReason
from .ledger import take_note
from .process import PerProcess, begin
from .sagemaker.jobs import TAG_SECONDS
from .task.task_state import Fate, fate_of, warm_up
from .watching.checkpoint_watch import CheckpointWatch
from .watching.deadline_stop import STOP_AGAIN_SECONDS, STOP_FAILED, DeadlineStop
from .watching.following import Follower
from .watching.reports import CheckpointNews, LogLines, Missing, Over, Report, ScoutNews, TimeIsUp, Trouble
from .watching.scout_watch import ScoutWatch, call_from_json

if TYPE_CHECKING:
    from .domain.lifecycle import JobSnapshot, Transition
    from .sagemaker.jobs import TrainingJobs

Result = TypeVar("Result")

#: Less than `[triggerer] on_kill_timeout`, so that a failure can still be logged.
ON_KILL_SECONDS = 25
#: Of these for the tag that marks a stop as ours: unlike a worker, a triggerer is not killed meanwhile.
TAG_SECONDS_IN_ON_KILL = 5.0
#: Within the two seconds at most for which the trigger's log stays open.
LOUD_AFTER_SECONDS = 1
#: Airflow 3.3.2 considers a task killed if it resumes before the scheduler knows that the process which
#: deferred has ended: the new process has the same key. The supervisor may notice that end one heartbeat
#: interval late, and the scheduler learns of it at its next turn.
SCHEDULER_TURN_SECONDS = 2
#: The event's status if the task has to look at its scouts (`domain.scouting`).
LOOK_AT_SCOUTS = "LookAtScouts"
#: If it has to look at what is saved: uploads have stalled, or what it waits for is saved.
LOOK_AT_CHECKPOINTS = "LookAtCheckpoints"
#: Threads of all triggers of the process, for stopping jobs.
STOPPING_THREADS = 4


_pool: PerProcess[ThreadPoolExecutor] = PerProcess()


def _stopping() -> ThreadPoolExecutor:
    return _pool.get(
        lambda: ThreadPoolExecutor(STOPPING_THREADS, thread_name_prefix="spot-training-stopping")
    )


async def aside(pool: ThreadPoolExecutor, call: Callable[..., Result], *arguments: Any) -> Result:
    """Make a blocking call without blocking the event loop, in a small thread pool of the process."""
    return await asyncio.get_running_loop().run_in_executor(pool, call, *arguments)


def seconds_to_settle() -> float:
    """How long after its start a trigger may fire at the earliest."""
    return float(conf.getfloat("workers", "min_heartbeat_interval", fallback=5.0)) + SCHEDULER_TURN_SECONDS


class TrainingJobTrigger(BaseTrigger):
    """Fires once: when the training job is over (`status` is `TrainingJobStatus`), missing, or time is up.

    `until` (ISO 8601) is the task's own limit: Airflow enforces `execution_timeout` on workers only. With a
    `guard` (`guard_to_json`) it stops a spot job in time for the deadline, and waits until that job is over.
    `scouts_alive` are stopped with the task. With a `scout_call` (`call_to_json`) it also fires when the task
    has to send, or look at, its scouts. With `checkpoints` (`CheckpointsToWatch.to_json`) it also fires when
    the task has to look at what is saved, and each event has what was seen.
    `record_key` is the key of the ledger's record that gets a note of the job's transitions. Arguments of a
    later version are kept and ignored. The trigger decides nothing: the task that resumes describes the job.
    """

    def __init__(
        self,
        *,
        training_job_name: str,
        check_interval: float = 30,
        stop_job_on_kill: bool = True,
        until: str | None = None,
        guard: dict[str, Any] | None = None,
        scout_call: dict[str, Any] | None = None,
        scouts_alive: Sequence[str] = (),
        checkpoints: dict[str, Any] | None = None,
        shows_log: bool = False,
        record_key: str | None = None,
        events_queue_url: str | None = None,
        aws_conn_id: str | None = "aws_default",
        region_name: str | None = None,
        verify: bool | str | None = None,
        botocore_config: dict[str, Any] | None = None,
        **unknown: Any,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.training_job_name = training_job_name
        self.check_interval = check_interval
        self.stop_job_on_kill = stop_job_on_kill
        self.until = until
        self.guard = guard
        self.scout_call = scout_call
        self.scouts_alive = tuple(scouts_alive)
        self.checkpoints = checkpoints
        self.shows_log = shows_log
        self.record_key = record_key
        self._unknown = unknown
        self._deadline_stop: DeadlineStop | None = None
        self._scouts: ScoutWatch | None = None
        self._checkpoints: CheckpointWatch | None = None
        self._jobs: TrainingJobs | None = None
        self._tracker: TransitionTracker | None = None
        self.access = AwsAccess(
            aws_conn_id=aws_conn_id,
            region_name=region_name,
            verify=verify,
            botocore_config=botocore_config,
            events_queue_url=events_queue_url,
        ).shared()

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return (
            f"{type(self).__module__}.{type(self).__qualname__}",
            {
                **self._unknown,
                **({} if self.scout_call is None else {"scout_call": self.scout_call}),
                **({"scouts_alive": list(self.scouts_alive)} if self.scouts_alive else {}),
                **({} if self.checkpoints is None else {"checkpoints": self.checkpoints}),
                "training_job_name": self.training_job_name,
                "check_interval": self.check_interval,
                "stop_job_on_kill": self.stop_job_on_kill,
                "until": self.until,
                "guard": self.guard,
                "shows_log": self.shows_log,
                "record_key": self.record_key,
                **asdict(self.access),
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        remember_event_loop()
        warm_up(self.task_instance)
        loop = asyncio.get_running_loop()
        may_resume_at = loop.time() + seconds_to_settle()
        status: str | None = None
        try:
            while status is None:  # the deadline's limit ends the reports, but not the job
                reports = self._follower()
                try:  # not `with`: for a waiting job, it keeps one more object for the garbage collector
                    async for report in reports:
                        status = await self._handle(report)
                finally:
                    reports.close()
        except asyncio.CancelledError:
            # A takeover or a shutdown looks the same: `on_kill` asks Airflow for the state of the task.
            if not calls_on_kill_of_triggers():
                await self.on_kill()
            raise
        except Exception:
            # A task whose trigger fails resumes, too.
            await asyncio.sleep(may_resume_at - loop.time())
            raise
        await asyncio.sleep(may_resume_at - loop.time())
        yield self._event(status)

    def _follower(self) -> Follower:
        """Reports on the job until it is over, or time is up."""
        watcher = self.access.watcher()
        if self.guard is not None and self._deadline_stop is None:
            self._deadline_stop = DeadlineStop.from_json(self.guard, lambda: watcher.clock)
        if self.scout_call is not None and self._scouts is None:
            self._scouts = ScoutWatch(call_from_json(self.scout_call), lambda: watcher.clock)
        if self.checkpoints is not None and self._checkpoints is None:
            what = CheckpointsToWatch.from_json(self.checkpoints)
            prefix = self.access.checkpoints(what.uri)
            self._checkpoints = CheckpointWatch(what, lambda: watcher.clock, prefix, task=self._task_ids)
            if self._deadline_stop is not None:
                self._deadline_stop.checkpoints = self._checkpoints
                self._deadline_stop.saw(what.seen)
        is_watching = self._deadline_stop or self._scouts or self._checkpoints
        return Follower(
            watcher,
            self.training_job_name,
            interval_seconds=self.check_interval,
            until=self._until if self._deadline_stop or self._scouts or self.until else None,
            must_describe=is_watching is not None,
            due_in_seconds=self._deadline_stop.first_look_in_seconds if self._deadline_stop else None,
            shows_log=self.shows_log,
            scouts=self._scouts.scouts if self._scouts else (),
            checkpoints=self._checkpoints,
        )

    @property
    def _task_ids(self) -> tuple[str, str] | None:
        ti: Any = self.task_instance
        return (ti.dag_id, ti.task_id) if ti is not None else None

    def _until(self) -> datetime | None:
        """When to stop waiting, asked before each wait: the task's limit, the deadline's, or the scouts'."""
        moments = (
            self._own_limit(),
            self._deadline_stop.look_again_at if self._deadline_stop else None,
            self._scouts.look_again_at if self._scouts else None,
        )
        return min((moment for moment in moments if moment), default=None)

    def _own_limit(self) -> datetime | None:
        return datetime.fromisoformat(self.until) if self.until else None

    async def _on_time_is_up(self) -> str | None:
        """Which limit was it? For the deadline's, stop the spot job and wait until it is over."""
        own = self._own_limit()
        if own is not None and own <= datetime.now(UTC):
            return "TimeIsUp"
        if self._deadline_stop is not None and self._deadline_stop.is_due():
            await self._stop_in_time(self._deadline_stop)
        elif self._scouts is not None and self._scouts.is_due():
            return LOOK_AT_SCOUTS
        return None

    async def _stop_in_time(self, deadline_stop: DeadlineStop) -> None:
        try:
            self.log.info("%s", await aside(_stopping(), self._stop_for_deadline, deadline_stop))
        except Exception as error:  # noqa: BLE001 - tried again until it works: the deadline is at stake
            self.log.error(STOP_FAILED, self.training_job_name, error)  # noqa: TRY400
            await asyncio.sleep(STOP_AGAIN_SECONDS)

    def _stop_for_deadline(self, deadline_stop: DeadlineStop) -> str:
        return deadline_stop.stop(lambda _job: self._stop(StopReason.DEADLINE, TAG_SECONDS))

    def _news(self, job: JobSnapshot) -> Sequence[Transition]:
        # Made with the first news: of ten thousand waiting jobs most have none for hours.
        self._tracker = self._tracker or TransitionTracker()
        return self._tracker.news(job)

    def _on_news(self, job: JobSnapshot, fresh: Sequence[Transition]) -> None:
        """Log new transitions, and note them in the ledger."""
        tracker = self._tracker or TransitionTracker()
        for visit in fresh:
            self.log.info("%s", tracker.line(job, visit))
        if self.record_key is not None:
            take_note(self.record_key, job, *([self._checkpoints.seen] if self._checkpoints else ()))

    async def _handle(self, report: Report) -> str | None:
        """Handle a report. Returns the event's status if it is the last one."""
        match report:
            case Trouble():
                self.log.warning("%s", report)
            case LogLines():
                for line in report.lines:
                    self.log.info("  | %s", line)
            case Missing():
                return "Missing"
            case Over():
                return str(report.status)
            case TimeIsUp():
                return await self._on_time_is_up()
            case ScoutNews():
                return LOOK_AT_SCOUTS
            case CheckpointNews():
                return self._on_checkpoints(report)
            case job:
                self._take_in(job)
                if job.is_terminal:
                    return str(job.status)
        return None

    def _on_checkpoints(self, news: CheckpointNews) -> str | None:
        """More is saved, or uploads have stalled."""
        if news.warning:
            self.log.warning("%s", news.warning)
        if self._deadline_stop is not None:
            self._deadline_stop.saw(news.seen)
        job = self._checkpoints.job if self._checkpoints else None
        if job is not None and self.record_key is not None and not news.warning:
            take_note(self.record_key, job, news.seen)
        return LOOK_AT_CHECKPOINTS if news.must_wake else None

    def _take_in(self, job: JobSnapshot) -> None:
        for watch in (self._deadline_stop, self._scouts, self._checkpoints):
            if watch is not None:
                watch.update(job)
        if fresh := self._news(job):
            self._on_news(job, fresh)

    def _event(self, status: str) -> TriggerEvent:
        payload: dict[str, Any] = {"training_job_name": self.training_job_name, "status": status}
        if self._checkpoints is not None:
            payload["checkpoints"] = self._checkpoints.seen.to_json()
        return TriggerEvent(payload)  # type: ignore[no-untyped-call]

    async def on_kill(self) -> None:
        """Stop the job if the task has ended, or is gone. In every other state the job has another owner.

        A task has ended where a person marked the deferred task or its run, or deleted the run. Airflow also
        calls this for a task that a person cleared, which runs again and continues with the job, and for a
        trigger that another triggerer has taken over.
        """
        name = self.training_job_name
        if not self.stop_job_on_kill:
            self.log.info("Training job %s continues (stop_job_on_kill=False).", name)
            if not self._scouts_out:
                return
        fate, state = await fate_of(self.task_instance, say=self.log.warning)
        if not fate.is_over:
            self._leave_alone(fate, state)
            return
        stopping = asyncio.ensure_future(
            aside(_stopping(), self._stop, StopReason.TASK_ENDED, TAG_SECONDS_IN_ON_KILL)
        )
        await self._wait_for_stop(stopping)
        if not stopping.done():
            return  # logged already; the thread keeps asking
        if error := stopping.exception():
            self._log_alive(error)
        elif stopping.result():
            what = f"training job {name}" if self.stop_job_on_kill else "the scouts"
            self.log.info("Stopped %s: its task %s (%s).", what, fate.value, state)

    def _leave_alone(self, fate: Fate, state: str) -> None:
        name = self.training_job_name
        if fate is Fate.GOES_ON:
            self.log.info(
                "This trigger ends, and training job %s continues: the task is %s, so another process of it "
                "is responsible for the job.",
                name,
                state,
            )
        else:
            self.log.warning(
                "Airflow did not say whether the task has ended (%s). Training job %s continues: the task's "
                "next process or the sweeper decides.",
                state,
                name,
            )

    async def _wait_for_stop(self, stopping: asyncio.Future[bool]) -> None:
        """Wait, also when cancelled, and log in time that the job is still running.

        Airflow 3.3.2 cancels `on_kill` again at each turn of its loop, that is every second, and closes the
        trigger's log at the second time. The call itself runs in a thread, which is not cancelled.
        """
        loop = asyncio.get_running_loop()
        loud_at, over_at = loop.time() + LOUD_AFTER_SECONDS, loop.time() + ON_KILL_SECONDS
        is_logged = False
        while not stopping.done() and loop.time() < over_at:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait({stopping}, timeout=(over_at if is_logged else loud_at) - loop.time())
            if not (stopping.done() or is_logged) and loop.time() >= loud_at:
                self._log_alive("SageMaker has not confirmed it so far; it is asked again.")
                is_logged = True

    def _stop(self, why: StopReason, tag_within: float) -> bool:
        """Stop the job, and with the task its scouts, too."""
        self._jobs = jobs = self.access.jobs()
        scouts = () if why is StopReason.DEADLINE else self._scouts_out
        stops = [begin(partial(self._stop_job, jobs, name, why, tag_within)) for name in scouts]
        is_stopped = False
        try:
            if self.stop_job_on_kill or why is StopReason.DEADLINE:
                is_stopped = self._stop_job(jobs, self.training_job_name, why, tag_within)
        finally:  # also if the job could not be stopped
            for stopped in stops:
                with contextlib.suppress(Exception):
                    is_stopped |= stopped(ON_KILL_SECONDS)
        return is_stopped

    @property
    def _scouts_out(self) -> tuple[str, ...]:
        """All that may be alive; a task of an earlier version only names those that it waits for."""
        called = call_from_json(self.scout_call).scouts if self.scout_call is not None else ()
        return tuple(dict.fromkeys((*called, *self.scouts_alive)))

    @staticmethod
    def _stop_job(jobs: TrainingJobs, name: str, why: StopReason, tag_within: float) -> bool:
        from .ledger.stop_reasons import LedgerStops

        return jobs.stop(
            name,
            why,
            tag_within=tag_within,
            keep_reason=lambda note: LedgerStops().keep(name, note),
        )

    def _log_alive(self, why: object) -> None:
        name = self.training_job_name
        region = self._jobs.region if self._jobs else self.access.region_name
        self.log.error(COULD_NOT_STOP, name, why, stop_command(name, region))
