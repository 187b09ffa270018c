"""The training's deadline: settled at its first submission, then looked at before each decision."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING

from spot_training.domain.back_to_spot import rule_for
from spot_training.domain.deadline import Deadline, DeadlineGuard, Outlook, restore_seconds_of
from spot_training.domain.decide import check_keeps_deadline
from spot_training.domain.errors import InvalidInput
from spot_training.domain.messages import deadline_line
from spot_training.domain.savings import PurchaseOption

if TYPE_CHECKING:
    from spot_training.domain.budget import BudgetCheck
    from spot_training.domain.ladder import Policy
    from spot_training.domain.lifecycle import JobSnapshot
    from spot_training.domain.way_back import WayBack

    from .active import ActiveTraining
    from .state import Intent


def settle_deadline(training: ActiveTraining) -> None:
    """Fix the deadline, once for the training: at its first submission."""
    if training.state.deadline is not None or training.state.attempts:
        return
    deadline = training.host.deadline(training.jobs.now)
    if deadline is None:
        return
    check_keeps_deadline(training.policy_before(deadline))
    training.save(replace(training.state, deadline=deadline))
    training.host.say(deadline_line(deadline))


def outlook_of(training: ActiveTraining) -> Outlook | None:
    """The outlook on the deadline now, with no job alive; None without a deadline."""
    deadline = training.state.deadline
    if deadline is None:
        return None
    guard = _guard(
        training,
        deadline,
        has_checkpoints=training.plan().checkpoint_uri is not None,
        goes_back=has_way_back(training.policy()),
    )
    return guard.outlook(training.jobs.now())


def has_way_back(policy: Policy) -> bool:
    """Whether on-demand may be left again for spot."""
    return bool(getattr(policy, "back_to_spot", False))


def guard_of(training: ActiveTraining, job: JobSnapshot, intent: Intent) -> DeadlineGuard | None:
    """What watches over a spot job of our own while it is alive."""
    deadline = training.state.deadline
    if deadline is None or not job.is_spot or intent.is_foreign or training.host.only_watches:
        return None
    # A Dag that was changed meanwhile is refused once there is something to decide, when no job is alive.
    goes_back = may_be_refused = False
    with contextlib.suppress(InvalidInput):
        policy = training.policy()
        check = check_on_demand(training, policy)
        is_refused = check is not None and check.objection is not None
        may_be_refused = check is not None and is_refused and not check.budget.deadline_wins
        if check is not None and may_be_refused and check.is_known:
            return None
        goes_back = has_way_back(policy) and not is_refused  # it buys on-demand when the deadline needs it
    has_checkpoints = job.checkpoint_uri is not None
    guard = _guard(training, deadline, has_checkpoints=has_checkpoints, goes_back=goes_back)
    # A month that cannot be read now may be read in time. Once on-demand should run, it is not waited for:
    # each new spot job would be stopped at once.
    is_late = may_be_refused and guard.outlook(training.jobs.now()).is_time_for_on_demand
    return None if is_late else guard


def check_on_demand(training: ActiveTraining, policy: Policy) -> BudgetCheck | None:
    """Whether the budget would pay an on-demand job now; None without a budget.

    If it would not, and does not make way for the deadline, nothing may stop the spot job.
    """
    on_demand = (step for step in policy.steps if step.purchase is PurchaseOption.ON_DEMAND)
    return training.host.check_budget(next(on_demand))


def _guard(
    training: ActiveTraining, deadline: Deadline, *, has_checkpoints: bool, goes_back: bool
) -> DeadlineGuard:
    seen = training.state.checkpoints
    return DeadlineGuard(
        deadline=deadline,
        kept_seconds=deadline.kept_seconds(training.state.attempts, seen),
        has_checkpoints=has_checkpoints,
        way_back=rule_of(training, deadline) if goes_back and has_checkpoints else None,
        seen=seen,
    )


def rule_of(training: ActiveTraining, deadline: Deadline) -> WayBack:
    """When on-demand is left for spot."""
    state = training.state
    return rule_for(
        deadline,
        state.attempts,
        state.spot_price_ratio,
        checkpoint_every_seconds=checkpoint_every_of(training, deadline),
        restore_seconds=restore_seconds_of(state.checkpoints),
        is_allowed=not state.has_no_way_back,
    )


def checkpoint_every_of(training: ActiveTraining, deadline: Deadline) -> float:
    """How long the script trains between two checkpoints: as was seen, if that is longer than was said."""
    seen = training.state.checkpoints
    return max(deadline.runtime.checkpoint_every_seconds, *(seen.pace().intervals if seen else ()), 0.0)
