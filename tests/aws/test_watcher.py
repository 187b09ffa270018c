"""One loop that waits for all, against the local SageMaker."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import pytest

from spot_training.aws import watcher as watcher_module
from spot_training.aws.jobs import TrainingJobs
from spot_training.aws.watcher import JobWatcher, Missing, Report, Trouble, follow, follow_async, is_last
from spot_training.domain.lifecycle import JobSnapshot

from .conftest import Cloud
from .test_driver import _config


def _create(cloud: Cloud, *names: str, seconds: int = 600) -> None:
    client = cloud.client("sagemaker")
    for name in names:
        client.create_training_job(
            **{
                **_config(Environment={"LOCAL_TRAINING_SECONDS": str(seconds)}),
                "TrainingJobName": name,
                "EnableManagedSpotTraining": True,
                "CheckpointConfig": {"S3Uri": f"s3://bucket/checkpoints/{name}"},
            }
        )


class Counting:
    """TrainingJobs that counts its calls."""

    def __init__(self, jobs: TrainingJobs) -> None:
        self._jobs = jobs
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Any:
        self.calls.append(name)
        return getattr(self._jobs, name)


def test_a_job_is_followed_to_its_end_without_an_event_loop(cloud: Cloud) -> None:
    _create(cloud, "one")
    *_, last = follow(JobWatcher(cloud.jobs), "one", interval_seconds=0.05)
    assert isinstance(last, JobSnapshot)
    assert last.is_terminal


def test_many_jobs_are_followed_by_one_thread(cloud: Cloud) -> None:
    names = [f"job-{n}" for n in range(20)]
    _create(cloud, *names)
    watcher = JobWatcher(cloud.jobs)

    async def last_report(name: str) -> Report:
        return [report async for report in follow_async(watcher, name, interval_seconds=0.05)][-1]

    async def all_of_them() -> list[Report]:
        before = threading.active_count()
        reports = asyncio.gather(*(last_report(name) for name in names))
        await asyncio.sleep(0)
        assert threading.active_count() == before + 1
        return await reports

    reports = asyncio.run(all_of_them())
    assert all(isinstance(report, JobSnapshot) and report.is_terminal for report in reports)


def test_jobs_that_do_not_change_are_not_described_again(cloud: Cloud) -> None:
    cloud.set_capacity(available=False)
    names = [f"job-{n}" for n in range(10)]
    _create(cloud, *names)
    counting = Counting(cloud.jobs())
    watcher = JobWatcher(lambda: counting)  # type: ignore[arg-type, return-value]
    watcher._thread = threading.current_thread()  # the test looks itself
    watches = [watcher.watch(name, lambda _report: None, interval_seconds=1) for name in names]
    watcher.look()
    assert counting.calls.count("snapshot") == 10
    counting.calls.clear()
    for _ in range(5):
        watcher.look()
    assert counting.calls.count("snapshot") <= 10  # messages may change once; not 5 looks x 10 jobs
    assert counting.calls.count("changed_since") == 5
    for watch in watches:
        watcher.unwatch(watch)


def test_a_job_that_is_not_there_is_reported_missing(cloud: Cloud) -> None:
    assert list(follow(JobWatcher(cloud.jobs), "nowhere", interval_seconds=0.05)) == [Missing(name="nowhere")]


def test_polling_that_fails_is_survived_and_told(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watcher_module, "TROUBLE_AFTER_SECONDS", 0)
    _create(cloud, "one", seconds=7200)
    cloud.fail("DescribeTrainingJob", "InternalFailure", count=13)
    reports = list(follow(JobWatcher(cloud.jobs), "one", interval_seconds=0.05))
    assert any(isinstance(report, Trouble) for report in reports)
    assert is_last(reports[-1])


def test_the_thread_ends_with_its_last_listener(cloud: Cloud) -> None:
    _create(cloud, "one")
    watcher = JobWatcher(cloud.jobs)
    list(follow(watcher, "one", interval_seconds=0.05))
    deadline = time.monotonic() + 5
    while watcher._thread is not None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert watcher._thread is None
