"""What a triggerer does with the jobs of deferred tasks: when a person ends a task, and when it ends itself.

Before Airflow 3.3 a trigger has no `on_kill`, and a person's action looks to it like a redeploy.
"""

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

DAG, RARE = "takeover", "ml.m5.24xlarge"
#: The ledger's connection is in the metadata database, so a thread that takes a note asks Airflow for it.
CONNECTION, BUCKET = "ledger_of_triggerer", "ledger-of-triggerer"
#: Airflow cancels the trigger within three seconds, and a cold triggerer needs as many for its first answer.
STOPPED_WITHIN_SECONDS = 40
#: Airflow sends the triggers' process SIGTERM ten seconds after SIGINT, and SIGKILL after twenty.
ENDED_BY_FIRST_SIGNAL = "signal_sent=SIGINT"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    settings = {
        "AIRFLOW__SPOT_TRAINING__INSTALLATION": "triggerer",
        "AIRFLOW__SPOT_TRAINING__LEDGER": f"s3://{CONNECTION}@{BUCKET}/ledger",
    }
    with (
        best_database() as database,
        LocalStack(
            ROOT,
            tmp_path_factory.mktemp("triggerer") / "state",
            speed=60,
            dags_folder=Path(__file__).parent / "dags_takeover",
            env=database | settings,
        ) as running,
    ):
        set_capacity(running, RARE, available=False)
        running.boto3_client("s3").create_bucket(Bucket=BUCKET)
        extra = f'{{"endpoint_url": "{running.sagemaker_url}", "region_name": "us-east-1"}}'
        known = {"connection_id": CONNECTION, "conn_type": "aws", "login": "local", "password": "local"}
        running.api.request("POST", "connections", body=known | {"extra": extra})
        yield running


class Deferred:
    """A run with four deferred tasks, two of them mapped. Their triggers have written to the ledger."""

    def __init__(self, stack: LocalStack) -> None:
        self.stack, self.api = stack, stack.api
        self.api.wait_for_dag(DAG)
        self.api.unpause(DAG)
        self.run_id = str(self.api.trigger(DAG)["dag_run_id"])
        wait_until(lambda: self.states() == ["deferred"] * 4, "four deferred tasks", timeout_seconds=180)
        wait_until(self._are_noted, "the triggerer to write notes into the ledger", timeout_seconds=120)
        self.jobs = sorted(self.statuses())

    def states(self) -> list[str]:
        return [str(task["state"]) for task in self.api.task_instances(DAG, self.run_id)]

    def _are_noted(self) -> bool:
        if f"conn_id='{CONNECTION}'" not in self.stack.processes["triggerer"].read_log():
            return False
        found = self.stack.boto3_client("s3").list_objects_v2(Bucket=BUCKET, Prefix="ledger/notes/")
        return len(found.get("Contents", ())) == 4

    def statuses(self) -> dict[str, str]:
        names = job_names(self.stack, "takeover")
        return {name: self.describe(name)["TrainingJobStatus"] for name in names}

    def describe(self, name: str) -> dict[str, Any]:
        client = self.stack.boto3_client("sagemaker")
        described: dict[str, Any] = client.describe_training_job(TrainingJobName=name)
        return described

    def stopped_for(self, name: str) -> str | None:
        client = self.stack.boto3_client("sagemaker")
        tags = client.list_tags(ResourceArn=self.describe(name)["TrainingJobArn"])["Tags"]
        return next((tag["Value"] for tag in tags if tag["Key"] == TAG_STOPPED_FOR), None)

    def job_of(self, task: str) -> str:
        return next(name for name in self.jobs if name.startswith(f"takeover-{task}-"))


def _end_triggerer(stack: LocalStack) -> float:
    """Ask it to end, as a redeploy does. Returns after how many seconds it ended, by the first signal."""
    triggerer, began_at = stack.processes["triggerer"], time.monotonic()
    before = len(triggerer.read_log())
    triggerer.stop_patiently()
    seconds = time.monotonic() - began_at
    assert ENDED_BY_FIRST_SIGNAL in triggerer.read_log()[before:]
    return seconds


def test_a_deferred_task_that_is_marked_has_its_job_stopped_and_a_triggerer_that_ends_stops_none(
    stack: LocalStack, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Deferred(stack)
    marked = run.job_of("marked")
    began_at = time.monotonic()
    run.api.set_task_state(DAG, run.run_id, "marked", "failed")
    wait_until(
        lambda: run.describe(marked)["TrainingJobStatus"] in {"Stopping", "Stopped"},
        "the marked task's job to be stopped",
        timeout_seconds=STOPPED_WITHIN_SECONDS,
    )
    seconds_to_stop = time.monotonic() - began_at
    # There is no sweeper in this stack, and no worker has the task.
    assert run.stopped_for(marked) == "task-ended"

    seconds_to_end = _end_triggerer(stack)
    wait_until(lambda: run.statuses()[marked] == "Stopped", "the job to be over", timeout_seconds=30)
    others = [name for name in run.jobs if name != marked]
    assert [run.statuses()[name] for name in others] == ["InProgress"] * 3
    assert sorted(run.states()) == ["deferred"] * 3 + ["failed"]

    set_capacity(stack, RARE, available=True)
    stack.restart("triggerer")
    wait_until(
        lambda: sorted(run.states()) == ["failed"] + ["success"] * 3,
        "the next triggerer to go on with the three trainings",
        timeout_seconds=180,
    )
    assert sorted(run.statuses()) == run.jobs
    seconds_when_idle = _end_triggerer(stack)
    with capsys.disabled():
        print(
            f"\nstopped {seconds_to_stop:.1f} s after it was marked; the triggerer ended in "
            f"{seconds_to_end:.1f} s with three deferred tasks, in {seconds_when_idle:.1f} s without any"
        )
