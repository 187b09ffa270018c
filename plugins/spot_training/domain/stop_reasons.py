"""Why we stop a training job, and what such a stop means for its training.

SageMaker says `Stopped`, whoever asked for it. So each stop of ours gives its reason first, in a tag on the
job; where the tag cannot be written, the task's state or the ledger keeps it. A job that is `Stopped` without
a reason of ours was stopped by a person, and that is always respected.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from .lifecycle import Ending, JobSnapshot, SecondaryStatus

#: How long after its reason was written a stop of ours may take effect at the latest: botocore's retries take
#: two minutes. A stop that comes later is another one.
TAKES_EFFECT_WITHIN = timedelta(minutes=10)


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


@dataclass(frozen=True, slots=True, kw_only=True)
class StopNote:
    """A reason that was written down, and when, on AWS's clock (None: not known)."""

    why: StopReason
    at: datetime | None = None

    def explains(self, job: JobSnapshot, *, real_seconds: Callable[[float], float] = float) -> bool:
        """Whether the job's stop is the one that was announced, and not a person's much later.

        The process that wrote the reason may have died before it asked SageMaker for the stop. `real_seconds`
        turns seconds of AWS's clock into ours: a local cloud's runs faster.
        """
        stopped_at = stopping_began_at(job)
        if self.at is None or stopped_at is None:
            return True
        return real_seconds((stopped_at - self.at).total_seconds()) <= TAKES_EFFECT_WITHIN.total_seconds()


def note_of(why: str | None, at: str | None) -> StopNote | None:
    """A note as a tag or a record holds it; a reason that a newer version wrote is a stop of ours, too."""
    if not why:
        return None
    try:
        moment = datetime.fromisoformat(at) if at else None
    except ValueError:
        moment = None
    if moment is not None and moment.tzinfo is None:
        moment = None
    try:
        return StopNote(why=StopReason(why), at=moment)
    except ValueError:
        return StopNote(why=StopReason.TASK_ENDED, at=moment)


def stopping_began_at(job: JobSnapshot) -> datetime | None:
    """When SageMaker began to stop the job; None where it does not say."""
    visits = [visit for visit in job.transitions if visit.status is SecondaryStatus.STOPPING]
    return visits[-1].started_at if visits else None


def ending_of_stop(note: StopNote | None) -> Ending:
    """What a `Stopped` job's ending is, from the note on record; None: a person stopped it."""
    return Ending.STOPPED_BY_USER if note is None else _ENDINGS[note.why]
