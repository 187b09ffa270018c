"""Creating the job of one attempt, exactly once, whoever dies in between.

The intent is in the state store and in the ledger before CreateTrainingJob is called. Whoever finds an
intent without a confirmed job calls it again: a name that is taken leads to the same job.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from spot_training.domain.errors import NotOurJob, RequestRefused, ServiceFailed, SpotTrainingError
from spot_training.domain.ladder import first_type
from spot_training.domain.lifecycle import Ending
from spot_training.domain.messages import attempt_line
from spot_training.domain.savings import Attempt
from spot_training.domain.scouting import types_that_pay, wait_left
from spot_training.sagemaker.calls import Refusal
from spot_training.sagemaker.identity import TAG_INTENT, number_of
from spot_training.sagemaker.jobs import (
    CapacityRefused,
    Created,
    NameSpent,
    NoTagsYet,
    NotThereYet,
    check_is_ours,
)
from spot_training.sagemaker.request import TrainingPlan, max_runtime_of

from . import adoption, scouting
from .state import Intent
from .stopping import stop_created

if TYPE_CHECKING:
    from spot_training.domain.ladder import Decision, Step

    from .active import ActiveTraining


def start(training: ActiveTraining, decision: Decision) -> None:
    """Write the next attempt's intent, then create its job; or continue with jobs that the ledger knows."""
    assert decision.step is not None  # noqa: S101 - what `START` means
    known = adoption.recall_record(training)
    plan = training.plan()
    plan.check(training.policy())
    instance_type = _type_for(training, decision.step)
    intent = Intent(
        job_name=plan.job_name(_next_name(training)),
        number=training.state.next_number,
        step=decision.step_index,
        reason=decision.reason,
        nonce=uuid.uuid4().hex,
        purchase=decision.step.purchase,
        partition=training.jobs.partition,
        region=training.jobs.region,
        instance_type=instance_type,
    )
    if adoption.continue_with_recorded_jobs(training, known, intent):
        return
    training.save(replace(training.state, current=intent, next_type=""))
    try:
        _create(training, intent, decision.step)
    except SpotTrainingError as error:
        if error.nothing_was_created:  # no job to look after, and none to hold money for
            training.save(replace(training.state, current=None))
        raise


def create_or_record_missing(training: ActiveTraining, intent: Intent) -> None:
    """There is no such job: it was deleted, or the call to create it never reached AWS."""
    if intent.is_foreign:
        training.save(replace(training.state, current=None, is_over=True))
        raise RequestRefused(
            f"There is no training job named {intent.job_name} in {training.jobs.region}. Nothing was "
            "created. Check the name, the region and the connection."
        )
    if intent.is_created:
        training.save(training.state.with_attempt(_deleted_attempt(intent)))
        return
    if reason := training.state.giving_up or training.host.out_of_time():
        training.save(replace(training.state, current=None, giving_up=reason))
        return
    policy = training.policy()
    training.plan().check(policy)
    _create(training, intent, policy.steps[min(intent.step, len(policy.steps) - 1)])


def claim(training: ActiveTraining, intent: Intent, description: dict[str, Any]) -> bool:
    """Confirm the job found under the name of an unconfirmed intent. Returns whether it is that intent's."""
    key = training.who.key
    found = _confirm(training, intent, lambda: training.jobs.claim(description, key=key, nonce=intent.nonce))
    return found is not None


def _type_for(training: ActiveTraining, step: Step) -> str:
    """The type of a job on a step with several spot types: where a scout found capacity, or the first.

    Of those that were not refused just now.
    """
    if not step.needs_scouts:
        return ""
    state = training.state
    if state.next_type in step.instance_types:
        return state.next_type
    last, climbed = scouting.learn_order(training, step), state.attempts[state.ladder_from :]
    pays = types_that_pay(step.instance_types, step, training.host.price_of)
    best = first_type(step, climbed, [*last, *(name for name in step.instance_types if name not in pays)])
    return best or step.instance_types[0]


def _next_name(training: ActiveTraining) -> int:
    """The number in the next job's name. An attempt that was refused has no job, and leaves it its name.

    So whoever finds a name of this training free knows that it has no job behind it.
    """
    is_own = training.who.is_name
    taken = (a for a in training.state.attempts if not a.was_refused)
    return max((number_of(a.job_name) if is_own(a.job_name) else a.number for a in taken), default=0) + 1


def _create(training: ActiveTraining, intent: Intent, step: Step) -> None:
    plan = training.plan()
    step = _for_one_type(training, intent, step)
    request = {**plan.attempt_request(step, number=intent.number), "TrainingJobName": intent.job_name}
    request["Tags"] = [*request["Tags"], {"Key": TAG_INTENT, "Value": intent.nonce}]
    training.leave_if_killed()
    request |= training.host.prepare()
    training.host.say(f"Attempt {intent.number}: {intent.reason}")
    try:
        created = _ask_for(training, intent, request)
    except CapacityRefused as refused:
        attempt = _refused_attempt(intent, step, plan, refused)
        training.save(training.state.with_attempt(attempt))
        training.host.say(f"{attempt_line(attempt)} {refused.text}")
        return
    if created is None:
        return
    if training.is_killed:
        stop_created(training, intent)
        training.leave_if_killed()
    if created.is_new:
        training.host.say(f"Created training job {intent.job_name} ({step}).")
    else:
        training.host.say(f"Adopted training job {intent.job_name} ({step}), which this task had created.")


def _ask_for(training: ActiveTraining, intent: Intent, request: dict[str, Any]) -> Created | None:
    """Create the job. A quota that scouts of this training fill is asked for again when these are over."""

    def ask() -> Created | None:
        key = training.who.key
        return _confirm(
            training,
            intent,
            lambda: training.jobs.create_or_adopt(request, key=key, nonce=intent.nonce),
        )

    try:
        return ask()
    except CapacityRefused as refused:
        is_spot_quota = refused.refusal is Refusal.QUOTA and request["EnableManagedSpotTraining"]
        if not (is_spot_quota and training.state.scouts):
            raise
        scouting.settle(training)
        return ask()


def _for_one_type(training: ActiveTraining, intent: Intent, step: Step) -> Step:
    """The step for the job's type. After a move, what is left of the wait; with a deadline, that counts."""
    if not step.needs_scouts:
        return step
    step = step.with_type(intent.instance_type)
    if training.state.deadline is not None:
        return step
    left = wait_left(step, training.state.attempts, training.jobs.now())
    return replace(step, max_wait_seconds=max(left, max_runtime_of(training.plan().request)))


def _confirm(training: ActiveTraining, intent: Intent, call: Callable[[], Created]) -> Created | None:
    """The intent's job, as `call` finds or creates it, confirmed in the state; None if the state was lost."""
    try:
        job = training.until_sure(call)
    except NoTagsYet:
        training.save(replace(training.state, current=None))
        check_is_ours(intent.job_name, {}, key=training.who.key)
        raise
    except NotOurJob:
        training.save(replace(training.state, current=None))
        raise
    except NotThereYet as error:
        raise ServiceFailed(
            f"SageMaker says that the training job name {intent.job_name} is taken, but describes no such "
            "job for more than a minute (it may be being deleted). No job was created. Try again in a few "
            "minutes."
        ) from error
    except NameSpent:
        if adoption.has_no_attempt_of_its_own(training):
            adoption.continue_without_state(training, intent)
            return None
        found = training.jobs.snapshot(intent.job_name)
        job = Created(arn=found.arn if found else "", is_new=False)
    if not training.is_killed:
        training.save(replace(training.state, current=replace(intent, is_created=True, arn=job.arn)))
    return job


def _deleted_attempt(intent: Intent) -> Attempt:
    return Attempt(
        number=intent.number,
        step=intent.step,
        job_name=intent.job_name,
        purchase=intent.purchase,
        reason=intent.reason,
        ending=Ending.STOPPED_BY_USER,
        message="there is no such training job any more: it was deleted before its end was seen",
    )


def _refused_attempt(intent: Intent, step: Step, plan: TrainingPlan, refused: CapacityRefused) -> Attempt:
    resources = plan.request["ResourceConfig"]
    return Attempt(
        number=intent.number,
        step=intent.step,
        job_name="",  # it leaves the name to the next attempt
        purchase=step.purchase,
        reason=intent.reason,
        ending=Ending.QUOTA if refused.refusal is Refusal.QUOTA else Ending.CAPACITY_ERROR,
        instance_type=step.instance_types[0] if step.instance_types else resources.get("InstanceType"),
        instance_count=int(resources.get("InstanceCount", 1)),
        max_runtime_seconds=max_runtime_of(plan.request),
        max_wait_seconds=step.max_wait_seconds,
        training_seconds=0,
        billable_seconds=0,
        message=refused.text,
    )
