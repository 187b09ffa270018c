"""What a process of a task asks for: a deferred training has several, and each does what is needed only."""

from __future__ import annotations

from collections import Counter
from typing import Any, NoReturn

import pytest

from spot_training.sagemaker import request
from spot_training.sagemaker.jobs import TrainingJobs
from spot_training.training.driver import Waiting
from spot_training.training.state import STATE_KEY, MemoryStore, TrainingState
from tests.cloud import Cloud, make_config

from .support import MemoryRecorder, Task


class _Recording(MemoryStore):
    """A state store that remembers all it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.given: list[Any] = []

    def set(self, key: str, value: Any, **options: Any) -> None:
        super().set(key, value, **options)
        self.given.append(value)


def _calls_of(jobs: TrainingJobs) -> Counter[str]:
    """Counts what the client sends from now on, by operation."""
    calls: Counter[str] = Counter()

    def count(model: Any, **_: Any) -> None:
        calls[model.name] += 1

    jobs.listen(lambda client: client.meta.events.register("before-call.sagemaker", count))
    return calls


def test_the_intent_is_the_first_thing_saved_and_its_job_the_second(cloud: Cloud) -> None:
    task = Task(cloud)
    task.store = store = _Recording()
    assert isinstance(task.step(), Waiting)
    intent, confirmed = (state["current"] for state in store.given)
    assert (intent["is_created"], confirmed["is_created"]) == (False, True)
    assert store.given[0]["try_number"] == 1
    assert store.given[0]["began_at"] is not None


def test_state_and_record_have_the_intent_before_its_job_is_created(cloud: Cloud) -> None:
    """The recorder gets each change before the state has it, and again after that."""
    order: list[str] = []

    class Store(MemoryStore):
        def set(self, key: str, value: Any, **options: Any) -> None:
            order.append("state")
            super().set(key, value, **options)

    class Recorder(MemoryRecorder):
        def saving(self, state: TrainingState) -> None:
            super().saving(state)
            order.append("saving")

        def saved(self, state: TrainingState) -> None:
            super().saved(state)
            order.append("saved")

    task = Task(cloud)
    task.store, task.recorder = Store(), Recorder()
    events = "before-call.sagemaker.CreateTrainingJob"
    task.jobs.listen(lambda client: client.meta.events.register(events, lambda **_: order.append("create")))
    assert isinstance(task.step(), Waiting)
    change = ["saving", "state", "saved"]
    assert order == [*change, "create", *change]


def test_a_finished_job_is_described_once(cloud: Cloud) -> None:
    task = Task(cloud)
    task.wait(task.step())
    task.jobs = cloud.jobs()
    calls = _calls_of(task.jobs)
    task.finish()
    assert calls == {"DescribeTrainingJob": 1}


def test_a_dag_that_was_changed_meanwhile_spoils_no_finished_training(cloud: Cloud) -> None:
    task = Task(cloud)
    task.wait(task.step())
    driver = task.driver()

    def nothing_to_decide(*_: object) -> NoReturn:
        pytest.fail("there is nothing to decide")

    task.host.make_policy = nothing_to_decide
    task.host.make_plan = nothing_to_decide
    done = driver.proceed(try_number=1, max_tries=0)
    assert not isinstance(done, Waiting)
    assert done.statement.completed
    assert task.store.get(STATE_KEY)["is_over"]


def test_a_request_is_checked_without_any_client() -> None:
    assert request.cast_request(make_config())["ResourceConfig"]["InstanceCount"] == 1
