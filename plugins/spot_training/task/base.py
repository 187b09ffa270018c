"""What the operator and the sensor share towards Airflow: ending, and failing with a job alive.

Imported when a Dag is parsed, so it imports nothing of a training's machinery at the top.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from spot_training.compat import (
    AirflowFailException,
    AirflowRescheduleException,
    AirflowSensorTimeout,
    AirflowSkipException,
    TaskDeferralError,
    wants_no_other_try,
)
from spot_training.domain.errors import InvalidInput, StateReplaced
from spot_training.domain.parsing import as_bool

from .tries import is_last_try

if TYPE_CHECKING:
    from airflow.providers.openlineage.extractors import OperatorLineage
    from airflow.sdk import Context

    from .training import TrainingTask

#: After these Airflow never tries again.
_FINAL = (AirflowFailException, AirflowSensorTimeout, AirflowSkipException)


class TrainingOperatorBase(BaseOperator):
    """A task with a training: Airflow may end it at any moment, and it continues if its trigger fails."""

    aws_conn_id: str | None
    region_name: str | None
    verify: bool | str | None
    botocore_config: dict[str, Any] | None
    events_queue_url: str | None
    stop_job_on_kill: bool | str

    #: DescribeTrainingJob's answer as plain JSON, once the task has returned it. The Amazon provider's name.
    serialized_training_data: dict[str, Any] | None = None

    _training: TrainingTask | None = None
    #: What the trigger fired with, if this process resumes the task.
    _event: dict[str, Any] | None = None
    _is_ended = False
    _may_defer = True

    def on_kill(self) -> None:
        """Start nothing more, and stop the job unless it outlives its task."""
        self._is_ended = True
        if self._training is not None:
            self._training.end_with_process()

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Continue, also if the trigger failed: that says nothing about the job."""
        try:
            return super().resume_execution(next_method, next_kwargs, context)
        except TaskDeferralError as error:
            self.log.error(  # noqa: TRY400 - Airflow has written the trigger's own traceback
                "The trigger failed (%s), not the training. The task now waits for it on its worker. "
                "See the triggerer's log.",
                error,
            )
            self._may_defer = False
            return self.resume(context)

    def resume(self, context: Context, event: dict[str, Any] | None = None) -> Any:
        """Continue after the trigger fired. Its event is not trusted: the job is described again."""
        raise NotImplementedError

    def _begin(self, training: TrainingTask) -> TrainingTask:
        """Take over a training; Airflow may have ended this process before there was one."""
        self._training = training
        if self._is_ended:
            training.end_with_process()
        return training

    def _returned(self, outcome: dict[str, Any]) -> dict[str, Any]:
        """Remember what the task returns, for OpenLineage."""
        self.serialized_training_data = outcome["Training"]
        return outcome

    def get_openlineage_facets_on_start(self) -> OperatorLineage:
        """Return the channels of the request; of a job that something else started, nothing is known yet."""
        from .lineage import lineage_of, request_of

        return lineage_of(request_of(getattr(self, "config", None)))

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> OperatorLineage:  # noqa: ARG002
        """Return the channels and the model artifacts of the training, as the Amazon provider's operator.

        The run has its attempts and savings as facets, also if it failed.
        """
        from .lineage import lineage_of, request_of

        job = self.serialized_training_data or request_of(getattr(self, "config", None))
        return lineage_of(job, training=self._training)

    # Failing ---------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _leaving_no_job(self, context: Context) -> Iterator[None]:
        """Stop the training's job if the task fails in here and no other try will look after it."""
        try:
            with self._refusing_bad_input(context):
                yield
        except AirflowRescheduleException:
            raise
        except StateReplaced as error:
            if self._training is not None:
                self._training.leave_job(error)
            raise
        except Exception as error:
            if self._is_ended or isinstance(error, _FINAL) or is_last_try(context["ti"]):
                self._stop_abandoned_job(context)
            elif self._is_given_up(context, error):
                self._stop_abandoned_job(context)
                # The retry policy is not asked a second time, so it cannot change its mind.
                raise AirflowFailException(str(error)) from error
            raise

    @contextlib.contextmanager
    def _refusing_bad_input(self, context: Context) -> Iterator[None]:
        """Bad input is a failure that Airflow does not retry. The error says what became of the job."""
        try:
            yield
        except InvalidInput as error:
            raise AirflowFailException(f"{error} {self._job_sentence(context)}") from error

    def _job_sentence(self, context: Context) -> str:
        from .kept_state import state_of
        from .recorded_job import recorded_job_sentence

        if self._training is not None:
            return self._training.job_sentence
        return recorded_job_sentence(state_of(context), is_stopped=self._stops_job())

    def _is_given_up(self, context: Context, error: Exception) -> bool:
        """Whether the task's `retry_policy` rules out another try; asked only if there is a job to stop."""
        if self._training is None or not self._training.has_job_to_stop:
            return False
        try:
            return wants_no_other_try(self, error, context)
        except Exception as failure:  # noqa: BLE001 - then Airflow goes by `retries`
            self.log.warning("The retry policy failed: %s", failure)
            return False

    def _stop_abandoned_job(self, context: Context) -> None:
        """Stop the live job if this task created it, unless it outlives the task. Raises nothing."""
        with contextlib.suppress(Exception):  # logged already; the error that led here matters more
            if self._training is not None:
                self._training.stop_abandoned_job()
            else:
                from .kept_state import state_of
                from .recorded_job import stop_recorded_job

                state = state_of(context)
                stop_recorded_job(self, state, log=self.log, stops_job=self._stops_job())

    def _stops_job(self) -> bool:
        try:
            return as_bool(self.stop_job_on_kill, field="stop_job_on_kill")
        except InvalidInput:
            return True
