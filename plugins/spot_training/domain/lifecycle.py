"""The life of a training job: its statuses, the moves between them, and why it is over.

Decides what a status means. Must not know where the status comes from (no boto3) or what follows from it
(`decide`). The local SageMaker has an equal table of moves.

Source of names and sequences: the SageMaker API reference (`DescribeTrainingJob`) and "Managed Spot
Training Lifecycle" in the SageMaker developer guide.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, TypeAlias


class TrainingStatus(StrEnum):
    """`TrainingJobStatus`: the coarse status.

    AWS may add statuses at any time: `TrainingStatus("New")` is a value that is in no group and not terminal.
    """

    IN_PROGRESS = "InProgress"
    COMPLETED = "Completed"
    FAILED = "Failed"
    STOPPING = "Stopping"
    STOPPED = "Stopped"
    DELETING = "Deleting"

    @classmethod
    def _missing_(cls, value: object) -> TrainingStatus | None:
        if not isinstance(value, str):
            return None
        unknown = str.__new__(cls, value)
        unknown._name_ = unknown._value_ = value
        return unknown


class SecondaryStatus(StrEnum):
    """`SecondaryStatus`: the fine status. Only this one distinguishes the four kinds of `Stopped`."""

    STARTING = "Starting"
    PENDING = "Pending"
    DOWNLOADING = "Downloading"
    TRAINING = "Training"
    UPLOADING = "Uploading"
    INTERRUPTED = "Interrupted"
    RESTARTING = "Restarting"
    UPDATING = "Updating"
    STOPPING = "Stopping"
    STOPPED = "Stopped"
    MAX_RUNTIME_EXCEEDED = "MaxRuntimeExceeded"
    MAX_WAIT_TIME_EXCEEDED = "MaxWaitTimeExceeded"
    COMPLETED = "Completed"
    FAILED = "Failed"
    # Retired by AWS, still in its service model:
    LAUNCHING_ML_INSTANCES = "LaunchingMLInstances"
    PREPARING_TRAINING_STACK = "PreparingTrainingStack"
    DOWNLOADING_TRAINING_IMAGE = "DownloadingTrainingImage"


S: TypeAlias = SecondaryStatus

#: A job in one of these never changes again. `Stopping` is not one of them: the job still uploads and is
#: billed, so do not wait for "not InProgress".
TERMINAL_STATUSES = frozenset({TrainingStatus.COMPLETED, TrainingStatus.FAILED, TrainingStatus.STOPPED})

#: The job holds no instances: nothing is billed, and the time counts as wait.
WAITING_STATUSES = frozenset(
    {S.STARTING, S.PENDING, S.INTERRUPTED, S.RESTARTING, S.LAUNCHING_ML_INSTANCES, S.PREPARING_TRAINING_STACK}
)

#: The job holds instances: the time counts as training seconds.
HOLDING_STATUSES = frozenset(
    {S.DOWNLOADING, S.DOWNLOADING_TRAINING_IMAGE, S.TRAINING, S.UPDATING, S.UPLOADING}
)

TERMINAL_SECONDARY_STATUSES = frozenset(
    {S.COMPLETED, S.FAILED, S.STOPPED, S.MAX_RUNTIME_EXCEEDED, S.MAX_WAIT_TIME_EXCEEDED}
)

_STOPPED_KINDS = frozenset({S.STOPPED, S.MAX_RUNTIME_EXCEEDED, S.MAX_WAIT_TIME_EXCEEDED})

#: Every legal move. `Stopping > Uploading` is a stopped job that had something to upload;
#: `Uploading > Failed` is a script that failed (its output is uploaded anyway).
NEXT_STATUSES: dict[SecondaryStatus, frozenset[SecondaryStatus]] = {
    S.STARTING: frozenset({S.PENDING, S.DOWNLOADING, S.STOPPING, S.FAILED}),
    S.PENDING: frozenset({S.STARTING, S.DOWNLOADING, S.STOPPING, S.FAILED}),
    S.DOWNLOADING: frozenset({S.TRAINING, S.INTERRUPTED, S.RESTARTING, S.STOPPING, S.UPLOADING, S.FAILED}),
    S.TRAINING: frozenset({S.UPLOADING, S.INTERRUPTED, S.RESTARTING, S.UPDATING, S.STOPPING, S.FAILED}),
    S.UPDATING: frozenset({S.TRAINING, S.STOPPING, S.FAILED}),
    S.INTERRUPTED: frozenset({S.STARTING, S.DOWNLOADING, S.STOPPING, S.FAILED}),
    S.RESTARTING: frozenset({S.STARTING, S.DOWNLOADING, S.STOPPING, S.FAILED}),
    S.UPLOADING: frozenset({S.COMPLETED, S.FAILED} | _STOPPED_KINDS),
    S.STOPPING: frozenset({S.UPLOADING, S.FAILED} | _STOPPED_KINDS),
    **{ended: frozenset() for ended in TERMINAL_SECONDARY_STATUSES},
}


def is_legal_move(before: SecondaryStatus, after: SecondaryStatus) -> bool:
    """Whether a job in `before` can be in `after` next."""
    return after in NEXT_STATUSES.get(before, frozenset())


class Ending(StrEnum):
    """Why a job is over. SageMaker only says `Completed`, `Stopped` or `Failed`.

    Six endings are our stops, which a tag distinguishes from a person's (`stop_reasons`): the guard stopped
    a spot job to start on-demand; another instance type has capacity (`scouting`); there is spot capacity
    again (`back_to_spot`); its checkpoints no longer reached S3; the task's time limit passed; the task ended
    or was killed.
    """

    COMPLETED = "completed"
    NO_CAPACITY = "never got capacity"
    OUT_OF_WAIT = "ran out of max wait"
    MAX_RUNTIME = "reached max runtime"
    STOPPED_BY_USER = "stopped by a user"
    STOPPED_FOR_DEADLINE = "stopped for the deadline"
    MOVED = "moved to another type"
    LEFT_FOR_SPOT = "left for spot"
    UPLOADS_STALLED = "stopped because uploads stalled"
    SCOUT_DONE = "scout called back"
    STOPPED_AT_TIME_LIMIT = "stopped at the time limit"
    STOPPED_WITH_TASK = "stopped with its task"
    CAPACITY_ERROR = "capacity error"
    QUOTA = "quota refused"
    ALGORITHM_ERROR = "algorithm error"
    CLIENT_ERROR = "client error"
    INTERNAL_ERROR = "internal error"


#: Only these lead to the next step: another wait, type or purchase option can help. A failing script, a
#: person's stop or a run time that is too short would have the same result at a higher price. A run time that
#: interruptions used up is the exception (`interruptions.is_spot_cause`).
CAPACITY_CAUSES = frozenset(
    {
        Ending.NO_CAPACITY,
        Ending.OUT_OF_WAIT,
        Ending.STOPPED_FOR_DEADLINE,
        Ending.MOVED,
        Ending.LEFT_FOR_SPOT,
        Ending.UPLOADS_STALLED,
        Ending.CAPACITY_ERROR,
        Ending.QUOTA,
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Transition:
    """One entry of `SecondaryStatusTransitions`: a visit to a status. Open while `ended_at` is None.

    `unknown` has the members that a newer version added to a state or a record.
    """

    status: SecondaryStatus
    started_at: datetime
    ended_at: datetime | None = None
    message: str = ""
    unknown: Mapping[str, Any] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSnapshot:
    """One training job at one moment, as `DescribeTrainingJob` describes it.

    Seconds are per instance. `training_seconds` and `billable_seconds` are None as long as AWS omits them.
    For a job that never started, AWS always does. Unknown is not zero.
    """

    name: str
    arn: str
    status: TrainingStatus
    secondary_status: SecondaryStatus
    created_at: datetime
    last_modified_at: datetime
    training_started_at: datetime | None = None
    training_ended_at: datetime | None = None
    training_seconds: int | None = None
    billable_seconds: int | None = None
    failure_reason: str | None = None
    is_spot: bool = False
    instance_type: str | None = None
    instance_count: int = 1
    max_runtime_seconds: int | None = None
    max_wait_seconds: int | None = None
    checkpoint_uri: str | None = None
    model_uri: str | None = None
    transitions: tuple[Transition, ...] = ()
    #: The last value of each metric of `MetricDefinitions`. They change all the time: no news of a job.
    metrics: Mapping[str, float] = field(default_factory=dict, compare=False)

    @property
    def is_terminal(self) -> bool:
        return self.status in TERMINAL_STATUSES

    @property
    def has_started(self) -> bool:
        """Whether the job ever held instances (the status `Starting` does not prove capacity)."""
        return self.training_started_at is not None

    @property
    def interruptions(self) -> int:
        return sum(t.status is SecondaryStatus.INTERRUPTED for t in self.transitions)

    @property
    def message(self) -> str:
        """The latest status message, to show it. No decision depends on it: AWS may change it at any time."""
        return self.transitions[-1].message if self.transitions else ""


#: The first words of `FailureReason`, which AWS documents as the kind of failure.
_FAILURE_KINDS = (
    ("CapacityError", Ending.CAPACITY_ERROR),
    ("InsufficientCapacityError", Ending.CAPACITY_ERROR),
    ("InternalServerError", Ending.INTERNAL_ERROR),
    ("ResourceLimitExceeded", Ending.QUOTA),
    ("ClientError", Ending.CLIENT_ERROR),
    ("AlgorithmError", Ending.ALGORITHM_ERROR),
)


def ending_of(job: JobSnapshot) -> Ending | None:
    """Why the job is over, or None if it is not over."""
    match job.status:
        case TrainingStatus.IN_PROGRESS | TrainingStatus.STOPPING:
            return None
        case TrainingStatus.COMPLETED:
            return Ending.COMPLETED
        case TrainingStatus.FAILED:
            return _failure_kind(job.failure_reason or "")
        case TrainingStatus.DELETING:
            return Ending.STOPPED_BY_USER
        case TrainingStatus.STOPPED:
            return _stop_kind(job)


def _stop_kind(job: JobSnapshot) -> Ending:
    match job.secondary_status:
        case SecondaryStatus.MAX_WAIT_TIME_EXCEEDED:
            return Ending.OUT_OF_WAIT if job.has_started else Ending.NO_CAPACITY
        case SecondaryStatus.MAX_RUNTIME_EXCEEDED:
            return Ending.MAX_RUNTIME
        case _:
            return Ending.STOPPED_BY_USER


def _failure_kind(reason: str) -> Ending:
    for first_words, ending in _FAILURE_KINDS:
        if reason.startswith(first_words):
            return ending
    return Ending.ALGORITHM_ERROR
