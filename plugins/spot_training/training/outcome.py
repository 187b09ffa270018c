"""How a training that did not complete is reported: which error, what it says, and what to do about it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spot_training.domain.errors import (
    AlgorithmFailed,
    MaxRuntimeReached,
    OnDemandRefused,
    OutOfSteps,
    RequestRefused,
    ServiceFailed,
    StoppedBySomeone,
    TaskKilled,
    TimedOutWaiting,
    TrainingNotCompleted,
)
from spot_training.domain.interruptions import is_lost_to_interruptions
from spot_training.domain.lifecycle import Ending
from spot_training.domain.messages import counted
from spot_training.domain.parsing import in_words
from spot_training.domain.savings import Attempt, PurchaseOption, statement_of

if TYPE_CHECKING:
    from spot_training.domain.ladder import Decision

    from .state import TrainingState

#: The error for each ending, once the policy has given up.
ERRORS: dict[Ending, type[TrainingNotCompleted]] = {
    Ending.NO_CAPACITY: OutOfSteps,
    Ending.OUT_OF_WAIT: OutOfSteps,
    Ending.CAPACITY_ERROR: OutOfSteps,
    Ending.QUOTA: OutOfSteps,
    Ending.MAX_RUNTIME: MaxRuntimeReached,
    Ending.STOPPED_BY_USER: StoppedBySomeone,
    Ending.STOPPED_FOR_DEADLINE: OutOfSteps,
    Ending.MOVED: OutOfSteps,
    Ending.LEFT_FOR_SPOT: OutOfSteps,
    Ending.UPLOADS_STALLED: OutOfSteps,
    Ending.SCOUT_DONE: OutOfSteps,
    Ending.STOPPED_AT_TIME_LIMIT: TimedOutWaiting,
    Ending.STOPPED_WITH_TASK: StoppedBySomeone,
    Ending.ALGORITHM_ERROR: AlgorithmFailed,
    Ending.CLIENT_ERROR: RequestRefused,
    Ending.INTERNAL_ERROR: ServiceFailed,
}

#: What a person can do about each ending.
WHAT_TO_DO: dict[Ending, str] = {
    Ending.NO_CAPACITY: "Widen the wait, allow other instance types, or end the ladder on demand.",
    Ending.OUT_OF_WAIT: "Widen the wait, or end the ladder on demand.",
    Ending.CAPACITY_ERROR: "Allow other instance types, or try again later.",
    Ending.QUOTA: "Ask AWS Service Quotas for more of this instance type, or lower max_active_runs.",
    Ending.MAX_RUNTIME: "Raise MaxRuntimeInSeconds, or make the training shorter.",
    Ending.STOPPED_BY_USER: "Clear the task to train again.",
    Ending.STOPPED_AT_TIME_LIMIT: "Allow more time.",
    Ending.STOPPED_WITH_TASK: "Clear the task to train again.",
    Ending.STOPPED_FOR_DEADLINE: "End the policy on demand.",
    Ending.MOVED: "Widen the wait, or end the ladder on demand.",
    Ending.LEFT_FOR_SPOT: "End the policy on demand.",
    Ending.UPLOADS_STALLED: "Find out in the script's log why no checkpoint reached S3, then clear the task.",
    Ending.SCOUT_DONE: "Widen the wait, or end the ladder on demand.",
    Ending.ALGORITHM_ERROR: "Fix the training script: it would fail the same way on any instance.",
    Ending.CLIENT_ERROR: "Correct what the request asks for.",
    Ending.INTERNAL_ERROR: "SageMaker failed, not the script: a retry may succeed.",
}


def error_of(state: TrainingState, decision: Decision) -> TrainingNotCompleted:
    """The error of a training that was given up: what happened, what it cost, and what to do."""
    reason = f"{decision.reason[0].upper()}{decision.reason[1:]}"
    if not state.attempts:
        return TimedOutWaiting(f"{reason}. No training job was created. Allow more time.")
    last = state.attempts[-1]
    statement = statement_of(state.attempts, scouts=state.scouts_over)
    billed = statement.billable_instance_seconds
    bill = "unknown" if billed is None else in_words(billed)
    kind = TimedOutWaiting if state.giving_up else _kind_of(last)
    what_to_do = _what_to_do(state.attempts) if kind is not TimedOutWaiting else "Allow more time."
    what = f"Training job {last.job_name} is over" if last.job_name else "No training job was created"
    return kind(
        f"{what}: {last.ending} ({last.message or 'no message'}). {reason}. No job of this training is "
        f"alive; billed over {counted(statement.attempts, 'attempt')}: {bill}. {what_to_do}"
    )


def error_of_killed(state: TrainingState, *, leaves_job: bool) -> TaskKilled:
    """The error of a process that Airflow ended while its training went on."""
    if leaves_job:
        name = state.current.job_name if state.current else None
        return TaskKilled(
            "Airflow received no heartbeat from this try for too long and replaced it with a later try. "
            f"Training job {name} continues, and the later try waits for it."
        )
    return TaskKilled(
        "Airflow ended this task: a person marked or cleared it, or its worker shut down. Its training job "
        f"is over or was stopped, and no other job is started. {_where_next_try_starts(state.attempts)}"
    )


def _kind_of(last: Attempt) -> type[TrainingNotCompleted]:
    is_refused = last.ending in {Ending.QUOTA, Ending.CAPACITY_ERROR}
    if is_refused and last.purchase is PurchaseOption.ON_DEMAND:
        return OnDemandRefused
    if is_lost_to_interruptions(last):
        return OutOfSteps
    return ERRORS[last.ending]


def _what_to_do(attempts: tuple[Attempt, ...]) -> str:
    last, has_checkpoints = attempts[-1], _left_checkpoints(attempts)
    way_out = WHAT_TO_DO[last.ending]
    if last.ending is Ending.MAX_RUNTIME and last.interruptions:
        way_out = "Train on demand, or raise MaxRuntimeInSeconds."
        if not has_checkpoints:
            way_out += (
                " With a CheckpointConfig an interruption loses only the work since the last checkpoint."
            )
    return f"{way_out} The checkpoints are kept." if has_checkpoints else way_out


def _where_next_try_starts(attempts: tuple[Attempt, ...]) -> str:
    if not any(attempt.has_started for attempt in attempts):
        return "A next try starts the training."
    where = "continues from the checkpoints" if _left_checkpoints(attempts) else "starts again from zero"
    return f"A next try {where}."


def _left_checkpoints(attempts: tuple[Attempt, ...]) -> bool:
    """Whether an attempt trained and had a place for checkpoints. Whether it wrote any is not known."""
    return any(attempt.has_checkpoints and attempt.has_started for attempt in attempts)
