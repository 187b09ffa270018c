"""Why we stop a training job, and what such a stop means for its training.

SageMaker says `Stopped`, whoever asked for it. So each stop of ours gives its reason first, in a tag on the
job; where the tag cannot be written, the task's state or the ledger keeps it. A job that is `Stopped` without
a reason of ours was stopped by a person, and that is always respected.
"""

from __future__ import annotations

from enum import StrEnum

from .lifecycle import Ending


class StopReason(StrEnum):
    """The value of the tag `spot-training:stopped-for`."""

    DEADLINE = "deadline"
    TIME_LIMIT = "time-limit"
    #: Its task has ended: a person marked it, its run is gone, or its last try failed.
    TASK_ENDED = "task-ended"
    #: Its task's process was told to end: a person acted, or the worker shuts down.
    TASK_KILLED = "task-killed"
    #: The sweeper found that no task will look at it again.
    SWEPT = "swept"


_ENDINGS = {
    StopReason.DEADLINE: Ending.STOPPED_FOR_DEADLINE,
    StopReason.TIME_LIMIT: Ending.STOPPED_AT_TIME_LIMIT,
    StopReason.TASK_ENDED: Ending.STOPPED_WITH_TASK,
    StopReason.TASK_KILLED: Ending.STOPPED_WITH_TASK,
    StopReason.SWEPT: Ending.STOPPED_WITH_TASK,
}


def stop_reason_of(value: str | None) -> StopReason | None:
    """The reason that a tag or a record holds; one that a newer version wrote is a stop of ours, too."""
    if not value:
        return None
    try:
        return StopReason(value)
    except ValueError:
        return StopReason.TASK_ENDED


def ending_of_stop(reason: StopReason | None) -> Ending:
    """What a `Stopped` job's ending is, from the reason on record; None: a person stopped it."""
    return Ending.STOPPED_BY_USER if reason is None else _ENDINGS[reason]
