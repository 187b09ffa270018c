"""The budgets of Dags, from their serialized form in the metadata database, as Airflow's API reads them."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from airflow.models.serialized_dag import SerializedDagModel
from airflow.utils.session import create_session
from sqlalchemy.exc import SQLAlchemyError

from spot_training.domain.budget import UNLIMITED, budget_from
from spot_training.domain.errors import InvalidInput
from spot_training.domain.parsing import is_left_out

log = logging.getLogger(__name__)

#: How long what was read is valid. A Dag's budget hardly ever changes.
KEPT_SECONDS = 60.0
_kept: dict[str, tuple[float, dict[str, float | None]]] = {}


def budgets_of(dag_ids: Iterable[str]) -> dict[str, float | None]:
    """US dollars a month of the Dags whose tasks give a `budget`: the lowest; None if all are unlimited.

    A Dag is left out if no task gives one, or only a template that is rendered in a run.
    """
    now = time.monotonic()
    wanted = set(dag_ids)
    asked = [name for name in wanted if name not in _kept or now - _kept[name][0] > KEPT_SECONDS]
    if asked:
        try:
            found = dict(_read(asked))
        except SQLAlchemyError as error:  # the page has more to show than budgets
            log.warning("The budgets of Dags could not be read: %s", error)
            return {}
        _kept.update({name: (now, {name: found[name]} if name in found else {}) for name in asked})
    return {name: usd for each in wanted for name, usd in _kept[each][1].items()}


def _read(dag_ids: list[str]) -> Iterator[tuple[str, float | None]]:
    with create_session() as session:
        for row in SerializedDagModel.get_latest_serialized_dags(dag_ids=dag_ids, session=session):
            given = list(budgets_in(row.data or {}))
            if given:
                yield row.dag_id, min((usd for usd in given if usd is not None), default=None)


def budgets_in(serialized: Mapping[str, Any]) -> Iterator[float | None]:
    """The budgets of the tasks of a serialized Dag in US dollars, None for an unlimited one."""
    for task in (serialized.get("dag") or {}).get("tasks") or ():
        facts = _plain(task)
        value = facts.get("budget", (facts.get("partial_kwargs") or {}).get("budget"))
        if is_left_out(value) or (isinstance(value, str) and "{{" in value):
            continue
        try:
            budget = budget_from(value)
        except InvalidInput:
            continue
        if budget is not None:
            yield budget.usd
        elif str(value).strip().lower() == UNLIMITED:
            yield None


def _plain(value: Any) -> Any:
    """A serialized value without Airflow's marks of its type."""
    if not isinstance(value, Mapping):
        return value
    inner = value.get("__var", value)
    return {name: _plain(each) for name, each in inner.items()} if isinstance(inner, Mapping) else inner
