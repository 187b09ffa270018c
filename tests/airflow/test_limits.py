"""When time runs out, the training job is stopped, and counted where a task is left to count it."""

from __future__ import annotations

import pytest

from include.local_stack import LocalStack, wait_until

from .conftest import job_names, set_capacity
from .dags.spot_limits import RARE

pytestmark = [pytest.mark.airflow, pytest.mark.timeout(600)]


@pytest.fixture
def drought(stack: LocalStack) -> LocalStack:
    set_capacity(stack, RARE, available=False)
    return stack


def _run(stack: LocalStack, dag_id: str, *, timeout_seconds: float = 180) -> str:
    stack.api.wait_for_dag(dag_id)
    stack.api.unpause(dag_id)
    run_id = str(stack.api.trigger(dag_id)["dag_run_id"])
    stack.api.wait_for_run(dag_id, run_id, timeout_seconds=timeout_seconds)
    return run_id


def _statuses(stack: LocalStack, contains: str) -> list[str]:
    client = stack.boto3_client("sagemaker")
    return [
        client.describe_training_job(TrainingJobName=name)["TrainingJobStatus"]
        for name in job_names(stack, contains)
    ]


def _is_stopped(stack: LocalStack, contains: str) -> None:
    def stopped() -> bool:
        statuses = _statuses(stack, contains)
        return bool(statuses) and set(statuses) == {"Stopped"}

    wait_until(stopped, f"the jobs of {contains} to be stopped", timeout_seconds=30)


def test_a_training_that_takes_too_long_is_stopped_and_counted(drought: LocalStack) -> None:
    run_id = _run(drought, "limit_task")
    for mode in ("waits", "defers"):
        task_id = f"training_timeout_{mode}"
        assert drought.api.task_instance("limit_task", run_id, task_id)["state"] == "failed"
        assert "time limit of 6 s passed" in drought.api.task_log("limit_task", run_id, task_id)
        (attempt,) = drought.api.xcom("limit_task", run_id, task_id, "attempts")
        assert attempt["ending"] == "stopped at the time limit"
        _is_stopped(drought, f"limit-training-timeout-{mode}")


def test_execution_timeout_holds_while_the_task_is_deferred_too(drought: LocalStack) -> None:
    run_id = _run(drought, "limit_task")
    for mode in ("waits", "defers"):
        task_id = f"execution_timeout_{mode}"
        assert drought.api.task_instance("limit_task", run_id, task_id)["state"] == "failed"
        _is_stopped(drought, f"limit-execution-timeout-{mode}")
    log = drought.api.task_log("limit_task", run_id, "execution_timeout_defers")
    assert "execution_timeout of 15 s passed" in log
    (attempt,) = drought.api.xcom("limit_task", run_id, "execution_timeout_defers", "attempts")
    assert attempt["ending"] == "stopped at the time limit"


def test_the_runs_own_timeout_stops_the_jobs_of_its_tasks(drought: LocalStack) -> None:
    _run(drought, "limit_run")
    for task_id in ("defers", "waits"):
        _is_stopped(drought, f"limit-{task_id}-")


def test_a_sensor_that_runs_out_of_time_leaves_the_job_it_did_not_start(drought: LocalStack) -> None:
    run_id = _run(drought, "limit_sensor")
    for mode in ("poke", "defer"):
        assert drought.api.task_instance("limit_sensor", run_id, mode)["state"] == "failed"
    assert _statuses(drought, "limit-start") == ["InProgress"]
    (name,) = job_names(drought, "limit-start")
    assert "It continues" in drought.api.task_log("limit_sensor", run_id, "defer")
    drought.boto3_client("sagemaker").stop_training_job(TrainingJobName=name)


def test_a_trigger_that_fails_leaves_the_training_to_the_worker(drought: LocalStack) -> None:
    """On the first and only try: it waits there until its time is up, stops its job and counts it."""
    run_id = _run(drought, "limit_trigger")
    log = drought.api.task_log("limit_trigger", run_id, "astray")
    assert "not the training. The task now waits for it on its worker" in log
    assert "time limit of 20 s passed" in log
    (attempt,) = drought.api.xcom("limit_trigger", run_id, "astray", "attempts")
    assert attempt["ending"] == "stopped at the time limit"
    _is_stopped(drought, "limit-astray")


def test_what_the_dags_author_does_not_allow_is_not_asked_for(drought: LocalStack) -> None:
    run_id = _run(drought, "limit_caps")
    task = drought.api.task_instance("limit_caps", run_id, "above")
    assert (task["state"], task["try_number"]) == ("failed", 1)
    assert f"InstanceType is '{RARE}': the Dag allows ml.m5.xlarge" in drought.api.task_log(
        "limit_caps", run_id, "above"
    )
    assert job_names(drought, "limit-above") == []


def test_the_sweeper_reports_an_orphan_and_stops_it_when_told_to(drought: LocalStack) -> None:
    """An orphan as a lost triggerer leaves it: its task failed, its job goes on."""
    stack = drought
    dag_id = "limit_orphan"
    stack.api.wait_for_dag(dag_id)
    stack.api.unpause(dag_id)
    run_id = str(stack.api.trigger(dag_id)["dag_run_id"])
    stack.api.wait_for_task(dag_id, run_id, "orphan", states={"deferred"}, timeout_seconds=60)
    before = set(job_names(stack, "limit-orphan"))
    stack.kill("triggerer")
    try:
        stack.api.set_task_state(dag_id, run_id, "orphan", "failed")
        stack.api.wait_for_run(dag_id, run_id, timeout_seconds=60)
        alive = {name for name in before if _status(stack, name) == "InProgress"}
        assert len(alive) == 1
        sweeper = "sweep_orphaned_trainings"
        stack.api.wait_for_dag(sweeper)
        stack.api.unpause(sweeper)
        assert _sweep(stack, stop=False) == sorted(alive)
        assert {_status(stack, name) for name in alive} == {"InProgress"}
        assert _sweep(stack, stop=True) == sorted(alive)
        wait_until(lambda: _status(stack, *alive) == "Stopped", "the orphan to stop", timeout_seconds=30)
        assert _sweep(stack, stop=True) == []
    finally:
        stack.restart("triggerer")


def _status(stack: LocalStack, name: str) -> str:
    client = stack.boto3_client("sagemaker")
    return str(client.describe_training_job(TrainingJobName=name)["TrainingJobStatus"])


def _sweep(stack: LocalStack, *, stop: bool) -> list[str]:
    run_id = str(stack.api.trigger("sweep_orphaned_trainings", {"stop": stop})["dag_run_id"])
    stack.api.wait_for_run("sweep_orphaned_trainings", run_id, timeout_seconds=60)
    found: list[str] = stack.api.xcom("sweep_orphaned_trainings", run_id, "look")
    return sorted(found)
