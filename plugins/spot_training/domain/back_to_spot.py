"""The way back to spot of one training: the rule of `way_back` on its deadline, its attempts and its job.

    a spot job waits      on-demand starts before the last moment, if a way back pays (`DeadlineGuard`)
    on-demand runs        scouts go out (`look_at`)
    a scout runs          the next checkpoint is awaited, and on-demand is stopped (`Look.may_leave`)
    the spot job waits    the hand-over has failed, and scouts pause (`paused_until`)

No clock and no AWS: callers pass every moment.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING

from .attempts import PurchaseOption, price_ratio_of
from .checkpoints_seen import SeenCheckpoints
from .errors import InvalidInput
from .lifecycle import Ending, JobSnapshot, SecondaryStatus
from .parsing import in_words
from .scouting import PATIENCE_SECONDS, RUN_SECONDS
from .way_back import HandOver, Progress, WayBack, fails_too_often, pause_seconds

if TYPE_CHECKING:
    from .attempts import Attempt
    from .deadline import Deadline
    from .type_history import TypeHistory

#: Spot's share of the on-demand price, until a job of the training has shown it. AWS speaks of up to 90 %
#: less; jobs were seen that saved a third and more than two thirds.
ASSUMED_PRICE_RATIO = 0.4
#: A checkpoint is awaited for so many of its intervals.
CHECKPOINTS_AWAITED = 2
#: A scout of the way back runs on for so long after the checkpoint: while on-demand is being stopped.
_AFTER_CHECKPOINT_SECONDS = 600
_PATIENCE = timedelta(seconds=PATIENCE_SECONDS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """An on-demand job and the way back, at one moment.

    `scouts_in_seconds` is when scouts go out, or went out; None if they do not.
    """

    rule: WayBack
    progress: Progress
    scouts_in_seconds: float | None

    @property
    def may_leave(self) -> bool:
        """Whether on-demand may be stopped now for a scout that runs."""
        return self.rule.may_hand_over(self.progress)

    @property
    def hours(self) -> tuple[float, float]:
        """What the rest costs on-demand, and with a hand-over to spot, in hours of on-demand."""
        work, how = self.progress.work_seconds, self.rule.hand_over
        return work / 3600, (work * how.price_ratio + how.cost_seconds) / 3600

    def why(self, usd_per_hour: float | None) -> str:
        """The reason for leaving on-demand, in dollars if the price is known."""
        left = in_words(self.progress.work_seconds)
        stays, leaves = self.hours
        if usd_per_hour is None:
            cost = f"{leaves:.1f} instead of {stays:.1f} hours of on-demand"
        else:
            cost = f"${leaves * usd_per_hour:.2f} instead of ${stays * usd_per_hour:.2f}"
        return f"{left} of work left cost about {cost}, with the hand-over"

    @property
    def why_not(self) -> str:
        """Why on-demand is not left for spot."""
        work, spare = in_words(self.progress.work_seconds), self.rule.guard.seconds_to_spare(self.progress)
        if spare < self.rule.hand_over.room_seconds:
            return (
                f"with {in_words(max(0.0, spare))} to spare, a hand-over that fails could miss the deadline"
            )
        return f"for {work} of work left, a hand-over costs more than spot saves"


def rule_for(
    deadline: Deadline,
    attempts: Sequence[Attempt] = (),
    price_ratio: float | None = None,
    *,
    checkpoint_every_seconds: float | None = None,
    restore_seconds: float = 0.0,
    is_allowed: bool = True,
) -> WayBack:
    """The rule with what is known of this training.

    `price_ratio`: spot's to on-demand's, from others. `checkpoint_every_seconds`: as it was seen.
    `restore_seconds`: what each launch takes to copy the checkpoints.
    """
    reserve, runtime = deadline.reserve, deadline.runtime
    spot = (attempt for attempt in attempts if attempt.purchase is PurchaseOption.SPOT)
    seen = price_ratio_of((attempt.billable_seconds, attempt.training_seconds) for attempt in spot)
    every = checkpoint_every_seconds or runtime.checkpoint_every_seconds
    hand_over = HandOver(
        launch_seconds=reserve.launch_seconds + restore_seconds,
        launch_high_seconds=reserve.launch_high_seconds + restore_seconds,
        price_ratio=seen if seen is not None else price_ratio or ASSUMED_PRICE_RATIO,
        checkpoint_every_seconds=every,
        lost_seconds=every,
        is_quota_shared=True,
        notice_seconds=PATIENCE_SECONDS,
        reserve_seconds=reserve.besides_launch_seconds + runtime.high_seconds - runtime.mean_seconds,
    )
    return WayBack(hand_over=hand_over, is_allowed=is_allowed and not deadline.is_late)


def look_at(
    job: JobSnapshot,
    now: datetime,
    *,
    rule: WayBack,
    deadline: Deadline,
    kept_seconds: float,
    seen: SeenCheckpoints | None = None,
) -> Look:
    """The way back at `now`, while the on-demand job runs.

    `kept_seconds` is the work that earlier attempts left in checkpoints. `seen` is what was seen of this
    job's: of a launch at which nobody looked, the work of one interval counts as unsaved.
    """
    every = deadline.runtime.checkpoint_every_seconds
    trained = _trained_seconds(job, now)
    saved = (seen or SeenCheckpoints()).saved_training_seconds(job.transitions, now, lost_per_launch=every)
    launch = deadline.reserve.launch_seconds - (now - job.created_at).total_seconds()
    progress = Progress(
        seconds_left=(deadline.at - now).total_seconds(),
        work_seconds=max(0.0, deadline.runtime.mean_seconds - kept_seconds - trained),
        unsaved_seconds=max(0.0, trained - saved),
        owed_seconds=0.0 if _trains(job) else max(0.0, launch),
    )
    return Look(rule=rule, progress=progress, scouts_in_seconds=rule.scouts_in_seconds(progress))


def _trains(job: JobSnapshot) -> bool:
    return any(visit.status is SecondaryStatus.TRAINING for visit in job.transitions)


def _trained_seconds(job: JobSnapshot, now: datetime) -> float:
    return sum(
        ((visit.ended_at or now) - visit.started_at).total_seconds()
        for visit in job.transitions
        if visit.status is SecondaryStatus.TRAINING
    )


def run_seconds(job: JobSnapshot, checkpoint_every_seconds: float) -> int:
    """`MaxRuntimeInSeconds` of a scout of this job: one that looks for the way back awaits a checkpoint."""
    if job.is_spot:
        return RUN_SECONDS
    return RUN_SECONDS + round(CHECKPOINTS_AWAITED * checkpoint_every_seconds) + _AFTER_CHECKPOINT_SECONDS


# --- hand-overs ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class HandOverSeen:
    """A hand-over that took place: to which type, and when its spot job had waited in vain if it failed."""

    instance_type: str
    failed_at: datetime | None

    @property
    def is_failed(self) -> bool:
        return self.failed_at is not None


def hand_overs_of(attempts: Sequence[Attempt]) -> tuple[HandOverSeen, ...]:
    """The hand-overs of a training, oldest first: on-demand that was left, and the attempt after it.

    It failed if no spot job got the capacity that the scout had found within `PATIENCE_SECONDS`.
    """
    return tuple(
        _seen(left, after) for left, after in pairwise(attempts) if left.ending is Ending.LEFT_FOR_SPOT
    )


def _seen(left: Attempt, after: Attempt) -> HandOverSeen:
    created_at, started_at = after.created_at, after.started_at
    is_spot = after.purchase is PurchaseOption.SPOT
    has_capacity = is_spot and created_at and started_at and started_at - created_at <= _PATIENCE
    asked_at = created_at or after.ended_at or left.ended_at
    return HandOverSeen(instance_type=after.instance_type or "", failed_at=None if has_capacity else asked_at)


def paused_until(attempts: Sequence[Attempt]) -> datetime | None:
    """Until when no scout goes out, because the latest hand-overs failed."""
    in_a_row = 0
    seen = hand_overs_of(attempts)
    for hand_over in reversed(seen):
        if not hand_over.is_failed:
            break
        in_a_row += 1
    failed_at = seen[-1].failed_at if in_a_row else None
    return failed_at + _PATIENCE + timedelta(seconds=pause_seconds(in_a_row)) if failed_at else None


def types_with_a_way_back(
    types: Sequence[str], attempts: Sequence[Attempt], histories: Iterable[TypeHistory] = ()
) -> tuple[str, ...]:
    """Those types for which not more than half of the hand-overs failed.

    `histories`: the moves of other trainings to where a scout had found capacity.
    """
    own = hand_overs_of(attempts)
    moves = {each.instance_type: (each.moves, each.failed_moves) for each in histories}

    def is_on(name: str) -> bool:
        mine = [seen for seen in own if seen.instance_type == name]
        hand_overs, failed = moves.get(name, (0, 0))
        return not fails_too_often(
            hand_overs=hand_overs + len(mine), failed=failed + sum(seen.is_failed for seen in mine)
        )

    return tuple(filter(is_on, types))


def check_can_go_back(*, has_checkpoints: bool) -> None:
    """Refuse a way back without checkpoints: the training would begin again. Raises `InvalidInput`."""
    if not has_checkpoints:
        raise InvalidInput(
            "policy.back_to_spot",
            True,
            "the way back to spot continues from the last checkpoint, and the config has no "
            "CheckpointConfig: add one, or leave back_to_spot out.",
        )
