"""What a training job does in one stretch on its instances, as the engine sees it; and the kind that runs no
process.

A stretch is what lies between two interruptions: prepare (Downloading), start (Training), then upload
(Uploading), or interrupt, or stop. The engine calls `Work`; the work reports to its `Site`, at once or later,
from any thread.
"""

from __future__ import annotations

import io
import json
import tarfile
from typing import TYPE_CHECKING, Protocol

from .objects import NoSuchBucketError, Objects, folder_prefix, split_uri

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from .store import TrainingJob

#: Simulated jobs: seconds of work, and optionally how they fail at the end of it.
LOCAL_TRAINING_SECONDS = "LOCAL_TRAINING_SECONDS"
LOCAL_TRAINING_FAILURE = "LOCAL_TRAINING_FAILURE"

#: The object in the checkpoint prefix that holds how far a simulated job got.
PROGRESS_FILE = "local-progress.json"
#: A simulated job saves once a simulated minute, or twenty times in its life if that is less often.
_SAVE_EVERY_SECONDS = 60.0
_SAVES_PER_JOB = 20


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


class SimulatedWork:
    """`LOCAL_TRAINING_SECONDS=n`: n simulated seconds of work, and no process, thread or poll.

    With a CheckpointConfig progress is an object in the checkpoint prefix: written as the job goes, at an
    interruption and at the end, read at every start, also by another job with the same prefix. Without one,
    each stretch starts over.
    """

    is_real = False

    def __init__(self, site: Site, job: TrainingJob, objects: Objects, warn: Callable[[str], None]) -> None:
        self._site = site
        self._job = job
        self._objects = objects
        self._warn = warn
        self._total = work_seconds(job) or 0.0
        self._done = 0.0
        self._since: datetime | None = None

    def prepare(self) -> None:
        self._done = min(self._total, self._read_progress())
        self._site.prepared()

    def start(self) -> None:
        self._since = self._site.now()
        self._save_later()
        self._site.after(self._total - self._done, self._finish)

    def interrupt(self, grace_seconds: float) -> None:  # noqa: ARG002  (nothing to wait for)
        self._halt()

    def stop(self, grace_seconds: float) -> None:  # noqa: ARG002
        self._halt()

    def upload(self) -> None:
        try:
            bucket, key = split_uri(self._job.model_uri)
            if self._job.is_uncompressed_output:
                self._objects.write(bucket, f"{key}{PROGRESS_FILE}", self._progress())
            else:
                self._objects.write(bucket, key, _archive(PROGRESS_FILE, self._progress()))
        except NoSuchBucketError as exc:
            self._warn(f"{exc}: a simulated job needs no model, so {self._job.name} goes on without one")
        self._site.uploaded()

    def abandon(self) -> None:
        self._since = None

    def _finish(self) -> None:
        self._count()
        self._save()
        self._site.exited(self._failure())

    def _halt(self) -> None:
        self._count()
        self._save()
        self._since = None
        self._site.stopped()

    def _failure(self) -> str | None:
        text = self._job.environment.get(LOCAL_TRAINING_FAILURE)
        return None if text is None else f"AlgorithmError: {text}"

    def _count(self) -> None:
        if self._since is not None:
            now = self._site.now()
            self._done = min(self._total, self._done + (now - self._since).total_seconds())
            self._since = now

    def _save_later(self) -> None:
        if self._job.checkpoint_uri is not None:
            self._site.after(max(_SAVE_EVERY_SECONDS, self._total / _SAVES_PER_JOB), self._save_and_go_on)

    def _save_and_go_on(self) -> None:
        self._count()
        self._save()
        self._save_later()
        # Last: this may be the checkpoint after which the market interrupts the job.
        self._site.checkpoint_uploaded()

    def _save(self) -> None:
        uri = self._job.checkpoint_uri
        if uri is None or self._since is None:
            return
        bucket, prefix = folder_prefix(uri)
        try:
            self._objects.write(bucket, f"{prefix}{PROGRESS_FILE}", self._progress())
        except NoSuchBucketError as exc:
            self._warn(f"{exc}: {self._job.name} saves no progress and will start over after an interruption")

    def _read_progress(self) -> float:
        if self._job.checkpoint_uri is None:
            return 0.0
        bucket, prefix = folder_prefix(self._job.checkpoint_uri)
        try:
            content = self._objects.read(bucket, f"{prefix}{PROGRESS_FILE}")
            return float(json.loads(content)["seconds_done"]) if content else 0.0
        except (NoSuchBucketError, ValueError, KeyError, TypeError):
            return 0.0

    def _progress(self) -> bytes:
        return json.dumps({"seconds_done": self._done, "of": self._total, "job": self._job.name}).encode()


def work_seconds(job: TrainingJob) -> float | None:
    """How long a simulated job works; None for a job that runs a program."""
    text = job.environment.get(LOCAL_TRAINING_SECONDS)
    return None if text is None else max(0.0, float(text))


def _archive(name: str, content: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        member = tarfile.TarInfo(name)
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()
