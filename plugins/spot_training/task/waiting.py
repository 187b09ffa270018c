"""Waiting for a training's job: in the triggerer, or in this process with the same watcher."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from spot_training.domain.lifecycle import JobSnapshot
from spot_training.domain.stop_reasons import StopReason
from spot_training.watching.checkpoint_watch import CheckpointWatch
from spot_training.watching.deadline_stop import DeadlineStop, follow_with_deadline, guard_to_json
from spot_training.watching.reports import CheckpointNews
from spot_training.watching.scout_watch import ScoutWatch, call_to_json
from spot_training.watching.watcher import JobWatcher, LogLines, Missing, Trouble

from .time_limits import next_limit

if TYPE_CHECKING:
    from collections.abc import Iterator

    from spot_training.domain.checkpoints_seen import CheckpointsToWatch, SeenCheckpoints
    from spot_training.training.driver import TrainingDriver, Waiting
    from spot_training.watching.watcher import Report

    from .options import TaskOptions


def trigger_arguments(
    waiting: Waiting, *, driver: TrainingDriver, options: TaskOptions, record_key: str
) -> dict[str, Any]:
    """The arguments of the `TrainingJobTrigger` that a task defers to."""
    until = next_limit(options, driver.state)
    clock = driver.jobs.clock
    return {
        "training_job_name": waiting.job.name,
        "check_interval": options.check_interval,
        # A job that somebody else started is not stopped with the task.
        "stop_job_on_kill": options.stop_job_on_kill and driver.is_live_job_ours,
        "until": until.isoformat() if until else None,
        "guard": guard_to_json(waiting.guard, waiting.job, clock.now()) if waiting.guard else None,
        **({"scout_call": call_to_json(waiting.call)} if waiting.call else {}),
        **({"scouts_alive": list(waiting.scouts)} if waiting.scouts else {}),
        **({"checkpoints": waiting.checkpoints.to_json()} if waiting.checkpoints else {}),
        "record_key": record_key,
        **asdict(options.access),
        # Where the job is: the connection's region may change while the task is deferred.
        "region_name": driver.jobs.region,
    }


def reports_until_over(
    waiting: Waiting, *, driver: TrainingDriver, options: TaskOptions, log: Any
) -> Iterator[JobSnapshot | LogLines]:
    """What is new of the job, in this process, until it is over or a time limit passes; logs the rest.

    What was seen of its checkpoints is stored at the end, when the task looks at them.
    """
    seen: SeenCheckpoints | None = None
    for report in _reports(waiting, driver=driver, options=options, log=log):
        match report:
            case JobSnapshot() | LogLines():
                yield report
            case Trouble():
                log.warning("%s", report)
            case Missing():
                log.warning("Training job %s does not exist any more.", report.name)
            case CheckpointNews():
                seen = report.seen
                if report.warning:
                    log.warning("%s", report.warning)
    driver.saw_checkpoints(seen)


def _reports(waiting: Waiting, *, driver: TrainingDriver, options: TaskOptions, log: Any) -> Iterator[Report]:
    jobs, watching = driver.jobs, options.access.watching()
    checkpoints = _watch_of(waiting.checkpoints, driver, options) if waiting.checkpoints else None
    # The watcher has other clients: its calls wait for the rate limit, and fail soon. A stop does neither.
    return follow_with_deadline(
        JobWatcher(watching.jobs, make_logs=watching.logs, rate_limit=watching.rate_limit()),
        waiting.job.name,
        interval_seconds=options.check_interval,
        until=lambda: next_limit(options, driver.state),
        deadline_stop=DeadlineStop(waiting.guard, lambda: jobs.clock) if waiting.guard else None,
        scouts=ScoutWatch(waiting.call, lambda: jobs.clock) if waiting.call else None,
        checkpoints=checkpoints,
        stop=lambda _job: driver.stop(StopReason.DEADLINE),
        say=log.info,
        shows_log=options.shows_log_live,
    )


def last_look(
    job: JobSnapshot, what: CheckpointsToWatch, *, driver: TrainingDriver, options: TaskOptions
) -> SeenCheckpoints:
    """What is saved of a job that is over. One listing, which fails soon. Raises `SpotTrainingError`."""
    watch = _watch_of(what, driver, options)
    watch.update(job)
    watch.look()
    return watch.seen


def _watch_of(what: CheckpointsToWatch, driver: TrainingDriver, options: TaskOptions) -> CheckpointWatch:
    who, prefix = driver.training.identity, options.access.checkpoints(what.uri)
    return CheckpointWatch(what, lambda: driver.jobs.clock, prefix, task=(who.dag_id, who.task_id))
