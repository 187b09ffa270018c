"""Stopping a training's job as its task ends: killed, failed for the last time, or out of time."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Any

from spot_training.domain.errors import TimedOutWaiting
from spot_training.domain.messages import COULD_NOT_STOP
from spot_training.domain.stop_reasons import StopReason

if TYPE_CHECKING:
    from collections.abc import Callable

    from spot_training.training.driver import TrainingDriver, Waiting

#: Airflow kills a process five seconds after SIGTERM: what a person must know is logged before that.
WARN_AFTER_SECONDS = 3


class JobStopper:
    """Stops the training's job when nobody will look after it, unless the job outlives its task.

    `is_replaced` asks Airflow whether a later try of the task runs or will run.
    """

    def __init__(
        self, driver: TrainingDriver, *, stops_job: bool, is_replaced: Callable[[], bool], log: Any
    ) -> None:
        self._driver = driver
        self._stops_job = stops_job
        self._is_replaced = is_replaced
        self._log = log
        self._stopped: str | None = None

    @property
    def has_job_to_stop(self) -> bool:
        """Whether a job of this task is alive that this task must still stop."""
        if self._driver.has_scouts and self._stopped is None:
            return True
        is_ours = self._driver.is_live_job_ours and self._stops_job
        return is_ours and self._stopped != self._driver.live_job

    def end_with_process(self) -> None:
        """Airflow ends this process: start nothing more, and stop the job unless it outlives its task."""
        self._driver.start_nothing_more()
        if not self._stops_job:
            self._driver.stop_scouts(StopReason.TASK_KILLED)
        elif not self._leaves_job_to_later_try():
            self._stop(StopReason.TASK_KILLED)

    def stop_abandoned_job(self) -> None:
        """The task ends and no other try follows: stop the job once, unless it outlives its task."""
        if self.has_job_to_stop and not self._leaves_job_to_later_try():
            self._stop(StopReason.TASK_ENDED)

    def stop_abandoned_job_quietly(self) -> None:
        with contextlib.suppress(Exception):  # logged already; the error that led here matters more
            self.stop_abandoned_job()

    def stop_out_of_time(self, waiting: Waiting, reason: str) -> None:
        """Stop our own job, which is then waited for and counted. Raises for one that outlives this task."""
        is_ours = self._driver.is_live_job_ours
        if is_ours and self._stops_job:
            self._driver.give_up(reason)
            self._stopped = waiting.job.name
            return
        why = "stop_job_on_kill is False" if is_ours else "this task did not start it"
        raise TimedOutWaiting(
            f"{reason[0].upper()}{reason[1:]} and training job {waiting.job.name} is not over. It continues: "
            f"{why}. Allow more time, or stop it by hand: {self._driver.jobs.stop_command(waiting.job.name)}"
        )

    def _stop(self, why: StopReason) -> None:
        """Stop the live job if this task created it, and start no other. Logs a stop that fails: it costs.

        Scouts never outlive their task.
        """
        self._driver.start_nothing_more()
        name = self._driver.live_job if self._driver.is_live_job_ours and self._stops_job else None
        if name is None:
            self._driver.stop_scouts(why)
            return
        by_hand = self._driver.jobs.stop_command(name)
        not_yet = "SageMaker has not confirmed the stop yet. The task tries again."
        warning = threading.Timer(
            WARN_AFTER_SECONDS, self._log.error, (COULD_NOT_STOP, name, not_yet, by_hand)
        )
        warning.daemon = True
        warning.start()
        try:
            is_stopped = self._driver.kill() if why is StopReason.TASK_KILLED else self._driver.stop(why)
            if is_stopped:
                self._stopped = name
        except Exception as error:
            self._log.error(COULD_NOT_STOP, name, error, by_hand)
            raise
        finally:
            warning.cancel()

    def _leaves_job_to_later_try(self) -> bool:
        """Whether a later try looks after the job that is alive."""
        if self._driver.leaves_job or self._driver.live_job is None or not self._is_replaced():
            return self._driver.leaves_job
        self._driver.leave_job()
        self._log.warning(
            "Airflow has replaced this try of the task with a later one, which looks after training job %s. "
            "The job is not stopped.",
            self._driver.live_job,
        )
        return True
