"""The task's time limits, as moments: its own one and `execution_timeout`.

Each is anchored in the stored state, so a deferral or a retry moves neither. Airflow does not enforce
`execution_timeout` while a task is deferred, so the trigger does.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from spot_training.domain.parsing import in_words

if TYPE_CHECKING:
    from spot_training.training.state import TrainingState

    from .options import TaskOptions


def passed_limit(options: TaskOptions, state: TrainingState) -> str | None:
    """Why no other job is started and the live one is stopped; None while there is time, or once said."""
    if state.giving_up:
        return None
    now = datetime.now(UTC)
    return next((reason for moment, reason in _limits(options, state) if moment <= now), None)


def next_limit(options: TaskOptions, state: TrainingState) -> datetime | None:
    """When the first limit passes; None without one, and once a training was given up."""
    if state.giving_up:
        return None
    return min((moment for moment, _ in _limits(options, state)), default=None)


def has_no_time_for_a_retry(options: TaskOptions, state: TrainingState) -> bool:
    """Whether the limit of the whole training has passed."""
    limit, began_at = options.time_limit, state.began_at
    return limit is not None and began_at is not None and began_at + limit <= datetime.now(UTC)


def _limits(options: TaskOptions, state: TrainingState) -> list[tuple[datetime, str]]:
    limits: list[tuple[datetime, str]] = []
    if options.time_limit is not None and state.began_at is not None:
        words = f"the task's time limit of {in_words(options.time_limit.total_seconds())} passed"
        limits.append((state.began_at + options.time_limit, words))
    if options.execution_timeout is not None and state.try_began_at is not None:
        words = f"execution_timeout of {in_words(options.execution_timeout.total_seconds())} passed"
        limits.append((state.try_began_at + options.execution_timeout, words))
    return limits
