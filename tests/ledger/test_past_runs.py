"""What the ledger teaches a training with a deadline."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from spot_training.domain.lifecycle import Ending, Transition
from spot_training.domain.lifecycle import SecondaryStatus as S
from spot_training.ledger import Ledger
from spot_training.past_runs import learn, recent_spells

from .conftest import T0, make_attempt, make_record

NOW = T0 + timedelta(days=1)


@pytest.fixture(autouse=True)
def configured(ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ledger:
    monkeypatch.setenv("AIRFLOW__SPOT_TRAINING__LEDGER", str(tmp_path / "ledger"))
    return ledger


def write_run(ledger: Ledger, run: int, *, work: int = 7000, **overrides: Any) -> None:
    attempt = make_attempt(work_seconds=work, training_seconds=work + 200, **overrides)
    record = make_record(
        run_id=f"run-{run}", region="us-east-1", attempts=(attempt,), began_at=T0 + timedelta(minutes=run)
    )
    ledger.write(record)


def test_the_runtime_of_a_model_is_learned_from_its_completed_runs(configured: Ledger) -> None:
    for run in range(20):
        write_run(configured, run, work=7000 + 200 * run)
    learned = learn(model="model", instance_type="ml.m5.xlarge", now=NOW)
    assert learned is not None
    assert learned.runtime.mean_seconds == pytest.approx(8900)
    assert learned.runtime.high_seconds == pytest.approx(10610)
    assert learned.runtime.basis == "learned from 20 past runs of model on ml.m5.xlarge"
    assert learned.launch_seconds == 200
    assert learned.launch_high_seconds == 600


def test_a_single_run_leaves_room_for_slower_ones(configured: Ledger) -> None:
    write_run(configured, 1)
    learned = learn(model="model", instance_type="ml.m5.xlarge", now=NOW)
    assert learned is not None
    assert learned.runtime.high_seconds == pytest.approx(7000 * 1.15)
    assert "1 past run of" in learned.runtime.basis


def test_other_models_other_types_old_and_failed_runs_teach_nothing(configured: Ledger) -> None:
    write_run(configured, 1, ending=Ending.ALGORITHM_ERROR)
    assert learn(model="model", instance_type="ml.m5.xlarge", now=NOW) is None
    write_run(configured, 2)
    assert learn(model="other", instance_type="ml.m5.xlarge", now=NOW) is None
    assert learn(model="model", instance_type="ml.c5.xlarge", now=NOW) is None
    assert learn(model="model", instance_type="ml.m5.xlarge", now=NOW + timedelta(days=365)) is None


def test_recent_waits_and_runs_are_the_markets_spells_and_expire(configured: Ledger) -> None:
    write_run(configured, 1)
    spells = recent_spells(region="us-east-1", instance_type="ml.m5.xlarge", now=NOW)
    assert list(spells) == [(False, 3600.0), (True, 7200.0)]
    assert not recent_spells(region="eu-west-1", instance_type="ml.m5.xlarge", now=NOW)
    later = NOW + timedelta(days=30)
    assert not recent_spells(region="us-east-1", instance_type="ml.m5.xlarge", now=later)


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
    spells = recent_spells(region="us-east-1", instance_type="ml.m5.xlarge", now=NOW)
    assert list(spells) == [(True, 3600.0), (False, 1800.0), (True, 5400.0)]


def test_a_ledger_that_cannot_be_read_teaches_nothing_and_fails_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AIRFLOW__SPOT_TRAINING__LEDGER", "nonsense://nowhere")
    assert learn(model="model", instance_type="ml.m5.xlarge") is None
    assert list(recent_spells(region="us-east-1", instance_type="ml.m5.xlarge")) == []
