"""Airflow's task state store, with what is put into it kept for as long as its run is.

By default Airflow forgets it after `[state_store] default_retention_days`; a training may be cleared later
than that, and would then know nothing of the jobs it had.
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


#: Nothing is kept under this key: deleting it asks whether Airflow still knows this try, and changes nothing.
_ANY_KEY = "spot_training_try"
_NOT_FOUND = 404


def knows_this_try(store: TaskStateStoreAccessor) -> bool:
    """Whether the task has no later try than this process's, and still exists.

    Each try has a task instance id of its own, and Airflow's API knows the latest only. Asked by a deletion:
    reading answers "not found" as well where there is a try without such a key.
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
