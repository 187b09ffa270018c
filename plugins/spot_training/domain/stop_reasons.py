"""Why we stop a training job, and what such a stop means for its training.

SageMaker only says `Stopped`, whoever stopped the job. So before we stop a job, we write the reason into a
tag on it, or, if the tag cannot be written, into the task's state or the ledger. A job that is `Stopped`
without one of our reasons was stopped by a person, and that is always respected.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from .lifecycle import Ending, JobSnapshot, SecondaryStatus

#: A stop that takes effect later than this after our reason was written is not ours. botocore's retries take
#: two minutes.
TAKES_EFFECT_WITHIN = timedelta(minutes=10)


class StopReason(StrEnum):
    """The value of the tag `spot-training:stopped-for`."""

    DEADLINE = "deadline"
    #: It waits for capacity that another instance type has.
    MOVE = "move"
    #: On-demand runs, and there is spot capacity again.
    BACK_TO_SPOT = "back-to-spot"
    #: Its checkpoints no longer reach S3, and `on_checkpoints_stalled` asked for the stop.
    UPLOADS_STALLED = "uploads-stalled"
    #: A scout has found out what it was sent for, or nobody needs it any longer.
    SCOUT_DONE = "scout-done"
    TIME_LIMIT = "time-limit"
    #: The task has ended: a person marked it, its run is gone, or its last try failed.
    TASK_ENDED = "task-ended"
    #: The task's process was killed: a person marked or cleared the task, or the worker shuts down.
    TASK_KILLED = "task-killed"
    #: The sweeper found that no task uses the job any longer.
    SWEPT = "swept"


_ENDINGS = {
    StopReason.DEADLINE: Ending.STOPPED_FOR_DEADLINE,
    StopReason.MOVE: Ending.MOVED,
    StopReason.BACK_TO_SPOT: Ending.LEFT_FOR_SPOT,
    StopReason.UPLOADS_STALLED: Ending.UPLOADS_STALLED,
    StopReason.SCOUT_DONE: Ending.SCOUT_DONE,
    StopReason.TIME_LIMIT: Ending.STOPPED_AT_TIME_LIMIT,
    StopReason.TASK_ENDED: Ending.STOPPED_WITH_TASK,
    StopReason.TASK_KILLED: Ending.STOPPED_WITH_TASK,
    StopReason.SWEPT: Ending.STOPPED_WITH_TASK,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class StopNote:
    """A reason that was written, and when, on AWS's clock (None if not known)."""

    why: StopReason
    at: datetime | None = None

    def explains(self, job: JobSnapshot, *, real_seconds: Callable[[float], float] = float) -> bool:
        """Whether this is the reason for the job's stop, or a person stopped the job much later.

        The process that wrote the reason may have died before it called StopTrainingJob. `real_seconds`
        converts seconds of AWS's clock to ours: the clock of a local cloud runs faster.
        """
        stopped_at = stopping_began_at(job)
        if self.at is None or stopped_at is None:
            return True
        return real_seconds((stopped_at - self.at).total_seconds()) <= TAKES_EFFECT_WITHIN.total_seconds()


def note_of(why: str | None, at: str | None) -> StopNote | None:
    """A note from a tag or a record. A reason that a newer version wrote is one of our stops, too."""
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
    """When SageMaker began to stop the job, or None if it does not say."""
    visits = [visit for visit in job.transitions if visit.status is SecondaryStatus.STOPPING]
    return visits[-1].started_at if visits else None


def ending_of_stop(note: StopNote | None) -> Ending:
    """The ending of a `Stopped` job, from the note on record. Without a note, a person stopped it."""
    return Ending.STOPPED_BY_USER if note is None else _ENDINGS[note.why]
