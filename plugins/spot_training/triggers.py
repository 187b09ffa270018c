"""Waiting for a training job in the triggerer: thin, over the shared watcher.

A trigger holds no client, no session and no log: all it does is hear reports and yield one event. What is to
happen beside that has two places, and needs no other change here:

- `_until`: the moment at which to give up waiting. It is asked before each wait, so after each report: a
  moment that moves (a deadline's) is computed there, from what `_on_news` remembered.
- `_on_news`: what each report with new transitions is for (the task log; a record of the live job). It runs
  in the triggerer's event loop: what blocks has a thread of its own (`take_note`), or goes through `aside`.

Calls that stop a job have threads for nothing else: no ledger is in their way.

What a trigger needs to know for that is one more argument with a default, in `__init__` and `serialize`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

from airflow.sdk.configuration import conf
from airflow.triggers.base import BaseTrigger, TriggerEvent

from .connections import AwsAccess
from .domain.messages import COULD_NOT_STOP, Narrator, stop_command, transition_line
from .domain.stop_reasons import StopReason
from .ledger import take_note
from .sagemaker.jobs import TAG_SECONDS
from .task.task_state import Fate, fate_of, warm_up
from .watching.deadline_stop import STOP_AGAIN_SECONDS, Punctual
from .watching.watcher import Follower, LogLines, Missing, Over, Report, TimeIsUp, Trouble

if TYPE_CHECKING:
    from .domain.lifecycle import JobSnapshot, Transition
    from .sagemaker.jobs import TrainingJobs

Result = TypeVar("Result")

#: Less than `[triggerer] on_kill_timeout`, so that a failure can still be said.
ON_KILL_SECONDS = 25
#: Of these for the tag that tells our stop from a person's: nobody kills a triggerer meanwhile, as a worker.
TAG_SECONDS_IN_ON_KILL = 5.0
#: Within the two seconds at most for which the trigger's log stays open.
LOUD_AFTER_SECONDS = 1
#: Airflow 3.3.2 takes a task for killed that resumes before its scheduler has heard that the process which
#: deferred has ended: the new process goes by the same key. Its supervisor may notice that end one heartbeat
#: interval late, and the scheduler hears of it at its next turn.
SCHEDULER_TURN_SECONDS = 2
#: Threads of all triggers of the process, for stopping jobs.
STOPPING_THREADS = 4


@cache
def _stopping() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(STOPPING_THREADS, thread_name_prefix="spot-training-stopping")


# A forked child has none of its parent's threads.
os.register_at_fork(after_in_child=_stopping.cache_clear)


async def aside(pool: ThreadPoolExecutor, call: Callable[..., Result], *arguments: Any) -> Result:
    """Make a blocking call without blocking the event loop, in a small thread pool of the process."""
    return await asyncio.get_running_loop().run_in_executor(pool, call, *arguments)


def seconds_to_settle() -> float:
    """How long after its start a trigger may fire at the earliest."""
    return float(conf.getfloat("workers", "min_heartbeat_interval", fallback=5.0)) + SCHEDULER_TURN_SECONDS


class TrainingJobTrigger(BaseTrigger):
    """Fires once, when the training job is over (`status` is `TrainingJobStatus`), missing, or time is up.

    `until` (ISO 8601) is the task's own limit: Airflow enforces `execution_timeout` on workers only. With a
    `guard` (`guard_to_json`) it stops a spot job that would cost the deadline, and goes on waiting until that
    is over. `record_key` names the ledger's record to note the job's transitions for. Arguments of a later
    version are kept and ignored. It classifies nothing: the task that resumes describes the job and decides.
    """

    def __init__(
        self,
        *,
        training_job_name: str,
        check_interval: float = 30,
        stop_job_on_kill: bool = True,
        until: str | None = None,
        guard: dict[str, Any] | None = None,
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
        self.shows_log = shows_log
        self.record_key = record_key
        self._unknown = unknown
        self._punctual: Punctual | None = None
        self._jobs: TrainingJobs | None = None
        self.access = AwsAccess(
            aws_conn_id=aws_conn_id,
            region_name=region_name,
            verify=verify,
            botocore_config=botocore_config,
            events_queue_url=events_queue_url,
        )

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return (
            f"{type(self).__module__}.{type(self).__qualname__}",
            {
                **self._unknown,
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
        warm_up(self.task_instance)
        loop = asyncio.get_running_loop()
        may_resume_at = loop.time() + seconds_to_settle()
        try:
            status = await self._wait()
        except Exception:
            # A task whose trigger fails resumes, too.
            await asyncio.sleep(may_resume_at - loop.time())
            raise
        await asyncio.sleep(may_resume_at - loop.time())
        yield self._event(status)

    async def _wait(self) -> str:
        """Hear of the job until it is over, or time is up; the event's status."""
        watcher = self.access.watcher()
        narrator = Narrator()
        if self.guard is not None:
            self._punctual = Punctual.from_json(self.guard, lambda: watcher.clock)
        status: str | None = None
        while status is None:
            follower = Follower(
                watcher,
                self.training_job_name,
                interval_seconds=self.check_interval,
                until=self._until if self._punctual or self.until else None,
                must_describe=self._punctual is not None,
                due_in_seconds=self._punctual.first_look_in_seconds if self._punctual else None,
                shows_log=self.shows_log,
            )
            with follower as reports:
                async for report in reports:
                    status = await self._hear(report, narrator)
        return status

    def _until(self) -> datetime | None:
        """When to stop waiting, asked anew before each wait: the task's limit, or the deadline's."""
        moments = (self._own_limit(), self._punctual.look_again_at if self._punctual else None)
        return min((moment for moment in moments if moment), default=None)

    def _own_limit(self) -> datetime | None:
        return datetime.fromisoformat(self.until) if self.until else None

    async def _on_time_is_up(self) -> str | None:
        """Which time was it? For the deadline's, stop the spot job and wait on until it is over."""
        own = self._own_limit()
        if self._punctual is None or (own is not None and own <= datetime.now(UTC)):
            return "TimeIsUp"
        if self._punctual.is_due():
            await self._make_room(self._punctual)
        return None

    async def _make_room(self, punctual: Punctual) -> None:
        try:
            self.log.info("%s", await aside(_stopping(), self._stop_for_deadline, punctual))
        except Exception as error:  # noqa: BLE001 - tried again until it works: the deadline is at stake
            name = self.training_job_name
            self.log.error("Spot job %s could not be stopped for the deadline, trying on: %s", name, error)  # noqa: TRY400
            await asyncio.sleep(STOP_AGAIN_SECONDS)

    def _stop_for_deadline(self, punctual: Punctual) -> str:
        return punctual.stop(lambda _job: self._stop(StopReason.DEADLINE, TAG_SECONDS))

    def _on_news(self, job: JobSnapshot, fresh: Sequence[Transition]) -> None:
        """What each report of new transitions is for."""
        for visit in fresh:
            at = f"{visit.started_at:%Y-%m-%d %H:%M:%S}"
            self.log.info("%s %s %s", at, job.name, transition_line(job, visit))
        if self.record_key is not None:
            take_note(self.record_key, job)

    async def _hear(self, report: Report, narrator: Narrator) -> str | None:
        """Pass a report on; the event's status if it is the last."""
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
            case job:
                if self._punctual is not None:
                    self._punctual.hear(job)
                if fresh := narrator.news(job):
                    self._on_news(job, fresh)
                if job.is_terminal:
                    return str(job.status)
        return None

    def _event(self, status: str) -> TriggerEvent:
        payload = {"training_job_name": self.training_job_name, "status": status}
        return TriggerEvent(payload)  # type: ignore[no-untyped-call]

    async def on_kill(self) -> None:
        """Stop the job if the task has ended, or is gone; in every other state somebody else looks after it.

        That is where a person marked the deferred task or its run, or deleted the run. Airflow calls this,
        too, for a task that a person cleared, which runs again and goes on with the job, and for a trigger
        that another triggerer has taken over.
        """
        name = self.training_job_name
        if not self.stop_job_on_kill:
            self.log.info("Training job %s goes on (stop_job_on_kill=False).", name)
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
            return  # said already; the thread goes on asking
        if error := stopping.exception():
            self._tell_alive(error)
        elif stopping.result():
            self.log.info("Stopped training job %s: its task %s (%s).", name, fate.value, state)

    def _leave_alone(self, fate: Fate, state: str) -> None:
        name = self.training_job_name
        if fate is Fate.GOES_ON:
            self.log.info(
                "This trigger ends, and training job %s continues: the task is %s, so another process of it "
                "looks after the job.",
                name,
                state,
            )
        else:
            self.log.warning(
                "Airflow did not say whether the task has ended (%s). Training job %s continues: the task's "
                "next process decides, or the sweeper.",
                state,
                name,
            )

    async def _wait_for_stop(self, stopping: asyncio.Future[bool]) -> None:
        """Wait, come what may, and say in time that the job is alive.

        Airflow 3.3.2 cancels `on_kill` again at each turn of its loop, that is every second, and closes the
        trigger's log at the second time. The call itself is in a thread, which nobody cancels.
        """
        loop = asyncio.get_running_loop()
        loud_at, over_at = loop.time() + LOUD_AFTER_SECONDS, loop.time() + ON_KILL_SECONDS
        is_told = False
        while not stopping.done() and loop.time() < over_at:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait({stopping}, timeout=(over_at if is_told else loud_at) - loop.time())
            if not (stopping.done() or is_told) and loop.time() >= loud_at:
                self._tell_alive("SageMaker has not confirmed it so far; it is asked again.")
                is_told = True

    def _stop(self, why: StopReason, tag_within: float) -> bool:
        from .ledger.stop_reasons import LedgerStops

        self._jobs = self.access.jobs()
        name = self.training_job_name
        return self._jobs.stop(
            name,
            why,
            tag_within=tag_within,
            keep_reason=lambda note: LedgerStops().keep(name, note),
        )

    def _tell_alive(self, why: object) -> None:
        name = self.training_job_name
        region = self._jobs.region if self._jobs else self.access.region_name
        self.log.error(COULD_NOT_STOP, name, why, stop_command(name, region))
