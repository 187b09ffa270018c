"""The way back to spot of one training: its rule, its hand-overs, and room for one that fails."""

from __future__ import annotations

from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from spot_training.domain.attempts import Attempt, PurchaseOption
from spot_training.domain.back_to_spot import (
    ASSUMED_PRICE_RATIO,
    hand_overs_of,
    look_at,
    paused_until,
    rule_for,
    run_seconds,
    types_with_a_way_back,
)
from spot_training.domain.checkpoints_seen import SeenCheckpoints, SeenLaunch
from spot_training.domain.deadline import Deadline, DeadlineGuard, Reserve, Runtime, kept_by_attempts
from spot_training.domain.ladder import Action, Ladder, Situation, SpotWhileTimeAllows, Step
from spot_training.domain.lifecycle import Ending, JobSnapshot, SecondaryStatus, TrainingStatus, Transition
from spot_training.domain.scouting import PATIENCE_SECONDS
from spot_training.domain.type_history import TypeHistory
from spot_training.domain.way_back import NOTICE_SECONDS, HandOver
from tests.records import make_attempt

HOUR = 3600
NOW = datetime(2026, 3, 1, tzinfo=UTC)
TYPE = "ml.m5.xlarge"


def _deadline(*, hours_left: float, work_hours: float, high: float = 1.0, every: float = 300) -> Deadline:
    return Deadline(
        at=NOW + timedelta(hours=hours_left),
        submitted_at=NOW,
        runtime=Runtime(
            mean_seconds=work_hours * HOUR,
            high_seconds=work_hours * HOUR * high,
            checkpoint_every_seconds=every,
        ),
        reserve=Reserve(),
    )


def _job(*, trained_seconds: float, waited_seconds: float = 300) -> JobSnapshot:
    began_at = NOW - timedelta(seconds=trained_seconds)
    created_at = began_at - timedelta(seconds=waited_seconds)
    return JobSnapshot(
        name="model-2",
        arn="",
        status=TrainingStatus.IN_PROGRESS,
        secondary_status=SecondaryStatus.TRAINING,
        created_at=created_at,
        last_modified_at=NOW,
        instance_type=TYPE,
        transitions=(
            Transition(status=SecondaryStatus.STARTING, started_at=created_at, ended_at=began_at),
            Transition(status=SecondaryStatus.TRAINING, started_at=began_at),
        ),
    )


@given(
    left=st.floats(2, 60),
    slack_hours=st.floats(0.5, 30),
    trained_hours=st.floats(0, 60),
    every=st.floats(30, 2 * HOUR),
    high=st.floats(1, 1.5),
    price_ratio=st.floats(0.05, 0.6),
)
def test_a_hand_over_that_fails_leaves_time_for_on_demand(
    left: float, slack_hours: float, trained_hours: float, every: float, high: float, price_ratio: float
) -> None:
    """Whatever follows the stop: no capacity, or a spot job that is lost right before it saves anything."""
    deadline = _deadline(
        hours_left=left * high + slack_hours, work_hours=left + trained_hours, high=high, every=every
    )
    trained = trained_hours * HOUR
    look = look_at(
        _job(trained_seconds=trained),
        NOW,
        rule=rule_for(deadline, (), price_ratio),
        deadline=deadline,
        kept_seconds=0.0,
    )
    assume(look.may_leave)
    how = look.rule.hand_over
    left_for_spot = make_attempt(
        purchase=PurchaseOption.ON_DEMAND, ending=Ending.LEFT_FOR_SPOT, work_seconds=trained, interruptions=0
    )
    kept = kept_by_attempts([left_for_spot], every)
    wasted = how.stop_seconds + how.scout_wait_seconds + max(how.notice_seconds, how.spot_room_seconds)
    later = NOW + timedelta(seconds=wasted)
    outlook = DeadlineGuard(deadline=deadline, kept_seconds=kept, way_back=look.rule).outlook(later)
    assert outlook.slack_seconds >= -1


@pytest.mark.parametrize("hours_left", [14.5, 20, 40])
def test_on_demand_never_starts_later_with_a_way_back(hours_left: float) -> None:
    deadline = _deadline(hours_left=hours_left, work_hours=12)
    waiting = replace(
        _job(trained_seconds=0),
        secondary_status=SecondaryStatus.STARTING,
        created_at=NOW - timedelta(hours=1),
        transitions=(Transition(status=SecondaryStatus.STARTING, started_at=NOW - timedelta(hours=1)),),
        is_spot=True,
    )
    without = DeadlineGuard(deadline=deadline).outlook(NOW, waiting)
    with_it = DeadlineGuard(deadline=deadline, way_back=rule_for(deadline)).outlook(NOW, waiting)
    assert with_it.on_demand_in_seconds is not None
    assert without.on_demand_in_seconds is not None
    assert with_it.on_demand_in_seconds < without.on_demand_in_seconds
    assert "scouts look for spot" in with_it.reason
    assert with_it.slack_seconds == without.slack_seconds


def test_the_first_launch_has_its_time_even_if_little_is_to_spare() -> None:
    deadline = _deadline(hours_left=14, work_hours=12)
    guard = DeadlineGuard(deadline=deadline, way_back=rule_for(deadline))
    assert guard.outlook(NOW).on_demand_in_seconds == deadline.reserve.launch_seconds


def test_the_simulator_waits_as_long_for_a_launch_as_the_operator() -> None:
    assert NOTICE_SECONDS == PATIENCE_SECONDS


@pytest.mark.parametrize("status", [SecondaryStatus.DOWNLOADING, SecondaryStatus.INTERRUPTED])
def test_a_job_that_has_got_instances_and_one_that_just_lost_them_are_left_alone(
    status: SecondaryStatus,
) -> None:
    """So spot and on-demand do not take turns where capacity comes at once."""
    deadline = _deadline(hours_left=14, work_hours=12)
    began_at = NOW - timedelta(seconds=400)
    job = replace(
        _job(trained_seconds=0),
        is_spot=True,
        secondary_status=status,
        training_started_at=began_at,
        transitions=(
            Transition(status=SecondaryStatus.STARTING, started_at=began_at, ended_at=NOW),
            Transition(status=status, started_at=NOW),
        ),
    )
    outlook = DeadlineGuard(deadline=deadline, way_back=rule_for(deadline)).outlook(NOW, job)
    assert outlook.on_demand_in_seconds is not None
    assert outlook.on_demand_in_seconds >= deadline.reserve.launch_seconds


def test_the_time_to_restore_checkpoints_counts_in_each_launch() -> None:
    deadline = _deadline(hours_left=14, work_hours=12)
    plain, slow = rule_for(deadline), rule_for(deadline, restore_seconds=1300)
    assert slow.hand_over.room_seconds >= plain.hand_over.room_seconds + 1300
    assert slow.hand_over.cost_seconds > plain.hand_over.cost_seconds + 1300
    assert slow.hand_over.slow_launch_seconds == plain.hand_over.slow_launch_seconds + 1300


def test_a_field_of_a_later_version_is_ignored() -> None:
    hand_over = rule_for(_deadline(hours_left=14, work_hours=12)).hand_over
    assert HandOver.from_json({**asdict(hand_over), "of_a_later_version": 1}) == hand_over


def test_short_work_changes_nothing() -> None:
    deadline = _deadline(hours_left=8, work_hours=2)
    guard = DeadlineGuard(deadline=deadline)
    assert replace(guard, way_back=rule_for(deadline)).outlook(NOW) == guard.outlook(NOW)


def test_a_late_training_has_no_way_back() -> None:
    deadline = replace(_deadline(hours_left=10, work_hours=12), is_late=True)
    look = look_at(
        _job(trained_seconds=HOUR), NOW, rule=rule_for(deadline), deadline=deadline, kept_seconds=0.0
    )
    assert look.scouts_in_seconds is None
    assert not look.may_leave


def test_what_was_saved_counts_and_without_a_look_one_interval_does_not() -> None:
    deadline = _deadline(hours_left=16, work_hours=12, every=1800)
    job = _job(trained_seconds=4 * HOUR)

    def unsaved(saved_seconds: float | None) -> float:
        began_at = job.transitions[-1].started_at
        launches = (
            () if saved_seconds is None else (SeenLaunch(began_at=began_at, saved_seconds=saved_seconds),)
        )
        look = look_at(
            job,
            NOW,
            rule=rule_for(deadline),
            deadline=deadline,
            kept_seconds=0.0,
            seen=SeenCheckpoints(launches=launches),
        )
        assert look.progress.work_seconds == 8 * HOUR
        return look.progress.unsaved_seconds

    assert unsaved(None) == 1800
    assert unsaved(4 * HOUR - 40) == 40
    assert unsaved(0) == 4 * HOUR


def test_the_reason_is_in_dollars_if_the_price_is_known() -> None:
    deadline = _deadline(hours_left=30, work_hours=24)
    look = look_at(
        _job(trained_seconds=4 * HOUR), NOW, rule=rule_for(deadline), deadline=deadline, kept_seconds=0.0
    )
    assert look.why(2.0).startswith("20 h of work left cost about $16.")
    assert "instead of $40.00" in look.why(2.0)
    assert "instead of 20.0 hours of on-demand" in look.why(None)


# --- price ---


def test_the_price_ratio_is_what_aws_billed() -> None:
    seen = make_attempt(training_seconds=1000, billable_seconds=250)
    failed = make_attempt(training_seconds=None, billable_seconds=None)
    on_demand = make_attempt(purchase=PurchaseOption.ON_DEMAND, training_seconds=100, billable_seconds=100)
    deadline = _deadline(hours_left=30, work_hours=24)
    assert rule_for(deadline, [failed, seen, on_demand], 0.5).hand_over.price_ratio == 0.25
    assert rule_for(deadline, [failed, on_demand], 0.5).hand_over.price_ratio == 0.5
    assert rule_for(deadline).hand_over.price_ratio == ASSUMED_PRICE_RATIO


# --- hand-overs ---


def _left(hours: float) -> Attempt:
    return make_attempt(
        purchase=PurchaseOption.ON_DEMAND,
        ending=Ending.LEFT_FOR_SPOT,
        ended_at=NOW + timedelta(hours=hours),
    )


def _after(hours: float, *, wait_seconds: float | None, kind: str = TYPE) -> Attempt:
    at = NOW + timedelta(hours=hours)
    started_at = None if wait_seconds is None else at + timedelta(seconds=wait_seconds)
    return make_attempt(
        ending=Ending.STOPPED_FOR_DEADLINE, created_at=at, started_at=started_at, instance_type=kind
    )


def test_a_hand_over_has_failed_if_the_capacity_was_gone() -> None:
    refused = make_attempt(
        ending=Ending.QUOTA, created_at=None, started_at=None, ended_at=None, instance_type=TYPE
    )
    on_demand = make_attempt(purchase=PurchaseOption.ON_DEMAND, started_at=NOW + timedelta(seconds=60))
    good, slow, never = (_after(0, wait_seconds=wait) for wait in (PATIENCE_SECONDS, 301, None))
    seen = hand_overs_of(
        [
            _left(0),
            good,
            _left(1),
            slow,
            make_attempt(),
            _left(2),
            never,
            _left(3),
            refused,
            _left(4),
            on_demand,
        ]
    )
    assert [each.is_failed for each in seen] == [False, True, True, True, True]
    assert hand_overs_of([_left(0)]) == ()


def test_the_pause_doubles_with_each_failure_in_a_row_and_ends_with_a_success() -> None:
    one = [_left(0), _after(1, wait_seconds=None)]
    two = [*one, _left(2), _after(3, wait_seconds=None)]
    patience = timedelta(seconds=PATIENCE_SECONDS)
    assert paused_until([]) is None
    assert paused_until(one) == NOW + timedelta(hours=1, minutes=30) + patience
    assert paused_until(two) == NOW + timedelta(hours=4) + patience
    assert paused_until([*two, _left(4), _after(5, wait_seconds=60)]) is None


def test_a_type_whose_hand_overs_mostly_fail_has_no_way_back() -> None:
    failed = [each for hour in range(3) for each in (_left(hour), _after(hour, wait_seconds=None))]
    types = (TYPE, "ml.m5.2xlarge")

    def others(moves: int, failed_moves: int) -> list[TypeHistory]:
        return [TypeHistory(region="", instance_type=TYPE, moves=moves, failed_moves=failed_moves)]

    assert types_with_a_way_back(types, failed) == types, "three say nothing yet"
    assert types_with_a_way_back(types, failed, others(1, 0)) == ("ml.m5.2xlarge",)
    assert types_with_a_way_back(types, failed, others(5, 1)) == types


def test_a_scout_of_the_way_back_outlasts_the_checkpoint_that_is_awaited() -> None:
    on_demand = _job(trained_seconds=HOUR)
    assert run_seconds(replace(on_demand, is_spot=True), 1800) == 600
    assert run_seconds(on_demand, 1800) == 600 + 2 * 1800 + 600


# --- policies ---


def test_on_demand_that_was_left_is_followed_by_spot() -> None:
    policy = SpotWhileTimeAllows(max_wait_seconds=20 * HOUR, back_to_spot=True)
    decision = policy.decide(Situation(attempts=(replace(_left(1), step=1),)))
    assert (decision.action, decision.step_index) == (Action.START, 0)
    assert "was left for spot" in decision.reason


def test_on_demand_that_was_left_goes_on_under_a_ladder() -> None:
    """The Dag has changed meanwhile."""
    spot = Step(purchase=PurchaseOption.SPOT, max_wait_seconds=HOUR)
    ladder = Ladder((spot, Step(purchase=PurchaseOption.ON_DEMAND)))
    shorter = Ladder((Step(purchase=PurchaseOption.ON_DEMAND),))
    for policy, step in ((ladder, 1), (shorter, 0)):
        decision = policy.decide(Situation(attempts=(replace(_left(1), step=1),)))
        assert (decision.action, decision.step_index) == (Action.START, step)
