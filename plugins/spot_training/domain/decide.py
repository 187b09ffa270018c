"""What comes next for a training: every rule in its order, each with a reason a person can read.

    1. `give_up_at_limit`     a time limit has passed
    2. `finish_if_complete`  the last attempt completed: nobody is asked any more
    3. `end_watching`        a job was only watched, without a policy
    4. the policy            (`policy`)
    5. `keep_deadline`       on-demand where more waiting, or giving up, would cost the deadline
    6. `keep_budget`         spot where on-demand would take the month above its budget

`decide` is 4 to 6. The first three need no policy, so a Dag that was changed meanwhile spoils no training
that has ended. Nothing here knows AWS or a clock; the driver turns a decision into an action.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from .errors import InvalidInput
from .ladder import Action, Decision, Policy, Situation, Step, because, start, what_happened
from .lifecycle import CAPACITY_CAUSES, Ending
from .savings import PurchaseOption

if TYPE_CHECKING:
    from .budget import BudgetCheck
    from .deadline import Outlook
    from .savings import Attempt


# --- without a policy ------------------------------------------------------------------------------------


def give_up_at_limit(attempts: Sequence[Attempt], giving_up: str | None) -> Decision | None:
    """The end of a training that ran out of time (`giving_up` says how), unless it completed all the same."""
    if giving_up and not is_complete(attempts):
        return Decision(action=Action.GIVE_UP, reason=giving_up)
    return None


def finish_if_complete(attempts: Sequence[Attempt]) -> Decision | None:
    """The end of a training that is done."""
    if is_complete(attempts):
        return Decision(action=Action.FINISH, reason=what_happened(attempts[-1]))
    return None


def end_watching(attempts: Sequence[Attempt]) -> Decision:
    """The end of a training that was only watched, and did not complete."""
    last = attempts[-1]
    return Decision(action=Action.GIVE_UP, reason=f"{last.job_name}: {last.ending}")


def is_complete(attempts: Sequence[Attempt]) -> bool:
    """Whether the training is done."""
    return bool(attempts) and attempts[-1].ending is Ending.COMPLETED


# --- policy, deadline, budget ----------------------------------------------------------------------------


def decide(
    policy: Policy, situation: Situation, check_budget: Callable[[Step], BudgetCheck | None]
) -> Decision:
    """The policy's decision, then what the deadline and the budget make of it.

    `check_budget` reads the month's budget and spending. It is called only before on-demand is bought.
    """
    steps = policy.steps
    decision = keep_deadline(policy.decide(situation), steps, situation)
    check = check_budget(decision.step) if decision.step is not None and is_on_demand(decision) else None
    return keep_budget(decision, steps, situation, check)


def is_on_demand(decision: Decision) -> bool:
    """Whether the decision is to start an on-demand attempt."""
    step = decision.step
    return decision.action is Action.START and step is not None and step.purchase is PurchaseOption.ON_DEMAND


# --- the deadline ----------------------------------------------------------------------------------------

#: How often in a row on-demand is asked for before a deadline, where SageMaker refuses or fails.
ON_DEMAND_LAUNCHES = 5
#: How often in a row SageMaker may fail a spot job before on-demand is bought instead.
SPOT_FAILURES = 3
#: What SageMaker, and not the training, is to blame for: asked again, it may do better.
_REFUSALS = frozenset({Ending.CAPACITY_ERROR, Ending.QUOTA, Ending.INTERNAL_ERROR})


def keep_deadline(decision: Decision, steps: Sequence[Step], situation: Situation) -> Decision:
    """The guard outside every policy: on-demand where more waiting, or giving up, would cost the deadline.

    What SageMaker refused or failed is asked for again, the deadline being more than any one refusal.
    """
    outlook, attempts = situation.outlook, situation.attempts
    if outlook is None:
        return decision
    on_demand = _on_demand_step(steps)
    if decision.action is Action.START and decision.step is not None:
        was_stopped = bool(attempts) and attempts[-1].ending is Ending.STOPPED_FOR_DEADLINE
        is_due = was_stopped or outlook.is_time_for_on_demand
        if decision.step.purchase is PurchaseOption.ON_DEMAND or not is_due:
            return decision
        why = f"{what_happened(attempts[-1])}; {outlook.reason}" if attempts else outlook.reason
        return start(steps, on_demand, f"{why}: on-demand now")
    if decision.action is Action.GIVE_UP and attempts:
        return _go_on(decision, steps, situation, outlook)
    return decision


def _go_on(decision: Decision, steps: Sequence[Step], situation: Situation, outlook: Outlook) -> Decision:
    """Instead of giving up while on-demand could still keep the deadline."""
    attempts = situation.attempts
    last, on_demand = attempts[-1], _on_demand_step(steps)
    failures = _refused_in_a_row(attempts)
    if last.purchase is PurchaseOption.ON_DEMAND:
        if 0 < failures < ON_DEMAND_LAUNCHES:
            return start(steps, on_demand, f"{because(situation)}: on-demand again")
        return decision
    if last.ending is Ending.INTERNAL_ERROR:
        if failures < SPOT_FAILURES and not outlook.is_time_for_on_demand:
            return start(steps, last.step, f"{because(situation)}: spot again")
        return start(steps, on_demand, f"{what_happened(last)}: on-demand now")
    if last.ending in CAPACITY_CAUSES:
        return start(steps, on_demand, f"{what_happened(last)}, and no step is left: on-demand now")
    return decision


def check_keeps_deadline(policy: Policy) -> None:
    """Refuse a policy that could not keep a deadline: one without an on-demand step."""
    if all(step.purchase is PurchaseOption.SPOT for step in policy.steps):
        raise InvalidInput(
            "policy",
            [str(step) for step in policy.steps],
            "only on-demand can keep a deadline: add an on-demand step, or leave the deadline out.",
        )


def _on_demand_step(steps: Sequence[Step]) -> int:
    return next(i for i, step in enumerate(steps) if step.purchase is PurchaseOption.ON_DEMAND)


def _refused_in_a_row(attempts: Sequence[Attempt]) -> int:
    """How many attempts in a row, up to the last and of its purchase, SageMaker refused or failed."""
    count = 0
    for attempt in reversed(attempts):
        if attempt.purchase is not attempts[-1].purchase or attempt.ending not in _REFUSALS:
            break
        count += 1
    return count


#: Between asking for what SageMaker refused at once: together what a deadline keeps free for refusals.
FIRST_PAUSE_SECONDS = 60
LONGEST_PAUSE_SECONDS = 900


def pause_before(decision: Decision, situation: Situation) -> float:
    """Seconds (AWS's) to let pass before asking again for what was refused just now, steps further on aside.

    They double with each refusal; before a deadline they end when on-demand is due.
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


# --- the budget ------------------------------------------------------------------------------------------

#: Endings without a wait: asking again at once would go round in circles.
_REFUSED_AT_ONCE = frozenset({Ending.QUOTA, Ending.CAPACITY_ERROR})


def keep_budget(
    decision: Decision, steps: Sequence[Step], situation: Situation, check: BudgetCheck | None
) -> Decision:
    """The month's budget outside every policy: wait for spot rather than buy on-demand above it.

    Where there is no spot to wait for, or it was refused at once, the training is given up.
    """
    if check is None or not is_on_demand(decision) or (objection := check.objection) is None:
        return decision
    if check.budget.deadline_wins and _is_for_deadline(situation):
        return start(
            steps, decision.step_index, f"{decision.reason}, although {objection}: the deadline wins"
        )
    attempts = situation.attempts
    said = f"{what_happened(attempts[-1])}; {objection}" if attempts else objection
    spot = _longest_wait(steps)
    if spot is None:
        return _give_up_for(check, f"{said}, and the policy has no spot to wait for")
    if attempts and _was_refused_spot(attempts[-1]):
        return _give_up_for(check, f"{said}, and spot cannot be had at the moment either")
    late = ", even if the deadline is missed" if _is_for_deadline(situation) else ""
    return start(steps, spot, f"{said}: waiting for spot{late}")


def _give_up_for(check: BudgetCheck, reason: str) -> Decision:
    return Decision(action=Action.GIVE_UP, reason=reason, budget_usd=check.budget.usd)


def _is_for_deadline(situation: Situation) -> bool:
    if situation.outlook is None:
        return False
    attempts = situation.attempts
    was_stopped = bool(attempts) and attempts[-1].ending is Ending.STOPPED_FOR_DEADLINE
    return was_stopped or situation.outlook.is_time_for_on_demand


def _was_refused_spot(last: Attempt) -> bool:
    return last.purchase is PurchaseOption.SPOT and last.ending in _REFUSED_AT_ONCE


def _longest_wait(steps: Sequence[Step]) -> int | None:
    spot = [i for i, step in enumerate(steps) if step.purchase is PurchaseOption.SPOT]
    return max(spot, key=lambda i: steps[i].max_wait_seconds or 0, default=None)
