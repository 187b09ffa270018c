"""Finds training jobs that no task will look at again, and stops them.

A job is an orphan if it is running, has this installation's tags, and its task is over, gone, or at a later
job according to its record. Everything that is not certain is reported and left alone: a job with changed
tags, a job that was meant to outlive its task, a job that could not be described, a job of the name that all
Airflows had before each got its own. Jobs of another installation are not reported.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING

from spot_training import metrics
from spot_training.domain.errors import ServiceFailed, SpotTrainingError, SweepRefused
from spot_training.domain.record_keys import SHARED_NAME
from spot_training.domain.stop_reasons import StopReason
from spot_training.sagemaker.descriptions import snapshot_of
from spot_training.sagemaker.identity import (
    TAG_ATTEMPT,
    TAG_INSTALLATION,
    TAG_KEY,
    TAG_WITHOUT_TASK,
    RunIdentity,
    identity_of,
    may_be_ours,
    tag_value,
)

if TYPE_CHECKING:
    from spot_training.domain.lifecycle import JobSnapshot
    from spot_training.domain.records import TrainingRecord
    from spot_training.domain.stop_reasons import StopNote
    from spot_training.sagemaker.jobs import TrainingJobs

#: States of a task instance that has ended. In any other state (None: cleared, not yet scheduled) the task
#: will run again and adopt its job.
OVER_STATES = frozenset({"success", "failed", "skipped", "upstream_failed", "removed"})
#: What `TaskStateOf` returns if there is no such task instance, or no longer.
NO_SUCH_TASK = "no such task"
#: What becomes of an orphan, in metrics.
_STOPPED, _LEFT = "stopped", "left"

TaskStateOf = Callable[[RunIdentity], str | None]
RecordOf = Callable[[RunIdentity], "TrainingRecord | None"]
KeepReason = Callable[[str, "StopNote"], None]
See = Callable[["Finding"], None]


class Verdict(StrEnum):
    IN_USE = "in use"
    ORPHAN = "orphan"
    KEPT = "meant to outlive its task"
    UNCERTAIN = "uncertain"
    NOT_JUDGED = "not judged"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A running job with our tags, and the verdict on it.

    A job that is `NOT_JUDGED` because it could not be described has no `job`, and may not be ours.
    `is_stopped` says whether the sweep stopped it, None if it did not try.
    """

    name: str
    verdict: Verdict
    reason: str
    job: JobSnapshot | None = None
    identity: RunIdentity | None = None
    is_stopped: bool | None = None

    def __str__(self) -> str:
        status = f" ({self.job.secondary_status})" if self.job else ""
        return f"{self.name}{status}: {self.verdict}, {self.reason}"


def survey(
    jobs: TrainingJobs,
    *,
    installation: str,
    task_state_of: TaskStateOf,
    record_of: RecordOf = lambda _identity: None,
    earlier: Collection[str] = (),
) -> Iterator[Finding]:
    """Judge every running training job that this installation made, one after the other.

    `record_of` returns the ledger's record of a task, if it is known. `earlier` are names that this
    installation had before.
    """
    names = {tag_value(name): name for name in (*earlier, installation)}
    for name in jobs.live():
        if not may_be_ours(name):
            continue
        try:
            finding = _look_at(name, jobs, names, task_state_of, record_of)
        except Exception as error:  # noqa: BLE001 - the other jobs are judged all the same
            finding = Finding(name=name, verdict=Verdict.NOT_JUDGED, reason=f"{error}")
        if finding is not None:
            yield _as_far_as_certain(finding, installation)


def _as_far_as_certain(finding: Finding, installation: str) -> Finding:
    """Orphans of the name that all Airflows had before each got its own may belong to another Airflow."""
    who = finding.identity
    if finding.verdict is not Verdict.ORPHAN or who is None:
        return finding
    if who.installation != SHARED_NAME or installation == SHARED_NAME:
        return finding
    reason = f"{finding.reason}. It was made as {SHARED_NAME!r}, and other Airflows may have that name, too"
    return replace(finding, verdict=Verdict.UNCERTAIN, reason=reason)


def _look_at(
    name: str,
    jobs: TrainingJobs,
    installations: Mapping[str, str],
    task_state_of: TaskStateOf,
    record_of: RecordOf,
) -> Finding | None:
    description = jobs.describe(name)
    if description is None:
        return None
    job = snapshot_of(description)
    tags = jobs.tags(job.arn)
    if job.is_terminal or TAG_KEY not in tags or tags.get(TAG_INSTALLATION) not in installations:
        return None
    return _judge(job, tags, task_state_of, record_of)


def _judge(
    job: JobSnapshot, tags: Mapping[str, str], task_state_of: TaskStateOf, record_of: RecordOf
) -> Finding:
    identity = identity_of(tags)
    if identity is None:
        reason = "its tags do not hold its task's names unchanged"
        return Finding(name=job.name, job=job, verdict=Verdict.UNCERTAIN, reason=reason)
    state = task_state_of(identity)
    is_over = state == NO_SUCH_TASK or state in OVER_STATES
    reason = f"task {identity.task_id} of {identity.dag_id} / {identity.run_id}"
    reason += f": {state}" if is_over else f" is {state or 'waiting to be scheduled'}"
    if not is_over and (newer := _newer_than(job, identity, tags, record_of(identity))):
        is_over, reason = True, f"{reason}, with {newer}"
    if not is_over:
        verdict = Verdict.IN_USE
    elif tags.get(TAG_WITHOUT_TASK) == "keep":
        verdict = Verdict.KEPT
    else:
        verdict = Verdict.ORPHAN
    return Finding(name=job.name, job=job, verdict=verdict, reason=reason, identity=identity)


def _newer_than(
    job: JobSnapshot, identity: RunIdentity, tags: Mapping[str, str], record: TrainingRecord | None
) -> str | None:
    """The later job that the task is at, by its record. None if this job may be its current one.

    A record that lags behind names an earlier generation or attempt, never a later one.
    """
    if record is None or record.generation < identity.generation:
        return None
    if record.generation > identity.generation:
        return f"generation {record.generation} after a clear"
    current, attempt = record.current_job, tags.get(TAG_ATTEMPT, "")
    if current is None or current.job_name == job.name or not attempt.isdecimal():
        return None
    return f"attempt {current.number}, {current.job_name}" if current.number > int(attempt) else None


def sweep(
    jobs: TrainingJobs,
    *,
    installation: str,
    task_state_of: TaskStateOf,
    stop: bool,
    say: Callable[[str], None],
    record_of: RecordOf = lambda _identity: None,
    earlier: Collection[str] = (),
    keep_reason: KeepReason = lambda _name, _note: None,
    see: See = lambda _finding: None,
) -> list[Finding]:
    """Report every finding, and stop the orphans if `stop`. Returns the findings.

    `keep_reason` gets the reason of a stop if it cannot be written into the job's tags, `see` each finding
    after it was dealt with, also if this raises in the end.

    After all jobs were looked at, raises `SweepRefused` if orphans of an installation without its own name
    were to be stopped, and `ServiceFailed` if an orphan could not be stopped or a job could not be judged.
    """
    for outcome in (_STOPPED, _LEFT):
        metrics.ORPHANS.begin(outcome=outcome)
    has_own_name = installation != SHARED_NAME
    findings: list[Finding] = []
    left: list[str] = []
    found = survey(
        jobs,
        installation=installation,
        task_state_of=task_state_of,
        record_of=record_of,
        earlier=earlier,
    )
    for each in found:
        finding = each
        say(str(finding))
        if finding.verdict is Verdict.UNCERTAIN:
            say(f"  if nobody needs it, stop it with: {jobs.stop_command(finding.name)}")
        if finding.verdict is Verdict.ORPHAN:
            if stop and has_own_name:
                is_stopped = _try_to_stop(jobs, finding.name, say, keep_reason)
                finding = replace(finding, is_stopped=is_stopped)
            metrics.ORPHANS.add(outcome=_STOPPED if finding.is_stopped else _LEFT)
            if not finding.is_stopped:
                say(f"  stop it with: {jobs.stop_command(finding.name)}")
            left += [finding.name] if finding.is_stopped is False else []
        findings.append(finding)
        see(finding)
    orphans = sum(finding.verdict is Verdict.ORPHAN for finding in findings)
    say(f"{len(findings)} live training job(s) of installation {installation!r}, orphans: {orphans}.")
    if stop and not has_own_name:
        raise SweepRefused(
            f"[spot_training] installation is {installation!r}, the name that every Airflow had before each "
            "got its own: a job of a task that this Airflow does not know, or knows as over, may belong to "
            "another Airflow. Nothing was stopped. Remove the setting (each metadata database then has its "
            "own name), or set it to a name that only this Airflow has, and sweep again. Stop jobs made "
            "before that by hand, with the commands above."
        )
    _raise_what_is_left(left, [f.name for f in findings if f.verdict is Verdict.NOT_JUDGED])
    return findings


def _raise_what_is_left(left: list[str], not_judged: list[str]) -> None:
    troubles = []
    if left:
        are = "is" if len(left) == 1 else "are"
        troubles.append(
            f"{', '.join(left)} could NOT be stopped and {are} still billed. "
            "The next sweep tries again; the command that stops each by hand is above."
        )
    if not_judged:
        troubles.append(
            f"{', '.join(not_judged)} could not be judged and may be orphans; the reasons are above. All "
            "others were looked at. The next sweep tries again."
        )
    if troubles:
        raise ServiceFailed(" ".join(troubles))


def _try_to_stop(jobs: TrainingJobs, name: str, say: Callable[[str], None], keep_reason: KeepReason) -> bool:
    """Stop an orphan. If that fails, the others are still stopped."""
    try:
        stopped = jobs.stop(name, StopReason.SWEPT, keep_reason=partial(keep_reason, name))
    except SpotTrainingError as error:
        say(f"Training job {name} could NOT be stopped and is still billed: {error}")
        return False
    say(f"Stopped {name}." if stopped else f"{name} has ended already.")
    return True
