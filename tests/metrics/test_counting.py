"""What a change of a training's state counts, and what it does not count again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from spot_training import metrics
from spot_training.domain.deadline import Deadline, Runtime
from spot_training.domain.lifecycle import Ending
from spot_training.domain.savings import Attempt, PurchaseOption, statement_of
from spot_training.sagemaker.identity import RunIdentity
from spot_training.training.counting import count_change, count_end
from spot_training.training.state import Intent, TrainingState
from tests.records import T0

WHO = RunIdentity(dag_id="retrain", run_id="run 1", task_id="train")
INTENT = Intent(job_name="job-1", number=1, step=0, reason="", is_created=True)
SPOT = Attempt(
    number=1,
    step=0,
    job_name="job-1",
    purchase=PurchaseOption.SPOT,
    reason="",
    ending=Ending.MOVED,
    created_at=T0,
    instance_type="ml.m5.xlarge",
    wait_seconds=60,
    interruptions=2,
    training_seconds=0,
    billable_seconds=0,
)


class Counted:
    """Airflow's `Stats`: sums what it gets."""

    def __init__(self) -> None:
        self.sums: dict[str, float] = {}

    def incr(self, name: str, amount: float, **_: Any) -> None:
        if amount:
            self.sums[name.removeprefix("spot_training.")] = self.sums.get(name, 0) + amount

    timing = incr

    def of(self, before: TrainingState, state: TrainingState) -> dict[str, float]:
        self.sums = {}
        count_change(before, state, WHO, lambda: {"ml.m5.xlarge": 3.6})
        return self.sums


@pytest.fixture
def counted() -> Iterator[Counted]:
    found, stats = metrics._found, Counted()
    metrics.keep(metrics.Backend(stats=stats))
    yield stats
    metrics._found = found


def test_a_move_and_interruptions_are_counted_with_their_attempt(counted: Counted) -> None:
    before = TrainingState(current=INTENT)
    assert counted.of(before, before.with_attempt(SPOT)) == {
        "attempts": 1,
        "interruptions": 2,
        "moves": 1,
        "wait_duration": 60_000,
    }


def test_on_demand_that_is_left_for_spot_is_a_hand_over_and_billed(counted: Counted) -> None:
    left = replace(
        SPOT,
        purchase=PurchaseOption.ON_DEMAND,
        ending=Ending.LEFT_FOR_SPOT,
        started_at=T0,
        interruptions=0,
        training_seconds=1000,
        billable_seconds=1000,
    )
    before = TrainingState(current=INTENT)
    sums = counted.of(before, before.with_attempt(left))
    assert sums["hand_overs"] == 1
    assert (sums["billed_seconds"], sums["billed_usd"]) == (1000, 1.0)
    assert sums["training_duration"] == 1_000_000


def test_attempts_of_a_state_that_was_lost_are_not_counted_again(counted: Counted) -> None:
    assert counted.of(TrainingState(), TrainingState(attempts=(SPOT,), current=INTENT)) == {}


def test_a_scout_is_counted_when_it_is_over(counted: Counted) -> None:
    scout = replace(SPOT, ending=Ending.SCOUT_DONE, billable_seconds=30, training_seconds=30, started_at=T0)
    before = TrainingState(current=INTENT, scouts=(INTENT,))
    over = replace(before, scouts=(), scouts_over=(scout,))
    assert counted.of(before, over) == {"scouts": 1, "billed_seconds": 30, "billed_usd": 0.03}
    assert counted.of(over, replace(over, next_type="ml.m5.xlarge")) == {}


@pytest.mark.parametrize(("after_spot", "expected"), [(True, {"fallbacks": 1}), (False, {})])
def test_only_on_demand_after_spot_is_a_fallback(
    counted: Counted, after_spot: bool, expected: dict[str, float]
) -> None:
    asked = replace(INTENT, number=2, purchase=PurchaseOption.ON_DEMAND, is_created=False)
    before = TrainingState(current=asked, attempts=(SPOT,) if after_spot else ())
    confirmed = replace(before, current=replace(asked, is_created=True))
    assert counted.of(before, confirmed) == expected
    assert counted.of(confirmed, replace(confirmed, next_type="x")) == {}


@pytest.mark.parametrize(("late", "expected"), [(0, {}), (1, {"deadlines_missed": 1})])
def test_a_training_that_completes_after_its_deadline_missed_it(
    counted: Counted, late: int, expected: dict[str, float]
) -> None:
    done = replace(SPOT, ending=Ending.COMPLETED, ended_at=T0 + timedelta(seconds=late))
    deadline = Deadline(at=T0, submitted_at=T0, runtime=Runtime(mean_seconds=60, high_seconds=60))
    count_end(TrainingState(attempts=(done,), deadline=deadline), WHO, statement_of((done,)))
    assert counted.sums == {"trainings": 1, **expected}
