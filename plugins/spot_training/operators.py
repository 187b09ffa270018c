"""`SpotTrainingOperator`: a SageMaker training on managed spot, brought to its end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.sdk.configuration import conf

from .domain.caps import Caps
from .domain.errors import InvalidInput
from .domain.parsing import as_bool, is_left_out
from .links import LINKS
from .task.base import TrainingOperatorBase

if TYPE_CHECKING:
    from airflow.sdk import Context

    from .domain.ladder import Policy
    from .sagemaker.identity import RunIdentity
    from .sagemaker.request import TrainingPlan
    from .task.training import Options, TrainingTask

#: The Amazon provider's choices for a job name that is taken, its default first.
ACTIONS_IF_JOB_EXISTS = ("timestamp", "fail")


class SpotTrainingOperator(TrainingOperatorBase):
    """Train a model on SageMaker managed spot; fall back on spot causes, from the last checkpoint.

    SageMaker never falls back: a spot job that waited too long just ends `Stopped` / `MaxWaitTimeExceeded`.
    This operator tells apart why a job ended and, when it ended for want of spot capacity, makes the next
    attempt its policy asks for, from the same checkpoint prefix, within one Airflow try. `retries` stay for
    real failures; a failing script fails the task at once with the container's own words.

    XCom, all plain JSON: the return value is `{"Training": <DescribeTrainingJob>, "savings": ..., "attempts":
    [...]}`; the keys `savings` and `attempts` hold the same over all attempts and are pushed when the
    training fails, too; `deadline` says whether it was kept; `training_job_name` names the newest job.

    :param config: a CreateTrainingJob request, as the Amazon provider's operator takes it (templated; text is
        cast to what SageMaker's model asks for). `TrainingJobName` is the prefix of the attempts' names, and
        `CheckpointConfig.S3Uri` the folder in which the run gets a prefix of its own.
    :param policy: what to try, in which order (templated): a name (`widen`, `spot_only`, `on_demand`; with a
        deadline also `deadline`; any of the policy file's), a mapping
        with a name and options (`{"name": "widen", "first_wait": "2h", "factor": 2, "cap": "12h",
        "spot_attempts": 3}`), a list of steps (`[{"spot": "ml.m5.xlarge", "max_wait": "2h"}, {"on_demand":
        ["ml.m5.xlarge", "ml.m5.2xlarge"]}]`), JSON text of one, or a `Ladder`. None: `widen` (`deadline`
        with a deadline), or `on_demand` if the config says `EnableManagedSpotTraining: False`. `first_wait`
        is the first attempt's `MaxWaitTimeInSeconds`.
    :param wait_for_completion: False: return as soon as a job was created, for a `SpotTrainingSensor` to
        follow. Nothing climbs the ladder then, unless the sensor has a policy. Not with a deadline.
    :param check_interval: seconds between looks at SageMaker.
    :param deferrable: wait in the triggerer. Default: `[operators] default_deferrable`.
    :param print_log: show the end of the training's log in the task log when an attempt is over. It is always
        shown when the script failed. `"live"`: also while it trains, for the first few jobs of a process.
    :param stop_job_on_kill: stop the training job when the task is killed, cleared or marked by a person,
        runs out of time, or fails for the last time.
    :param training_timeout: seconds for the whole training, over all attempts and waits; then its job is
        stopped and the task fails. None: no limit but `execution_timeout`, which holds while deferred, too.
    :param deadline: when the training has to be over (templated): a time with its zone
        (`"2026-11-23T06:00:00Z"`, `"2026-11-23T06:00:00 Europe/Berlin"`), or a duration after the Dag run
        began (`"12h"`). On-demand is started from the last checkpoint while there is still time. The default
        policy is `deadline` then.
    :param expected_runtime: how long the training itself takes (templated): seconds, text (`"4h"`), or
        `{"mean": "3h", "high": "4h", "checkpoint_every": "10m"}`: the mean counts for costs, the high for the
        deadline. None: learned from past runs on record, or else the request's `MaxRuntimeInSeconds`.
    :param deadline_reserve: more time to keep free before the deadline, beside starting, stopping and one
        refused on-demand launch (templated).
    :param on_missed_deadline: where the deadline cannot be kept from the start: `fail` (no job is created) or
        `late` (on-demand at once, as early as possible).
    :param budget: what this Dag may cost in a calendar month (UTC), in US dollars (templated): on-demand that
        would take it above is not bought, the training waits for spot instead. `200`, or `{"usd": 200,
        "deadline_wins": True}` for a deadline to come first. None: `[spot_training] budget`; "unlimited":
        no budget.
    :param max_ingestion_time: the Amazon provider's name for `training_timeout`, which wins over it.
    :param max_attempts: accepted as the Amazon provider's operator does, and not used: the task waits until
        the training is over.
    :param check_if_job_exists: accepted as the Amazon provider's operator does, and not used: each attempt
        gets a job name of its own.
    :param action_if_job_exists: as `check_if_job_exists`: `timestamp` or `fail`.
    :param retry_failed_script: let Airflow's `retries` train again, from the checkpoints, when the script
        failed. By default the task fails at once: the script would fail the same way.
    :param keep_checkpoints: when a person clears a training that was over, go on from its checkpoints instead
        of starting over.
    :param caps: what a job may ask for at most, whatever templates and params say (not templated):
        `{"instance_types": ["ml.m5.*"], "instance_count": 2, "max_runtime": "1d", "max_wait": "3d"}`.
    :param aws_conn_id: the Airflow connection; None: boto3's own credential chain.
    :param region_name: AWS region; None: the connection's.
    :param region: an older name of `region_name`, which wins over it.
    :param verify: whether, or with which CA bundle, to verify TLS certificates.
    :param botocore_config: options of botocore's `Config`, over this package's own.
    :param events_queue_url: an SQS queue that holds the state changes of training jobs, for deferred tasks.
        None: `[spot_training] events_queue_url`; without either, SageMaker is asked.
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
        config: Mapping[str, Any],
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
        self.aws_conn_id = aws_conn_id
        self.region_name = region if region_name is None else region_name
        self.region = region
        self.verify = verify
        self.botocore_config = botocore_config
        self.events_queue_url = events_queue_url

    def execute(self, context: Context) -> dict[str, Any]:
        """Drive the training one step further; also where a deferred task resumes."""
        from .task.training import Options, has_begun
        from .training.driver import Completed, Waiting

        with self._leaving_no_job(context):
            options = Options.of(self)
            if not has_begun(context["task_state_store"]):
                self._tell_provider_differences()
            training = self._begin(self._training_of(context, options))
            while True:
                match training.proceed():
                    case Completed() as completed:
                        return training.outcome(completed)
                    case Waiting() as waiting if not options.wait_for_completion:
                        return training.started(waiting)
                    case Waiting() as waiting if options.deferrable and self._may_defer:
                        self.defer(trigger=training.trigger(waiting), method_name=self.resume.__name__)
                    case Waiting() as waiting:
                        training.wait(waiting)

    def resume(self, context: Context, event: dict[str, Any] | None = None) -> dict[str, Any]:  # noqa: ARG002
        return self.execute(context)

    def _tell_provider_differences(self) -> None:
        for line in _provider_differences(self):
            self.log.info("%s", line)

    def _training_of(self, context: Context, options: Options) -> TrainingTask:
        from .task.training import TrainingTask

        return TrainingTask(
            context=context,
            log=self.log,
            options=options,
            jobs=options.access.jobs(),
            make_plan=self._plan,
            make_policy=self._policy,
        )

    def _plan(self, identity: RunIdentity) -> TrainingPlan:
        from .sagemaker.request import TrainingPlan, cast_request

        request = cast_request(self.config)
        name_prefix = request.get("TrainingJobName") or f"{identity.dag_id}-{identity.task_id}"
        return TrainingPlan.of(
            request,
            identity=identity,
            name_prefix=str(name_prefix),
            caps=Caps.of(self.caps),
            keep_checkpoints=as_bool(self.keep_checkpoints, field="keep_checkpoints"),
            is_stopped_with_task=self._is_stopped_with_task(),
        )

    def _is_stopped_with_task(self) -> bool:
        """A job that nobody waits for is meant to outlive its task."""
        waits = as_bool(self.wait_for_completion, field="wait_for_completion")
        return waits and as_bool(self.stop_job_on_kill, field="stop_job_on_kill")

    def _check_is_guarded(self) -> None:
        """The guard of a deadline lives in the task and its trigger: it needs one that waits."""
        waits = as_bool(self.wait_for_completion, field="wait_for_completion")
        if not waits and not is_left_out(self.deadline):
            raise InvalidInput(
                "wait_for_completion",
                self.wait_for_completion,
                f"nobody would hold the training to its deadline ({self.deadline}). Leave it out "
                "(deferrable=True waits without a worker slot), or leave out the deadline.",
            )

    def _policy(self, seconds_left: float | None) -> Policy:
        from .domain.policy_specs import DEFAULT_WITH_DEADLINE, policy_from
        from .sagemaker.request import cast_request, defaults_of
        from .task.policy_file import named_policies

        self._check_is_guarded()
        request = cast_request(self.config)
        spec, named = self.policy, named_policies()
        if spec is None:
            default = "widen" if seconds_left is None else DEFAULT_WITH_DEADLINE
            spec = default if request.get("EnableManagedSpotTraining", True) else "on_demand"
            named = {}
        return policy_from(spec, replace(defaults_of(request), deadline_in_seconds=seconds_left, named=named))


def _provider_differences(task: SpotTrainingOperator) -> Iterator[str]:
    """What happens instead, for each argument of the Amazon provider's operator that means something else."""
    limit = task.max_ingestion_time
    if not is_left_out(limit):
        if is_left_out(task.training_timeout):
            yield (
                f"max_ingestion_time={limit} is taken as training_timeout: when it has passed, the training "
                "job is stopped and the task fails."
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
            "used: each attempt gets a job name of its own, and a job that this task did not create is left "
            "alone."
        )
