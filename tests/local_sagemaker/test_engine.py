"""The life of simulated jobs, on a driven clock: AWS's documented sequences, fields and seconds."""

from __future__ import annotations

import json
from itertools import groupby
from pathlib import Path

import pytest

from local_sagemaker.jobs.errors import (
    ValidationError,
)
from local_sagemaker.jobs.job import TrainingJob
from local_sagemaker.jobs.lifecycle import (
    HOLDING_STATUSES,
    TERMINAL_SECONDARY_STATUSES,
)
from local_sagemaker.market import MarketSpec, load_market

from .support import Simulation, market_from, statuses_of

CHECKPOINTS = {"S3Uri": "s3://bucket/checkpoints/run"}


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
        simulation.reach("Training")
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
    simulation.reach("Training")
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
        simulation.reach("Training")
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
    described = simulation.describe()
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
    simulation.reach("Training")
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
    assert "FailureReason" in simulation.describe()


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
    simulation.reach(when)
    simulation.engine.stop("job")
    assert simulation.job().status == "Stopping"
    job = simulation.run_to_end()
    assert statuses_of(job) == expected
    assert job.transitions[-1].message == "Training job stopped"
    assert job.failure_reason is None


def test_a_job_stopped_while_interrupted_ends_without_an_upload(simulation: Simulation) -> None:
    simulation.create(CheckpointConfig=CHECKPOINTS)
    simulation.reach("Training")
    simulation.engine.interrupt("job")
    simulation.engine.stop("job")
    assert statuses_of(simulation.run_to_end())[-3:] == ["Interrupted", "Stopping", "Stopped"]


def test_a_job_stopped_while_uploading_ends_stopped(simulation: Simulation) -> None:
    simulation.create()
    simulation.reach("Uploading")
    simulation.engine.stop("job")
    assert (simulation.job().status, simulation.job().secondary_status) == ("Stopping", "Uploading")
    assert statuses_of(simulation.run_to_end())[-2:] == ["Uploading", "Stopped"]


def test_a_job_stopped_while_downloading_trained_for_at_least_a_second(simulation: Simulation) -> None:
    simulation.create()
    simulation.reach("Downloading")
    simulation.engine.stop("job")
    simulation.run_to_end()
    assert simulation.describe()["TrainingTimeInSeconds"] == 1
    assert simulation.describe()["BillableTimeInSeconds"] == 1


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
    simulation.reach("Training")
    simulation.pass_time(600)
    simulation.engine.interrupt("job")
    job = simulation.run_to_end()
    held = sum(
        (t.ended_at - t.started_at).total_seconds()
        for t in job.transitions
        if t.status in HOLDING_STATUSES and t.ended_at
    )
    described = simulation.describe()
    assert described["TrainingTimeInSeconds"] == int(held)
    assert described["BillableTimeInSeconds"] == round(held * 0.3)


def test_on_demand_is_billed_in_full(simulation: Simulation) -> None:
    simulation.create_on_demand()
    simulation.run_to_end()
    described = simulation.describe()
    assert described["BillableTimeInSeconds"] == described["TrainingTimeInSeconds"] == 60 + 1800 + 60


def test_the_price_of_each_stretch_is_that_of_its_start(tmp_path: Path) -> None:
    market = market_from(tmp_path, "price_ratio: [{from: 0m, ratio: 0.2}, {from: 10m, ratio: 0.8}]")
    simulation = Simulation(market=market)
    simulation.create(CheckpointConfig=CHECKPOINTS)
    simulation.reach("Training")
    simulation.pass_time(600)
    simulation.engine.interrupt("job")
    simulation.run_to_end()
    assert simulation.describe()["BillableTimeInSeconds"] == round(660 * 0.2 + (60 + 1200 + 60) * 0.8)


def test_training_seconds_show_that_capacity_was_granted_and_the_bill_comes_at_the_end(
    simulation: Simulation,
) -> None:
    simulation.create()
    simulation.pass_time(30)
    assert "TrainingTimeInSeconds" not in simulation.describe()
    simulation.reach("Training")
    simulation.pass_time(100)
    assert simulation.describe()["TrainingTimeInSeconds"] == 160
    assert "BillableTimeInSeconds" not in simulation.describe()


def test_training_starts_with_the_first_download_and_keeps_that_time(simulation: Simulation) -> None:
    simulation.create(CheckpointConfig=CHECKPOINTS)
    simulation.reach("Training")
    simulation.engine.interrupt("job")
    job = simulation.run_to_end()
    assert job.started_at == job.transitions[1].started_at
    assert job.ended_at == job.transitions[-1].started_at == job.transitions[-1].ended_at


def test_an_open_visit_has_no_end(simulation: Simulation) -> None:
    simulation.create()
    simulation.reach("Training")
    assert ["EndTime" in t for t in simulation.describe()["SecondaryStatusTransitions"]] == [
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
    simulation.reach("Training")
    simulation.pass_time(1000)
    simulation.engine.interrupt("job")
    simulation.run_to_end()
    assert _training_seconds_in_status_training(simulation) == pytest.approx(1800)


def test_without_checkpoints_everything_starts_over(simulation: Simulation) -> None:
    simulation.create()
    simulation.reach("Training")
    simulation.pass_time(1000)
    simulation.engine.interrupt("job")
    simulation.run_to_end()
    assert _training_seconds_in_status_training(simulation) == pytest.approx(2800)


def test_another_job_with_the_same_prefix_goes_on_where_the_first_stopped(simulation: Simulation) -> None:
    simulation.create("first", CheckpointConfig=CHECKPOINTS)
    simulation.reach("Training", "first")
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


def test_a_simulated_job_saves_as_often_as_asked(simulation: Simulation) -> None:
    environment = {"LOCAL_TRAINING_SECONDS": "36000", "LOCAL_CHECKPOINT_SECONDS": "600"}
    simulation.create(Environment=environment, CheckpointConfig={"S3Uri": "s3://bucket/saves"})
    simulation.reach("Training")
    simulation.pass_time(1250)
    saved = json.loads(simulation.objects.content["bucket", "saves/local-progress.json"])
    assert saved["seconds_done"] == 1200
