"""Trainings whose time runs out, in every way there is."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, NoReturn

import pendulum
from airflow.sdk import dag

from spot_training.operators import SpotTrainingOperator
from spot_training.sensors import SpotTrainingSensor

#: Nobody has it: jobs that ask for it wait for as long as they are let.
RARE = "ml.m5.24xlarge"


class Astray(SpotTrainingOperator):
    """Waits in a trigger that fails."""

    def defer(self, *, trigger: Any, **arguments: Any) -> NoReturn:
        trigger.until = "no time"
        super().defer(trigger=trigger, **arguments)


def _train(
    task_id: str, *, kind: type[SpotTrainingOperator] = SpotTrainingOperator, **arguments: Any
) -> SpotTrainingOperator:
    return kind(
        task_id=task_id,
        config={
            "TrainingJobName": f"limit-{task_id}",
            "RoleArn": "arn:aws:iam::123456789012:role/SageMakerTraining",
            "AlgorithmSpecification": {
                "TrainingImage": "123456789012.dkr.ecr.us-east-1.amazonaws.com/mine:1",
                "TrainingInputMode": "File",
            },
            "OutputDataConfig": {"S3OutputPath": "s3://limits/models"},
            "ResourceConfig": {"InstanceType": RARE, "InstanceCount": 1, "VolumeSizeInGB": 10},
            "StoppingCondition": {"MaxRuntimeInSeconds": 3600, "MaxWaitTimeInSeconds": 14 * 86400},
            "Environment": {"LOCAL_TRAINING_SECONDS": "600"},
        },
        policy={"name": "spot_only", "spot_attempts": 1},
        check_interval=1,
        **arguments,
    )


def _dag(dag_id: str, **arguments: Any) -> Any:
    start = pendulum.datetime(2026, 1, 1, tz="UTC")
    return dag(dag_id=dag_id, schedule=None, start_date=start, **arguments)


@_dag("limit_task")
def task_limits() -> None:
    for mode, deferrable in (("waits", False), ("defers", True)):
        _train(f"training_timeout_{mode}", deferrable=deferrable, training_timeout="6")
        _train(f"execution_timeout_{mode}", deferrable=deferrable, execution_timeout=timedelta(seconds=15))


@_dag("limit_run", dagrun_timeout=timedelta(seconds=12))
def run_limit() -> None:
    _train("defers", deferrable=True)
    _train("waits", deferrable=False)


@_dag("limit_orphan")
def orphan() -> None:
    _train("orphan", deferrable=True)


@_dag("limit_sensor")
def sensor_limit() -> None:
    start = _train("start", wait_for_completion=False)
    for mode in ("poke", "defer"):
        start >> SpotTrainingSensor(
            task_id=mode,
            training_job_name="{{ ti.xcom_pull('start')['Training']['TrainingJobName'] }}",
            deferrable=mode == "defer",
            check_interval=1,
            poke_interval=1,
            timeout=6,
        )


@_dag("limit_trigger")
def trigger_that_fails() -> None:
    _train("astray", kind=Astray, deferrable=True, training_timeout=20)


@_dag("limit_caps")
def caps() -> None:
    _train("above", caps={"instance_types": ["ml.m5.xlarge"]}, retries=2)


task_limits()
run_limit()
orphan()
sensor_limit()
trigger_that_fails()
caps()
