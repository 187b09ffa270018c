"""What a training job does in one stretch on its instances, as the engine sees it.

A stretch is one start on instances: prepare (Downloading), start (Training), then upload (Uploading),
interrupt or stop. The engine calls `Work`. The work reports to its `Site`, at once or later, from any thread.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from .job import TrainingJob

#: Environment of simulated jobs: seconds of work, how often they save, and how they fail at the end.
LOCAL_TRAINING_SECONDS = "LOCAL_TRAINING_SECONDS"
LOCAL_CHECKPOINT_SECONDS = "LOCAL_CHECKPOINT_SECONDS"
LOCAL_TRAINING_FAILURE = "LOCAL_TRAINING_FAILURE"


class Site(Protocol):
    """The engine's side of one stretch. Reports that come after the end of the stretch are ignored."""

    @property
    def started_at(self) -> datetime:
        """When the stretch began."""

    @property
    def speed(self) -> float: ...

    def now(self) -> datetime: ...

    def after(self, seconds: float, action: Callable[[], None]) -> None:
        """Do something after simulated seconds, unless the job has moved to another status by then."""

    def prepared(self, failure: str | None = None) -> None:
        """Inputs and checkpoints are there. With `failure`, the FailureReason, they are not."""

    def exited(self, failure: str | None = None) -> None:
        """The training program ended by itself. `failure` is the FailureReason if it failed."""

    def stopped(self) -> None:
        """After `interrupt` or `stop`: nothing runs any more, and the last checkpoints are in S3."""

    def uploaded(self, failure: str | None = None) -> None:
        """The model is in S3. With `failure`, it is not."""

    def checkpoint_uploaded(self) -> None:
        """One more checkpoint object reached S3."""

    def are_uploads_stalled(self) -> bool:
        """Whether no checkpoint reaches S3 now, from any thread."""


class Work(Protocol):
    """One stretch of a job. Every method returns at once."""

    @property
    def is_real(self) -> bool:
        """Whether it takes real time. A clock that can jump does not jump meanwhile."""

    def prepare(self) -> None: ...

    def start(self) -> None: ...

    def interrupt(self, grace_seconds: float) -> None:
        """EC2 takes the instances: SIGTERM, then SIGKILL after `grace_seconds` of simulated time."""

    def stop(self, grace_seconds: float) -> None:
        """Like `interrupt`, but the job's output is uploaded afterwards."""

    def upload(self) -> None: ...

    def abandon(self) -> None:
        """Kill everything, delete all files, and report nothing."""


def work_seconds(job: TrainingJob) -> float | None:
    """The work of a simulated job in seconds; None for a job that runs a program."""
    text = job.environment.get(LOCAL_TRAINING_SECONDS)
    return None if text is None else max(0.0, float(text))
