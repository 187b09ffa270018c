"""What the task's stored state knows about a training, before its record does or if the record lags.

Reads the metadata database, as Airflow's API does; before Airflow 3.3, the ledger's storage.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from airflow.utils.session import create_session
from sqlalchemy import select

from spot_training.compat import state_rows
from spot_training.domain.errors import InvalidInput
from spot_training.domain.record_keys import record_key
from spot_training.domain.records import CurrentJob, DecisionMade, TrainingRecord, model_of, record_from
from spot_training.domain.text import with_whole_text
from spot_training.installation import Installation, installation_of_training, this_installation
from spot_training.ledger import Ledger
from spot_training.ledger.states import LedgerState
from spot_training.sagemaker.identity import RunIdentity
from spot_training.training.state import STATE_KEY, TrainingState


def with_state(record: TrainingRecord | None, task: TrainingRecord) -> TrainingRecord | None:
    """The record, updated from the task's stored state. Without a record, `task` identifies the training."""
    state = _load(task)
    if state is None or (record is not None and not _is_ahead(state, record)):
        return record
    return _updated(record or _first_record(task, state), state)


def names_of_training(task: TrainingRecord, this: Installation) -> tuple[str, ...]:
    """The installations under which a training may be recorded, first the one under which it started."""
    state = _load(task)
    if state is None:
        return this.names
    who = RunIdentity(dag_id=task.dag_id, run_id=task.run_id, task_id=task.task_id, map_index=task.map_index)
    return tuple(dict.fromkeys([installation_of_training(who, state), *this.names]))


def _load(task: TrainingRecord) -> TrainingState | None:
    value = _stored_value(task)
    try:
        return None if value is None else TrainingState.from_json(with_whole_text(value))
    except InvalidInput:
        return None  # from another version, or a custom state store that keeps its values elsewhere


def _stored_value(task: TrainingRecord) -> Any:
    rows = state_rows()
    if rows is None:
        return _value_in_ledger(task)
    wanted = select(rows.value).where(
        rows.dag_id == task.dag_id,
        rows.run_id == task.run_id,
        rows.task_id == task.task_id,
        rows.map_index == task.map_index,
        rows.key == STATE_KEY,
    )
    with create_session() as session:
        value = session.scalar(wanted)
    return None if value is None else json.loads(value)


def _value_in_ledger(task: TrainingRecord) -> Any:
    """The state before Airflow 3.3, where the ledger's storage has it."""
    keys = tuple(
        record_key(
            installation=name,
            dag_id=task.dag_id,
            run_id=task.run_id,
            task_id=task.task_id,
            map_index=task.map_index,
        )
        for name in this_installation().names
    )
    return LedgerState(Ledger.configured(), keys).get(STATE_KEY)


def _is_ahead(state: TrainingState, record: TrainingRecord) -> bool:
    """Whether the state has an attempt that the record does not have."""
    if state.generation != record.generation:
        return state.generation > record.generation
    on_record = {attempt.number for attempt in record.attempts}
    if record.current_job:
        on_record.add(record.current_job.number)
    known = {attempt.number for attempt in state.attempts}
    if state.current:
        known.add(state.current.number)
    return not known <= on_record


def _first_record(task: TrainingRecord, state: TrainingState) -> TrainingRecord:
    names = [attempt.job_name for attempt in state.attempts if attempt.job_name]
    if state.current:
        names.append(state.current.job_name)
    return replace(task, model=model_of(names[0]) if names else "", began_at=state.began_at)


def _updated(record: TrainingRecord, state: TrainingState) -> TrainingRecord:
    intent = state.current
    decisions = (*record.decisions, *_decisions_without_record(record, state))
    return record_from(
        replace(record, generation=state.generation, decisions=decisions),
        attempts=state.attempts,
        current_job=CurrentJob(job_name=intent.job_name, number=intent.number, reason=intent.reason)
        if intent
        else None,
        is_over=intent is None and state.is_over,
    )


def _decisions_without_record(record: TrainingRecord, state: TrainingState) -> Iterator[DecisionMade]:
    decided = {decision.attempt for decision in record.decisions}
    for attempt in state.attempts:
        if attempt.created_at and attempt.number not in decided:
            yield DecisionMade(
                decided_at=attempt.created_at, action="start", reason=attempt.reason, attempt=attempt.number
            )
