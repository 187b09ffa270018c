"""What the tests of the local SageMaker share: a driven engine without HTTP, a running server with boto3."""

from __future__ import annotations

import contextlib
import io
import json
import subprocess
import sys
import tarfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from include.local_stack.waiting import patience
from local_sagemaker.clock import DrivenClock
from local_sagemaker.containers.simulated import SimulatedWork
from local_sagemaker.jobs.description import description_of
from local_sagemaker.jobs.engine import Engine
from local_sagemaker.jobs.job import TrainingJob
from local_sagemaker.jobs.store import Store
from local_sagemaker.market import Market, MarketSpec, load_market
from local_sagemaker.services.objects import NoSuchBucketError

ROOT = Path(__file__).resolve().parents[2]
START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
XGBOOST = "683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-xgboost:1.7-1"


def request_for(name: str = "job", **overrides: Any) -> dict[str, Any]:
    """A spot request that is right in every way; an override of None leaves the member out."""
    request = {
        "TrainingJobName": name,
        "RoleArn": "arn:aws:iam::123456789012:role/SageMakerRole",
        "AlgorithmSpecification": {"TrainingImage": XGBOOST, "TrainingInputMode": "File"},
        "OutputDataConfig": {"S3OutputPath": "s3://bucket/models"},
        "ResourceConfig": {"InstanceType": "ml.m5.xlarge", "InstanceCount": 1, "VolumeSizeInGB": 10},
        "StoppingCondition": {"MaxRuntimeInSeconds": 7200, "MaxWaitTimeInSeconds": 14400},
        "EnableManagedSpotTraining": True,
        "Environment": {"LOCAL_TRAINING_SECONDS": "1800"},
    } | overrides
    return {key: value for key, value in request.items() if value is not None}


def on_demand_request_for(name: str = "job", **overrides: Any) -> dict[str, Any]:
    without_spot = {
        "EnableManagedSpotTraining": False,
        "StoppingCondition": {"MaxRuntimeInSeconds": 7200},
    }
    return request_for(name, **(without_spot | overrides))


class DictObjects:
    """S3 as a dict. Every bucket exists but `missing`."""

    def __init__(self) -> None:
        self.content: dict[tuple[str, str], bytes] = {}

    def keys(self, bucket: str, prefix: str) -> list[str]:
        self._check(bucket)
        return sorted(key for owner, key in self.content if owner == bucket and key.startswith(prefix))

    def has_any(self, bucket: str, prefix: str) -> bool:
        return bool(self.keys(bucket, prefix))

    def read(self, bucket: str, key: str) -> bytes | None:
        self._check(bucket)
        return self.content.get((bucket, key))

    def write(self, bucket: str, key: str, content: bytes) -> None:
        self._check(bucket)
        self.content[bucket, key] = content

    def delete(self, bucket: str, key: str) -> None:
        self._check(bucket)
        self.content.pop((bucket, key), None)

    @staticmethod
    def _check(bucket: str) -> None:
        if bucket == "missing":
            raise NoSuchBucketError(f"The bucket {bucket} does not exist")


@dataclass
class Simulation:
    """An engine with simulated jobs, on a clock that moves only when the test moves it."""

    market: MarketSpec = field(default_factory=MarketSpec)
    objects: DictObjects = field(default_factory=DictObjects)
    clock: DrivenClock = field(default_factory=lambda: DrivenClock(now=START))

    def __post_init__(self) -> None:
        self.seen: list[TrainingJob] = []
        self.engine = Engine(
            clock=self.clock,
            market=Market(self.market, started_at=START),
            store=Store(),
            work_for=lambda site, job: SimulatedWork(site, job, self.objects, lambda _: None),
            listeners=(self.seen.append,),
        )

    def create(self, name: str = "job", **overrides: Any) -> None:
        self.engine.create(request_for(name, **overrides), {})

    def create_on_demand(self, name: str = "job", **overrides: Any) -> None:
        self.engine.create(on_demand_request_for(name, **overrides), {})

    def pass_time(self, seconds: float) -> None:
        self.clock.advance_to(self.clock.now() + timedelta(seconds=seconds))
        with self.engine:
            pass

    def run_until(self, condition: Callable[[], bool], *, limit_seconds: float = 30 * 86400) -> None:
        """From event to event until something is so."""
        last = self.clock.now() + timedelta(seconds=limit_seconds)
        while not condition():
            due = self.engine.next_due()
            assert due is not None, f"nothing will happen any more: {self.seen[-1:]}"
            assert due <= last, f"still not so after {limit_seconds} simulated seconds"
            self.clock.advance_to(due)
            with self.engine:
                pass

    def run_to_end(self, name: str = "job") -> TrainingJob:
        self.run_until(lambda: self.job(name).is_over)
        return self.job(name)

    def reach(self, status: str, name: str = "job") -> None:
        self.run_until(lambda: self.job(name).secondary_status == status)

    def describe(self, name: str = "job") -> dict[str, Any]:
        return description_of(self.job(name), self.clock.now())

    def job(self, name: str = "job") -> TrainingJob:
        with self.engine:
            job = self.engine.store.get(name)
        assert job is not None
        return job


def market_from(tmp_path: Path, text: str) -> MarketSpec:
    path = tmp_path / "market.yaml"
    path.write_text(text, encoding="utf-8")
    return load_market(str(path))


def statuses_of(job: TrainingJob) -> list[str]:
    return [str(transition.status) for transition in job.transitions]


# --- a running server ---


@cache
def _session() -> boto3.Session:
    keys: dict[str, Any] = {"aws_access_key_id": "any", "aws_secret_access_key": "any"}
    return boto3.Session(region_name="us-east-1", **keys)


@dataclass(frozen=True)
class Server:
    """A running local SageMaker."""

    url: str
    pid: int

    def client(self, service: str, **config: Any) -> Any:
        session: Any = _session()  # typed by the services' names, which are literal there
        return session.client(service, endpoint_url=self.url, config=Config(**config))

    def control(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        """Status and content of a `/_local/` call."""
        status, content = self.send(
            method, f"/_local/{path}", None if body is None else json.dumps(body).encode()
        )
        return status, json.loads(content)

    def send(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, bytes]:
        request = urllib.request.Request(self.url + path, method=method, data=body, headers=headers or {})  # noqa: S310
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:  # noqa: S310
                return int(answer.status), answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()

    def call(self, operation: str, body: object, **headers: str) -> tuple[int, Any]:
        """A raw SageMaker call, past the client's own checks."""
        given = {
            "Content-Type": "application/x-amz-json-1.1",
            "X-Amz-Target": f"SageMaker.{operation}",
        } | headers
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        status, content = self.send("POST", "/", raw, given)
        return status, json.loads(content)

    def wait_for(
        self, name: str, is_so: Callable[[dict[str, Any]], bool], *, limit_seconds: float = 40
    ) -> dict[str, Any]:
        """Describe a job until something is so."""
        client = self.client("sagemaker")
        described: dict[str, Any] = {}

        def look() -> bool:
            described.update(client.describe_training_job(TrainingJobName=name))
            return is_so(described)

        wait_until(look, limit_seconds=limit_seconds, describe=lambda: f"{name} is {described}")
        return described

    def wait_for_end(self, name: str, *, limit_seconds: float = 40) -> dict[str, Any]:
        return self.wait_for(
            name,
            lambda job: job["TrainingJobStatus"] in ("Completed", "Failed", "Stopped"),
            limit_seconds=limit_seconds,
        )

    def wait_for_status(self, name: str, status: str) -> dict[str, Any]:
        return self.wait_for(name, lambda job: job["SecondaryStatus"] == status)

    def put(self, uri: str, content: bytes) -> None:
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        self.client("s3").put_object(Bucket=bucket, Key=key, Body=content)

    def get(self, uri: str) -> bytes:
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        content: bytes = self.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read()
        return content

    def keys(self, prefix: str) -> list[str]:
        found = self.client("s3").list_objects_v2(Bucket="bucket", Prefix=prefix)
        return [entry["Key"] for entry in found.get("Contents", [])]

    def log_of(self, job_name: str) -> dict[str, list[str]]:
        """The lines of each log stream of a job, the oldest stream first; none before the first container."""
        logs = self.client("logs")
        group = "/aws/sagemaker/TrainingJobs"
        if not logs.describe_log_groups(logGroupNamePrefix=group)["logGroups"]:
            return {}
        streams = logs.describe_log_streams(logGroupName=group, logStreamNamePrefix=f"{job_name}/")[
            "logStreams"
        ]
        return {
            stream["logStreamName"]: [
                event["message"]
                for event in logs.get_log_events(
                    logGroupName=group, logStreamName=stream["logStreamName"], startFromHead=True
                )["events"]
            ]
            for stream in streams
        }


def wait_until(
    is_so: Callable[[], bool],
    *,
    limit_seconds: float = 20,
    describe: Callable[[], str] = lambda: "not so in time",
) -> None:
    last = time.monotonic() + limit_seconds * patience()
    while not is_so():
        assert time.monotonic() < last, describe()
        time.sleep(0.05)


@contextlib.contextmanager
def running_server(
    *arguments: str, errors: Path | None = None, prefix: Sequence[str] = ()
) -> Iterator[Server]:
    """The command line's own server, on a free port. `prefix` is a command that runs it."""
    with contextlib.ExitStack() as stack:
        stderr = stack.enter_context(errors.open("w")) if errors else subprocess.DEVNULL
        process = stack.enter_context(
            subprocess.Popen(
                [*prefix, sys.executable, "-m", "local_sagemaker", "--port", "0", *arguments],
                cwd=ROOT,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
            )
        )
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line.startswith("ready: "), f"the server did not start: {line!r}"
            yield Server(url=line.removeprefix("ready: ").strip(), pid=process.pid)
        finally:
            process.terminate()
            process.wait(timeout=20)


def source_archive(script: str, name: str = "train.py") -> bytes:
    """A script as `sagemaker_submit_directory` wants it."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        member = tarfile.TarInfo(name)
        member.size = len(script.encode())
        archive.addfile(member, io.BytesIO(script.encode()))
    return buffer.getvalue()


def unpack(archive: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        return {
            member.name: (opened.extractfile(member) or io.BytesIO()).read()
            for member in opened.getmembers()
            if member.isfile()
        }
