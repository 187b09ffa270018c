"""Runs a training job's script for real, with SageMaker's container contract; real time passes while it runs.

    /opt/ml/input/config    hyperparameters.json, resourceconfig.json, inputdataconfig.json, and, only with a
                            CheckpointConfig, checkpointconfig.json
    /opt/ml/input/data      a folder for each channel
    /opt/ml/checkpoints     or CheckpointConfig.LocalPath
    /opt/ml/model, /opt/ml/output/data, /opt/ml/output/failure, /opt/ml/code

Each host of the job is a process tree in namespaces of its own (`launcher`), so these paths are literal.
Where the system does not allow that (or LOCAL_SAGEMAKER_PRIVATE_MOUNTS=0), SAGEMAKER_BASE_DIR says where
/opt/ml is; AWS's toolkit honours it. SM_CHECKPOINT_DIR is an extra of this server, not of AWS: the checkpoint
folder, in either case.

SIGTERM goes to the container's first process only, as `docker stop` does; what is left after the grace is
killed. The processes' environment is made here: nothing of the server's own leaks into it but PATH.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from local_sagemaker.account import REGION
from local_sagemaker.services.metrics import AlgorithmMetrics
from local_sagemaker.services.objects import NoSuchBucketError, Objects, split_uri

from .checkpoints import CheckpointSync
from .images import Images, Program, UnmappedImageError
from .inputs import InputError, copy_channel
from .observer import ContainerObserver, NoObserver
from .processes import files_being_written, processes_of
from .usage import InstanceMetrics

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from local_sagemaker.jobs.job import TrainingJob
    from local_sagemaker.jobs.work import Site
    from local_sagemaker.services.logs import MotoLogs

log = logging.getLogger(__name__)

DEFAULT_CHECKPOINT_PATH = "/opt/ml/checkpoints"
_LAUNCHER = Path(__file__).with_name("launcher.py")
_SYNC_EVERY_SECONDS = 0.3
_POLL_SECONDS = 0.05
#: However fast the clock runs, a script that handles SIGTERM gets a moment.
_LEAST_STOP_GRACE_SECONDS = 1.0


@dataclass(frozen=True, kw_only=True)
class ContainerContext:
    """What all containers share."""

    objects: Objects
    logs: MotoLogs
    images: Images
    now: Callable[[], datetime]
    endpoint_url: str
    root: Path
    isolate: bool | None = None
    observer: ContainerObserver = field(default_factory=NoObserver)

    @cached_property
    def can_isolate(self) -> bool:
        """Whether the system grants private mounts; tried once."""
        return can_isolate(self.root) if self.isolate is None else self.isolate


def can_isolate(root: Path) -> bool:
    """Try to start an empty container."""
    folder = Path(tempfile.mkdtemp(prefix="probe-", dir=root))
    try:
        (folder / "base").mkdir()
        (folder / "opt").mkdir()
        spec = {
            "isolate": True,
            "base": str(folder / "base"),
            "stand_in": str(folder / "opt"),
            "hostname": "algo-1",
            "cwd": "/opt/ml",
            "command": [sys.executable, "-I", "-c", ""],
            "env": {},
        }
        (folder / "spec.json").write_text(json.dumps(spec), encoding="utf-8")
        command = [sys.executable, "-I", str(_LAUNCHER), str(folder / "spec.json")]
        return subprocess.run(command, capture_output=True, timeout=20, check=False).returncode == 0
    except (OSError, subprocess.SubprocessError):
        return False
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True, kw_only=True)
class Host:
    """One instance of the job."""

    name: str
    index: int
    instance_type: str
    group: str
    folder: Path

    @property
    def base(self) -> Path:
        """What the script sees as /opt/ml."""
        return self.folder / "ml"


@dataclass(kw_only=True)
class _Container:
    """One host's running processes."""

    host: Host
    process: subprocess.Popen[str]
    reader: threading.Thread
    sync: CheckpointSync | None
    usage: InstanceMetrics
    being_written: frozenset[tuple[int, int]] = frozenset()
    exit_code: int | None = None
    looked_at: float = field(default_factory=time.monotonic)


class ScriptWork:
    """One stretch of a script job: threads while there is something to do, none while the job waits."""

    is_real = True

    def __init__(self, site: Site, job: TrainingJob, context: ContainerContext) -> None:
        self._site = site
        self._job = job
        self._context = context
        self._folder = Path(tempfile.mkdtemp(prefix=f"{job.name[:40]}-", dir=context.root))
        self._hosts = hosts_of(job, self._folder)
        self._syncs: dict[str, CheckpointSync] = {}
        self._program: Program | None = None
        self._lock = threading.Lock()
        self._kill_at: float | None = None
        self._terminate = threading.Event()
        self._abandoned = threading.Event()
        self._is_busy = False
        self._is_ours_to_report = True

    # --- the stretch ---

    def prepare(self) -> None:
        self._in_background(self._prepare)

    def start(self) -> None:
        self._in_background(self._run)

    def interrupt(self, grace_seconds: float) -> None:
        self._end_within(grace_seconds / self._site.speed)

    def stop(self, grace_seconds: float) -> None:
        self._end_within(max(_LEAST_STOP_GRACE_SECONDS, grace_seconds / self._site.speed))

    def upload(self) -> None:
        self._in_background(self._upload)

    def abandon(self) -> None:
        with self._lock:
            self._abandoned.set()
            self._kill_at = time.monotonic()
            self._terminate.set()
            is_busy = self._is_busy
        if not is_busy:
            self._clean_up()

    def _end_within(self, seconds: float) -> None:
        with self._lock:
            self._is_ours_to_report = False
            self._kill_at = time.monotonic() + seconds
            self._terminate.set()
            is_busy = self._is_busy
        if not is_busy:
            self._site.stopped()

    def _in_background(self, task: Callable[[], Callable[[], None] | None]) -> None:
        """Run a task in a thread and report what it returns, unless the job was ended meanwhile."""
        self._is_busy = True
        threading.Thread(
            target=self._perform, args=(task,), name=f"job {self._job.name}", daemon=True
        ).start()

    def _perform(self, task: Callable[[], Callable[[], None] | None]) -> None:
        try:
            report = task()
        except Exception:
            log.exception("%s: the container failed", self._job.name)
            reason = "InternalServerError: We encountered an internal error. Please try again."
            report = lambda: self._fail(reason)  # noqa: E731
        with self._lock:
            self._is_busy = False
            if not self._is_ours_to_report:
                self._is_ours_to_report = True
                report = self._site.stopped
        if self._abandoned.is_set():
            self._clean_up()
        elif report:
            report()

    def _fail(self, reason: str) -> None:
        # Which of the three is waited for, the engine knows; the other reports are ignored.
        self._site.prepared(reason)
        self._site.exited(reason)
        self._site.uploaded(reason)

    def _clean_up(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)

    # --- Downloading ---

    def _prepare(self) -> Callable[[], None]:
        try:
            self._program = self._context.images.program_for(self._job)
            for host in self._hosts:
                self._furnish(host)
        except (UnmappedImageError, InputError) as exc:
            reason = str(exc)
        except NoSuchBucketError as exc:
            reason = f"ClientError: Checkpoint download failed: {exc}."
        else:
            return self._site.prepared
        return lambda: self._site.prepared(reason)

    def _furnish(self, host: Host) -> None:
        for name in ("input/config", "input/data", "model", "output/data", "code"):
            (host.base / name).mkdir(parents=True)
        for name in ("tmp", "opt", "home"):
            (host.folder / name).mkdir()
        write_config(self._job, host, self._hosts, visible_base=self._visible_base(host))
        for channel in channels_of(self._job, host):
            sharers = [each for each in self._hosts if channel in channels_of(self._job, each)]
            copy_channel(
                self._context.objects,
                channel,
                host.base / "input" / "data" / channel["ChannelName"],
                mode=input_mode(self._job, channel),
                host_index=sharers.index(host),
                host_count=len(sharers),
                should_go_on=lambda: not self._terminate.is_set(),
            )
        if self._job.checkpoint_uri is not None:
            folder = host.base / checkpoint_folder(self._job)
            folder.mkdir(parents=True, exist_ok=True)
            sync = CheckpointSync(
                self._context.objects,
                uri=self._job.checkpoint_uri,
                folder=folder,
                uploaded=self._site.checkpoint_uploaded,
            )
            sync.restore(lambda: not self._terminate.is_set())
            self._syncs[host.name] = sync

    def _visible_base(self, host: Host) -> str:
        """/opt/ml as the script can name it."""
        return "/opt/ml" if self._context.can_isolate else str(host.base)

    # --- Training ---

    def _run(self) -> Callable[[], None] | None:
        containers: list[_Container] = []
        try:
            for host in self._hosts:
                containers.append(self._launch(host))  # noqa: PERF401  (what is launched must be killed, whatever happens)
            code = self._attend(containers)
        finally:
            for container in containers:
                self._kill(container)
            for container in containers:
                container.reader.join(timeout=5)
                self._context.observer.ended(self._job.name, container.host.name, container.exit_code)
        if self._abandoned.is_set():
            return None
        for container in containers:
            if container.sync:
                self._sync(container, is_final=True)
        failure = None if code == 0 else self._failure(code)
        return lambda: self._site.exited(failure)

    def _launch(self, host: Host) -> _Container:
        assert self._program is not None  # noqa: S101
        spec_file = host.folder / "container.json"
        spec_file.write_text(json.dumps(self._launch_spec(host, self._program)), encoding="utf-8")
        sync = self._syncs.get(host.name)
        self._context.observer.starting(
            self._job.name, host.name, host.base / checkpoint_folder(self._job) if sync else None
        )
        process = subprocess.Popen(
            [sys.executable, "-I", str(_LAUNCHER), str(spec_file)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        stream = self._context.logs.open(self._job.name, host.name, self._site.started_at)

        metrics = AlgorithmMetrics(self._job, self._context.now)

        def write(line: str) -> None:
            stream.write(line)
            metrics.read(line)
            self._context.observer.wrote(self._job.name, host.name, line)

        reader = threading.Thread(
            target=_copy_lines, args=(process, write), name=f"log {host.name}", daemon=True
        )
        reader.start()
        usage = InstanceMetrics(
            self._job, host.name, host.folder, speed=self._site.speed, now=self._context.now
        )
        return _Container(host=host, process=process, reader=reader, sync=sync, usage=usage)

    def _launch_spec(self, host: Host, program: Program) -> dict[str, Any]:
        is_isolated = self._context.can_isolate
        hosts_file = host.folder / "hosts"
        names = " ".join(h.name for h in self._hosts)
        hosts_file.write_text(f"127.0.0.1 localhost {names}\n{_own_hosts()}", encoding="utf-8")
        return {
            "isolate": is_isolated,
            "base": str(host.base),
            "stand_in": str(host.folder / "opt"),
            "hostname": host.name,
            "hosts_file": str(hosts_file),
            "cwd": f"{self._visible_base(host)}/code",
            "command": list(program.command),
            "env": container_environment(
                self._job,
                host,
                endpoint_url=self._context.endpoint_url,
                bin_folder=program.bin_folder,
                visible_base=self._visible_base(host),
            ),
        }

    def _attend(self, containers: list[_Container]) -> int:
        """Watch over the containers until all are gone or one failed; returns the exit code of the job."""
        has_terminated = False
        while True:
            codes = [container.process.poll() for container in containers]
            if any(codes) or all(code == 0 for code in codes):
                return next((code for code in codes if code), 0)
            # First: an interruption without notice is one without SIGTERM.
            if self._kill_at is not None and time.monotonic() >= self._kill_at:
                return 137
            if self._terminate.is_set() and not has_terminated:
                has_terminated = True
                for container in containers:
                    container.process.send_signal(signal.SIGTERM)
            for container in containers:
                if container.sync and time.monotonic() - container.looked_at >= _SYNC_EVERY_SECONDS:
                    self._sync(container)
                container.usage.look(container.process.pid)
            self._terminate.wait(_POLL_SECONDS) if not has_terminated else time.sleep(_POLL_SECONDS)

    def _sync(self, container: _Container, *, is_final: bool = False) -> None:
        assert container.sync is not None  # noqa: S101
        try:
            container.sync.sync(
                being_written=lambda: (
                    container.being_written
                    if is_final
                    else files_being_written(processes_of(container.process.pid))
                ),
                is_final=is_final,
            )
        except NoSuchBucketError as exc:
            log.warning("%s: checkpoints are not synced: %s", self._job.name, exc)
        container.looked_at = time.monotonic()

    def _kill(self, container: _Container) -> None:
        """Kill everything the container runs, and note which files it was writing."""
        processes = processes_of(container.process.pid)
        container.exit_code = container.process.poll()
        if container.exit_code is None:
            # Stand still first, so that the files open for writing are those that are torn.
            for process in processes:
                _signal(process, signal.SIGSTOP)
            processes = processes_of(container.process.pid)
            container.being_written = files_being_written(processes)
        for process in processes:
            _signal(process, signal.SIGKILL)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(container.process.pid, signal.SIGKILL)
        container.process.wait()

    def _failure(self, code: int) -> str:
        """`FailureReason`: the failure file's text, cut at 1024 characters in all."""
        code = code if code >= 0 else 128 - code
        for host in self._hosts:
            try:
                text = (host.base / "output" / "failure").read_text(encoding="utf-8", errors="replace")
            except OSError:
                continue
            return f"AlgorithmError: {text}, exit code: {code}"[:1024]
        return f"AlgorithmError: , exit code: {code}"

    # --- Uploading ---

    def _upload(self) -> Callable[[], None]:
        try:
            self._upload_model(*(host.base / "model" for host in self._hosts))
            outputs = [host.base / "output" / "data" for host in self._hosts]
            if any(any(output.iterdir()) for output in outputs):
                self._put(f"{self._job.output_uri}/output.tar.gz", pack(*outputs))
        except NoSuchBucketError as exc:
            reason = f"ClientError: Artifact upload failed: {exc}."
            return lambda: self._site.uploaded(reason)
        return self._site.uploaded

    def _upload_model(self, *folders: Path) -> None:
        if not self._job.is_uncompressed_output:
            self._put(self._job.model_uri, pack(*folders))
            return
        for name, path in merged(*folders).items():
            if path.is_file() and not path.is_symlink():
                self._put(f"{self._job.model_uri}{name}", path.read_bytes())

    def _put(self, uri: str, content: bytes) -> None:
        self._context.objects.write(*split_uri(uri), content)


# --- the parts of the contract, as plain functions ---


def hosts_of(job: TrainingJob, folder: Path) -> tuple[Host, ...]:
    """`algo-1` to `algo-n`, over all instance groups."""
    groups = job.resources.get("InstanceGroups") or [
        {
            "InstanceGroupName": "homogeneousCluster",
            "InstanceType": job.instance_type,
            "InstanceCount": job.instance_count,
        }
    ]
    slots = [group for group in groups for _ in range(int(group["InstanceCount"]))]
    return tuple(
        Host(
            name=f"algo-{index + 1}",
            index=index,
            instance_type=group["InstanceType"],
            group=group["InstanceGroupName"],
            folder=folder / f"algo-{index + 1}",
        )
        for index, group in enumerate(slots)
    )


def checkpoint_folder(job: TrainingJob) -> str:
    """The checkpoint folder below /opt/ml; raises `InputError` for a path elsewhere or in use."""
    local_path = (job.request.get("CheckpointConfig") or {}).get("LocalPath") or DEFAULT_CHECKPOINT_PATH
    relative = os.path.relpath(local_path, "/opt/ml")
    if relative.split("/")[0] in ("..", ".", "input", "output", "model", "code"):
        raise InputError(
            f"ClientError: CheckpointConfig.LocalPath is {local_path}: the local SageMaker syncs folders of "
            "their own below /opt/ml, such as /opt/ml/checkpoints."
        )
    return relative


def write_config(
    job: TrainingJob, host: Host, hosts: tuple[Host, ...], *, visible_base: str = "/opt/ml"
) -> None:
    """The JSON files of /opt/ml/input/config."""
    groups: dict[str, list[Host]] = {}
    for each in hosts:
        groups.setdefault(each.group, []).append(each)
    files: dict[str, object] = {
        "hyperparameters": dict(job.hyperparameters),
        "resourceconfig": {
            "current_host": host.name,
            "current_instance_type": host.instance_type,
            "current_group_name": host.group,
            "hosts": sorted(h.name for h in hosts),
            "instance_groups": [
                {
                    "instance_group_name": name,
                    "instance_type": members[0].instance_type,
                    "hosts": [h.name for h in members],
                }
                for name, members in groups.items()
            ],
            "network_interface_name": "eth0",
        },
        "inputdataconfig": {
            channel["ChannelName"]: channel_config(job, channel) for channel in channels_of(job, host)
        },
    }
    if job.checkpoint_uri is not None:
        files["checkpointconfig"] = {"LocalPath": f"{visible_base}/{checkpoint_folder(job)}"}
    for name, content in files.items():
        (host.base / "input" / "config" / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")


def channels_of(job: TrainingJob, host: Host) -> list[dict[str, Any]]:
    """The channels an instance gets: all, but those that are for other instance groups."""
    channels = job.request.get("InputDataConfig") or ()
    return [channel for channel in channels if host.group in (_groups_of(channel) or {host.group})]


def _groups_of(channel: dict[str, Any]) -> set[str]:
    return set((channel["DataSource"].get("S3DataSource") or {}).get("InstanceGroupNames") or ())


def input_mode(job: TrainingJob, channel: dict[str, Any]) -> str:
    """A channel's own mode, or that of the algorithm."""
    return str(channel.get("InputMode") or job.request["AlgorithmSpecification"]["TrainingInputMode"])


def channel_config(job: TrainingJob, channel: dict[str, Any]) -> dict[str, str]:
    source = channel["DataSource"].get("S3DataSource") or {}
    config = {
        "TrainingInputMode": input_mode(job, channel),
        "S3DistributionType": source.get("S3DataDistributionType") or "FullyReplicated",
        "RecordWrapperType": channel.get("RecordWrapperType") or "None",
    }
    if channel.get("ContentType"):
        config["ContentType"] = channel["ContentType"]
    return config


def container_environment(
    job: TrainingJob, host: Host, *, endpoint_url: str, bin_folder: str | None, visible_base: str
) -> dict[str, str]:
    """The whole environment of a container's first process."""
    path = os.environ.get("PATH", os.defpath)
    environment = {
        "PATH": f"{bin_folder}{os.pathsep}{path}" if bin_folder else path,
        "HOME": str(host.folder / "home"),
        "TMPDIR": str(host.folder / "tmp"),
        "LANG": "C.UTF-8",
        "PYTHONUNBUFFERED": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "TRAINING_JOB_NAME": job.name,
        "TRAINING_JOB_ARN": job.arn,
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ENDPOINT_URL": endpoint_url,
        "AWS_ACCESS_KEY_ID": "local",
        "AWS_SECRET_ACCESS_KEY": "local",
    }
    if job.checkpoint_uri is not None:
        environment["SM_CHECKPOINT_DIR"] = f"{visible_base}/{checkpoint_folder(job)}"
    if visible_base != "/opt/ml":
        environment["SAGEMAKER_BASE_DIR"] = visible_base
        # The toolkit would otherwise wait for a host named algo-1, which nobody outside a container knows.
        environment["SM_STUDIO_LOCAL_MODE"] = "true"
    return environment | dict(job.environment)


def pack(*folders: Path) -> bytes:
    """The content of folders as one tar.gz, the names relative to them."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=6) as archive:
        for name, path in merged(*folders).items():
            archive.add(path, arcname=name, recursive=False)
    return buffer.getvalue()


def merged(*folders: Path) -> dict[str, Path]:
    """Everything in the folders by its name; of two of one name the one in the first folder counts."""
    found = {p.relative_to(root).as_posix(): p for root in reversed(folders) for p in root.rglob("*")}
    return dict(sorted(found.items()))


def _copy_lines(process: subprocess.Popen[str], write: Callable[[str], None]) -> None:
    if process.stdout is None:
        return
    with process.stdout as lines:
        for line in lines:
            write(line.rstrip("\r\n"))


def _own_hosts() -> str:
    try:
        return Path("/etc/hosts").read_text(encoding="utf-8")
    except OSError:
        return ""


def _signal(process: psutil.Process, number: int) -> None:
    with contextlib.suppress(psutil.Error):
        process.send_signal(number)
