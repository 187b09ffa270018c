"""What the operator and the sensor share towards Airflow: being told to end, and failing with a job alive.

Imported when a Dag is parsed, so it imports nothing of a training's machinery.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import (
    AirflowFailException,
    AirflowRescheduleException,
    AirflowSensorTimeout,
    AirflowSkipException,
    TaskDeferralError,
)

from spot_training.domain.errors import InvalidInput
from spot_training.domain.parsing import as_bool

if TYPE_CHECKING:
    from airflow.sdk import Context

    from .training import TrainingTask

#: After these Airflow never tries again.
_FINAL = (AirflowFailException, AirflowSensorTimeout, AirflowSkipException)


def is_last_try(ti: Any) -> bool:
    """Whether a task instance that fails now is not tried again."""
    return bool(ti.try_number > ti.max_tries)


class TrainingOperatorBase(BaseOperator):
    """A task that carries a training: told to end at any moment, and going on where its trigger fails."""

    _training: TrainingTask | None = None
    _is_told_to_end = False
    _may_defer = True

    def on_kill(self) -> None:
        """Start nothing more, and stop the job unless it is to outlive its task."""
        self._is_told_to_end = True
        if self._training is not None:
            self._training.end_with_process()

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Go on, also where it is the trigger that failed: that says nothing about the job."""
        try:
            return super().resume_execution(next_method, next_kwargs, context)
        except TaskDeferralError as error:
            self.log.error(  # noqa: TRY400 - Airflow has written the trigger's own traceback
                "The trigger failed (%s), not the training: this task waits for it on its worker now. See "
                "the triggerer's log.",
                error,
            )
            self._may_defer = False
            return self.resume(context)

    def resume(self, context: Context, event: dict[str, Any] | None = None) -> Any:
        """Go on after the trigger fired. What it said is not trusted: the job is described again."""
        raise NotImplementedError

    def _begin(self, training: TrainingTask) -> TrainingTask:
        """Take over a training; Airflow may have said to end before there was one."""
        self._training = training
        if self._is_told_to_end:
            training.end_with_process()
        return training

    # Failing ---------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _leaving_no_job(self, context: Context) -> Iterator[None]:
        """Stop the training's job where the task fails in here and no other try will look after it."""
        try:
            with self._refusing_bad_input(context):
                yield
        except AirflowRescheduleException:
            raise
        except Exception as error:
            if self._is_told_to_end or isinstance(error, _FINAL) or is_last_try(context["ti"]):
                self._let_go(context)
            elif self._is_given_up(context, error):
                self._let_go(context)
                # The retry policy is not asked a second time, so it cannot change its mind.
                raise AirflowFailException(str(error)) from error
            raise

    @contextlib.contextmanager
    def _refusing_bad_input(self, context: Context) -> Iterator[None]:
        """Bad input is a failure that Airflow does not retry; it says where the training's job stands."""
        try:
            yield
        except InvalidInput as error:
            raise AirflowFailException(f"{error} {self._where_job_stands(context)}") from error

    def _where_job_stands(self, context: Context) -> str:
        from .training import standing_on_record

        if self._training is not None:
            return self._training.standing
        return standing_on_record(context["task_state_store"], is_stopped=self._stops_job())

    def _is_given_up(self, context: Context, error: Exception) -> bool:
        """Whether the task's `retry_policy` wants no other try; asked only where there is a job to stop."""
        from airflow.sdk import RetryAction

        ti = context["ti"]
        if self.retry_policy is None or self._training is None or not self._training.has_job_to_stop:
            return False
        try:
            decision = self.retry_policy.evaluate(error, ti.try_number, ti.max_tries, context)
        except Exception as failure:  # noqa: BLE001 - then Airflow goes by `retries`
            self.log.warning("The retry policy failed: %s", failure)
            return False
        return decision.action is RetryAction.FAIL

    def _let_go(self, context: Context) -> None:
        """Stop the live job if this task created it, unless it is to outlive the task. Raises nothing."""
        with contextlib.suppress(Exception):  # said loudly already; the error that led here matters more
            if self._training is not None:
                self._training.let_go()
            elif self._stops_job():
                from .training import stop_job_on_record

                stop_job_on_record(self, context["task_state_store"])

    def _stops_job(self) -> bool:
        try:
            return as_bool(getattr(self, "stop_job_on_kill", True), field="stop_job_on_kill")
        except InvalidInput:
            return True
