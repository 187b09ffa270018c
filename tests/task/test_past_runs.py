"""What the ledger teaches a training with a deadline."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from spot_training.advise.history import recent_intervals as intervals_of
from spot_training.domain.lifecycle import Ending, Transition
from spot_training.domain.lifecycle import SecondaryStatus as S
from spot_training.domain.savings import PurchaseOption
from spot_training.ledger import Ledger
from spot_training.task.past_runs import Learned, Teachers, learn
from tests.records import T0, make_attempt, make_record

NOW = T0 + timedelta(days=1)
MINE = Teachers(installations=("airflow",), dag_ids=("retrain",))


@pytest.fixture(autouse=True)
def configured(ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ledger:
    monkeypatch.setenv("AIRFLOW__SPOT_TRAINING__LEDGER", str(tmp_path / "ledger"))
    return ledger


def learn_of(**overrides: Any) -> Learned | None:
    known = {"model": "model", "instance_type": "ml.m5.xlarge", "instance_count": 1, "now": NOW}
    return learn(**{**known, "teachers": MINE, **overrides})


def recent_intervals(**about: Any) -> Any:
    return intervals_of(**{"installations": ("airflow",), **about})


def write_run(
    ledger: Ledger, run: int, *, work: int = 7000, record: dict[str, Any] | None = None, **attempt: Any
) -> None:
    done = make_attempt(**{"work_seconds": work, "training_seconds": work + 200, **attempt})
    facts = {"run_id": f"run-{run}", "region": "us-east-1", "began_at": T0 + timedelta(minutes=run)}
    ledger.write(make_record(**{**facts, "attempts": (done,), **(record or {})}))


def test_the_runtime_of_a_model_is_learned_from_its_completed_runs(configured: Ledger) -> None:
    for run in range(20):
        write_run(configured, run, work=7000 + 200 * run)
    learned = learn_of()
    assert learned is not None
    assert learned.runtime.mean_seconds == pytest.approx(8900)
    assert learned.runtime.high_seconds == pytest.approx(10610)
    assert learned.runtime.basis == "learned from 20 past runs of model on ml.m5.xlarge"
    assert (learned.launch_seconds, learned.launch_high_seconds) == (300, 600)
    assert learned.billed_launch_seconds == 200


def test_a_single_run_leaves_room_for_slower_ones(configured: Ledger) -> None:
    write_run(configured, 1)
    learned = learn_of()
    assert learned is not None
    assert learned.runtime.high_seconds == pytest.approx(7000 * 1.5)
    assert "1 past run of" in learned.runtime.basis


def test_other_models_other_types_old_and_failed_runs_teach_nothing(configured: Ledger) -> None:
    write_run(configured, 1, ending=Ending.ALGORITHM_ERROR)
    assert learn_of() is None
    write_run(configured, 2)
    assert learn_of(model="other") is None
    assert learn_of(instance_type="ml.c5.xlarge") is None
    assert learn_of(now=NOW + timedelta(days=365)) is None


def test_runs_on_another_number_of_instances_teach_nothing(configured: Ledger) -> None:
    write_run(configured, 1, work=2000, instance_count=4)
    assert learn_of() is None
    four = learn_of(instance_count=4)
    assert four is not None
    assert four.runtime.mean_seconds == 2000
    assert four.runtime.basis == "learned from 1 past run of model on 4 x ml.m5.xlarge"


@pytest.mark.parametrize(
    "record",
    [
        {"generation": 1, "is_resumed": True},
        {"generation": 1},
        {"watches": "somebody-elses-job"},
        {"attempts": (make_attempt(number=2),)},
        {
            "attempts": (
                make_attempt(training_seconds=None, ending=Ending.STOPPED_BY_USER),
                make_attempt(number=2),
            )
        },
    ],
    ids=["kept checkpoints", "perhaps kept", "carried on by a sensor", "lost attempt", "deleted attempt"],
)
def test_a_training_of_which_only_a_part_is_on_record_teaches_nothing(
    configured: Ledger, record: dict[str, Any]
) -> None:
    write_run(configured, 1, record=record)
    assert learn_of() is None


def test_a_generation_that_started_over_teaches(configured: Ledger) -> None:
    write_run(configured, 1, record={"generation": 1, "is_resumed": False})
    assert learn_of() is not None


def test_a_launch_is_the_start_on_demand_and_what_is_around_the_training(configured: Ledger) -> None:
    write_run(configured, 1)
    write_run(configured, 2, purchase=PurchaseOption.ON_DEMAND, wait_seconds=900)
    learned = learn_of()
    assert learned is not None
    assert (learned.launch_seconds, learned.launch_high_seconds) == (1100, 1100)
    assert learned.billed_launch_seconds == 200


@pytest.mark.parametrize(("runs", "margin"), [(1, 1.5), (2, 1.325), (7, 1.2), (70, 1.155)])
def test_the_fewer_runs_the_more_room_for_slower_ones(configured: Ledger, runs: int, margin: float) -> None:
    for run in range(runs):
        write_run(configured, run)
    learned = learn_of()
    assert learned is not None
    assert learned.runtime.high_seconds == pytest.approx(7000 * margin)


def test_recent_waits_and_runs_are_the_markets_intervals_and_expire(configured: Ledger) -> None:
    write_run(configured, 1)
    intervals = recent_intervals(region="us-east-1", instance_type="ml.m5.xlarge", now=NOW)
    assert list(intervals) == [(False, 3600.0), (True, 7200.0)]
    assert not recent_intervals(region="eu-west-1", instance_type="ml.m5.xlarge", now=NOW)
    later = NOW + timedelta(days=30)
    assert not recent_intervals(region="us-east-1", instance_type="ml.m5.xlarge", now=later)


def test_interruptions_and_jobs_in_parallel_are_seen_in_the_ledger(configured: Ledger) -> None:
    """An ordinary start, an interruption after an hour, half an hour without; and a job beside it."""
    statuses = (S.STARTING, S.DOWNLOADING, S.TRAINING, S.INTERRUPTED, S.STARTING, S.TRAINING, S.UPLOADING)
    moments = [T0 + timedelta(minutes=minute) for minute in (0, 3, 5, 60, 61, 90, 178, 180)]
    visits = tuple(
        Transition(status=status, started_at=begin, ended_at=end)
        for status, (begin, end) in zip(statuses, pairwise(moments), strict=True)
    )
    write_run(configured, 1, transitions=visits)
    beside = (
        Transition(status=S.STARTING, started_at=moments[0], ended_at=moments[1]),
        Transition(status=S.TRAINING, started_at=moments[1], ended_at=moments[2]),
    )
    write_run(configured, 2, transitions=beside, ended_at=moments[2])
    intervals = recent_intervals(region="us-east-1", instance_type="ml.m5.xlarge", now=NOW)
    assert list(intervals) == [(True, 3600.0), (False, 1800.0), (True, 5400.0)]


def test_a_ledger_that_cannot_be_read_teaches_nothing_and_fails_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AIRFLOW__SPOT_TRAINING__LEDGER", "nonsense://nowhere")
    assert learn_of() is None
    assert list(recent_intervals(region="us-east-1", instance_type="ml.m5.xlarge")) == []
