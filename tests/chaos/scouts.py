"""What a campaign holds trainings with scouts to.

Of a training at most one scout for each type is alive, and none outlives it. Each was stopped for a reason on
record, or ended by itself. What the service billed for them is in the savings. A job that was stopped for a
hand-over is recorded as that. And no two jobs, of whatever training, are alive on one checkpoint prefix.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Sequence
from datetime import timedelta

from spot_training.domain.lifecycle import Ending
from spot_training.domain.records import TrainingRecord

from .points import ENDINGS, REASONS
from .support import Job, Lab, Run

#: A scout that ends by itself so soon after the next job was created may have been about to.
CALLED_BACK_WITHIN = timedelta(minutes=10)


def hand_overs_of(lab: Lab, run: Run) -> int:
    """How many jobs of the run made room for the next one."""
    return sum(job.stopped_for in REASONS for job in lab.jobs_of(run))


def judge_scouts(lab: Lab, run: Run, *, by_person: Collection[str]) -> None:
    """Note where the scouts of a run broke the promise. `by_person` are those that a person stopped."""
    scouts, records = lab.scouts_of(run), lab.records_of(run)
    endings = {
        each.job_name: each.ending for record in records for each in (*record.attempts, *record.scouts)
    }
    for one, other in itertools.combinations(scouts, 2):
        if one.instance_type == other.instance_type and one.lived_beside(other):
            run.problems.append(
                f"two scouts for {one.instance_type} at the same time: {one.name}, {other.name}"
            )
    for scout in scouts:
        _judge_scout(run, scout, endings.get(scout.name), scouts, is_by_person=scout.name in by_person)
        _judge_call_back(run, scout, lab.jobs_of(run))
    for job in lab.jobs_of(run):
        ending = endings.get(job.name)
        if job.was_stopped and job.stopped_for in REASONS and ending not in {None, *ENDINGS}:
            run.problems.append(f"{job.name} was stopped for {job.stopped_for}; the ledger says: {ending}")
    for record in records:
        _judge_bill(run, record, scouts)


def _judge_scout(
    run: Run, scout: Job, ending: Ending | None, scouts: Sequence[Job], *, is_by_person: bool
) -> None:
    if scout.checkpoints is not None:
        run.problems.append(f"a scout with checkpoints: {scout.name}")
    if not scout.was_stopped:
        return
    if is_by_person and scout.stopped_for is None:
        later = [s.name for s in scouts if s.created_at > scout.created_at]
        again = [s.name for s in scouts if s.name in later and s.instance_type == scout.instance_type]
        if again:
            run.problems.append(f"a person stopped {scout.name}, and then came {again}")
    elif ending is Ending.STOPPED_BY_USER:
        run.problems.append(f"no person stopped {scout.name} ({scout.stopped_for}), but the ledger says so")


def _judge_call_back(run: Run, scout: Job, jobs: Sequence[Job]) -> None:
    """Whoever creates the next job calls the scouts back before that: none ends by itself long after it."""
    if scout.was_stopped or scout.stopped_for is not None:
        return
    later = [job for job in jobs if job.created_at > scout.created_at]
    for job in later:
        if scout.ended_at is None or scout.ended_at - job.created_at > CALLED_BACK_WITHIN:
            run.problems.append(f"{scout.name} was not called back before {job.name} was created")


def _judge_bill(run: Run, record: TrainingRecord, scouts: Sequence[Job]) -> None:
    """What the service billed for the scouts of a record is in its savings."""
    names = {scout.job_name for scout in record.scouts}
    billed = sum(scout.billed_seconds for scout in scouts if scout.name in names)
    if record.statement.scout_instance_seconds != billed:
        in_ledger = record.statement.scout_instance_seconds
        run.problems.append(f"scouts billed in the savings: {in_ledger} s; by SageMaker: {billed} s")


def judge_prefixes(lab: Lab, runs: Sequence[Run]) -> None:
    """Note where two jobs of the batch were alive on one checkpoint prefix."""
    jobs = [(run, job) for run in runs for job in lab.jobs_of(run) if job.checkpoints is not None]
    for (run, one), (_, other) in itertools.combinations(jobs, 2):
        if one.checkpoints == other.checkpoints and one.name != other.name and one.lived_beside(other):
            run.problems.append(f"two writers on {one.checkpoints}: {one.name}, {other.name}")
