"""A training whose worker process is held, or dies by SIGKILL, at chosen points of its life, once at each."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pendulum
from airflow.sdk import Param, dag, task

from spot_training.aws.state import STATE_KEY
from spot_training.operators import SpotTrainingOperator

Checkpoint = Callable[[str], None]


class MortalOperator(SpotTrainingOperator):
    """`hold_at` and `kill_at` name points, by comma; a point that was passed once does nothing any more.

    A held process waits for the file `release` in its `graves`, and does what `kill_at` says after that.
    `found_state` is put where the training's state belongs, as if other code had left it.
    """

    template_fields = (
        *SpotTrainingOperator.template_fields,
        "hold_at",
        "kill_at",
        "graves",
        "found_state",
    )

    def __init__(self, *, hold_at: str, kill_at: str, graves: str, found_state: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.hold_at = hold_at
        self.kill_at = kill_at
        self.graves = graves
        self.found_state = found_state

    def execute(self, context: Any) -> Any:
        """Each process of the task comes by here, also one that resumes."""
        holds, kills = set((self.hold_at or "").split(",")), set((self.kill_at or "").split(","))
        graves = Path(self.graves)

        def pass_point(point: str) -> None:
            if point in holds and _is_first_time(graves, f"held-{point}"):
                while not (graves / "release").exists():
                    time.sleep(0.1)
            if point in kills and _is_first_time(graves, f"{self.task_id}-{point}"):
                os.kill(os.getpid(), signal.SIGKILL)

        if self.found_state is not None:
            context["task_state_store"].set(STATE_KEY, self.found_state)
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

    stop = driver.TrainingDriver.stop

    def stop_or_die(self: Any) -> bool:
        pass_point("before-stop")
        return stop(self)

    driver.save_state = save_state
    driver.TrainingDriver.stop = stop_or_die  # type: ignore[method-assign]
    jobs.TrainingJobs.create_or_adopt = create_or_adopt  # type: ignore[method-assign]
    training_task.TrainingTask._push_outcome = push_outcome  # type: ignore[method-assign]


PARAMS = {
    "instance_type": Param("ml.m5.xlarge", type="string"),
    "seconds": Param(600, type="integer"),
    "max_run": Param(7200, type="integer"),
    "first_wait": Param(7200, type="integer"),
    "deferrable": Param(True, type="boolean"),
    "hold_at": Param("", type="string"),
    "kill_at": Param("", type="string"),
    "policy": Param("widen", type="string"),
    "training_timeout": Param(None, type=["null", "integer"]),
    "botocore_config": Param({}, type="object"),
    "found_state": Param(None, type=["null", "object"]),
    "graves": Param("", type="string"),
}

#: Closed (no slots) by the tests, so that what is due waits.
POOL = "chaos"


@dag(
    schedule=None,
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    params=PARAMS,
    max_active_runs=64,
    max_active_tasks=64,
    render_template_as_native_obj=True,
)
def chaos() -> None:
    train = MortalOperator(
        task_id="train",
        pool=POOL,
        hold_at="{{ params.hold_at }}",
        kill_at="{{ params.kill_at }}",
        graves="{{ params.graves }}/{{ run_id }}",
        found_state="{{ params.found_state }}",
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
            "StoppingCondition": {"MaxRuntimeInSeconds": "{{ params.max_run }}"},
            "CheckpointConfig": {"S3Uri": "s3://chaos/checkpoints"},
            "Environment": {"LOCAL_TRAINING_SECONDS": "{{ params.seconds }}"},
        },
        policy={
            "name": "{{ params.policy }}",
            "first_wait": "{{ params.first_wait }}",
            "spot_attempts": 2,
            "factor": 1,
        },
        deferrable="{{ params.deferrable }}",
        training_timeout="{{ params.training_timeout }}",
        botocore_config="{{ params.botocore_config }}",
        check_interval=1,
        retries=6,
        retry_delay=timedelta(seconds=1),
    )

    @task
    def use(trained: dict[str, Any]) -> str:
        return str(trained["Training"]["TrainingJobName"])

    use(train.output)


chaos()
