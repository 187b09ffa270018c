"""What the guard outside every policy makes of its decisions, and how long it lets a refusal rest."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from spot_training.domain.deadline import Outlook
from spot_training.domain.decide import ON_DEMAND_LAUNCHES, keep_deadline, pause_before
from spot_training.domain.ladder import Action, Decision, Ladder, Policy, Situation, SpotWhileTimeAllows, Step
from spot_training.domain.lifecycle import Ending
from spot_training.domain.savings import Attempt, PurchaseOption

HOUR = 3600
NOW = datetime(2026, 11, 22, tzinfo=UTC)
SPOT, ON_DEMAND = PurchaseOption.SPOT, PurchaseOption.ON_DEMAND
DEADLINE = SpotWhileTimeAllows(max_wait_seconds=20 * HOUR)
BACKWARDS = Ladder((Step(purchase=ON_DEMAND), Step(purchase=SPOT, max_wait_seconds=8 * HOUR)))


def _attempt(purchase: PurchaseOption, ending: Ending, *, step: int, refused: bool = False) -> Attempt:
    return Attempt(
        number=1,
        step=step,
        job_name="job-1",
        purchase=purchase,
        reason="",
        ending=ending,
        created_at=None if refused else NOW,
        instance_type="ml.m5.xlarge",
    )


def _outlook(slack_hours: float = 6.0) -> Outlook:
    slack = slack_hours * HOUR
    return Outlook(
        now=NOW,
        deadline=NOW + timedelta(hours=10),
        slack_seconds=slack,
        on_demand_in_seconds=max(0.0, slack),
        reason="the last moment for the deadline",
    )


def _next(policy: Policy, *attempts: Attempt, **outlook: Any) -> Decision:
    situation = Situation(attempts=attempts, outlook=_outlook(**outlook))
    return keep_deadline(policy.decide(situation), policy.steps, situation)


@pytest.mark.parametrize("ending", [Ending.CAPACITY_ERROR, Ending.QUOTA, Ending.INTERNAL_ERROR])
def test_on_demand_that_sagemaker_refuses_or_fails_is_asked_for_again(ending: Ending) -> None:
    refused = _attempt(ON_DEMAND, ending, step=1)
    for times in range(1, ON_DEMAND_LAUNCHES):
        decision = _next(DEADLINE, *[refused] * times)
        assert (decision.action, decision.step_index) == (Action.START, 1)
        assert "on-demand again" in decision.reason
    refusals = [refused] * ON_DEMAND_LAUNCHES
    assert _next(DEADLINE, *refusals, slack_hours=0.1).action is Action.GIVE_UP
    early = _next(DEADLINE, *refusals)
    assert (early.action, early.step_index) == (Action.START, 0), "hours are left to wait for spot"
    spot_too = _attempt(SPOT, Ending.QUOTA, step=0)
    assert _next(DEADLINE, spot_too, *refusals).action is Action.GIVE_UP


def test_a_spot_job_that_sagemaker_failed_is_made_again_and_on_demand_when_that_does_not_help() -> None:
    failed = _attempt(SPOT, Ending.INTERNAL_ERROR, step=0)
    purchases = [_next(DEADLINE, *[failed] * times).step for times in (1, 2, 3)]
    assert [step.purchase for step in purchases if step] == [SPOT, SPOT, ON_DEMAND]


def test_a_spot_job_that_sagemaker_failed_late_is_followed_by_on_demand() -> None:
    decision = _next(DEADLINE, _attempt(SPOT, Ending.INTERNAL_ERROR, step=0), slack_hours=0)
    assert decision.step_index == 1


def test_a_ladder_that_ends_on_spot_still_ends_on_demand_before_a_deadline() -> None:
    refused = _attempt(ON_DEMAND, Ending.CAPACITY_ERROR, step=0, refused=True)
    stopped = _attempt(SPOT, Ending.STOPPED_FOR_DEADLINE, step=1)
    decision = _next(BACKWARDS, refused, stopped)
    assert (decision.action, decision.step_index) == (Action.START, 0)


@pytest.mark.parametrize("ending", [Ending.ALGORITHM_ERROR, Ending.CLIENT_ERROR, Ending.STOPPED_BY_USER])
def test_what_on_demand_would_not_mend_is_given_up(ending: Ending) -> None:
    assert _next(DEADLINE, _attempt(SPOT, ending, step=0)).action is Action.GIVE_UP


def test_a_quota_for_spot_says_why_on_demand_comes_now() -> None:
    decision = _next(DEADLINE, _attempt(SPOT, Ending.QUOTA, step=0))
    assert decision.reason == "the account's quota refused ml.m5.xlarge (spot): on-demand now"


def test_refusals_of_on_demand_are_spread_over_the_time_that_is_kept_free_for_them() -> None:
    refused = _attempt(ON_DEMAND, Ending.CAPACITY_ERROR, step=1, refused=True)
    pauses = [_pause(DEADLINE, *[refused] * times) for times in range(1, ON_DEMAND_LAUNCHES)]
    assert pauses == [60, 120, 240, 480]
    assert sum(pauses) <= _reserve_for_refusals()


def test_a_refused_spot_job_is_asked_for_again_after_a_while_and_not_beyond_the_last_moment() -> None:
    refused = _attempt(SPOT, Ending.CAPACITY_ERROR, step=0, refused=True)
    assert _pause(DEADLINE, refused) == 60
    assert _pause(DEADLINE, *[refused] * 9) == 900
    assert _pause(DEADLINE, *[refused] * 9, slack_hours=0.1) == 360


def test_another_step_is_asked_for_at_once() -> None:
    quota = _attempt(SPOT, Ending.QUOTA, step=0, refused=True)
    assert _pause(DEADLINE, quota) == 0


def test_a_job_that_was_there_is_followed_at_once() -> None:
    assert _pause(DEADLINE, _attempt(ON_DEMAND, Ending.CAPACITY_ERROR, step=1)) == 0


def _pause(policy: Policy, *attempts: Attempt, **outlook: Any) -> float:
    decision = _next(policy, *attempts, **outlook)
    return pause_before(decision, Situation(attempts=attempts, outlook=_outlook(**outlook)))


def _reserve_for_refusals() -> float:
    from spot_training.domain.deadline import Reserve

    return Reserve().refusal_seconds
