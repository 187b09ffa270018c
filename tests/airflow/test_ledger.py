"""The ledger on real Airflow: written by tasks, noted live by the triggerer, settled by the sweeper's Dag."""

from __future__ import annotations

import pytest

from include.local_stack import LocalStack, wait_until
from spot_training.domain.lifecycle import Ending
from spot_training.domain.records import RecordState, TrainingRecord
from spot_training.ledger import Ledger, Selection

from .conftest import SPEED, set_capacity

pytestmark = [pytest.mark.airflow, pytest.mark.timeout(600)]

DAG = "variant_operator"
SWEEPER = "sweep_orphaned_trainings"


def _records(stack: LocalStack, run_id: str) -> dict[str, TrainingRecord]:
    """The run's records by task, as anybody reads them who has the folder."""
    with Ledger.at(stack.airflow_home / "spot_ledger").read() as reader:
        found = reader.records(Selection(dag_ids=(DAG,)))
    return {record.task_id: record for record in found if record.run_id == run_id}


def _trigger(stack: LocalStack, instance_type: str) -> str:
    stack.api.wait_for_dag(DAG)
    stack.api.unpause(DAG)
    return str(stack.api.trigger(DAG, {"instance_type": instance_type})["dag_run_id"])


def test_the_books_of_a_task_are_those_in_its_xcom_and_have_dollars(stack: LocalStack) -> None:
    run_id = _trigger(stack, "ml.m5.xlarge")
    stack.api.wait_for_run(DAG, run_id, timeout_seconds=240)
    records = _records(stack, run_id)
    assert records.keys() == {"waits", "defers"}
    for task_id, record in records.items():
        assert record.state is RecordState.COMPLETED
        assert record.model == "variant"
        assert record.is_test is False
        savings = stack.api.xcom(DAG, run_id, task_id, "savings")
        assert {**record.statement.to_json(), "local_cloud": record.local_cloud} == savings
        assert record.local_cloud == f"local cloud, clock x{SPEED}"
        assert savings["billed_usd"] > 0
        assert record.prices[0].source == "AWS Price List API"
        assert record.attempts[0].transitions
        assert [decision.action for decision in record.decisions] == ["start", "finish"]
        assert "The ledger could not be written" not in stack.api.task_log(DAG, run_id, task_id)


def test_a_training_is_seen_live_and_settled_when_a_person_ends_its_task(stack: LocalStack) -> None:
    set_capacity(stack, "ml.c5.9xlarge", available=False)
    run_id = _trigger(stack, "ml.c5.9xlarge")
    stack.api.wait_for_task(DAG, run_id, "defers", states={"deferred"}, timeout_seconds=60)

    def noted() -> TrainingRecord | None:
        record = _records(stack, run_id).get("defers")
        seen = record is not None and record.current_job is not None and record.current_job.transitions
        return record if seen else None

    live = wait_until(noted, "a note of the job under way", timeout_seconds=60, poll_seconds=1)
    assert live.state is RecordState.RUNNING
    for task_id in ("waits", "defers"):
        stack.api.set_task_state(DAG, run_id, task_id, "failed")
    stack.api.wait_for_run(DAG, run_id, timeout_seconds=120)
    stack.api.wait_for_dag(SWEEPER)
    stack.api.unpause(SWEEPER)

    def settled() -> dict[str, TrainingRecord] | None:
        sweep = str(stack.api.trigger(SWEEPER, {"stop": True})["dag_run_id"])
        assert stack.api.wait_for_run(SWEEPER, sweep, timeout_seconds=120)["state"] == "success"
        records = _records(stack, run_id)
        return records if all(r.state is not RecordState.RUNNING for r in records.values()) else None

    records = wait_until(settled, "the books to be settled", timeout_seconds=120)
    assert {record.state for record in records.values()} == {RecordState.FAILED}
    endings = {attempt.ending for record in records.values() for attempt in record.attempts[-1:]}
    assert endings <= {Ending.STOPPED_WITH_TASK, Ending.NO_CAPACITY}
    assert all(record.statement.billed_usd == 0 for record in records.values())
