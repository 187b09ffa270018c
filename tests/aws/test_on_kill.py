"""A person marks or clears a deferred task: its trigger stops the job, however Airflow treats the trigger."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable

import pytest

from spot_training.aws.jobs import TrainingJobs
from spot_training.domain.errors import ServiceFailed
from spot_training.hooks import AwsAccess
from spot_training.triggers import TrainingJobTrigger, _computing, aside

NAME = "model-1"


class _Jobs(TrainingJobs):
    """`stop` does as it is told; the region is what the command by hand names."""

    def __init__(self, stop: Callable[[], bool]) -> None:
        self._stop_as_told = stop

    @property
    def region(self) -> str:
        return "eu-west-1"

    def stop(self, name: str) -> bool:
        assert name == NAME
        return self._stop_as_told()


def _trigger(monkeypatch: pytest.MonkeyPatch, stop: Callable[[], bool]) -> TrainingJobTrigger:
    monkeypatch.setattr(AwsAccess, "jobs", lambda _self: _Jobs(stop))
    monkeypatch.setattr(TrainingJobTrigger, "log", logging.getLogger(__name__))
    return TrainingJobTrigger(training_job_name=NAME)


async def _kill_as_airflow_does(trigger: TrainingJobTrigger, is_over: Callable[[], bool]) -> None:
    """`wait_for` around on_kill, and one more cancellation after the other until the trigger is over."""
    killing = asyncio.ensure_future(asyncio.wait_for(trigger.on_kill(), 30))
    while not (killing.done() and is_over()):
        await asyncio.sleep(0.1)
        killing.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await killing


def test_a_stop_that_takes_long_is_carried_through_and_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    may_stop, stopped = threading.Event(), threading.Event()

    def stop() -> bool:
        assert may_stop.wait(30)
        stopped.set()
        return True

    def is_over() -> bool:
        if "could NOT be stopped" in caplog.text:
            may_stop.set()
        return stopped.is_set()

    trigger = _trigger(monkeypatch, stop)
    asyncio.run(_kill_as_airflow_does(trigger, is_over))
    command = f"aws sagemaker stop-training-job --training-job-name {NAME} --region eu-west-1"
    assert f"{NAME} could NOT be stopped and is still billed" in caplog.text
    assert f"Stop it by hand: {command}" in caplog.text


def test_a_stop_that_works_at_once_is_said_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        asyncio.run(_trigger(monkeypatch, lambda: True).on_kill())
    assert f"Stopped training job {NAME}." in caplog.text
    assert "could NOT" not in caplog.text


def test_what_computes_does_not_stand_before_a_stop(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As many triggers as one likes ask the planner at the moment at which a job is to be stopped."""
    is_told = threading.Event()

    async def stop_while_others_compute() -> None:
        others = [asyncio.ensure_future(aside(_computing(), is_told.wait, 60)) for _ in range(20)]
        try:
            await asyncio.wait_for(_trigger(monkeypatch, lambda: True).on_kill(), 30)
        finally:
            is_told.set()
            await asyncio.gather(*others)

    with caplog.at_level(logging.INFO):
        asyncio.run(stop_while_others_compute())
    assert f"Stopped training job {NAME}." in caplog.text
    assert "could NOT" not in caplog.text


def test_a_stop_that_fails_for_good_is_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> bool:
        raise ServiceFailed("StopTrainingJob failed after botocore's retries.")

    asyncio.run(_trigger(monkeypatch, fail).on_kill())
    assert "could NOT be stopped and is still billed: StopTrainingJob failed" in caplog.text


def test_a_job_that_is_to_outlive_its_task_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    def never() -> bool:
        raise AssertionError("it was asked to stop")

    trigger = _trigger(monkeypatch, never)
    trigger.stop_job_on_kill = False
    asyncio.run(trigger.on_kill())
