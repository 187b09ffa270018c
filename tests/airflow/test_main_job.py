"""The main job on real Airflow: scheduled, by hand, as a backfill; every way of waiting; every bad input."""

from __future__ import annotations

import csv
import json
import re
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest

from include.local_stack import AirflowApiError, LocalStack, wait_until
from include.local_stack.environment import airflow_version
from spot_training.sagemaker.identity import RunIdentity

from .conftest import SPEED, job_names, live_jobs, set_capacity

pytestmark = [pytest.mark.airflow, pytest.mark.timeout(600)]

DAG, FIRST, TASK = "retrain_flight_delays", "prepare.channels", "train.train"
#: Real scripts share two cores with Airflow, and simulated time runs on: leave them room.
ROOM = {"max_run": 86400, "first_wait": 86400, "num_round": 20}
WEEK = datetime(2013, 3, 3, tzinfo=UTC)


def _run(stack: LocalStack, dag_id: str, conf: dict[str, Any] | None = None) -> str:
    """Trigger a run as the trigger form does, and wait until it is over."""
    stack.api.wait_for_dag(dag_id)
    stack.api.unpause(dag_id)
    run_id = str(stack.api.trigger(dag_id, conf)["dag_run_id"])
    stack.api.wait_for_run(dag_id, run_id, timeout_seconds=240)
    return run_id


def _states(stack: LocalStack, dag_id: str, run_id: str) -> dict[str, str]:
    return {str(t["task_id"]): str(t["state"]) for t in stack.api.task_instances(dag_id, run_id)}


def _own_log(stack: LocalStack, dag_id: str, run_id: str, task_id: str) -> list[str]:
    """What our code logged in a task and its trigger, from the files: they name the loggers.

    Airflow's base sensor says with the name of ours that it has looked for the last time.
    """
    folder = stack.airflow_home / "logs" / f"dag_id={dag_id}" / f"run_id={run_id}" / f"task_id={task_id}"
    lines = [json.loads(line) for file in folder.glob("*.log*") for line in file.read_text().splitlines()]
    lines.sort(key=lambda line: str(line["timestamp"]))
    own = [str(line["event"]) for line in lines if "spot_training" in str(line.get("logger"))]
    return [line for line in own if line != "Success criteria met. Exiting."]


def _check_log(stack: LocalStack, dag_id: str, run_id: str, task_id: str) -> None:
    """First the simulated clock, last the savings, and no line with a time besides the log's own."""
    lines = _own_log(stack, dag_id, run_id, task_id)
    assert lines[0] == f"local cloud, clock x{SPEED}: times and costs are simulated."
    assert lines.count(lines[0]) == 1
    assert lines[-1].startswith("Training completed: ")
    assert [line for line in lines if re.match(r"\S*\d\d:\d\d:\d\d|\d{4}-\d\d-\d\d", line)] == []
    assert any(re.match(r"\S+ Training at (\S+ )?\d\d:\d\d UTC: ", line) for line in lines)


def _is_plain_json(value: Any) -> bool:
    return bool(json.loads(json.dumps(value)) == value)


def test_the_dags_load(stack: LocalStack) -> None:
    for dag_id in (DAG, "spot_savings_report", "variant_operator", "variant_bad_input"):
        stack.api.wait_for_dag(dag_id)
    # Airflow before 3.1 has no question to a person.
    need_a_person = {"retrain_with_approval.py", "spot_approval.py"} if airflow_version() < (3, 1) else set()

    def refused() -> dict[str, str] | None:
        found = {Path(e["filename"]).name: str(e["stack_trace"]) for e in stack.api.list_import_errors()}
        return found if need_a_person <= found.keys() else None

    errors = (
        wait_until(refused, "the Dags that ask a person", timeout_seconds=60) if need_a_person else refused()
    )
    assert errors is not None
    assert errors.keys() == need_a_person
    assert all("needs Airflow 3.1 or later" in error for error in errors.values())


def test_the_scheduler_retrains_the_latest_week_and_the_report_follows(stack: LocalStack) -> None:
    stack.api.wait_for_dag(DAG)
    stack.api.unpause("spot_savings_report")
    stack.api.unpause(DAG)

    def scheduled() -> list[dict[str, Any]]:
        return stack.api.list_runs(DAG, run_type="scheduled")

    (run,) = wait_until(scheduled, "a scheduled run", timeout_seconds=60)
    run_id = run["dag_run_id"]
    assert stack.api.wait_for_run(DAG, run_id, timeout_seconds=240)["state"] == "success"
    assert set(_states(stack, DAG, run_id).values()) == {"success"}

    def report_runs() -> list[dict[str, Any]]:
        # Its weekly run may be there, too.
        return stack.api.list_runs("spot_savings_report", run_type="asset_triggered")

    (report, *_) = wait_until(report_runs, "the report to follow the model", timeout_seconds=60)
    report_id = report["dag_run_id"]
    assert stack.api.wait_for_run("spot_savings_report", report_id)["state"] == "success"
    summary = stack.api.xcom("spot_savings_report", report_id, "report")
    assert summary["completed"] >= 1
    assert summary["headline"].startswith("Spot ")
    assert "/spot-training/?" in summary["page"]
    jobs = Path(summary["jobs_csv"].removeprefix("file://")).read_text()
    assert ":training-job/flight-delays-" in jobs
    html = Path(summary["html"].removeprefix("file://")).read_text()
    assert run_id.replace("+", "&#43;") in html or run_id in html
    assert "<svg" in html
    assert "instance time instead of about" in stack.api.task_log("spot_savings_report", report_id, "report")


#: Conf keys that are no params of the Dag: names of its own settings, of the operator's and of SageMaker's.
NO_PARAMS = {
    "role_arn": "arn:aws:iam::123456789012:role/Admin",
    "bucket": "somebody-elses",
    "caps": None,
    "config": {"ResourceConfig": {"InstanceCount": 50}},
    "instance_count": 50,
    "RoleArn": "arn:aws:iam::123456789012:role/Admin",
    "{{ 7 * 7 }}": "$(reboot)",
    "../../etc/passwd": "'; DROP TABLE dag_run; --",
}


def test_params_of_the_trigger_form_reach_the_training_job_and_nothing_else_does(stack: LocalStack) -> None:
    params = {**ROOM, "instance_type": "ml.c5.xlarge", "use_spot": False, "num_round": 11}
    run_id = _run(stack, DAG, {**NO_PARAMS, **params})
    assert _states(stack, DAG, run_id)[TASK] == "success"
    training = stack.api.xcom(DAG, run_id, TASK)["Training"]
    assert training["RoleArn"] == "arn:aws:iam::123456789012:role/SageMakerTraining"
    assert training["ResourceConfig"]["InstanceCount"] == 1
    assert training["OutputDataConfig"]["S3OutputPath"] == "s3://flight-delays/models"
    assert not any(word in str(training) for word in ("Admin", "somebody-elses", "reboot", "DROP TABLE"))
    assert training["ResourceConfig"]["InstanceType"] == "ml.c5.xlarge"
    assert training["EnableManagedSpotTraining"] is False
    assert training["StoppingCondition"] == {"MaxRuntimeInSeconds": 86400}
    assert training["HyperParameters"]["num_round"] == "11"
    savings = stack.api.xcom(DAG, run_id, TASK, "savings")
    assert savings["savings_percent"] == 0


@pytest.mark.parametrize(
    "conf",
    [
        {"instance_type": "ml.p5.48xlarge"},
        {"max_run": 1},
        {"max_run": "3600; rm -rf /"},
        {"max_run": "two hours"},
        {"first_wait": 10**9},
        {"policy": "yolo"},
        {"num_round": 0},
        {"use_spot": "maybe"},
        {"instance_type": "ml.m5.xlarge'; DROP TABLE dag_run; --"},
        {"instance_type": "{{ var.value.flight_delays_role_arn }}"},
        {"policy": "../../etc/passwd"},
        {"policy": {"name": "widen", "spot_attempts": 10**9}},
        {"num_round": "200 && curl evil"},
        {"max_run": 10**30},
        {"first_wait": 0.5},
    ],
)
def test_a_param_outside_its_limits_starts_no_run(stack: LocalStack, conf: dict[str, Any]) -> None:
    stack.api.wait_for_dag(DAG)
    with pytest.raises(AirflowApiError, match=next(iter(conf))):
        stack.api.trigger(DAG, conf)
    before = stack.api.list_runs(DAG, run_type="backfill")
    # Airflow before 3.2.2 does not say why, and leaves a backfill without runs.
    says_why = airflow_version() >= (3, 2, 2)
    with pytest.raises(AirflowApiError, match=next(iter(conf)) if says_why else "500 Internal Server Error"):
        stack.api.create_backfill(DAG, WEEK, WEEK, conf=conf)
    _cancel_backfills_without_runs(stack, none_expected=says_why)
    assert stack.api.list_runs(DAG, run_type="backfill") == before


def _cancel_backfills_without_runs(stack: LocalStack, *, none_expected: bool) -> None:
    """Airflow allows a Dag one unfinished backfill, and may complete one while it is cancelled."""
    for backfill in stack.api.request("GET", "backfills", params={"dag_id": DAG})["backfills"]:
        if backfill["completed_at"] is None:
            assert not none_expected
            try:
                stack.api.request("PUT", f"backfills/{backfill['id']}/cancel")
            except AirflowApiError as refusal:
                if refusal.status_code != HTTPStatus.CONFLICT:
                    raise


def test_a_wait_below_the_run_time_fails_before_any_job(stack: LocalStack) -> None:
    run_id = _run(stack, DAG, {"max_run": "2h", "first_wait": "1h"})
    states = _states(stack, DAG, run_id)
    assert (states[FIRST], states[TASK]) == ("failed", "upstream_failed")
    assert "policy.first_wait is 3600" in stack.api.task_log(DAG, run_id, FIRST)
    # The scheduled run, if there is one by now, may have made its own.
    training = RunIdentity(dag_id=DAG, run_id=run_id, task_id=TASK, installation="tests")
    assert job_names(stack, contains=training.key) == []


def test_a_backfill_of_eight_weeks_in_parallel_shares_nothing(stack: LocalStack) -> None:
    stack.api.wait_for_dag(DAG)
    stack.api.unpause(DAG)
    backfill = stack.api.create_backfill(
        DAG,
        datetime(2013, 4, 7, tzinfo=UTC),
        datetime(2013, 5, 26, tzinfo=UTC),
        conf=ROOM,
        max_active_runs=4,
    )
    runs = stack.api.wait_for_backfill(int(backfill["id"]), timeout_seconds=400)
    assert len(runs) == 8
    assert {run["state"] for run in runs} == {"success"}
    trainings = [stack.api.xcom(DAG, run["dag_run_id"], TASK)["Training"] for run in runs]
    assert len({t["TrainingJobName"] for t in trainings}) == 8
    assert len({t["CheckpointConfig"]["S3Uri"] for t in trainings}) == 8
    windows = [t["InputDataConfig"][0]["DataSource"]["S3DataSource"]["S3Uri"] for t in trainings]
    assert len(set(windows)) == 8
    report_id = _run(stack, "spot_savings_report")
    table = Path(stack.api.xcom("spot_savings_report", report_id, "report")["csv"].removeprefix("file://"))
    with table.open(newline="") as lines:
        listed = {row["run_id"] for row in csv.DictReader(lines)}
    assert {run["dag_run_id"] for run in runs} <= listed


@pytest.mark.parametrize("mode", ["waits", "defers"])
def test_the_operator_completes_on_spot(stack: LocalStack, mode: str) -> None:
    run_id = _variant_operator_run(stack)
    assert _states(stack, "variant_operator", run_id)[mode] == "success"
    result = stack.api.xcom("variant_operator", run_id, mode)
    assert _is_plain_json(result)
    assert result["Training"]["TrainingJobStatus"] == "Completed"
    assert stack.api.xcom("variant_operator", run_id, f"read_{mode}").endswith("/output/model.tar.gz")
    (attempt,) = stack.api.xcom("variant_operator", run_id, mode, "attempts")
    assert attempt["purchase"] == "spot"
    assert attempt["ending"] == "completed"
    assert datetime.fromisoformat(attempt["created_at"]) < datetime.fromisoformat(attempt["ended_at"])
    log = stack.api.task_log("variant_operator", run_id, mode)
    assert "Downloading" in log
    assert "Training completed: 1 attempt" in log
    _check_log(stack, "variant_operator", run_id, mode)


_runs: dict[str, str] = {}


def _variant_operator_run(stack: LocalStack) -> str:
    """One run shows both modes: it is made once."""
    if "operator" not in _runs:
        _runs["operator"] = _run(stack, "variant_operator")
    return _runs["operator"]


def test_no_capacity_falls_back_on_demand_in_both_modes(stack: LocalStack) -> None:
    set_capacity(stack, "ml.m5.4xlarge", available=False)
    run_id = _run(stack, "variant_operator", {"instance_type": "ml.m5.4xlarge"})
    for mode in ("waits", "defers"):
        attempts = stack.api.xcom("variant_operator", run_id, mode, "attempts")
        assert [(a["purchase"], a["ending"]) for a in attempts] == [
            ("spot", "never got capacity"),
            ("on-demand", "completed"),
        ]
        log = stack.api.task_log("variant_operator", run_id, mode)
        assert "MaxWaitTimeExceeded" in log
        assert "no spot capacity for ml.m5.4xlarge in 1 h" in log


def test_a_training_moves_to_the_type_with_capacity_in_both_modes(stack: LocalStack) -> None:
    first, second, third = "ml.c5.2xlarge", "ml.c6i.2xlarge", "ml.c7i.2xlarge"
    for kind in (first, second):
        set_capacity(stack, kind, available=False)
    run_id = _run(stack, "variant_types", {"instance_type": first})
    assert set(_states(stack, "variant_types", run_id).values()) == {"success"}
    for task_id in ("waits", "defers"):
        attempts = stack.api.xcom("variant_types", run_id, task_id, "attempts")
        assert [(a["instance_type"], a["ending"]) for a in attempts] == [
            (first, "moved to another type"),
            (third, "completed"),
        ]
        scouts = stack.api.xcom("variant_types", run_id, task_id, "scouts")
        assert {scout["instance_type"] for scout in scouts} >= {second, third}
        savings = stack.api.xcom("variant_types", run_id, task_id, "savings")
        billed = sum(job["billable_seconds"] for job in (*attempts, *scouts))
        assert savings["billable_instance_seconds"] == billed
        log = stack.api.task_log("variant_types", run_id, task_id)
        assert f"There is spot capacity for {third}: the training moves there from {first}." in log
    assert [name for name in live_jobs(stack) if "-scout-" in name] == []


def test_each_index_of_a_mapped_task_is_a_training_of_its_own(stack: LocalStack) -> None:
    set_capacity(stack, "ml.c5.18xlarge", available=False)
    run_id = _run(stack, "variant_mapped", {"instance_type": "ml.c5.18xlarge"})
    assert [t["state"] for t in stack.api.task_instances("variant_mapped", run_id)] == ["success"] * 4
    jobs: list[str] = []
    for mode in ("waits", "defers"):
        at_once, late = (
            stack.api.xcom("variant_mapped", run_id, mode, "attempts", map_index=index) for index in (0, 1)
        )
        assert [(a["purchase"], a["ending"]) for a in at_once] == [("spot", "completed")]
        assert [(a["purchase"], a["ending"]) for a in late] == [
            ("spot", "never got capacity"),
            ("on-demand", "completed"),
        ]
        jobs += [attempt["job_name"] for attempt in at_once + late]
    assert len(set(jobs)) == 6


def test_marking_one_index_of_a_deferred_mapped_task_stops_its_job_only(stack: LocalStack) -> None:
    stack.api.wait_for_dag("variant_mapped")
    stack.api.unpause("variant_mapped")
    run_id = str(stack.api.trigger("variant_mapped", {"seconds": 12000, "max_run": 86400})["dag_run_id"])
    logs = stack.airflow_home / "logs" / "dag_id=variant_mapped" / f"run_id={run_id}" / "task_id=defers"
    for index in (0, 1):
        stack.api.wait_for_task("variant_mapped", run_id, "defers", states={"deferred"}, map_index=index)
    wait_until(lambda: len([*logs.glob("*/*.trigger.*")]) == 2, "a trigger for each", timeout_seconds=60)
    stack.api.set_task_state("variant_mapped", run_id, "defers", "failed", map_index=1)
    client = stack.boto3_client("sagemaker")

    def status(index: int) -> str:
        name = stack.api.xcom("variant_mapped", run_id, "defers", "training_job_name", map_index=index)
        return str(client.describe_training_job(TrainingJobName=name)["TrainingJobStatus"])

    wait_until(lambda: status(1) == "Stopped", "the marked index's job to stop", timeout_seconds=60)
    assert stack.api.wait_for_run("variant_mapped", run_id, timeout_seconds=240)["state"] == "failed"
    assert status(0) == "Completed"


def test_spot_that_never_comes_fails_the_task_and_still_pushes_the_books(stack: LocalStack) -> None:
    set_capacity(stack, "ml.m5.12xlarge", available=False)
    run_id = _run(stack, "variant_operator", {"instance_type": "ml.m5.12xlarge", "policy": "spot_only"})
    for mode in ("waits", "defers"):
        assert _states(stack, "variant_operator", run_id)[mode] == "failed"
        savings = stack.api.xcom("variant_operator", run_id, mode, "savings")
        assert (savings["completed"], savings["attempts"], savings["billable_seconds"]) == (False, 1, 0)
        assert "OutOfSteps" in stack.api.task_log("variant_operator", run_id, mode)


def test_a_spot_job_makes_room_for_on_demand_before_the_deadline_in_both_modes(stack: LocalStack) -> None:
    set_capacity(stack, "ml.c5.9xlarge", available=False)
    run_id = _run(stack, "variant_deadline", {"instance_type": "ml.c5.9xlarge"})
    for mode in ("waits", "defers"):
        attempts = stack.api.xcom("variant_deadline", run_id, mode, "attempts")
        assert [(a["purchase"], a["ending"]) for a in attempts] == [
            ("spot", "stopped for the deadline"),
            ("on-demand", "completed"),
        ]
        kept = stack.api.xcom("variant_deadline", run_id, mode, "deadline")
        assert kept["kept"] is True
        assert attempts[-1]["ended_at"] <= kept["at"]
        log = stack.api.task_log("variant_deadline", run_id, mode)
        assert "Expected training: 10 min, 30 min at worst (given)" in log
        assert "was stopped for the deadline" in log
        assert "of slack left, on-demand must start by" in log


def test_a_deadline_that_cannot_be_kept_fails_at_once_and_creates_no_job(stack: LocalStack) -> None:
    before = job_names(stack)
    run_id = _run(stack, "variant_deadline", {"deadline": "5m"})
    for mode in ("waits", "defers"):
        task = stack.api.task_instance("variant_deadline", run_id, mode)
        assert (task["state"], task["try_number"]) == ("failed", 1)
        log = stack.api.task_log("variant_deadline", run_id, mode)
        assert "earliest possible finish is" in log
    assert job_names(stack) == before


def test_the_sensor_waits_in_every_mode_for_a_job_started_elsewhere(stack: LocalStack) -> None:
    run_id = _run(stack, "variant_sensor")
    states = _states(stack, "variant_sensor", run_id)
    assert set(states.values()) == {"success"}, states
    started = stack.api.xcom("variant_sensor", run_id, "start")["Training"]["TrainingJobName"]
    for mode in ("poke", "reschedule", "defer"):
        (attempt,) = stack.api.xcom("variant_sensor", run_id, mode, "attempts")
        assert (attempt["job_name"], attempt["ending"]) == (started, "completed")
        assert stack.api.xcom("variant_sensor", run_id, mode)["savings"]["completed"] is True
        _check_log(stack, "variant_sensor", run_id, mode)


def test_the_sensor_tells_why_a_job_ended_and_carries_it_on_with_a_policy(stack: LocalStack) -> None:
    set_capacity(stack, "ml.c5.4xlarge", available=False)
    run_id = _run(stack, "variant_sensor", {"instance_type": "ml.c5.4xlarge"})
    states = _states(stack, "variant_sensor", run_id)
    assert states == {"start": "success", "poke": "failed", "reschedule": "failed", "defer": "success"}
    for mode in ("poke", "reschedule"):
        assert "never got capacity" in stack.api.task_log("variant_sensor", run_id, mode)
    attempts = stack.api.xcom("variant_sensor", run_id, "defer", "attempts")
    assert [a["ending"] for a in attempts] == ["never got capacity", "never got capacity", "completed"]
    assert attempts[-1]["purchase"] == "on-demand"


def test_a_failing_script_fails_the_task_at_once_with_its_own_words(stack: LocalStack) -> None:
    run_id = _run(stack, "variant_failing_script")
    for mode in ("waits", "defers"):
        task = stack.api.task_instance("variant_failing_script", run_id, mode)
        assert (task["state"], task["try_number"]) == ("failed", 1)
        log = stack.api.task_log("variant_failing_script", run_id, mode)
        assert "AlgorithmError: ExecuteUserScriptError" in log
        assert "the label column is missing" in log
        assert "| loading the data" in log
        attempts = stack.api.xcom("variant_failing_script", run_id, mode, "attempts")
        assert [a["ending"] for a in attempts] == ["algorithm error"]


def test_bad_input_is_refused_with_its_name_before_any_job_is_created(stack: LocalStack) -> None:
    before = job_names(stack)
    run_id = _run(stack, "variant_bad_input")
    expected = {
        "wait_below_run": "StoppingCondition.MaxWaitTimeInSeconds is 60",
        "builtin_waits_too_long": "us-east-1.amazonaws.com/kmeans:1 writes no checkpoints",
        "unknown_policy": "policy is 'yolo': choose one of",
        "empty_template": "OutputDataConfig.S3OutputPath is ''",
        "no_arn": "RoleArn is 'SageMakerTraining': IAM has no role of this name",
        "bad_flag": "deferrable is 'perhaps'",
        "sensor_without_job": "training_job_name is 'None'",
        "sensor_of_nothing": "There is no training job named nowhere in us-east-1",
    }
    for task_id, words in expected.items():
        task = stack.api.task_instance("variant_bad_input", run_id, task_id)
        assert (task["state"], task["try_number"]) == ("failed", 1), task_id
        assert words in stack.api.task_log("variant_bad_input", run_id, task_id), task_id
    assert job_names(stack) == before


def test_marking_a_deferred_task_failed_stops_its_job(stack: LocalStack) -> None:
    stack.api.wait_for_dag("variant_operator")
    stack.api.unpause("variant_operator")
    run_id = str(stack.api.trigger("variant_operator", {"seconds": 3000})["dag_run_id"])
    stack.api.wait_for_task("variant_operator", run_id, "defers", states={"deferred"})
    # Before a triggerer has taken the trigger there is nobody to stop the job but the sweeper.
    logs = stack.airflow_home / "logs" / "dag_id=variant_operator" / f"run_id={run_id}" / "task_id=defers"
    wait_until(lambda: any(logs.glob("*.trigger.*")), "a trigger for the task", timeout_seconds=60)
    stack.api.set_task_state("variant_operator", run_id, "defers", "failed")
    stack.api.wait_for_run("variant_operator", run_id, timeout_seconds=120)

    def nothing_alive() -> bool:
        return not live_jobs(stack)

    wait_until(nothing_alive, "no job to be alive", timeout_seconds=30)
