"""A real local SageMaker and real boto3 for the AWS side."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.awsrequest import AWSResponse
from botocore.config import Config

from spot_training.connections import DEFAULT_BOTOCORE_CONFIG
from spot_training.domain.budget import BudgetCheck
from spot_training.domain.deadline import Deadline
from spot_training.domain.ladder import Policy, Step
from spot_training.domain.lifecycle import JobSnapshot
from spot_training.domain.savings import Attempt
from spot_training.domain.stop_reasons import StopNote, StopReason
from spot_training.sagemaker.identity import RunIdentity
from spot_training.sagemaker.jobs import TrainingJobs
from spot_training.sagemaker.request import TrainingPlan
from spot_training.training.host import NoRecorder, OnRecord

ROOT = Path(__file__).resolve().parents[2]
#: An hour a second: a wait of an hour is over in a moment.
SPEED = 3600


@dataclass(frozen=True, slots=True)
class Cloud:
    """A running local SageMaker."""

    url: str

    def client(self, service: str, **config: Any) -> Any:
        return boto3.client(
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

    def fail(self, operation: str, error: str, count: int = 1) -> None:
        self.control("POST", "faults", {"operation": operation, "error": error, "count": count})


@dataclass(slots=True)
class MemoryRecorder(NoRecorder):
    """The driver's `Recorder`, for the length of a test: reasons of stops, and what a test puts on record."""

    on_record: OnRecord = field(default_factory=OnRecord)
    kept: dict[str, StopNote] = field(default_factory=dict)

    def known_jobs(self) -> OnRecord:
        return self.on_record

    def keep_stop(self, job_name: str, note: StopNote) -> None:
        self.kept[job_name] = note

    def why_stopped(self, job_name: str) -> StopNote | None:
        return self.kept.get(job_name)

    @property
    def reasons(self) -> dict[str, StopReason]:
        return {name: note.why for name, note in self.kept.items()}


@dataclass(slots=True, kw_only=True)
class FakeHost:
    """The driver's `Host`: a task, by what it answers."""

    make_plan: Callable[[RunIdentity], TrainingPlan]
    make_policy: Callable[[float | None], Policy] | None
    make_deadline: Callable[[datetime], Deadline] | None = None
    make_check: Callable[[Step], BudgetCheck | None] = lambda _step: None
    is_out_of_time: Callable[[], str | None] = lambda: None
    said: list[str] = field(default_factory=list)

    @property
    def only_watches(self) -> bool:
        return self.make_policy is None

    def plan(self, identity: RunIdentity) -> TrainingPlan:
        return self.make_plan(identity)

    def policy(self, seconds_left: float | None) -> Policy:
        assert self.make_policy is not None
        return self.make_policy(seconds_left)

    def deadline(self, now: Callable[[], datetime]) -> Deadline | None:
        return self.make_deadline(now()) if self.make_deadline else None

    def check_budget(self, step: Step) -> BudgetCheck | None:
        return self.make_check(step)

    def out_of_time(self) -> str | None:
        return self.is_out_of_time()

    def say(self, text: str) -> None:
        self.said.append(text)

    def job_over(self, job: JobSnapshot, attempt: Attempt) -> None: ...

    def account(self) -> str | None:
        return None

    def installation(self) -> str:
        return "airflow"


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
        body = json.dumps({"__type": code, "message": text}).encode()

        class Raw:
            def stream(self, *_: Any, **__: Any) -> Any:
                yield body

        return AWSResponse("http://sagemaker", status, {"x-amzn-errortype": code}, Raw())

    jobs.listen(lambda client: client.meta.events.register(f"before-send.sagemaker.{operation}", answer))
    return answered


@pytest.fixture(scope="session")
def running_cloud() -> Iterator[Cloud]:
    process = subprocess.Popen(
        [sys.executable, "-m", "local_sagemaker", "--port", "0", "--speed", str(SPEED)],
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


@pytest.fixture
def cloud(running_cloud: Cloud) -> Cloud:
    """The running cloud, empty."""
    running_cloud.control("POST", "reset")
    running_cloud.client("s3").create_bucket(Bucket="bucket")
    return running_cloud


def live_jobs(cloud: Cloud) -> list[str]:
    """The names of the jobs that are not over."""
    client = cloud.client("sagemaker")
    names = [s["TrainingJobName"] for s in client.list_training_jobs()["TrainingJobSummaries"]]
    described = (client.describe_training_job(TrainingJobName=name) for name in names)
    over = {"Completed", "Failed", "Stopped"}
    return [d["TrainingJobName"] for d in described if d["TrainingJobStatus"] not in over]
