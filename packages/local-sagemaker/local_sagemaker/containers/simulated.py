"""`LOCAL_TRAINING_SECONDS`: a job that runs no process."""

from __future__ import annotations

import io
import json
import tarfile
from typing import TYPE_CHECKING

from local_sagemaker.jobs.work import LOCAL_CHECKPOINT_SECONDS, LOCAL_TRAINING_FAILURE, work_seconds
from local_sagemaker.services.objects import NoSuchBucketError, Objects, folder_prefix, split_uri

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from local_sagemaker.jobs.job import TrainingJob
    from local_sagemaker.jobs.work import Site

#: The object in the checkpoint prefix with the progress of a simulated job.
PROGRESS_FILE = "local-progress.json"
#: A simulated job saves once per simulated minute, or twenty times in its life if that is less often, unless
#: `LOCAL_CHECKPOINT_SECONDS` says how often.
_SAVE_EVERY_SECONDS = 60.0
_SAVES_PER_JOB = 20


class SimulatedWork:
    """`LOCAL_TRAINING_SECONDS=n`: n simulated seconds of work, without a process, thread or poll.

    With a CheckpointConfig, progress is an object in the checkpoint prefix. It is written at intervals, at an
    interruption and at the end, and read at every start, also by another job with the same prefix. Without a
    CheckpointConfig, each stretch starts over. While uploads are stalled, it is not written.
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
            self._warn(f"{exc}: a simulated job needs no model, so {self._job.name} continues without one")
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
            given = self._job.environment.get(LOCAL_CHECKPOINT_SECONDS)
            every = float(given) if given else max(_SAVE_EVERY_SECONDS, self._total / _SAVES_PER_JOB)
            self._site.after(every, self._save_and_go_on)

    def _save_and_go_on(self) -> None:
        self._count()
        has_saved = self._save()
        self._save_later()
        if has_saved:
            # Last, because the market may interrupt the job after this checkpoint.
            self._site.checkpoint_uploaded()

    def _save(self) -> bool:
        """Write the progress, unless uploads are stalled."""
        uri = self._job.checkpoint_uri
        if uri is None or self._since is None or self._site.are_uploads_stalled():
            return False
        bucket, prefix = folder_prefix(uri)
        try:
            self._objects.write(bucket, f"{prefix}{PROGRESS_FILE}", self._progress())
        except NoSuchBucketError as exc:
            self._warn(f"{exc}: {self._job.name} saves no progress and will start over after an interruption")
        return True

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


def _archive(name: str, content: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        member = tarfile.TarInfo(name)
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()
