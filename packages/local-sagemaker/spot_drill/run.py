"""Runs a plan: training jobs on a local SageMaker of its own, in this process, called through boto3.

Closing the lab kills every process and removes every file, also after an error.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import json
import shlex
import shutil
import subprocess
import tarfile
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from local_sagemaker import (
    ImageRule,
    Images,
    LocalSageMaker,
    MarketSpec,
    SimulatedClock,
    TypeRule,
    make_client,
)

from .evidence import SHOWS_NOTHING, Enough, find_enough, weigh
from .observe import Run, RunKind, Stretch, find_checkpoint_kinds, tell_story
from .watch import Watch, watch_folder

if TYPE_CHECKING:
    from .plan import Moment, Plan

#: Simulated seconds per real second. Waits are zero here, so it shows in the limits of the jobs only.
SPEED = 60
_BUCKET = "spot-drill"
_DAY_SECONDS = 86400
_TERMINAL = ("Completed", "Failed", "Stopped")
_KEPT_LINES = 20_000
#: An undisturbed run of up to so long is repeated.
_SHORT_SECONDS = 30.0
#: How often a short run that shows nothing is made again.
_MORE_TRIES = 2
#: SIGKILL comes in the middle of the run, or later, if not half of the checkpoints are there by then.
_KILL_SHARE, _LAST_KILL_SHARE = 0.5, 1.5

Progress = Callable[[str], None]


def carry_out(plan: Plan, tell: Progress) -> tuple[Run, ...]:
    """Run the script as often as it takes to judge it, the uninterrupted run first.

    Ends early when the uninterrupted run fails or writes no checkpoint: nothing else could be learned.
    """
    with open_lab(plan) as lab:
        first = _run_undisturbed(lab, plan, tell)
        runs = [first]
        whole = first.training_seconds
        if not first.is_completed or not tell_story(first.stretches[0], find_checkpoint_kinds(runs)).saves:
            return tuple(runs)
        lab.limit_seconds = min(plan.timeout_seconds, 4 * whole + 60)

        tries = Tries(first, whole)
        runs += [_interrupt(lab, plan, moment, tries, tell) for moment in plan.interrupt_at]
        killed = _kill(lab, find_enough(first, find_checkpoint_kinds(runs)), tries, tell)
        runs.append(killed)

        torn = lab.tear(killed, find_checkpoint_kinds(runs))
        if torn:
            tell(f"started with the newest checkpoint cut in half ({torn})")
            runs.append(lab.run(RunKind.TORN, "with a torn checkpoint", torn=torn))
            tell(_sum_up(runs[-1]))

        if plan.compare:
            runs = [first, *(lab.compare(first, run, plan.compare) for run in runs[1:])]
        elif any(run.was_interrupted and run.differs_from(first) for run in runs):
            tell("the models differ: one more uninterrupted run, to see whether they always do")
            runs.append(lab.run(RunKind.UNINTERRUPTED, "uninterrupted again"))
        return tuple(runs)


def _run_undisturbed(lab: Lab, plan: Plan, tell: Progress) -> Run:
    """The run that the others are compared with.

    A first start is often slower: the files of its packages are not in memory yet. In a short run that
    is much of its time, and moments that are a share of it would come after the end of the quicker runs.
    """
    tell(f"uninterrupted run of {plan.entry_point}")
    run = lab.run(RunKind.UNINTERRUPTED, "uninterrupted")
    tell(_sum_up(run))
    if run.is_completed and run.training_seconds <= _SHORT_SECONDS:
        tell("once more, because a first start is often slower")
        run = lab.run(RunKind.UNINTERRUPTED, "uninterrupted, second start")
        tell(_sum_up(run))
    return run


@dataclass(slots=True)
class Tries:
    """Makes an interrupted run again where it shows nothing by chance.

    A busy machine makes one run slower than the next. A moment that is a share of a slow run comes after the
    end of a quick one, and in a run that starts slowly before its first checkpoint. In a long run neither
    matters, and another one would take long.
    """

    first: Run
    whole_seconds: float

    def make(self, run_once: Callable[[], Run], tell: Progress) -> Run:
        """The first run of up to three that shows something; the last one where none does."""
        run = run_once()
        for _ in range(_MORE_TRIES):
            if self.first.training_seconds > _SHORT_SECONDS or not self._shows_nothing(run):
                break
            if not run.was_interrupted:
                self.whole_seconds = min(self.whole_seconds, run.training_seconds)
            tell("  which shows nothing, as may happen on a busy machine: once more")
            run = run_once()
        return run

    def _shows_nothing(self, run: Run) -> bool:
        return weigh(run, self.first, find_checkpoint_kinds([self.first, run])) in SHOWS_NOTHING


def _interrupt(lab: Lab, plan: Plan, moment: Moment, tries: Tries, tell: Progress) -> Run:
    def run_once() -> Run:
        at, grace = moment.of(tries.whole_seconds), plan.grace_seconds(tries.whole_seconds)
        tell(f"interrupted at {moment} ({at:.1f} s), SIGKILL {grace:.1f} s after SIGTERM")
        blow = Blow(at_seconds=at, notice_seconds=grace)
        run = lab.run(RunKind.INTERRUPTED, f"interrupted at {moment}", blow=blow)
        tell(_sum_up(run))
        return run

    return tries.make(run_once, tell) if moment.share is not None else run_once()


def _kill(lab: Lab, enough: Enough, tries: Tries, tell: Progress) -> Run:
    def run_once() -> Run:
        at = _KILL_SHARE * tries.whole_seconds
        tell(f"killed by SIGKILL without a warning, at {at:.1f} s")
        patience = _LAST_KILL_SHARE * tries.whole_seconds
        blow = Blow(at_seconds=at, after=enough, patient_until_seconds=patience)
        run = lab.run(RunKind.KILLED, "killed without a warning", blow=blow)
        tell(_sum_up(run))
        return run

    return tries.make(run_once, tell)


def _sum_up(run: Run) -> str:
    seconds = " + ".join(f"{stretch.seconds:.1f}" for stretch in run.stretches)
    return f"  {run.status} after {seconds} s of training"


@dataclass(frozen=True, slots=True, kw_only=True)
class Blow:
    """When the instance is taken away, in seconds since the script's start."""

    at_seconds: float
    notice_seconds: float = 0.0
    after: Enough | None = None
    """It waits for this to be saved..."""
    patient_until_seconds: float = 0.0
    """... but not longer than this."""


@dataclass(slots=True)
class _Recording:
    began: float
    restored: tuple[str, ...]
    watch: Watch
    lines: list[tuple[float, str]] = field(default_factory=list)


class Recorder:
    """A `ContainerObserver` that keeps what the first host of each job does."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Condition()
        self._current: dict[str, _Recording] = {}
        self._stretches: dict[str, list[Stretch]] = {}

    def starting(self, job_name: str, host: str, checkpoints: Path | None) -> None:
        if host != "algo-1" or checkpoints is None:
            return
        restored = tuple(sorted(p.relative_to(checkpoints).as_posix() for p in _files(checkpoints)))
        if restored and len(self._stretches.get(job_name, ())) == 1:
            shutil.copytree(checkpoints, self.restored_folder(job_name))
        watch = watch_folder(checkpoints)
        with self._lock:
            self._current[job_name] = _Recording(time.monotonic(), restored, watch)
            self._lock.notify_all()

    def wrote(self, job_name: str, host: str, line: str) -> None:
        recording = self._current.get(job_name)
        if host == "algo-1" and recording and len(recording.lines) < _KEPT_LINES:
            recording.lines.append((time.monotonic() - recording.began, line))

    def ended(self, job_name: str, host: str, exit_code: int | None) -> None:
        if host != "algo-1" or job_name not in self._current:
            return
        recording = self._current[job_name]
        seconds = time.monotonic() - recording.began
        events = recording.watch.stop()
        with self._lock:
            self._stretches.setdefault(job_name, []).append(
                Stretch(
                    seconds=seconds,
                    exit_code=exit_code,
                    restored=recording.restored,
                    events=events,
                    lines=tuple(recording.lines),
                )
            )
            self._lock.notify_all()

    def restored_folder(self, job_name: str) -> Path:
        """A copy of what the second stretch of the job started from; not there when that was nothing."""
        return self._folder / f"restored-{job_name}"

    def stretches(self, job_name: str) -> tuple[Stretch, ...]:
        return tuple(self._stretches.get(job_name, ()))

    def wait_for(self, job_name: str, at_seconds: float, *, limit_seconds: float) -> bool:
        """Wait until the first stretch has run so long; False when it ended before, or never began."""
        last = time.monotonic() + limit_seconds
        with self._lock:
            while not self._stretches.get(job_name):
                recording = self._current.get(job_name)
                due = recording.began + at_seconds if recording else last
                if time.monotonic() >= min(due, last):
                    return recording is not None
                # Nothing reports the end of a job that never started: look now and then.
                self._lock.wait(min(0.5, max(0.0, min(due, last) - time.monotonic())))
        return False

    def has_saved(self, job_name: str, enough: Enough) -> bool:
        """Whether the running stretch has, by now."""
        return enough.is_there(self._current[job_name].watch.events_so_far())


class Lab:
    """A local SageMaker, the script and the data in its S3."""

    def __init__(self, plan: Plan, server: LocalSageMaker, recorder: Recorder, folder: Path) -> None:
        self._plan = plan
        self._url = server.url
        self._sagemaker = make_client("sagemaker", server.url)
        self._s3 = make_client("s3", server.url)
        self._recorder = recorder
        self._folder = folder
        self._torn_folder = folder
        self._count = 0
        self.limit_seconds = plan.timeout_seconds

    def close(self) -> None:
        self._sagemaker.close()
        self._s3.close()

    def upload(self) -> None:
        """Put the script and the data into S3."""
        self._s3.create_bucket(Bucket=_BUCKET)
        self._put("source/sourcedir.tar.gz", pack_source(self._plan.source))
        for name, folder in self._plan.channels.items():
            for path in _files(folder):
                key = path.name if path == folder else path.relative_to(folder).as_posix()
                with path.open("rb") as body:
                    self._s3.upload_fileobj(body, _BUCKET, f"data/{name}/{key}")

    def run(self, kind: RunKind, label: str, *, blow: Blow | None = None, torn: str | None = None) -> Run:
        """One training job from start to end."""
        self._count += 1
        name = f"drill-{self._count}-{kind}"
        if torn:
            for path in _files(self._torn_folder):
                self._put(
                    f"checkpoints/{name}/{path.relative_to(self._torn_folder).as_posix()}", path.read_bytes()
                )
        self._sagemaker.create_training_job(**self._request(name))
        started = time.monotonic()
        if blow:
            self._strike(name, blow)
        job = self._wait_for_end(name, started + self.limit_seconds)
        model = self._model_of(name, label)
        return Run(
            kind=kind,
            label=label,
            status=job["TrainingJobStatus"],
            failure=job.get("FailureReason"),
            stretches=self._recorder.stretches(name),
            model={path.relative_to(model).as_posix(): _digest(path) for path in _files(model)},
            truncated=torn,
        )

    def tear(self, killed: Run, kinds: frozenset[str]) -> str | None:
        """Cut in half the newest checkpoint the killed run read; its name, None if there is none.

        One that it did not read would show nothing. Small files written with it, such as a pointer to the
        latest one, are left alone.
        """
        name = f"drill-{self._count}-{killed.kind}"
        folder = self._recorder.restored_folder(name)
        if not killed.is_completed or not killed.was_interrupted or not folder.exists():
            return None
        saves = [save.name for save in tell_story(killed.stretches[0], kinds).saves]
        read = killed.stretches[1].files_read()
        there = {n: (folder / n).stat().st_size for n in saves if n in read and (folder / n).is_file()}
        largest = max(there.values(), default=0)
        newest = next((n for n in reversed(saves) if n in there and 2 * there[n] >= largest), None)
        if newest is None or largest < 2:
            return None
        path = folder / newest
        path.write_bytes(path.read_bytes()[: there[newest] // 2])
        self._torn_folder = folder
        return newest

    def compare(self, first: Run, other: Run, command: str) -> Run:
        """Let the user's command say whether two models are alike."""
        if not other.is_completed:
            return other
        folders = [str(self._folder / f"model of the run {run.label}") for run in (first, other)]
        try:
            done = subprocess.run(
                [*shlex.split(command), *folders],
                capture_output=True,
                text=True,
                timeout=self._plan.timeout_seconds,
                check=False,
            )
        except (OSError, subprocess.SubprocessError) as exc:
            return replace(other, compared=(False, f"the command could not be run: {exc}"))
        said = (done.stdout + done.stderr).strip().splitlines()
        return replace(other, compared=(done.returncode == 0, said[-1] if said else ""))

    def _strike(self, name: str, blow: Blow) -> None:
        at = blow.at_seconds
        while self._recorder.wait_for(name, at, limit_seconds=self.limit_seconds):
            is_ready = blow.after is None or self._recorder.has_saved(name, blow.after)
            if is_ready or at >= blow.patient_until_seconds:
                body = {
                    "training_job_name": name,
                    "notice_seconds": max(0, round(blow.notice_seconds * SPEED)),
                }
                request = urllib.request.Request(  # noqa: S310
                    f"{self._url}/_local/interrupt", data=json.dumps(body).encode(), method="POST"
                )
                with contextlib.suppress(urllib.error.HTTPError):  # it has ended in this very moment
                    urllib.request.urlopen(request, timeout=30).close()  # noqa: S310
                return
            at += 0.05

    def _wait_for_end(self, name: str, last: float) -> dict[str, Any]:
        is_late = False
        while True:
            job = dict(self._sagemaker.describe_training_job(TrainingJobName=name))
            if job["TrainingJobStatus"] in _TERMINAL:
                return job | ({"TrainingJobStatus": "TimedOut"} if is_late else {})
            if time.monotonic() >= last and not is_late:
                is_late = True
                self._sagemaker.stop_training_job(TrainingJobName=name)
            time.sleep(0.05)

    def _request(self, name: str) -> dict[str, Any]:
        plan = self._plan
        script = {
            "sagemaker_program": plan.entry_point,
            "sagemaker_submit_directory": f"s3://{_BUCKET}/source/sourcedir.tar.gz",
        }
        request: dict[str, Any] = {
            "TrainingJobName": name,
            "RoleArn": "arn:aws:iam::123456789012:role/SpotDrill",
            "AlgorithmSpecification": {"TrainingImage": plan.image, "TrainingInputMode": "File"},
            "HyperParameters": {**plan.hyperparameters, **script},
            "OutputDataConfig": {"S3OutputPath": f"s3://{_BUCKET}/models"},
            "CheckpointConfig": {"S3Uri": f"s3://{_BUCKET}/checkpoints/{name}"},
            "ResourceConfig": {"InstanceType": "ml.m5.xlarge", "InstanceCount": 1, "VolumeSizeInGB": 30},
            "StoppingCondition": {
                "MaxRuntimeInSeconds": 28 * _DAY_SECONDS,
                "MaxWaitTimeInSeconds": 28 * _DAY_SECONDS,
            },
            "EnableManagedSpotTraining": True,
        }
        channels = [
            {
                "ChannelName": channel,
                "DataSource": {
                    "S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": f"s3://{_BUCKET}/data/{channel}/"}
                },
            }
            for channel in plan.channels
        ]
        return request | ({"InputDataConfig": channels} if channels else {})

    def _model_of(self, name: str, label: str) -> Path:
        """The job's model in a folder of its own."""
        folder = self._folder / f"model of the run {label}"
        shutil.rmtree(folder, ignore_errors=True)  # of a run that was made once more
        folder.mkdir()
        with contextlib.suppress(self._s3.exceptions.ClientError):  # a job that failed has none
            body = self._s3.get_object(Bucket=_BUCKET, Key=f"models/{name}/output/model.tar.gz")[
                "Body"
            ].read()
            with tarfile.open(fileobj=io.BytesIO(body)) as archive:
                archive.extractall(folder, filter="data")
        return folder

    def _put(self, key: str, body: bytes) -> None:
        self._s3.put_object(Bucket=_BUCKET, Key=key, Body=body)


@contextlib.contextmanager
def open_lab(plan: Plan) -> Iterator[Lab]:
    """A lab that is ready to run jobs; closed and cleaned up at the end."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="spot-drill-")))
        recorder = Recorder(folder)
        at_once = TypeRule(launch_seconds=0, download_seconds=0, upload_seconds=0)
        server = LocalSageMaker(
            clock=SimulatedClock(speed=SPEED),
            market=MarketSpec(general=at_once),
            images=Images(file=Path("--python"), rules=(ImageRule(pattern="*", python=str(plan.python)),)),
            observer=recorder,
        )
        server.start()
        stack.callback(server.close)
        lab = Lab(plan, server, recorder, folder)
        stack.callback(lab.close)
        lab.upload()
        yield lab


def pack_source(source: Path) -> bytes:
    """A script, or a folder with scripts, as `sagemaker_submit_directory` wants it."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for path in _files(source):
            name = Path(path.name) if path == source else path.relative_to(source)
            if not any(part == "__pycache__" or part.startswith(".") for part in name.parts):
                archive.add(path, arcname=name.as_posix())
    return gzip.compress(buffer.getvalue())


def _files(folder: Path) -> list[Path]:
    """The file itself, or all files below the folder."""
    if folder.is_file():
        return [folder]
    return sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
