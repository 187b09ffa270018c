"""CloudWatch Logs of training jobs: group `/aws/sagemaker/TrainingJobs`, stream `<job>/<host>-<epoch>`.

A restart opens a new stream (a choice: AWS does not document it). Events have simulated time. They go
directly into moto's log group, because moto's API refuses events more than two hours ahead of the real clock.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Protocol

from local_sagemaker.account import ACCOUNT, REGION

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

GROUP = "/aws/sagemaker/TrainingJobs"
#: CloudWatch cuts events at 256 KB.
MAX_EVENT_CHARACTERS = 256 * 1024 - 26


class LogStream(Protocol):
    """Where one container's lines go."""

    def write(self, line: str) -> None: ...


class MotoLogs:
    """Opens log streams in moto's backend."""

    def __init__(self, now: Callable[[], datetime], region: str = REGION) -> None:
        self._now = now
        self._region = region
        self._lock = threading.Lock()

    def open(self, job_name: str, host: str, started_at: datetime) -> LogStream:
        name = f"{job_name}/{host}-{int(started_at.timestamp())}"
        with self._lock:
            group = self._group()
            if name not in group.streams:
                group.create_log_stream(name)
        return _MotoStream(self, name)

    def put(self, stream_name: str, line: str) -> None:
        event = {
            "timestamp": int(self._now().timestamp() * 1000),
            "message": line[:MAX_EVENT_CHARACTERS] or " ",
        }
        with self._lock:
            group = self._group()
            if stream_name in group.streams:
                group.put_log_events(stream_name, [event])

    def _group(self) -> Any:
        from moto.logs.models import logs_backends

        backend = logs_backends[ACCOUNT][self._region]
        if GROUP not in backend.groups:
            backend.create_log_group(GROUP, {})
        return backend.groups[GROUP]


def read_log(job_name: str) -> list[tuple[str, list[str]]]:
    """Every stream of a job of any region, the oldest first, with its lines."""
    from moto.logs.models import logs_backends

    backends = list(logs_backends[ACCOUNT].values())
    groups = [backend.groups[GROUP] for backend in backends if GROUP in backend.groups]
    return [
        (name, [event.message for event in list(stream.events)])
        for group in groups
        for name, stream in list(group.streams.items())
        if name.startswith(f"{job_name}/")
    ]


class _MotoStream:
    def __init__(self, logs: MotoLogs, name: str) -> None:
        self._logs = logs
        self._name = name

    def write(self, line: str) -> None:
        self._logs.put(self._name, line)
