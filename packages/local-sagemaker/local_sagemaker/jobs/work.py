"""What a training job does in one stretch on its instances, as the engine sees it; and the kind that runs no
process.

A stretch is what lies between two interruptions: prepare (Downloading), start (Training), then upload
(Uploading), or interrupt, or stop. The engine calls `Work`; the work reports to its `Site`, at once or later,
from any thread.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from .job import TrainingJob

#: Simulated jobs: seconds of work, and optionally how they fail at the end of it.
LOCAL_TRAINING_SECONDS = "LOCAL_TRAINING_SECONDS"
LOCAL_TRAINING_FAILURE = "LOCAL_TRAINING_FAILURE"


class Site(Protocol):
    """The engine's side of one stretch. Reports that come too late (the stretch is over) are ignored."""

    @property
    def started_at(self) -> datetime:
        """When the stretch began."""

    @property
    def speed(self) -> float: ...

    def now(self) -> datetime: ...

    def after(self, seconds: float, action: Callable[[], None]) -> None:
        """Do something in simulated seconds, unless the job has moved to another status by then."""

    def prepared(self, failure: str | None = None) -> None:
        """Inputs and checkpoints are there, or they cannot be: `failure` is the FailureReason."""

    def exited(self, failure: str | None = None) -> None:
        """The training program ended by itself; `failure` is the FailureReason if it failed."""

    def stopped(self) -> None:
        """After `interrupt` or `stop`: nothing runs any more, and the last checkpoints are in S3."""

    def uploaded(self, failure: str | None = None) -> None:
        """The model is in S3, or it cannot be."""

    def checkpoint_uploaded(self) -> None:
        """One more checkpoint object reached S3."""


class Work(Protocol):
    """One stretch of a job. Every method returns at once."""

    @property
    def is_real(self) -> bool:
        """Whether it takes real time: a clock that can jump must not while it lasts."""

    def prepare(self) -> None: ...

    def start(self) -> None: ...

    def interrupt(self, grace_seconds: float) -> None:
        """The instances are going away: SIGTERM, `grace_seconds` of simulated time, SIGKILL."""

    def stop(self, grace_seconds: float) -> None:
        """Like `interrupt`, but what the job has is uploaded afterwards."""

    def upload(self) -> None: ...

    def abandon(self) -> None:
        """Kill and forget whatever there is, and leave nothing on disk; report nothing."""


def work_seconds(job: TrainingJob) -> float | None:
    """How long a simulated job works; None for a job that runs a program."""
    text = job.environment.get(LOCAL_TRAINING_SECONDS)
    return None if text is None else max(0.0, float(text))
