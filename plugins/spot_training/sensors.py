"""`SpotTrainingSensor`: waits for a training job started elsewhere, and can carry it on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.sdk import BaseSensorOperator, PokeReturnValue
from airflow.sdk.configuration import conf
from airflow.sdk.exceptions import AirflowFailException, AirflowSensorTimeout

from .domain.caps import Caps
from .domain.errors import EmptyValue, InvalidInput, RequestRefused, TimedOutWaiting
from .domain.parsing import is_left_out
from .links import LINKS
from .sagemaker.identity import is_job_name
from .task.base import TrainingOperatorBase

if TYPE_CHECKING:
    from airflow.sdk import Context

    from .domain.ladder import Policy
    from .sagemaker.identity import RunIdentity
    from .sagemaker.jobs import TrainingJobs
    from .sagemaker.request import TrainingPlan
    from .task.training import Options, TrainingTask
    from .training.driver import Progress


class SpotTrainingSensor(BaseSensorOperator, TrainingOperatorBase):
    """Wait for a SageMaker training job started by an operator that does not wait, the SDK or the console.

    Endings are told apart, and XCom is pushed, exactly as by `SpotTrainingOperator`: the job is the first
    attempt. With a `policy` the sensor carries the training on: when the job ends for want of spot capacity,
    the next attempt's request is rebuilt from DescribeTrainingJob, on the job's own checkpoint prefix.

    :param training_job_name: the job to wait for (templated).
    :param policy: as for the operator (templated); the job's own wait is the first step. None: only watch.
    :param deferrable: wait in the triggerer. Default: `[operators] default_deferrable`. Otherwise the
        sensor's `mode` (poke or reschedule), `poke_interval` and `timeout` apply.
    :param check_interval: seconds between looks at SageMaker while deferred.
    :param stop_job_on_kill: stop a job this sensor itself created when the task is killed, cleared or marked
        by a person, runs out of time, or fails for the last time. The job it was given is never stopped.
    :param caps: as for the operator (not templated): what an attempt of this sensor may ask for at most.

    `print_log`, `aws_conn_id`, `region_name`, `verify`, `botocore_config` and `events_queue_url` are the
    operator's.
    """

    template_fields: Sequence[str] = (
        "training_job_name",
        "policy",
        "check_interval",
        "deferrable",
        "print_log",
        "stop_job_on_kill",
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
        training_job_name: str,
        policy: str | Mapping[str, Any] | Sequence[object] | Policy | None = None,
        deferrable: bool | str = conf.getboolean("operators", "default_deferrable", fallback=False),
        check_interval: float | str = 30,
        print_log: bool | str = True,
        stop_job_on_kill: bool | str = True,
        caps: Mapping[str, Any] | None = None,
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
        self.aws_conn_id = aws_conn_id
        self.region_name = region_name
        self.verify = verify
        self.botocore_config = botocore_config
        self.events_queue_url = events_queue_url

    def execute(self, context: Context) -> Any:
        from .task.training import Options, has_begun

        with self._leaving_no_job(context):
            options = Options.of(self)
            if not has_begun(context["task_state_store"]):
                _check_terms(self.policy, self.caps)
            return self._follow(context, options) if options.deferrable else super().execute(context)

    def resume(self, context: Context, event: dict[str, Any] | None = None) -> Any:  # noqa: ARG002
        from .task.training import Options

        with self._leaving_no_job(context):
            return self._follow(context, Options.of(self))

    def poke(self, context: Context) -> PokeReturnValue:
        """One look. The state between looks is in the task state store, so `reschedule` works too."""
        from .task.training import Options
        from .training.driver import Completed

        with self._refusing_bad_input(context):
            training = self._training or self._begin(self._training_of(context, Options.of(self)))
            step = _proceed(training)
            if isinstance(step, Completed):
                return PokeReturnValue(is_done=True, xcom_value=training.outcome(step))
        training.tell(step.job, only_the_latest=self.reschedule)
        return PokeReturnValue(is_done=False)

    def _follow(self, context: Context, options: Options) -> dict[str, Any]:
        from .training.driver import Completed

        training = self._begin(self._training_of(context, options))
        while not isinstance(step := _proceed(training), Completed):
            if self._may_defer:
                # The trigger keeps `timeout`, so that a job of our own is stopped and counted before the
                # task fails.
                self.defer(trigger=training.trigger(step), method_name=self.resume.__name__)
            training.wait(step)
        return training.outcome(step)

    def _training_of(self, context: Context, options: Options) -> TrainingTask:
        from .task.training import TrainingTask

        _check_job_name(self.training_job_name)
        jobs = options.access.jobs()
        watched = WatchedJob(
            jobs,
            self.training_job_name,
            caps=self.caps,
            is_stopped_with_task=options.stop_job_on_kill,
        )
        return TrainingTask(
            context=context,
            log=self.log,
            options=options,
            jobs=jobs,
            make_plan=watched.plan,
            make_policy=None if self.policy is None else lambda _left: watched.policy(self.policy),
            adopt=self.training_job_name,
        )


def _check_job_name(name: object) -> None:
    field = "training_job_name"
    error: InvalidInput | None = None
    if is_left_out(name):
        error = EmptyValue(field, name, "give the job to wait for.")
    elif not isinstance(name, str) or not is_job_name(name):
        error = InvalidInput(field, name, "give a job's name: 1 to 63 letters, digits and inner dashes.")
    if error is not None:
        raise error


def _check_terms(policy: object, caps: Mapping[str, Any] | None) -> None:
    """Refuse at first what no job could be carried on with, and not when there is something to decide.

    Later a job of this sensor's own may be alive, or the training done: then nothing is to be decided.

    What a policy leaves out the watched job says, which is not known yet: the loosest stands for it.
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


class WatchedJob:
    """The job that was started elsewhere, and how it is carried on."""

    def __init__(
        self,
        jobs: TrainingJobs,
        name: str,
        *,
        caps: Mapping[str, Any] | None = None,
        is_stopped_with_task: bool = True,
    ) -> None:
        self._jobs = jobs
        self._name = name
        self._caps = caps
        self._is_stopped_with_task = is_stopped_with_task
        self._request = lru_cache(maxsize=1)(self._describe_as_request)

    def plan(self, identity: RunIdentity) -> TrainingPlan:
        """Attempts like the job itself, on its own checkpoint prefix: it holds the work done so far."""
        from .sagemaker.request import TrainingPlan

        request = self._request()
        return TrainingPlan(
            request=request,
            identity=identity,
            name_prefix=self._name,
            checkpoint_uri=request.get("CheckpointConfig", {}).get("S3Uri"),
            caps=Caps.of(self._caps),
            is_stopped_with_task=self._is_stopped_with_task,
        )

    def policy(self, spec: object) -> Policy:
        from .domain.policy_specs import policy_from
        from .sagemaker.request import defaults_of
        from .task.policy_file import named_policies

        return policy_from(spec, replace(defaults_of(self._request()), named=named_policies()))

    def _describe_as_request(self) -> dict[str, Any]:
        from .sagemaker.identity import is_our_tag
        from .sagemaker.request import request_from_description

        description = self._jobs.describe(self._name)
        if description is None:
            raise RequestRefused(
                f"Training job {self._name} is not there any more, so it cannot be carried on. "
                "Nothing was created."
            )
        tags = self._jobs.tags(description["TrainingJobArn"])
        own = [{"Key": key, "Value": value} for key, value in tags.items() if not is_our_tag(key)]
        return request_from_description(description) | ({"Tags": own} if own else {})
