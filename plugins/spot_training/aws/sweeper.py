"""Finds training jobs that no task will look at again, and stops them.

A job is an orphan when it is alive, carries this installation's tags, and its task is over or gone. Whatever
is not certain is reported and left alone: a job of another installation, one whose tags were changed, one
that was meant to outlive its task.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from spot_training.domain.errors import ServiceFailed, SpotTrainingError

from .identity import (
    TAG_INSTALLATION,
    TAG_KEY,
    TAG_WITHOUT_TASK,
    RunIdentity,
    identity_of,
    may_be_ours,
)
from .jobs import TrainingJobs, snapshot_of

if TYPE_CHECKING:
    from spot_training.domain.lifecycle import JobSnapshot

#: States of a task instance that has ended. In any other state (None: cleared, not yet scheduled) the task
#: will run again, and adopt its job.
OVER_STATES = frozenset({"success", "failed", "skipped", "upstream_failed", "removed"})
#: What `TaskStateOf` answers when there is no such task instance (any more).
NO_SUCH_TASK = "no such task"

TaskStateOf = Callable[[RunIdentity], str | None]


class Verdict(StrEnum):
    IN_USE = "in use"
    ORPHAN = "orphan"
    KEPT = "meant to outlive its task"
    UNCERTAIN = "uncertain"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A live job with our tags, and what is to be thought of it."""

    job: JobSnapshot
    verdict: Verdict
    reason: str
    identity: RunIdentity | None = None

    def __str__(self) -> str:
        return f"{self.job.name} ({self.job.secondary_status}): {self.verdict}, {self.reason}"


def survey(jobs: TrainingJobs, *, installation: str, task_state_of: TaskStateOf) -> Iterator[Finding]:
    """Judge every live training job that this installation made."""
    for name in jobs.live():
        if not may_be_ours(name):
            continue
        description = jobs.describe(name)
        if description is None:
            continue
        job = snapshot_of(description)
        tags = jobs.tags(job.arn)
        if job.is_terminal or TAG_KEY not in tags or tags.get(TAG_INSTALLATION) != installation:
            continue
        yield _judge(job, tags, task_state_of)


def _judge(job: JobSnapshot, tags: dict[str, str], task_state_of: TaskStateOf) -> Finding:
    identity = identity_of(tags)
    if identity is None:
        reason = "its tags do not hold its task's names unchanged"
        return Finding(job=job, verdict=Verdict.UNCERTAIN, reason=reason)
    state = task_state_of(identity)
    task = f"task {identity.task_id} of {identity.dag_id} / {identity.run_id}"
    if state != NO_SUCH_TASK and state not in OVER_STATES:
        verdict, reason = Verdict.IN_USE, f"{task} is {state or 'waiting to be scheduled'}"
    elif tags.get(TAG_WITHOUT_TASK) == "keep":
        verdict, reason = Verdict.KEPT, f"{task}: {state}"
    else:
        verdict, reason = Verdict.ORPHAN, f"{task}: {state}"
    return Finding(job=job, verdict=verdict, reason=reason, identity=identity)


def sweep(
    jobs: TrainingJobs,
    *,
    installation: str,
    task_state_of: TaskStateOf,
    stop: bool,
    say: Callable[[str], None],
) -> list[Finding]:
    """Report every finding, and stop the orphans if `stop`. Returns the findings.

    Raises `ServiceFailed` once all was tried if an orphan could not be stopped.
    """
    findings = list(survey(jobs, installation=installation, task_state_of=task_state_of))
    left: list[str] = []
    for finding in findings:
        say(str(finding))
        if finding.verdict is Verdict.ORPHAN and not (stop and _try_to_stop(jobs, finding.job.name, say)):
            say(f"  stop it with: {jobs.stop_command(finding.job.name)}")
            left += [finding.job.name] if stop else []
    orphans = sum(finding.verdict is Verdict.ORPHAN for finding in findings)
    say(f"{len(findings)} live training job(s) of installation {installation!r}, orphans: {orphans}.")
    if left:
        raise ServiceFailed(
            f"{', '.join(left)} could NOT be stopped and {'is' if len(left) == 1 else 'are'} still billed. "
            "The next sweep tries again; the command that stops each by hand is above."
        )
    return findings


def _try_to_stop(jobs: TrainingJobs, name: str, say: Callable[[str], None]) -> bool:
    """One orphan that cannot be stopped must not keep the others alive."""
    try:
        stopped = jobs.stop(name)
    except SpotTrainingError as error:
        say(f"Training job {name} could NOT be stopped and is still billed: {error}")
        return False
    say(f"Stopped {name}." if stopped else f"{name} is over by now.")
    return True
