"""The way back to spot: while on-demand runs, scouts look for capacity, and on-demand is left for it.

The rules are in `domain.back_to_spot`. A hand-over is the move of `scouting`, from on-demand:

    a scout runs        wait until on-demand has saved a checkpoint after that, if its checkpoints are seen
    it has              note the type in the state, then stop on-demand; the other scouts go
    on-demand is over   the driver ends the scout, and creates the spot job on the same checkpoints

So there is never more than one training job. Whoever finds the type in the state asks again whether to leave.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from spot_training.domain.back_to_spot import (
    CHECKPOINTS_AWAITED,
    Look,
    look_at,
    paused_until,
    types_with_a_way_back,
)
from spot_training.domain.checkpoints_seen import last_visit
from spot_training.domain.errors import SpotTrainingError
from spot_training.domain.ladder import in_order
from spot_training.domain.lifecycle import JobSnapshot, SecondaryStatus, TrainingStatus
from spot_training.domain.savings import PurchaseOption
from spot_training.domain.scouting import ScoutCall, holds_instances, not_before_after
from spot_training.domain.stop_reasons import StopReason
from spot_training.domain.way_back import pause_seconds

from . import scouting
from .deadline import check_on_demand, has_way_back, rule_of

if TYPE_CHECKING:
    from spot_training.domain.ladder import Policy, Step
    from spot_training.sagemaker.request import TrainingPlan

    from .active import ActiveTraining
    from .state import Intent


def look_after(training: ActiveTraining, job: JobSnapshot, intent: Intent) -> ScoutCall | None:
    """Do what the on-demand job and its scouts require now. Returns when to look again; None for never."""
    call = _look_after(training, job, intent)
    if call is None and scouting.take_in_ended(training):  # one that could not be stopped is tried again
        return ScoutCall(not_before=scouting.later(training, scouting.LOOK_AGAIN_SECONDS))
    return call


def _look_after(training: ActiveTraining, job: JobSnapshot, intent: Intent) -> ScoutCall | None:
    found = training.state.next_type
    if found and job.status is TrainingStatus.STOPPING:
        scouting.call_back(training, but=found)
        return None
    step = _step_of(training, job, intent)
    if step is None:
        scouting.call_back(training)
        return None
    look = _look(training, job)
    if look.scouts_in_seconds is None:
        _no_longer(training, look.why_not)
        return None
    running = _running(training, step, job)
    if found and (running is None or running.instance_type != found):
        training.save(replace(training.state, next_type=""))  # nobody stopped on-demand while it was there
        found = ""
    if running is not None:
        kind = running.instance_type or ""
        look = _look(training, job, price_ratio=_price_ratio(training, job, kind))
        return _leave(training, job, look, kind) if found else _await_checkpoint(training, job, look, running)
    return _call(training, step, job, look, _send_what_is_due(training, step, job, look))


def learn(training: ActiveTraining, policy: Policy) -> None:
    """Take in what spot costs, and log whether on-demand would be left again for spot, and why."""
    deadline = training.state.deadline
    if deadline is None:
        return
    types = _types(policy, training.plan())
    histories = training.host.type_histories(types)
    ratios = [each.price_ratio for each in histories if each.price_ratio is not None]
    left = types_with_a_way_back(types, training.state.attempts, histories)
    training.save(
        replace(
            training.state,
            spot_price_ratio=max(ratios, default=None),
            has_no_way_back=not left,
        )
    )
    rule = rule_of(training, deadline)
    kept = deadline.kept_seconds(training.state.attempts, training.state.checkpoints)
    work = max(0.0, deadline.runtime.mean_seconds - kept)
    verdict = rule.verdict(work)
    training.host.say(f"The way back to spot is {'on' if verdict.is_on else 'off'}: {verdict.reason}.")


def _step_of(training: ActiveTraining, job: JobSnapshot, intent: Intent) -> Step | None:
    """The spot step with the types to look for; None if there is no way back from this job."""
    state = training.state
    is_ours = not (intent.is_foreign or training.host.only_watches)
    if state.deadline is None or job.checkpoint_uri is None or not is_ours or state.giving_up:
        return None
    if job.status is TrainingStatus.STOPPING or job.secondary_status is SecondaryStatus.UPLOADING:
        return None
    try:
        policy, plan = training.policy(), training.plan()
        # A spot job with other checkpoints would begin again.
        if not has_way_back(policy) or plan.checkpoint_uri != job.checkpoint_uri:
            return None
        plan.check(policy)
    except SpotTrainingError:  # refused once there is something to decide, when no job is alive
        return None
    return replace(_spot_step(policy), instance_types=_types(policy, plan))


def _spot_step(policy: Policy) -> Step:
    return next(step for step in policy.steps if step.purchase is PurchaseOption.SPOT)


def _types(policy: Policy, plan: TrainingPlan) -> tuple[str, ...]:
    return _spot_step(policy).instance_types or (plan.instance_type,)


def _price_ratio(training: ActiveTraining, job: JobSnapshot, instance_type: str) -> float:
    """How much dearer this type is on demand than the job's; 1 if a price is not known."""
    if instance_type == job.instance_type:
        return 1.0
    there, here = (training.host.price_of(name or "") for name in (instance_type, job.instance_type))
    return there / here if there and here else 1.0


def _look(training: ActiveTraining, job: JobSnapshot, *, price_ratio: float = 1.0) -> Look:
    """The way back now, to a type with this price compared with the job's."""
    deadline = training.state.deadline
    assert deadline is not None  # noqa: S101 - `_step_of` said so
    rule = rule_of(training, deadline)
    how = rule.hand_over
    return look_at(
        job,
        training.jobs.clock.now(),
        rule=replace(rule, hand_over=replace(how, price_ratio=how.price_ratio * price_ratio)),
        deadline=deadline,
        kept_seconds=deadline.kept_seconds(training.state.attempts, training.state.checkpoints),
        seen=training.state.checkpoints,
    )


def _no_longer(training: ActiveTraining, why: str) -> None:
    if any(scout.stopped_for is None for scout in training.state.scouts):
        training.host.say(f"On-demand runs to its end: {why}.")
    training.save(replace(training.state, next_type=""))
    scouting.call_back(training)


# Scouts ----------------------------------------------------------------------------------------------


def _send_what_is_due(training: ActiveTraining, step: Step, job: JobSnapshot, look: Look) -> datetime | None:
    """Send the scouts that are due. Returns when others are; None if no type is left to look for.

    That is when the rule has it, but not before the pauses after hand-overs and scouts without a result.
    """
    now = training.jobs.clock.now()
    at = now + timedelta(seconds=look.scouts_in_seconds or 0.0)
    pauses = (paused_until(training.state.attempts), _in_vain_until(training, job))
    at = max([at, *(pause for pause in pauses if pause is not None)])

    def due() -> dict[str, datetime]:
        left = scouting.types_left(training, step, job)
        return {name: max(at, not_before_after(over) or at) for name, over in left.items()}

    ready = [name for name, moment in due().items() if moment <= now]
    if ready:
        kept = _without_failures(training, ready)
        scouting.send(training, step, job, kept, "On-demand runs, and spot would cost less.")
    return min((moment for moment in due().values() if moment > now), default=None)


def _without_failures(training: ActiveTraining, types: Sequence[str]) -> tuple[str, ...]:
    """Without the types for which most hand-overs failed."""
    kept = types_with_a_way_back(types, training.state.attempts, training.host.type_histories(types))
    for name in types:
        if name not in kept:
            training.host.say(f"No scout looks for {name}: most hand-overs to it found no capacity.")
    return kept


def _in_vain_until(training: ActiveTraining, job: JobSnapshot) -> datetime | None:
    """Scouts of this job ran, and on-demand was not left: no checkpoint came, or it did not pay any more."""
    ended = [
        scout.ended_at
        for scout in training.state.scouts_over
        if scout.has_started and scout.ended_at and scout.created_at and scout.created_at >= job.created_at
    ]
    return max(ended) + timedelta(seconds=pause_seconds(len(ended))) if ended else None


def _running(training: ActiveTraining, step: Step, job: JobSnapshot) -> JobSnapshot | None:
    """The scout that has instances now; of several, the type that comes first."""
    seen = scouting.look_at_scouts(training, step, job)
    running = {name: scout for name, scout in seen.items() if holds_instances(scout)}
    first = in_order(step.instance_types, training.state.asked_last)
    return next((running[name] for name in first if name in running), None)


def _call(
    training: ActiveTraining, step: Step, job: JobSnapshot, look: Look, more_at: datetime | None
) -> ScoutCall | None:
    """When to look again: a scout has news, others may go out, or the way back does not pay any more."""
    if more_at is None and not training.state.scouts:
        return None
    call = scouting.call_of(training, step, job, more_at)
    over_at = scouting.later(training, look.rule.over_in_seconds(look.progress))
    return replace(call, not_before=min(over_at, call.not_before or over_at))


# Leaving ---------------------------------------------------------------------------------------------


def _await_checkpoint(
    training: ActiveTraining, job: JobSnapshot, look: Look, scout: JobSnapshot
) -> ScoutCall | None:
    """Leave on-demand once what it has done is saved. If its checkpoints are not seen, nothing is awaited."""
    now = training.jobs.clock.now()
    runs_since = scout.training_started_at or scout.last_modified_at
    is_saved = _is_saved_since(training, job, runs_since) or not look.progress.unsaved_seconds
    why = _why_not(training, look)
    if is_saved and not why:
        return _leave(training, job, look, scout.instance_type or "")
    every = look.rule.hand_over.checkpoint_every_seconds
    awaited_until = runs_since + timedelta(seconds=CHECKPOINTS_AWAITED * every)
    if is_saved or now >= awaited_until:
        why = why or "no checkpoint has arrived since the scout runs"
        training.host.say(f"There is spot capacity for {scout.instance_type}, but on-demand goes on: {why}.")
        scouting.call_back(training)
        return ScoutCall(not_before=scouting.later(training, scouting.LOOK_AGAIN_SECONDS))
    return ScoutCall(not_before=awaited_until, saved_after=runs_since)


def _why_not(training: ActiveTraining, look: Look) -> str:
    """Why on-demand is not left now; empty if it is."""
    if not look.may_leave:
        return look.why_not
    check = check_on_demand(training, training.policy())
    if check is not None and check.objection is not None:
        return f"if spot is lost, on-demand could not be bought again: {check.objection}"
    return ""


def _is_saved_since(training: ActiveTraining, job: JobSnapshot, moment: datetime) -> bool:
    """Whether a checkpoint began to arrive after this moment. If nobody looks, nothing is awaited."""
    seen, visit = training.state.checkpoints, last_visit(job)
    is_looked_at = seen is not None and visit is not None and seen.saved_of(visit) is not None
    return not is_looked_at or (seen is not None and seen.is_saved_since(moment))


def _leave(training: ActiveTraining, job: JobSnapshot, look: Look, found: str) -> ScoutCall | None:
    """Stop on-demand for the type that has capacity. The scout holds it until on-demand is over."""
    if why := _why_not(training, look):
        _no_longer(training, why)
        return None
    if training.state.next_type != found:
        price = training.host.price_of(job.instance_type or "")
        why = look.why(price * job.instance_count if price is not None else None)
        training.host.say(f"There is spot capacity for {found}: on-demand is left for it. {why}.")
        training.save(replace(training.state, next_type=found))
    if not scouting.stop_for(training, job, StopReason.BACK_TO_SPOT):
        return ScoutCall(not_before=scouting.later(training, scouting.LOOK_AGAIN_SECONDS))
    scouting.call_back(training, but=found)
    return None
