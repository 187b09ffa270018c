"""The local stack with real Airflow: it starts, works, survives a loss, and leaves nothing behind."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import psutil
import pytest

from include.local_stack import (
    AirflowApiError,
    LocalStack,
    LocalStackError,
    StackInUseError,
    StackTimeoutError,
    wait_until,
)

pytestmark = pytest.mark.airflow

ROOT = Path(__file__).parents[2]
DAGS = {
    "greet.py": """
        from datetime import datetime

        from airflow.sdk import Param, dag, task


        @dag(schedule="@daily", start_date=datetime(2013, 1, 1), catchup=False,
             params={"who": Param("you", type="string", maxLength=10)})
        def greet():
            @task
            def say_hello(params=None):
                import os

                import include
                import spot_training

                print("hello", params["who"])
                return {"who": params["who"], "endpoint": os.environ["AWS_ENDPOINT_URL"]}

            say_hello()


        greet()
        """,
    "patient.py": """
        from datetime import timedelta

        from airflow.providers.standard.sensors.time_delta import TimeDeltaSensor
        from airflow.sdk import dag


        @dag(schedule=None)
        def patient():
            TimeDeltaSensor(task_id="wait", delta=timedelta(days=1), deferrable=True)


        patient()
        """,
    "broken.py": """
        from airflow.sdk import dag

        raise RuntimeError("this Dag file is broken")
        """,
}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    dags = tmp_path_factory.mktemp("dags")
    for name, text in DAGS.items():
        (dags / name).write_text(textwrap.dedent(text))
    state_dir = tmp_path_factory.mktemp("state")
    with LocalStack(ROOT, state_dir, dags_folder=dags, parallelism=2) as running:
        yield running
    assert _list_processes(state_dir) == []


def _list_processes(folder: Path) -> list[str]:
    found = []
    for process in psutil.process_iter():
        try:
            if process.cwd() == str(folder):
                found.append(" ".join(process.cmdline()))
        except psutil.Error:
            continue
    return found


def test_a_run_with_params_goes_through_the_rest_api(stack: LocalStack) -> None:
    api = stack.api
    api.wait_for_dag("greet")
    api.unpause("greet")
    run = api.trigger(
        "greet", {"who": "world"}, run_id="by-hand", logical_date=datetime(2013, 1, 7, tzinfo=UTC)
    )
    assert api.wait_for_run("greet", run["dag_run_id"])["state"] == "success"
    assert api.xcom("greet", "by-hand", "say_hello") == {"who": "world", "endpoint": stack.sagemaker_url}
    assert "hello world" in api.task_log("greet", "by-hand", "say_hello")
    assert [task["state"] for task in api.task_instances("greet", "by-hand")] == ["success"]


def test_a_param_outside_its_limits_is_refused_with_airflows_own_words(stack: LocalStack) -> None:
    stack.api.wait_for_dag("greet")
    with pytest.raises(AirflowApiError, match=r"400 .*is too long"):
        stack.api.trigger("greet", {"who": "somebody with a long name"})


def test_a_backfill_runs_every_interval(stack: LocalStack) -> None:
    api = stack.api
    api.wait_for_dag("greet")
    api.unpause("greet")
    first, last = datetime(2013, 2, 1, tzinfo=UTC), datetime(2013, 2, 3, tzinfo=UTC)
    backfill = api.create_backfill("greet", first, last, conf={"who": "past"}, max_active_runs=2)
    runs = api.wait_for_backfill(backfill["id"])
    assert [run["state"] for run in runs] == ["success"] * 3
    assert api.xcom("greet", runs[0]["dag_run_id"], "say_hello")["who"] == "past"


def test_a_deferred_task_waits_through_a_restart_of_the_triggerer(stack: LocalStack) -> None:
    api = stack.api
    api.wait_for_dag("patient")
    api.unpause("patient")
    run_id = api.trigger("patient", run_id="waits")["dag_run_id"]
    api.wait_for_task("patient", run_id, "wait", {"deferred"})
    before = stack.processes["triggerer"].pid
    stack.restart("triggerer")
    assert stack.processes["triggerer"].pid != before
    assert api.task_instance("patient", run_id, "wait")["state"] == "deferred"
    api.set_task_state("patient", run_id, "wait", "success")
    assert api.wait_for_run("patient", run_id)["state"] == "success"


def test_a_cleared_task_runs_again(stack: LocalStack) -> None:
    api = stack.api
    api.wait_for_dag("greet")
    api.unpause("greet")
    run_id = api.trigger("greet", run_id="again")["dag_run_id"]
    api.wait_for_run("greet", run_id)
    assert [task["task_id"] for task in api.clear("greet", run_id)] == ["say_hello"]

    def ran_twice() -> bool:
        task = api.task_instance("greet", run_id, "say_hello")
        return bool(task["try_number"] == 2 and task["state"] == "success")

    wait_until(ran_twice, "the second try", timeout_seconds=60)


def test_a_broken_dag_file_is_an_import_error_that_can_be_read(stack: LocalStack) -> None:
    def find() -> str | None:
        return next((error["stack_trace"] for error in stack.api.list_import_errors()), None)

    assert "this Dag file is broken" in wait_until(find, "the import error", timeout_seconds=30)


def test_a_scheduler_that_was_killed_comes_back(stack: LocalStack) -> None:
    stack.kill("scheduler")
    assert stack.processes["scheduler"].exit_code is not None
    stack.restart("scheduler")
    stack.processes["scheduler"].check_runs()


def test_a_second_stack_in_the_same_folder_is_refused(stack: LocalStack) -> None:
    with pytest.raises(StackInUseError, match="another stack runs in"):
        LocalStack(ROOT, stack.state_dir, grace_seconds=0.0).start()


def test_airflows_own_commands_run_in_the_environment_of_the_stack(stack: LocalStack) -> None:
    assert (
        stack.run_airflow("config", "get-value", "core", "execution_api_server_url")
        .strip()
        .endswith(f"{stack.airflow_url}/execution/")
    )


def test_a_component_that_cannot_start_is_an_error_with_its_last_words(tmp_path: Path) -> None:
    env = {"AIRFLOW__TRIGGERER__CAPACITY": "plenty"}
    stack = LocalStack(ROOT, tmp_path, components=["triggerer"], env=env)
    with pytest.raises(LocalStackError, match=r"triggerer ended with exit code 1(?s:.*)plenty"):
        stack.start()
    assert _list_processes(tmp_path) == []


def test_a_component_that_does_not_come_up_in_time_is_named(tmp_path: Path) -> None:
    stack = LocalStack(ROOT, tmp_path, components=["api-server"], start_timeout_seconds=0.5)
    with pytest.raises((StackTimeoutError, LocalStackError), match="api-server"):
        stack.start()
    assert _list_processes(tmp_path) == []
