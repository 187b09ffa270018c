"""Which process wrote a task's state: one of this task's run, or of a run that was deleted.

A run that is made again has the ids of the deleted one, and so its tasks have the same key. Airflow 3.3
deletes its task states with the run. A state in the ledger stays, so it says which try of which run wrote it:

- Each try of a task has an id of its own (on 3.0 a try that the scheduler takes back keeps it).
- A run has another start if it was made again, or if it was over and a person cleared a task of it. Only
  the clear also raises the run's clear number.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any


class Origin(Enum):
    """What another process, which wrote a state, is to the one that finds it."""

    #: This process, or an earlier one of this task: its state is continued.
    THIS_RUN = "this run"
    #: A run of the same id that was deleted: its state is not this task's.
    DELETED_RUN = "a deleted run"
    #: A later try, or a run that was made again since: this process is too late.
    LATER = "a later try"


@dataclass(frozen=True, slots=True, kw_only=True)
class StateWriter:
    """A process of a task: its try, and its run as it was when the process started. Empty: not known."""

    ti_id: str = ""
    try_number: int = 0
    clear_number: int = 0
    run_started_at: datetime | None = None

    def to_json(self) -> dict[str, Any]:
        return {
            "ti_id": self.ti_id,
            "try_number": self.try_number,
            "clear_number": self.clear_number,
            "run_started_at": self.run_started_at.isoformat() if self.run_started_at else None,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> StateWriter:
        started = data.get("run_started_at")
        return cls(
            ti_id=data.get("ti_id") or "",
            try_number=data.get("try_number") or 0,
            clear_number=data.get("clear_number") or 0,
            run_started_at=datetime.fromisoformat(started) if started else None,
        )

    def is_same_try(self, other: StateWriter) -> bool:
        return (self.ti_id, self.try_number) == (other.ti_id, other.try_number)

    def origin_of(self, other: StateWriter) -> Origin:
        """What the writer of a state is to this process.

        A run that a person queues again by the API, while its task waits for a retry, counts as made again.
        """
        mine, its = self.run_started_at, other.run_started_at
        is_same_try = bool(self.ti_id) and self.ti_id == other.ti_id
        if is_same_try or (mine is not None and mine == its):
            return Origin.LATER if other.try_number > self.try_number else Origin.THIS_RUN
        if mine is None or its is None:
            may_be_earlier_try = other.try_number < self.try_number or not other.ti_id
            return Origin.THIS_RUN if may_be_earlier_try else Origin.DELETED_RUN
        if its > mine:
            return Origin.LATER
        is_cleared = self.clear_number > other.clear_number and self.try_number > other.try_number
        return Origin.THIS_RUN if is_cleared else Origin.DELETED_RUN
