"""The options of operator and sensor: waiting, logging, stopping, reaching AWS. Cast once, in `execute`.

A template may have made text of any value. What is wrong raises `InvalidInput`, which names the field.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Protocol

from spot_training.domain.deadline import Runtime, like_from, runtime_from
from spot_training.domain.errors import InvalidInput
from spot_training.domain.parsing import (
    LIVE,
    as_bool,
    as_log_mode,
    at_least_a_second,
    is_left_out,
    parse_seconds,
)
from spot_training.training.host import CheckpointOptions

from .access import AccessArguments, access_of
from .budget import budget_of
from .checkpoints import checkpoints_of
from .deadline import DeadlineArguments, DeadlineOptions
from .notices import NoticeOptions, notices_of

if TYPE_CHECKING:
    from spot_training.connections import AwsAccess
    from spot_training.domain.budget import Budget


class CommonArguments(AccessArguments, Protocol):
    """The rendered arguments that operator and sensor share."""

    check_interval: Any
    deferrable: Any
    print_log: Any
    stop_job_on_kill: Any
    execution_timeout: Any
    watch_checkpoints: Any
    checkpoint_pattern: Any
    on_attempt_over: Any
    on_fallback: Any
    on_deadline_at_risk: Any
    on_checkpoints_stalled: Any


class OperatorArguments(CommonArguments, DeadlineArguments, Protocol):
    """Those of an operator."""

    training_timeout: Any
    max_ingestion_time: Any
    wait_for_completion: Any
    retry_failed_script: Any
    budget: Any


class SensorArguments(CommonArguments, Protocol):
    """Those of a sensor."""

    timeout: Any
    silent_fail: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskOptions:
    """The options of one task. A sensor has no deadline, no budget and no retries of a failed script."""

    access: AwsAccess
    check_interval: int
    deferrable: bool
    print_log: bool
    shows_log_live: bool
    stop_job_on_kill: bool
    execution_timeout: timedelta | None
    #: For the whole training: the operator's `training_timeout`, the sensor's `timeout`.
    time_limit: timedelta | None = None
    wait_for_completion: bool = True
    retry_failed_script: bool = False
    #: A failure that a retry may fix ends no poke: the sensor looks again.
    pokes_again: bool = False
    deadline: DeadlineOptions | None = None
    budget: Budget | None = None
    runtime: Runtime | None = None
    checkpoints: CheckpointOptions = field(default_factory=CheckpointOptions)
    notices: NoticeOptions = field(default_factory=dict)
    #: Other Dags from which the run time of this training is learned, too.
    like: tuple[str, ...] = ()

    @classmethod
    def of_operator(cls, task: OperatorArguments) -> TaskOptions:
        """Cast the rendered arguments of an operator."""
        return replace(
            cls._of_both(task),
            retry_failed_script=as_bool(task.retry_failed_script, field="retry_failed_script"),
            wait_for_completion=as_bool(task.wait_for_completion, field="wait_for_completion"),
            deadline=DeadlineOptions.of(task),
            budget=budget_of(task),
            runtime=runtime_from(task.expected_runtime),
            like=like_from(task.expected_runtime),
            checkpoints=checkpoints_of(task, expected_runtime=task.expected_runtime),
            time_limit=_training_timeout(task),
        )

    @classmethod
    def of_sensor(cls, task: SensorArguments) -> TaskOptions:
        """Cast the rendered arguments of a sensor."""
        options = cls._of_both(task)
        if options.checkpoints.is_wanted and not options.deferrable:
            raise InvalidInput(
                "watch_checkpoints",
                task.watch_checkpoints,
                "a sensor looks at checkpoints while it is deferred: give deferrable=True.",
            )
        return replace(
            options,
            pokes_again=bool(task.silent_fail) and not options.deferrable,
            time_limit=timedelta(seconds=parse_seconds(task.timeout, field="timeout")),
        )

    @classmethod
    def _of_both(cls, task: CommonArguments) -> TaskOptions:
        log_mode = as_log_mode(task.print_log, field="print_log")
        access = access_of(task)
        deferrable = as_bool(task.deferrable, field="deferrable")
        access.rate_limit()  # a setting that waiting would refuse is refused before there is a job
        return cls(
            access=access,
            check_interval=at_least_a_second(task.check_interval, field="check_interval"),
            deferrable=deferrable,
            print_log=bool(log_mode),
            shows_log_live=log_mode == LIVE,
            stop_job_on_kill=as_bool(task.stop_job_on_kill, field="stop_job_on_kill"),
            execution_timeout=task.execution_timeout,
            checkpoints=checkpoints_of(task),
            notices=notices_of(task),
        )


def _training_timeout(task: OperatorArguments) -> timedelta | None:
    """`training_timeout`, or the Amazon provider's name for it."""
    given = {"training_timeout": task.training_timeout, "max_ingestion_time": task.max_ingestion_time}
    for name, value in given.items():
        if not is_left_out(value):
            return timedelta(seconds=at_least_a_second(value, field=name))
    return None
