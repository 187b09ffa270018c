"""What a run does to its jobs while they run."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, TypeAlias

from local_sagemaker.process import ControlError

from .requests import checkpoint_key
from .target import refusal_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from .evidence import JobEvidence, Run

    Act: TypeAlias = Callable[[Run, JobEvidence], None]

#: Where a job stays in Training although no checkpoint of it reaches S3, it is stopped after this time.
_PATIENCE_SECONDS = 180
#: What EC2 grants before it takes a Spot instance.
_NOTICE_SECONDS = 120


def _stop_at_once(run: Run, job: JobEvidence) -> None:
    """While Starting, then once more; before that, try to delete it."""
    if job.notes:
        return
    client = run.target.sagemaker
    for note, call in {
        "delete": client.delete_training_job,
        "stop": client.stop_training_job,
        "second stop": client.stop_training_job,
    }.items():
        job.notes[note] = refusal_of(call, TrainingJobName=job.name)


def _stop_when_saved(run: Run, job: JobEvidence) -> None:
    if "stop" not in job.notes and _has_saved(run, job):
        job.notes["stopped_at"] = time.time()
        job.notes["stop"] = refusal_of(run.target.sagemaker.stop_training_job, TrainingJobName=job.name)
        # At once: on a fast clock and a busy machine, it is Stopped at the next look.
        if described := run.target.describe(job.name):
            job.note(time.time(), described, run.target.wire["DescribeTrainingJob"].body)


def _interrupt_when_saved(run: Run, job: JobEvidence) -> None:
    if "interrupted" not in job.notes and _has_saved(run, job) and run.target.control:
        notice = max(_NOTICE_SECONDS, round(2 * run.target.speed))  # so that it is seen on a fast clock
        with contextlib.suppress(ControlError):  # it has just ended
            run.target.control.interrupt(job.name, notice_seconds=notice)
            job.notes["interrupted"] = time.time()


def _add_object_while_it_runs(run: Run, job: JobEvidence) -> None:
    if "late" not in job.notes and job.status == "Training":
        job.notes["late"] = time.time()
        run.target.client("s3").put_object(
            Bucket=run.target.bucket, Key=f"{checkpoint_key(run, job.plan)}/late", Body=b"late"
        )


def _has_saved(run: Run, job: JobEvidence) -> bool:
    """Whether the script runs and its first checkpoint is in S3, or should have been there for long."""
    if job.status != "Training":
        return False
    since = job.notes.setdefault("training_since", time.time())
    prefix = f"{checkpoint_key(run, job.plan)}/started"
    found = run.target.client("s3").list_objects_v2(Bucket=run.target.bucket, Prefix=prefix)
    is_late = time.time() - since > run.target.real(_PATIENCE_SECONDS, least=20)
    return bool(found.get("KeyCount")) or is_late


#: Job -> what is called after it was created and at each look at it.
ACTS: dict[str, Act] = {
    "never-started": _stop_at_once,
    "stopped": _stop_when_saved,
    "interrupted": _interrupt_when_saved,
    "resume": _add_object_while_it_runs,
}
