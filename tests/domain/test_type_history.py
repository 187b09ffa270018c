"""What happened lately on each instance type, and which of a policy's types are asked last."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from spot_training.domain.ladder import Situation, Step, first_type, in_order, widened_waits
from spot_training.domain.lifecycle import Ending, SecondaryStatus
from spot_training.domain.savings import PurchaseOption
from spot_training.domain.scouting import (
    PATIENCE_SECONDS,
    ROUND_SECONDS,
    ScoutCall,
    found_capacity,
    goes_out_at,
)
from spot_training.domain.type_history import FEWEST_ATTEMPTS, SpotJob, asked_last, histories_of
from tests.records import T0, make_attempt
from tests.watching.support import make_snapshot

A, B, C = "ml.g5.2xlarge", "ml.g6.2xlarge", "ml.g5.4xlarge"


def _job(*, after: float | None = 60, **facts: Any) -> SpotJob:
    """One that got instances so many seconds after its creation."""
    started = None if after is None else T0 + timedelta(seconds=after)
    return SpotJob(
        **{
            "region": "us-east-1",
            "instance_type": A,
            "is_scout": False,
            "ending": Ending.COMPLETED,
            "created_at": T0,
            "started_at": started,
            **facts,
        }
    )


def _interrupted(times: int, of: int) -> list[SpotJob]:
    return [_job(interruptions=2 if number < times else 0) for number in range(of)]


def _last(jobs: Sequence[SpotJob], types: Sequence[str] = (A, B)) -> dict[str, str]:
    return dict(asked_last(types, histories_of(jobs)))


def test_a_type_that_was_interrupted_in_most_attempts_is_asked_last() -> None:
    assert _last(_interrupted(7, of=9)) == {A: "7 of 9 spot attempts in 14 days were interrupted"}


def test_half_of_the_attempts_or_very_few_of_them_change_no_order() -> None:
    assert _last(_interrupted(5, of=10)) == {}
    assert _last(_interrupted(FEWEST_ATTEMPTS - 1, of=FEWEST_ATTEMPTS - 1)) == {}


def test_attempts_without_capacity_and_scouts_are_no_interrupted_attempts() -> None:
    others = [_job(after=None), _job(is_scout=True, interruptions=1)]
    (history,) = histories_of(_interrupted(2, of=3) + others)
    assert (history.attempts, history.interrupted) == (3, 2)


def test_a_type_to_which_most_moves_found_no_capacity_is_asked_last() -> None:
    late, never, in_time = PATIENCE_SECONDS + 1, None, PATIENCE_SECONDS
    moves = [_job(after=after, ending_before=Ending.MOVED) for after in (late, never, never, in_time)]
    assert _last(moves) == {A: "3 of 4 moves to it in 14 days found no capacity"}
    assert _last([_job(after=None) for _ in range(4)]) == {}, "an ordinary wait is no failed move"


def test_a_full_quota_is_no_lack_of_capacity() -> None:
    (history,) = histories_of([_job(after=None, ending=Ending.QUOTA, ending_before=Ending.MOVED)])
    assert (history.moves, history.failed_moves) == (0, 0)


def test_scouts_show_how_long_capacity_took() -> None:
    scouts = [_job(is_scout=True, after=after, ending=Ending.SCOUT_DONE) for after in (60, 600, 120, None)]
    refused = _job(is_scout=True, after=None, created_at=None, ending=Ending.CAPACITY_ERROR)
    (history,) = histories_of([*scouts, refused])
    assert (history.scouts, history.scouts_with_capacity, history.found_after_seconds) == (4, 3, 120)


def test_types_and_regions_are_counted_apart() -> None:
    there = [_job(region="eu-west-1", interruptions=1) for _ in range(9)]
    assert [(h.region, h.attempts) for h in histories_of(_interrupted(0, of=4) + there)] == [
        ("eu-west-1", 9),
        ("us-east-1", 4),
    ]


def test_if_all_types_were_interrupted_the_order_stays() -> None:
    both = [_job(instance_type=kind, interruptions=1) for kind in (A, B) for _ in range(4)]
    assert _last(both) == {}
    assert list(_last(both, types=(A, B, C))) == [A, B]


# What follows from it -----------------------------------------------------------------------------------

STEP = Step(purchase=PurchaseOption.SPOT, max_wait_seconds=7200, instance_types=(A, B, C))
ZERO = f"The account-level service limit '{A} for spot training job usage' is 0 Instances, with current"


def _refused(kind: str, text: str = "ResourceLimitExceeded", **facts: Any) -> Any:
    return make_attempt(
        instance_type=kind, ending=Ending.QUOTA, created_at=None, started_at=None, message=text, **facts
    )


def test_order_means_preference_except_for_what_is_asked_last() -> None:
    assert in_order(STEP.instance_types, (A,)) == [B, C, A]
    assert first_type(STEP, ()) == A
    assert first_type(STEP, (), (A,)) == B


def test_a_type_that_was_refused_is_left_out_until_another_job_has_run() -> None:
    assert first_type(STEP, (_refused(A),)) == B
    assert first_type(STEP, (_refused(A), _refused(B)), (C,)) == C
    assert first_type(STEP, (_refused(A), _refused(B), _refused(C))) is None
    assert first_type(STEP, (_refused(A), make_attempt(instance_type=B, ending=Ending.MOVED))) == A


def test_a_type_without_quota_is_left_out_for_good() -> None:
    moved = make_attempt(instance_type=B, ending=Ending.MOVED)
    assert first_type(STEP, (_refused(A, ZERO), moved)) == B
    assert first_type(STEP, (_refused(A, ZERO, purchase=PurchaseOption.ON_DEMAND), moved)) == A


def test_the_next_step_comes_when_all_types_of_one_were_refused() -> None:
    policy = widened_waits(max_runtime_seconds=3600, instance_types=(A, B))
    once = policy.decide(Situation(attempts=(_refused(A),)))
    assert (once.step_index, once.step and once.step.purchase) == (0, PurchaseOption.SPOT)
    twice = policy.decide(Situation(attempts=(_refused(A), _refused(B))))
    assert twice.step == Step(purchase=PurchaseOption.ON_DEMAND)


def test_of_several_scouts_that_run_the_one_asked_last_comes_last() -> None:
    running = {k: make_snapshot("scout", secondary_status=SecondaryStatus.TRAINING) for k in (A, B)}
    assert found_capacity(STEP, running) == A
    assert found_capacity(STEP, running, (A,)) == B
    assert found_capacity(STEP, {A: running[A]}, (A,)) == A


def test_the_scout_of_a_type_that_is_asked_last_goes_out_when_the_others_would_run() -> None:
    job = make_snapshot("job", created_at=T0)
    at = goes_out_at(job, ())
    assert at == T0 + timedelta(seconds=PATIENCE_SECONDS)
    assert goes_out_at(job, (), is_asked_last=True) == at + timedelta(seconds=PATIENCE_SECONDS)
    failed = make_attempt(ending=Ending.NO_CAPACITY, ended_at=T0 + timedelta(hours=1))
    assert goes_out_at(job, (failed,)) == T0 + timedelta(hours=1, seconds=ROUND_SECONDS)


def test_with_scouts_out_a_task_looks_again_when_others_may_go_out() -> None:
    job, later = make_snapshot("job", created_at=T0), T0 + timedelta(hours=2)
    assert ScoutCall(scouts=("scout",)).moment(job) is None
    assert ScoutCall(scouts=("scout",), not_before=later).moment(job) == later
