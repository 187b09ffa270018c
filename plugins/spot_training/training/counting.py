"""What a training's steps count in Airflow's metrics: read from each change of its state, once it is stored.

A process that dies between the two loses the count, and nothing is counted twice. Raises nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, ParamSpec

from spot_training import metrics
from spot_training.domain.lifecycle import Ending
from spot_training.domain.savings import Attempt, Prices, PurchaseOption, billed_usd
from spot_training.domain.stop_reasons import StopReason

if TYPE_CHECKING:
    from spot_training.domain.savings import SavingsStatement
    from spot_training.sagemaker.identity import RunIdentity

    from .state import TrainingState

P = ParamSpec("P")

log = logging.getLogger(__name__)

_COMPLETED, _FAILED = "completed", "failed"


def _if_on(count: Callable[P, None]) -> Callable[P, None]:
    """Costs nothing if metrics are off, and never fails a training."""

    @wraps(count)
    def safely(*args: P.args, **kwargs: P.kwargs) -> None:
        if not metrics.are_on():
            return
        try:
            count(*args, **kwargs)
        except Exception as error:
            log.debug("A training could not be counted", exc_info=error)

    return safely


@_if_on
def count_change(
    before: TrainingState, state: TrainingState, who: RunIdentity, prices: Callable[[], Prices]
) -> None:
    """Count what this change of the state means. `prices` are asked only if something was billed."""
    task = {"dag_id": who.dag_id, "task_id": who.task_id}
    if before.current is None and state.current is not None and not state.attempts:
        _begin(task)
    if (attempt := _new_attempt(before, state)) is not None:
        _count_attempt(attempt, task)
        _count_bill(attempt, task, prices)
    for scout in _new_scouts(before, state):
        metrics.SCOUTS.add(**task, ending=scout.ending)
        _count_bill(scout, task, prices)
    if _is_fallback(before, state):
        metrics.FALLBACKS.add(**task)
    reported_at = state.checkpoints.reported_at if state.checkpoints else None
    if reported_at and reported_at != (before.checkpoints.reported_at if before.checkpoints else None):
        metrics.UPLOADS_STALLED.add(**task)


@_if_on
def count_end(state: TrainingState, who: RunIdentity, statement: SavingsStatement) -> None:
    """Count a training that is over for good."""
    task = {"dag_id": who.dag_id, "task_id": who.task_id}
    metrics.TRAININGS.add(**task, state=_COMPLETED if statement.completed else _FAILED)
    if is_deadline_missed(state):
        metrics.DEADLINES_MISSED.add(**task)
    saved = statement.net_saved_usd or 0.0
    (metrics.SAVED_USD if saved > 0 else metrics.LOST_USD).add(abs(saved), **task)


def is_deadline_missed(state: TrainingState) -> bool:
    """Whether a training that is over has a deadline and did not complete by then, on AWS's clock."""
    if state.deadline is None or not state.attempts:
        return False
    last = state.attempts[-1]
    is_done = last.ending is Ending.COMPLETED
    return not (is_done and last.ended_at is not None and last.ended_at <= state.deadline.at)


#: What may come of a training, and must be seen the first time, too.
_RARE = (
    metrics.INTERRUPTIONS,
    metrics.FALLBACKS,
    metrics.MOVES,
    metrics.HAND_OVERS,
    metrics.UPLOADS_STALLED,
    metrics.DEADLINES_MISSED,
    metrics.SAVED_USD,
    metrics.LOST_USD,
)


def _begin(task: dict[str, str]) -> None:
    for metric in _RARE:
        metric.begin(**task)
    for state in (_COMPLETED, _FAILED):
        metrics.TRAININGS.begin(**task, state=state)
    for purchase in PurchaseOption:
        metrics.BILLED_SECONDS.begin(**task, purchase=purchase)
        metrics.BILLED_USD.begin(**task, purchase=purchase)
    for reason in StopReason:
        metrics.FAILED_STOPS.begin(reason=reason)


def _new_attempt(before: TrainingState, state: TrainingState) -> Attempt | None:
    """The attempt that this process records. Those of a lost state, which come back at once, were counted."""
    if len(state.attempts) != len(before.attempts) + 1 or before.generation != state.generation:
        return None
    last = state.attempts[-1]
    return last if before.current is not None and before.current.number == last.number else None


def _new_scouts(before: TrainingState, state: TrainingState) -> list[Attempt]:
    were_out = {scout.number for scout in before.scouts} - {scout.number for scout in state.scouts}
    return [scout for scout in state.scouts_over if scout.number in were_out]


def _is_fallback(before: TrainingState, state: TrainingState) -> bool:
    """Whether an on-demand job is confirmed after an attempt on spot."""
    was, job = before.current, state.current
    if was is None or job is None or was.is_created or not job.is_created or job.is_foreign:
        return False
    climbed = state.attempts[state.ladder_from :]
    is_on_demand = job.purchase is PurchaseOption.ON_DEMAND
    return is_on_demand and bool(climbed) and climbed[-1].purchase is PurchaseOption.SPOT


def _count_attempt(attempt: Attempt, task: dict[str, str]) -> None:
    bought = {**task, "purchase": attempt.purchase}
    metrics.ATTEMPTS.add(**bought, ending=attempt.ending)
    metrics.INTERRUPTIONS.add(attempt.interruptions, **task)
    if attempt.ending is Ending.MOVED:
        metrics.MOVES.add(**task)
    if attempt.ending is Ending.LEFT_FOR_SPOT:
        metrics.HAND_OVERS.add(**task)
    if not attempt.was_refused:
        metrics.WAIT_DURATION.took(attempt.wait_seconds, **bought)
    if attempt.has_started:
        metrics.TRAINING_DURATION.took(attempt.training_seconds, **bought)


def _count_bill(job: Attempt, task: dict[str, str], prices: Callable[[], Prices]) -> None:
    bought = {**task, "purchase": job.purchase}
    metrics.BILLED_SECONDS.add(job.billable_instance_seconds, **bought)
    if job.billable_instance_seconds:
        metrics.BILLED_USD.add(billed_usd(job, prices()), **bought)
