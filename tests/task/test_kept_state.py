"""What a training remembers is kept in Airflow's state store for as long as its run is."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from airflow.sdk.execution_time import task_runner
from airflow.sdk.execution_time.comms import SetTaskStateStore, TaskStateStoreResult
from airflow.sdk.execution_time.context import TaskStateStoreAccessor

from spot_training.task.kept_state import KeptState
from spot_training.training.state import TrainingState, load_state, save_state


class _Supervisor:
    """The other end of a task's pipe."""

    def __init__(self) -> None:
        self.sent: list[Any] = []

    def send(self, message: Any) -> Any:
        self.sent.append(message)
        return TaskStateStoreResult(value=TrainingState(generation=3).to_json())


def test_a_state_never_expires(monkeypatch: pytest.MonkeyPatch) -> None:
    supervisor = _Supervisor()
    monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", supervisor, raising=False)
    store = KeptState(TaskStateStoreAccessor(ti_id=uuid.uuid4(), scope=None))  # type: ignore[arg-type]
    save_state(store, TrainingState())
    (message,) = supervisor.sent
    assert isinstance(message, SetTaskStateStore)
    assert message.expires_at is None
    assert load_state(store) == TrainingState(generation=3)
