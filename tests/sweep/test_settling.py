"""What tasks that are gone left open, settled from what the local SageMaker says of their jobs."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from spot_training.domain.lifecycle import Ending
from spot_training.domain.records import RecordState, TrainingRecord
from spot_training.domain.stop_reasons import StopReason
from spot_training.ledger import Ledger
from spot_training.ledger.compaction import compact
from spot_training.sweep.orphans import NO_SUCH_TASK
from spot_training.sweep.settling import Settling
from spot_training.training.driver import Waiting
from tests.cloud import HOUR, Cloud, answer_with, make_config
from tests.records import PRICE
from tests.training.support import Died, Training, die_before_creating

NOW = timedelta(0)


def _settle(
    cloud: Cloud, ledger: Ledger, task_state: str | None = "failed", **overrides: Any
) -> list[TrainingRecord]:
    arguments: dict[str, Any] = {
        "ledger": ledger,
        "jobs": cloud.jobs(),
        "installation": "airflow",
        "task_state_of": lambda _identity: task_state,
        "say": lambda _text: None,
        "price_of": lambda _region, _type: PRICE,
    }
    return Settling(**{**arguments, **overrides}).settle()


def _begin(
    cloud: Cloud, ledger: Ledger, *, is_given_capacity: bool = True, **overrides: Any
) -> tuple[Training, Waiting]:
    training = Training(cloud, ledger, **overrides)
    return training, training.begin(is_given_capacity=is_given_capacity)


@pytest.mark.parametrize("task_state", ["failed", "success", "skipped", NO_SUCH_TASK])
def test_the_job_of_a_task_that_is_over_gets_its_end_on_record(
    cloud: Cloud, ledger: Ledger, task_state: str
) -> None:
    training, step = _begin(cloud, ledger)
    training.wait(step)
    (settled,) = _settle(cloud, ledger, task_state)
    record = training.record()
    assert record == settled
    assert (record.state, record.current_job) == (RecordState.COMPLETED, None)
    assert record.attempts[0].ending is Ending.COMPLETED
    assert record.statement.billed_usd is not None
    assert task_state in record.reason
    assert _settle(cloud, ledger, task_state) == []


@pytest.mark.parametrize("task_state", ["running", "deferred", "up_for_retry", None])
def test_a_task_that_will_run_again_keeps_its_own_books(
    cloud: Cloud, ledger: Ledger, task_state: str | None
) -> None:
    training, step = _begin(cloud, ledger)
    training.wait(step)
    assert _settle(cloud, ledger, task_state) == []
    training.finish()
    record = training.record()
    assert record is not None
    assert len(record.attempts) == 1


def test_a_job_the_sweeper_stops_is_settled_once_it_has_ended(cloud: Cloud, ledger: Ledger) -> None:
    training, step = _begin(cloud, ledger, is_given_capacity=False)
    assert _settle(cloud, ledger) == [], "it is alive"
    cloud.jobs().stop(step.job.name, StopReason.SWEPT)
    training.wait(step)
    (record,) = _settle(cloud, ledger)
    assert (record.state, record.attempts[0].ending) == (RecordState.FAILED, Ending.STOPPED_WITH_TASK)
    assert record.statement.billed_usd == 0


def test_a_job_that_a_person_stopped_is_on_record_as_such(cloud: Cloud, ledger: Ledger) -> None:
    training, step = _begin(cloud, ledger, is_given_capacity=False)
    cloud.client("sagemaker").stop_training_job(TrainingJobName=step.job.name)
    training.wait(step)
    (record,) = _settle(cloud, ledger)
    assert record.attempts[0].ending is Ending.STOPPED_BY_USER


@pytest.mark.parametrize("times", [1, 4])
def test_a_record_is_not_closed_because_its_job_is_not_found_for_a_moment(
    cloud: Cloud, ledger: Ledger, times: int
) -> None:
    training, step = _begin(cloud, ledger, is_given_capacity=False)
    jobs = cloud.jobs()
    answer_with(
        jobs, "DescribeTrainingJob", 400, "ValidationException", "Requested resource not found.", times=times
    )
    assert _settle(cloud, ledger, jobs=jobs) == []
    record = training.record()
    assert record is not None
    assert record.state is RecordState.RUNNING
    assert record.current_job is not None
    assert record.current_job.job_name == step.job.name


def test_a_worker_that_died_before_the_job_was_created_leaves_an_empty_record(
    cloud: Cloud, ledger: Ledger
) -> None:
    training = Training(cloud, ledger)
    die_before_creating(training.jobs)
    with pytest.raises(Died):
        training.step()
    (record,) = _settle(cloud, ledger)
    assert (record.state, record.attempts) == (RecordState.FAILED, ())
    assert "before its job was created" in record.reason


def test_a_job_that_was_deleted_keeps_its_place_with_seconds_unknown(cloud: Cloud, ledger: Ledger) -> None:
    training, step = _begin(cloud, ledger)
    training.wait(step)
    cloud.client("sagemaker").delete_training_job(TrainingJobName=step.job.name)
    (record,) = _settle(cloud, ledger)
    assert record.attempts[0].job_name == step.job.name
    assert record.statement.billable_seconds is None


def _unwritable() -> Ledger:
    raise PermissionError("no")


def test_trainings_whose_ledger_could_not_be_written_are_found_by_their_tags(
    cloud: Cloud, ledger: Ledger
) -> None:
    cloud.set_capacity(available=False)
    config = make_config(Tags=[{"Key": "team", "Value": "ads"}])
    training = Training(
        cloud,
        ledger,
        open_ledger=_unwritable,
        config=config,
        policy={"name": "widen", "spot_attempts": 1, "first_wait": HOUR},
    )
    done = training.finish()
    assert training.record() is None
    _settle(cloud, ledger, "success")
    record = training.record()
    assert record is not None
    assert (record.state, record.team, record.model) == (RecordState.COMPLETED, "ads", "flight-delays")
    assert [a.ending for a in record.attempts] == [a.ending for a in done.attempts]
    assert record.statement.billable_seconds == done.statement.billable_seconds
    assert (record.local_cloud or "").startswith("local cloud, clock ")
    assert (record.model_uri or "").endswith(f"/{done.attempts[-1].job_name}/output/model.tar.gz")
    assert _settle(cloud, ledger, "success") == []


def test_an_attempt_that_is_missing_on_a_record_is_put_there(cloud: Cloud, ledger: Ledger) -> None:
    cloud.set_capacity(available=False)
    opened: list[Ledger] = []

    def writable_once() -> Ledger:
        opened.append(ledger)
        return ledger if len(opened) == 1 else _unwritable()

    policy = {"name": "widen", "spot_attempts": 1, "first_wait": HOUR}
    training = Training(cloud, ledger, policy=policy, open_ledger=writable_once)
    training.finish()
    _settle(cloud, ledger, "success")
    record = training.record()
    assert record is not None
    assert [a.ending for a in record.attempts] == [Ending.NO_CAPACITY, Ending.COMPLETED]
    assert [a.number for a in record.attempts] == [1, 2]


def test_merged_records_are_known_and_left_alone(cloud: Cloud, ledger: Ledger) -> None:
    training = Training(cloud, ledger)
    training.finish()
    compact(ledger, settled_after=NOW)
    assert _settle(cloud, ledger, "success") == []


def test_jobs_of_others_are_not_put_on_record(cloud: Cloud, ledger: Ledger) -> None:
    training = Training(cloud, ledger, open_ledger=_unwritable)
    training.finish()
    assert _settle(cloud, ledger, "success", installation="another") == []


def test_a_price_that_cannot_be_had_settles_no_less(cloud: Cloud, ledger: Ledger) -> None:
    training, step = _begin(cloud, ledger, price_of=lambda _region, _type: None)
    training.wait(step)
    denied: Callable[..., None] = _die_politely
    (record,) = _settle(cloud, ledger, price_of=denied)
    assert record.state is RecordState.COMPLETED
    assert record.statement.billed_usd is None


def _die_politely(*_arguments: Any) -> None:
    raise PermissionError("pricing:GetProducts")


def test_a_task_that_is_cleared_after_settling_goes_on_with_its_record(cloud: Cloud, ledger: Ledger) -> None:
    training, step = _begin(cloud, ledger)
    training.wait(step)
    (settled,) = _settle(cloud, ledger)
    training.try_number, training.max_tries = 2, 1
    training.finish()
    record = training.record()
    assert record is not None
    assert record.version > settled.version
    assert (record.state, len(record.attempts)) == (RecordState.COMPLETED, 1)
