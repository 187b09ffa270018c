"""Stops a spot job in time for its training's deadline: when to look again, and the stop itself.

The guard decides (`domain.deadline`); this adds AWS's clock and the call that stops. Operator and trigger use
it in the same way: `update` with each report, wait until `look_again_at`, then ask `is_due`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from spot_training.domain.deadline import Deadline, DeadlineGuard, Outlook
from spot_training.domain.errors import SpotTrainingError
from spot_training.domain.lifecycle import JobSnapshot
from spot_training.domain.way_back import HandOver, WayBack

from .following import follow
from .reports import CheckpointNews, Report, TimeIsUp

if TYPE_CHECKING:
    from spot_training.domain.checkpoints_seen import SeenCheckpoints
    from spot_training.sagemaker.clock import ServiceClock

    from .checkpoint_watch import CheckpointWatch
    from .scout_watch import ScoutWatch
    from .watched import Watcher

log = logging.getLogger(__name__)

#: A stop for the deadline that failed, botocore's retries and all, is tried again after so long.
STOP_AGAIN_SECONDS = 5
STOP_FAILED = "Spot job %s could not be stopped for its deadline. Trying again: %s"
#: Waking a little late rather than early saves a second look.
_SLACK_SECONDS = 0.2


@dataclass(slots=True)
class DeadlineStop:
    """One job and its guard. `outlook` is the guard's view at the last look, on AWS's `clock`.

    `foreseen_at` is when on-demand was due as the task deferred: for a triggerer that has not looked yet.
    """

    guard: DeadlineGuard
    clock: Callable[[], ServiceClock]
    outlook: Outlook | None = None
    foreseen_at: datetime | None = None
    is_stopped: bool = False
    #: Looks at the job's checkpoints: a new one may save it from being stopped.
    checkpoints: CheckpointWatch | None = field(default=None, repr=False)
    _job: JobSnapshot | None = field(default=None, repr=False)

    @classmethod
    def from_json(cls, data: Mapping[str, Any], clock: Callable[[], ServiceClock]) -> DeadlineStop:
        """From what `guard_to_json` made."""
        foreseen_at = data.get("foreseen_at")
        return cls(
            guard_from_json(data),
            clock,
            foreseen_at=None if foreseen_at is None else datetime.fromisoformat(foreseen_at),
        )

    @property
    def first_look_in_seconds(self) -> float:
        """How soon the job has to be looked at: the sooner, the earlier among many (real seconds)."""
        deadline, kept = self.guard.deadline, self.guard.kept_seconds
        moment = self.foreseen_at or deadline.latest_on_demand_start(kept)
        clock = self.clock()
        return clock.real_seconds((moment - clock.now()).total_seconds())

    def update(self, job: JobSnapshot) -> Outlook:
        """Take in how AWS describes the job now."""
        self._job = job
        self.outlook = self.guard.outlook(self.clock().now(), job)
        if self.checkpoints is not None:
            self.checkpoints.expect_stop(self.outlook.on_demand_at)
        return self.outlook

    def saw(self, seen: SeenCheckpoints) -> None:
        """Take in what is saved now."""
        self.guard = replace(self.guard, seen=seen)
        if self._job is not None:
            self.update(self._job)

    @property
    def look_again_at(self) -> datetime | None:
        """When on-demand will be due if nothing changes, on this machine's clock; None while it is not."""
        if self.outlook is None or self.is_stopped:
            return None
        if (due_in := self.outlook.on_demand_in_seconds) is None:
            return None
        left = due_in - (self.clock().now() - self.outlook.now).total_seconds()
        here = max(0.0, self.clock().real_seconds(left)) + _SLACK_SECONDS
        return datetime.now(UTC) + timedelta(seconds=here)

    def is_due(self) -> bool:
        """Whether it is time to stop the job now."""
        if self._job is None or self.is_stopped:
            return False
        return self.update(self._job).is_time_for_on_demand

    def stop(self, stop: Callable[[JobSnapshot], bool]) -> str:
        """Stop the job with `stop`, for the deadline; returns a sentence for the task log."""
        assert self._job is not None  # noqa: S101 - `is_due` said so
        assert self.outlook is not None  # noqa: S101
        is_stopped = stop(self._job)
        self.is_stopped = True
        if not is_stopped:
            return f"Spot job {self._job.name} is already over, or being stopped."
        return (
            f"Stopping spot job {self._job.name} to make room for on-demand: {self.outlook.reason}. "
            f"Deadline: {self.outlook.deadline:%Y-%m-%d %H:%M} UTC."
        )


def follow_with_deadline(
    watcher: Watcher,
    name: str,
    *,
    interval_seconds: float,
    deadline_stop: DeadlineStop | None,
    scouts: ScoutWatch | None = None,
    checkpoints: CheckpointWatch | None = None,
    stop: Callable[[JobSnapshot], bool],
    until: Callable[[], datetime | None] = lambda: None,
    say: Callable[[str], None] = log.info,
    shows_log: bool = False,
) -> Iterator[Report]:
    """`follow` that also stops a spot job in time for its deadline, and continues until the job is over.

    `until` is the caller's own limit: only that one ends it with `TimeIsUp`. It also ends when `scouts` have
    to be looked at, or `checkpoints` say so.
    """
    timed = [watch for watch in (deadline_stop, scouts) if watch is not None]
    if deadline_stop is not None:
        deadline_stop.checkpoints = checkpoints

    def next_moment() -> datetime | None:
        moments = (until(), *(watch.look_again_at for watch in timed))
        return min((moment for moment in moments if moment), default=None)

    while True:
        reports = follow(
            watcher,
            name,
            interval_seconds=interval_seconds,
            until=next_moment,
            shows_log=shows_log,
            scouts=scouts.scouts if scouts else (),
            checkpoints=checkpoints,
        )
        for report in reports:
            if isinstance(report, TimeIsUp) and not _is_for_caller(until(), deadline_stop, scouts):
                break
            _take_in(report, deadline_stop, scouts, checkpoints)
            yield report
        else:
            return
        if deadline_stop is not None and deadline_stop.is_due():
            try:
                say(deadline_stop.stop(stop))
            except SpotTrainingError as error:
                # Tried again until it works: the deadline is at stake.
                log.error(STOP_FAILED, name, error)  # noqa: TRY400
                time.sleep(STOP_AGAIN_SECONDS)


def _take_in(
    report: Report,
    deadline_stop: DeadlineStop | None,
    scouts: ScoutWatch | None,
    checkpoints: CheckpointWatch | None,
) -> None:
    if isinstance(report, CheckpointNews) and deadline_stop is not None:
        deadline_stop.saw(report.seen)
    if isinstance(report, JobSnapshot):
        for watch in (deadline_stop, scouts, checkpoints):
            if watch is not None:
                watch.update(report)


def _is_for_caller(
    limit: datetime | None, deadline_stop: DeadlineStop | None, scouts: ScoutWatch | None
) -> bool:
    """Whether the moment is the caller's limit, or one to look at scouts. The guard goes first."""
    if limit is not None and limit <= datetime.now(UTC):
        return True
    is_for_guard = deadline_stop is not None and deadline_stop.is_due()
    return scouts is not None and scouts.is_due() and not is_for_guard


def guard_to_json(
    guard: DeadlineGuard, job: JobSnapshot | None = None, now: datetime | None = None
) -> dict[str, Any]:
    """As plain JSON, for a trigger's arguments. `job` and `now` say when on-demand is due as things are."""
    foreseen_at = None if job is None or now is None else guard.outlook(now, job).on_demand_at
    return {
        "foreseen_at": None if foreseen_at is None else foreseen_at.isoformat(),
        "deadline": guard.deadline.to_json(),
        "kept_seconds": guard.kept_seconds,
        "has_checkpoints": guard.has_checkpoints,
        "tick_seconds": guard.tick_seconds,
        **({"hand_over": asdict(guard.way_back.hand_over)} if guard.way_back else {}),
    }


def guard_from_json(data: Mapping[str, Any]) -> DeadlineGuard:
    """Undo `guard_to_json`. What an earlier version wrote about a policy and its market is ignored."""
    return DeadlineGuard(
        deadline=Deadline.from_json(data["deadline"]),
        kept_seconds=data["kept_seconds"],
        has_checkpoints=data["has_checkpoints"],
        tick_seconds=data["tick_seconds"],
        way_back=WayBack(hand_over=HandOver.from_json(data["hand_over"])) if data.get("hand_over") else None,
    )
