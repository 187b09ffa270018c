"""The operator and its checkpoints: which calls it makes, in its own process and behind a trigger."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Any

import pytest
from airflow.sdk.exceptions import TaskDeferred

from spot_training import connections
from spot_training.connections import AwsAccess
from spot_training.domain.checkpoint_looks import Checkpoint
from spot_training.domain.checkpoints_seen import SeenCheckpoints, SeenLaunch
from spot_training.training.state import load_state
from tests.cloud import Cloud, make_config

from .support import Run, make_operator

#: The local cloud saves it every six minutes, a tenth of a second of the test.
CONFIG = make_config(
    StoppingCondition={"MaxRuntimeInSeconds": 20 * 86400},
    Environment={"LOCAL_TRAINING_SECONDS": str(2 * 3600)},
)


@pytest.fixture
def calls(drought: Cloud, monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Each request to S3, by the thread that made it. There is capacity."""
    drought.set_capacity(available=True)
    for name, value in {
        "AWS_ENDPOINT_URL": drought.url,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
    }.items():
        monkeypatch.setenv(name, value)
    connections._s3_clients.forget()
    counted: Counter[str] = Counter()
    make = AwsAccess.s3

    def s3(self: AwsAccess) -> Any:
        client = make(self)
        client.meta.events.register(
            "before-send.s3", lambda **_: counted.update([threading.current_thread().name])
        )
        return client

    monkeypatch.setattr(AwsAccess, "s3", s3)
    return counted


def _state(run: Run) -> Any:
    state = load_state(run.store)
    assert state is not None
    return state


def test_a_task_without_deadline_and_watch_makes_not_one_call_to_s3(calls: Counter[str]) -> None:
    run = Run()
    make_operator(config=CONFIG, deferrable=False).execute(run.context())
    assert calls == {}
    assert _state(run).checkpoints is None


def test_a_task_that_waits_itself_sees_what_is_saved(calls: Counter[str]) -> None:
    run = Run()
    config = {**CONFIG, "Environment": {"LOCAL_TRAINING_SECONDS": str(6 * 3600)}}
    make_operator(config=config, deferrable=False, watch_checkpoints=True).execute(run.context())
    assert set(calls) == {"spot-training-checkpoints"}
    assert _state(run).checkpoints.launches[0].saved_seconds > 0


def test_a_deferred_task_takes_in_what_its_trigger_saw(calls: Counter[str]) -> None:
    run, arguments = Run(), {"config": CONFIG, "deferrable": True, "watch_checkpoints": True}
    with pytest.raises(TaskDeferred) as deferred:
        make_operator(**arguments).execute(run.context())
    trigger: Any = deferred.value.trigger
    assert trigger.checkpoints["uri"].startswith("s3://bucket/checkpoints/")
    now = _state(run).try_began_at
    seen = SeenCheckpoints(
        launches=(SeenLaunch(began_at=now, saved_seconds=60.0),),
        saved=(Checkpoint(name="progress.json", began_at=now, arrived_at=now),),
        looked_at=now,
    )
    for name, kept in (("another-job", None), (trigger.training_job_name, seen)):
        event = {"training_job_name": name, "status": "TimeIsUp", "checkpoints": seen.to_json()}
        with pytest.raises(TaskDeferred):
            make_operator(**arguments).resume(run.context(), event)
        assert _state(run).checkpoints == kept
    assert calls == {}, "the trigger looks, not the task"
