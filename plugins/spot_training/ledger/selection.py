"""Which trainings of the ledger somebody asks about."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which trainings: those that began in [since, until) and match every tuple given. None matches all.

    An empty tuple matches none: a user who may read no Dag sees nothing.
    """

    since: datetime | None = None
    until: datetime | None = None
    dag_ids: tuple[str, ...] | None = None
    task_ids: tuple[str, ...] | None = None
    models: tuple[str, ...] | None = None
    instance_types: tuple[str, ...] | None = None
    teams: tuple[str, ...] | None = None
    states: tuple[str, ...] | None = None
    keys: tuple[str, ...] | None = None
    installations: tuple[str, ...] | None = None

    def where(self) -> tuple[str, list[Any]]:
        """As a condition on `trainings` and its parameters."""
        conditions = ["true"]
        parameters: list[Any] = []
        for column, operator, moment in (("began_at", ">=", self.since), ("began_at", "<", self.until)):
            if moment is not None:
                conditions.append(f"{column} {operator} ?")
                parameters.append(moment)
        for column, values in (
            ("dag_id", self.dag_ids),
            ("task_id", self.task_ids),
            ("model", self.models),
            ("instance_type", self.instance_types),
            ("team", self.teams),
            ("state", self.states),
            ("key", self.keys),
            ("installation", self.installations),
        ):
            if values is not None:
                conditions.append(f"list_contains(?::VARCHAR[], {column})")
                parameters.append([str(value) for value in values])
        return " AND ".join(conditions), parameters


#: All trainings.
EVERYTHING = Selection()
