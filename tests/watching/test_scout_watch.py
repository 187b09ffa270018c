"""Waiting for a job and its scouts: when the task has to look again, in the triggerer and without one."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from typing import Any

import pytest

from spot_training.connections import AwsAccess
from spot_training.domain.lifecycle import SecondaryStatus, TrainingStatus, Transition
from spot_training.domain.scouting import PATIENCE_SECONDS, ScoutCall
from spot_training.triggers import LOOK_AT_SCOUTS, TrainingJobTrigger
from spot_training.watching.rate_limit import RateLimit
from spot_training.watching.scout_watch import call_from_json, call_to_json
from spot_training.watching.watcher import JobWatcher
from tests.cloud import SPEED, Cloud

from .support import BEGAN, create_jobs, make_snapshot

MINUTE = timedelta(minutes=1)


@pytest.fixture
def watcher(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> JobWatcher:
    watcher = JobWatcher(cloud.jobs, rate_limit=RateLimit(10_000))
    monkeypatch.setattr(AwsAccess, "watcher", lambda _: watcher)
    monkeypatch.setattr("spot_training.triggers.seconds_to_settle", lambda: 0)
    return watcher


def _fire(call: ScoutCall | None, *, name: str = "job", within: float = 30) -> str:
    async def event() -> str:
        fields: dict[str, Any] = {} if call is None else {"scout_call": call_to_json(call)}
        trigger = TrainingJobTrigger(training_job_name=name, check_interval=0.05, **fields)
        made = TrainingJobTrigger(**trigger.serialize()[1])
        async for fired in made.run():
            return str(fired.payload["status"])
        raise AssertionError("never fired")

    return asyncio.run(asyncio.wait_for(event(), within))


def test_a_job_that_waits_too_long_wakes_its_task(drought: Cloud, watcher: JobWatcher) -> None:
    create_jobs(drought, "job")
    assert _fire(ScoutCall()) == LOOK_AT_SCOUTS
    assert watcher.is_settled


def test_a_task_is_not_woken_before_scouts_may_go_out_again(drought: Cloud, watcher: JobWatcher) -> None:
    create_jobs(drought, "job")
    later = drought.now() + timedelta(seconds=2 * SPEED)
    began = time.monotonic()
    assert _fire(ScoutCall(not_before=later)) == LOOK_AT_SCOUTS
    assert time.monotonic() - began > 1


def test_a_scout_with_capacity_wakes_the_task(drought: Cloud, watcher: JobWatcher) -> None:
    create_jobs(drought, "job", "scout-1", "scout-2")
    call = ScoutCall(scouts=("scout-1", "scout-2"))
    with pytest.raises(TimeoutError):
        _fire(call, within=2)
    drought.client("sagemaker").stop_training_job(TrainingJobName="scout-2")
    assert _fire(call) == LOOK_AT_SCOUTS, "one that is over does, too"


def test_a_job_that_trains_wakes_nobody_until_it_is_over(cloud: Cloud, watcher: JobWatcher) -> None:
    create_jobs(cloud, "job", seconds=1800)
    assert _fire(ScoutCall()) == "Completed"


def test_no_listener_of_a_scout_is_left(drought: Cloud, watcher: JobWatcher) -> None:
    create_jobs(drought, "job", "scout")
    with pytest.raises(TimeoutError):
        _fire(ScoutCall(scouts=("scout",)), within=1)
    limit = time.monotonic() + 10
    while not watcher.is_idle:
        assert time.monotonic() < limit
        time.sleep(0.05)


def test_a_call_is_the_same_after_its_json() -> None:
    for call in (ScoutCall(), ScoutCall(scouts=("a", "b"), not_before=BEGAN)):
        assert call_from_json(call_to_json(call)) == call


def test_a_trigger_without_a_call_is_serialized_as_before() -> None:
    assert "scout_call" not in TrainingJobTrigger(training_job_name="job").serialize()[1]


@pytest.mark.parametrize(
    ("status", "transitions", "due_after"),
    [
        ("Starting", [("Starting", 0)], PATIENCE_SECONDS),
        ("Pending", [("Starting", 0), ("Pending", 1)], PATIENCE_SECONDS),
        ("Training", [("Starting", 0), ("Training", 10)], None),
        ("Interrupted", [("Starting", 0), ("Training", 10), ("Interrupted", 30)], 30 * 60 + PATIENCE_SECONDS),
        (
            "Starting",
            [("Training", 10), ("Interrupted", 30), ("Starting", 32)],
            30 * 60 + PATIENCE_SECONDS,
        ),
        ("Uploading", [("Uploading", 10)], None),
    ],
)
def test_patience_begins_with_the_wait(
    status: str, transitions: list[tuple[str, int]], due_after: int | None
) -> None:
    visits = tuple(
        Transition(status=SecondaryStatus(name), started_at=BEGAN + minutes * MINUTE)
        for name, minutes in transitions
    )
    job = make_snapshot("job", secondary_status=SecondaryStatus(status), transitions=visits)
    moment = ScoutCall().moment(job)
    assert moment == (None if due_after is None else BEGAN + timedelta(seconds=due_after))
    stopping = make_snapshot("job", status=TrainingStatus.STOPPING, transitions=visits)
    assert ScoutCall().moment(stopping) is None


@pytest.mark.parametrize(
    ("status", "is_due"), [("Starting", False), ("Downloading", True), ("Training", True)]
)
def test_with_scouts_out_the_jobs_own_capacity_is_awaited(status: str, is_due: bool) -> None:
    job = make_snapshot("job", secondary_status=SecondaryStatus(status))
    assert (ScoutCall(scouts=("scout",)).moment(job) is not None) == is_due
