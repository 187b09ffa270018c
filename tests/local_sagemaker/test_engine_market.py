"""What the market does to simulated jobs, on a driven clock: capacity, interruptions, shortages, quotas."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from local_sagemaker.jobs.errors import (
    NotInterruptibleError,
    ResourceLimitExceededError,
)
from local_sagemaker.jobs.life import NOTICE_SECONDS
from local_sagemaker.market import load_market

from .support import START, Simulation, market_from, statuses_of

CHECKPOINTS = {"S3Uri": "s3://bucket/checkpoints/run"}


def test_a_waiting_job_launches_when_capacity_comes_and_not_before(tmp_path: Path) -> None:
    market = market_from(tmp_path, "capacity: [{from: 0m, to: 40m, available: false}]")
    simulation = Simulation(market=market)
    simulation.create()
    job = simulation.run_to_end()
    assert job.started_at is not None
    assert (job.started_at - START).total_seconds() == 40 * 60 + 120


def test_capacity_that_goes_away_interrupts_every_job_of_the_type_and_no_other(
    simulation: Simulation,
) -> None:
    other = {"ResourceConfig": {"InstanceType": "ml.m5.2xlarge", "InstanceCount": 1, "VolumeSizeInGB": 1}}
    simulation.create("one")
    simulation.create("two")
    simulation.create("other", **other)
    simulation.create_on_demand("paid")
    simulation.reach("Training", "one")
    simulation.engine.set_capacity("ml.m5.xlarge", available=False)
    assert [str(simulation.job(n).secondary_status) for n in ("one", "two", "other", "paid")] == [
        "Interrupted", "Interrupted", "Training", "Training",
    ]  # fmt: skip
    simulation.pass_time(NOTICE_SECONDS + 600)
    assert simulation.job("one").secondary_status == "Starting"
    simulation.engine.set_capacity("ml.m5.xlarge", available=True)
    assert simulation.run_to_end("one").status == "Completed"


def test_capacity_lost_while_launching_sends_the_job_back_to_waiting(simulation: Simulation) -> None:
    simulation.create()
    simulation.pass_time(60)
    simulation.engine.set_capacity("ml.m5.xlarge", available=False)
    simulation.pass_time(600)
    assert statuses_of(simulation.job()) == ["Starting"]
    assert "Insufficient capacity" in simulation.job().transitions[-1].message


def test_an_interruption_is_refused_unless_a_spot_job_runs(simulation: Simulation) -> None:
    simulation.create()
    simulation.create_on_demand("paid")
    with pytest.raises(NotInterruptibleError, match="job is a spot job in Starting"):
        simulation.engine.interrupt("job")
    simulation.reach("Training", "paid")
    with pytest.raises(NotInterruptibleError, match="paid is an on-demand job in Training"):
        simulation.engine.interrupt("paid")
    with pytest.raises(NotInterruptibleError, match="no training job nobody"):
        simulation.engine.interrupt("nobody")


def _progress(simulation: Simulation) -> float:
    content = simulation.objects.content["bucket", "checkpoints/run/local-progress.json"]
    return float(json.loads(content)["seconds_done"])


def test_an_interruption_during_a_stall_loses_what_was_not_uploaded(simulation: Simulation) -> None:
    simulation.create(CheckpointConfig=CHECKPOINTS)
    simulation.reach("Training")
    simulation.pass_time(600)
    simulation.engine.stall_uploads(job_names="jo?", instance_type="ml.m5.xlarge")
    simulation.pass_time(600)
    assert _progress(simulation) == pytest.approx(600, abs=90)
    simulation.engine.interrupt("job")
    simulation.reach("Starting")
    assert _progress(simulation) == pytest.approx(600, abs=90)
    simulation.engine.resume_uploads()
    job = simulation.run_to_end()
    trained = sum(
        (t.ended_at - t.started_at).total_seconds()
        for t in job.transitions
        if t.status == "Training" and t.ended_at
    )
    assert trained == pytest.approx(1800 + 600, abs=90)


def test_a_stall_ends_after_its_time_and_is_of_its_type_only(simulation: Simulation) -> None:
    simulation.create(CheckpointConfig=CHECKPOINTS)
    simulation.reach("Training")
    simulation.engine.stall_uploads(instance_type="ml.m5.2xlarge")
    simulation.pass_time(300)
    before = _progress(simulation)
    assert before > 200
    simulation.engine.stall_uploads(seconds=400)
    simulation.pass_time(390)
    assert _progress(simulation) == before
    simulation.pass_time(200)
    assert _progress(simulation) > 700
    assert simulation.run_to_end().status == "Completed"


def test_the_first_week_happens_as_written() -> None:
    simulation = Simulation(market=load_market("first-week"))
    hour = {"MaxRuntimeInSeconds": 3600, "MaxWaitTimeInSeconds": 3600}
    simulation.pass_time(5 * 3600)
    simulation.create("first", CheckpointConfig=CHECKPOINTS, StoppingCondition=hour)
    first = simulation.run_to_end("first")
    assert statuses_of(first) == ["Starting", "Stopping", "MaxWaitTimeExceeded"]
    simulation.create("second", CheckpointConfig=CHECKPOINTS)
    second = simulation.run_to_end("second")
    assert statuses_of(second) == [
        "Starting", "Downloading", "Training", "Interrupted", "Starting", "Downloading", "Training",
        "Uploading", "Completed",
    ]  # fmt: skip
    assert second.started_at is not None
    assert (second.started_at - first.created_at).total_seconds() == 90 * 60 + 120
    interrupted, resumed = second.transitions[3], second.transitions[5]
    assert (resumed.started_at - interrupted.started_at).total_seconds() == 20 * 60 + 120
    simulation.create("third", CheckpointConfig={"S3Uri": "s3://bucket/other"})
    assert "Interrupted" not in statuses_of(simulation.run_to_end("third"))


def test_each_job_can_be_interrupted_by_the_clock(tmp_path: Path) -> None:
    simulation = Simulation(market=load_market("each-job-twice"))
    for name in ("one", "two"):
        simulation.create(name, CheckpointConfig={"S3Uri": f"s3://bucket/{name}"})
        job = simulation.run_to_end(name)
        assert statuses_of(job).count("Interrupted") == 2
        assert job.status == "Completed"


def test_a_numbered_job_alone_is_interrupted(tmp_path: Path) -> None:
    market = market_from(tmp_path, "interruptions: [{after: 5m, job: 2}]")
    simulation = Simulation(market=market)
    for name in ("one", "two", "three"):
        simulation.create(name)
        simulation.run_to_end(name)
    assert [statuses_of(simulation.job(n)).count("Interrupted") for n in ("one", "two", "three")] == [0, 1, 0]


def test_an_on_demand_job_without_capacity_is_pending_and_then_fails() -> None:
    simulation = Simulation(market=load_market("shortage"))
    simulation.create_on_demand()
    assert simulation.job().transitions[-1].message == "Training job waiting for capacity"
    job = simulation.run_to_end()
    assert statuses_of(job) == ["Starting", "Pending", "Failed"]
    assert (job.failure_reason or "").startswith(
        "CapacityError: Unable to provision requested ML compute capacity."
    )


def test_an_on_demand_job_can_wait_for_capacity() -> None:
    simulation = Simulation(market=load_market("shortage"))
    simulation.create_on_demand(
        ResourceConfig={"InstanceType": "ml.m5.2xlarge", "InstanceCount": 1, "VolumeSizeInGB": 1}
    )
    job = simulation.run_to_end()
    assert statuses_of(job) == ["Starting", "Pending", "Downloading", "Training", "Uploading", "Completed"]


def test_the_first_preferred_type_with_capacity_is_taken() -> None:
    simulation = Simulation(market=load_market("shortage"))
    preferred = [{"InstanceType": "ml.m5.xlarge"}, {"InstanceType": "ml.c5.xlarge"}]
    simulation.create_on_demand(
        ResourceConfig={"InstancePreferences": preferred, "InstanceCount": 1, "VolumeSizeInGB": 1}
    )
    simulation.run_to_end()
    assert simulation.describe()["ResourceConfig"]["SelectedInstanceType"] == "ml.c5.xlarge"


def test_a_quota_is_refused_at_once() -> None:
    simulation = Simulation(market=load_market("shortage"))
    resources = {"InstanceType": "ml.p3.2xlarge", "InstanceCount": 1, "VolumeSizeInGB": 1}
    with pytest.raises(
        ResourceLimitExceededError, match=r"'ml\.p3\.2xlarge for spot training job usage' is 0 Instances"
    ):
        simulation.create(ResourceConfig=resources)


GROUPS = {
    "InstanceGroups": [
        {"InstanceGroupName": "data", "InstanceType": "ml.c5.xlarge", "InstanceCount": 1},
        {"InstanceGroupName": "train", "InstanceType": "ml.m5.xlarge", "InstanceCount": 2},
    ],
    "VolumeSizeInGB": 1,
}


def test_instance_groups_wait_for_capacity_of_every_type_and_any_of_them_takes_all(
    simulation: Simulation,
) -> None:
    simulation.engine.set_capacity("ml.m5.xlarge", available=False)
    simulation.create(ResourceConfig=GROUPS, CheckpointConfig=CHECKPOINTS)
    simulation.pass_time(3600)
    assert statuses_of(simulation.job()) == ["Starting"]
    simulation.engine.set_capacity("ml.m5.xlarge", available=True)
    simulation.reach("Training")
    simulation.engine.set_capacity("ml.m5.xlarge", available=False)
    assert simulation.job().secondary_status == "Interrupted"
    simulation.engine.set_capacity("ml.m5.xlarge", available=True)
    simulation.reach("Training")
    simulation.engine.set_capacity("ml.c5.xlarge", available=False)
    assert simulation.job().secondary_status == "Interrupted"


def test_the_quota_of_each_instance_groups_type_holds(tmp_path: Path) -> None:
    market = market_from(tmp_path, "instance_types: {ml.m5.xlarge: {quota: {spot: 3}}}")
    simulation = Simulation(market=market)
    simulation.create("first", ResourceConfig=GROUPS)
    with pytest.raises(
        ResourceLimitExceededError,
        match=r"'ml\.m5\.xlarge for spot training job usage' is 3 Instances, with current utilization of 2 "
        r"Instances and a request delta of 2 Instances",
    ):
        simulation.create("second", ResourceConfig=GROUPS)


def test_a_scripted_interruption_of_any_instance_groups_type_takes_the_job(tmp_path: Path) -> None:
    story = "instance_types: {ml.m5.xlarge: {interruptions: [{after: 10m}, {after_checkpoints: 2}]}}"
    simulation = Simulation(market=market_from(tmp_path, story))
    simulation.create(ResourceConfig=GROUPS, CheckpointConfig=CHECKPOINTS)
    assert statuses_of(simulation.run_to_end()).count("Interrupted") == 2


def test_a_random_market_is_the_same_twice() -> None:
    stories = []
    for _ in range(2):
        simulation = Simulation(market=load_market("rough-sea"))
        simulation.create(
            CheckpointConfig=CHECKPOINTS,
            Environment={"LOCAL_TRAINING_SECONDS": "40000"},
            StoppingCondition={"MaxRuntimeInSeconds": 86400, "MaxWaitTimeInSeconds": 172800},
        )
        stories.append(simulation.run_to_end().transitions)
    assert stories[0] == stories[1]
    assert any(t.status == "Interrupted" for t in stories[0])
