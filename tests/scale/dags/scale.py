"""Many deferred trainings in one run: as many as its conf says, on an instance type for each wave."""

from __future__ import annotations

from typing import Any

import pendulum
from airflow.sdk import Param, dag, get_current_context, task

from spot_training.operators import SpotTrainingOperator


@dag(
    dag_id="scale",
    schedule=None,
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    params={"waves": Param({}, type="object", description="instance type -> how many trainings")},
)
def scale() -> None:
    @task
    def configs() -> list[dict[str, Any]]:
        waves: dict[str, int] = get_current_context()["params"]["waves"]
        return [_config(instance_type) for instance_type, count in waves.items() for _ in range(count)]

    SpotTrainingOperator.partial(
        task_id="train",
        policy={"name": "spot_only", "spot_attempts": 1},
        deferrable=True,
        print_log=False,
    ).expand(config=configs())


def _config(instance_type: str) -> dict[str, Any]:
    return {
        "TrainingJobName": "scale",
        "RoleArn": "arn:aws:iam::123456789012:role/SageMakerTraining",
        "AlgorithmSpecification": {
            "TrainingImage": "123456789012.dkr.ecr.us-east-1.amazonaws.com/mine:1",
            "TrainingInputMode": "File",
        },
        "OutputDataConfig": {"S3OutputPath": "s3://scale/models"},
        "CheckpointConfig": {"S3Uri": "s3://scale/checkpoints"},
        "ResourceConfig": {"InstanceType": instance_type, "InstanceCount": 1, "VolumeSizeInGB": 10},
        "StoppingCondition": {"MaxRuntimeInSeconds": 86400, "MaxWaitTimeInSeconds": 28 * 86400},
        "Environment": {"LOCAL_TRAINING_SECONDS": "600"},
    }


scale()
