"""A training on simulated jobs that asks before it goes on demand."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pendulum
from airflow.sdk import Param, dag

from spot_training.approval import ask_before_on_demand
from spot_training.operators import SpotTrainingOperator

#: Long enough for a test to answer, short enough to wait for.
ANSWER_WITHIN = timedelta(seconds=20)


@dag(
    dag_id="approval",
    schedule=None,
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    params={
        "instance_type": Param("ml.m5.xlarge", type="string"),
        "limit_usd": Param(0.01, type="number"),
    },
)
def approval() -> None:
    config: dict[str, Any] = {
        "TrainingJobName": "approval",
        "RoleArn": "arn:aws:iam::123456789012:role/SageMakerTraining",
        "AlgorithmSpecification": {
            "TrainingImage": "123456789012.dkr.ecr.us-east-1.amazonaws.com/mine:1",
            "TrainingInputMode": "File",
        },
        "OutputDataConfig": {"S3OutputPath": "s3://variants/models"},
        "ResourceConfig": {
            "InstanceType": "{{ params.instance_type }}",
            "InstanceCount": 1,
            "VolumeSizeInGB": 10,
        },
        "StoppingCondition": {"MaxRuntimeInSeconds": 3600},
        "CheckpointConfig": {"S3Uri": "s3://variants/checkpoints"},
        "Environment": {"LOCAL_TRAINING_SECONDS": "600"},
        "Tags": [{"Key": "team", "Value": "ads"}],
    }
    train = SpotTrainingOperator(
        task_id="train",
        config=config,
        policy={"name": "spot_only", "first_wait": 3600, "spot_attempts": 1},
        deferrable=True,
        check_interval=1,
    )
    ask_before_on_demand(
        train, limit_usd="{{ params.limit_usd }}", answer_within=ANSWER_WITHIN, more_waits=10
    )


approval()
