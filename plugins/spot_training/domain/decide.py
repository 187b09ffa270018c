"""What a training does next: every rule, in order, each with a reason a person can read.

    without a policy
        `give_up_at_limit`     a time limit has passed: give up
        `finish_if_complete`   the last attempt completed: finish
        `end_watching`         the job was only watched: give up
    with a policy (`decide`)
        the policy             starts the next step, finishes or gives up (`ladder`)
        `keep_deadline`        `_start_in_time`: on-demand instead of spot if spot would miss the deadline
                               `_go_on`: another attempt instead of giving up if on-demand can still meet it
        `keep_budget`          spot instead of on-demand, if on-demand would exceed the month's budget

The rules of the first group need no policy, so a training that has ended stays ended if its Dag has changed.

A rule of the second group takes the decision so far and returns it, or another one. To add a rule, write such
a function, call it in `decide` where it belongs, and add its line above. A later rule overrules earlier ones:
the budget comes after the deadline, and overrules it unless `Budget.deadline_wins` is set.

Nothing here knows AWS or a clock. The driver turns a decision into an action.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from .attempts import PurchaseOption
from .errors import InvalidInput
from .interruptions import is_spot_cause
from .ladder import Action, Decision, Policy, Situation, Step, because, start, what_happened
from .lifecycle import Ending

if TYPE_CHECKING:
    from .attempts import Attempt
    from .budget import BudgetCheck
    from .deadline import Outlook


# --- without a policy ------------------------------------------------------------------------------------


def give_up_at_limit(attempts: Sequence[Attempt], giving_up: str | None) -> Decision | None:
    """The end of a training that ran out of time (`giving_up` says how), unless it completed anyway."""
    if giving_up and not is_complete(attempts):
        return Decision(action=Action.GIVE_UP, reason=giving_up)
    return None


def finish_if_complete(attempts: Sequence[Attempt]) -> Decision | None:
    """The end of a training that has completed."""
    if is_complete(attempts):
        return Decision(action=Action.FINISH, reason=what_happened(attempts[-1]))
    return None


def end_watching(attempts: Sequence[Attempt]) -> Decision:
    """The end of a training that was only watched and did not complete."""
    last = attempts[-1]
    return Decision(action=Action.GIVE_UP, reason=f"{last.job_name}: {last.ending}")


def is_complete(attempts: Sequence[Attempt]) -> bool:
    """Whether the training has completed."""
    return bool(attempts) and attempts[-1].ending is Ending.COMPLETED


# --- policy, deadline, budget ----------------------------------------------------------------------------


def decide(
    policy: Policy, situation: Situation, check_budget: Callable[[Step], BudgetCheck | None]
) -> Decision:
    """The policy's decision, changed where the deadline or the budget requires it.

    `check_budget` reads the month's budget and costs. It is called only before on-demand is bought.
    """
    steps = policy.steps
    decision = policy.decide(situation)
    decision = keep_deadline(decision, steps, situation)
    check = check_budget(decision.step) if decision.step is not None and is_on_demand(decision) else None
    return keep_budget(decision, steps, situation, check)


def is_on_demand(decision: Decision) -> bool:
    """Whether the decision is to start an on-demand attempt."""
    step = decision.step
    return decision.action is Action.START and step is not None and step.purchase is PurchaseOption.ON_DEMAND


# --- the deadline ----------------------------------------------------------------------------------------

#: How many times in a row to ask for on-demand before a deadline while SageMaker refuses or fails.
ON_DEMAND_LAUNCHES = 5
#: How many times in a row SageMaker may fail a spot job before on-demand is bought instead.
SPOT_FAILURES = 3
#: Endings that SageMaker caused, not the training: the same request may succeed later.
_REFUSALS = frozenset({Ending.CAPACITY_ERROR, Ending.QUOTA, Ending.INTERNAL_ERROR})


def keep_deadline(decision: Decision, steps: Sequence[Step], situation: Situation) -> Decision:
    """The guard outside every policy. It overrules the policy only if the policy would miss the deadline."""
    outlook = situation.outlook
    if outlook is None:
        return decision
    match decision.action:
        case Action.START if not is_on_demand(decision):
            return _start_in_time(decision, steps, situation, outlook)
        case Action.GIVE_UP if situation.attempts:
            return _go_on(decision, steps, situation, outlook)
        case Action.START | Action.GIVE_UP | Action.FINISH:
            return decision


def _start_in_time(
    decision: Decision, steps: Sequence[Step], situation: Situation, outlook: Outlook
) -> Decision:
    """On-demand instead of another spot job, if it has to start now."""
    if not _must_start_on_demand(situation):
        return decision
    attempts = situation.attempts
    why = f"{what_happened(attempts[-1])}; {outlook.reason}" if attempts else outlook.reason
    return start(steps, _on_demand_step(steps), f"{why}: on-demand now")


def _go_on(decision: Decision, steps: Sequence[Step], situation: Situation, outlook: Outlook) -> Decision:
    """Another attempt instead of giving up, while on-demand can still meet the deadline.

    A request that SageMaker refused or failed is made again: the deadline matters more than one refusal.
    """
    attempts = situation.attempts
    last, on_demand = attempts[-1], _on_demand_step(steps)
    failures = _refused_in_a_row(attempts)
    if last.purchase is PurchaseOption.ON_DEMAND:
        if 0 < failures < ON_DEMAND_LAUNCHES:
            return start(steps, on_demand, f"{because(situation)}: on-demand again")
        spot = _longest_wait(steps)
        is_spot_refused = any(_was_refused_spot(attempt) for attempt in attempts)
        if failures and spot is not None and not is_spot_refused and _is_early(situation):
            return start(steps, spot, f"{because(situation)}: spot again")
        return decision
    if last.ending is Ending.INTERNAL_ERROR:
        if failures < SPOT_FAILURES and not outlook.is_time_for_on_demand:
            return start(steps, last.step, f"{because(situation)}: spot again")
        return start(steps, on_demand, f"{what_happened(last)}: on-demand now")
    if is_spot_cause(last):
        return start(steps, on_demand, f"{what_happened(last)}, and no step is left: on-demand now")
    return decision


def _must_start_on_demand(situation: Situation) -> bool:
    """Whether the deadline requires on-demand now: its time has come, or the spot job was stopped for it."""
    if situation.outlook is None:
        return False
    attempts = situation.attempts
    was_stopped = bool(attempts) and attempts[-1].ending is Ending.STOPPED_FOR_DEADLINE
    return was_stopped or situation.outlook.is_time_for_on_demand


#: On-demand that starts with more time to spare starts early, because it can be left again for spot.
EARLY_SECONDS = 1800


def _is_early(situation: Situation) -> bool:
    """Whether the deadline does not require on-demand yet."""
    return situation.outlook is not None and situation.outlook.slack_seconds > EARLY_SECONDS


def check_keeps_deadline(policy: Policy) -> None:
    """Refuse a policy that cannot meet a deadline because it has no on-demand step."""
    if all(step.purchase is PurchaseOption.SPOT for step in policy.steps):
        raise InvalidInput(
            "policy",
            [str(step) for step in policy.steps],
            "only on-demand can meet a deadline: add an on-demand step, or remove the deadline.",
        )
    for step in policy.steps:
        for name, speed in zip(step.instance_types, step.speeds, strict=False):
            if speed < 1:
                raise InvalidInput(
                    f"policy.instance_types.{name}",
                    speed,
                    "with a deadline, each hour of training counts as an hour of the expected runtime, so a "
                    "slower type could miss it: leave this type out, or remove the deadline.",
                )


def _on_demand_step(steps: Sequence[Step]) -> int:
    return next(i for i, step in enumerate(steps) if step.purchase is PurchaseOption.ON_DEMAND)


def _refused_in_a_row(attempts: Sequence[Attempt]) -> int:
    """How many of the last attempts, all with the last one's purchase option, SageMaker refused or failed."""
    count = 0
    for attempt in reversed(attempts):
        if attempt.purchase is not attempts[-1].purchase or attempt.ending not in _REFUSALS:
            break
        count += 1
    return count


# --- the budget ------------------------------------------------------------------------------------------

#: Endings without a wait: the same request would be refused again at once, without end.
_REFUSED_AT_ONCE = frozenset({Ending.QUOTA, Ending.CAPACITY_ERROR})


def keep_budget(
    decision: Decision, steps: Sequence[Step], situation: Situation, check: BudgetCheck | None
) -> Decision:
    """The month's budget, outside every policy: wait for spot instead of exceeding it with on-demand.

    The training is given up if the policy has no spot step, or if spot has just been refused at once.
    """
    if check is None or not is_on_demand(decision) or (objection := check.objection) is None:
        return decision
    is_for_deadline = _must_start_on_demand(situation) and not _is_early(situation)
    if check.budget.deadline_wins and is_for_deadline:
        return start(
            steps, decision.step_index, f"{decision.reason}, although {objection}: the deadline wins"
        )
    attempts = situation.attempts
    why = f"{what_happened(attempts[-1])}; {objection}" if attempts else objection
    spot = _longest_wait(steps)
    if spot is None:
        return _give_up_for(check, f"{why}, and the policy has no spot step to wait with")
    if attempts and _was_refused_spot(attempts[-1]):
        return _give_up_for(check, f"{why}, and spot is not available at the moment either")
    late = ", even if the deadline is missed" if is_for_deadline else ""
    return start(steps, spot, f"{why}: waiting for spot{late}")


def _give_up_for(check: BudgetCheck, reason: str) -> Decision:
    return Decision(action=Action.GIVE_UP, reason=reason, budget_usd=check.budget.usd)


def _was_refused_spot(last: Attempt) -> bool:
    return last.purchase is PurchaseOption.SPOT and last.ending in _REFUSED_AT_ONCE


def _longest_wait(steps: Sequence[Step]) -> int | None:
    spot = [i for i, step in enumerate(steps) if step.purchase is PurchaseOption.SPOT]
    return max(spot, key=lambda i: steps[i].max_wait_seconds or 0, default=None)


# --- the pause before a decision is carried out ----------------------------------------------------------

#: Between two requests for what SageMaker refused at once. Their sum is what a deadline reserves for
#: refusals.
FIRST_PAUSE_SECONDS = 60
LONGEST_PAUSE_SECONDS = 900


def pause_before(decision: Decision, situation: Situation) -> float:
    """Seconds (of AWS's clock) to wait before the step that was just refused is requested again.

    There is no pause before a later step. A pause doubles with each refusal, and ends when on-demand is due.
    """
    attempts, outlook = situation.attempts, situation.outlook
    if decision.step is None or not attempts or not attempts[-1].was_refused:
        return 0.0
    last = attempts[-1]
    if decision.step.purchase is not last.purchase or decision.step_index > last.step:
        return 0.0
    pause = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2.0 ** (_refused_in_a_row(attempts) - 1))
    is_spot = decision.step.purchase is PurchaseOption.SPOT
    if is_spot and outlook is not None and outlook.on_demand_in_seconds is not None:
        return min(pause, max(0.0, outlook.on_demand_in_seconds))
    return pause
