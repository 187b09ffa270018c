"""Trainings whose worker process is held, or dies by SIGKILL, at chosen points of its life, once at each.

Dags that differ in what no Param can say: whether their task trains or watches a job that was started
elsewhere, whether Airflow tries it again, how long it may take. Of two, `retries.json` beside this file has
the `retries`, for whoever plays their author.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import time
import urllib.request
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import airflow
import pendulum
from airflow.sdk import Param, dag, task

from spot_training.domain.scouting import RUN_SECONDS
from spot_training.operators import SpotTrainingOperator
from spot_training.sensors import SpotTrainingSensor
from spot_training.task.base import TrainingOperatorBase
from spot_training.task.kept_state import state_of
from spot_training.training.state import STATE_KEY
from tests.chaos import points
from tests.chaos.triggers import MortalTrigger

Checkpoint = Callable[[str], None]


#: What both mortal tasks are told beside a training's own arguments.
FATE = (
    "hold_at",
    "kill_at",
    "fault_at",
    "dies_alone",
    "trigger_fails_after",
    "graves",
    "found_state",
    "scout_seconds",
)


class Mortal(TrainingOperatorBase):
    """`hold_at` and `kill_at` name points, by comma; a point that was passed once does nothing any more.

    A held process waits for the file `release` in its `graves`, and does what `kill_at` says after that.
    `fault_at` has a fault of the local cloud for a point: the next calls of that operation get it.
    The first trigger fails after `trigger_fails_after` seconds. `found_state` is put where the training's
    state belongs, as if other code had left it.
    """

    _is_armed = False

    def __init__(
        self,
        *,
        hold_at: str,
        kill_at: str,
        dies_alone: Any,
        trigger_fails_after: Any,
        graves: str,
        found_state: Any,
        fault_at: Any,
        scout_seconds: Any,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.fault_at = fault_at
        self.scout_seconds = scout_seconds
        self.hold_at = hold_at
        self.kill_at = kill_at
        self.dies_alone = dies_alone
        self.trigger_fails_after = trigger_fails_after
        self.graves = graves
        self.found_state = found_state

    def execute(self, context: Any) -> Any:
        self._arm(context)
        return super().execute(context)

    def resume(self, context: Any, event: Any = None) -> Any:
        self._arm(context)
        return super().resume(context, event)

    def defer(self, *, trigger: Any, **kwargs: Any) -> Any:
        self._pass_point("before-defer")
        if self.trigger_fails_after is not None and _is_first_time(Path(self.graves), "trigger"):
            after = float(self.trigger_fails_after)
            trigger = MortalTrigger.instead_of(trigger, fails_after_seconds=after)
        super().defer(trigger=trigger, **kwargs)

    def _arm(self, context: Any) -> None:
        """Each process of the task comes by here, also one that resumes."""
        if self._is_armed:
            return
        self._is_armed = True
        if self.found_state is not None and not (Path(self.graves) / "found-state").exists():
            # A process whose state cannot be written, or that dies here, leaves that to the next.
            if state_of(context).get(STATE_KEY) is None:
                state_of(context).set(STATE_KEY, self.found_state)
            _is_first_time(Path(self.graves), "found-state")
        arm(self._pass_point)
        points.arm(self._pass_point, scout_seconds=int(self.scout_seconds))

    def _pass_point(self, point: str) -> None:
        graves = Path(self.graves)
        if point in (self.hold_at or "").split(",") and _is_first_time(graves, f"held-{point}"):
            while not (graves / "release").exists():
                time.sleep(0.1)
        if point in (self.fault_at or {}) and _is_first_time(graves, f"fault-{point}"):
            _inject(self.fault_at[point])
        if point in (self.kill_at or "").split(",") and _is_first_time(graves, f"{TASK}-{point}"):
            self._die()

    def _die(self) -> None:
        """As on a worker that is lost, or (`dies_alone`) only this process, as without memory.

        Airflow before 3.1 does not try a task again that dies alone. There, its supervisor dies with it.
        """
        if airflow.__version__.startswith("3.0.") and not self.dies_alone:
            os.kill(os.getppid(), signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGKILL)


class MortalOperator(Mortal, SpotTrainingOperator):
    template_fields = (*SpotTrainingOperator.template_fields, *FATE)


class MortalSensor(Mortal, SpotTrainingSensor):
    """Looks as `looks` says, `poke` or `reschedule`: Airflow's own `mode` cannot be templated."""

    template_fields = (*SpotTrainingSensor.template_fields, *FATE, "looks")

    def __init__(self, *, looks: str, **kwargs: Any) -> None:
        super().__init__(mode="reschedule", **kwargs)
        self.looks = looks

    def _arm(self, context: Any) -> None:
        self.mode = self.looks
        super()._arm(context)


def _inject(fault: dict[str, Any]) -> None:
    request = urllib.request.Request(  # noqa: S310 - loopback
        f"{os.environ['AWS_ENDPOINT_URL']}/_local/faults", method="POST", data=json.dumps(fault).encode()
    )
    with urllib.request.urlopen(request, timeout=30):  # noqa: S310
        pass


def _is_first_time(graves: Path, point: str) -> bool:
    graves.mkdir(parents=True, exist_ok=True)
    try:
        (graves / point).touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def arm(pass_point: Checkpoint) -> None:
    """Put the points into this process's copy of the code."""
    from spot_training.sagemaker import jobs
    from spot_training.task import training as training_task
    from spot_training.training import stopping

    # What is replaced below is what the module itself imported.
    active: Any = importlib.import_module("spot_training.training.active")
    save = active.save_state

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
            pass_point(f"after-create-{state.current.number}")
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

    stop = stopping.stop

    def stop_or_die(*args: Any, **kwargs: Any) -> bool:
        pass_point("before-stop")
        return bool(stop(*args, **kwargs))

    active.save_state = save_state
    stopping.stop = stop_or_die
    jobs.TrainingJobs.create_or_adopt = create_or_adopt  # type: ignore[method-assign]
    training_task.TrainingTask._push_outcome = push_outcome  # type: ignore[method-assign]


PARAMS = {
    "instance_type": Param("ml.m5.xlarge", type="string"),
    "seconds": Param(600, type="integer"),
    "max_run": Param(7200, type="integer"),
    "deferrable": Param(True, type="boolean"),
    "looks": Param("poke", enum=["poke", "reschedule"]),
    "hold_at": Param("", type="string"),
    "kill_at": Param("", type="string"),
    "fault_at": Param({}, type="object"),
    "scout_seconds": Param(RUN_SECONDS, type="integer"),
    "dies_alone": Param(False, type="boolean"),
    "trigger_fails_after": Param(None, type=["null", "number"]),
    "policy": Param({"name": "widen"}, type="object"),
    "deadline": Param(None, type=["null", "string"]),
    "expected_runtime": Param(None, type=["null", "object"]),
    "training_timeout": Param(None, type=["null", "integer"]),
    "training_job_name": Param("", type="string"),
    "botocore_config": Param({}, type="object"),
    "connection": Param("aws_default", type="string"),
    "found_state": Param(None, type=["null", "object"]),
    "graves": Param("", type="string"),
}

#: Closed (no slots) by the tests, so that what is due waits.
POOL = "chaos"
TASK = "train"

CONFIG = {
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
}

TRAINS = partial(
    MortalOperator,
    config=CONFIG,
    training_timeout="{{ params.training_timeout }}",
    deadline="{{ params.deadline }}",
    expected_runtime="{{ params.expected_runtime }}",
)
WATCHES = partial(
    MortalSensor,
    training_job_name="{{ params.training_job_name }}",
    looks="{{ params.looks }}",
    poke_interval=5,
)


def make_dag(dag_id: str, make_task: Callable[..., Any], *, retries: int, **more: Any) -> None:
    @dag(
        dag_id=dag_id,
        schedule=None,
        start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
        params=PARAMS,
        max_active_runs=64,
        max_active_tasks=64,
        render_template_as_native_obj=True,
    )
    def chaos() -> None:
        train = make_task(
            task_id=TASK,
            pool=POOL,
            hold_at="{{ params.hold_at }}",
            kill_at="{{ params.kill_at }}",
            dies_alone="{{ params.dies_alone }}",
            trigger_fails_after="{{ params.trigger_fails_after }}",
            graves="{{ params.graves }}/{{ run_id }}",
            found_state="{{ params.found_state }}",
            fault_at="{{ params.fault_at }}",
            scout_seconds="{{ params.scout_seconds }}",
            policy="{{ params.policy }}",
            deferrable="{{ params.deferrable }}",
            botocore_config="{{ params.botocore_config }}",
            aws_conn_id="{{ params.connection }}",
            check_interval=1,
            retries=retries,
            retry_delay=timedelta(seconds=1),
            **more,
        )

        @task
        def use(trained: dict[str, Any]) -> str:
            return str(trained["Training"]["TrainingJobName"])

        use(train.output)

    chaos()


make_dag("chaos", TRAINS, retries=6)
make_dag("chaos_once", TRAINS, retries=0)
make_dag("chaos_watch", WATCHES, retries=6)
make_dag("chaos_watch_once", WATCHES, retries=0)
for name, count in json.loads(Path(__file__).with_name("retries.json").read_text()).items():
    make_dag(name, TRAINS, retries=count)
make_dag("chaos_limited", TRAINS, retries=2, execution_timeout=timedelta(seconds=20))
