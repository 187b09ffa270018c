"""The rules for what comes next, in their order: policy, then deadline, then budget."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from spot_training.domain.budget import Budget, BudgetCheck, MonthSpending, OnDemandCost
from spot_training.domain.deadline import Outlook
from spot_training.domain.decide import decide, end_watching, finish_if_complete, give_up_at_limit
from spot_training.domain.ladder import Action, Decision, Situation, SpotWhileTimeAllows, Step, on_demand_only
from spot_training.domain.lifecycle import Ending
from spot_training.domain.savings import Attempt, PurchaseOption

HOUR = 3600
NOW = datetime(2026, 11, 22, tzinfo=UTC)
POLICY = SpotWhileTimeAllows(max_wait_seconds=20 * HOUR)
SPOT, ON_DEMAND = POLICY.steps


def _attempt(ending: Ending, **overrides: Any) -> Attempt:
    facts: dict[str, Any] = {
        "number": 1,
        "step": 0,
        "job_name": "model-1",
        "purchase": PurchaseOption.SPOT,
        "reason": "",
        "instance_type": "ml.m5.xlarge",
        "wait_seconds": HOUR,
    }
    return Attempt(**{**facts, **overrides, "ending": ending})


def _outlook(due_in: float) -> Outlook:
    return Outlook(
        now=NOW,
        deadline=NOW + timedelta(hours=10),
        slack_seconds=due_in,
        on_demand_in_seconds=due_in,
        reason="the last moment for the deadline",
    )


def _check(*, billed: float, deadline_wins: bool = False) -> BudgetCheck:
    return BudgetCheck(
        budget=Budget(usd=200, deadline_wins=deadline_wins),
        spending=MonthSpending(began_at=NOW.replace(day=1), billed_usd=billed),
        cost=OnDemandCost(instances="1 x ml.m5.xlarge", seconds=HOUR, basis="given", usd_per_hour=10.0),
    )


class Counter:
    """The month's budget, and the steps for which it was asked."""

    def __init__(self, check: BudgetCheck | None) -> None:
        self.check_budget = check
        self.asked: list[Step] = []

    def __call__(self, step: Step) -> BudgetCheck | None:
        self.asked.append(step)
        return self.check_budget


def test_the_policy_decides_and_the_budget_is_not_asked_for_spot() -> None:
    budget = Counter(_check(billed=500))
    decision = decide(POLICY, Situation(outlook=_outlook(6 * HOUR)), budget)
    assert (decision.action, decision.step) == (Action.START, SPOT)
    assert budget.asked == []


def test_the_deadline_comes_before_the_policy_and_the_budget_is_asked_for_what_it_wants() -> None:
    budget = Counter(_check(billed=5))
    decision = decide(POLICY, Situation(outlook=_outlook(0)), budget)
    assert decision.step == ON_DEMAND
    assert decision.reason == "the last moment for the deadline: on-demand now"
    assert budget.asked == [ON_DEMAND]


def test_the_reason_for_on_demand_is_how_the_last_attempt_ended_and_the_deadline() -> None:
    attempts = (_attempt(Ending.QUOTA), _attempt(Ending.NO_CAPACITY, number=2))
    decision = decide(POLICY, Situation(attempts=attempts, outlook=_outlook(0)), Counter(None))
    assert decision.reason == (
        "no spot capacity for ml.m5.xlarge in 1 h; the last moment for the deadline: on-demand now"
    )


def test_a_training_that_is_done_is_done_whatever_the_deadline() -> None:
    done = Situation(attempts=(_attempt(Ending.COMPLETED),), outlook=_outlook(0))
    assert decide(POLICY, done, Counter(None)).action is Action.FINISH


def test_a_policy_that_gives_up_before_its_first_attempt_is_respected() -> None:
    given_up = Decision(action=Action.GIVE_UP, reason="not today")

    class Never:
        steps = POLICY.steps

        def decide(self, situation: Situation) -> Decision:  # noqa: ARG002
            return given_up

    assert decide(Never(), Situation(outlook=_outlook(0)), Counter(None)) == given_up


@pytest.mark.parametrize(("deadline_wins", "step"), [(False, SPOT), (True, ON_DEMAND)])
def test_the_budget_comes_before_the_deadline_unless_the_deadline_wins(
    deadline_wins: bool, step: Step
) -> None:
    stopped = _attempt(Ending.STOPPED_FOR_DEADLINE)
    situation = Situation(attempts=(stopped,), outlook=_outlook(0))
    decision = decide(POLICY, situation, Counter(_check(billed=500, deadline_wins=deadline_wins)))
    assert decision.step == step
    assert "November's budget of $200.00 is spent" in decision.reason


def test_without_a_budget_nothing_holds_on_demand_back() -> None:
    assert decide(on_demand_only(), Situation(), Counter(None)).step == ON_DEMAND


def test_a_training_that_only_the_budget_gives_up_says_which_budget() -> None:
    decision = decide(on_demand_only(), Situation(), Counter(_check(billed=500)))
    assert (decision.action, decision.budget_usd) == (Action.GIVE_UP, 200)
    failed = Situation(attempts=(_attempt(Ending.ALGORITHM_ERROR),))
    decision = decide(POLICY, failed, Counter(_check(billed=500)))
    assert (decision.action, decision.budget_usd) == (Action.GIVE_UP, None)


def test_a_training_that_was_given_up_ends_unless_it_completed_all_the_same() -> None:
    stopped, done = _attempt(Ending.STOPPED_AT_TIME_LIMIT), _attempt(Ending.COMPLETED)
    said = Decision(action=Action.GIVE_UP, reason="no time is left")
    assert give_up_at_limit((stopped,), "no time is left") == said
    assert give_up_at_limit((), "no time is left") == said
    assert give_up_at_limit((stopped, done), "no time is left") is None
    assert give_up_at_limit((stopped,), None) is None


def test_a_training_is_done_when_its_last_attempt_completed() -> None:
    no_capacity, done = _attempt(Ending.NO_CAPACITY), _attempt(Ending.COMPLETED)
    decision = finish_if_complete((no_capacity, done))
    assert decision == Decision(action=Action.FINISH, reason="attempt 1: completed")
    assert finish_if_complete((no_capacity,)) is None
    assert finish_if_complete(()) is None


def test_what_was_only_watched_ends_as_its_job_did() -> None:
    decision = end_watching((_attempt(Ending.NO_CAPACITY),))
    assert decision == Decision(action=Action.GIVE_UP, reason="model-1: never got capacity")
