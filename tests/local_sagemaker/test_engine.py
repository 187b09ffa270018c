"""The life of simulated jobs, on a driven clock: AWS's documented sequences, fields and seconds."""

from __future__ import annotations

import json
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from local_sagemaker.jobs.description import description_of
from local_sagemaker.jobs.errors import (
    NotInterruptibleError,
    ResourceInUseError,
    ResourceLimitExceededError,
    ValidationError,
)
from local_sagemaker.jobs.job import TrainingJob
from local_sagemaker.jobs.life import NOTICE_SECONDS
from local_sagemaker.jobs.lifecycle import (
    HOLDING_STATUSES,
    TERMINAL_SECONDARY_STATUSES,
    SecondaryStatus,
    is_legal_move,
)
from local_sagemaker.market import MarketSpec, load_market

from .support import START, DictObjects, Simulation, market_from, statuses_of

CHECKPOINTS = {"S3Uri": "s3://bucket/checkpoints/run"}


def _describe(simulation: Simulation, name: str = "job") -> dict[str, Any]:
    return description_of(simulation.job(name), simulation.clock.now())


def _reach(simulation: Simulation, status: str, name: str = "job") -> None:
    simulation.run_until(lambda: simulation.job(name).secondary_status == status)


# --- the documented sequences ---


def _both_statuses(simulation: Simulation) -> list[str]:
    """`<TrainingJobStatus>: <SecondaryStatus>` in order, as a poller would see them who misses nothing."""
    seen = [f"{job.status}: {job.secondary_status}" for job in simulation.seen if not _is_half_over(job)]
    return [look for look, _ in groupby(seen)]


def _is_half_over(job: TrainingJob) -> bool:
    return not job.is_over and job.secondary_status in TERMINAL_SECONDARY_STATUSES


_ONCE = ["InProgress: Downloading", "InProgress: Training"]
_AGAIN = ["InProgress: Interrupted", "InProgress: Starting", *_ONCE]


@pytest.mark.parametrize(
    ("interruptions", "wait", "expected"),
    [
        (0, 14_400, ["InProgress: Starting", *_ONCE, "InProgress: Uploading", "Completed: Completed"]),
        (
            1,
            14_400,
            ["InProgress: Starting", *_ONCE, *_AGAIN, "InProgress: Uploading", "Completed: Completed"],
        ),
        # The page has no second `Starting` here, unlike in the sequence above, and no upload: one was seen.
        (
            2,
            3600,
            [
                "InProgress: Starting", *_ONCE, *_AGAIN, *_AGAIN,
                "Stopping: Stopping", "Stopping: Uploading", "Stopped: MaxWaitTimeExceeded",
            ],
        ),
        (None, 14_400, ["InProgress: Starting", "Stopping: Stopping", "Stopped: MaxWaitTimeExceeded"]),
    ],
)  # fmt: skip
def test_the_four_sequences_of_the_managed_spot_training_lifecycle_page(
    interruptions: int | None, wait: int, expected: list[str]
) -> None:
    simulation = Simulation(market=load_market("no-capacity") if interruptions is None else MarketSpec())
    simulation.create(
        CheckpointConfig=CHECKPOINTS,
        StoppingCondition={"MaxRuntimeInSeconds": 3600, "MaxWaitTimeInSeconds": wait},
        Environment={"LOCAL_TRAINING_SECONDS": "3500"},
    )
    for _ in range(interruptions or 0):
        _reach(simulation, "Training")
        simulation.pass_time(300)
        simulation.engine.interrupt("job")
    simulation.run_to_end()
    assert _both_statuses(simulation) == expected


def test_a_clean_job_starts_downloads_trains_uploads_and_completes(simulation: Simulation) -> None:
    simulation.create()
    job = simulation.run_to_end()
    assert statuses_of(job) == ["Starting", "Downloading", "Training", "Uploading", "Completed"]
    assert [t.message for t in job.transitions] == [
        "Preparing the instances for training",
        "Downloading input data",
        "Training image download completed. Training in progress.",
        "Uploading generated training model",
        "Training job completed",
    ]
    assert job.status == "Completed"


def test_a_clean_job_spends_under_fifteen_minutes_outside_training(simulation: Simulation) -> None:
    simulation.create()
    job = simulation.run_to_end()
    assert (job.last_modified_at - job.created_at).total_seconds() - 1800 < 15 * 60


def test_an_interrupted_job_goes_through_starting_and_downloading_again(simulation: Simulation) -> None:
    simulation.create(CheckpointConfig=CHECKPOINTS)
    _reach(simulation, "Training")
    simulation.pass_time(600)
    simulation.engine.interrupt("job")
    assert simulation.job().status == "InProgress"
    job = simulation.run_to_end()
    assert statuses_of(job) == [
        "Starting", "Downloading", "Training", "Interrupted", "Starting", "Downloading", "Training",
        "Uploading", "Completed",
    ]  # fmt: skip


def test_the_status_stays_in_progress_through_every_interruption(simulation: Simulation) -> None:
    simulation.create(CheckpointConfig=CHECKPOINTS)
    for _ in range(3):
        _reach(simulation, "Training")
        simulation.pass_time(60)
        simulation.engine.interrupt("job")
    simulation.run_to_end()
    before_the_end = [
        job for job in simulation.seen if not job.is_over and job.secondary_status != "Completed"
    ]
    assert {str(job.status) for job in before_the_end} == {"InProgress"}


def test_a_job_that_never_gets_capacity_ends_when_its_wait_is_over() -> None:
    simulation = Simulation(market=load_market("no-capacity"))
    simulation.create()
    assert simulation.job().transitions[-1].message == (
        "Insufficient capacity error from EC2 while launching instances, retrying!"
    )
    job = simulation.run_to_end()
    assert statuses_of(job) == ["Starting", "Stopping", "MaxWaitTimeExceeded"]
    assert job.status == "Stopped"
    assert job.transitions[-1].message == "Training job wait time exceeded MaxWaitTimeInSeconds provided"
    assert 14400 <= (job.last_modified_at - job.created_at).total_seconds() < 14400 + 300


def test_a_job_that_never_started_has_no_times_and_no_bill() -> None:
    simulation = Simulation(market=load_market("no-capacity"))
    simulation.create()
    simulation.run_to_end()
    described = _describe(simulation)
    for absent in (
        "BillableTimeInSeconds",
        "TrainingTimeInSeconds",
        "TrainingStartTime",
        "TrainingEndTime",
        "FailureReason",
    ):
        assert absent not in described
    assert described["ModelArtifacts"] == {"S3ModelArtifacts": "s3://bucket/models/job/output/model.tar.gz"}


def test_a_job_that_reaches_max_runtime_is_stopped_a_little_late(simulation: Simulation) -> None:
    simulation.create(StoppingCondition={"MaxRuntimeInSeconds": 600, "MaxWaitTimeInSeconds": 7200})
    job = simulation.run_to_end()
    assert statuses_of(job)[-3:] == ["Stopping", "Uploading", "MaxRuntimeExceeded"]
    assert job.status == "Stopped"
    assert 600 <= (job.training_seconds_at(simulation.clock.now()) or 0) < 600 + 300


def test_max_runtime_counts_the_time_before_an_interruption_too(simulation: Simulation) -> None:
    simulation.create(
        CheckpointConfig=CHECKPOINTS,
        StoppingCondition={"MaxRuntimeInSeconds": 1200, "MaxWaitTimeInSeconds": 9000},
    )
    _reach(simulation, "Training")
    simulation.pass_time(900)
    simulation.engine.interrupt("job")
    job = simulation.run_to_end()
    assert job.secondary_status == "MaxRuntimeExceeded"
    assert 1200 <= (job.training_seconds_at(simulation.clock.now()) or 0) < 1500


def test_a_failing_job_uploads_and_then_fails(simulation: Simulation) -> None:
    simulation.create(
        Environment={"LOCAL_TRAINING_SECONDS": "60", "LOCAL_TRAINING_FAILURE": "no such column"}
    )
    job = simulation.run_to_end()
    assert statuses_of(job)[-3:] == ["Training", "Uploading", "Failed"]
    assert job.failure_reason == "AlgorithmError: no such column"
    assert "FailureReason" in _describe(simulation)


def test_a_failure_reason_is_cut_at_1024_characters(simulation: Simulation) -> None:
    simulation.create(Environment={"LOCAL_TRAINING_SECONDS": "60", "LOCAL_TRAINING_FAILURE": "x" * 2000})
    assert len(simulation.run_to_end().failure_reason or "") == 1024


# --- a user's stop ---


@pytest.mark.parametrize(
    ("when", "expected"),
    [
        ("Starting", ["Starting", "Stopping", "Stopped"]),
        ("Downloading", ["Starting", "Downloading", "Stopping", "Stopped"]),
        ("Training", ["Starting", "Downloading", "Training", "Stopping", "Uploading", "Stopped"]),
    ],
)
def test_a_stopped_job_uploads_only_what_it_trained(
    simulation: Simulation, when: str, expected: list[str]
) -> None:
    simulation.create()
    _reach(simulation, when)
    simulation.engine.stop("job")
    assert simulation.job().status == "Stopping"
    job = simulation.run_to_end()
    assert statuses_of(job) == expected
    assert job.transitions[-1].message == "Training job stopped"
    assert job.failure_reason is None


def test_a_job_stopped_while_interrupted_ends_without_an_upload(simulation: Simulation) -> None:
    simulation.create(CheckpointConfig=CHECKPOINTS)
    _reach(simulation, "Training")
    simulation.engine.interrupt("job")
    simulation.engine.stop("job")
    assert statuses_of(simulation.run_to_end())[-3:] == ["Interrupted", "Stopping", "Stopped"]


def test_a_job_stopped_while_uploading_ends_stopped(simulation: Simulation) -> None:
    simulation.create()
    _reach(simulation, "Uploading")
    simulation.engine.stop("job")
    assert (simulation.job().status, simulation.job().secondary_status) == ("Stopping", "Uploading")
    assert statuses_of(simulation.run_to_end())[-2:] == ["Uploading", "Stopped"]


def test_a_job_stopped_while_downloading_trained_for_at_least_a_second(simulation: Simulation) -> None:
    simulation.create()
    _reach(simulation, "Downloading")
    simulation.engine.stop("job")
    simulation.run_to_end()
    assert _describe(simulation)["TrainingTimeInSeconds"] == 1
    assert _describe(simulation)["BillableTimeInSeconds"] == 1


def test_stopping_twice_changes_nothing_and_stopping_the_dead_is_refused(simulation: Simulation) -> None:
    simulation.create()
    simulation.engine.stop("job")
    simulation.engine.stop("job")
    simulation.run_to_end()
    with pytest.raises(ValidationError, match="rejected because the training job is in status Stopped"):
        simulation.engine.stop("job")
    with pytest.raises(ValidationError, match=r"Requested resource not found\."):
        simulation.engine.stop("nobody")


# --- seconds and money ---


def test_training_seconds_are_the_time_instances_were_held(simulation: Simulation) -> None:
    simulation.create(CheckpointConfig=CHECKPOINTS)
    _reach(simulation, "Training")
    simulation.pass_time(600)
    simulation.engine.interrupt("job")
    job = simulation.run_to_end()
    held = sum(
        (t.ended_at - t.started_at).total_seconds()
        for t in job.transitions
        if t.status in HOLDING_STATUSES and t.ended_at
    )
    described = _describe(simulation)
    assert described["TrainingTimeInSeconds"] == int(held)
    assert described["BillableTimeInSeconds"] == round(held * 0.3)


def test_on_demand_is_billed_in_full(simulation: Simulation) -> None:
    simulation.create_on_demand()
    simulation.run_to_end()
    described = _describe(simulation)
    assert described["BillableTimeInSeconds"] == described["TrainingTimeInSeconds"] == 60 + 1800 + 60


def test_the_price_of_each_stretch_is_that_of_its_start(tmp_path: Path) -> None:
    market = market_from(tmp_path, "price_ratio: [{from: 0m, ratio: 0.2}, {from: 10m, ratio: 0.8}]")
    simulation = Simulation(market=market)
    simulation.create(CheckpointConfig=CHECKPOINTS)
    _reach(simulation, "Training")
    simulation.pass_time(600)
    simulation.engine.interrupt("job")
    simulation.run_to_end()
    assert _describe(simulation)["BillableTimeInSeconds"] == round(660 * 0.2 + (60 + 1200 + 60) * 0.8)


def test_training_seconds_show_that_capacity_was_granted_and_the_bill_comes_at_the_end(
    simulation: Simulation,
) -> None:
    simulation.create()
    simulation.pass_time(30)
    assert "TrainingTimeInSeconds" not in _describe(simulation)
    _reach(simulation, "Training")
    simulation.pass_time(100)
    assert _describe(simulation)["TrainingTimeInSeconds"] == 160
    assert "BillableTimeInSeconds" not in _describe(simulation)


def test_training_starts_with_the_first_download_and_keeps_that_time(simulation: Simulation) -> None:
    simulation.create(CheckpointConfig=CHECKPOINTS)
    _reach(simulation, "Training")
    simulation.engine.interrupt("job")
    job = simulation.run_to_end()
    assert job.started_at == job.transitions[1].started_at
    assert job.ended_at == job.transitions[-1].started_at == job.transitions[-1].ended_at


def test_an_open_visit_has_no_end(simulation: Simulation) -> None:
    simulation.create()
    _reach(simulation, "Training")
    assert ["EndTime" in t for t in _describe(simulation)["SecondaryStatusTransitions"]] == [
        True,
        True,
        False,
    ]


# --- checkpoints of simulated jobs ---


def _training_seconds_in_status_training(simulation: Simulation, name: str = "job") -> float:
    return sum(
        (t.ended_at - t.started_at).total_seconds()
        for t in simulation.job(name).transitions
        if t.status == "Training" and t.ended_at
    )


def test_with_checkpoints_no_work_is_done_twice(simulation: Simulation) -> None:
    simulation.create(CheckpointConfig=CHECKPOINTS)
    _reach(simulation, "Training")
    simulation.pass_time(1000)
    simulation.engine.interrupt("job")
    simulation.run_to_end()
    assert _training_seconds_in_status_training(simulation) == pytest.approx(1800)


def test_without_checkpoints_everything_starts_over(simulation: Simulation) -> None:
    simulation.create()
    _reach(simulation, "Training")
    simulation.pass_time(1000)
    simulation.engine.interrupt("job")
    simulation.run_to_end()
    assert _training_seconds_in_status_training(simulation) == pytest.approx(2800)


def test_another_job_with_the_same_prefix_goes_on_where_the_first_stopped(simulation: Simulation) -> None:
    simulation.create("first", CheckpointConfig=CHECKPOINTS)
    _reach(simulation, "Training", "first")
    simulation.pass_time(1200)
    simulation.engine.stop("first")
    simulation.run_to_end("first")
    progress = json.loads(simulation.objects.content["bucket", "checkpoints/run/local-progress.json"])
    assert progress["seconds_done"] == pytest.approx(1200)
    simulation.create_on_demand("second", CheckpointConfig=CHECKPOINTS)
    simulation.run_to_end("second")
    assert _training_seconds_in_status_training(simulation, "second") == pytest.approx(600)


def test_prefixes_that_only_start_alike_do_not_share_progress(simulation: Simulation) -> None:
    simulation.create("first", CheckpointConfig={"S3Uri": "s3://bucket/run1"})
    simulation.run_to_end("first")
    simulation.create("second", CheckpointConfig={"S3Uri": "s3://bucket/run"})
    simulation.run_to_end("second")
    assert _training_seconds_in_status_training(simulation, "second") == pytest.approx(1800)


def test_a_simulated_job_without_a_bucket_runs_all_the_same(simulation: Simulation) -> None:
    simulation.create(
        CheckpointConfig={"S3Uri": "s3://missing/run"},
        OutputDataConfig={"S3OutputPath": "s3://missing/models"},
    )
    assert simulation.run_to_end().status == "Completed"


def test_a_simulated_job_leaves_a_model(simulation: Simulation) -> None:
    simulation.create()
    simulation.run_to_end()
    assert ("bucket", "models/job/output/model.tar.gz") in simulation.objects.content


# --- the market ---


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
    _reach(simulation, "Training", "one")
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
    _reach(simulation, "Training", "paid")
    with pytest.raises(NotInterruptibleError, match="paid is an on-demand job in Training"):
        simulation.engine.interrupt("paid")
    with pytest.raises(NotInterruptibleError, match="no training job nobody"):
        simulation.engine.interrupt("nobody")


def test_the_first_week_is_told_as_written() -> None:
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
    assert _describe(simulation)["ResourceConfig"]["SelectedInstanceType"] == "ml.c5.xlarge"


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
    _reach(simulation, "Training")
    simulation.engine.set_capacity("ml.m5.xlarge", available=False)
    assert simulation.job().secondary_status == "Interrupted"
    simulation.engine.set_capacity("ml.m5.xlarge", available=True)
    _reach(simulation, "Training")
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


def test_a_random_market_tells_the_same_story_twice() -> None:
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


# --- names, and forgetting ---


def test_a_name_is_taken_until_its_job_is_deleted(simulation: Simulation) -> None:
    simulation.create()
    with pytest.raises(ResourceInUseError, match="names must be unique"):
        simulation.create()
    with pytest.raises(ResourceInUseError):
        simulation.engine.delete("job")
    simulation.run_to_end()
    simulation.engine.delete("job")
    simulation.create()
    assert simulation.job().secondary_status == "Starting"


def test_a_reset_forgets_jobs_and_starts_the_story_anew(tmp_path: Path) -> None:
    market = market_from(tmp_path, "capacity: [{from: 0m, to: 10m, available: false}]")
    simulation = Simulation(market=market)
    simulation.pass_time(3600)
    simulation.create()
    simulation.engine.reset()
    assert simulation.engine.next_due() is None
    simulation.create()
    simulation.pass_time(300)
    assert "Insufficient capacity" in simulation.job().transitions[-1].message


def test_a_story_does_not_depend_on_how_often_somebody_looks() -> None:
    stories = []
    for step in (7.0, 100000.0):
        simulation = Simulation(market=load_market("each-job-twice"))
        simulation.create(CheckpointConfig=CHECKPOINTS)
        while not simulation.job().is_over:
            simulation.pass_time(step)
        stories.append(simulation.job().transitions)
    assert stories[0] == stories[1]


def test_ten_thousand_waiting_jobs_need_no_event_each_but_their_limit() -> None:
    simulation = Simulation(market=load_market("no-capacity"))
    for number in range(1000):
        simulation.create(f"job-{number}")
    assert len(simulation.engine._schedule._heap) <= 1000 + 1


_ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("create"), st.integers(0, 3), st.booleans()),
        st.tuples(st.just("stop"), st.integers(0, 3), st.booleans()),
        st.tuples(st.just("interrupt"), st.integers(0, 3), st.booleans()),
        st.tuples(st.just("capacity"), st.integers(0, 1), st.booleans()),
        st.tuples(st.just("wait"), st.integers(1, 4000), st.booleans()),
    ),
    max_size=25,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(actions=_ACTIONS)
def test_whatever_happens_every_job_moves_legally_and_ends_within_its_limits(
    actions: list[tuple[str, int, bool]],
) -> None:
    simulation = Simulation(market=MarketSpec(), objects=DictObjects())
    names: set[str] = set()
    for action, number, flag in actions:
        name = f"job-{number}"
        try:
            match action:
                case "create":
                    create = simulation.create if flag else simulation.create_on_demand
                    create(name, CheckpointConfig={"S3Uri": f"s3://bucket/{name}"})
                    names.add(name)
                case "stop":
                    simulation.engine.stop(name)
                case "interrupt":
                    simulation.engine.interrupt(name)
                case "capacity":
                    simulation.engine.set_capacity("ml.m5.xlarge", available=flag)
                case "wait":
                    simulation.pass_time(number)
        except (ValidationError, ResourceInUseError, NotInterruptibleError):
            pass
    for name in names:
        _check_invariants(simulation, name)


def _check_invariants(simulation: Simulation, name: str) -> None:
    job = simulation.run_to_end(name)
    path = [t.status for t in job.transitions]
    assert path[0] is SecondaryStatus.STARTING
    assert all(is_legal_move(before, after) for before, after in pairwise(path))
    assert all(a.ended_at == b.started_at for a, b in pairwise(job.transitions))
    assert job.failure_reason is None
    training, billed = job.training_seconds_at(simulation.clock.now()), job.billed_seconds
    assert (training is None) == (billed is None) == (job.started_at is None)
    if training is not None and billed is not None:
        assert 1 <= billed <= training <= 7200 + 600
    if job.is_spot:
        assert (job.last_modified_at - job.created_at).total_seconds() <= 14400 + 600


def test_capacity_of_two_types_that_comes_back_at_once_is_seen_by_everybody_who_waits(
    tmp_path: Path,
) -> None:
    """The job on both types is launched at the first one's change, when the other's is still to be met."""
    market = "on_demand: {capacity: [{from: 0m, to: 3h, available: false}], shortage: wait}"
    simulation = Simulation(market=market_from(tmp_path, market))
    both = [
        {"InstanceGroupName": name, "InstanceType": name, "InstanceCount": 1}
        for name in ("ml.m5.xlarge", "ml.c5.large")
    ]
    simulation.create_on_demand("both", ResourceConfig={"InstanceGroups": both, "VolumeSizeInGB": 1})
    alone = {"InstanceType": "ml.c5.large", "InstanceCount": 1, "VolumeSizeInGB": 1}
    simulation.create_on_demand("alone", ResourceConfig=alone)
    for name in ("both", "alone"):
        assert statuses_of(simulation.run_to_end(name))[-1] == "Completed"
