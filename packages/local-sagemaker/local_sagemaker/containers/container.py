"""One host's container: a tree of processes, its log, its checkpoints and its use of the machine.

Each host of a job is a process tree in its own namespaces (`isolation`, `launcher`), so the paths in /opt/ml
are literal. Where the system does not allow that (or with LOCAL_SAGEMAKER_PRIVATE_MOUNTS=0),
SAGEMAKER_BASE_DIR says where /opt/ml is; AWS's toolkit honours it.

SIGTERM goes to the container's first process only, as `docker stop` does. What is left after the grace period
is killed.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from local_sagemaker.services.logs import MAX_EVENT_CHARACTERS
from local_sagemaker.services.metrics import AlgorithmMetrics
from local_sagemaker.services.objects import NoSuchBucketError

from .contract import checkpoint_folder, container_environment, volumes_of
from .isolation import LAUNCHER, launch_spec, paths_of
from .processes import files_being_written, processes_of
from .usage import InstanceMetrics

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from local_sagemaker.jobs.job import TrainingJob

    from .checkpoints import CheckpointSync
    from .context import ContainerContext
    from .contract import Host
    from .images import Program
    from .users import User

log = logging.getLogger(__name__)

_SYNC_EVERY_SECONDS = 0.3


class Container:
    """Starts when it is made. Used by one thread."""

    def __init__(
        self,
        job: TrainingJob,
        host: Host,
        program: Program,
        context: ContainerContext,
        *,
        user: User | None,
        host_names: list[str],
        sync: CheckpointSync | None,
        started_at: datetime,
        speed: float,
    ) -> None:
        self._job = job
        self._host = host
        self._context = context
        self._sync = sync
        self._being_written: frozenset[tuple[int, int]] = frozenset()
        self._exit_code: int | None = None
        self._synced_at = time.monotonic()
        spec_file = host.folder / "container.json"
        spec_file.write_text(json.dumps(self._launch_spec(program, user, host_names)), encoding="utf-8")
        context.observer.starting(job.name, host.name, host.base / checkpoint_folder(job) if sync else None)
        self._process = subprocess.Popen(
            [sys.executable, "-I", str(LAUNCHER), str(spec_file)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        self._reader = self._read_log(started_at)
        self._usage = InstanceMetrics(job, host.name, host.folder, speed=speed, now=context.now)

    def _launch_spec(self, program: Program, user: User | None, host_names: list[str]) -> dict[str, Any]:
        host, context = self._host, self._context
        hosts_file = host.folder / "hosts"
        hosts_file.write_text(f"127.0.0.1 localhost {' '.join(host_names)}\n{_own_hosts()}", encoding="utf-8")
        visible_base = context.visible_base(host)
        spec: dict[str, Any] = {"isolate": False}
        if context.can_isolate:
            spec = launch_spec(
                host.folder,
                root=context.root,
                volumes=volumes_of(self._job, host),
                needed=paths_of(program),
                user=user,
            )
        return spec | {
            "hostname": host.name,
            "hosts_file": str(hosts_file),
            "cwd": f"{visible_base}/code",
            "command": list(program.command),
            "env": container_environment(
                self._job,
                host,
                endpoint_url=context.endpoint_url,
                bin_folder=program.bin_folder,
                visible_base=visible_base,
            ),
        }

    def _read_log(self, started_at: datetime) -> threading.Thread:
        """Pass each line of the log to CloudWatch, the metrics and the observer."""
        stream = self._context.logs.open(self._job.name, self._host.name, started_at)
        metrics = AlgorithmMetrics(self._job, self._context.now)

        def write(line: str) -> None:
            stream.write(line)
            metrics.read(line)
            self._context.observer.wrote(self._job.name, self._host.name, line)

        reader = threading.Thread(
            target=_copy_lines, args=(self._process, write), name=f"log {self._host.name}", daemon=True
        )
        reader.start()
        return reader

    def poll(self) -> int | None:
        return self._process.poll()

    def terminate(self) -> None:
        self._process.send_signal(signal.SIGTERM)

    def attend(self) -> None:
        """Sync checkpoints and measure the use of the machine, if that is due."""
        if time.monotonic() - self._synced_at >= _SYNC_EVERY_SECONDS:
            self.sync_checkpoints()
        self._usage.measure(self._process.pid)

    def sync_checkpoints(self, *, is_final: bool = False) -> None:
        if self._sync is None:
            return
        try:
            self._sync.sync(
                being_written=lambda: (
                    self._being_written if is_final else files_being_written(processes_of(self._process.pid))
                ),
                is_final=is_final,
            )
        except NoSuchBucketError as exc:
            log.warning("%s: checkpoints are not synced: %s", self._job.name, exc)
        self._synced_at = time.monotonic()

    def kill(self) -> None:
        """Kill everything the container runs, and note which files it was writing."""
        processes = processes_of(self._process.pid)
        self._exit_code = self._process.poll()
        if self._exit_code is None:
            # Stop all processes first, so that the files open for writing are those that stay incomplete.
            for process in processes:
                _signal(process, signal.SIGSTOP)
            processes = processes_of(self._process.pid)
            self._being_written = files_being_written(processes)
        for process in processes:
            _signal(process, signal.SIGKILL)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def close(self) -> None:
        """Read the rest of the log, and call the observer. Call it after `kill`."""
        self._reader.join(timeout=5)
        self._context.observer.ended(self._job.name, self._host.name, self._exit_code)


def _copy_lines(process: subprocess.Popen[str], write: Callable[[str], None]) -> None:
    """A line may have no end: one that is too long for CloudWatch becomes several."""
    if process.stdout is None:
        return
    with process.stdout as lines:
        while line := lines.readline(MAX_EVENT_CHARACTERS):
            write(line.rstrip("\r\n"))


def _own_hosts() -> str:
    try:
        return Path("/etc/hosts").read_text(encoding="utf-8")
    except OSError:
        return ""


def _signal(process: psutil.Process, number: int) -> None:
    with contextlib.suppress(psutil.Error):
        process.send_signal(number)
