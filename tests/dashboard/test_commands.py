"""The commands in a real Airflow: what a person lists, reads and stops, and what they may not."""

from __future__ import annotations

import json
from typing import Any

import pytest

from include.local_stack import wait_until
from include.local_stack.environment import airflow_version
from spot_training.__main__ import main

from .conftest import SPEED, Site

pytestmark = [pytest.mark.airflow, pytest.mark.timeout(600)]

#: The triggerer stops the jobs of tasks that people mark. Before, the sweeper finds them.
STOPS_AT_ONCE = airflow_version() >= (3, 3)


def test_a_training_is_listed_read_and_stopped(
    site: Site, visit: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AIRFLOW_API_URL", site.url)
    monkeypatch.setenv("AIRFLOW_API_TOKEN", site.token("admin"))

    def ask(*arguments: str) -> Any:
        capsys.readouterr()
        assert main([*arguments, "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    page = visit().page
    page.goto(site.page)
    run_id = site.start("within_budget", seconds=600 * SPEED)

    def row() -> Any:
        rows = ask("jobs", "--dag-id", "within_budget")["rows"]
        return next((one for one in rows if one["phase"] == "training"), None)

    found = wait_until(row, "the training is listed as one that trains", timeout_seconds=120)
    assert (found["run_id"], found["attempt"], found["task_state"]) == (run_id, 1, None)
    # The page that was open before shows it, too.
    page.locator("#now").get_by_role("link", name="within_budget").wait_for()
    job = found["job_name"]
    assert any(job in str(entry) for entry in ask("logs", job))
    assert ask("report", "--dag-id", "within_budget")["month"]["budgets"] == {"within_budget": 250}

    monkeypatch.setenv("AIRFLOW_API_TOKEN", site.token("guest"))
    assert "within_budget" not in json.dumps(ask("jobs"))
    assert main(["stop", job]) == 1
    task = ["--dag-id", "within_budget", "--run-id", run_id, "--task-id", "train"]
    assert main(["stop", *task]) == 1
    assert "does not allow this user" in capsys.readouterr().err

    monkeypatch.setenv("AIRFLOW_API_TOKEN", site.token("admin"))
    assert ask("stop", job)["run_id"] == run_id
    assert main(["stop", *task]) == 1
    assert "is over already (failed)" in capsys.readouterr().err
    if STOPS_AT_ONCE:
        client = site.stack.boto3_client("sagemaker")

        def is_stopped() -> bool:
            status = client.describe_training_job(TrainingJobName=job)["TrainingJobStatus"]
            return status in {"Stopping", "Stopped"}

        wait_until(is_stopped, "the job is stopped", timeout_seconds=60)


def test_a_sweep_runs_in_airflow_and_only_for_those_who_may_start_it(
    site: Site, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AIRFLOW_API_URL", site.url)
    monkeypatch.setenv("AIRFLOW_API_TOKEN", site.token("admin"))
    site.stack.api.wait_for_dag("sweep_orphaned_trainings")
    assert main(["sweep"]) == 1
    assert "is paused" in capsys.readouterr().err
    site.stack.api.unpause("sweep_orphaned_trainings")
    monkeypatch.setenv("AIRFLOW_API_TOKEN", site.token("guest"))
    assert main(["sweep"]) == 1
    assert "does not allow this user" in capsys.readouterr().err
    monkeypatch.setenv("AIRFLOW_API_TOKEN", site.token("admin"))
    assert main(["sweep", "--timeout", "5m"]) == 0
    assert "Orphans left by the sweep of" in capsys.readouterr().out


def test_advice_is_from_the_trainings_that_the_user_may_read(
    site: Site, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AIRFLOW_API_URL", site.url)
    monkeypatch.setenv("AIRFLOW_API_TOKEN", site.token("admin"))
    question = ["advise", "--deadline", "20h", "--own-history", "--json"]
    churn = [*question, "--model", "churn", "--instance-type", "ml.g5.xlarge"]
    demand = [*question, "--model", "demand", "--instance-type", "ml.c5.2xlarge"]
    assert main(demand) == 0
    advice = json.loads(capsys.readouterr().out)
    assert "past runs of demand on ml.c5.2xlarge" in advice["basis"]
    assert "ml.c5.2xlarge" in {each["instance_type"] for each in advice["types_seen"]}
    monkeypatch.setenv("AIRFLOW_API_TOKEN", site.token("guest"))
    assert main(churn) == 0
    advice = json.loads(capsys.readouterr().out)
    assert {each["instance_type"] for each in advice["types_seen"]} <= {"ml.m5.xlarge", "ml.g5.xlarge"}
    assert main(demand) == 2
    assert "demand" in capsys.readouterr().err
