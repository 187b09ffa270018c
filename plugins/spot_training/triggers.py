"""Waiting for a training job in the triggerer: thin, over the shared watcher.

A trigger holds no client, no session and no log: all it does is hear reports and yield one event. What is to
happen beside that has two places, and needs no other change here:

- `_until`: the moment at which to give up waiting. It is asked before each wait, so after each report: a
  moment that moves (a deadline's) is computed there, from what `_on_news` remembered.
- `_on_news`: what each report with new transitions is for (the task log; a record of the live job). It is a
  coroutine in the triggerer's event loop: what blocks goes through `aside`, the process's small thread pool.

What a trigger needs to know for that is one more argument with a default, in `__init__` and `serialize`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

from airflow.triggers.base import BaseTrigger, TriggerEvent

from .aws.watcher import Missing, Report, TimeIsUp, Trouble, follow_async, shared_watcher
from .domain.wording import Narrator, transition_line
from .hooks import AwsAccess

if TYPE_CHECKING:
    from .domain.lifecycle import JobSnapshot, Transition

Result = TypeVar("Result")

#: Less than `[triggerer] on_kill_timeout`, so that a failure can still be said.
ON_KILL_SECONDS = 25
#: Threads for all blocking calls of all triggers of the process, the watchers' own aside.
POOL_THREADS = 4


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(POOL_THREADS, thread_name_prefix="spot-training-aside")


async def aside(call: Callable[..., Result], *arguments: Any) -> Result:
    """Make a blocking call without blocking the event loop, in the process's small thread pool."""
    return await asyncio.get_running_loop().run_in_executor(_pool(), call, *arguments)


class TrainingJobTrigger(BaseTrigger):
    """Fires once, when the training job is over (`status` is `TrainingJobStatus`), missing, or time is up.

    `until` (ISO 8601) is the task's own limit: Airflow enforces `execution_timeout` on workers only. It
    classifies nothing: the task that resumes describes the job and decides.
    """

    def __init__(
        self,
        *,
        training_job_name: str,
        check_interval: float = 30,
        stop_job_on_kill: bool = True,
        until: str | None = None,
        aws_conn_id: str | None = "aws_default",
        region_name: str | None = None,
        verify: bool | str | None = None,
        botocore_config: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.training_job_name = training_job_name
        self.check_interval = check_interval
        self.stop_job_on_kill = stop_job_on_kill
        self.until = until
        self.access = AwsAccess(
            aws_conn_id=aws_conn_id,
            region_name=region_name,
            verify=verify,
            botocore_config=botocore_config,
        )

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return (
            f"{type(self).__module__}.{type(self).__qualname__}",
            {
                "training_job_name": self.training_job_name,
                "check_interval": self.check_interval,
                "stop_job_on_kill": self.stop_job_on_kill,
                "until": self.until,
                **asdict(self.access),
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        watcher = shared_watcher(self.access.key, self.access.jobs)
        narrator = Narrator()
        reports = follow_async(
            watcher, self.training_job_name, interval_seconds=self.check_interval, until=self._until
        )
        async for report in reports:
            status = await self._hear(report, narrator)
            if status is not None:
                yield self._event(status)
                return

    def _until(self) -> datetime | None:
        """When to give up waiting, asked anew before each wait."""
        return datetime.fromisoformat(self.until) if self.until else None

    async def _on_news(self, job: JobSnapshot, fresh: Sequence[Transition]) -> None:
        """What each report of new transitions is for."""
        for visit in fresh:
            at = f"{visit.started_at:%Y-%m-%d %H:%M:%S}"
            self.log.info("%s %s %s", at, job.name, transition_line(job, visit))

    async def _hear(self, report: Report, narrator: Narrator) -> str | None:
        """Pass a report on; the event's status if it is the last."""
        match report:
            case Trouble():
                self.log.warning("%s", report)
            case Missing():
                return "Missing"
            case TimeIsUp():
                return "TimeIsUp"
            case job:
                if fresh := narrator.news(job):
                    await self._on_news(job, fresh)
                if job.is_terminal:
                    return str(job.status)
        return None

    def _event(self, status: str) -> TriggerEvent:
        payload = {"training_job_name": self.training_job_name, "status": status}
        return TriggerEvent(payload)  # type: ignore[no-untyped-call]

    async def on_kill(self) -> None:
        """Stop the job: a person marked the deferred task failed or succeeded, or cleared it."""
        name = self.training_job_name
        if not self.stop_job_on_kill:
            self.log.info("Training job %s goes on (stop_job_on_kill=False).", name)
            return
        jobs = await aside(self.access.jobs)
        try:
            # Airflow gives on_kill half a minute; the thread goes on trying after that.
            stopped = await asyncio.wait_for(aside(jobs.stop, name), ON_KILL_SECONDS)
        except Exception as error:
            self.log.error(  # noqa: TRY400 - a sentence a person can act on
                "Training job %s could NOT be stopped and is still billed: %r. Stop it by hand: %s",
                name,
                error,
                jobs.stop_command(name),
            )
            raise
        if stopped:
            self.log.info("Stopped training job %s.", name)
