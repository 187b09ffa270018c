"""States and trigger payloads of earlier versions: an upgrade in the middle of a training continues it.

`fixtures/0.1.0/` was written by the operator, sensor and trigger of that version, `fixtures/format-3/` by the
first code with scouts, `fixtures/format-4/` by the first one that sees checkpoints and leaves on-demand for
spot.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spot_training.domain.errors import InvalidInput, OutOfSteps, TimedOutWaiting
from spot_training.domain.lifecycle import Ending
from spot_training.domain.stop_reasons import StopReason
from spot_training.sagemaker.identity import TAG_INTENT, RunIdentity
from spot_training.training.driver import Completed, Waiting
from spot_training.training.recorder import MEMORY_KEY
from spot_training.training.state import (
    STATE_KEY,
    STATE_VERSION,
    MemoryStore,
    TrainingState,
    job_on_record,
    load_state,
)
from spot_training.triggers import TrainingJobTrigger
from spot_training.watching.deadline_stop import guard_from_json
from tests.cloud import HOUR, Cloud, live_jobs

from .support import PATIENT, Task

FIXTURES = Path(__file__).parent / "fixtures"
ALL = sorted(FIXTURES.glob("*/*.json"))
DEFERRED = [path for path in ALL if json.loads(path.read_text())["trigger"]]
IDENTITY = RunIdentity(dag_id="failing", run_id="run 1", task_id="task", installation="airflow")


def _read(path: Path) -> dict[str, Any]:
    read: dict[str, Any] = json.loads(path.read_text())
    return read


def _named(path: Path) -> str:
    return f"{path.parent.name}-{path.stem}"


def _stored(task: Task) -> TrainingState:
    state = load_state(task.store)
    assert state is not None
    return state


@pytest.fixture
def upgraded(cloud: Cloud) -> Any:
    """A task of 0.1.0 whose next process has this code: its state, and its jobs as they were."""

    def make(name: str, *, config: dict[str, Any] | None = None, **arguments: Any) -> Task:
        fixture = _read(FIXTURES / "0.1.0" / f"{name}.json")
        task = Task(cloud, identity=IDENTITY, config=config, **arguments)
        task.store.values.update(fixture["store"])
        task.try_number, task.max_tries = fixture["task"]["try_number"], fixture["task"]["max_tries"]
        task.clear_number = 0
        state = _stored(task)
        if state.current is not None and state.current.is_created:
            _make_job(task, state.current.job_name, state.current.nonce)
        return task

    return make


def _make_job(
    task: Task, name: str, nonce: str, *, instance_type: str = "ml.m5.xlarge", scout: int | None = None
) -> None:
    """The job as the earlier version made it: in the account, with its tags."""
    tags = [
        *IDENTITY.tags(1 if scout is None else scout, is_scout=scout is not None),
        {"Key": TAG_INTENT, "Value": nonce},
    ]
    request = {**task.config, "TrainingJobName": name, "Tags": tags, "EnableManagedSpotTraining": True}
    request["ResourceConfig"] = {**task.config["ResourceConfig"], "InstanceType": instance_type}
    task.cloud.client("sagemaker").create_training_job(**request)


@pytest.mark.parametrize("path", ALL, ids=_named)
def test_every_state_of_an_earlier_version_is_read_and_written_in_this_one(path: Path) -> None:
    stored = _read(path)["store"][STATE_KEY]
    state = TrainingState.from_json(stored)
    assert state.to_json()["version"] == max(2, stored["version"]), "format 3 only with scouts"
    assert TrainingState.from_json(json.loads(json.dumps(state.to_json()))) == state
    if stored["current"]:
        assert state.current is not None
        assert state.current.job_name == stored["current"]["job_name"]
    assert [attempt.job_name for attempt in state.attempts] == [a["job_name"] for a in stored["attempts"]]


@pytest.mark.parametrize("path", DEFERRED, ids=_named)
def test_every_payload_of_an_earlier_version_is_a_trigger_of_this_one(path: Path) -> None:
    class_path, payload = _read(path)["trigger"]
    assert class_path == f"{TrainingJobTrigger.__module__}.{TrainingJobTrigger.__qualname__}"
    trigger = TrainingJobTrigger(**payload)
    again = trigger.serialize()[1]
    assert {name: again[name] for name in payload} == payload
    if payload["guard"]:
        assert guard_from_json(payload["guard"]).has_checkpoints


def test_a_payload_of_a_later_version_is_a_trigger_too_and_keeps_what_it_does_not_know() -> None:
    payload = {**_read(DEFERRED[0])["trigger"][1], "stops_on_clear": True}
    assert TrainingJobTrigger(**payload).serialize()[1]["stops_on_clear"] is True


@pytest.mark.parametrize("name", ["waiting_for_spot", "adopted_by_a_retry", "waiting_again"])
def test_a_training_that_waits_is_continued_with_its_job(upgraded: Any, name: str) -> None:
    task = upgraded(name)
    before = _stored(task)
    assert before.current is not None
    done = task.finish()
    assert isinstance(done, Completed)
    assert done.attempts[-1].job_name == before.current.job_name
    assert task.created() == [before.current.job_name]
    assert len(done.attempts) == len(before.attempts) + 1


def test_a_training_with_scouts_is_continued_and_moves_to_the_type_that_one_finds(cloud: Cloud) -> None:
    fixture = _read(FIXTURES / "format-3" / "waiting_with_scouts.json")
    first, second, third = "ml.m5.xlarge", "ml.m5.2xlarge", "ml.c5.4xlarge"
    for kind in (first, second, third):
        cloud.set_capacity(available=False, instance_type=kind)
    policy = {"name": "widen", "instance_types": [first, second, third], "first_wait": "100h"}
    task = Task(cloud, identity=IDENTITY, config=PATIENT, policy=policy)
    task.store.values.update(fixture["store"])
    task.try_number, task.max_tries = fixture["task"]["try_number"], fixture["task"]["max_tries"]
    task.clear_number = 0
    state = _stored(task)
    assert state.current is not None
    _make_job(task, state.current.job_name, state.current.nonce)
    for scout in state.scouts:
        _make_job(task, scout.job_name, scout.nonce, instance_type=scout.instance_type, scout=scout.number)
    before = {state.current.job_name, *(scout.job_name for scout in state.scouts)}
    assert isinstance(task.driver().proceed(try_number=1, max_tries=3, clear_number=0), Waiting)
    assert set(task.created()) == before, "nothing is made twice"
    cloud.set_capacity(available=True, instance_type=third)
    done = task.finish()
    assert isinstance(done, Completed)
    moved, last = done.attempts
    assert (moved.job_name, moved.ending) == (state.current.job_name, Ending.MOVED)
    assert (last.instance_type, last.ending) == (third, Ending.COMPLETED)
    assert live_jobs(cloud) == []


def test_a_training_with_a_deadline_is_continued_with_its_job_and_its_guard(upgraded: Any) -> None:
    task = upgraded("waiting_with_a_deadline")
    task.cloud.set_capacity(available=False)
    step = task.driver().proceed(try_number=1, max_tries=1, clear_number=0)
    assert isinstance(step, Waiting)
    assert step.guard is not None
    assert step.guard.deadline.runtime.mean_seconds == HOUR


def test_a_job_that_was_meant_to_be_created_is_created_once(upgraded: Any) -> None:
    task = upgraded("about_to_create")
    meant = _stored(task).current
    assert meant is not None
    done = task.finish()
    assert task.created() == [meant.job_name]
    assert [attempt.job_name for attempt in done.attempts] == [meant.job_name]


def test_a_training_that_was_over_is_not_trained_again_by_a_retry_and_anew_by_a_clear(upgraded: Any) -> None:
    task = upgraded("completed")
    before = _stored(task)
    _make_job(task, before.attempts[-1].job_name, "")
    task.try_number = 2
    assert task.finish().attempts == before.attempts
    assert len(task.created()) == 1
    task.clear()
    assert [attempt.ending for attempt in task.finish().attempts] == [Ending.COMPLETED]
    assert len(task.created()) == 2


def test_a_training_that_had_given_up_climbs_again_at_a_retry(upgraded: Any) -> None:
    task = upgraded("given_up", policy={"name": "spot_only", "spot_attempts": 1})
    task.cloud.set_capacity(available=False)
    task.try_number = 2
    with pytest.raises(OutOfSteps, match="2 attempts"):
        task.finish()


def test_a_training_that_is_given_up_is_stopped_and_says_that_its_time_was_up(
    cloud: Cloud, upgraded: Any
) -> None:
    cloud.set_capacity(available=False)
    task = upgraded("giving_up", config=PATIENT)
    with pytest.raises(TimedOutWaiting):
        task.finish()
    (attempt,) = task.driver().attempts
    assert attempt.ending is Ending.STOPPED_AT_TIME_LIMIT


def test_a_stop_that_0_1_0_had_announced_is_no_persons(cloud: Cloud, upgraded: Any) -> None:
    cloud.set_capacity(available=False)
    task = upgraded("waiting_for_spot", config=PATIENT)
    stored = task.store.get(STATE_KEY)
    task.store.set(STATE_KEY, {**stored, "is_stop_expected": True})
    task.stop_as_a_person(stored["current"]["job_name"])
    cloud.set_capacity(available=True)
    done = task.finish()
    assert [attempt.ending for attempt in done.attempts] == [Ending.STOPPED_WITH_TASK, Ending.COMPLETED]


@pytest.mark.parametrize("path", ALL, ids=_named)
def test_what_the_ledger_remembers_beside_a_state_is_read(path: Path) -> None:
    from spot_training.training.record_memory import Memory

    stored = _read(path)["store"].get(MEMORY_KEY)
    if stored is not None:
        assert Memory.from_json(stored).version == stored["version"]


# Fields more and fewer ------------------------------------------------------------------------------

NOT_NEEDED = ("ladder_from", "giving_up", "began_at", "try_began_at", "deadline", "is_over", "attempts")


@given(st.sampled_from(ALL), st.sets(st.sampled_from(NOT_NEEDED)), st.integers(1, STATE_VERSION))
def test_a_state_with_fields_more_or_fewer_is_read_and_keeps_what_it_does_not_know(
    path: Path, missing: set[str], version: int
) -> None:
    stored = {**_read(path)["store"][STATE_KEY], "version": version, "colours": ["one", "two"]}
    if stored["current"]:
        stored["current"] = {**stored["current"], "hunted_by": "x"}
    state = TrainingState.from_json({name: value for name, value in stored.items() if name not in missing})
    written = state.to_json()
    assert written["colours"] == ["one", "two"]
    if state.current is not None:
        assert written["current"]["hunted_by"] == "x"
        assert state.current.job_name == stored["current"]["job_name"]


@pytest.mark.parametrize(
    "broken", [{"attempts": 3}, {"version": STATE_VERSION + 1}, {"deadline": "soon"}, {"began_at": "then"}]
)
def test_a_state_that_cannot_be_read_still_names_the_job_to_stop(broken: dict[str, Any]) -> None:
    stored = {**_read(FIXTURES / "0.1.0" / "waiting_for_spot.json")["store"][STATE_KEY], **broken}
    with pytest.raises(InvalidInput):
        TrainingState.from_json(stored)
    assert job_on_record(stored) == stored["current"]["job_name"]


def test_neither_a_foreign_job_nor_one_that_was_never_confirmed_is_one_to_stop() -> None:
    for name in ("watching", "about_to_create", "completed"):
        stored = _read(FIXTURES / "0.1.0" / f"{name}.json")["store"][STATE_KEY]
        assert job_on_record(stored) == ""
    nonsenses: list[Any] = [None, "", 7, [], {"current": 3}, {"current": {"is_created": True}}]
    for nonsense in nonsenses:
        assert job_on_record(nonsense) == ""


def test_a_downgrade_is_refused_with_the_way_out() -> None:
    store = MemoryStore()
    store.set(STATE_KEY, {"version": STATE_VERSION + 1})
    with pytest.raises(InvalidInput, match="install that again"):
        load_state(store)


def test_a_reason_of_a_later_version_is_a_stop_of_ours() -> None:
    stored = _read(FIXTURES / "0.1.0" / "waiting_for_spot.json")["store"][STATE_KEY]
    later = {**stored, "current": {**stored["current"], "stopped_for": "of-a-later-version"}}
    current = TrainingState.from_json(later).current
    assert current is not None
    assert current.stopped_for is StopReason.TASK_ENDED
