"""A training without spot capacity: it falls back to on-demand, and waits in the triggerer."""

from __future__ import annotations

import pendulum
from airflow.sdk import dag

from spot_training.operators import SpotTrainingOperator


@dag(dag_id="on_mwaa", schedule=None, start_date=pendulum.datetime(2026, 1, 1, tz="UTC"))
def on_mwaa() -> None:
    SpotTrainingOperator(
        task_id="train",
        config={
            "TrainingJobName": "churn",
            "RoleArn": "arn:aws:iam::123456789012:role/SageMakerTraining",
            "AlgorithmSpecification": {
                "TrainingImage": "123456789012.dkr.ecr.us-east-1.amazonaws.com/mine:1",
                "TrainingInputMode": "File",
            },
            "OutputDataConfig": {"S3OutputPath": "s3://models/models"},
            "CheckpointConfig": {"S3Uri": "s3://models/checkpoints"},
            "ResourceConfig": {"InstanceType": "ml.m5.xlarge", "InstanceCount": 1, "VolumeSizeInGB": 10},
            "StoppingCondition": {"MaxRuntimeInSeconds": 3600},
            "Environment": {"LOCAL_TRAINING_SECONDS": "600"},
        },
        policy={"name": "widen", "first_wait": "1h", "spot_attempts": 1},
        deferrable=True,
        check_interval=1,
    )


on_mwaa()
