"""Trainings under way while Airflow is upgraded: each goes on with the next version, and loses nothing.

Earlier versions are in `.venv-airflow-VERSION` of the project (`scripts/test-airflow` makes them), or where
`LOCAL_STACK_AIRFLOW_PYTHON` says.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from include.local_stack import (
    LocalStack,
    Postgres,
    build_database_env,
    describe_missing_programs,
    wait_until,
)
from include.local_stack.environment import AIRFLOW_PYTHON, airflow_version
from spot_training.ledger import Ledger
from spot_training.ledger.states import STATES

from .conftest import ROOT, job_names, live_jobs, set_capacity

if TYPE_CHECKING:
    from spot_training.domain.records import TrainingRecord
    from spot_training.domain.savings import Attempt

pytestmark = [
    pytest.mark.airflow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(bool(describe_missing_programs()), reason=describe_missing_programs()),
]

DAG, RARE = "upgrade", "ml.m5.24xlarge"
#: A simulated minute a second: the second attempt waits for two real minutes, in which all of Airflow stops.
SPEED = 60
#: The tasks that train, and what each does while its job waits.
TRAININGS = {"defers": {"deferred"}, "waits": {"running"}, "looks": {"up_for_reschedule", "running"}}
EXPECTED = [
    ("spot", "never got capacity"),
    ("spot", "never got capacity"),
    ("on-demand", "completed"),
]


def _in_project(version: str) -> str:
    return str(ROOT / f".venv-airflow-{version}" / "bin" / "python")


#: The Pythons of the old and the new version: of the one that is named, or of environments in the project.
UPGRADES = (
    [pytest.param(given, sys.executable, id="named")]
    if (given := os.environ.get(AIRFLOW_PYTHON))
    else [
        pytest.param(_in_project("3.2.2"), sys.executable, id="3.2.2"),
        pytest.param(_in_project("3.0.6"), _in_project("3.1.8"), id="3.0.6-3.1.8", marks=pytest.mark.long),
    ]
)


class Trainings:
    """A run whose three trainings are under way, and what Airflow, SageMaker and the ledger say of them."""

    def __init__(self, stack: LocalStack) -> None:
        self.stack = stack
        stack.api.wait_for_dag(DAG)
        stack.api.unpause(DAG)
        self.run_id = str(stack.api.trigger(DAG)["dag_run_id"])

    def task(self, task_id: str) -> dict[str, Any]:
        return self.stack.api.task_instance(DAG, self.run_id, task_id)

    def records(self) -> dict[str, TrainingRecord]:
        with Ledger.at(self.stack.airflow_home / "spot_ledger").read() as reader:
            return {record.task_id: record for record in reader.records()}

    def attempts_over(self) -> dict[str, int]:
        records = self.records()
        return {task: len(records[task].attempts) if task in records else 0 for task in TRAININGS}

    def are_in_their_second_attempt(self) -> bool:
        return (
            set(self.attempts_over().values()) == {1}
            and len(live_jobs(self.stack)) == len(TRAININGS)
            and all(self.task(task)["state"] in states for task, states in TRAININGS.items())
        )

    def pushed(self, task_id: str, key: str) -> Any:
        return self.stack.api.xcom(DAG, self.run_id, task_id, key)


@pytest.mark.parametrize(("old", "new"), UPGRADES)
def test_trainings_under_way_go_on_with_the_next_airflow(old: str, new: str, tmp_path: Path) -> None:
    for python in (old, new):
        if not Path(python).exists():
            pytest.skip(f"needs an earlier Airflow at {python}: scripts/test-airflow makes it")
    if airflow_version(old) >= airflow_version(new):
        pytest.skip(f"needs an Airflow before {airflow_version(new)}")
    with Postgres() as postgres, _old_stack(old, tmp_path, postgres) as stack:
        set_capacity(stack, RARE, available=False)
        trainings = Trainings(stack)
        wait_until(
            trainings.are_in_their_second_attempt,
            "the second attempts",
            timeout_seconds=180,
            poll_seconds=1,
        )
        before = {task: record.attempts for task, record in trainings.records().items()}
        _check_where_state_is(old, trainings, postgres)

        stack.upgrade(new)

        assert stack.api.request("GET", "version")["version"] == _dotted(new)
        stack.api.wait_for_run(DAG, trainings.run_id, timeout_seconds=400)
        _check_state_of_each(trainings)
        assert trainings.task("waits")["try_number"] > 1, "its process ends with the old version"
        _check_where_state_is(new, trainings, postgres)
        _check_attempts(trainings, before)


def _dotted(python: str) -> str:
    return ".".join(map(str, airflow_version(python)))


def _old_stack(python: str, folder: Path, postgres: Postgres) -> LocalStack:
    settings = {
        "AIRFLOW__SPOT_TRAINING__INSTALLATION": "upgrade",
        # A task whose process the upgrade has killed is tried again after seconds.
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "30",
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "2",
        "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "10",
    }
    return LocalStack(
        ROOT,
        folder / "state",
        speed=SPEED,
        dags_folder=Path(__file__).parent / "dags_upgrade",
        env=build_database_env(postgres) | settings,
        airflow_python=python,
        start_timeout_seconds=240,
    )


def _check_where_state_is(python: str, trainings: Trainings, postgres: Postgres) -> None:
    """In Airflow's store since 3.3, in the ledger before."""
    if airflow_version(python) >= (3, 3):
        kept = postgres.run_sql("SELECT DISTINCT task_id FROM task_state_store")
        assert set(kept.split()) >= TRAININGS.keys()
    else:
        names = list((trainings.stack.airflow_home / "spot_ledger" / STATES).glob("*.json"))
        assert len(names) == len(TRAININGS) + 1


def _check_state_of_each(trainings: Trainings) -> None:
    for task in TRAININGS:
        log = trainings.stack.api.task_log(DAG, trainings.run_id, task)
        assert trainings.task(task)["state"] == "success", log


def _expected(task: str) -> list[list[tuple[str, str]]]:
    """What may be on record.

    The process that waits ends with its scheduler. Or Airflow ends it before, if no API server answers it or
    its heartbeats are late: then it stops its job, and the next try begins with the first step again.
    """
    ended_by_airflow = [EXPECTED[0], ("spot", "stopped with its task"), *EXPECTED]
    return [EXPECTED, ended_by_airflow] if task == "waits" else [EXPECTED]


def _check_attempts(trainings: Trainings, before: dict[str, tuple[Attempt, ...]]) -> None:
    """The attempts of each training, each with its own job, in XCom, in the record and in the savings."""
    records, jobs = trainings.records(), set(job_names(trainings.stack, "upgrade"))
    counted: list[str] = []
    for task in TRAININGS:
        attempts = records[task].attempts
        assert [(a.purchase, a.ending) for a in attempts] in _expected(task)
        assert attempts[:1] == before[task]
        # From the state, and not found by its name because the state was lost.
        assert attempts[1].reason.startswith("no spot capacity for")
        assert records[task].generation == 0
        names = [attempt.job_name for attempt in attempts]
        assert [attempt["job_name"] for attempt in trainings.pushed(task, "attempts")] == names
        savings = trainings.pushed(task, "savings")
        assert (savings["attempts"], savings["completed"]) == (len(attempts), True)
        assert savings["billable_seconds"] == sum(a.billable_seconds or 0 for a in attempts)
        counted += names
    assert sorted(counted) == sorted(jobs)
    assert live_jobs(trainings.stack) == []
