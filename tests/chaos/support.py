"""Runs of the chaos Dag, and the promise they must keep.

Whatever dies, at whatever moment: at most one training job of a task is alive; none is left alive that no
task will look at again; no attempt and no second of billing is missing from the ledger.
"""

from __future__ import annotations

import json
import random
import shutil
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import httpx
from botocore.config import Config

from include.local_stack import AirflowApiError, LocalStack
from spot_training.aws.identity import TAG_RUN

ROOT = Path(__file__).resolve().parents[2]
DAG, TASK = "chaos", "train"
OVER = frozenset({"Completed", "Failed", "Stopped"})
#: Ten simulated minutes a second.
SPEED = 600
KILL_POINTS = (
    "before-intent",
    "after-intent",
    "during-create",
    "after-create",
    "before-defer",
    "before-record",
    "between-attempts",
    "while-pushing",
)


@contextmanager
def chaos_stack(state: Path, **options: Any) -> Iterator[LocalStack]:
    """Airflow with the chaos Dag and a local SageMaker; a lost worker is noticed within seconds."""
    dags = state / "dags"
    dags.mkdir(parents=True, exist_ok=True)
    shutil.copy(Path(__file__).parent / "dags" / "chaos.py", dags)
    env = {
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "10",
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "3",
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_SEC": "2",
        # Tasks of a scheduler that was killed are taken over by the next one at this check only.
        "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "10",
        "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": "10",
    }
    with LocalStack(ROOT, state / "state", speed=SPEED, dags_folder=dags, env=env, **options) as stack:
        stack.api.wait_for_dag(DAG)
        stack.api.unpause(DAG)
        yield stack


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One run: where its worker dies, and what spot does to it."""

    kill_at: tuple[str, ...] = ()
    deferrable: bool = True
    has_capacity: bool = True
    seconds: int = 600
    policy: str = "widen"
    interruptions: int = 0


@dataclass(slots=True)
class Run:
    """A run of the chaos Dag and what it is judged by."""

    case: Case
    run_id: str
    instance_type: str
    problems: list[str] = field(default_factory=list)


def sagemaker(stack: LocalStack) -> Any:
    """A client patient enough to look on while faults are injected for others."""
    return boto3.client(
        "sagemaker",
        endpoint_url=stack.sagemaker_url,
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",  # noqa: S106 - the local cloud takes any
        config=Config(retries={"mode": "standard", "total_max_attempts": 20}),
    )


def control(stack: LocalStack, method: str, path: str, body: dict[str, Any]) -> None:
    request = urllib.request.Request(  # noqa: S310 - loopback
        f"{stack.sagemaker_url}/_local/{path}", method=method, data=json.dumps(body).encode()
    )
    with urllib.request.urlopen(request, timeout=30):  # noqa: S310
        pass


def fail(stack: LocalStack, operation: str, error: str, count: int) -> None:
    control(stack, "POST", "faults", {"operation": operation, "error": error, "count": count})


def start(stack: LocalStack, case: Case, *, instance_type: str, run_id: str) -> Run:
    """Set the run's own instance type's capacity, and trigger it."""
    control(stack, "PUT", "capacity", {"instance_type": instance_type, "available": case.has_capacity})
    conf = {
        "instance_type": instance_type,
        "seconds": case.seconds,
        "deferrable": case.deferrable,
        "kill_at": ",".join(case.kill_at),
        "policy": case.policy,
        "graves": str(stack.state_dir / "graves"),
    }
    stack.api.trigger(DAG, conf, run_id=run_id)
    return Run(case=case, run_id=run_id, instance_type=instance_type)


def jobs_of(stack: LocalStack, run: Run) -> dict[str, str]:
    """Names and statuses of all training jobs of a run, by their tags."""
    client = sagemaker(stack)
    pages = client.get_paginator("list_training_jobs").paginate(NameContains="chaos")
    described = (
        client.describe_training_job(TrainingJobName=summary["TrainingJobName"])
        for page in pages
        for summary in page["TrainingJobSummaries"]
    )
    return {
        job["TrainingJobName"]: job["TrainingJobStatus"]
        for job in described
        if _tag(client, job["TrainingJobArn"], TAG_RUN) == run.run_id
    }


def _tag(client: Any, arn: str, key: str) -> str | None:
    tags = client.list_tags(ResourceArn=arn)["Tags"]
    return next((tag["Value"] for tag in tags if tag["Key"] == key), None)


def watch(stack: LocalStack, runs: Sequence[Run], *, timeout_seconds: float) -> None:
    """Wait until the runs are over; note whenever a run has two jobs alive."""
    deadline = time.monotonic() + timeout_seconds
    waiting = list(runs)
    while waiting and time.monotonic() < deadline:
        for run in list(waiting):
            alive = [name for name, status in jobs_of(stack, run).items() if status not in OVER]
            if len(alive) > 1:
                run.problems.append(f"several jobs alive: {alive}")
            if state_of(stack, run) in {"success", "failed"}:
                waiting.remove(run)
        time.sleep(1)
    for run in waiting:
        run.problems.append(f"not over after {timeout_seconds:.0f} s: {state_of(stack, run)}")


def state_of(stack: LocalStack, run: Run) -> str | None:
    """The run's state; None while the API server is away."""
    try:
        return str(stack.api.get_run(DAG, run.run_id)["state"])
    except (httpx.TransportError, AirflowApiError):
        return None


def judge(stack: LocalStack, run: Run, *, state: str = "success") -> None:
    """Note where the run broke the promise."""
    found = stack.api.get_run(DAG, run.run_id)["state"]
    if found != state:
        run.problems.append(f"the run is {found}, not {state}")
        return
    jobs = jobs_of(stack, run)
    alive = [name for name, status in jobs.items() if status not in OVER]
    if alive:
        run.problems.append(f"left alive: {alive}")
    attempts = stack.api.xcom(DAG, run.run_id, TASK, "attempts")
    counted = {attempt["job_name"] for attempt in attempts}
    if counted != set(jobs):
        run.problems.append(f"in the books: {sorted(counted)}; created: {sorted(jobs)}")
    billed = sum(attempt["billable_seconds"] or 0 for attempt in attempts)
    real = _billed(stack, jobs)
    if billed != real:
        run.problems.append(f"billed in the books: {billed} s; by SageMaker: {real} s")


def _billed(stack: LocalStack, jobs: dict[str, str]) -> int:
    client = sagemaker(stack)
    described = (client.describe_training_job(TrainingJobName=name) for name in jobs)
    return sum(int(job.get("BillableTimeInSeconds", 0)) for job in described)


def random_case(rng: random.Random) -> Case:
    """A fault schedule for one run."""
    has_capacity = rng.random() < 0.6
    return Case(
        kill_at=tuple(rng.sample(KILL_POINTS, rng.choice([0, 1, 1, 2, 3]))),
        deferrable=rng.random() < 0.75,
        has_capacity=has_capacity,
        seconds=rng.choice([300, 1200, 3600]),
        interruptions=rng.choice([0, 0, 1, 3]),
    )
