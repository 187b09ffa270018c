"""Faults of the service cost nothing, and the task log says what a person must know."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from .support import DAG, FLAPPING, INTERRUPTED_EVERY_MINUTE, TASK, Case, Lab, Run, check, until

pytestmark = [pytest.mark.airflow, pytest.mark.timeout(600)]

DAY = 24 * 3600
#: Calls that fail are given up at once: what is to be seen then comes sooner.
IMPATIENT = {"retries": {"mode": "standard", "total_max_attempts": 1}, "read_timeout": 2}
#: Longer than the minute after which a poll that keeps failing is told. The campaign has two minutes.
OUTAGE_SECONDS = 70


@pytest.fixture(autouse=True)
def _without_the_faults_of_others(lab: Lab) -> Iterator[None]:
    lab.forgive()
    yield
    lab.forgive()


def test_half_the_calls_throttled_and_the_rest_slow_or_lost(lab: Lab) -> None:
    for operation in ("CreateTrainingJob", "DescribeTrainingJob", "ListTrainingJobs", "StopTrainingJob"):
        lab.fail(operation, "ThrottlingException", probability=0.5, seconds=20)
        lab.fail(operation, "InternalFailure", count=2)
        lab.fail(operation, "DropConnection", count=2)
        lab.fail(operation, "SlowResponse", delay_seconds=3, count=4)
    lab.fail("CreateTrainingJob", "LoseResponse", count=2)
    runs = [
        lab.start(Case(has_capacity=n % 2 == 0, deferrable=n % 3 > 0), f"throttled-{n}") for n in range(4)
    ]
    # Gives up on a slow call while AWS does the work: its next try finds the job.
    hasty = {"retries": {"mode": "standard", "total_max_attempts": 10}, "read_timeout": 1}
    runs.append(lab.start(Case(botocore_config=hasty), "hasty"))
    lab.finish(runs)


def test_spot_capacity_that_comes_and_goes(lab: Lab) -> None:
    case = Case(seconds=1500, first_wait=4 * 3600)
    runs = [
        lab.start(case, "interrupted-every-minute", instance_type=INTERRUPTED_EVERY_MINUTE),
        lab.start(case, "flapping", instance_type=FLAPPING),
    ]
    lab.finish(runs)
    interrupted = lab.api.xcom(DAG, "interrupted-every-minute", TASK, "savings")["interruptions"]
    assert interrupted >= 10


@pytest.mark.long
def test_an_outage_is_told_and_fails_nothing(lab: Lab) -> None:
    """All calls fail for longer than a minute: polls, a first call, and the stops of two marked tasks."""
    waits = Case(has_capacity=False, first_wait=DAY, botocore_config=IMPATIENT)
    polled = [_start(lab, waits, "polled", is_deferrable) for is_deferrable in (True, False)]
    marked = [_start(lab, Case(stumbles=True, first_wait=DAY), "marked", mode) for mode in (True, False)]
    for run in polled:
        until(lambda run=run: lab.has_been(run, "Starting"), f"a job of {run.run_id}")
    for run in marked:
        until(lambda run=run: lab.has_been(run, "Interrupted"), f"a job of {run.run_id}")
    for run in (polled[0], marked[0]):
        lab.wait_until_watched(run)
    over = time.monotonic() + OUTAGE_SECONDS
    lab.fail("*", "InternalFailure", seconds=OUTAGE_SECONDS)
    for run in marked:
        lab.api.set_task_state(DAG, run.run_id, TASK, "failed")
    late = lab.start(Case(), "begun-in-the-outage")
    # The trigger's words: tests/task/test_on_kill.py, as Airflow keeps its log open for a moment only.
    _wait_for_log(
        lab, marked[1], "could NOT be stopped and is still billed", "Stop it by hand: aws sagemaker"
    )
    _wait_for_log(lab, polled[1], "SageMaker has not answered since", "still asking")
    until(lambda: time.monotonic() > over, "the outage to be over", timeout_seconds=OUTAGE_SECONDS)
    for run in polled:
        lab.set_capacity(run.instance_type, available=True)
    lab.finish([*polled, late])
    lab.sweep()
    for run in marked:
        until(lambda run=run: not lab.alive(run), f"no job of {run.run_id} to be alive")
    lab.sweep()
    for run in marked:
        lab.judge_gone(run)
    check(marked)


def _start(lab: Lab, case: Case, name: str, is_deferrable: bool) -> Run:
    mode = "deferred" if is_deferrable else "on-worker"
    return lab.start(replace(case, deferrable=is_deferrable), f"{name}-{mode}")


def _wait_for_log(lab: Lab, run: Run, *words: str) -> None:
    def look() -> Any:
        log = lab.api.task_log(DAG, run.run_id, TASK)
        return all(each in log for each in words)

    until(look, f"{words} in the log of {run.run_id}", timeout_seconds=OUTAGE_SECONDS + 60)
