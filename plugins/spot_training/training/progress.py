"""What the driver answers: a job to wait for, or a training that is done."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from spot_training.domain.savings import Attempt, SavingsStatement, statement_of

if TYPE_CHECKING:
    from spot_training.domain.checkpoints_seen import CheckpointsToWatch
    from spot_training.domain.deadline import DeadlineGuard
    from spot_training.domain.lifecycle import JobSnapshot
    from spot_training.domain.scouting import ScoutCall


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """A job of this training is alive: wait until it is over, then call `TrainingDriver.advance` again.

    With a `guard` (a spot job, and a deadline) whoever waits stops the job when the guard says so
    (`watching.deadline_stop`). With a `call` (a spot job that may move to another type) whoever waits also
    looks at the scouts, and calls `advance` when the call says so (`watching.scout_watch`). `scouts` are
    those that may be alive: they end with the task. With `checkpoints`, whoever waits looks at them
    (`watching.checkpoint_watch`), gives what was seen to `TrainingDriver.saw_checkpoints`, and calls
    `advance` when they say so.
    """

    job: JobSnapshot
    guard: DeadlineGuard | None = None
    call: ScoutCall | None = None
    scouts: tuple[str, ...] = ()
    checkpoints: CheckpointsToWatch | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Completed:
    """The training is done. `description` is `DescribeTrainingJob`'s answer for the attempt that did it."""

    description: dict[str, Any]
    attempts: tuple[Attempt, ...]
    scouts: tuple[Attempt, ...] = ()

    @property
    def statement(self) -> SavingsStatement:
        return statement_of(self.attempts, scouts=self.scouts)


Progress = Waiting | Completed
