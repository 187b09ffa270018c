"""What was seen of the jobs of a run. The checks read it."""

from __future__ import annotations

import copy
import io
import json
import tarfile
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datetime import datetime

    from .jobs import JobPlan
    from .target import Target

TERMINAL = frozenset({"Completed", "Failed", "Stopped"})


@dataclass(frozen=True, slots=True)
class Seen:
    """An answer of DescribeTrainingJob that differs from the one before. `raw` is its body on the wire."""

    at: float
    described: dict[str, Any]
    raw: Any


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object of S3 when the job was over."""

    modified_at: datetime
    content: bytes

    @property
    def saved_at(self) -> float | None:
        """When the script wrote it, by the machine's clock; None for what the script did not write."""
        try:
            return float(json.loads(self.content)["at"])
        except (ValueError, KeyError, TypeError):
            return None


@dataclass(slots=True, kw_only=True)
class JobEvidence:
    """A job, from its request to its end."""

    plan: JobPlan
    name: str
    request: dict[str, Any]
    #: Why there is nothing to see: the job could not be created, or was not over in time.
    missing: str | None = None
    created_at: float = 0.0
    seen: list[Seen] = field(default_factory=list)
    #: What the run did to the job and how the service answered, by name.
    notes: dict[str, Any] = field(default_factory=dict)
    log: dict[str, list[str]] = field(default_factory=dict)
    #: The files in the checkpoint prefix, by their names in the folder.
    checkpoints: dict[str, StoredObject] = field(default_factory=dict)
    #: The keys below the job's output path.
    output: list[str] = field(default_factory=list)
    model: dict[str, bytes] = field(default_factory=dict)

    def note(self, at: float, described: dict[str, Any], raw: Any) -> None:
        if not self.seen or _look(described) != _look(self.seen[-1].described):
            self.seen.append(Seen(at, copy.deepcopy(described), raw))

    @property
    def described(self) -> dict[str, Any]:
        return self.seen[-1].described if self.seen else {}

    @property
    def is_over(self) -> bool:
        return self.described.get("TrainingJobStatus") in TERMINAL

    @property
    def status(self) -> str:
        return str(self.described.get("SecondaryStatus", ""))

    @property
    def transitions(self) -> list[dict[str, Any]]:
        return list(self.described.get("SecondaryStatusTransitions", ()))

    @property
    def statuses(self) -> list[str]:
        return [transition["Status"] for transition in self.transitions]

    @property
    def was_interrupted(self) -> bool:
        return "Interrupted" in self.statuses

    @property
    def has_started(self) -> bool:
        return "TrainingStartTime" in self.described

    def transition(self, status: str) -> dict[str, Any]:
        """The first visit to a status; empty if there was none."""
        return next((each for each in self.transitions if each["Status"] == status), {})

    def messages(self, status: str) -> list[str]:
        """Every message that was seen while the job was in a status, each once."""
        found = [
            transition.get("StatusMessage", "")
            for seen in self.seen
            for transition in seen.described.get("SecondaryStatusTransitions", ())
            if transition["Status"] == status
        ]
        return list(dict.fromkeys(found))

    @property
    def report(self) -> dict[str, Any] | None:
        """What the script reported; None if no report is in the model."""
        text = self.model.get("report.json")
        return None if text is None else json.loads(text)

    @property
    def beats(self) -> list[tuple[str, float]]:
        """`beat` and `SIGTERM`, with the time, of a script that holds. The last line may be cut off."""
        lines = self.model.get("beats.txt", b"").decode().splitlines(keepends=True)
        pairs = [line.split() for line in lines if line.endswith("\n")]
        return [(what, float(at)) for what, at in pairs]

    @property
    def end(self) -> str:
        """How the job ended, in words."""
        return ": ".join(filter(None, (self.status, self.described.get("FailureReason"))))

    @property
    def lines(self) -> list[str]:
        return [line for stream in self.log.values() for line in stream]


def _look(described: dict[str, Any]) -> dict[str, Any]:
    """What makes an answer another one: not the seconds that count while a job runs."""
    is_over = described.get("TrainingJobStatus") in TERMINAL
    counts = () if is_over else ("TrainingTimeInSeconds",)
    ignored = {"ResponseMetadata", "LastModifiedTime", *counts}
    look = {key: value for key, value in described.items() if key not in ignored}
    return look | {key: key in described for key in counts}


@dataclass(slots=True, kw_only=True)
class Run:
    """One run: the service, the jobs that it made, and the events that it got."""

    id: str
    target: Target
    jobs: dict[str, JobEvidence] = field(default_factory=dict)
    events: list[dict[str, Any]] = field(default_factory=list)
    #: Why there are no events.
    no_events: str | None = None

    @property
    def s3_uri(self) -> str:
        return f"s3://{self.target.bucket}/{self.id}"

    def created(self) -> list[JobEvidence]:
        return [job for job in self.jobs.values() if job.missing is None]


def unpack(archive: bytes) -> dict[str, bytes]:
    """The files of a model.tar.gz."""
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        return {
            member.name.removeprefix("./"): file.read()
            for member in opened.getmembers()
            if member.isfile() and (file := opened.extractfile(member)) is not None
        }


def pack(files: dict[str, bytes]) -> bytes:
    """A script's archive, as `sagemaker_submit_directory` wants it."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), 0o644
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()
