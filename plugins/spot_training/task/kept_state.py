"""Where a task keeps what its next process needs: in Airflow's task state store, kept as long as the run is.

Before Airflow 3.3 there is no such store: the state is in the ledger's storage (`ledger.states`). After an
upgrade to 3.3, a training in progress is read from there once, and continues in Airflow's store.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from spot_training.compat import (
    airflow_state_store,
    ask_one_at_a_time,
    keep_for_ever,
    knows_task_instance,
)
from spot_training.process import PerProcess, within

if TYPE_CHECKING:
    from airflow.sdk import Context
    from airflow.sdk.execution_time.context import TaskStateStoreAccessor

    from spot_training.ledger.state_writer import StateWriter
    from spot_training.ledger.states import LedgerState

log = logging.getLogger(__name__)


class TaskState(Protocol):
    """A `StateStore` that can also tell whether its process is the task's latest one."""

    def get(self, key: str) -> Any: ...

    def set(self, key: str, value: Any) -> None: ...

    def knows_this_try(self) -> bool:
        """Whether the task still exists and has no later try than this process's."""
        ...


def state_of(context: Context) -> TaskState:
    """The state of the task that runs in this process. Raises `InstallationUnknown` before Airflow 3.3."""
    ti: Any = context["ti"]
    store = airflow_state_store(context)
    if store is None:
        ask_one_at_a_time()
        return StateInLedger(_ledger_state_of(context), getattr(ti, "id", None))
    return KeptState(store, lambda: _left_before_upgrade(context))


#: By task instance: a process must know what it has read and written last.
_kept: PerProcess[LedgerState] = PerProcess()


def _ledger_state_of(context: Context) -> LedgerState:
    ti_id = getattr(context["ti"], "id", None)  # a task that `dag.test()` runs may have none
    return _open(context) if ti_id is None else _kept.get(lambda: _open(context), key=ti_id)


#: What an Airflow before 3.3 has left of a task. A process asks the ledger once, and waits only briefly.
_left: PerProcess[Mapping[str, Any]] = PerProcess()
LEDGER_SECONDS = 5.0


def _left_before_upgrade(context: Context) -> Mapping[str, Any]:
    def read() -> Mapping[str, Any]:
        try:
            return within(LEDGER_SECONDS, lambda: _open(context).first_values())
        except Exception as error:  # noqa: BLE001 - a job of this task is found by its name and tags, too
            log.debug("The ledger has no answer about states of earlier Airflows: %s", error)
            return {}

    ti_id = getattr(context["ti"], "id", None)
    return read() if ti_id is None else _left.get(read, key=ti_id)


def _open(context: Context) -> LedgerState:
    from spot_training.domain.record_keys import record_key
    from spot_training.installation import this_installation
    from spot_training.ledger import Ledger
    from spot_training.ledger.states import LedgerState

    ti: Any = context["ti"]
    who = {
        "dag_id": ti.dag_id,
        "run_id": ti.run_id,
        "task_id": ti.task_id,
        "map_index": -1 if ti.map_index is None else ti.map_index,
    }
    names = this_installation().names
    keys = tuple(record_key(installation=name, **who) for name in names)
    by = _writer_of(context)
    return LedgerState(
        Ledger.configured(),
        keys,
        about={"installation": names[0], **who},
        by=by,
        is_latest_try=lambda: knows_task_instance(by.ti_id),
    )


def _writer_of(context: Context) -> StateWriter:
    from spot_training.ledger.state_writer import StateWriter

    ti: Any = context["ti"]
    run: Any = context["dag_run"]
    ti_id = getattr(ti, "id", None)
    return StateWriter(
        ti_id="" if ti_id is None else str(ti_id),
        try_number=ti.try_number,
        clear_number=getattr(run, "clear_number", 0),
        run_started_at=run.start_date,
    )


@dataclass(frozen=True, slots=True)
class StateInLedger:
    """The state of a task before Airflow 3.3."""

    state: LedgerState
    ti_id: Any

    def get(self, key: str) -> Any:
        return self.state.get(key)

    def set(self, key: str, value: Any) -> None:
        self.state.set(key, value)

    def knows_this_try(self) -> bool:
        """See `TaskState`. On Airflow 3.0 a try that the scheduler takes back has the next one's id."""
        return knows_task_instance(self.ti_id) and not self.state.has_later_try()


#: No value has this key: deleting it asks whether Airflow still knows this try, and changes nothing.
_ANY_KEY = "spot_training_try"
_NOT_FOUND = 404


@dataclass(frozen=True, slots=True)
class KeptState:
    """The state of a task since Airflow 3.3; `earlier` gives what an Airflow before 3.3 has left."""

    store: TaskStateStoreAccessor
    earlier: Callable[[], Mapping[str, Any]] | None = None

    def get(self, key: str) -> Any:
        value = self.store.get(key)
        return self.earlier().get(key) if value is None and self.earlier else value

    def set(self, key: str, value: Any) -> None:
        self.store.set(key, value, **keep_for_ever())

    def knows_this_try(self) -> bool:
        """See `TaskState`.

        Each try has its own task instance id, and Airflow's API knows only the latest one. The question is a
        deletion, because reading also answers "not found" for a known try without the key.
        """
        from airflow.sdk.exceptions import AirflowRuntimeError

        try:
            self.store.delete(_ANY_KEY)
        except AirflowRuntimeError as error:
            detail = error.error.detail or {}
            if detail.get("status_code") != _NOT_FOUND:
                raise
            return False
        return True
