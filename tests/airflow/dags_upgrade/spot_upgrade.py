"""Trainings in every way of waiting. Spot capacity never comes: two attempts, then on-demand."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pendulum
from airflow.sdk import dag

from spot_training.operators import SpotTrainingOperator
from spot_training.sensors import SpotTrainingSensor

RARE = "ml.m5.24xlarge"
#: Half an hour, then four times as long.
FIRST_WAIT = 1800
POLICY: dict[str, Any] = {"name": "widen", "factor": 4, "spot_attempts": 2}
FIXED: dict[str, Any] = {"retries": 6, "retry_delay": timedelta(seconds=1), "check_interval": 1}


def _config(task_id: str) -> dict[str, Any]:
    return {
        "TrainingJobName": f"upgrade-{task_id}",
        "RoleArn": "arn:aws:iam::123456789012:role/SageMakerTraining",
        "AlgorithmSpecification": {
            "TrainingImage": "123456789012.dkr.ecr.us-east-1.amazonaws.com/mine:1",
            "TrainingInputMode": "File",
        },
        "OutputDataConfig": {"S3OutputPath": "s3://upgrade/models"},
        "ResourceConfig": {"InstanceType": RARE, "InstanceCount": 1, "VolumeSizeInGB": 10},
        "StoppingCondition": {"MaxRuntimeInSeconds": FIRST_WAIT, "MaxWaitTimeInSeconds": FIRST_WAIT},
        "CheckpointConfig": {"S3Uri": "s3://upgrade/checkpoints"},
        "Environment": {"LOCAL_TRAINING_SECONDS": "300"},
    }


@dag(dag_id="upgrade", schedule=None, start_date=pendulum.datetime(2026, 1, 1, tz="UTC"))
def upgrade() -> None:
    for task_id, deferrable in (("defers", True), ("waits", False)):
        SpotTrainingOperator(
            task_id=task_id, config=_config(task_id), policy=POLICY, deferrable=deferrable, **FIXED
        )
    start = SpotTrainingOperator(
        task_id="start", config=_config("start"), policy=POLICY, wait_for_completion=False, **FIXED
    )
    start >> SpotTrainingSensor(
        task_id="looks",
        training_job_name="{{ ti.xcom_pull('start')['Training']['TrainingJobName'] }}",
        policy=POLICY,
        mode="reschedule",
        poke_interval=5,
        **FIXED,
    )


upgrade()
