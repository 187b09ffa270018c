"""One stretch of a job that runs a script for real, with SageMaker's container contract.

Real time passes while a script runs. `contract` is what the script finds, `container` runs it on one host.
"""

from __future__ import annotations

import logging
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from local_sagemaker.jobs.messages import INTERNAL_FAILURE
from local_sagemaker.services.objects import NoSuchBucketError, split_uri

from .archives import ArchiveError, check_source, merged, pack
from .checkpoints import CheckpointSync
from .container import Container
from .contract import (
    Host,
    channels_of,
    checkpoint_folder,
    hosts_of,
    input_mode,
    source_uri,
    write_config,
    written_folders,
)
from .images import Program, UnmappedImageError
from .inputs import InputError, copy_channel, volume_of
from .isolation import make_folders
from .users import JobUserError, User
from .written import make_readable, open_file, remove

if TYPE_CHECKING:
    from collections.abc import Callable

    from local_sagemaker.jobs.job import TrainingJob
    from local_sagemaker.jobs.work import Site

    from .context import ContainerContext

log = logging.getLogger(__name__)

_POLL_SECONDS = 0.05
#: However fast the clock runs, a script that handles SIGTERM gets a moment.
_LEAST_STOP_GRACE_SECONDS = 1.0
#: As a shell reports a process that SIGKILL ended.
_KILLED_EXIT_CODE = 137
#: More than the FailureReason takes of the failure file, whatever the characters.
_FAILURE_BYTES = 8 * 1024
#: What the toolkit installs if the archive of the script has it.
_INSTALLED = frozenset({"requirements.txt", "setup.py"})


class ScriptWork:
    """Has threads while there is something to do, and none while the job waits."""

    is_real = True

    def __init__(self, site: Site, job: TrainingJob, context: ContainerContext) -> None:
        self._site = site
        self._job = job
        self._context = context
        self._folder = Path(tempfile.mkdtemp(prefix=f"{job.name[:40]}-", dir=context.root)).resolve()
        self._hosts = hosts_of(job, self._folder)
        self._syncs: dict[str, CheckpointSync] = {}
        self._program: Program | None = None
        self._user: User | None = None
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
        """Run a task in a thread, and call the report that it returns, unless the job was ended meanwhile."""
        self._is_busy = True
        threading.Thread(
            target=self._perform, args=(task,), name=f"job {self._job.name}", daemon=True
        ).start()

    def _perform(self, task: Callable[[], Callable[[], None] | None]) -> None:
        try:
            report = task()
        except Exception:
            log.exception("%s: the container failed", self._job.name)
            report = lambda: self._fail(INTERNAL_FAILURE)  # noqa: E731
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
        # The engine knows which of the three it waits for, and ignores the others.
        self._site.prepared(reason)
        self._site.exited(reason)
        self._site.uploaded(reason)

    def _clean_up(self) -> None:
        remove(self._folder)

    # --- Downloading ---

    def _prepare(self) -> Callable[[], None]:
        try:
            self._program = self._context.images.program_for(self._job)
            installs = not _INSTALLED.isdisjoint(self._check_source())
            self._user = self._context.user_for(self._job.name, self._program, installs=installs)
            for host in self._hosts:
                self._prepare_host(host)
        except (UnmappedImageError, InputError, JobUserError) as exc:
            reason = str(exc)
        except NoSuchBucketError as exc:
            reason = f"ClientError: Checkpoint download failed: {exc}."
        else:
            return self._site.prepared
        return lambda: self._site.prepared(reason)

    def _check_source(self) -> frozenset[str]:
        """The names in the archive, before the toolkit unpacks it. If it does not exist, that fails there."""
        uri = source_uri(self._job)
        if uri is None:
            return frozenset()
        try:
            return check_source(self._context.objects.read(*split_uri(uri)) or b"")
        except NoSuchBucketError:
            return frozenset()
        except ArchiveError as exc:
            raise InputError(f"ClientError: The local SageMaker does not unpack {uri}: {exc}.") from exc

    def _prepare_host(self, host: Host) -> None:
        for name in ("input/config", "input/data", "model", "output/data", "code"):
            (host.base / name).mkdir(parents=True)
        make_folders(host.folder)
        write_config(self._job, host, self._hosts, visible_base=self._context.visible_base(host))
        self._copy_channels(host)
        if self._job.checkpoint_uri is not None:
            folder = host.base / checkpoint_folder(self._job)
            folder.mkdir(parents=True, exist_ok=True)
            sync = CheckpointSync(
                self._context.objects,
                uri=self._job.checkpoint_uri,
                folder=folder,
                uploaded=self._site.checkpoint_uploaded,
                is_marked=self._context.marks_uploads(self._job.name),
                is_stalled=self._site.are_uploads_stalled,
            )
            sync.restore(self._should_go_on)
            self._syncs[host.name] = sync
        if self._user is not None:
            self._user.own(host.folder)

    def _copy_channels(self, host: Host) -> None:
        volume = volume_of(self._job, host.instance_type)
        for channel in channels_of(self._job, host):
            sharers = [each for each in self._hosts if channel in channels_of(self._job, each)]
            copy_channel(
                self._context.objects,
                channel,
                host.base / "input" / "data" / channel["ChannelName"],
                mode=input_mode(self._job, channel),
                host_index=sharers.index(host),
                host_count=len(sharers),
                volume=volume,
                region=self._job.region,
                should_go_on=self._should_go_on,
            )

    def _should_go_on(self) -> bool:
        return not self._terminate.is_set()

    # --- Training ---

    def _run(self) -> Callable[[], None] | None:
        containers: list[Container] = []
        try:
            for host in self._hosts:
                containers.append(self._launch(host))  # noqa: PERF401  (every container launched must be killed, also after an error)
            code = self._wait_for(containers)
        finally:
            for container in containers:
                container.kill()
            for container in containers:
                container.close()
        if self._abandoned.is_set():
            return None
        make_readable(host.base / name for host in self._hosts for name in written_folders(self._job))
        for container in containers:
            container.sync_checkpoints(is_final=True)
        failure = None if code == 0 else self._describe_failure(code)
        return lambda: self._site.exited(failure)

    def _launch(self, host: Host) -> Container:
        assert self._program is not None  # noqa: S101
        return Container(
            self._job,
            host,
            self._program,
            self._context,
            user=self._user,
            host_names=[each.name for each in self._hosts],
            sync=self._syncs.get(host.name),
            started_at=self._site.started_at,
            speed=self._site.speed,
        )

    def _wait_for(self, containers: list[Container]) -> int:
        """Wait until all containers have ended or one failed. Returns the exit code of the job."""
        has_terminated = False
        while True:
            codes = [container.poll() for container in containers]
            if any(codes) or all(code == 0 for code in codes):
                return next((code for code in codes if code), 0)
            # First: an interruption without notice has no SIGTERM.
            if self._kill_at is not None and time.monotonic() >= self._kill_at:
                return _KILLED_EXIT_CODE
            if self._terminate.is_set() and not has_terminated:
                has_terminated = True
                for container in containers:
                    container.terminate()
            for container in containers:
                container.attend()
            self._terminate.wait(_POLL_SECONDS) if not has_terminated else time.sleep(_POLL_SECONDS)

    def _describe_failure(self, code: int) -> str:
        """`FailureReason`: the text of the failure file, cut at 1024 characters in all."""
        code = code if code >= 0 else 128 - code
        for host in self._hosts:
            try:
                with open_file(host.base, "output/failure") as file:
                    text = file.read(_FAILURE_BYTES).decode("utf-8", errors="replace")
            except OSError:
                continue
            return f"AlgorithmError: {text}, exit code: {code}"[:1024]
        return f"AlgorithmError: , exit code: {code}"

    # --- Uploading ---

    def _upload(self) -> Callable[[], None]:
        outputs = [host.base / "output" / "data" for host in self._hosts]
        try:
            self._upload_model(*(host.base / "model" for host in self._hosts))
            if merged(*outputs):
                self._put(f"{self._job.output_uri}/output.tar.gz", pack(*outputs))
        except (NoSuchBucketError, OSError) as exc:
            why = getattr(exc, "strerror", None) or exc
            reason = f"ClientError: Artifact upload failed: {why}."
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
