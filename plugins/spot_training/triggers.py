"""Waiting for a training job in the triggerer: thin, over the shared watcher."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import asdict
from datetime import datetime
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from .aws.watcher import Missing, TimeIsUp, Trouble, follow_async, shared_watcher
from .domain.wording import Narrator
from .hooks import AwsAccess

#: Less than `[triggerer] on_kill_timeout`, so that a failure can still be said.
ON_KILL_SECONDS = 25


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
        name = self.training_job_name
        until = datetime.fromisoformat(self.until) if self.until else None
        async for report in follow_async(watcher, name, interval_seconds=self.check_interval, until=until):
            match report:
                case Trouble():
                    self.log.warning("%s", report)
                case Missing():
                    yield self._event("Missing")
                    return
                case TimeIsUp():
                    yield self._event("TimeIsUp")
                    return
                case job:
                    for line in narrator.lines(job):
                        self.log.info("%s", line)
                    if job.is_terminal:
                        yield self._event(str(job.status))
                        return

    def _event(self, status: str) -> TriggerEvent:
        payload = {"training_job_name": self.training_job_name, "status": status}
        return TriggerEvent(payload)  # type: ignore[no-untyped-call]

    async def on_kill(self) -> None:
        """Stop the job: a person marked the deferred task failed or succeeded, or cleared it."""
        name = self.training_job_name
        if not self.stop_job_on_kill:
            self.log.info("Training job %s goes on (stop_job_on_kill=False).", name)
            return
        jobs = await asyncio.to_thread(self.access.jobs)
        try:
            # Airflow gives on_kill half a minute; the thread goes on trying after that.
            stopped = await asyncio.wait_for(asyncio.to_thread(jobs.stop, name), ON_KILL_SECONDS)
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
