"""Models of other teams: simulated jobs, so that the page has more than one Dag, model and team to show."""

from __future__ import annotations

from typing import Any

import pendulum
from airflow.sdk import Asset, Param, dag

from spot_training.operators import SpotTrainingOperator
from spot_training.sensors import SpotTrainingSensor
from tests.dashboard import heard

START = pendulum.datetime(2026, 1, 1, tz="UTC")


def _train(
    task_id: str, model: str, team: str, max_run: int = 86400, **arguments: Any
) -> SpotTrainingOperator:
    return SpotTrainingOperator(
        task_id=task_id,
        config={
            "TrainingJobName": model,
            "RoleArn": "arn:aws:iam::123456789012:role/SageMakerTraining",
            "AlgorithmSpecification": {
                "TrainingImage": "123456789012.dkr.ecr.us-east-1.amazonaws.com/mine:1",
                "TrainingInputMode": "File",
            },
            "OutputDataConfig": {"S3OutputPath": "s3://models/models"},
            "ResourceConfig": {
                "InstanceType": "{{ params.instance_type }}",
                "InstanceCount": 1,
                "VolumeSizeInGB": 10,
            },
            "StoppingCondition": {"MaxRuntimeInSeconds": max_run, "MaxWaitTimeInSeconds": 2 * max_run},
            "CheckpointConfig": {"S3Uri": "s3://models/checkpoints"},
            "Environment": {"LOCAL_TRAINING_SECONDS": "{{ params.seconds }}"},
            "Tags": [{"Key": "team", "Value": team}],
        },
        deferrable=True,
        check_interval=1,
        **arguments,
    )


def _dag(dag_id: str, instance_type: str) -> Any:
    params = {
        "instance_type": Param(instance_type, type="string"),
        "seconds": Param(1800, type="integer"),
    }
    return dag(dag_id=dag_id, schedule=None, start_date=START, params=params)


@_dag("forecast_demand", "ml.c5.2xlarge")
def forecast_demand() -> None:
    _train("train", "demand", "forecasting")


@_dag("predict_churn", "ml.m5.xlarge")
def predict_churn() -> None:
    _train("train", "churn", "growth")


@_dag("rank_search", "ml.m5.large")
def rank_search() -> None:
    start = _train("start", "ranking", "search", wait_for_completion=False)
    start >> SpotTrainingSensor(
        task_id="follow",
        training_job_name="{{ ti.xcom_pull('start')['Training']['TrainingJobName'] }}",
        deferrable=True,
        check_interval=1,
    )


@_dag("within_budget", "ml.m5.xlarge")
def within_budget() -> None:
    _train("train", "budgeted", "growth", budget={"usd": 250, "deadline_wins": True})


@_dag("train_with_notices", "ml.r5.large")
def train_with_notices() -> None:
    _train(
        "train",
        "alerts",
        "growth",
        max_run=900,
        policy=[{"spot": "ml.r5.large", "max_wait": "20m"}, {"on_demand": ["ml.r5.large"]}],
        on_attempt_over=[heard.tell, "tests.dashboard.heard.tell", "no_such_package.tell"],
        on_fallback="tests.dashboard.heard.tell",
        outlets=[Asset(name="alerts_model", uri="s3://models/alerts")],
    )


forecast_demand()
predict_churn()
train_with_notices()
rank_search()
within_budget()
