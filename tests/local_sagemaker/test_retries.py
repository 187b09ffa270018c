"""RetryStrategy after internal errors of AWS, and MaxPendingTimeInSeconds."""

from __future__ import annotations

from pathlib import Path

import pytest

from local_sagemaker.market import MarketFileError

from .support import Simulation, market_from, statuses_of

CK = {"S3Uri": "s3://bucket/ck"}
ONE_ERROR = "internal_errors: [{after: 10m}]"
TWO_ERRORS_EACH = "internal_errors: [{after: 10m, job: each}, {after: 5m, job: each}]"
ATTEMPT = ["Starting", "Downloading", "Training"]
CLEAN = [*ATTEMPT, "Uploading", "Completed"]


@pytest.mark.parametrize("is_spot", [True, False], ids=["spot", "on demand"])
def test_a_job_with_a_retry_strategy_restarts_after_an_internal_error(tmp_path: Path, is_spot: bool) -> None:
    simulation = Simulation(market=market_from(tmp_path, ONE_ERROR))
    create = simulation.create if is_spot else simulation.create_on_demand
    create(RetryStrategy={"MaximumRetryAttempts": 1}, CheckpointConfig=CK)
    job = simulation.run_to_end()
    assert statuses_of(job) == [*ATTEMPT, "Restarting", *CLEAN]
    assert job.failure_reason is None
    # Both attempts' time counts, and the second went on from the checkpoint.
    assert 1800 < job.held_seconds < 1800 + 600


def test_without_a_retry_strategy_an_internal_error_ends_the_job(tmp_path: Path) -> None:
    simulation = Simulation(market=market_from(tmp_path, ONE_ERROR))
    simulation.create()
    job = simulation.run_to_end()
    assert statuses_of(job) == [*ATTEMPT, "Failed"]
    assert job.failure_reason == "InternalServerError: We encountered an internal error. Please try again."


def test_an_internal_error_after_the_last_retry_ends_the_job(tmp_path: Path) -> None:
    simulation = Simulation(market=market_from(tmp_path, TWO_ERRORS_EACH))
    simulation.create(RetryStrategy={"MaximumRetryAttempts": 1})
    job = simulation.run_to_end()
    assert statuses_of(job) == [*ATTEMPT, "Restarting", *ATTEMPT, "Failed"]
    assert str(job.failure_reason).startswith("InternalServerError")


def test_internal_errors_of_each_job_spare_none_and_others_only_hit_the_first(tmp_path: Path) -> None:
    once = Simulation(market=market_from(tmp_path, ONE_ERROR))
    each = Simulation(market=market_from(tmp_path, TWO_ERRORS_EACH))
    for simulation in (once, each):
        simulation.create("a")
        simulation.pass_time(1)
        simulation.create("b")
    assert [str(once.run_to_end(name).status) for name in "ab"] == ["Failed", "Completed"]
    assert [str(each.run_to_end(name).status) for name in "ab"] == ["Failed", "Failed"]


def test_a_job_can_be_stopped_while_it_restarts(tmp_path: Path) -> None:
    simulation = Simulation(market=market_from(tmp_path, ONE_ERROR))
    simulation.create(RetryStrategy={"MaximumRetryAttempts": 1})
    simulation.run_until(lambda: simulation.job().secondary_status == "Restarting")
    simulation.engine.stop("job")
    job = simulation.run_to_end()
    assert statuses_of(job) == [*ATTEMPT, "Restarting", "Stopping", "Stopped"]


SHORTAGE = "on_demand: {capacity: [{from: 0s, to: 2h, available: false}]}"


def _pending_for(seconds: int) -> dict[str, int]:
    return {"MaxRuntimeInSeconds": 7200, "MaxPendingTimeInSeconds": seconds}


def test_a_job_that_was_pending_too_long_is_stopped(tmp_path: Path) -> None:
    simulation = Simulation(market=market_from(tmp_path, SHORTAGE))
    simulation.create_on_demand(StoppingCondition=_pending_for(3600))
    job = simulation.run_to_end()
    assert statuses_of(job) == ["Starting", "Pending", "Stopping", "Stopped"]
    assert job.transitions[-1].message == (
        "Training job pending time exceeded MaxPendingTimeInSeconds provided"
    )
    assert 3600 <= (job.last_modified_at - job.created_at).total_seconds() < 3600 + 300
    assert job.billed_seconds is None


def test_a_job_that_gets_capacity_in_time_is_not_stopped_for_having_been_pending(tmp_path: Path) -> None:
    simulation = Simulation(market=market_from(tmp_path, SHORTAGE))
    simulation.create_on_demand(StoppingCondition=_pending_for(7200))
    assert statuses_of(simulation.run_to_end())[-1] == "Completed"


@pytest.mark.parametrize("text", ["internal_errors: [{after: 1m, job: 2}]", "internal_errors: [{job: each}]"])
def test_an_internal_error_that_cannot_be_told_is_complained_about(tmp_path: Path, text: str) -> None:
    with pytest.raises(MarketFileError, match="internal_errors"):
        market_from(tmp_path, text)


def test_the_max_wait_of_retries_on_demand_ends_a_pending_job(tmp_path: Path) -> None:
    simulation = Simulation(market=market_from(tmp_path, SHORTAGE))
    simulation.create_on_demand(
        StoppingCondition={"MaxRuntimeInSeconds": 1800, "MaxWaitTimeInSeconds": 3600},
        RetryStrategy={"MaximumRetryAttempts": 2},
    )
    job = simulation.run_to_end()
    assert statuses_of(job) == ["Starting", "Pending", "Stopping", "MaxWaitTimeExceeded"]
    assert 3600 <= (job.last_modified_at - job.created_at).total_seconds() < 3600 + 300
