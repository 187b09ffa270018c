"""Looks at checkpoints while a trigger, or a process, waits for a job on the local cloud."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from typing import Any

import pytest

from spot_training.connections import AwsAccess
from spot_training.domain.checkpoints_seen import CheckpointsToWatch, SeenCheckpoints
from spot_training.sagemaker.checkpoints import CheckpointPrefix
from spot_training.triggers import LOOK_AT_CHECKPOINTS, TrainingJobTrigger
from spot_training.watching.checkpoint_watch import CheckpointWatch
from spot_training.watching.deadline_stop import follow_with_deadline
from spot_training.watching.periodic import Renewed
from spot_training.watching.rate_limit import RateLimit
from spot_training.watching.reports import CheckpointNews
from spot_training.watching.watcher import JobWatcher
from tests.cloud import Cloud, make_config

URI = "s3://bucket/checkpoints/job"
#: In four seconds of the test, this job trains four hours, and saves twenty times.
SECONDS = 4 * 3600


@pytest.fixture
def calls(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Each listing, by the thread that made it."""
    counted: Counter[str] = Counter()
    client = cloud.client("s3")
    client.meta.events.register(
        "before-send.s3", lambda **_: counted.update([threading.current_thread().name])
    )
    watcher = JobWatcher(cloud.jobs, rate_limit=RateLimit(10_000))
    monkeypatch.setattr(AwsAccess, "watcher", lambda _: watcher)
    monkeypatch.setattr(
        AwsAccess, "checkpoints", lambda _, uri: CheckpointPrefix(Renewed(lambda: client), uri)
    )
    monkeypatch.setattr("spot_training.triggers.seconds_to_settle", lambda: 0)
    return counted


def _create(cloud: Cloud, *, seconds: int = SECONDS) -> None:
    request = make_config(
        TrainingJobName="job",
        Environment={"LOCAL_TRAINING_SECONDS": str(seconds)},
        StoppingCondition={"MaxRuntimeInSeconds": 20 * 86400},
        CheckpointConfig={"S3Uri": URI},
    )
    cloud.client("sagemaker").create_training_job(**request)


def _fire(**fields: Any) -> dict[str, Any]:
    async def event() -> dict[str, Any]:
        trigger = TrainingJobTrigger(training_job_name="job", check_interval=0.05, **fields)
        made = TrainingJobTrigger(**trigger.serialize()[1])
        async for fired in made.run():
            payload: dict[str, Any] = fired.payload
            return payload
        raise AssertionError("never fired")

    return asyncio.run(asyncio.wait_for(event(), 60))


def test_the_event_says_what_was_seen_and_the_event_loop_makes_no_call(
    cloud: Cloud, calls: Counter[str]
) -> None:
    _create(cloud)
    fired = _fire(checkpoints=CheckpointsToWatch(uri=URI).to_json())
    assert fired["status"] == "Completed"
    seen = SeenCheckpoints.from_json(fired["checkpoints"])
    assert seen is not None
    (launch,) = seen.launches
    # On a busy machine the upload of the last one is a real second late: an hour of the job's time.
    assert 0 < launch.saved_seconds <= SECONDS + 3600
    assert launch.arrivals
    assert set(calls) == {"spot-training-checkpoints"}


def test_whoever_waits_for_a_checkpoint_is_woken_by_it(cloud: Cloud, calls: Counter[str]) -> None:
    _create(cloud, seconds=20 * 3600)
    what = CheckpointsToWatch(uri=URI, wake_after=cloud.now())
    fired = _fire(checkpoints=what.to_json())
    assert fired["status"] == LOOK_AT_CHECKPOINTS
    seen = SeenCheckpoints.from_json(fired["checkpoints"])
    assert seen is not None
    assert what.wake_after is not None
    assert seen.is_saved_since(what.wake_after)


def test_uploads_that_stall_wake_the_task(cloud: Cloud, calls: Counter[str]) -> None:
    """The job saves every five hours. Its author says that it does every ten minutes."""
    _create(cloud, seconds=100 * 3600)
    fired = _fire(checkpoints=CheckpointsToWatch(uri=URI, given_seconds=600).to_json())
    assert fired["status"] == LOOK_AT_CHECKPOINTS
    seen = SeenCheckpoints.from_json(fired["checkpoints"])
    assert seen is not None
    assert seen.must_report
    assert "uploads have stalled" in seen.stalled_because


def test_a_trigger_that_was_not_asked_to_makes_not_one_call_more(cloud: Cloud, calls: Counter[str]) -> None:
    _create(cloud)
    assert _fire() == {"training_job_name": "job", "status": "Completed"}
    assert calls == {}
    assert "checkpoints" not in TrainingJobTrigger(training_job_name="job").serialize()[1]


def test_without_the_permission_a_trigger_says_so_once_and_goes_on(
    cloud: Cloud, calls: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _create(cloud)
    warned: list[str] = []
    monkeypatch.setattr(TrainingJobTrigger, "log", property(lambda _: _Log(warned)), raising=False)
    fired = _fire(checkpoints=CheckpointsToWatch(uri="s3://no-such-bucket/x").to_json())
    assert fired["status"] == "Completed"
    assert fired["checkpoints"] == SeenCheckpoints().to_json()
    assert len([line for line in warned if line.startswith("Checkpoints cannot be seen")]) == 1


class _Log:
    def __init__(self, warned: list[str]) -> None:
        self._warned = warned

    def warning(self, text: str, *values: object) -> None:
        self._warned.append(text % values)

    info = error = debug = lambda *_, **__: None


def test_a_process_that_waits_itself_sees_the_same(cloud: Cloud, calls: Counter[str]) -> None:
    _create(cloud)
    watcher = JobWatcher(cloud.jobs, rate_limit=RateLimit(10_000))
    watch = CheckpointWatch(CheckpointsToWatch(uri=URI), lambda: watcher.clock, AwsAccess().checkpoints(URI))
    news = [
        report
        for report in follow_with_deadline(
            watcher,
            "job",
            interval_seconds=0.05,
            deadline_stop=None,
            checkpoints=watch,
            stop=lambda _job: False,
        )
        if isinstance(report, CheckpointNews)
    ]
    assert news
    assert news[-1].seen.launches[0].saved_seconds > 0
    assert set(calls) == {"spot-training-checkpoints"}
