"""Scouts of one training: sending them, looking at them, and the move to the type that has capacity.

The rules are in `domain.scouting`. As for the training's own job, the intent is in the state before the scout
is created. A scout never fails a training: what goes wrong with one is logged, and the training's job waits
on as if there were none.
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from spot_training.domain.attempts import Attempt, PurchaseOption, attempt_of
from spot_training.domain.back_to_spot import run_seconds
from spot_training.domain.errors import RequestRefused, SpotTrainingError, StateReplaced, TaskKilled
from spot_training.domain.ladder import has_no_quota, in_order
from spot_training.domain.lifecycle import Ending, JobSnapshot, TrainingStatus, ending_of
from spot_training.domain.messages import counted
from spot_training.domain.money import dollars
from spot_training.domain.parsing import in_words
from spot_training.domain.savings import cost_usd
from spot_training.domain.scouting import (
    ROUND_SECONDS,
    ScoutCall,
    found_capacity,
    goes_out_at,
    holds_instances,
    types_that_pay,
    types_to_scout,
    wait_left,
    wait_of_scout,
    waits_since,
)
from spot_training.domain.stop_reasons import StopReason, ending_of_stop
from spot_training.sagemaker.calls import Refusal
from spot_training.sagemaker.identity import TAG_INTENT
from spot_training.sagemaker.jobs import CapacityRefused, NameSpent, NoTagsYet, NotSureYet

from . import stopping
from .deadline import checkpoint_every_of
from .state import Intent

if TYPE_CHECKING:
    from spot_training.domain.ladder import Step

    from .active import ActiveTraining

#: How long the end of a training waits for the bill of its last scouts, in AWS's seconds, and how often it
#: asks.
SETTLE_SECONDS = 600
ASK_AGAIN_SECONDS = 10
#: A scout that is not confirmed, or being stopped, is looked at again after so long.
LOOK_AGAIN_SECONDS = 60
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
    if holds_instances(job):
        training.save(replace(training.state, next_type=""))
        call_back(training)
        return ScoutCall()
    if training.state.next_type:
        return _move(training, job)
    seen = look_at_scouts(training, step, job)
    found = found_capacity(step, seen, training.state.asked_last)
    if found is not None and waits_since(job) is not None:  # an unknown status may be work
        training.save(replace(training.state, next_type=found))
        return _move(training, job)
    more_at = _send_what_is_due(training, step, job)
    if more_at is None and not training.state.scouts:
        return None  # no type is left to look for: whoever waits need not ask again
    return call_of(training, step, job, more_at)


def call_of(training: ActiveTraining, step: Step, job: JobSnapshot, more_at: datetime | None) -> ScoutCall:
    """When to look again. A scout that brings no news, but is not over, is looked at now and then."""
    scouts, types = training.state.scouts, types_to_scout(step, job, ())
    awaited = [s for s in scouts if s.is_created and s.stopped_for is None and s.instance_type in types]
    if len(awaited) < len(scouts):
        again = later(training, LOOK_AGAIN_SECONDS)
        more_at = max(again, more_at or again)
    return ScoutCall(scouts=tuple(scout.job_name for scout in awaited), not_before=more_at)


def later(training: ActiveTraining, seconds: float) -> datetime:
    return training.jobs.clock.now() + timedelta(seconds=seconds)


def call_back(training: ActiveTraining, *, but: str | None = None) -> None:
    """Stop the scouts that are out. One that cannot be stopped now ends by itself a little later.

    Those of the type `but` stay.
    """
    for scout in training.state.scouts:
        if scout.stopped_for is None and scout.instance_type != but:
            _stop_scout(training, scout)


def take_in_ended(training: ActiveTraining) -> bool:
    """Record the scouts that are over, after they were called back. Returns whether any is left."""
    for scout in training.state.scouts:
        _look_at(training, scout)
    return any(not training.is_elsewhere(scout) for scout in training.state.scouts)


def settle(training: ActiveTraining) -> None:
    """Stop all scouts, wait until they are over, and record what they cost."""
    if not training.state.scouts:
        return
    over_at = training.jobs.now() + timedelta(seconds=SETTLE_SECONDS)
    while training.state.scouts:
        call_back(training)  # also those that could not be stopped a moment ago
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
    if not intent.instance_type:  # one type: not a call more than without scouts
        return None
    if not is_ours or training.state.giving_up or job.status is TrainingStatus.STOPPING:
        return None
    try:
        policy = training.policy()
        step = policy.steps[intent.step] if intent.step < len(policy.steps) else None
        if step is None or not step.needs_scouts:
            return None
        training.plan().check(policy)
    except SpotTrainingError:  # refused once there is something to decide, when no job is alive
        return None
    has_deadline = training.state.deadline is not None
    left = wait_left(step, training.state.attempts, training.jobs.clock.now())
    return step if has_deadline or left > 0 else None  # the step ends with this job


# Sending ---------------------------------------------------------------------------------------------


def _send_what_is_due(training: ActiveTraining, step: Step, job: JobSnapshot) -> datetime | None:
    """Send the scouts that are due. Returns when others are; None if no type is left to look for."""
    now = training.jobs.clock.now()
    if _ready(training, step, job, now):
        learn_order(training, step)
        training.save(training.state)
    ready = _ready(training, step, job, now)
    types = send(training, step, job, ready, f"No capacity for {job.instance_type} so far.")
    no_use = {*ready} - {*types}
    others = [at or now for name, at in _due(training, step, job).items() if name not in no_use]
    return min(others, default=None)


def send(
    training: ActiveTraining, step: Step, job: JobSnapshot, ready: Sequence[str], why: str
) -> tuple[str, ...]:
    """Send scouts for those of the types that pay. Returns these."""
    longest = _run_seconds(training, job)
    is_first = not training.state.scouts and all(
        (scout.max_runtime_seconds or 0) < longest for scout in training.state.scouts_over
    )
    types = types_that_pay(ready, step, training.host.price_of)
    if types:
        training.host.say(f"{why} Scouts look for {' and '.join(types)}.")
    if types and is_first:
        _say_what_it_costs(training, job, types)
    for instance_type in types:
        _send(training, step, job, instance_type)
    return types


def _ready(training: ActiveTraining, step: Step, job: JobSnapshot, now: datetime) -> list[str]:
    ready = [name for name, at in _due(training, step, job).items() if at is not None and at <= now]
    return in_order(ready, training.state.asked_last)


def _due(training: ActiveTraining, step: Step, job: JobSnapshot) -> dict[str, datetime | None]:
    """When the next scout of each type goes out; None while the job does not wait."""
    last = training.state.asked_last
    return {
        name: goes_out_at(job, over, is_asked_last=name in last)
        for name, over in types_left(training, step, job).items()
    }


def types_left(training: ActiveTraining, step: Step, job: JobSnapshot) -> dict[str, list[Attempt]]:
    """The types for which scouts may go out, each with its scouts that are over."""
    state = training.state
    out = [scout.instance_type for scout in state.scouts]
    over = {
        name: [scout for scout in state.scouts_over if scout.instance_type == name]
        for name in types_to_scout(step, job, out)
    }
    return {name: scouts for name, scouts in over.items() if not any(map(_is_the_last, scouts))}


def _run_seconds(training: ActiveTraining, job: JobSnapshot) -> int:
    deadline = training.state.deadline
    return run_seconds(job, checkpoint_every_of(training, deadline) if deadline else 0.0)


def learn_order(training: ActiveTraining, step: Step) -> tuple[str, ...]:
    """The types that are asked last from now on. Says why, once. The caller saves the state."""
    known, reasons = training.state.asked_last, training.host.asked_last(step.instance_types)
    for name, why in reasons.items():
        if name not in known:
            training.host.say(f"{name} is asked last: {why}.")
    training.state = replace(training.state, asked_last=tuple(reasons))
    return training.state.asked_last


def _say_what_it_costs(training: ActiveTraining, job: JobSnapshot, types: Sequence[str]) -> None:
    seconds, instances = _run_seconds(training, job), counted(job.instance_count, "instance")
    prices = [training.host.price_of(name) for name in types]
    known = [price for price in prices if price is not None]
    usd = cost_usd(seconds * job.instance_count, max(known)) if len(known) == len(prices) else None
    training.host.say(
        "A scout is a spot job without data that sleeps. While it waits it costs nothing. One that runs "
        f"costs at most {in_words(seconds)} of {instances}"
        + ("." if usd is None else f", on demand {dollars(usd)}: spot costs less.")
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
    request = plan.scout_request(
        step,
        scout.instance_type,
        number=scout.number,
        wait_seconds=wait_of_scout(step, job, training.jobs.clock.now()),
        run_seconds=_run_seconds(training, job),
    )
    request["Tags"] = [*request["Tags"], {"Key": TAG_INTENT, "Value": scout.nonce}]
    training.leave_if_killed()
    try:
        created = training.until_sure(
            lambda: training.jobs.create_or_adopt(request, key=plan.identity.key, nonce=scout.nonce)
        )
    except CapacityRefused as refused:
        ending = Ending.QUOTA if refused.refusal is Refusal.QUOTA else Ending.CAPACITY_ERROR
        attempt = _without_job(training, scout, ending, refused.text)
        _record(training, scout, attempt)
        left_out = " No other follows: ask Service Quotas for the type." if has_no_quota(attempt) else ""
        training.host.say(f"No scout for {scout.instance_type}: {refused.text}{left_out}")
    except NameSpent:  # a scout from before the state was lost: it is stopped, and its bill counts
        _replace(training, found := replace(scout, is_created=True, instance_type=""))
        _stop_scout(training, found)
    except (StateReplaced, TaskKilled):
        raise
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


def look_at_scouts(training: ActiveTraining, step: Step, job: JobSnapshot) -> dict[str, JobSnapshot]:
    """The scouts as AWS describes them now, by type, with those that have just ended."""
    seen: dict[str, JobSnapshot] = {}
    types = types_to_scout(step, job, ())
    for scout in training.state.scouts:
        is_wanted = scout.instance_type in types and scout.stopped_for is None
        if not is_wanted and scout.stopped_for is None:  # the job has its type now, or the Dag has changed
            _stop_scout(training, scout)
        if is_wanted and not scout.is_created:
            _create(training, step, job, scout)
        elif (found := _look_at(training, scout)) is not None and is_wanted and _is_news(found, job):
            seen[scout.instance_type] = found
    return seen


def _is_news(scout: JobSnapshot, job: JobSnapshot) -> bool:
    """A scout that was over before the job began to wait says nothing about capacity now."""
    since = waits_since(job)
    return not scout.is_terminal or since is None or scout.last_modified_at >= since


def _look_at(training: ActiveTraining, scout: Intent) -> JobSnapshot | None:
    """The scout as AWS describes it. One that is over is recorded."""
    if training.is_elsewhere(scout):
        return None
    try:
        job = training.jobs.snapshot(scout.job_name)
        if job is None:
            if training.until_sure(lambda: training.jobs.describe(scout.job_name) is not None, is_sure=bool):
                return None
            ending = Ending.STOPPED_BY_USER if scout.is_created else Ending.INTERNAL_ERROR
            what = "it was deleted" if scout.is_created else "it was never created"
            _record(training, scout, _without_job(training, scout, ending, what))
            return None
        if (over := ending_of(job)) is not None:
            _record(training, scout, _attempt(training, scout, job, over))
    except (StateReplaced, TaskKilled):
        raise
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
            except (RequestRefused, NoTagsYet):
                note = None
            with contextlib.suppress(SpotTrainingError):  # not known: then a person stopped it
                note = note or training.recorder.why_stopped(scout.job_name)
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
    # Of a type that is refused again and again the last refusal is enough: the state is written whole.
    over = (o for o in state.scouts_over if o.job_name or o.instance_type != attempt.instance_type)
    training.save(replace(state, scouts=left, scouts_over=(*over, attempt)))


def _replace(training: ActiveTraining, scout: Intent) -> None:
    scouts = (scout if scout.job_name == other.job_name else other for other in training.state.scouts)
    training.save(replace(training.state, scouts=tuple(scouts)))


def _is_the_last(scout: Attempt) -> bool:
    """Whether no other scout follows: a person stopped it, or the account has no quota for the type."""
    return scout.ending is Ending.STOPPED_BY_USER or has_no_quota(scout)


# Moving ----------------------------------------------------------------------------------------------


def _move(training: ActiveTraining, job: JobSnapshot) -> ScoutCall | None:
    """Stop the waiting job and all scouts. The next job is created on `next_type` once this one is over.

    If the job cannot be stopped, it waits on, and scouts go out again later: returns when.
    """
    found = training.state.next_type
    training.host.say(
        f"There is spot capacity for {found}: the training moves there from {job.instance_type}."
    )
    is_stopped = stop_for(training, job, StopReason.MOVE)
    call_back(training)
    return None if is_stopped else ScoutCall(not_before=later(training, ROUND_SECONDS))


def stop_for(training: ActiveTraining, job: JobSnapshot, why: StopReason) -> bool:
    """Stop the job for the capacity of `next_type`, which is forgotten if that fails again and again."""
    for tries_left in reversed(range(STOP_TRIES)):
        try:
            stopping.stop_job(training, why)
        except (StateReplaced, TaskKilled):
            raise
        except SpotTrainingError as error:
            training.host.say(f"Training job {job.name} could not be stopped for the move: {error}")
            if tries_left:
                training.rest(ASK_AGAIN_SECONDS)
        else:
            return True
    training.save(replace(training.state, next_type=""))
    return False


def _stop_scout(training: ActiveTraining, scout: Intent) -> None:
    """Call a scout back. One that is over, is not there yet or is being stopped is looked at again."""
    if stopping.stop_scout(training, scout, StopReason.SCOUT_DONE):
        now = training.jobs.clock.now()
        _replace(training, replace(scout, stopped_for=StopReason.SCOUT_DONE, stopped_at=now.isoformat()))
