"""A task's arguments about its deadline, and the `Deadline` of its training that they give."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Protocol

from spot_training.domain.deadline import Deadline, Reserve, Runtime, deadline_from, like_from, runtime_from
from spot_training.domain.errors import DeadlineCannotBeKept, InvalidInput
from spot_training.domain.parsing import in_words, is_left_out, parse_seconds
from spot_training.domain.records import model_of

from .past_runs import Learned, Teachers, learn

if TYPE_CHECKING:
    from spot_training.sagemaker.request import TrainingPlan

#: Airflow resumes the task in this time, between the end of the spot job and the on-demand job.
RESUME_SECONDS = 90
ON_MISSED = ("fail", "late")


class RetryArguments(Protocol):
    """Airflow's own arguments about retries."""

    retries: Any
    retry_delay: Any
    retry_exponential_backoff: Any
    max_retry_delay: Any


class DeadlineArguments(RetryArguments, Protocol):
    """The rendered arguments of an operator about its deadline."""

    deadline: Any
    expected_runtime: Any
    deadline_reserve: Any
    on_missed_deadline: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadlineOptions:
    """What the arguments say; each is checked when the deadline is settled.

    `retry_seconds` is the longest that Airflow lets pass between two tries, in which nobody guards.
    """

    deadline: Any
    expected_runtime: Any = None
    reserve: Any = 0
    on_missed: Any = "fail"
    retry_seconds: float = 0

    @classmethod
    def of(cls, task: DeadlineArguments) -> DeadlineOptions | None:
        """The options of a task; None if it has no deadline."""
        if is_left_out(task.deadline):
            return None
        return cls(
            deadline=task.deadline,
            expected_runtime=task.expected_runtime,
            reserve=task.deadline_reserve,
            on_missed=task.on_missed_deadline,
            retry_seconds=longest_retry_delay(task),
        )

    def settle(
        self,
        plan: TrainingPlan,
        *,
        now: datetime,
        run_began_at: datetime,
        check_interval: float,
        learned: Callable[..., Learned | None] = learn,
    ) -> Deadline:
        """The deadline of a training submitted `now` (AWS's clock, as `run_began_at` is).

        Raises `InvalidInput`, and `DeadlineCannotBeKept` unless finishing late was chosen.
        """
        from spot_training.sagemaker.request import max_runtime_of

        if self.on_missed not in ON_MISSED:
            raise InvalidInput("on_missed_deadline", self.on_missed, f"choose {' or '.join(ON_MISSED)}.")
        past = learned(
            model=model_of(plan.job_name(1)),
            instance_type=plan.instance_type,
            instance_count=plan.instance_count,
            teachers=Teachers.of(plan.identity, like_from(self.expected_runtime)),
        )
        runtime = runtime_from(self.expected_runtime) or (past.runtime if past else None)
        longest = max_runtime_of(plan.request)
        deadline = Deadline(
            at=deadline_from(self.deadline, run_started_at=run_began_at),
            submitted_at=now,
            runtime=runtime or _assumed(longest),
            reserve=self._reserve(past, check_interval),
        )
        if deadline.can_be_kept:
            return deadline
        if self.on_missed == "fail":
            raise _cannot_be_kept(deadline, self.deadline)
        return replace(deadline, is_late=True)

    def _reserve(self, past: Learned | None, check_interval: float) -> Reserve:
        extra = 0 if is_left_out(self.reserve) else parse_seconds(self.reserve, field="deadline_reserve")
        notice = check_interval + RESUME_SECONDS + self.retry_seconds
        reserve = Reserve(notice_seconds=notice, extra_seconds=extra)
        if past is None:
            return reserve
        return replace(
            reserve, launch_seconds=past.launch_seconds, launch_high_seconds=past.launch_high_seconds
        )


#: The name in 0.1.0.
DeadlineTerms = DeadlineOptions


def longest_retry_delay(task: RetryArguments) -> float:
    """The longest that Airflow waits before another try of this task, in seconds; 0 without retries.

    As `TaskInstance.next_retry_datetime` has it: an exponential delay is drawn from between once and twice
    its base. What a `retry_policy` decides is not known in advance.
    """
    if not task.retries:
        return 0.0
    delay: float = task.retry_delay.total_seconds()
    base = float(task.retry_exponential_backoff or 1)
    if base == 1 or base < 0:
        return delay
    from spot_training.compat import conf

    longest = float(conf.getint("core", "max_task_retry_delay", fallback=24 * 3600))
    if task.max_retry_delay:
        longest = min(longest, task.max_retry_delay.total_seconds())
    with suppress(OverflowError):
        longest = min(longest, 2 * max(1.0, math.ceil(delay * max(1.0, base ** (task.retries - 1)))))
    return longest


def _assumed(max_runtime_seconds: int) -> Runtime:
    return Runtime(
        mean_seconds=max_runtime_seconds,
        high_seconds=max_runtime_seconds,
        basis="MaxRuntimeInSeconds: no expected_runtime was given and no past run is on record",
    )


def _cannot_be_kept(deadline: Deadline, said: object) -> DeadlineCannotBeKept:
    short = (deadline.earliest_finish - deadline.at).total_seconds()
    return DeadlineCannotBeKept(
        "deadline",
        str(said),
        f"it cannot be kept. The earliest possible finish is {deadline.earliest_finish:%Y-%m-%d %H:%M} UTC, "
        f"on demand at once, {in_words(short)} too late (training takes "
        f"{in_words(deadline.runtime.mean_seconds)}: {deadline.runtime.basis}). Give more time, or "
        'on_missed_deadline="late" to finish late.',
    )


def run_began_at(dag_run: Any, *, now: datetime, real_now: datetime) -> datetime:
    """When the Dag run began, on AWS's clock: a duration is counted from there, however long it queued."""
    began: datetime = dag_run.start_date or dag_run.run_after
    return now - max(timedelta(0), real_now - began)
