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
