"""Operator and sensor as Airflow runs them: a task instance whose processes come and go."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, TypeVar

import pytest
from airflow.sdk.exceptions import AirflowRuntimeError, ErrorType, TaskDeferred
from airflow.sdk.execution_time.comms import ErrorResponse

from spot_training.operators import SpotTrainingOperator
from spot_training.training.state import MemoryStore
from tests.cloud import Cloud, make_config

Task = TypeVar("Task")

#: A request whose job waits for capacity for as long as a test takes, on the cloud's quick clock.
PATIENT = {"MaxRuntimeInSeconds": 3600, "MaxWaitTimeInSeconds": 20 * 86400}


class Store(MemoryStore):
    """Airflow's task state store, as a process sees it that may have been replaced by a later try."""

    is_of_an_old_try = False

    def get(self, key: str) -> Any:
        return None if self.is_of_an_old_try else super().get(key)

    def set(self, key: str, value: Any, *, retention: timedelta | None = None) -> None:
        self._check()
        super().set(key, value, retention=retention)

    def delete(self, key: str) -> None:
        self._check()
        super().delete(key)

    def _check(self) -> None:
        if self.is_of_an_old_try:
            raise AirflowRuntimeError(
                ErrorResponse(error=ErrorType.API_SERVER_ERROR, detail={"status_code": 404})
            )


class Run:
    """A task instance whose processes come and go; what they leave behind stays."""

    def __init__(self, *, try_number: int = 1, max_tries: int = 0) -> None:
        self.store = Store()
        self.state: str | None = "running"
        self.began_at = datetime.now(UTC)
        self.try_number, self.max_tries = try_number, max_tries
        self.push: Callable[..., None] = lambda **_kwargs: None

    def context(self) -> Any:
        ti = SimpleNamespace(
            dag_id="failing",
            run_id="run 1",
            task_id="task",
            map_index=-1,
            try_number=self.try_number,
            max_tries=self.max_tries,
            xcom_push=self.push,
            get_task_states=self._states,
        )
        return {
            "ti": ti,
            "dag_run": SimpleNamespace(start_date=self.began_at),
            "task_state_store": self.store,
        }

    def replace(self, state: str | None) -> None:
        """Airflow has failed this try while its process stood still; the task is in this state since."""
        self.store.is_of_an_old_try, self.state = True, state

    def _states(self, **_asked: Any) -> dict[str, dict[str, str | None]]:
        if self.state == "no answer":
            raise ConnectionError(self.state)
        return {"run 1": {} if self.state == "no such task" else {"task": self.state}}

    def deferred(self, make: Callable[[], Any]) -> Any:
        """A new process of the task, after the first one deferred."""
        with pytest.raises(TaskDeferred):
            make().execute(self.context())
        return make()


def make_operator(**arguments: Any) -> SpotTrainingOperator:
    fixed = {"config": make_config(StoppingCondition=PATIENT), "check_interval": 1, "print_log": False}
    return SpotTrainingOperator(task_id="task", **{**fixed, **arguments})


def rendered(task: Task, **values: Any) -> Task:
    """The task with values that its templates rendered: constants are checked when it is made."""
    for name, value in values.items():
        setattr(task, name, value)
    return task


def start_elsewhere(cloud: Cloud) -> str:
    request = {**make_config(StoppingCondition=PATIENT), "TrainingJobName": "started-elsewhere"}
    cloud.client("sagemaker").create_training_job(**request, EnableManagedSpotTraining=True)
    return "started-elsewhere"


def going_on(cloud: Cloud) -> list[str]:
    """The names of the jobs that nobody stopped, and that are not over."""
    jobs = cloud.client("sagemaker").list_training_jobs(StatusEquals="InProgress")
    return [job["TrainingJobName"] for job in jobs["TrainingJobSummaries"]]


def fail(*_args: Any, **_kwargs: Any) -> None:
    raise ConnectionError("the API server does not answer")
