"""What is worth a notice in a training: derived from its state, so that no process can miss it.

Whoever drives the training asks `due` after each step, and stores the keys of what it sends in the state
(`TrainingState.notified`). So each event has its notice once, whichever process comes across it. What a
notice does is up to `task.notices`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from spot_training.domain.deadline import Deadline, DeadlineGuard
from spot_training.domain.decide import is_complete
from spot_training.domain.lifecycle import Ending
from spot_training.domain.messages import attempt_line
from spot_training.domain.moments import clock_time
from spot_training.domain.savings import PurchaseOption

if TYPE_CHECKING:
    from spot_training.domain.attempts import Attempt
    from spot_training.domain.lifecycle import JobSnapshot

    from .state import Intent, TrainingState


class Event(StrEnum):
    """What can have a notice. The task's argument is `on_<event>`."""

    ATTEMPT_OVER = "attempt_over"
    FALLBACK = "fallback"
    DEADLINE_AT_RISK = "deadline_at_risk"
    CHECKPOINTS_STALLED = "checkpoints_stalled"


class Risk(StrEnum):
    """Why a deadline is at risk."""

    LATE = "it cannot be met"
    SPOT_STOPPED = "spot was stopped for it"
    ON_DEMAND_REFUSED = "on-demand was refused"
    NO_SLACK = "no slack is left"


#: A training with less slack than this has to start on-demand now: the guard looks about this often.
LEAST_SLACK_SECONDS = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """One event of a training. `key` is its name in the state, `text` says it in a sentence."""

    event: Event
    key: str
    text: str
    training_job_name: str
    reason: str
    facts: dict[str, Any] = field(default_factory=dict)


def due(state: TrainingState, job: JobSnapshot | None, now: datetime) -> Iterator[Notice]:
    """Every notice that the training has had until `now` (AWS's time), with its live `job`."""
    yield from _attempts_over(state)
    yield from _fallbacks(state)
    if state.deadline is not None and not state.is_over and not is_complete(state.attempts):
        yield from _risks(state, state.deadline, job, now)


def _attempts_over(state: TrainingState) -> Iterator[Notice]:
    for attempt in state.attempts:
        yield Notice(
            event=Event.ATTEMPT_OVER,
            key=f"{Event.ATTEMPT_OVER} {attempt.number}",
            text=attempt_line(attempt),
            training_job_name=attempt.job_name,
            reason=attempt.message,
            facts={"attempt": attempt.to_json(with_transitions=False)},
        )


def _fallbacks(state: TrainingState) -> Iterator[Notice]:
    """Each time a job on demand follows attempts on spot."""
    current = state.current if state.current is not None and state.current.is_created else None
    was_spot = False
    jobs: list[Attempt | Intent] = [*state.attempts, *([current] if current else [])]
    for each in jobs:
        if each.purchase is PurchaseOption.SPOT:
            was_spot = True
        elif was_spot and each.job_name:
            was_spot = False
            yield Notice(
                event=Event.FALLBACK,
                key=f"{Event.FALLBACK} {each.number}",
                text=f"Training job {each.job_name} runs on demand instead of on spot: {each.reason}.",
                training_job_name=each.job_name,
                reason=each.reason,
                facts={"number": each.number},
            )


def _risks(
    state: TrainingState, deadline: Deadline, job: JobSnapshot | None, now: datetime
) -> Iterator[Notice]:
    """Each reason once. Less slack than a look takes is one only if nothing else has said so."""
    latest = deadline.latest_on_demand_start_after(state.attempts, state.checkpoints)
    at, start = clock_time(deadline.at, now), clock_time(latest, now)
    stopped = [a.job_name for a in state.attempts if a.ending is Ending.STOPPED_FOR_DEADLINE]
    refused = [a.message for a in state.attempts if a.purchase is PurchaseOption.ON_DEMAND and a.was_refused]
    texts: dict[Risk, str] = {}
    if deadline.is_late:
        texts[Risk.LATE] = f"The deadline {at} cannot be met: the training finishes as early as possible."
    if stopped:
        texts[Risk.SPOT_STOPPED] = (
            f"Spot job {stopped[0]} was stopped: only on-demand can keep the deadline {at}."
        )
    if refused:
        texts[Risk.ON_DEMAND_REFUSED] = (
            f"SageMaker refused on-demand, which has to start by {start} to keep the deadline {at}: "
            f"{refused[0]}"
        )
    is_known = job is not None or state.current is None
    if not texts and is_known and _slack_seconds(state, deadline, job, now) <= LEAST_SLACK_SECONDS:
        texts[Risk.NO_SLACK] = (
            f"No slack is left: on-demand has to start by {start} to keep the deadline {at} with its reserve."
        )
    for risk, text in texts.items():
        yield Notice(
            event=Event.DEADLINE_AT_RISK,
            key=f"{Event.DEADLINE_AT_RISK} {risk.name.lower()}",
            text=text,
            training_job_name=job.name if job else state.attempts[-1].job_name if state.attempts else "",
            reason=str(risk),
            facts={
                "cause": risk.name.lower(),
                "deadline_at": deadline.at.isoformat(),
                "latest_on_demand_at": latest.isoformat(),
            },
        )


def _slack_seconds(state: TrainingState, deadline: Deadline, job: JobSnapshot | None, now: datetime) -> float:
    """How much later on-demand could start now; of a job on demand, how much later it could have started."""
    guard = DeadlineGuard(
        deadline=deadline,
        kept_seconds=deadline.kept_seconds(state.attempts, state.checkpoints),
        has_checkpoints=job is None or job.checkpoint_uri is not None,
        seen=state.checkpoints,
    )
    if job is not None and not job.is_spot:
        return guard.outlook(job.created_at).slack_seconds
    return guard.outlook(now, job).slack_seconds
