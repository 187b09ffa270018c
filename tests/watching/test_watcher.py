"""One loop that waits for all, against the local SageMaker."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest
from botocore.config import Config

from spot_training.domain.lifecycle import JobSnapshot, SecondaryStatus, TrainingStatus
from spot_training.sagemaker.descriptions import Summary
from spot_training.sagemaker.jobs import TrainingJobs
from spot_training.sagemaker.logs import TrainingLogs
from spot_training.watching import periodic
from spot_training.watching.periodic import LONGEST_REST_SECONDS
from spot_training.watching.rate_limit import RateLimit
from spot_training.watching.watcher import (
    Follower,
    JobWatcher,
    LogLines,
    Missing,
    Over,
    Report,
    TimeIsUp,
    Trouble,
    follow,
    is_last,
)
from tests.cloud import Cloud, make_config

from .support import create_jobs, wait_until_over


def _watcher(cloud: Cloud, **how: Any) -> JobWatcher:
    return JobWatcher(cloud.jobs, rate_limit=RateLimit(10_000), **how)


async def _last_report(watcher: JobWatcher, name: str, *, interval_seconds: float) -> Report:
    with Follower(watcher, name, interval_seconds=interval_seconds) as reports:
        return [report async for report in reports][-1]


def _impatient_jobs(cloud: Cloud) -> TrainingJobs:
    """Over a client that gives up at once: it is for the watcher to go on."""
    client = boto3.client(
        "sagemaker",
        endpoint_url=cloud.url,
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",  # noqa: S106 - the local cloud takes any
        config=Config(retries={"mode": "standard", "total_max_attempts": 1}),
    )
    return TrainingJobs(client)


class Counting:
    """TrainingJobs that counts its calls, pages of the list one by one."""

    def __init__(self, jobs: TrainingJobs) -> None:
        self._jobs = jobs
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._jobs, name)

    def snapshot(self, name: str) -> JobSnapshot | None:
        self.calls.append("describe")
        return self._jobs.snapshot(name)

    def pages(self, **filters: Any) -> Iterator[tuple[Summary, ...]]:
        for page in self._jobs.pages(**filters):
            self.calls.append("list")
            yield page


class Hand:
    """A watcher without its thread: the test looks, at the time it says."""

    def __init__(self, cloud: Cloud, **how: Any) -> None:
        self.jobs = Counting(cloud.jobs())
        self.now = 1000.0
        self.reports: dict[str, list[Report]] = {}
        self.watcher = JobWatcher(
            lambda: self.jobs,  # type: ignore[arg-type, return-value]
            rate_limit=RateLimit(10_000),
            monotonic=lambda: self.now,
            **how,
        )
        self.watcher._thread = threading.current_thread()

    def watch(self, *names: str, **how: Any) -> None:
        for name in names:
            self.reports[name] = []
            self.watcher.watch(name, self.reports[name].append, interval_seconds=30, **how)

    def look(self, *, seconds_later: float = 0) -> list[str]:
        """Returns the calls it took."""
        self.now += seconds_later
        self.jobs.calls.clear()
        self.watcher.look()
        return list(self.jobs.calls)


@pytest.fixture
def hand(cloud: Cloud) -> Hand:
    cloud.set_capacity(available=False)  # jobs wait for ever
    return Hand(cloud)


def test_a_job_is_followed_to_its_end_without_an_event_loop(cloud: Cloud) -> None:
    create_jobs(cloud, "one")
    *_, last = follow(_watcher(cloud), "one", interval_seconds=0.05)
    assert isinstance(last, JobSnapshot)
    assert last.is_terminal


def test_many_jobs_are_followed_by_one_thread(cloud: Cloud) -> None:
    names = [f"job-{n}" for n in range(20)]
    create_jobs(cloud, *names)
    watcher = _watcher(cloud)

    async def last_report(name: str) -> Report:
        return await _last_report(watcher, name, interval_seconds=0.05)

    async def all_of_them() -> list[Report]:
        before = threading.active_count()
        reports = asyncio.gather(*(last_report(name) for name in names))
        await asyncio.sleep(0)
        assert threading.active_count() == before + 1
        return await reports

    for report in asyncio.run(all_of_them()):
        assert isinstance(report, JobSnapshot | Over)
        assert report.status is TrainingStatus.COMPLETED


def test_jobs_that_do_not_change_are_not_described_again(cloud: Cloud, hand: Hand) -> None:
    names = [f"job-{n}" for n in range(10)]
    create_jobs(cloud, *names)
    hand.watch(*names)
    assert hand.look().count("describe") == 10
    assert all(isinstance(reports[0], JobSnapshot) for reports in hand.reports.values())
    hand.look(seconds_later=10)  # the message may have changed
    assert hand.look(seconds_later=10) == ["list"]
    assert hand.look(seconds_later=10) == ["list"]


def test_nothing_is_asked_before_it_is_due(cloud: Cloud, hand: Hand) -> None:
    names = [f"job-{n}" for n in range(5)]
    create_jobs(cloud, *names)
    hand.watch(*names)
    hand.look()
    assert hand.look(seconds_later=0.5) == []


def test_many_that_come_together_are_looked_up_in_the_list(cloud: Cloud, hand: Hand) -> None:
    names = [f"job-{n}" for n in range(150)]
    create_jobs(cloud, *names)
    cloud.client("sagemaker").stop_training_job(TrainingJobName="job-7")
    hand.watch(*names, "nowhere", must_describe=False)
    calls = hand.look()
    assert calls.count("describe") == 1  # for the one that is not in the list
    assert hand.reports["nowhere"] == [Missing(name="nowhere")]
    assert calls.count("list") <= 4
    assert hand.reports["job-8"] == []


def test_who_must_have_a_description_gets_it_however_many_come(cloud: Cloud, hand: Hand) -> None:
    names = [f"job-{n}" for n in range(30)]
    create_jobs(cloud, *names)
    hand.watch(*names[1:], must_describe=False)
    hand.watch(names[0], must_describe=True)
    hand.look()
    assert [name for name, reports in hand.reports.items() if reports] == [names[0]]


def test_a_job_that_is_over_is_told_without_describing_it(cloud: Cloud, hand: Hand) -> None:
    names = [f"job-{n}" for n in range(5)]
    create_jobs(cloud, *names)
    hand.watch(*names)
    hand.look()
    cloud.client("sagemaker").stop_training_job(TrainingJobName="job-2")
    stopped = wait_until_over(cloud, "job-2")
    assert hand.look(seconds_later=10) == ["list"]
    assert hand.reports["job-2"][-1] == Over(
        name="job-2", status=TrainingStatus.STOPPED, secondary_status=stopped
    )
    hand.look(seconds_later=10)
    assert sum(isinstance(report, Over) for report in hand.reports["job-2"]) == 1


def test_a_change_is_described_once_and_told_to_the_one_concerned(cloud: Cloud, hand: Hand) -> None:
    names = [f"job-{n}" for n in range(5)]
    create_jobs(cloud, *names[:-1])
    client = cloud.client("sagemaker")
    cloud.set_capacity(available=True, instance_type="ml.m5.2xlarge")
    config = make_config(Environment={"LOCAL_TRAINING_SECONDS": "864000"})
    config["ResourceConfig"] = {"InstanceType": "ml.m5.2xlarge", "InstanceCount": 1, "VolumeSizeInGB": 1}
    config["StoppingCondition"] = {"MaxRuntimeInSeconds": 864000, "MaxWaitTimeInSeconds": 864000}
    client.create_training_job(**config | {"TrainingJobName": names[-1], "EnableManagedSpotTraining": True})
    hand.watch(*names)
    hand.look()
    heard = {name: len(reports) for name, reports in hand.reports.items()}
    _wait_for_status(cloud, names[-1], "Training")
    hand.look(seconds_later=10)
    latest = hand.reports[names[-1]][-1]
    assert isinstance(latest, JobSnapshot)
    assert latest.secondary_status is SecondaryStatus.TRAINING
    assert len(hand.reports[names[0]]) - heard[names[0]] <= 1  # its message may have changed


def test_the_round_finds_a_job_that_is_not_there_any_more(cloud: Cloud, hand: Hand) -> None:
    names = [f"job-{n}" for n in range(5)]
    create_jobs(cloud, *names)
    hand.watch(*names)
    hand.look()
    client = cloud.client("sagemaker")
    client.stop_training_job(TrainingJobName="job-3")
    wait_until_over(cloud, "job-3")
    client.delete_training_job(TrainingJobName="job-3")
    for _ in range(100):
        hand.look(seconds_later=21)
        if hand.reports["job-3"][-1] == Missing(name="job-3"):
            return
    raise AssertionError("never noticed")


def test_nothing_happening_costs_less_than_twelve_calls_a_minute(cloud: Cloud, hand: Hand) -> None:
    names = [f"job-{n}" for n in range(250)]
    create_jobs(cloud, *names)
    hand.watch(*names, must_describe=False)
    hand.look()
    calls, minutes = 0, 60
    for _ in range(minutes * 60):  # a look a second, due or not
        calls += len(hand.look(seconds_later=1))
    # The messages of the jobs change once in the first minute, and changes are looked at quickly.
    assert (calls - len(names)) / minutes < 12


def test_a_job_that_is_not_there_is_reported_missing(cloud: Cloud) -> None:
    assert list(follow(_watcher(cloud), "nowhere", interval_seconds=0.05)) == [Missing(name="nowhere")]


def test_polling_that_fails_is_survived_and_told(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(periodic, "TROUBLE_AFTER_SECONDS", 0)
    create_jobs(cloud, "one", seconds=7200)
    cloud.fail("DescribeTrainingJob", "InternalFailure", count=2)
    watcher = JobWatcher(lambda: _impatient_jobs(cloud), rate_limit=RateLimit(10_000))
    reports = list(follow(watcher, "one", interval_seconds=0.05))
    assert any(isinstance(report, Trouble) for report in reports)
    assert is_last(reports[-1])


def test_trouble_with_one_of_two_calls_is_trouble(
    cloud: Cloud, hand: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Listing may be allowed where describing is not."""
    names = [f"job-{n}" for n in range(5)]
    create_jobs(cloud, *names)
    monkeypatch.setattr(hand.jobs, "snapshot", _refuse)
    hand.watch(*names)
    for _ in range(20):
        hand.look(seconds_later=5)
    assert any(isinstance(report, Trouble) for report in hand.reports["job-0"])
    cloud.client("sagemaker").stop_training_job(TrainingJobName="job-4")
    wait_until_over(cloud, "job-4")
    hand.look(seconds_later=10)
    assert isinstance(hand.reports["job-4"][-1], Over)
    monkeypatch.undo()
    hand.look(seconds_later=LONGEST_REST_SECONDS)
    assert isinstance(hand.reports["job-0"][-1], JobSnapshot)


def _refuse(_: str) -> None:
    raise PermissionError("sagemaker:DescribeTrainingJob is not allowed")


def test_throttling_slows_the_watcher_and_never_ends_it(cloud: Cloud) -> None:
    names = [f"job-{n}" for n in range(6)]
    create_jobs(cloud, *names)
    limit = RateLimit(2000)
    watcher = JobWatcher(lambda: _impatient_jobs(cloud), rate_limit=limit)
    cloud.fail("ListTrainingJobs", "ThrottlingException", count=2)
    cloud.fail("DescribeTrainingJob", "ThrottlingException", count=2)

    async def last_report(name: str) -> Report:
        return await _last_report(watcher, name, interval_seconds=0.05)

    async def all_of_them() -> list[Report]:
        return await asyncio.gather(*map(last_report, names))

    assert all(map(is_last, asyncio.run(all_of_them())))
    assert limit.calls_per_second < 2000


def test_time_is_up_at_a_moment_that_moves(cloud: Cloud) -> None:
    cloud.set_capacity(available=False)
    create_jobs(cloud, "one")
    asked: list[datetime] = []

    def until() -> datetime:
        asked.append(datetime.now(UTC) + timedelta(seconds=60 if not asked else 0))
        return asked[-1]

    *_, last = follow(_watcher(cloud), "one", interval_seconds=0.05, until=until)
    assert last == TimeIsUp(until=asked[-1])
    assert len(asked) >= 2


def test_the_log_is_shown_live_to_who_asks(cloud: Cloud) -> None:
    cloud.set_capacity(available=False)
    hand = Hand(cloud, make_logs=lambda: TrainingLogs(cloud.client("logs")))
    names = ("shown", "quiet")
    create_jobs(cloud, *names)
    logs = cloud.client("logs")
    logs.create_log_group(logGroupName="/aws/sagemaker/TrainingJobs")
    for name in names:
        logs.create_log_stream(logGroupName="/aws/sagemaker/TrainingJobs", logStreamName=f"{name}/algo-1-1")
    hand.watch("quiet")
    hand.watch("shown", shows_log=True)

    def write(*lines: str) -> None:
        at = round(time.time() * 1000)
        for name in names:
            logs.put_log_events(
                logGroupName="/aws/sagemaker/TrainingJobs",
                logStreamName=f"{name}/algo-1-1",
                logEvents=[{"timestamp": at, "message": line} for line in lines],
            )

    write("epoch 1", "epoch 2")
    hand.look()
    write("epoch 3")
    hand.look(seconds_later=11)
    hand.look(seconds_later=11)
    told = {name: [r for r in reports if isinstance(r, LogLines)] for name, reports in hand.reports.items()}
    assert [report.lines for report in told["shown"]] == [("epoch 1", "epoch 2"), ("epoch 3",)]
    assert told["quiet"] == []


def test_the_thread_ends_with_its_last_listener(cloud: Cloud) -> None:
    create_jobs(cloud, "one")
    watcher = _watcher(cloud)
    list(follow(watcher, "one", interval_seconds=0.05))
    deadline = time.monotonic() + 5
    while watcher._thread is not None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert watcher._thread is None


def test_a_thousand_changes_at_once_leave_the_event_loop_room(cloud: Cloud) -> None:
    async def count_turns_between_reports() -> int:
        turns = 0
        watcher = JobWatcher(lambda: None, rate_limit=RateLimit(10_000))  # type: ignore[arg-type, return-value]
        watcher._thread = threading.current_thread()
        names = [f"job-{n}" for n in range(1000)]

        async def wait_for(name: str) -> Report:
            return await _last_report(watcher, name, interval_seconds=30)

        waiting = [asyncio.create_task(wait_for(name)) for name in names]
        await asyncio.sleep(0)
        now = datetime.now(UTC)
        for name in names:
            watcher._watched.update(
                Summary(
                    name=name,
                    status=TrainingStatus.COMPLETED,
                    secondary_status=SecondaryStatus.COMPLETED,
                    last_modified_at=now,
                ),
                is_event=False,
            )
        while not all(task.done() for task in waiting):
            await asyncio.sleep(0)
            turns += 1
        return turns

    assert asyncio.run(count_turns_between_reports()) >= 1000 / 25


def _wait_for_status(cloud: Cloud, name: str, secondary: str) -> None:
    client = cloud.client("sagemaker")
    deadline = time.monotonic() + 30
    while client.describe_training_job(TrainingJobName=name)["SecondaryStatus"] != secondary:
        assert time.monotonic() < deadline
        time.sleep(0.01)
