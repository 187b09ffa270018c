"""The job in a task's stored state: what an error says about it, and stopping it.

For a task that fails before it knows its training. The state may be one that this code cannot read.
"""

from __future__ import annotations

import contextlib
from typing import Any

from spot_training.domain.errors import InvalidInput
from spot_training.domain.messages import COULD_NOT_STOP, counted, stop_command
from spot_training.domain.stop_reasons import StopReason
from spot_training.ledger.stop_reasons import LedgerStops
from spot_training.training.state import (
    STATE_KEY,
    StateStore,
    TrainingState,
    job_on_record,
    load_state,
    scouts_on_record,
)

from .access import AccessArguments, access_of


def has_begun(store: StateStore) -> bool:
    """Whether an earlier process of this task left a state."""
    return store.get(STATE_KEY) is not None


def job_sentence(state: TrainingState, *, is_stopped: bool, is_looked_for: bool) -> str:
    """What an error says about the training's job and its bill.

    `is_stopped`: the job is stopped with its task. `is_looked_for`: the driver has looked for a job of an
    unconfirmed name, and continues only if there is none.
    """
    intent, attempts = state.current, len(state.attempts)
    if intent is not None and intent.is_foreign:
        return f"Training job {intent.job_name} was left alone."
    if intent is not None and not intent.is_created and not is_looked_for:
        return f"Training job {intent.job_name} may be alive and billed: look for it, and stop it by hand."
    if intent is not None and intent.is_created:
        then = "is being stopped and is billed until it ends" if is_stopped else "continues and is billed"
        return f"Training job {intent.job_name}, if it is alive, {then}."
    if attempts:
        return f"No training job was created after {counted(attempts, 'attempt')}, and none is alive."
    return "No training job was created."


def recorded_job_sentence(store: StateStore, *, is_stopped: bool) -> str:
    """`job_sentence`, from the stored state."""
    try:
        state = load_state(store)
    except InvalidInput:
        return "A training job of this task may be alive and billed."
    return job_sentence(state or TrainingState(), is_stopped=is_stopped, is_looked_for=False)


def stop_recorded_job(
    arguments: AccessArguments, store: StateStore, *, log: Any, stops_job: bool = True
) -> None:
    """Stop the job and the scouts that the stored state names, if they are confirmed to be ours."""
    stored = store.get(STATE_KEY)
    name = job_on_record(stored) if stops_job else ""
    try:
        for scout in scouts_on_record(stored):
            with contextlib.suppress(Exception):  # it ends by itself a little later
                access_of(arguments).jobs().stop(scout, StopReason.TASK_ENDED)
        if not name:
            return
        jobs, stops = access_of(arguments).jobs(), LedgerStops()
        if jobs.stop(name, StopReason.TASK_ENDED, keep_reason=lambda note: stops.keep(name, note)):
            log.info("Stopping training job %s. It is billed until it has uploaded its output.", name)
    except Exception as error:
        log.error(COULD_NOT_STOP, name, error, stop_command(name, arguments.region_name))  # noqa: TRY400 - the task's own error matters
        raise
