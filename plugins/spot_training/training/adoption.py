"""Jobs that the state does not know, because it was lost: adopt the live one, or train anew.

Job names are numbered within a generation, so they are asked for one by one and no list has to be read.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import count
from typing import TYPE_CHECKING

from spot_training.domain.lifecycle import JobSnapshot, ending_of
from spot_training.domain.savings import Attempt, PurchaseOption, attempt_of
from spot_training.sagemaker.identity import TAG_KEY, number_of

from . import scouting
from .deadline import has_way_back
from .host import OnRecord
from .state import Intent

if TYPE_CHECKING:
    from .active import ActiveTraining

#: Jobs that were deleted leave gaps in a training's numbers.
MOST_MISSING_IN_A_ROW = 2


def recall_record(training: ActiveTraining) -> OnRecord:
    """Take over the generation of the training's record, if its state has no attempts. Returns the record."""
    known = OnRecord() if training.state.attempts else training.recorder.known_jobs()
    if known.generation < training.state.generation:
        known = OnRecord()  # a person's clear replaced that record
    training.state = replace(training.state, generation=max(training.state.generation, known.generation))
    return known


def continue_with_recorded_jobs(training: ActiveTraining, known: OnRecord, intent: Intent) -> bool:
    """Continue with the jobs of these names that the ledger knows, if any: then the state was lost.

    Returns whether there were any. The first of them may have been deleted since, so that its name is free
    while a later one is alive.
    """
    numbers = _numbers_on(training, known)
    found = _find_own_jobs(training, 1, at_least=max(numbers)) if numbers else []
    if not (found or any(attempt.job_name for attempt in known.attempts)):
        return False
    _continue_with(training, found, intent, known)
    return True


def has_no_attempt_of_its_own(training: ActiveTraining) -> bool:
    """Whether no attempt under this generation's names is on record: it begins, or its state was lost."""
    is_own = training.who.is_name
    return not any(is_own(attempt.job_name) for attempt in training.state.attempts)


def continue_without_state(training: ActiveTraining, intent: Intent) -> None:
    """A training of these names lost its state: adopt its live job, or begin another generation."""
    first, known = number_of(intent.job_name), training.recorder.known_jobs()
    at_least = max(_numbers_on(training, known), default=first)
    _continue_with(training, _find_own_jobs(training, first, at_least=at_least), intent, known)


def _continue_with(
    training: ActiveTraining, found: list[JobSnapshot], intent: Intent, known: OnRecord
) -> None:
    """Adopt the live one of these jobs, which the state does not know, or train anew.

    What the ledger has of earlier attempts is kept: their jobs may have been deleted since.
    """
    if known.generation != training.state.generation:
        known = OnRecord()
    kept = known.attempts
    kept_names = {attempt.job_name for attempt in kept}
    seen = tuple(
        attempt_of(job, number=number_of(job.name), step=0, reason="found", ending=ending)
        for job in found
        if job.name not in kept_names and (ending := ending_of(job)) is not None
    )
    earlier = tuple(sorted((*kept, *seen), key=lambda attempt: attempt.number))
    # What is over on record is over, also if SageMaker answers with a status that nobody knows.
    alive = next((job for job in found if not (job.is_terminal or job.name in kept_names)), None)
    _take_in_scouts(training, intent, known)
    if alive is not None:
        _adopt(training, alive, earlier, intent)
    else:
        last_job = found[-1].name if found else intent.job_name
        _train_anew(training, earlier, last_job=last_job)


def _take_in_scouts(training: ActiveTraining, intent: Intent, known: OnRecord) -> None:
    """Take over the scouts of the lost state: those on record, and those that only SageMaker knows."""
    state = training.state
    training.state = replace(state, scouts_over=(*state.scouts_over, *known.scouts))
    if not (intent.instance_type or has_way_back(training.policy())):
        return
    names = {scout.job_name for scout in known.scouts}
    at_least = max((number_of(name) for name in names if name), default=0)
    plan = training.plan()
    found = _look_for_jobs(training, plan.scout_name, 1, at_least=at_least)
    out = tuple(
        Intent(
            job_name=job.name,
            number=number,
            step=intent.step,
            reason="found",
            is_created=True,
            partition=training.jobs.partition,
            region=training.jobs.region,
            arn=job.arn,
            instance_type=job.instance_type or "",
        )
        for number, job in found.items()
        if job.name not in names and _has_our_key(training, job.arn)
    )
    training.state = replace(training.state, scouts=(*training.state.scouts, *out))


def _train_anew(training: ActiveTraining, earlier: tuple[Attempt, ...], *, last_job: str) -> None:
    generation = training.state.generation + 1
    scouting.settle(training)
    training.host.say(
        f"Training job {last_job} is over, and this run has no state for it: the state was deleted, or the "
        f"run was created again. The training starts again, as generation {generation}."
    )
    training.recorder.state_lost(earlier, training.state.scouts_over)
    training.save(replace(training.state, current=None, generation=generation, scouts_over=()))


def _adopt(
    training: ActiveTraining, alive: JobSnapshot, earlier: tuple[Attempt, ...], intent: Intent
) -> None:
    training.host.say(
        f"Training job {alive.name} is alive, and this run has no state for it. The task continues with it."
    )
    taken = Intent(
        job_name=alive.name,
        number=number_of(alive.name),
        step=intent.step,
        reason="found alive",
        is_created=True,
        purchase=PurchaseOption.SPOT if alive.is_spot else PurchaseOption.ON_DEMAND,
        partition=training.jobs.partition,
        region=training.jobs.region,
        arn=alive.arn,
        instance_type=(alive.instance_type or "") if intent.instance_type else "",
    )
    state = training.state
    training.save(replace(state, current=taken, attempts=(*state.attempts, *earlier)))
    training.leave_if_killed()


def _numbers_on(training: ActiveTraining, known: OnRecord) -> list[int]:
    return [number_of(name) for name in known.job_names if training.who.is_name(name)]


def _find_own_jobs(training: ActiveTraining, first: int, *, at_least: int) -> list[JobSnapshot]:
    """All jobs of this generation from number `first` on; up to `at_least` each name is asked for."""
    found = training.until_sure(
        lambda: _look_for_jobs(training, training.plan().job_name, first, at_least=at_least),
        is_sure=lambda jobs: set(range(first, at_least + 1)) <= set(jobs),
    )
    return [job for job in found.values() if _has_our_key(training, job.arn)]


def _look_for_jobs(
    training: ActiveTraining, name_of: Callable[[int], str], first: int, *, at_least: int
) -> dict[int, JobSnapshot]:
    found: dict[int, JobSnapshot] = {}
    missing = 0
    for number in count(first):
        if number > at_least and missing >= MOST_MISSING_IN_A_ROW:
            break
        job = training.jobs.snapshot(name_of(number))
        missing = 0 if job else missing + 1
        if job:
            found[number] = job
    return found


def _has_our_key(training: ActiveTraining, arn: str) -> bool:
    """Whether the job is ours, by its tags; one answer without any tag does not count."""
    tags = training.until_sure(lambda: training.jobs.tags(arn), is_sure=bool)
    return tags.get(TAG_KEY) == training.who.key
