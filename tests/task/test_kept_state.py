"""What a training remembers is kept in Airflow's state store, or before 3.3 in the ledger's storage."""

from __future__ import annotations

import threading
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowRuntimeError, ErrorType
from airflow.sdk.execution_time import task_runner
from airflow.sdk.execution_time.comms import (
    ErrorResponse,
    InactiveAssetsResult,
    SetTaskStateStore,
    TaskStateStoreResult,
)
from airflow.sdk.execution_time.context import TaskStateStoreAccessor

from spot_training import compat
from spot_training.domain.errors import StateReplaced
from spot_training.ledger import Ledger
from spot_training.ledger.states import LedgerState
from spot_training.task import kept_state
from spot_training.task.kept_state import KeptState, StateInLedger, TaskState, state_of
from spot_training.training.state import MemoryStore, TrainingState, load_state, save_state

RUN, LATER = datetime(2026, 11, 2, 6, tzinfo=UTC), datetime(2026, 11, 2, 7, tzinfo=UTC)


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


# Before Airflow 3.3 -----------------------------------------------------------------------------------


@pytest.fixture
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ledger:
    monkeypatch.setenv("AIRFLOW__SPOT_TRAINING__LEDGER", str(tmp_path / "ledger"))
    monkeypatch.setenv("AIRFLOW__SPOT_TRAINING__INSTALLATION", "mine")
    return Ledger.configured()


def _context(
    ti_id: Any = "try 1", *, try_number: int = 1, run: datetime = RUN, clears: int = 0, store: Any = None
) -> Any:
    """A process of the task: the id and number of its try, and when its run began."""
    ti = SimpleNamespace(
        id=ti_id, dag_id="retrain", run_id="run 1", task_id="train", map_index=-1, try_number=try_number
    )
    dag_run = SimpleNamespace(start_date=run, clear_number=clears)
    return {"ti": ti, "dag_run": dag_run} | ({} if store is None else {"task_state_store": store})


def _process(ti_id: Any = "try 1", **facts: Any) -> TaskState:
    """The state as a new process of the task has it."""
    kept_state._kept.forget()
    kept_state._left.forget()
    return state_of(_context(ti_id, **facts))


@pytest.mark.usefixtures("ledger")
def test_a_task_without_airflows_store_continues_in_its_next_process() -> None:
    first = _process("try 1")
    assert isinstance(first, StateInLedger)
    assert load_state(first) is None
    save_state(first, TrainingState(generation=2))
    assert load_state(_process("try 1")) == TrainingState(generation=2)
    second = _process("try 2", try_number=2)
    assert load_state(second) == TrainingState(generation=2)
    with pytest.raises(StateReplaced):
        save_state(first, TrainingState(generation=2, is_over=True))
    save_state(second, TrainingState(generation=3))
    assert load_state(_process("try 2", try_number=2)) == TrainingState(generation=3)


@pytest.mark.usefixtures("ledger")
def test_a_run_that_is_made_again_does_not_find_the_state_of_the_deleted_one() -> None:
    """Its try has the same number, or a higher one if its first tries never got here."""
    before = _process("try 1")
    save_state(before, TrainingState(generation=2, is_over=True))
    again = _process("try 1 again", run=LATER)
    assert load_state(again) is None
    with pytest.raises(StateReplaced):
        save_state(before, TrainingState(generation=9))
    save_state(again, TrainingState(generation=3))
    assert load_state(_process("try 1 again", run=LATER)) == TrainingState(generation=3)
    assert load_state(_process("try 2 again", try_number=2, run=LATER)) == TrainingState(generation=3)
    assert load_state(_process("try 2 of a third", try_number=2, run=LATER + timedelta(days=1))) is None


@pytest.mark.usefixtures("ledger")
def test_a_run_that_is_cleared_after_its_end_keeps_its_state() -> None:
    save_state(_process("try 1"), TrainingState(generation=2, is_over=True))
    cleared = _process("try 2", try_number=2, run=LATER, clears=1)
    assert load_state(cleared) == TrainingState(generation=2, is_over=True)


@pytest.mark.parametrize("is_latest", [True, False])
@pytest.mark.usefixtures("ledger")
def test_airflow_says_whether_a_later_state_is_that_of_a_later_try(
    is_latest: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database may have been set back to a copy: the later run never was, and this try is the latest."""
    save_state(_process("try 1", run=LATER), TrainingState(generation=2))
    monkeypatch.setattr(kept_state, "knows_task_instance", lambda _: is_latest)
    process = _process("try 1 before", run=RUN)
    if is_latest:
        assert load_state(process) is None
        save_state(process, TrainingState(generation=3))
    else:
        with pytest.raises(StateReplaced):
            load_state(process)


@pytest.mark.usefixtures("ledger")
def test_a_state_that_a_deleted_run_left_before_an_upgrade_is_not_read() -> None:
    save_state(_process("try 1"), TrainingState(generation=2))
    assert load_state(_process("try 1 again", run=LATER, store=MemoryStore())) is None


@pytest.mark.usefixtures("ledger")
def test_one_process_has_one_view_of_its_state() -> None:
    """Its parts each ask for it, and what one has written is no other process's write to another."""
    state = _process("try 1")
    save_state(state, TrainingState(generation=1))
    again: Any = state_of(_context("try 1"))
    save_state(again, TrainingState(generation=2))
    assert load_state(state) == TrainingState(generation=2)


@pytest.mark.usefixtures("ledger")
def test_a_training_in_progress_continues_after_an_upgrade_to_3_3() -> None:
    save_state(_process("try 1"), TrainingState(generation=2))
    store = MemoryStore()
    upgraded = _process("try 1", store=store)
    assert load_state(upgraded) == TrainingState(generation=2)
    save_state(upgraded, TrainingState(generation=3))
    assert load_state(store) == TrainingState(generation=3)
    assert load_state(_process("try 2", try_number=2, store=store)) == TrainingState(generation=3)


def test_on_3_3_the_ledger_is_asked_once_and_need_not_answer(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    listed = Ledger.list_names

    def list_names(self: Ledger, *where: Any, **how: Any) -> list[str]:
        asked.append("list")
        return listed(self, *where, **how)

    monkeypatch.setattr(Ledger, "list_names", list_names)
    state = _process("try 1", store=MemoryStore())
    assert [state.get("a"), state.get("b"), load_state(state)] == [None, None, None]
    assert asked == ["list"]

    def refuse(*_: Any) -> LedgerState:
        raise ConnectionError("S3 is away")

    monkeypatch.setattr(kept_state, "_open", refuse)
    assert load_state(_process("try 1", store=MemoryStore())) is None


def test_on_3_3_a_ledger_that_hangs_delays_a_task_once_and_briefly(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    never = threading.Event()

    def hang(*_: Any) -> LedgerState:
        asked.append(1)
        never.wait(60)
        raise ConnectionError("S3 is away")

    monkeypatch.setattr(kept_state, "_open", hang)
    monkeypatch.setattr(kept_state, "LEDGER_SECONDS", 0.2)
    state = _process("try 1", store=MemoryStore())
    assert [state.get("a"), state.get("b")] == [None, None]
    never.set()
    assert asked == [1]


@pytest.mark.parametrize(("status", "is_known"), [(None, True), (404, False)])
def test_airflow_is_asked_whether_this_try_is_the_latest(
    status: int | None, is_known: bool, monkeypatch: pytest.MonkeyPatch, ledger: Ledger
) -> None:
    asked: list[Any] = []

    def send(message: Any) -> Any:
        asked.append(message)
        if status is None:
            return InactiveAssetsResult(inactive_assets=[])
        return ErrorResponse(error=ErrorType.API_SERVER_ERROR, detail={"status_code": status})

    monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", SimpleNamespace(send=send), raising=False)
    ti_id = uuid.uuid4()
    assert ledger.root
    assert _process(ti_id).knows_this_try() is is_known
    assert [message.ti_id for message in asked] == [ti_id]


def test_an_error_that_is_no_answer_says_nothing_about_the_try(monkeypatch: pytest.MonkeyPatch) -> None:
    error = ErrorResponse(error=ErrorType.API_SERVER_ERROR, detail={"status_code": 500})
    comms = SimpleNamespace(send=lambda _: error)
    monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", comms, raising=False)
    with pytest.raises(AirflowRuntimeError):
        compat.knows_task_instance(uuid.uuid4())
