"""`SpotTrainingOperator`: trains a model on SageMaker managed spot, with a fallback."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from .compat import conf
from .domain.errors import InvalidInput
from .domain.json_text import from_json_text
from .domain.parsing import as_bool, is_left_out
from .links import LINKS
from .task.base import TrainingOperatorBase
from .task.constants import check_constants
from .task.specification import ConfiguredTraining

if TYPE_CHECKING:
    from airflow.sdk import Context

    from .domain.ladder import Policy
    from .task.notices import Listeners
    from .task.options import TaskOptions
    from .task.training import TrainingTask

#: The Amazon provider's choices for a job name that is taken. The first one is the default.
ACTIONS_IF_JOB_EXISTS = ("timestamp", "fail")


class SpotTrainingOperator(TrainingOperatorBase):
    """Train a model on SageMaker managed spot. Fall back from the last checkpoint if spot is not available.

    SageMaker does not fall back: a spot job that waits too long ends as `Stopped` / `MaxWaitTimeExceeded`.
    This operator finds out why a job ended. If spot capacity was the reason, it makes the next attempt of its
    policy, from the same checkpoint prefix and within one Airflow try. `retries` stay for real failures. A
    script that fails fails the task at once, with the container's own message.

    XCom is plain JSON. The return value is `{"Training": <DescribeTrainingJob>, "savings": ..., "attempts":
    [...]}`. The keys `savings` and `attempts` cover all attempts and are also pushed when the training fails.
    `deadline` says whether the deadline was kept. `training_job_name` is the newest job.

    :param config: a CreateTrainingJob request, as the Amazon provider's operator takes it (templated). Text
        is cast to the type that SageMaker's model asks for, also JSON text of the whole request or of a
        mapping or list in it: `"{{ params.hyperparameters | tojson }}"`. `TrainingJobName` is the prefix of
        the job names, and each run gets its own prefix below `CheckpointConfig.S3Uri`.
    :param policy: what to try, and in which order (templated). A name: `widen`, `spot_only`, `on_demand`,
        `deadline` (with a deadline), or a name from the policy file. A mapping of a name and options:
        `{"name": "widen", "first_wait": "2h", "factor": 2, "cap": "12h", "spot_attempts": 3}`, where
        `first_wait` is the `MaxWaitTimeInSeconds` of the first attempt. A list of steps: `[{"spot":
        "ml.m5.xlarge", "max_wait": "2h"}, {"on_demand": ["ml.m5.xlarge", "ml.m5.2xlarge"]}]`. JSON text of
        one of these, or a `Ladder`. None: `deadline` with a deadline; otherwise `widen`, or `on_demand` if
        the config has `EnableManagedSpotTraining: False`.
    :param wait_for_completion: False: return as soon as a job is created, for a `SpotTrainingSensor` to
        follow. There is no fallback then, unless the sensor has a policy. Not allowed with a deadline.
    :param check_interval: seconds between two looks at SageMaker.
    :param deferrable: wait in the triggerer. Default: `[operators] default_deferrable`.
    :param print_log: show the end of the training's log in the task log after each attempt. It is always
        shown if the script failed. `"live"`: also show it during the training, for the first few jobs of a
        process.
    :param stop_job_on_kill: stop the training job if a person marks the task or deletes its run, if its
        process is killed, if its time is up, or if its last try fails. A deferred task that a person clears
        continues with its job.
    :param training_timeout: seconds for the whole training, with all attempts and waits. After that the job
        is stopped and the task fails. None: no limit except `execution_timeout`, which also applies while
        the task is deferred.
    :param deadline: when the training must be over (templated): a time with its zone
        (`"2026-11-23T06:00:00Z"`, `"2026-11-23T06:00:00 Europe/Berlin"`), or a duration after the start of
        the Dag run (`"12h"`). On-demand starts from the last checkpoint while there is still time. The
        default policy becomes `deadline`.
    :param expected_runtime: how long the training itself takes (templated): seconds, text (`"4h"`), or
        `{"mean": "3h", "high": "4h", "checkpoint_every": "10m"}`. The mean is used for costs, the high value
        for the deadline. None: learned from past runs, or the request's `MaxRuntimeInSeconds`.
    :param deadline_reserve: more time to keep free before the deadline (templated), in addition to starting,
        stopping and one refused on-demand launch.
    :param on_missed_deadline: if the deadline cannot be met from the start: `fail` (create no job) or `late`
        (train on demand at once, and finish as early as possible).
    :param budget: what this Dag may cost in a calendar month (UTC), in US dollars (templated). On-demand
        that exceeds it is not bought, and the training waits for spot instead. `200`, or `{"usd": 200,
        "deadline_wins": True}` to put a deadline first. None: `[spot_training] budget`. "unlimited": no
        budget.
    :param max_ingestion_time: the Amazon provider's name for `training_timeout`, which takes precedence.
    :param max_attempts: accepted for compatibility with the Amazon provider's operator, and not used: the
        task waits until the training is over.
    :param check_if_job_exists: accepted for compatibility with the Amazon provider's operator, and not used:
        each attempt gets its own job name.
    :param action_if_job_exists: as `check_if_job_exists`: `timestamp` or `fail`.
    :param retry_failed_script: let Airflow's `retries` train again from the checkpoints if the script
        failed. By default the task fails at once, because the script would fail the same way.
    :param keep_checkpoints: after a person clears a training that is over, continue from its checkpoints
        instead of from zero.
    :param caps: the most that a job may ask for, whatever templates and params say (not templated):
        `{"instance_types": ["ml.m5.*"], "instance_count": 2, "max_runtime": "1d", "max_wait": "3d"}`.
    :param watch_checkpoints: look at the checkpoint prefix while the job runs, so that what is saved is known
        and stalled uploads are found (templated). None: with a deadline. False: never.
    :param checkpoint_pattern: which objects below `CheckpointConfig.S3Uri` are checkpoints (not templated): a
        glob (`"checkpoint-*"`), or a regular expression that begins with `^`. None: each folder and each file
        there, without logs and TensorBoard's events.
    :param on_attempt_over: who gets a notice when an attempt is over (not templated): an Airflow notifier, a
        function, the import path of one, or a list of these. A function is called with a dict of facts, and
        with Airflow's context if it takes two arguments; a notifier's templates have `notice`. Each event has
        its notice once. One that fails or takes long is logged and left.
    :param on_fallback: the same when a job on demand follows attempts on spot.
    :param on_deadline_at_risk: the same when only on-demand can keep the deadline, or not even that.
    :param on_checkpoints_stalled: the same when no checkpoint arrived for 3.5 expected intervals. `"stop"`
        stops the job, as a function does that returns it, and the policy continues from the last checkpoint.
        None: log and record only.
    :param aws_conn_id: the Airflow connection. None, or `aws_default` if it does not exist: boto3's own
        credential chain. Another connection that does not exist is refused.
    :param region_name: the AWS region. None: the connection's.
    :param region: an older name of `region_name`, which takes precedence.
    :param verify: whether to verify TLS certificates, or the CA bundle to use.
    :param botocore_config: options of botocore's `Config`, which override this package's own.
    :param events_queue_url: an SQS queue that receives the state changes of training jobs, for deferred
        tasks. None: `[spot_training] events_queue_url`. Without either, the task polls SageMaker.
    """

    template_fields: Sequence[str] = (
        "config",
        "policy",
        "wait_for_completion",
        "check_interval",
        "deferrable",
        "print_log",
        "stop_job_on_kill",
        "training_timeout",
        "max_ingestion_time",
        "max_attempts",
        "check_if_job_exists",
        "action_if_job_exists",
        "deadline",
        "expected_runtime",
        "deadline_reserve",
        "on_missed_deadline",
        "budget",
        "retry_failed_script",
        "keep_checkpoints",
        "watch_checkpoints",
        "aws_conn_id",
        "region_name",
        "region",
        "verify",
        "botocore_config",
        "events_queue_url",
    )
    template_fields_renderers: ClassVar[dict[str, str]] = {"config": "json", "policy": "json"}
    operator_extra_links = LINKS
    ui_color = "#e8f4ea"

    def __init__(
        self,
        *,
        config: Mapping[str, Any] | str,
        policy: str | Mapping[str, Any] | Sequence[object] | Policy | None = None,
        wait_for_completion: bool | str = True,
        check_interval: float | str = 30,
        deferrable: bool | str = conf.getboolean("operators", "default_deferrable", fallback=False),
        print_log: bool | str = True,
        stop_job_on_kill: bool | str = True,
        training_timeout: float | str | None = None,
        max_ingestion_time: float | str | None = None,
        max_attempts: int | str | None = None,
        check_if_job_exists: bool | str = True,
        action_if_job_exists: str = "timestamp",
        deadline: str | float | datetime | timedelta | None = None,
        expected_runtime: float | str | Mapping[str, Any] | None = None,
        deadline_reserve: float | str | timedelta = 0,
        on_missed_deadline: str = "fail",
        budget: float | str | Mapping[str, Any] | None = None,
        retry_failed_script: bool | str = False,
        keep_checkpoints: bool | str = False,
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
        region: str | None = None,
        events_queue_url: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.config = config
        self.policy = policy
        self.wait_for_completion = wait_for_completion
        self.check_interval = check_interval
        self.deferrable = deferrable
        self.print_log = print_log
        self.stop_job_on_kill = stop_job_on_kill
        self.training_timeout = training_timeout
        self.max_ingestion_time = max_ingestion_time
        self.max_attempts = max_attempts
        self.check_if_job_exists = check_if_job_exists
        self.action_if_job_exists = action_if_job_exists
        self.deadline = deadline
        self.expected_runtime = expected_runtime
        self.deadline_reserve = deadline_reserve
        self.on_missed_deadline = on_missed_deadline
        self.budget = budget
        self.retry_failed_script = retry_failed_script
        self.keep_checkpoints = keep_checkpoints
        self.caps = caps
        self.watch_checkpoints = watch_checkpoints
        self.checkpoint_pattern = checkpoint_pattern
        self.on_attempt_over = on_attempt_over
        self.on_fallback = on_fallback
        self.on_deadline_at_risk = on_deadline_at_risk
        self.on_checkpoints_stalled = on_checkpoints_stalled
        self.aws_conn_id = aws_conn_id
        self.region_name = region if region_name is None else region_name
        self.region = region
        self.verify = verify
        self.botocore_config = botocore_config
        self.events_queue_url = events_queue_url
        check_constants(self)

    def execute(self, context: Context) -> dict[str, Any]:
        """Drive the training one step further; also when a deferred task resumes."""
        from .task.kept_state import state_of
        from .task.options import TaskOptions
        from .task.recorded_job import has_begun
        from .training.driver import Completed, Waiting

        with self._leaving_no_job(context):
            options = TaskOptions.of_operator(self)
            if not has_begun(state_of(context)):
                self._log_provider_differences()
            training = self._begin(self._training_of(context, options))
            training.take_in(self._event)
            while True:
                match training.proceed():
                    case Completed() as completed:
                        return self._returned(training.outcome(completed))
                    case Waiting() as waiting if not options.wait_for_completion:
                        return self._returned(training.started(waiting))
                    case Waiting() as waiting if options.deferrable and self._may_defer:
                        from .triggers import TrainingJobTrigger

                        trigger = TrainingJobTrigger(**training.trigger_arguments(waiting))
                        self.defer(trigger=trigger, method_name=self.resume.__name__)
                    case Waiting() as waiting:
                        training.wait(waiting)

    def resume(self, context: Context, event: dict[str, Any] | None = None) -> dict[str, Any]:
        self._event = event
        return self.execute(context)

    def _log_provider_differences(self) -> None:
        for line in _provider_differences(self):
            self.log.info("%s", line)
        if winner := _overrules_on_demand(self):
            self.log.warning(
                "The config has EnableManagedSpotTraining: False, and the task has a %s, which decides "
                "whether spot is used. Remove one of them. Without a policy or a deadline, False means "
                "on-demand.",
                winner,
            )

    def _training_of(self, context: Context, options: TaskOptions) -> TrainingTask:
        from .task.training import TrainingTask

        return TrainingTask(
            context=context,
            log=self.log,
            options=options,
            jobs=options.access.jobs(),
            specification=self._specification(options),
        )

    def _specification(self, options: TaskOptions) -> ConfiguredTraining:
        return ConfiguredTraining(
            config=self.config,
            policy_spec=self.policy,
            caps=self.caps,
            keep_checkpoints=self.keep_checkpoints,
            options=options,
        )


def _provider_differences(task: SpotTrainingOperator) -> Iterator[str]:
    """Log lines for the arguments of the Amazon provider's operator that work differently here."""
    limit = task.max_ingestion_time
    if not is_left_out(limit):
        if is_left_out(task.training_timeout):
            yield (
                f"max_ingestion_time={limit} is used as training_timeout: after that time the training job "
                "is stopped and the task fails."
            )
        else:
            yield f"max_ingestion_time={limit} is not used: training_timeout={task.training_timeout} is."
    if not is_left_out(task.max_attempts):
        yield (
            f"max_attempts={task.max_attempts} is not used: the task waits until the training is over. "
            "training_timeout limits how long that may take."
        )
    if not is_left_out(task.region):
        yield f"region={task.region} is an older name of region_name, which is {task.region_name}."
    checks = as_bool(task.check_if_job_exists, field="check_if_job_exists")
    if task.action_if_job_exists not in ACTIONS_IF_JOB_EXISTS:
        raise InvalidInput("action_if_job_exists", task.action_if_job_exists, 'give "timestamp" or "fail".')
    if not checks or task.action_if_job_exists != ACTIONS_IF_JOB_EXISTS[0]:
        yield (
            f"check_if_job_exists={checks} and action_if_job_exists={task.action_if_job_exists!r} are not "
            "used: each attempt gets its own job name, and a job that this task did not create is left "
            "alone."
        )


def _overrules_on_demand(task: SpotTrainingOperator) -> str:
    """The argument that decides about spot although the config has `EnableManagedSpotTraining: False`."""
    config = from_json_text(task.config)
    flag = config.get("EnableManagedSpotTraining") if isinstance(config, Mapping) else None
    try:
        is_off = flag is not None and not as_bool(flag, field="EnableManagedSpotTraining")
    except InvalidInput:
        return ""  # the request is refused with it
    if not is_off or task.policy == "on_demand":
        return ""
    return "policy" if task.policy is not None else "" if is_left_out(task.deadline) else "deadline"
