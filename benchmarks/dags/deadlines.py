"""A training with a deadline, everything about it a param, for `deadlines.py` and `live_policies`."""

from __future__ import annotations

from datetime import timedelta

import pendulum
from airflow.sdk import Param, dag

from spot_training.operators import SpotTrainingOperator

PARAMS = {
    "instance_type": Param("ml.m5.xlarge", type="string"),
    "policy": Param("deadline", type="string"),
    "work_seconds": Param(3600, type="integer"),
    "deadline_seconds": Param(7200, type="integer"),
    "reserve_seconds": Param(0, type="integer"),
    "checkpoint_every_seconds": Param(60, type="integer"),
    "check_interval": Param(1, type="integer"),
}


@dag(
    schedule=None,
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    params=PARAMS,
    max_active_runs=200,
    max_active_tasks=200,
    render_template_as_native_obj=True,
)
def deadlines() -> None:
    SpotTrainingOperator(
        task_id="train",
        config={
            "TrainingJobName": "deadlines",
            "RoleArn": "arn:aws:iam::123456789012:role/SageMakerTraining",
            "AlgorithmSpecification": {
                "TrainingImage": "123456789012.dkr.ecr.us-east-1.amazonaws.com/mine:1",
                "TrainingInputMode": "File",
            },
            "OutputDataConfig": {"S3OutputPath": "s3://deadlines/models"},
            "ResourceConfig": {
                "InstanceType": "{{ params.instance_type }}",
                "InstanceCount": 1,
                "VolumeSizeInGB": 10,
            },
            "StoppingCondition": {"MaxRuntimeInSeconds": 5 * 86400},
            "CheckpointConfig": {"S3Uri": "s3://deadlines/checkpoints"},
            "Environment": {
                "LOCAL_TRAINING_SECONDS": "{{ params.work_seconds }}",
                "LOCAL_CHECKPOINT_SECONDS": "{{ params.checkpoint_every_seconds }}",
            },
        },
        policy="{{ params.policy }}",
        deadline="{{ params.deadline_seconds }}",
        expected_runtime={
            "mean": "{{ params.work_seconds }}",
            "high": "{{ params.work_seconds }}",
            "checkpoint_every": "{{ params.checkpoint_every_seconds }}",
        },
        deadline_reserve="{{ params.reserve_seconds }}",
        check_interval="{{ params.check_interval }}",
        deferrable=True,
        print_log=False,
        retries=1,
        retry_delay=timedelta(seconds=1),  # the guard keeps it free
    )


deadlines()
