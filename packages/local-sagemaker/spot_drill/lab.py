"""Runs training jobs on a local SageMaker in this process, through boto3, and interrupts them.

Closing the lab kills every process and removes every file, also after an error.
"""

from __future__ import annotations

import contextlib
import io
import json
import shlex
import shutil
import subprocess
import tarfile
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
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

from .files import cut_in_half, digest_of, list_files, pack_source
from .history import read_history
from .observe import Run, RunKind
from .recorder import Recorder

if TYPE_CHECKING:
    from .moments import PlannedInterruption
    from .plan import Plan

#: Simulated seconds per real second. There are no waits, so it matters only for the limits of the jobs.
SPEED = 60
_BUCKET = "spot-drill"
_DAY_SECONDS = 86400
_TERMINAL = ("Completed", "Failed", "Stopped")


class Lab:
    """A local SageMaker with the script and the data in its S3."""

    def __init__(self, plan: Plan, server: LocalSageMaker, recorder: Recorder, folder: Path) -> None:
        self._plan = plan
        self._server = server
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
            for path in list_files(folder):
                key = path.name if path == folder else path.relative_to(folder).as_posix()
                with path.open("rb") as body:
                    self._s3.upload_fileobj(body, _BUCKET, f"data/{name}/{key}")

    def run(
        self,
        kind: RunKind,
        label: str,
        *,
        planned: PlannedInterruption | None = None,
        torn: str | None = None,
        stop: PlannedInterruption | None = None,
    ) -> Run:
        """One training job from start to end, or until it is due to be stopped.

        In a warm-up the script sees no markers of SageMaker.
        """
        self._count += 1
        name = f"drill-{self._count}-{kind}"
        if torn:
            for path in list_files(self._torn_folder):
                self._put(
                    f"checkpoints/{name}/{path.relative_to(self._torn_folder).as_posix()}", path.read_bytes()
                )
        self._sagemaker.create_training_job(**self._request(name))
        started = time.monotonic()
        if planned:
            self._interrupt(name, planned)
        if stop and self._recorder.wait_for(name, stop, limit_seconds=self.limit_seconds):
            self._sagemaker.stop_training_job(TrainingJobName=name)
        job = self._wait_for_end(name, started + self.limit_seconds)
        model = self._model_of(name, label)
        return Run(
            kind=kind,
            label=label,
            job=name,
            status=job["TrainingJobStatus"],
            failure=job.get("FailureReason"),
            stretches=self._recorder.stretches(name),
            model={path.relative_to(model).as_posix(): digest_of(path) for path in list_files(model)},
            truncated=torn,
            has_mounts=self._server.has_private_mounts,
        )

    def tear(self, run: Run, kinds: frozenset[str]) -> str | None:
        """Cut the newest checkpoint that an interrupted run read in half. Returns its name, or None if there
        is none.

        A checkpoint that it did not read would show nothing. Small files that belong to it, such as a pointer
        to the latest one, stay as they are.
        """
        folder = self._recorder.restored_folder(run.job)
        if not run.is_completed or not run.was_interrupted or not folder.exists():
            return None
        saves = [save.name for save in read_history(run.stretches[0], kinds).saves]
        read = run.stretches[1].files_read()
        there = {n: (folder / n).stat().st_size for n in saves if n in read and (folder / n).is_file()}
        largest = max(there.values(), default=0)
        newest = next((n for n in reversed(saves) if n in there and 2 * there[n] >= largest), None)
        if newest is None or largest < 2:
            return None
        path = folder / newest
        path.write_bytes(cut_in_half(path.read_bytes()))
        self._torn_folder = folder
        return newest

    def compare(self, first: Run, other: Run, command: str) -> Run:
        """Let the user's command compare two models."""
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

    def _interrupt(self, name: str, planned: PlannedInterruption) -> None:
        if not self._recorder.wait_for(name, planned, limit_seconds=self.limit_seconds):
            return
        body = {
            "training_job_name": name,
            "notice_seconds": max(0, round(planned.notice_seconds * SPEED)),
        }
        request = urllib.request.Request(  # noqa: S310
            f"{self._url}/_local/interrupt", data=json.dumps(body).encode(), method="POST"
        )
        with contextlib.suppress(urllib.error.HTTPError):  # the job has just ended
            urllib.request.urlopen(request, timeout=30).close()  # noqa: S310

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
        """Unpack the job's model into a folder."""
        folder = self._folder / f"model of the run {label}"
        shutil.rmtree(folder, ignore_errors=True)  # of a run that was repeated
        folder.mkdir()
        with contextlib.suppress(self._s3.exceptions.ClientError):  # a failed job has no model
            body = self._s3.get_object(Bucket=_BUCKET, Key=f"models/{name}/output/model.tar.gz")[
                "Body"
            ].read()
            with tarfile.open(fileobj=io.BytesIO(body)) as archive:
                for member in archive:
                    with contextlib.suppress(tarfile.FilterError):  # a link that leads out of the model
                        archive.extract(member, folder, filter="data")
        return folder

    def _put(self, key: str, body: bytes) -> None:
        self._s3.put_object(Bucket=_BUCKET, Key=key, Body=body)


@contextlib.contextmanager
def open_lab(plan: Plan) -> Iterator[Lab]:
    """A lab that is ready to run jobs. At the end it is closed and cleaned up."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="spot-drill-")))
        recorder = Recorder(folder)
        at_once = TypeRule(launch_seconds=0, download_seconds=0, upload_seconds=0)
        server = LocalSageMaker(
            clock=SimulatedClock(speed=SPEED),
            market=MarketSpec(general=at_once),
            images=Images(file=Path("--python"), rules=(ImageRule(pattern="*", python=str(plan.python)),)),
            observer=recorder,
            marks_uploads=lambda job_name: not job_name.endswith(RunKind.WARM_UP),
            refuses_missing_inputs=False,  # an empty data folder is a failure of the run, not of the drill
        )
        server.start()
        stack.callback(server.close)
        lab = Lab(plan, server, recorder, folder)
        stack.callback(lab.close)
        lab.upload()
        yield lab
