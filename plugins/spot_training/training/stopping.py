"""Stopping the training's job with a reason on record, and finding out who stopped one."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from spot_training.domain.errors import RequestRefused, SpotTrainingError
from spot_training.domain.lifecycle import Ending, JobSnapshot, TrainingStatus
from spot_training.domain.stop_reasons import StopNote, StopReason, ending_of_stop
from spot_training.process import at_once, begin
from spot_training.sagemaker.jobs import TAG_SECONDS, TAG_SECONDS_WHEN_KILLED, NoTagsYet

if TYPE_CHECKING:
    from .active import ActiveTraining
    from .state import Intent

#: How often a process that is about to be killed asks for a job's tags: there is time for no more.
ASK_TAGS_WHEN_KILLED = 3
#: How long the stops of all scouts are waited for.
STOP_SCOUTS_SECONDS = 30.0


def stop(training: ActiveTraining, why: StopReason, *, tag_within: float = TAG_SECONDS) -> bool:
    """Stop the job that is alive, and the scouts. Returns whether there was a job to stop.

    All at the same time: a process that is killed has few seconds.
    """
    scouts = begin(lambda: stop_scouts(training, why, tag_within=tag_within))
    try:
        return stop_job(training, why, tag_within=tag_within)
    finally:
        with contextlib.suppress(TimeoutError):
            scouts(STOP_SCOUTS_SECONDS)


def stop_scouts(training: ActiveTraining, why: StopReason, *, tag_within: float = TAG_SECONDS) -> bool:
    """Stop the scouts that are out, all at the same time. Returns whether there was one to stop."""
    stops = (
        partial(stop_scout, training, scout, why, tag_within=tag_within) for scout in training.state.scouts
    )
    try:
        return any(at_once(STOP_SCOUTS_SECONDS, stops))
    except TimeoutError:
        return True  # the calls go on


def stop_scout(
    training: ActiveTraining, scout: Intent, why: StopReason, *, tag_within: float = TAG_SECONDS
) -> bool:
    """Stop one scout. Raises nothing: one that cannot be stopped ends by itself a little later."""
    if not _may_be_stopped(training, scout):
        return False
    try:
        return training.jobs.stop(
            scout.job_name,
            why,
            tag_within=tag_within,
            keep_reason=lambda note: training.recorder.keep_stop(scout.job_name, note),
        )
    except SpotTrainingError as error:
        training.host.say(f"Scout {scout.job_name} could not be stopped, and ends by itself later: {error}")
        return False


def stop_job(training: ActiveTraining, why: StopReason, *, tag_within: float = TAG_SECONDS) -> bool:
    """Stop the training's own job, if one is alive. Returns whether there was something to stop."""
    intent = training.state.current
    if intent is None or not _may_be_stopped(training, intent):
        return False
    stopped = training.jobs.stop(
        intent.job_name,
        why,
        tag_within=tag_within,
        keep_reason=lambda note: _keep_stop_note(training, intent.job_name, note),
    )
    if stopped:
        training.host.say(
            f"Stopping training job {intent.job_name}. It is billed until it has uploaded its output."
        )
    return stopped


def stop_created(training: ActiveTraining, intent: Intent) -> None:
    """Stop the job that was created while this process was being killed, for which no state is written."""
    if training.leaves_job:
        return
    training.jobs.stop(
        intent.job_name,
        StopReason.TASK_KILLED,
        tag_within=TAG_SECONDS_WHEN_KILLED,
        keep_reason=lambda note: training.recorder.keep_stop(intent.job_name, note),
    )


def stop_again_if_given_up(training: ActiveTraining, job: JobSnapshot) -> None:
    """The process that gave up may have died before its stop, or the stop failed."""
    if training.state.giving_up and job.status is not TrainingStatus.STOPPING:
        stop(training, StopReason.TIME_LIMIT)


def who_stopped(training: ActiveTraining, job: JobSnapshot, intent: Intent) -> tuple[Ending, str]:
    """The ending of a `Stopped` job, by the reason on record, and a message about it, if there is one.

    Without a reason of ours a person stopped it. If nobody can determine who did, a person did, too: nothing
    is started against somebody's will.
    """
    if training.state.giving_up:
        return Ending.STOPPED_AT_TIME_LIMIT, ""
    trouble: Exception | None = None
    note = intent.stop_note
    if note is None:
        try:
            note = training.until_sure(lambda: training.jobs.stop_note(job.arn))
        except (RequestRefused, NoTagsYet) as error:
            trouble = error
    note = note or training.recorder.why_stopped(job.name)
    if note is not None:
        is_ours = note.explains(job, real_seconds=training.jobs.clock.real_seconds)
        return ending_of_stop(note if is_ours else None), ""
    if trouble is None:
        return Ending.STOPPED_BY_USER, ""
    why = "it has none" if isinstance(trouble, NoTagsYet) else str(trouble)
    return Ending.STOPPED_BY_USER, (
        f"who stopped it cannot be determined, because its tags could not be read ({why}), so no other job "
        "is started"
    )


def _may_be_stopped(training: ActiveTraining, intent: Intent) -> bool:
    """Whether the job is the intent's: until it is claimed, a job of somebody else may have the name.

    If the connection leads elsewhere now, a job of that name there is another one.
    """
    if training.is_elsewhere(intent):
        return False
    if intent.is_created or intent.is_foreign:
        return True
    key = training.who.key
    return any(training.jobs.is_ours(intent.job_name, key=key) for _ in range(ASK_TAGS_WHEN_KILLED))


def _keep_stop_note(training: ActiveTraining, job_name: str, note: StopNote) -> None:
    """Keep the reason that no tag holds: in the state, or in the ledger if a signal handler stops the job."""
    current = training.state.current
    if not training.is_killed and current is not None and current.job_name == job_name:
        with contextlib.suppress(Exception):  # the ledger keeps it then
            training.save(replace(training.state, current=current.with_stop(note)))
            return
    training.recorder.keep_stop(job_name, note)
