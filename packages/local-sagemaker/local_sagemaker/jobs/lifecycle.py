"""The life of a training job: its statuses, and the moves between them.

`store` lets a job make only the moves in `NEXT_STATUSES`.

Source of names and sequences: the SageMaker API reference (`DescribeTrainingJob`) and "Managed Spot
Training Lifecycle" in the SageMaker developer guide.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from datetime import datetime


class TrainingStatus(StrEnum):
    """`TrainingJobStatus`."""

    IN_PROGRESS = "InProgress"
    COMPLETED = "Completed"
    FAILED = "Failed"
    STOPPING = "Stopping"
    STOPPED = "Stopped"
    DELETING = "Deleting"


class SecondaryStatus(StrEnum):
    """`SecondaryStatus`. Only this one distinguishes the kinds of `Stopped`."""

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

#: A job in one of these never changes again.
TERMINAL_STATUSES = frozenset({TrainingStatus.COMPLETED, TrainingStatus.FAILED, TrainingStatus.STOPPED})

#: The job holds instances: training seconds are counted.
HOLDING_STATUSES = frozenset(
    {S.DOWNLOADING, S.DOWNLOADING_TRAINING_IMAGE, S.TRAINING, S.UPDATING, S.UPLOADING}
)

TERMINAL_SECONDARY_STATUSES = frozenset(
    {S.COMPLETED, S.FAILED, S.STOPPED, S.MAX_RUNTIME_EXCEEDED, S.MAX_WAIT_TIME_EXCEEDED}
)

_STOPPED_KINDS = frozenset({S.STOPPED, S.MAX_RUNTIME_EXCEEDED, S.MAX_WAIT_TIME_EXCEEDED})

#: Every legal move. `Stopping > Uploading` is a stopped job that had something to upload.
#: `Uploading > Failed` is a script that failed: its output is uploaded, too.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Transition:
    """One entry of `SecondaryStatusTransitions`. `ended_at` is None while the job is in this status."""

    status: SecondaryStatus
    started_at: datetime
    ended_at: datetime | None = None
    message: str = ""
