"""Whether a job ended because of spot: nothing to run on, or interruptions that cost it its run time.

Nothing here knows a policy. `ladder` and `decide` decide what follows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .attempts import Attempt, PurchaseOption
from .lifecycle import CAPACITY_CAUSES, HOLDING_STATUSES, WAITING_STATUSES, Ending, Transition
from .runtime import CHECKPOINT_EVERY_SECONDS, kept_by_attempts, kept_by_visits

if TYPE_CHECKING:
    from collections.abc import Sequence

#: A launch that ran for so little less than `MaxRuntimeInSeconds` reached it without earlier ones.
_NEARLY_SECONDS = 60


def is_spot_cause(attempt: Attempt) -> bool:
    """Whether another wait, instance type or purchase option can help after this ending."""
    return attempt.ending in CAPACITY_CAUSES or is_lost_to_interruptions(attempt)


def is_lost_to_interruptions(attempt: Attempt) -> bool:
    """Whether a spot job reached its max runtime because interruptions made it repeat its work.

    That is so without checkpoints, and where more work was lost than kept. AWS does not say whether
    `MaxRuntimeInSeconds` covers all launches of a job or each one, so the last launch decides: if it reached
    the limit by itself, the training needs more run time, with or without interruptions. If it did not, the
    earlier launches used the time up.
    """
    was_interrupted = attempt.purchase is PurchaseOption.SPOT and attempt.interruptions > 0
    if attempt.ending is not Ending.MAX_RUNTIME or not was_interrupted:
        return False
    return not _last_launch_reached_limit(attempt) and _lost_more_than_it_kept(attempt)


def _last_launch_reached_limit(attempt: Attempt) -> bool:
    """False also if the visits are not known: attempts in XCom have none."""
    limit = attempt.max_runtime_seconds
    if limit is None or not attempt.transitions:
        return False
    return _last_launch_seconds(attempt.transitions) >= limit - _NEARLY_SECONDS


def _last_launch_seconds(transitions: Sequence[Transition]) -> float:
    """How long the job held instances after it waited for them the last time."""
    seconds = 0.0
    for visit in transitions:
        if visit.status in WAITING_STATUSES:
            seconds = 0.0
        elif visit.status in HOLDING_STATUSES and visit.ended_at is not None:
            seconds += (visit.ended_at - visit.started_at).total_seconds()
    return seconds


def _lost_more_than_it_kept(attempt: Attempt) -> bool:
    """An estimate: each launch lost the work since its last checkpoint. Without checkpoints, all is lost."""
    if not attempt.has_checkpoints:
        return True
    if attempt.work_seconds is None:
        return False
    if attempt.transitions:
        now = attempt.ended_at or attempt.transitions[-1].started_at
        kept = kept_by_visits(attempt.transitions, now, CHECKPOINT_EVERY_SECONDS)
    else:
        kept = kept_by_attempts([attempt], CHECKPOINT_EVERY_SECONDS)
    return attempt.work_seconds - kept > kept
