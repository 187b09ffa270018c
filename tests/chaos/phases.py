"""The phases of a training job, and what may be lost while it is in them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from enum import StrEnum

from .support import SLOW_TO_STOP, Case, Lab, Run, until

DAY = 24 * 3600


class JobPhase(StrEnum):
    WAITING = "waiting-for-capacity"
    TRAINING = "training"
    INTERRUPTED = "interrupted"
    STOPPING = "stopping"


_CASES = {
    JobPhase.WAITING: (Case(has_capacity=False, first_wait=DAY), "Starting"),
    JobPhase.TRAINING: (Case(seconds=24000, max_run=DAY, first_wait=DAY), "Training"),
    JobPhase.INTERRUPTED: (Case(stumbles=True, seconds=1200, first_wait=DAY), "Interrupted"),
    JobPhase.STOPPING: (Case(seconds=24000, max_run=DAY, first_wait=DAY), "Training"),
}


def bring_about(lab: Lab, name: str, *, modes: Sequence[bool] = (True, False)) -> dict[JobPhase, list[Run]]:
    """A run in each phase for each way to wait: deferred (True), and on a worker."""
    runs: dict[JobPhase, list[Run]] = {phase: [] for phase in JobPhase}
    # The long ones last: they are to be under way when the others are ready.
    order = sorted(JobPhase, key=lambda phase: phase in {JobPhase.TRAINING, JobPhase.STOPPING})
    for phase, is_deferrable in itertools.product(order, modes):
        case, _ = _CASES[phase]
        run_id = f"{name}.{phase}.{'deferred' if is_deferrable else 'on-worker'}"
        instance_type = SLOW_TO_STOP if phase is JobPhase.STOPPING else None
        run = lab.start(replace(case, deferrable=is_deferrable), run_id, instance_type=instance_type)
        runs[phase].append(run)
    for phase, both in runs.items():
        _, status = _CASES[phase]
        for run in both:
            until(lambda run=run, status=status: lab.has_been(run, status), f"{run.run_id}")
            if run.case.deferrable:
                lab.wait_until_watched(run)
    for run in runs[JobPhase.STOPPING]:
        for job in lab.alive(run):
            lab.sagemaker.stop_training_job(TrainingJobName=job)
    return runs


def finish(lab: Lab, runs: dict[JobPhase, list[Run]]) -> None:
    """Give capacity to all; every run is to succeed, but a job that a person stopped may end its training."""
    for run in itertools.chain(*runs.values()):
        lab.set_capacity(run.instance_type, available=True)
    everyone: Sequence[Run] = list(itertools.chain(*runs.values()))
    lab.watch(everyone, timeout_seconds=150)
    for phase, both in runs.items():
        for run in both:
            state = lab.run_state(run) if phase is JobPhase.STOPPING else "success"
            lab.judge(run, state=str(state))
