"""The trigger over the shared watcher, on an event loop as in a triggerer, without Airflow's database."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from typing import Any

import pytest

from include.local_stack import wait_until
from spot_training.connections import AwsAccess
from spot_training.ledger.store import _note_taker
from spot_training.process import PerProcess
from spot_training.triggers import TrainingJobTrigger, seconds_to_settle
from spot_training.watching import rate_limit
from spot_training.watching.events import LONG_POLL_SECONDS
from spot_training.watching.rate_limit import RateLimit
from spot_training.watching.watcher import JobWatcher
from tests.cloud import Cloud

from .support import create_jobs

#: What a trigger was serialised to before it knew of logs, events and deadlines.
OLD_FIELDS = {
    "training_job_name": "job-1",
    "check_interval": 30,
    "stop_job_on_kill": True,
    "until": None,
    "aws_conn_id": "aws_default",
    "region_name": "us-east-1",
    "verify": None,
    "botocore_config": None,
}


@pytest.fixture
def watcher(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> JobWatcher:
    watcher = JobWatcher(cloud.jobs, rate_limit=RateLimit(10_000))
    monkeypatch.setattr(AwsAccess, "watcher", lambda _: watcher)
    monkeypatch.setattr("spot_training.triggers.seconds_to_settle", lambda: 0)
    return watcher


async def _events(*names: str, **fields: Any) -> list[dict[str, Any]]:
    async def event(name: str) -> dict[str, Any]:
        trigger = TrainingJobTrigger(training_job_name=name, check_interval=0.05, **fields)
        async for fired in trigger.run():
            payload: dict[str, Any] = fired.payload
            return payload
        raise AssertionError("never fired")

    return await asyncio.gather(*map(event, names))


def test_each_trigger_fires_once_with_its_jobs_status(cloud: Cloud, watcher: JobWatcher) -> None:
    names = [f"job-{n}" for n in range(8)]
    create_jobs(cloud, *names)
    events = asyncio.run(_events(*names, "nowhere"))
    assert [event["training_job_name"] for event in events] == [*names, "nowhere"]
    assert [event["status"] for event in events] == ["Completed"] * 8 + ["Missing"]


def test_a_ledger_that_does_not_answer_delays_no_end_of_a_job(
    cloud: Cloud, watcher: JobWatcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"job-{n}" for n in range(12)]
    create_jobs(cloud, *names)
    is_asked, may_answer = threading.Event(), threading.Event()

    def hang(_key: str, _job: object) -> None:
        is_asked.set()
        assert may_answer.wait(60)

    monkeypatch.setattr("spot_training.ledger.store.note_live", hang)
    _note_taker.forget()
    try:
        events = asyncio.run(asyncio.wait_for(_events(*names, record_key="0" * 32), 30))
        assert is_asked.is_set()
        assert not may_answer.is_set()
    finally:
        may_answer.set()
        _note_taker.forget()
    assert [event["status"] for event in events] == ["Completed"] * 12


def test_a_trigger_that_fails_at_once_waits_until_its_task_may_resume(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A task that resumes too soon is taken for one that was killed."""
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    def fail(_access: AwsAccess) -> JobWatcher:
        raise LookupError("no watcher today")

    monkeypatch.setattr(AwsAccess, "watcher", fail)
    monkeypatch.setattr("spot_training.triggers.seconds_to_settle", lambda: 7)
    monkeypatch.setattr("spot_training.triggers.asyncio.sleep", sleep)
    with pytest.raises(LookupError, match="no watcher today"):
        asyncio.run(_events("one"))
    assert [round(seconds) for seconds in slept] == [7]


def test_a_trigger_whose_job_is_over_at_once_waits_until_airflow_has_heard_that_the_task_deferred(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Airflow takes a task that resumes sooner for one that was killed."""
    create_jobs(cloud, "one")
    client = cloud.client("sagemaker")
    wait_until(
        lambda: client.describe_training_job(TrainingJobName="one")["TrainingJobStatus"] == "Completed",
        "the job to complete",
        timeout_seconds=30,
    )
    monkeypatch.setattr(AwsAccess, "watcher", lambda _: JobWatcher(cloud.jobs, rate_limit=RateLimit(10_000)))
    monkeypatch.setattr("spot_training.triggers.seconds_to_settle", lambda: 1.5)
    began = time.monotonic()
    assert [event["status"] for event in asyncio.run(_events("one"))] == ["Completed"]
    assert time.monotonic() - began >= 1.5


def test_airflows_own_settings_say_how_long_that_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL", "11")
    assert seconds_to_settle() == 13


def test_a_trigger_that_is_cancelled_deregisters(cloud: Cloud, watcher: JobWatcher) -> None:
    cloud.set_capacity(available=False)
    create_jobs(cloud, "one")

    async def cancel_while_it_waits() -> None:
        waiting = asyncio.create_task(_events("one"))
        while "one" not in watcher._watched.by_name:
            await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    asyncio.run(cancel_while_it_waits())
    assert not watcher._watched.by_name


def test_what_was_serialised_goes_in_again() -> None:
    trigger = TrainingJobTrigger(
        training_job_name="one",
        shows_log=True,
        events_queue_url="https://sqs.us-east-1.amazonaws.com/1/events",
    )
    _, fields = trigger.serialize()
    assert TrainingJobTrigger(**fields).serialize() == trigger.serialize()


def test_a_trigger_that_an_older_version_serialised_still_runs() -> None:
    _, fields = TrainingJobTrigger(**OLD_FIELDS).serialize()  # type: ignore[arg-type]
    assert OLD_FIELDS.items() <= fields.items()


def test_a_waiting_trigger_holds_no_client(cloud: Cloud, watcher: JobWatcher) -> None:
    cloud.set_capacity(available=False)
    names = [f"job-{n}" for n in range(30)]
    create_jobs(cloud, *names)

    async def count_clients() -> int:
        waiting = asyncio.create_task(_events(*names))
        while watcher._watched.new or len(watcher._watched.by_name) < len(names):
            await asyncio.sleep(0.01)
        clients = [thing for thing in gc.get_objects() if type(thing).__name__ == "SageMaker"]
        waiting.cancel()
        return len(clients)

    # A watcher of an earlier test may still be making its client.
    wait_until(
        lambda: all(thread.name != "spot-training-watcher" for thread in threading.enumerate()),
        "the watchers of other tests to end",
        timeout_seconds=30,
        poll_seconds=0.02,
    )
    gc.collect()
    before = [thing for thing in gc.get_objects() if type(thing).__name__ == "SageMaker"]
    assert asyncio.run(count_clients()) - len(before) <= 1


def test_the_queue_is_asked_in_its_own_region_and_with_the_patience_of_a_long_poll() -> None:
    access = AwsAccess(aws_conn_id=None, region_name="us-east-1", botocore_config={"read_timeout": 5})
    queue = access.queue("https://sqs.eu-west-1.amazonaws.com/123456789012/events")
    config = queue._client.meta.config
    assert config.read_timeout > LONG_POLL_SECONDS
    assert config.region_name == "eu-west-1"


def test_the_rate_of_calls_is_the_installations_wherever_a_task_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rate_limit, "_shared", PerProcess())
    monkeypatch.setenv("AIRFLOW__SPOT_TRAINING__CALLS_PER_SECOND", "2.5")
    limit = AwsAccess().rate_limit()
    assert limit.calls_per_second == 2.5
    assert AwsAccess(region_name="eu-west-1").rate_limit() is limit
