"""A training whose worker process dies, by SIGKILL, at chosen points of its life: each point once."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pendulum
from airflow.sdk import Param, dag, task

from spot_training.operators import SpotTrainingOperator

Checkpoint = Callable[[str], None]


class MortalOperator(SpotTrainingOperator):
    """`kill_at` names the points, by comma; a point that was passed once is never deadly again."""

    template_fields = (*SpotTrainingOperator.template_fields, "kill_at", "graves")

    def __init__(self, *, kill_at: str, graves: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.kill_at = kill_at
        self.graves = graves

    def execute(self, context: Any) -> Any:
        points = {point for point in self.kill_at.split(",") if point}

        def pass_point(point: str) -> None:
            if point in points and _is_first_time(Path(self.graves), f"{self.task_id}-{point}"):
                os.kill(os.getpid(), signal.SIGKILL)

        arm(pass_point)
        self.defer = _deadly(self.defer, pass_point, "before-defer")  # type: ignore[method-assign]
        return super().execute(context)


def _is_first_time(graves: Path, point: str) -> bool:
    graves.mkdir(parents=True, exist_ok=True)
    try:
        (graves / point).touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def _deadly(call: Callable[..., Any], pass_point: Checkpoint, point: str) -> Callable[..., Any]:
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        pass_point(point)
        return call(*args, **kwargs)

    return wrapped


def arm(pass_point: Checkpoint) -> None:
    """Put the points into this process's copy of the code."""
    from spot_training import training_task
    from spot_training.aws import driver, jobs

    save = driver.save_state

    def save_state(store: Any, state: Any) -> None:
        is_intent = state.current is not None and not state.current.is_created
        if is_intent:
            pass_point("before-intent")
        if state.current is None and state.attempts and not state.is_over:
            pass_point("before-record")
        save(store, state)
        if is_intent:
            pass_point("after-intent")
        elif state.current is not None:
            pass_point("after-create")
        elif state.attempts and not state.is_over:
            pass_point("between-attempts")

    create = jobs.TrainingJobs.create_or_adopt

    def create_or_adopt(*args: Any, **kwargs: Any) -> Any:
        created = create(*args, **kwargs)
        pass_point("during-create")
        return created

    push = training_task.TrainingTask._push_outcome

    def push_outcome(self: Any) -> Any:
        self._ti.xcom_push(key="savings", value={"half": "pushed"})
        pass_point("while-pushing")
        return push(self)

    driver.save_state = save_state
    jobs.TrainingJobs.create_or_adopt = create_or_adopt  # type: ignore[method-assign]
    training_task.TrainingTask._push_outcome = push_outcome  # type: ignore[method-assign]


PARAMS = {
    "instance_type": Param("ml.m5.xlarge", type="string"),
    "seconds": Param(600, type="integer"),
    "deferrable": Param(True, type="boolean"),
    "kill_at": Param("", type="string"),
    "policy": Param("widen", type="string"),
    "graves": Param("", type="string"),
}


@dag(schedule=None, start_date=pendulum.datetime(2026, 1, 1, tz="UTC"), params=PARAMS, max_active_runs=16)
def chaos() -> None:
    train = MortalOperator(
        task_id="train",
        kill_at="{{ params.kill_at }}",
        graves="{{ params.graves }}/{{ run_id }}",
        config={
            "TrainingJobName": "chaos",
            "RoleArn": "arn:aws:iam::123456789012:role/SageMakerTraining",
            "AlgorithmSpecification": {
                "TrainingImage": "123456789012.dkr.ecr.us-east-1.amazonaws.com/mine:1",
                "TrainingInputMode": "File",
            },
            "OutputDataConfig": {"S3OutputPath": "s3://chaos/models"},
            "ResourceConfig": {
                "InstanceType": "{{ params.instance_type }}",
                "InstanceCount": 1,
                "VolumeSizeInGB": 10,
            },
            "StoppingCondition": {"MaxRuntimeInSeconds": 7200},
            "CheckpointConfig": {"S3Uri": "s3://chaos/checkpoints"},
            "Environment": {"LOCAL_TRAINING_SECONDS": "{{ params.seconds }}"},
        },
        policy={"name": "{{ params.policy }}", "first_wait": "2h", "spot_attempts": 2, "factor": 1},
        deferrable="{{ params.deferrable }}",
        check_interval=1,
        retries=6,
        retry_delay=timedelta(seconds=1),
    )

    @task
    def use(trained: dict[str, Any]) -> str:
        return str(trained["Training"]["TrainingJobName"])

    use(train.output)


chaos()
