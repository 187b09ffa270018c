"""`SpotTrainingSensor`: waits for a training job that was started elsewhere, and can carry it on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.sdk import BaseSensorOperator, PokeReturnValue

from .compat import AirflowFailException, AirflowSensorTimeout, conf
from .domain.caps import Caps
from .domain.errors import InvalidInput, TimedOutWaiting
from .domain.parsing import is_left_out
from .links import LINKS
from .sagemaker.naming import NamedJob
from .task.base import TrainingOperatorBase
from .task.constants import check_constants
from .task.specification import WatchedJob

if TYPE_CHECKING:
    from airflow.sdk import Context

    from .domain.ladder import Policy
    from .task.notices import Listeners
    from .task.options import TaskOptions
    from .task.training import TrainingTask
    from .training.driver import Progress


class SpotTrainingSensor(BaseSensorOperator, TrainingOperatorBase):
    """Wait for a SageMaker training job that an operator without waiting, the SDK or the console started.

    The job counts as the first attempt: its ending is reported and XCom is pushed exactly as by
    `SpotTrainingOperator`. With a `policy` the sensor carries the training on. If the job ends because spot
    capacity was not available, the request of the next attempt is built from DescribeTrainingJob, and it
    trains on the job's own checkpoint prefix.

    :param training_job_name: the job to wait for (templated): its name, its ARN, or the result of an operator
        that started it (`train.output`), ours or the Amazon provider's. An ARN also says the region, unless
        `region_name` does.
    :param policy: as for the operator (templated). The job's own wait is the first step. None: only watch.
    :param deferrable: wait in the triggerer. Default: `[operators] default_deferrable`. Otherwise the
        sensor's `mode` (poke or reschedule), `poke_interval` and `timeout` apply.
    :param check_interval: seconds between two looks at SageMaker while deferred.
    :param stop_job_on_kill: as for the operator, for the jobs that this sensor created. The watched job is
        never stopped.
    :param caps: as for the operator (not templated): the most that an attempt of this sensor may ask for.
    :param watch_checkpoints: as for the operator (templated), while the sensor is deferred. None: no.
    :param checkpoint_pattern: as for the operator (not templated).
    :param on_attempt_over: as for the operator (not templated).
    :param on_fallback: as for the operator (not templated).
    :param on_deadline_at_risk: accepted for `default_args`: a sensor has no deadline.
    :param on_checkpoints_stalled: as for the operator (not templated). The watched job is never stopped.

    `print_log`, `aws_conn_id`, `region_name`, `verify`, `botocore_config` and `events_queue_url` are the same
    as the operator's.
    """

    template_fields: Sequence[str] = (
        "training_job_name",
        "policy",
        "check_interval",
        "deferrable",
        "print_log",
        "stop_job_on_kill",
        "watch_checkpoints",
        "aws_conn_id",
        "region_name",
        "verify",
        "botocore_config",
        "events_queue_url",
    )
    template_fields_renderers: ClassVar[dict[str, str]] = {"policy": "json"}
    operator_extra_links = LINKS
    ui_color = "#eef0e4"

    def __init__(
        self,
        *,
        training_job_name: str | Mapping[str, Any],
        policy: str | Mapping[str, Any] | Sequence[object] | Policy | None = None,
        deferrable: bool | str = conf.getboolean("operators", "default_deferrable", fallback=False),
        check_interval: float | str = 30,
        print_log: bool | str = True,
        stop_job_on_kill: bool | str = True,
        caps: Mapping[str, Any] | None = None,
        watch_checkpoints: bool | str | None = None,
        checkpoint_pattern: str | None = None,
        on_attempt_over: Listeners = None,
        on_fallback: Listeners = None,
        on_deadline_at_risk: Listeners = None,
        on_checkpoints_stalled: Listeners = None,
        aws_conn_id: str | None = "aws_default",
        region_name: str | None = None,
        verify: bool | str | None = None,
        botocore_config: dict[str, Any] | None = None,
        events_queue_url: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.training_job_name = training_job_name
        self.policy = policy
        self.deferrable = deferrable
        self.check_interval = check_interval
        self.print_log = print_log
        self.stop_job_on_kill = stop_job_on_kill
        self.caps = caps
        self.watch_checkpoints = watch_checkpoints
        self.checkpoint_pattern = checkpoint_pattern
        self.on_attempt_over = on_attempt_over
        self.on_fallback = on_fallback
        self.on_deadline_at_risk = on_deadline_at_risk
        self.on_checkpoints_stalled = on_checkpoints_stalled
        self.aws_conn_id = aws_conn_id
        self.region_name = region_name
        self.verify = verify
        self.botocore_config = botocore_config
        self.events_queue_url = events_queue_url
        check_constants(self)

    def execute(self, context: Context) -> Any:
        from .task.kept_state import state_of
        from .task.recorded_job import has_begun

        with self._leaving_no_job(context):
            options = self._options()
            if not has_begun(state_of(context)):
                _check_policy_and_caps(self.policy, self.caps)
            return self._follow(context, options) if options.deferrable else super().execute(context)

    def resume(self, context: Context, event: dict[str, Any] | None = None) -> Any:
        self._event = event
        with self._leaving_no_job(context):
            return self._follow(context, self._options())

    def poke(self, context: Context) -> PokeReturnValue:
        """One look. The state between looks is in the task state store, so `reschedule` works too."""
        from .training.driver import Completed

        with self._refusing_bad_input(context):
            training = self._training or self._begin(self._training_of(context, self._options()))
            step = _proceed(training)
            if isinstance(step, Completed):
                return PokeReturnValue(is_done=True, xcom_value=self._returned(training.outcome(step)))
        training.show(step.job, only_the_latest=self.reschedule)
        return PokeReturnValue(is_done=False)

    def _follow(self, context: Context, options: TaskOptions) -> dict[str, Any]:
        from .training.driver import Completed
        from .triggers import TrainingJobTrigger

        training = self._begin(self._training_of(context, options))
        training.take_in(self._event)
        while not isinstance(step := _proceed(training), Completed):
            if self._may_defer:
                # The trigger keeps `timeout`, so that a job of our own is stopped and counted before the
                # task fails.
                trigger = TrainingJobTrigger(**training.trigger_arguments(step))
                self.defer(trigger=trigger, method_name=self.resume.__name__)
            training.wait(step)
        return self._returned(training.outcome(step))

    def _training_of(self, context: Context, options: TaskOptions) -> TrainingTask:
        from .task.training import TrainingTask

        jobs = options.access.jobs()
        job_name = NamedJob.of(self.training_job_name, field="training_job_name").name_in(jobs)
        return TrainingTask(
            context=context,
            log=self.log,
            options=options,
            jobs=jobs,
            specification=WatchedJob(
                jobs,
                job_name,
                policy_spec=self.policy,
                caps=self.caps,
                is_stopped_with_task=options.stop_job_on_kill,
            ),
            adopt=job_name,
        )

    def _options(self) -> TaskOptions:
        """The options; an ARN, also one in an operator's result, says the region if nothing else does."""
        from .task.options import TaskOptions

        region = NamedJob.of(self.training_job_name, field="training_job_name").region
        if region and is_left_out(self.region_name):
            self.region_name = region
        elif region and str(self.region_name).strip() != region:
            raise InvalidInput(
                "region_name", self.region_name, f"the job to wait for is in {region}: leave region_name out."
            )
        return TaskOptions.of_sensor(self)


def _check_policy_and_caps(policy: object, caps: Mapping[str, Any] | None) -> None:
    """Refuse at the first look what no job could be carried on with, not only when the watched job has ended.

    Later looks do not check it: a job of this sensor may be alive, or the training done. A policy takes what
    it leaves out from the watched job, which is not known yet, so the widest limits take its place here.
    """
    from .domain.policy_specs import Defaults, policy_from
    from .task.policy_file import named_policies

    Caps.of(caps)
    if policy is not None:
        policy_from(policy, Defaults(max_runtime_seconds=1, max_wait_seconds=1, named=named_policies()))


def _proceed(training: TrainingTask) -> Progress:
    try:
        return training.proceed()
    except TimedOutWaiting as error:
        raise AirflowSensorTimeout(str(error)) from error
    except AirflowFailException as error:
        if isinstance(error.__cause__, TimedOutWaiting):
            raise AirflowSensorTimeout(str(error)) from error
        raise
