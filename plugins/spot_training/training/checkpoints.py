"""What is saved of one training: who looks for it, and what happens when uploads stall.

The rules are in `domain.checkpoints_seen`. Whoever waits for the job looks (`watching.checkpoint_watch`); the
driver takes in what was seen, and decides with it.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from spot_training.domain.checkpoints_seen import CheckpointsToWatch, SeenCheckpoints, last_visit
from spot_training.domain.errors import SpotTrainingError, StateReplaced, TaskKilled
from spot_training.domain.lifecycle import Ending, JobSnapshot, TrainingStatus
from spot_training.domain.stop_reasons import StopReason

from . import stopping

if TYPE_CHECKING:
    from .active import ActiveTraining
    from .state import Intent


def is_watched(training: ActiveTraining) -> bool:
    """Whether anybody looks at the training's checkpoints: it has a deadline, or its author asks for it."""
    options = training.host.checkpoints
    wanted = options.is_wanted
    return training.state.deadline is not None if wanted is None else wanted


def look_after(
    training: ActiveTraining, job: JobSnapshot, intent: Intent, *, wake_after: datetime | None = None
) -> CheckpointsToWatch | None:
    """Report stalled uploads of the live job. Returns what to look for while it runs; None for nothing.

    With `wake_after`, whoever waits calls `advance` when a checkpoint is saved that began to arrive later.
    """
    what = _to_watch(training, job, wake_after)
    if what is None:
        return None
    if what.seen.must_report:
        _report(training, job, intent, what.seen)
        what = _to_watch(training, job, wake_after)
    return what


def take_in(training: ActiveTraining, seen: SeenCheckpoints | None) -> None:
    """What was seen while another process, or this one, waited for the job."""
    before = training.state.checkpoints
    if seen is None or seen.looked_at is None or training.state.current is None or seen == before:
        return
    if before is not None and before.looked_at and seen.looked_at < before.looked_at:
        return
    if before is not None and before.reported_at and before.stalled_at == seen.stalled_at:
        seen = replace(seen, reported_at=before.reported_at)
    training.save(replace(training.state, checkpoints=seen))


def look_at_end(training: ActiveTraining, job: JobSnapshot, ending: Ending) -> None:
    """One more look once nothing writes any longer: what comes next continues from there."""
    what = _to_watch(training, job, None) if ending is not Ending.COMPLETED else None
    if what is None or last_visit(job) is None:
        return
    try:
        seen = training.host.last_look(job, what)
    except (StateReplaced, TaskKilled):
        raise
    except SpotTrainingError as error:
        training.host.say(f"The last checkpoint could not be looked at: {error}")
        return
    take_in(training, seen)


def _to_watch(
    training: ActiveTraining, job: JobSnapshot, wake_after: datetime | None
) -> CheckpointsToWatch | None:
    if job.checkpoint_uri is None or not (is_watched(training) or wake_after is not None):
        return None
    options = training.host.checkpoints
    return CheckpointsToWatch(
        uri=job.checkpoint_uri,
        pattern=options.pattern,
        given_seconds=options.given_seconds,
        seen=training.state.checkpoints or SeenCheckpoints(),
        wake_after=wake_after,
    )


def _report(training: ActiveTraining, job: JobSnapshot, intent: Intent, seen: SeenCheckpoints) -> None:
    """Say that uploads have stalled, and ask `on_checkpoints_stalled` what to do.

    A process that dies in between reports it again. A stop that fails is tried again, too.
    """
    now = training.jobs.clock.now()
    saved = f"{seen.newest_saved_at:%Y-%m-%d %H:%M:%S} UTC" if seen.newest_saved_at else "nothing"
    what = f"Training job {job.name}: {seen.stalled_because}. Saved is the work until {saved}."
    training.host.say(what)
    training.recorder.uploads_stalled(seen.stalled_because)
    is_ours = not (intent.is_foreign or training.host.only_watches)
    if training.host.uploads_stalled(_facts(job, seen)) and is_ours:
        training.host.say(
            "Its checkpoints do not arrive, so the work since the last one would be lost: it is stopped."
        )
        if job.status is not TrainingStatus.STOPPING:
            try:
                stopping.stop(training, StopReason.UPLOADS_STALLED)
            except SpotTrainingError as error:
                training.host.say(f"It could not be stopped, which is tried again: {error}")
                return
    training.save(replace(training.state, checkpoints=seen.reported(now)))


def _facts(job: JobSnapshot, seen: SeenCheckpoints) -> dict[str, Any]:
    """What `on_checkpoints_stalled` gets."""
    return {
        "training_job_name": job.name,
        "checkpoint_uri": job.checkpoint_uri,
        "stalled_at": seen.stalled_at.isoformat() if seen.stalled_at else None,
        "saved_at": seen.newest_saved_at.isoformat() if seen.newest_saved_at else None,
        "reason": seen.stalled_because,
    }
