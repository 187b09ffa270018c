"""Carries out the jobs of a run, side by side, in one thread. Does not judge."""

from __future__ import annotations

import contextlib
import json
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from .acts import ACTS
from .evidence import JobEvidence, Run, StoredObject, pack, unpack
from .jobs import SCARCE_TYPE, JobPlan
from .requests import checkpoint_key, request_for

if TYPE_CHECKING:
    from .target import Target

LOG_GROUP = "/aws/sagemaker/TrainingJobs"
_SECONDS_BETWEEN_LOOKS = 5.0
#: How long a job that was created may not be found.
_UNSEEN_SECONDS = 120
_LARGEST_OBJECT = 1_000_000


class Runner:
    """`seconds` is the real time after which the rest is given up."""

    def __init__(self, run: Run, *, parallel: int, seconds: float, say: Callable[[str], None]) -> None:
        self._run = run
        self._target: Target = run.target
        self._parallel = parallel
        self._seconds = seconds
        self._say = say
        self._running: list[JobEvidence] = []

    def carry_out(self, plans: list[JobPlan], *, with_events: bool) -> None:
        self._upload_inputs()
        if with_events:
            self._listen()
        waiting = [plan for plan in plans if not plan.is_local or self._target.control]
        last = time.monotonic() + self._seconds
        with self._scarcity():
            while (waiting or self._running) and time.monotonic() < last:
                waiting = self._create_due(waiting)
                time.sleep(self._target.real(_SECONDS_BETWEEN_LOOKS, least=0.1))
                for job in list(self._running):
                    self._look(job)
        for plan in waiting:
            self._add(plan).missing = f"not created within {self._seconds:g} s"
        for job in self._running:
            job.missing = f"still {job.status} after {self._seconds:g} s"
        for job in self._run.created():
            job.log = self._read_log(job.name)
        if with_events and self._run.no_events is None:
            try:
                self._run.events = self._receive()
            except ClientError as exc:
                self._run.no_events = str(exc)

    def _upload_inputs(self) -> None:
        s3, bucket = self._target.client("s3"), self._target.bucket
        if bucket == self._run.id:
            s3.create_bucket(Bucket=bucket)
        probe = Path(__file__).with_name("probe.py").read_bytes()
        for name, content in {
            "source.tar.gz": pack({"probe.py": probe}),
            "code/probe.py": probe,
            "data/train/a.csv": b"1,2,3",
            "data/train/deep/b.csv": b"4,5,6",
        }.items():
            s3.put_object(Bucket=bucket, Key=f"{self._run.id}/{name}", Body=content)

    @contextlib.contextmanager
    def _scarcity(self) -> Iterator[None]:
        """On a local SageMaker, one type has no capacity meanwhile."""
        control = self._target.control
        if control is None:
            yield
            return
        control.set_capacity(SCARCE_TYPE, available=False)
        try:
            yield
        finally:
            control.set_capacity(SCARCE_TYPE, available=True)

    # --- jobs ---

    def _create_due(self, waiting: list[JobPlan]) -> list[JobPlan]:
        """Create what may start now. Returns what still waits."""
        left = []
        for plan in waiting:
            before = self._run.jobs.get(plan.after or "")
            if plan.after and before is not None and before.missing:
                self._add(plan).missing = f"{plan.after}: {before.missing}"
            elif not self._may_start(before, plan) or not self._create(plan):
                left.append(plan)
        return left

    def _may_start(self, before: JobEvidence | None, plan: JobPlan) -> bool:
        is_first = plan.after is None or (before is not None and before.is_over)
        return is_first and len(self._running) < self._parallel

    def _create(self, plan: JobPlan) -> bool:
        """False if the quota has no room until another job is over."""
        job = self._add(plan)
        if plan.after:
            key = f"{checkpoint_key(self._run, plan)}/put/by-others"
            self._target.client("s3").put_object(Bucket=self._target.bucket, Key=key, Body=b"theirs")
        try:
            self._target.create(job.request)
        except ClientError as exc:
            code = exc.response["Error"]["Code"]
            if code == "ResourceLimitExceeded" and self._running:
                self._parallel = len(self._running)
                del self._run.jobs[plan.name]
                return False
            if code != "ResourceInUse":  # a repeated call whose first answer was lost
                job.missing = str(exc)
                self._say(f"{plan.name}: {exc}")
                return True
        job.created_at = time.time()
        self._running.append(job)
        self._say(f"{plan.name}: created ({plan.purpose})")
        self._act(job)
        return True

    def _add(self, plan: JobPlan) -> JobEvidence:
        request = request_for(self._run, plan)
        job = JobEvidence(plan=plan, name=request["TrainingJobName"], request=request)
        self._run.jobs[plan.name] = job
        return job

    def _look(self, job: JobEvidence) -> None:
        described = self._target.describe(job.name)
        if described is None:
            age = time.time() - job.created_at
            if job.seen or age > self._target.real(_UNSEEN_SECONDS, least=5):
                job.missing = "DescribeTrainingJob does not find it"
                self._running.remove(job)
            return
        before = job.status
        job.note(time.time(), described, self._target.wire["DescribeTrainingJob"].body)
        if job.status != before:
            self._say(f"{job.plan.name}: {job.status}")
        if job.is_over:
            self._running.remove(job)
            try:
                self._collect(job)
            except (ClientError, tarfile.TarError, OSError, EOFError) as exc:
                self._say(f"{job.plan.name}: its objects cannot be read: {exc}")
        else:
            self._act(job)

    def _act(self, job: JobEvidence) -> None:
        if act := ACTS.get(job.plan.name):
            act(self._run, job)

    # --- what a job left ---

    def _collect(self, job: JobEvidence) -> None:
        output = f"{self._run.id}/output/{job.name}/"
        found = dict(self._objects(output))
        job.output = sorted(key.removeprefix(output) for key in found)
        archive = found.get(f"{output}output/model.tar.gz")
        if archive is not None:
            job.model = unpack(archive.content)
        if job.plan.has_checkpoints:
            prefix = f"{checkpoint_key(self._run, job.plan)}/"
            job.checkpoints = {key.removeprefix(prefix): each for key, each in self._objects(prefix)}

    def _objects(self, prefix: str) -> Iterator[tuple[str, StoredObject]]:
        s3, bucket = self._target.client("s3"), self._target.bucket
        for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
            for entry in page.get("Contents", ()):
                is_small = entry["Size"] <= _LARGEST_OBJECT
                body = s3.get_object(Bucket=bucket, Key=entry["Key"])["Body"].read() if is_small else b""
                yield entry["Key"], StoredObject(entry["LastModified"], body)

    def _read_log(self, name: str) -> dict[str, list[str]]:
        logs = self._target.client("logs")
        try:
            streams = logs.describe_log_streams(logGroupName=LOG_GROUP, logStreamNamePrefix=f"{name}/")
            return {
                stream["logStreamName"]: [
                    event["message"]
                    for event in logs.get_log_events(
                        logGroupName=LOG_GROUP, logStreamName=stream["logStreamName"], startFromHead=True
                    )["events"]
                ]
                for stream in streams["logStreams"]
            }
        except ClientError as exc:
            self._say(f"{name}: no log: {exc}")
            return {}

    # --- events ---

    def _listen(self) -> None:
        """A rule for the events of this run's jobs, and a queue that gets them."""
        try:
            sqs, events = self._target.client("sqs"), self._target.client("events")
            url = sqs.create_queue(QueueName=self._run.id)["QueueUrl"]
            arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"][
                "QueueArn"
            ]
            sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": json.dumps(_may_send(arn))})
            pattern = {
                "source": ["aws.sagemaker"],
                "detail-type": ["SageMaker Training Job State Change"],
                "detail": {"TrainingJobName": [{"prefix": self._run.id}]},
            }
            events.put_rule(Name=self._run.id, EventPattern=json.dumps(pattern))
            events.put_targets(Rule=self._run.id, Targets=[{"Id": "queue", "Arn": arn}])
        except ClientError as exc:
            self._run.no_events = str(exc)
            self._say(f"no events: {exc}")

    def _receive(self) -> list[dict[str, Any]]:
        sqs = self._target.client("sqs")
        url = sqs.get_queue_url(QueueName=self._run.id)["QueueUrl"]
        received: list[dict[str, Any]] = []
        wait = round(self._target.real(10))
        while True:
            messages = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=wait).get(
                "Messages", ()
            )
            if not messages:
                return received
            for message in messages:
                received.append(json.loads(message["Body"]))
                sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])


def _may_send(queue_arn: str) -> dict[str, Any]:
    statement = {
        "Effect": "Allow",
        "Principal": {"Service": "events.amazonaws.com"},
        "Action": "sqs:SendMessage",
        "Resource": queue_arn,
    }
    return {"Version": "2012-10-17", "Statement": [statement]}
