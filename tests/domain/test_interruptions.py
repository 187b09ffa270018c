"""A job that interruptions kept from finishing within its max runtime: a spot cause, however AWS counts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from spot_training.domain.deadline import Outlook
from spot_training.domain.decide import decide
from spot_training.domain.interruptions import is_lost_to_interruptions, is_spot_cause
from spot_training.domain.ladder import Action, Decision, Policy, Situation, SpotWhileTimeAllows
from spot_training.domain.lifecycle import Ending, SecondaryStatus, Transition
from spot_training.domain.policy_specs import Defaults, policy_from
from spot_training.domain.savings import Attempt, PurchaseOption
from spot_training.training.outcome import error_of
from spot_training.training.state import TrainingState

MINUTE, HOUR = 60, 3600
T0 = datetime(2026, 11, 22, tzinfo=UTC)
S = SecondaryStatus
SPOT, ON_DEMAND = PurchaseOption.SPOT, PurchaseOption.ON_DEMAND


def _visits(launch_minutes: list[float]) -> tuple[Transition, ...]:
    """Launches with a wait before each: two minutes of Downloading, the rest Training."""
    visits: list[Transition] = []
    now = T0
    for number, minutes in enumerate(launch_minutes):
        parts = [(S.INTERRUPTED, 1.0)] if number else []
        parts += [(S.STARTING, 30.0), (S.DOWNLOADING, 2.0), (S.TRAINING, minutes - 2)]
        for status, length in parts:
            end = now + timedelta(minutes=length)
            visits.append(Transition(status=status, started_at=now, ended_at=end))
            now = end
    return tuple(visits)


def _attempt(launch_minutes: list[float], **overrides: Any) -> Attempt:
    """A job with a max runtime of an hour that reached it after launches of these lengths."""
    visits = _visits(launch_minutes)
    facts: dict[str, Any] = {
        "number": 1,
        "step": 0,
        "job_name": "job-1",
        "purchase": SPOT,
        "reason": "",
        "ending": Ending.MAX_RUNTIME,
        "created_at": T0,
        "started_at": T0,
        "ended_at": visits[-1].ended_at,
        "instance_type": "ml.m5.xlarge",
        "max_runtime_seconds": HOUR,
        "interruptions": len(launch_minutes) - 1,
        "work_seconds": round(sum(minutes - 2 for minutes in launch_minutes) * MINUTE),
        "transitions": visits,
    }
    return Attempt(**{**facts, **overrides})


#: A 20-minute training that was interrupted five times: SageMaker added its launches up.
ADDED_UP = [12.0, 9.0, 11.0, 10.0, 12.0, 6.0]
#: SageMaker counted anew after each interruption, and the last launch took the whole hour.
COUNTED_ANEW = [12.0, 9.0, 60.0]


def _next(policy: Policy, attempt: Attempt, outlook: Outlook | None = None) -> Decision:
    return decide(policy, Situation(attempts=(attempt,), outlook=outlook), lambda _step: None)


@pytest.mark.parametrize(
    ("attempt", "is_lost"),
    [
        (_attempt(ADDED_UP), True),
        (_attempt(COUNTED_ANEW), False),
        # SageMaker was seen to notice minutes late.
        (_attempt([*COUNTED_ANEW[:-1], 63.0]), False),
        (_attempt([60.0]), False),
        (_attempt(ADDED_UP, purchase=ON_DEMAND), False),
        (_attempt(ADDED_UP, ending=Ending.ALGORITHM_ERROR), False),
        # Launches of eight minutes are over before a checkpoint every ten minutes is there.
        (_attempt([8.0] * 7, has_checkpoints=True), True),
        (_attempt([15.0] * 4, has_checkpoints=True), True),
        (_attempt([40.0, 20.0], has_checkpoints=True), False),
        # Five short launches lost little: the long one kept more.
        (_attempt([3.0] * 5 + [45.0], has_checkpoints=True), False),
        (_attempt([3.0] * 5 + [45.0], has_checkpoints=False), True),
        # The attempts in XCom have no visits.
        (_attempt(ADDED_UP, transitions=()), True),
        (_attempt([8.0] * 7, has_checkpoints=True, transitions=()), True),
        (_attempt([40.0, 20.0], has_checkpoints=True, transitions=()), False),
    ],
)
def test_which_jobs_interruptions_kept_from_finishing(attempt: Attempt, *, is_lost: bool) -> None:
    assert is_lost_to_interruptions(attempt) is is_lost
    assert is_spot_cause(attempt) is is_lost


def test_on_demand_is_next_and_no_other_spot_step() -> None:
    decision = _next(policy_from("widen", Defaults(max_runtime_seconds=HOUR)), _attempt(ADDED_UP))
    assert decision.step is not None
    assert (decision.step.purchase, decision.step_index) == (ON_DEMAND, 2)
    assert decision.reason == (
        "attempt 1: spot capacity was taken away 5 times, and the job started again from zero, because it "
        "has no checkpoints, until its max runtime of 1 h had passed: next is on-demand"
    )


def test_without_on_demand_the_next_spot_step_is_tried() -> None:
    decision = _next(policy_from("spot_only", Defaults(max_runtime_seconds=HOUR)), _attempt(ADDED_UP))
    assert decision.step is not None
    assert (decision.step.purchase, decision.step_index) == (SPOT, 1)


def test_a_training_with_no_step_left_ended_because_of_spot_and_not_of_run_time() -> None:
    attempt = _attempt(ADDED_UP, step=1)
    decision = _next(policy_from("spot_only", Defaults(max_runtime_seconds=HOUR)), attempt)
    assert decision.action is Action.GIVE_UP
    assert type(error_of(TrainingState(attempts=(attempt,)), decision)).__name__ == "OutOfSteps"
    again = _attempt(COUNTED_ANEW)
    decision = _next(policy_from("widen", Defaults(max_runtime_seconds=HOUR)), again)
    assert decision.action is Action.GIVE_UP
    assert type(error_of(TrainingState(attempts=(again,)), decision)).__name__ == "MaxRuntimeReached"


def _outlook() -> Outlook:
    return Outlook(
        now=T0,
        deadline=T0 + timedelta(hours=9),
        slack_seconds=5 * HOUR,
        on_demand_in_seconds=5 * HOUR,
        reason="",
    )


def test_with_a_deadline_on_demand_is_next_although_there_is_time_for_spot() -> None:
    decision = _next(SpotWhileTimeAllows(max_wait_seconds=9 * HOUR), _attempt(ADDED_UP), _outlook())
    assert decision.step is not None
    assert decision.step.purchase is ON_DEMAND


def test_a_deadline_buys_on_demand_after_the_last_spot_step() -> None:
    policy = policy_from(
        [{"on_demand": []}, {"spot": "ml.m5.xlarge", "max_wait": "2h"}], Defaults(max_runtime_seconds=HOUR)
    )
    decision = _next(policy, _attempt(ADDED_UP, step=1), _outlook())
    assert decision.step is not None
    assert decision.step.purchase is ON_DEMAND
