"""Going on demand above a limit is asked about in Airflow's UI, and the answer is what happens."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import quote

import pytest

from include.local_stack import LocalStack, wait_until
from include.local_stack.environment import airflow_version
from spot_training.approval import BUY, WAIT

from .conftest import set_capacity

pytestmark = [pytest.mark.airflow, pytest.mark.timeout(300)]

DAG, ASK, GO_ON = "approval", "on_demand.ask", "on_demand.go_on"
#: What happens to each run, on an instance type of its own without spot capacity. The two in the middle have
#: no price.
TYPES = {
    "bought": "ml.g4dn.xlarge",
    "waits": "ml.g4dn.2xlarge",
    "silent": "ml.g5.xlarge",
    "cheap": "ml.p3.2xlarge",
}


def _asked() -> str:
    """The state of a task with an open question: Airflow has one for it since 3.3."""
    return "awaiting_input" if airflow_version() >= (3, 3) else "deferred"


def _details(run_id: str) -> str:
    return f"dags/{DAG}/dagRuns/{quote(run_id, safe='')}/taskInstances/{ASK}/-1/hitlDetails"


@pytest.fixture(scope="module")
def runs(stack: LocalStack) -> dict[str, str]:
    """One run of each kind, all at the same time; those that are asked about have a question."""
    if airflow_version() < (3, 1):
        pytest.skip("needs Airflow 3.1 or later, which can ask a person")
    stack.api.wait_for_dag(DAG)
    stack.api.unpause(DAG)
    started = {}
    for kind, instance_type in TYPES.items():
        set_capacity(stack, instance_type, available=False)
        conf = {"instance_type": instance_type, "limit_usd": 1000 if kind == "cheap" else 0.01}
        started[kind] = str(stack.api.trigger(DAG, conf)["dag_run_id"])
    for kind, answer in (("bought", BUY), ("waits", WAIT), ("silent", None)):
        stack.api.wait_for_task(DAG, started[kind], ASK, states={_asked(), "success"})
        if answer:
            _let_the_scheduler_notice(stack, started[kind])
            _answer(stack, started[kind], answer)
        if answer != BUY:
            set_capacity(stack, TYPES[kind], available=True)
    return started


def _let_the_scheduler_notice(stack: LocalStack, run_id: str) -> None:
    """Airflow 3.3.2 fails a task that is answered before its scheduler has heard that its process is done."""
    heard = (
        f"executor event with state success for task instance TaskInstanceKey(dag_id='{DAG}', task_id='{ASK}'"
    )

    def has_heard() -> bool:
        log = stack.processes["scheduler"].read_log()
        return any(heard in line and run_id in line for line in log.splitlines())

    wait_until(has_heard, "the scheduler to hear of the question", timeout_seconds=30)


def _answer(stack: LocalStack, run_id: str, answer: str) -> None:
    stack.api.request("PATCH", _details(run_id), body={"chosen_options": [answer], "params_input": {}})


def _outcome(stack: LocalStack, run_id: str) -> tuple[dict[str, str], list[tuple[str, str]]]:
    assert stack.api.wait_for_run(DAG, run_id)["state"] == "success"
    states = {str(t["task_id"]): str(t["state"]) for t in stack.api.task_instances(DAG, run_id)}
    attempts: list[dict[str, Any]] = stack.api.xcom(DAG, run_id, GO_ON, "attempts")
    return states, [(a["purchase"], a["ending"]) for a in attempts]


def test_approved_it_goes_on_demand_from_the_same_checkpoints(
    stack: LocalStack, runs: dict[str, str]
) -> None:
    states, attempts = _outcome(stack, runs["bought"])
    assert states == {"train": "failed", "on_demand.price": "success", ASK: "success", GO_ON: "success"}
    assert attempts == [("spot", "never got capacity"), ("on-demand", "completed")]
    detail = stack.api.request("GET", _details(runs["bought"]))
    assert detail["subject"] == "Buy on-demand for approval?"
    assert re.match(r"No spot capacity for ml.g4dn.xlarge in 1 h[^;]*; 1 attempt so far\.", detail["body"])
    assert "an hour, $" in detail["body"]
    assert "The limit without a question is $0.01" in detail["body"]
    went_on = stack.api.xcom(DAG, runs["bought"], GO_ON)["Training"]
    spot = stack.boto3_client("sagemaker").describe_training_job(
        TrainingJobName=stack.api.xcom(DAG, runs["bought"], "train", "training_job_name")
    )
    assert went_on["CheckpointConfig"] == spot["CheckpointConfig"]
    tags = stack.boto3_client("sagemaker").list_tags(ResourceArn=went_on["TrainingJobArn"])["Tags"]
    assert {"Key": "team", "Value": "ads"} in tags


def test_rejected_it_waits_for_spot(stack: LocalStack, runs: dict[str, str]) -> None:
    _, attempts = _outcome(stack, runs["waits"])
    assert "at an unknown price" in stack.api.request("GET", _details(runs["waits"]))["body"]
    assert {purchase for purchase, _ in attempts} == {"spot"}
    assert attempts[-1] == ("spot", "completed")


def test_without_an_answer_it_waits_for_spot(stack: LocalStack, runs: dict[str, str]) -> None:
    _, attempts = _outcome(stack, runs["silent"])
    assert {purchase for purchase, _ in attempts} == {"spot"}
    answer = stack.api.request("GET", _details(runs["silent"]))
    assert answer["chosen_options"] == [WAIT]
    assert answer["responded_by_user"] is None


def test_below_the_limit_nobody_is_asked(stack: LocalStack, runs: dict[str, str]) -> None:
    states, attempts = _outcome(stack, runs["cheap"])
    assert states[ASK] == "skipped"
    assert attempts == [("spot", "never got capacity"), ("on-demand", "completed")]
    assert "On-demand** would take about" in stack.api.task_log(DAG, runs["cheap"], "on_demand.price")
