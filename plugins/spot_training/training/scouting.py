"""Scouts of one training: sending them, looking at them, and the move to the type that has capacity.

The rules are in `domain.scouting`. As for the training's own job, the intent is in the state before the scout
is created. A scout never fails a training: what goes wrong with one is logged, and the training's job waits
on as if there were none.
"""

from __future__ import annotations

import uuid
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from spot_training.domain.attempts import Attempt, PurchaseOption, attempt_of
from spot_training.domain.errors import InvalidInput, SpotTrainingError
from spot_training.domain.lifecycle import Ending, JobSnapshot, TrainingStatus, ending_of
from spot_training.domain.messages import counted
from spot_training.domain.parsing import in_words
from spot_training.domain.scouting import (
    ROUND_SECONDS,
    RUN_SECONDS,
    USEFUL_ENDINGS,
    ScoutCall,
    found_capacity,
    holds_instances,
    max_wait_of_scout,
    send_at,
    types_that_pay,
    types_to_scout,
)
from spot_training.domain.stop_reasons import StopReason, ending_of_stop
from spot_training.sagemaker.calls import Refusal
from spot_training.sagemaker.identity import TAG_INTENT
from spot_training.sagemaker.jobs import CapacityRefused, NameSpent, NoTagsYet, NotSureYet

from . import stopping
from .state import Intent

if TYPE_CHECKING:
    from spot_training.domain.ladder import Step

    from .active import ActiveTraining

#: How long the end of a training waits for the bill of its last scouts, in AWS's seconds, and how often it
#: asks.
SETTLE_SECONDS = 600
ASK_AGAIN_SECONDS = 10
#: A stop that fails is tried so many times.
STOP_TRIES = 3


def look_after(training: ActiveTraining, job: JobSnapshot, intent: Intent) -> ScoutCall | None:
    """Do what the live job and its scouts require now. Returns when to look again; None for never.

    The job may be stopped afterwards, because another type has capacity.
    """
    step = _scouted_step(training, job, intent)
    if step is None:
        call_back(training)
        return None
    if training.state.next_type:
        _move(training, job)
        return None
    if holds_instances(job):
        call_back(training)
        return ScoutCall(not_before=_not_before(training))
    seen = _look_at_scouts(training, step, job)
    if (found := found_capacity(step, seen)) is not None:
        training.save(replace(training.state, next_type=found))
        _move(training, job)
        return None
    _send_if_due(training, step, job)
    scouts = tuple(scout.job_name for scout in training.state.scouts)
    return ScoutCall(scouts=scouts, not_before=_not_before(training))


def call_back(training: ActiveTraining) -> None:
    """Stop the scouts that are out. One that cannot be stopped now ends by itself a little later."""
    for scout in training.state.scouts:
        if scout.stopped_for is None:
            _stop_scout(training, scout)


def settle(training: ActiveTraining) -> None:
    """Stop all scouts, wait until they are over, and record what they cost."""
    call_back(training)
    if not training.state.scouts:
        return
    over_at = training.jobs.now() + timedelta(seconds=SETTLE_SECONDS)
    while training.state.scouts:
        for scout in training.state.scouts:
            _look_at(training, scout)
        if not training.state.scouts:
            return
        if training.jobs.clock.now() >= over_at:
            names = ", ".join(scout.job_name for scout in training.state.scouts)
            training.host.say(f"The cost of {names} is not known: the end was not reported in time.")
            training.save(replace(training.state, scouts=()))
            return
        training.rest(ASK_AGAIN_SECONDS)


def _scouted_step(training: ActiveTraining, job: JobSnapshot, intent: Intent) -> Step | None:
    """The step whose other types scouts look for, while the job is alive; None if there is nothing to do."""
    is_ours = job.is_spot and not (intent.is_foreign or training.host.only_watches)
    if not is_ours or training.state.giving_up or job.status is TrainingStatus.STOPPING:
        return None
    try:
        steps = training.policy().steps
    except InvalidInput:  # a Dag that was changed meanwhile is refused once there is something to decide
        return None
    step = steps[intent.step] if intent.step < len(steps) else None
    return step if step is not None and step.needs_scouts else None


# Sending ---------------------------------------------------------------------------------------------


def _send_if_due(training: ActiveTraining, step: Step, job: JobSnapshot) -> None:
    now = training.jobs.clock.now()
    due_at = send_at(job, _not_before(training))
    if due_at is None or due_at > now:
        return
    out = [scout.instance_type for scout in training.state.scouts]
    possible = [t for t in types_to_scout(step, job, out) if not _was_stopped_by_a_person(training, t)]
    types = types_that_pay(possible, step, training.host.price_of)
    if not types:
        return
    training.host.say(f"No capacity for {job.instance_type} so far. Scouts look for {' and '.join(types)}.")
    if not (training.state.scouts_over or training.state.scouts):
        _say_what_it_costs(training, job)
    for instance_type in types:
        _send(training, step, job, instance_type)


def _say_what_it_costs(training: ActiveTraining, job: JobSnapshot) -> None:
    instances = counted(job.instance_count, "instance")
    training.host.say(
        "A scout is a spot job without data that sleeps. While it waits it costs nothing. One that runs "
        f"costs at most {in_words(RUN_SECONDS)} of {instances}."
    )


def _send(training: ActiveTraining, step: Step, job: JobSnapshot, instance_type: str) -> None:
    """Write the scout's intent, then create it."""
    number = training.state.next_scout_number
    scout = Intent(
        job_name=training.plan().scout_name(number),
        number=number,
        step=training.state.current.step if training.state.current else 0,
        reason=f"does {instance_type} have spot capacity?",
        nonce=uuid.uuid4().hex,
        partition=training.jobs.partition,
        region=training.jobs.region,
        instance_type=instance_type,
    )
    training.save(replace(training.state, scouts=(*training.state.scouts, scout)))
    _create(training, step, job, scout)


def _create(training: ActiveTraining, step: Step, job: JobSnapshot, scout: Intent) -> None:
    plan = training.plan()
    wait = max_wait_of_scout(step, job, training.jobs.clock.now())
    request = plan.scout_request(step, scout.instance_type, number=scout.number, max_wait_seconds=wait)
    request["Tags"] = [*request["Tags"], {"Key": TAG_INTENT, "Value": scout.nonce}]
    training.leave_if_killed()
    try:
        created = training.until_sure(
            lambda: training.jobs.create_or_adopt(request, key=plan.identity.key, nonce=scout.nonce)
        )
    except CapacityRefused as refused:
        ending = Ending.QUOTA if refused.refusal is Refusal.QUOTA else Ending.CAPACITY_ERROR
        _record(training, scout, _without_job(training, scout, ending, refused.text))
        training.host.say(f"No scout for {scout.instance_type}: {refused.text}")
    except NameSpent:  # a scout from before the state was lost
        _stop_scout(training, scout)
        _record(training, scout, _without_job(training, scout, Ending.CLIENT_ERROR, "its name was taken"))
    except NotSureYet:
        return  # asked for again at the next look
    except SpotTrainingError as error:
        training.host.say(f"No scout for {scout.instance_type}: {error}")
        if error.nothing_was_created:
            _record(training, scout, _without_job(training, scout, Ending.CLIENT_ERROR, str(error)))
    else:
        if training.is_killed:
            stopping.stop_created(training, scout)
            training.leave_if_killed()
        _replace(training, replace(scout, is_created=True, arn=created.arn))


# Looking ---------------------------------------------------------------------------------------------


def _look_at_scouts(training: ActiveTraining, step: Step, job: JobSnapshot) -> dict[str, JobSnapshot]:
    """The scouts as AWS describes them now, by type, with those that have just ended."""
    seen: dict[str, JobSnapshot] = {}
    for scout in training.state.scouts:
        if not scout.is_created:
            _create(training, step, job, scout)
        elif (found := _look_at(training, scout)) is not None:
            seen[scout.instance_type] = found
    return seen


def _look_at(training: ActiveTraining, scout: Intent) -> JobSnapshot | None:
    """The scout as AWS describes it. One that is over is recorded."""
    try:
        job = training.jobs.snapshot(scout.job_name)
        if job is None:
            if not scout.is_created or training.until_sure(
                lambda: training.jobs.describe(scout.job_name) is not None, is_sure=bool
            ):
                return None
            _record(training, scout, _without_job(training, scout, Ending.STOPPED_BY_USER, "it was deleted"))
            return None
        ending = ending_of(job)
        if ending is not None:
            _record(training, scout, _attempt(training, scout, job, ending))
    except SpotTrainingError as error:
        training.host.say(f"Scout {scout.job_name} could not be looked at: {error}")
        return None
    return job


def _attempt(training: ActiveTraining, scout: Intent, job: JobSnapshot, ending: Ending) -> Attempt:
    if ending is Ending.STOPPED_BY_USER:
        note = scout.stop_note
        if note is None:
            try:
                note = training.until_sure(lambda: training.jobs.stop_note(job.arn))
            except NoTagsYet:
                note = None
        ending = ending_of_stop(note)
    return attempt_of(job, number=scout.number, step=scout.step, reason=scout.reason, ending=ending)


def _without_job(training: ActiveTraining, scout: Intent, ending: Ending, message: str) -> Attempt:
    """A scout that was refused, or is gone."""
    return Attempt(
        number=scout.number,
        step=scout.step,
        job_name=scout.job_name if scout.is_created else "",
        purchase=PurchaseOption.SPOT,
        reason=scout.reason,
        ending=ending,
        ended_at=training.jobs.clock.now(),
        instance_type=scout.instance_type,
        training_seconds=0 if not scout.is_created else None,
        billable_seconds=0 if not scout.is_created else None,
        message=message,
    )


def _record(training: ActiveTraining, scout: Intent, attempt: Attempt) -> None:
    state = training.state
    left = tuple(other for other in state.scouts if other.job_name != scout.job_name)
    training.save(replace(state, scouts=left, scouts_over=(*state.scouts_over, attempt)))


def _replace(training: ActiveTraining, scout: Intent) -> None:
    scouts = (scout if scout.job_name == other.job_name else other for other in training.state.scouts)
    training.save(replace(training.state, scouts=tuple(scouts)))


def _not_before(training: ActiveTraining) -> datetime | None:
    """When others may go out: some time after the last that ended without having been called back."""
    ended = [
        scout.ended_at
        for scout in training.state.scouts_over
        if scout.ended_at is not None and scout.ending not in USEFUL_ENDINGS
    ]
    return max(ended) + timedelta(seconds=ROUND_SECONDS) if ended else None


def _was_stopped_by_a_person(training: ActiveTraining, instance_type: str) -> bool:
    """Whether a person stopped a scout of this type: that is respected."""
    return any(
        scout.instance_type == instance_type and scout.ending is Ending.STOPPED_BY_USER
        for scout in training.state.scouts_over
    )


# Moving ----------------------------------------------------------------------------------------------


def _move(training: ActiveTraining, job: JobSnapshot) -> None:
    """Stop the waiting job and all scouts. The next job is created on `next_type` once this one is over.

    A job that has got instances itself meanwhile stays.
    """
    found = training.state.next_type
    if holds_instances(job):
        training.save(replace(training.state, next_type=""))
        call_back(training)
        return
    training.host.say(
        f"There is spot capacity for {found}: the training moves there from {job.instance_type}."
    )
    for tries_left in reversed(range(STOP_TRIES)):
        try:
            stopping.stop_job(training, StopReason.MOVE)
            break
        except SpotTrainingError as error:
            training.host.say(f"Training job {job.name} could not be stopped for the move: {error}")
            if not tries_left:
                training.save(replace(training.state, next_type=""))
                break
            training.rest(ASK_AGAIN_SECONDS)
    call_back(training)


def _stop_scout(training: ActiveTraining, scout: Intent) -> None:
    try:
        training.jobs.stop(
            scout.job_name,
            StopReason.SCOUT_DONE,
            keep_reason=lambda note: training.recorder.keep_stop(scout.job_name, note),
        )
    except SpotTrainingError as error:
        training.host.say(f"Scout {scout.job_name} could not be stopped, and ends by itself later: {error}")
        return
    now = training.jobs.clock.now()
    _replace(training, replace(scout, stopped_for=StopReason.SCOUT_DONE, stopped_at=now.isoformat()))
