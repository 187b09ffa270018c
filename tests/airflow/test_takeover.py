"""A triggerer or a worker is frozen for long: no healthy job is stopped, and no person is overruled."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from include.local_stack import LocalStack, best_database, wait_until
from spot_training.sagemaker.identity import TAG_STOPPED_FOR

from .conftest import ROOT, job_names, set_capacity

pytestmark = [pytest.mark.airflow, pytest.mark.timeout(600)]

DAG = "takeover"
RARE = "ml.m5.24xlarge"
#: How long a triggerer may be silent before another one takes its triggers.
THRESHOLD_SECONDS = 8
#: How long a task's process may be silent before Airflow fails its try.
TASK_THRESHOLD_SECONDS = 15
TASKS = (("marked", -1), ("cleared", -1), ("mapped", 0), ("mapped", 1))


@pytest.fixture(scope="module")
def two_triggerers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    state = tmp_path_factory.mktemp("takeover")
    settings = {
        "AIRFLOW__SPOT_TRAINING__INSTALLATION": "takeover",
        "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": str(THRESHOLD_SECONDS),
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": str(TASK_THRESHOLD_SECONDS),
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "2",
    }
    with (
        best_database() as database,
        LocalStack(
            ROOT,
            state / "state",
            speed=60,
            dags_folder=Path(__file__).parent / "dags_takeover",
            components=(
                *("local-sagemaker", "api-server", "scheduler", "dag-processor"),
                *("triggerer", "triggerer:2"),
            ),
            env=database | settings,
        ) as stack,
    ):
        set_capacity(stack, RARE, available=False)
        yield stack


class Takeover:
    """A run whose four tasks are deferred, all on the first triggerer until that one is frozen."""

    def __init__(self, stack: LocalStack) -> None:
        self.stack, self.api = stack, stack.api
        stack.kill("triggerer:2")
        self.api.wait_for_dag(DAG)
        self.api.unpause(DAG)
        self.run_id = str(self.api.trigger(DAG)["dag_run_id"])
        wait_until(self._are_all_deferred, "four deferred tasks", timeout_seconds=120)
        wait_until(lambda: len(self.statuses()) == len(TASKS), "four jobs", timeout_seconds=30)
        self._first = int(wait_until(self._find_triggerer, "a triggerer for each task", timeout_seconds=60))
        stack.restart("triggerer:2")

    def _find_triggerer(self) -> int | None:
        """The one that has all four tasks."""
        jobs = [task["triggerer_job"] for task in self.api.task_instances(DAG, self.run_id)]
        ids = {job["id"] for job in jobs if job}
        return ids.pop() if all(jobs) and len(ids) == 1 else None

    def _are_all_deferred(self) -> bool:
        tasks = self.api.task_instances(DAG, self.run_id)
        return len(tasks) == len(TASKS) and {task["state"] for task in tasks} == {"deferred"}

    def statuses(self) -> dict[str, str]:
        return {name: self.describe(name)["TrainingJobStatus"] for name in job_names(self.stack, "takeover")}

    def describe(self, name: str) -> dict[str, Any]:
        client = self.stack.boto3_client("sagemaker")
        described: dict[str, Any] = client.describe_training_job(TrainingJobName=name)
        return described

    def stopped_for(self, name: str) -> str | None:
        arn = self.describe(name)["TrainingJobArn"]
        tags = self.stack.boto3_client("sagemaker").list_tags(ResourceArn=arn)["Tags"]
        return next((tag["Value"] for tag in tags if tag["Key"] == TAG_STOPPED_FOR), None)

    def job_of(self, task: str) -> str:
        return next(name for name in self.statuses() if name.startswith(f"takeover-{task}-"))

    def freeze_the_first(self) -> None:
        """SIGSTOP beyond the threshold, until the second triggerer has all triggers, and SIGCONT."""
        frozen = self.stack.freeze("triggerer")
        try:
            time.sleep(THRESHOLD_SECONDS + 4)
            wait_until(self._has_second_all, "the second triggerer to take over", timeout_seconds=90)
        finally:
            frozen.thaw()

    def _has_second_all(self) -> bool:
        return self._find_triggerer() not in {None, self._first}


def test_a_triggerer_that_comes_back_stops_no_job_that_another_has_taken_over(
    two_triggerers: LocalStack,
) -> None:
    run = Takeover(two_triggerers)
    jobs = set(run.statuses())
    run.freeze_the_first()
    # Airflow cancels the first one's triggers within a second; each of them asks, and would stop by now.
    time.sleep(8)
    assert set(run.statuses().values()) == {"InProgress"}

    # A person's actions still count, each with its reason.
    run.api.set_task_state(DAG, run.run_id, "marked", "failed")
    marked = run.job_of("marked")
    wait_until(
        lambda: run.statuses()[marked] == "Stopped", "the marked task's job to stop", timeout_seconds=40
    )
    assert run.stopped_for(marked) == "task-ended"

    # A task that is cleared goes on with its job.
    cleared = run.job_of("cleared")
    run.api.clear(DAG, run.run_id, ["cleared"])
    wait_until(
        lambda: (
            run.api.task_instance(DAG, run.run_id, "cleared")["try_number"] > 1
            and run.api.task_instance(DAG, run.run_id, "cleared")["state"] == "deferred"
        ),
        "the cleared task to defer again",
        timeout_seconds=90,
    )
    time.sleep(5)
    assert run.statuses()[cleared] == "InProgress"
    assert set(run.statuses()) == jobs

    # A redeploy of both triggerers stops nothing.
    run.stack.restart("triggerer", "triggerer:2")
    time.sleep(5)
    alive = {name for name, status in run.statuses().items() if status == "InProgress"}
    assert alive == jobs - {marked}

    # A run that is failed as a whole stops its jobs, mapped ones too.
    run.api.request("PATCH", f"dags/{DAG}/dagRuns/{run.run_id}", body={"state": "failed"})
    wait_until(
        lambda: set(run.statuses().values()) == {"Stopped"}, "all jobs of the run to stop", timeout_seconds=60
    )
    assert {run.stopped_for(name) for name in jobs} == {"task-ended"}


def test_a_worker_that_comes_back_leaves_the_job_to_the_try_that_has_replaced_its_own(
    two_triggerers: LocalStack,
) -> None:
    stack, api = two_triggerers, two_triggerers.api
    api.wait_for_dag("on_worker")
    api.unpause("on_worker")
    run_id = str(api.trigger("on_worker")["dag_run_id"])

    def jobs() -> list[str]:
        return [name for name in job_names(stack, "takeover") if name.startswith("takeover-worker-")]

    def is_try(number: int) -> bool:
        task = api.task_instance("on_worker", run_id, "train")
        return bool(task["try_number"] == number and task["state"] == "running")

    wait_until(lambda: is_try(1) and jobs(), "the first try's job", timeout_seconds=120)
    (job,) = jobs()
    frozen = stack.freeze("tasks")
    try:
        wait_until(lambda: is_try(2), "a second try", timeout_seconds=120)
        wait_until(
            lambda: job in api.task_log("on_worker", run_id, "train", 2),
            "the second try to take the job over",
            timeout_seconds=60,
        )
    finally:
        frozen.thaw()
    said = "The job is not stopped"
    wait_until(
        lambda: said in api.task_log("on_worker", run_id, "train", 1),
        "the first try to find out",
        timeout_seconds=60,
    )
    time.sleep(5)  # Airflow has killed its process by now
    client = stack.boto3_client("sagemaker")
    assert client.describe_training_job(TrainingJobName=job)["TrainingJobStatus"] == "InProgress"
    assert is_try(2)

    api.set_task_state("on_worker", run_id, "train", "failed")
    wait_until(
        lambda: client.describe_training_job(TrainingJobName=job)["TrainingJobStatus"] == "Stopped",
        "the job to stop once its task is marked failed",
        timeout_seconds=60,
    )
    assert jobs() == [job]
