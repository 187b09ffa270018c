"""A real local SageMaker, real boto3, and a request for a training job. Every folder has the fixtures."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from botocore.awsrequest import AWSResponse
from botocore.compat import HTTPHeaders
from botocore.config import Config

from include.local_stack import wait_until
from spot_training.connections import DEFAULT_BOTOCORE_CONFIG
from spot_training.sagemaker.jobs import TrainingJobs

ROOT = Path(__file__).resolve().parents[1]
HOUR = 3600
#: An hour a second: a wait of an hour is over in a moment.
SPEED = 3600


@dataclass(frozen=True, slots=True)
class Cloud:
    """A running local SageMaker."""

    url: str

    def client(self, service: str, **config: Any) -> Any:
        make: Any = boto3.client  # typed by the services' names, which are literal there
        return make(
            service,
            endpoint_url=self.url,
            region_name="us-east-1",
            aws_access_key_id="test",
            aws_secret_access_key="test",  # noqa: S106 - the local cloud takes any
            config=Config(**{**DEFAULT_BOTOCORE_CONFIG, **config}),
        )

    def jobs(self) -> TrainingJobs:
        return TrainingJobs(self.client("sagemaker"))

    def control(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        request = urllib.request.Request(  # noqa: S310 - loopback
            f"{self.url}/_local/{path}", method=method, data=json.dumps(body or {}).encode()
        )
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
            return json.loads(answer.read() or b"null")

    def set_capacity(self, *, available: bool, instance_type: str = "ml.m5.xlarge") -> None:
        self.control("PUT", "capacity", {"instance_type": instance_type, "available": available})

    def now(self) -> datetime:
        return datetime.fromisoformat(self.control("GET", "clock")["now"])

    def wait_for_a_month_with_a_day_left(self) -> None:
        """At the cloud's speed a month is over in twelve minutes, and a budget is one month's."""
        wait_until(
            lambda: (self.now() + timedelta(days=1)).month == self.now().month,
            "the cloud's month to have a day left",
            timeout_seconds=2 * 86400 / SPEED,
        )

    def fail(self, operation: str, error: str, count: int = 1) -> None:
        self.control("POST", "faults", {"operation": operation, "error": error, "count": count})


def make_config(**overrides: Any) -> dict[str, Any]:
    return {
        "RoleArn": "arn:aws:iam::123456789012:role/SageMakerTraining",
        "AlgorithmSpecification": {
            "TrainingImage": "123456789012.dkr.ecr.us-east-1.amazonaws.com/mine:1",
            "TrainingInputMode": "File",
        },
        "OutputDataConfig": {"S3OutputPath": "s3://bucket/models"},
        "ResourceConfig": {"InstanceType": "ml.m5.xlarge", "InstanceCount": 1, "VolumeSizeInGB": 10},
        "StoppingCondition": {"MaxRuntimeInSeconds": HOUR, "MaxWaitTimeInSeconds": HOUR},
        "CheckpointConfig": {"S3Uri": "s3://bucket/checkpoints"},
        "Environment": {"LOCAL_TRAINING_SECONDS": "600"},
        **overrides,
    }


def refusal(status: int, code: str, text: str = "") -> AWSResponse:
    """An error as AWS answers it."""
    headers, body = HTTPHeaders(), json.dumps({"__type": code, "message": text}).encode()
    headers["x-amzn-errortype"] = code
    raw = SimpleNamespace(stream=lambda *_, **__: iter([body]))
    return AWSResponse("http://sagemaker", status, headers, raw)


def answer_before_sending(client: Any, calls: str, answer: Callable[..., AWSResponse | None]) -> None:
    """Let `answer` answer calls (`sagemaker`, `logs.GetLogEvents`) instead of AWS, unless it gives None."""
    client.meta.events.register(f"before-send.{calls}", answer)


def answer_with(
    jobs: TrainingJobs, operation: str, status: int, code: str, text: str, *, times: int = 99, after: int = 0
) -> list[int]:
    """Answer calls of an operation with an error, at the outermost edge of the client.

    The first `after` calls go through, the next `times` do not. Returns the list that counts the latter.
    """
    calls: list[int] = []
    answered: list[int] = []

    def answer(**_: Any) -> AWSResponse | None:
        calls.append(len(calls) + 1)
        if not after < len(calls) <= after + times:
            return None
        answered.append(len(answered) + 1)
        return refusal(status, code, text)

    jobs.listen(lambda client: answer_before_sending(client, f"sagemaker.{operation}", answer))
    return answered


@contextlib.contextmanager
def serving(*options: str) -> Iterator[Cloud]:
    """A local SageMaker with these options, for as long as the block takes."""
    process = subprocess.Popen(
        [sys.executable, "-m", "local_sagemaker", "--port", "0", *options],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdout is not None
        line = next(line for line in process.stdout if line.startswith("ready: "))
        yield Cloud(line.removeprefix("ready: ").strip())
    finally:
        process.terminate()
        process.wait(timeout=20)
        if process.stdout is not None:
            process.stdout.close()


@pytest.fixture(scope="session")
def running_cloud() -> Iterator[Cloud]:
    with serving("--speed", str(SPEED)) as cloud:
        yield cloud


@pytest.fixture
def cloud(running_cloud: Cloud) -> Cloud:
    """The running cloud, empty."""
    running_cloud.control("POST", "reset")
    running_cloud.client("s3").create_bucket(Bucket="bucket")
    return running_cloud


@pytest.fixture
def drought(cloud: Cloud) -> Cloud:
    """The running cloud, empty and without spot capacity: jobs wait."""
    cloud.set_capacity(available=False)
    return cloud


def live_jobs(cloud: Cloud) -> list[str]:
    """The names of the jobs that are not over."""
    client = cloud.client("sagemaker")
    names = [s["TrainingJobName"] for s in client.list_training_jobs()["TrainingJobSummaries"]]
    described = (client.describe_training_job(TrainingJobName=name) for name in names)
    over = {"Completed", "Failed", "Stopped"}
    return [d["TrainingJobName"] for d in described if d["TrainingJobStatus"] not in over]
