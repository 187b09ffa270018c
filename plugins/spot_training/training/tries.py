"""Which try of the task this is: a retry, a person's clear, a new generation of the training."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from spot_training.domain.decide import is_complete
from spot_training.domain.lifecycle import Ending

from .state import Intent, TrainingState

if TYPE_CHECKING:
    from .active import ActiveTraining


def begin_try(
    training: ActiveTraining,
    *,
    try_number: int,
    max_tries: int,
    clear_number: int | None,
    adopt: str | None,
) -> bool:
    """Bring the state to a new try of the task. Returns whether the training starts anew after its live job.

    `adopt` names a job that was started elsewhere, to be taken as the first attempt.
    """
    state = training.state
    is_cleared = _is_cleared(state, max_tries=max_tries, clear_number=clear_number)
    if state.is_over and is_cleared:
        state = _begin_generation(training)
    elif state.is_over and not (is_complete(state.attempts) or _was_stopped_by_a_person(state)):
        state = climb_again(state)
    starts_anew_once_over = is_cleared and state.is_handed_over
    if state.current is None and adopt and not state.attempts:
        state = replace(state, current=_foreign_intent(adopt))
    if is_cleared:  # whoever clears a task gives it its time anew
        state = replace(state, began_at=None, giving_up=None)
    now = training.now()
    training.state = replace(
        state,
        try_number=try_number,
        max_tries=max_tries,
        clear_number=clear_number,
        installation=state.installation or training.identity.installation,
        began_at=state.began_at or now,
        try_began_at=now,
    )
    if training.state.current is not None:
        training.save(training.state)
    # Without a job it is saved with the next intent: a process that dies before that began nothing.
    return starts_anew_once_over


def start_anew(training: ActiveTraining) -> None:
    """A person cleared a task that had ended with its job alive, and that job is over now."""
    was, fresh = training.state, _begin_generation(training)
    training.save(
        replace(
            fresh,
            try_number=was.try_number,
            max_tries=was.max_tries,
            clear_number=was.clear_number,
            began_at=was.began_at,
            try_began_at=was.try_began_at,
        )
    )


def climb_again(state: TrainingState) -> TrainingState:
    """Airflow retries a training that failed: the ladder from its first step, the attempts kept."""
    return replace(
        state, ladder_from=len(state.attempts), is_over=False, is_final=False, giving_up=None, next_type=""
    )


def _begin_generation(training: ActiveTraining) -> TrainingState:
    """A person cleared a training that was over: new names, new checkpoints, a new record.

    One that had no job keeps its generation: a process that has lost the state looks for these names first.
    """
    had_jobs = any(not attempt.was_refused for attempt in training.state.attempts)
    generation = training.state.generation + had_jobs
    return TrainingState(
        generation=generation,
        installation=training.host.installation(),
        first_installation=training.who.first.installation if generation else "",
    )


def _is_cleared(state: TrainingState, *, max_tries: int, clear_number: int | None) -> bool:
    """Whether a person cleared the task since the state's last try, and Airflow did not simply retry it.

    A retry never changes `max_tries`. A clear sets it from the Dag's current `retries`, so it may also fall,
    or stay the same. In that case only a clear can follow a last try, or an end that Airflow does not retry.
    Such an end may not have reached Airflow, where the process was lost at that moment: the run's
    `clear_number` shows it, which grows with each clear in the run, also of other tasks.
    """
    if not state.try_number:
        return False
    if max_tries != state.max_tries:
        return True
    no_retry_could_follow = state.is_final or state.try_number > state.max_tries
    if clear_number is None or state.clear_number is None:
        return state.try_number > state.max_tries
    return no_retry_could_follow and clear_number != state.clear_number


def _was_stopped_by_a_person(state: TrainingState) -> bool:
    return bool(state.attempts) and state.attempts[-1].ending is Ending.STOPPED_BY_USER


def _foreign_intent(name: str) -> Intent:
    return Intent(job_name=name, number=1, step=0, reason="started outside this task", is_foreign=True)
