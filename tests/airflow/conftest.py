"""Airflow's real processes and the local SageMaker, started once for all tests that use them."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from include.local_stack import LocalStack, best_database

ROOT = Path(__file__).resolve().parents[2]
#: Ten minutes a second: quick, and still slow enough for real scripts on two busy cores.
SPEED = 600


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    """The project's own Dags and those of the tests."""
    state = tmp_path_factory.mktemp("stack")
    dags = state / "dags"
    dags.mkdir()
    for folder in (ROOT / "dags", Path(__file__).parent / "dags"):
        for file in folder.glob("*.py"):
            (dags / file.name).write_text(_only_by_hand(_with_room(file)))
    settings = {
        "AIRFLOW_VAR_SPOT_TRAINING_CHECK_INTERVAL": "1",
        "AIRFLOW__SPOT_TRAINING__INSTALLATION": "tests",
        "AIRFLOW__SPOT_TRAINING__SWEEPER_STOPS": "True",
        "AIRFLOW_VAR_SPOT_REPORT_FOLDER": f"file://{state / 'reports'}",
    }
    with (
        best_database() as database,
        LocalStack(ROOT, state / "state", speed=SPEED, dags_folder=dags, env=database | settings) as running,
    ):
        yield running


def _with_room(file: Path) -> str:
    """The Dag file, its default of boosting rounds lowered and those of run time and wait raised.

    A run with default params may train for an hour of simulated time, which is six real seconds here, on two
    cores that run Airflow as well.
    """
    text = file.read_text()
    if file.name != "retrain_flight_delays.py":
        return text
    for name, kind, default, here in (
        ("num_round", "Param", "200", "20"),
        ("max_run", "duration", '"1h"', '"4h"'),
        ("first_wait", "duration", '"1h"', '"4h"'),
    ):
        before = text
        text = text.replace(f'"{name}": {kind}(\n        {default},', f'"{name}": {kind}(\n        {here},')
        assert text != before, f"the default of {name} has changed"
    return text


def _only_by_hand(text: str) -> str:
    """The Dag file, without a sweeper that may stop orphans while a test looks at them."""
    return text.replace('schedule="@hourly"', "schedule=None")


def set_capacity(stack: LocalStack, instance_type: str, *, available: bool) -> None:
    """Give or take spot capacity of a type."""
    body: dict[str, Any] = {"instance_type": instance_type, "available": available}
    request = urllib.request.Request(  # noqa: S310 - loopback
        f"{stack.sagemaker_url}/_local/capacity", method="PUT", data=json.dumps(body).encode()
    )
    with urllib.request.urlopen(request, timeout=10):  # noqa: S310
        pass


def job_names(stack: LocalStack, contains: str = "") -> list[str]:
    """The names of all training jobs there are."""
    client = stack.boto3_client("sagemaker")
    pages = client.get_paginator("list_training_jobs").paginate(NameContains=contains or "-")
    return [summary["TrainingJobName"] for page in pages for summary in page["TrainingJobSummaries"]]


def live_jobs(stack: LocalStack) -> list[str]:
    """Jobs that are not over."""
    client = stack.boto3_client("sagemaker")
    return [
        name
        for name in job_names(stack)
        if client.describe_training_job(TrainingJobName=name)["TrainingJobStatus"]
        not in {"Completed", "Failed", "Stopped"}
    ]
