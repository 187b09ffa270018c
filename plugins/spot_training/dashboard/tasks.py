"""Which tasks of running trainings are over already. Reads the metadata database, as Airflow's API does."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from airflow.models.taskinstance import TaskInstance
from airflow.utils.session import create_session
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from spot_training.sweep.orphans import NO_SUCH_TASK, OVER_STATES

if TYPE_CHECKING:
    from .now import NowRow

log = logging.getLogger(__name__)

#: Rows asked for at a time: databases limit the parameters of a query.
AT_ONCE = 200


def over_tasks(rows: Sequence[NowRow]) -> dict[str, str]:
    """The states of the rows' tasks that are over or gone, by the row's key."""
    found: dict[str, str] = {}
    for start in range(0, len(rows), AT_ONCE):
        some = rows[start : start + AT_ONCE]
        try:
            states = dict(_states(some))
        except SQLAlchemyError as error:  # what the ledger says is shown then
            log.warning("The states of running trainings' tasks could not be read: %s", error)
            return {}
        for row in some:
            state = states.get((row.dag_id, row.run_id, row.task_id, row.map_index), NO_SUCH_TASK)
            if state == NO_SUCH_TASK or state in OVER_STATES:
                found[row.key] = str(state)
    return found


def _states(rows: Sequence[NowRow]) -> Iterator[tuple[tuple[str, str, str, int], str | None]]:
    wanted = select(
        TaskInstance.dag_id,
        TaskInstance.run_id,
        TaskInstance.task_id,
        TaskInstance.map_index,
        TaskInstance.state,
    ).where(
        TaskInstance.dag_id.in_({row.dag_id for row in rows}),
        TaskInstance.run_id.in_({row.run_id for row in rows}),
        TaskInstance.task_id.in_({row.task_id for row in rows}),
    )
    with create_session() as session:
        for dag_id, run_id, task_id, map_index, state in session.execute(wanted):
            yield (dag_id, run_id, task_id, map_index), state
