"""Jobs to watch: real ones on the local cloud, and described ones."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from include.local_stack.waiting import patience
from spot_training.domain.lifecycle import JobSnapshot, SecondaryStatus, TrainingStatus
from tests.cloud import Cloud, make_config

INFRA = Path(__file__).resolve().parents[2] / "include" / "infra"
BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


def create_jobs(cloud: Cloud, *names: str, seconds: int = 600) -> None:
    client = cloud.client("sagemaker")
    for name in names:
        client.create_training_job(
            **{
                **make_config(Environment={"LOCAL_TRAINING_SECONDS": str(seconds)}),
                "TrainingJobName": name,
                "EnableManagedSpotTraining": True,
                # Ten minutes of the test's time: what waits goes on waiting, on a slow machine, too.
                "StoppingCondition": {"MaxRuntimeInSeconds": 3600, "MaxWaitTimeInSeconds": 28 * 86400},
                "CheckpointConfig": {"S3Uri": f"s3://bucket/checkpoints/{name}"},
            }
        )


def wait_until_over(cloud: Cloud, name: str) -> SecondaryStatus:
    client = cloud.client("sagemaker")
    deadline = time.monotonic() + 30 * patience()
    while True:
        job = client.describe_training_job(TrainingJobName=name)
        if job["TrainingJobStatus"] in {"Completed", "Failed", "Stopped"}:
            return SecondaryStatus(job["SecondaryStatus"])
        assert time.monotonic() < deadline
        time.sleep(0.01)


def make_snapshot(name: str, *, over_at: datetime | None = None, **facts: Any) -> JobSnapshot:
    described: dict[str, Any] = {
        "status": TrainingStatus.COMPLETED if over_at else TrainingStatus.IN_PROGRESS,
        "secondary_status": SecondaryStatus.COMPLETED if over_at else SecondaryStatus.STARTING,
        "created_at": BEGAN,
        "last_modified_at": over_at or BEGAN,
        "is_spot": True,
        "instance_type": "ml.m5.xlarge",
        "instance_count": 1,
        "transitions": (),
    }
    absent = dict.fromkeys(
        (
            "training_started_at",
            "training_ended_at",
            "training_seconds",
            "billable_seconds",
            "failure_reason",
            "max_runtime_seconds",
            "max_wait_seconds",
            "checkpoint_uri",
            "model_uri",
        )
    )
    return JobSnapshot(name=name, arn=f"arn:{name}", **{**absent, **described, **facts})
