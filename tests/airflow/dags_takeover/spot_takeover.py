"""Trainings whose jobs wait for capacity that never comes: deferred ones, and one that keeps its worker."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pendulum
from airflow.sdk import dag

from spot_training.operators import SpotTrainingOperator

FIXED: dict[str, Any] = {
    "policy": {"name": "spot_only", "spot_attempts": 1},
    "check_interval": 1,
    "deferrable": True,
    "retries": 2,
    "retry_delay": timedelta(seconds=1),
}


def _config(task_id: str) -> dict[str, Any]:
    return {
        "TrainingJobName": f"takeover-{task_id}",
        "RoleArn": "arn:aws:iam::123456789012:role/SageMakerTraining",
        "AlgorithmSpecification": {
            "TrainingImage": "123456789012.dkr.ecr.us-east-1.amazonaws.com/mine:1",
            "TrainingInputMode": "File",
        },
        "OutputDataConfig": {"S3OutputPath": "s3://takeover/models"},
        "ResourceConfig": {"InstanceType": "ml.m5.24xlarge", "InstanceCount": 1, "VolumeSizeInGB": 10},
        "StoppingCondition": {"MaxRuntimeInSeconds": 3600, "MaxWaitTimeInSeconds": 28 * 86400},
        "Environment": {"LOCAL_TRAINING_SECONDS": "600"},
    }


@dag(dag_id="takeover", schedule=None, start_date=pendulum.datetime(2026, 1, 1, tz="UTC"))
def takeover() -> None:
    for task_id in ("marked", "cleared"):
        SpotTrainingOperator(task_id=task_id, config=_config(task_id), **FIXED)
    SpotTrainingOperator.partial(task_id="mapped", **FIXED).expand(
        config=[_config("mapped-0"), _config("mapped-1")]
    )


@dag(dag_id="on_worker", schedule=None, start_date=pendulum.datetime(2026, 1, 1, tz="UTC"))
def on_worker() -> None:
    SpotTrainingOperator(task_id="train", config=_config("worker"), **{**FIXED, "deferrable": False})


takeover()
on_worker()
