"""What a watcher reports to its listeners."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypeAlias

from spot_training.domain.lifecycle import JobSnapshot, SecondaryStatus, TrainingStatus
from spot_training.domain.moments import clock_time

if TYPE_CHECKING:
    from spot_training.domain.checkpoints_seen import SeenCheckpoints


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """There is no job of that name (any more)."""

    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Over:
    """The list or an event says that the job is over. It was not described."""

    name: str
    status: TrainingStatus
    secondary_status: SecondaryStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """AWS has not answered for a while, or refuses. The watcher keeps asking."""

    since: datetime
    error: str
    service: str = "SageMaker"

    def __str__(self) -> str:
        since = clock_time(self.since.astimezone(UTC), datetime.now(UTC))
        return f"{self.service} has not answered since {since}, still asking: {self.error}"


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLines:
    """New lines of a job's log, for listeners that show it live."""

    name: str
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeIsUp:
    """The moment until which the caller wanted to wait has passed. The job may continue."""

    until: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoutNews:
    """A scout of the job's training has instances, or is over."""

    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointNews:
    """What is saved of the job's training has changed, or cannot be seen (`warning`).

    With `must_wake` the task has to look at it: uploads have stalled, or what it waits for is saved.
    """

    name: str
    seen: SeenCheckpoints
    must_wake: bool = False
    warning: str = ""


Report: TypeAlias = JobSnapshot | Over | Missing | Trouble | LogLines | TimeIsUp | ScoutNews | CheckpointNews


def is_last(report: Report) -> bool:
    """Whether no other report follows this one."""
    return (
        isinstance(report, Over | Missing | TimeIsUp | ScoutNews)
        or (isinstance(report, JobSnapshot) and report.is_terminal)
        or (isinstance(report, CheckpointNews) and report.must_wake)
    )
