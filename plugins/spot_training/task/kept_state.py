"""Airflow's task state store, with entries that are kept as long as the Dag run.

By default Airflow deletes them after `[state_store] default_retention_days`. A person may clear a training
later than that, and it would then not know the jobs that it had.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow.sdk.execution_time.context import TaskStateStoreAccessor


@dataclass(frozen=True, slots=True)
class KeptState:
    """A `StateStore` over the one in a task's context."""

    store: TaskStateStoreAccessor

    def get(self, key: str) -> Any:
        return self.store.get(key)

    def set(self, key: str, value: Any) -> None:
        from airflow.sdk.execution_time.context import NEVER_EXPIRE

        self.store.set(key, value, retention=NEVER_EXPIRE)


#: No value has this key: deleting it asks whether Airflow still knows this try, and changes nothing.
_ANY_KEY = "spot_training_try"
_NOT_FOUND = 404


def knows_this_try(store: TaskStateStoreAccessor) -> bool:
    """Whether the task still exists and has no later try than this process's.

    Each try has its own task instance id, and Airflow's API knows only the latest one. The question is a
    deletion, because reading also answers "not found" for a known try without the key.
    """
    from airflow.sdk.exceptions import AirflowRuntimeError

    try:
        store.delete(_ANY_KEY)
    except AirflowRuntimeError as error:
        detail = error.error.detail or {}
        if detail.get("status_code") != _NOT_FOUND:
            raise
        return False
    return True
