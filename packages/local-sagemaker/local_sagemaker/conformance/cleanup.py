"""Removes what a run made. Everything has the run's id in its name, so a later process can do it as well."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from secrets import token_hex
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from .checks.refusals import REFUSED
from .evidence import TERMINAL
from .jobs import PLANS, SCARCE_TYPE, job_name
from .runner import LOG_GROUP
from .target import is_not_found

if TYPE_CHECKING:
    from .target import Target

RUN_ID = re.compile(r"conformance-\d{6}-\d{6}-[0-9a-f]{4}")
#: How long a stop may take. AWS was seen to take 160 s before a job had started, and a script gets 120 s.
_STOP_SECONDS = 900.0
_ALREADY_GONE = (
    "NoSuchBucket",
    "ResourceNotFoundException",
    "AWS.SimpleQueueService.NonExistentQueue",
    "QueueDoesNotExist",
)


def new_run_id() -> str:
    return f"conformance-{datetime.now(UTC):%y%m%d-%H%M%S}-{token_hex(2)}"


def clean_up(target: Target, run_id: str, say: Callable[[str], None]) -> list[str]:
    """Stop and remove everything of a run. Returns what could not be removed, with the reason."""
    left: list[str] = []

    def attempt(what: str, remove: Callable[[], None]) -> None:
        try:
            remove()
        except (ClientError, BotoCoreError, TimeoutError) as exc:
            if not (isinstance(exc, ClientError) and exc.response["Error"]["Code"] in _ALREADY_GONE):
                left.append(f"{what}: {exc}")

    say(f"removing what {run_id} made; jobs take some minutes to stop on AWS")
    if target.control:
        target.control.set_capacity(SCARCE_TYPE, available=True)
    attempt("rule and queue", lambda: _remove_events(target, run_id))
    names: list[str] = []
    attempt("list of jobs", lambda: names.extend(_find_jobs(target, run_id)))
    for name in names:
        attempt(f"training job {name}", lambda name=name: _stop(target, name))  # type: ignore[misc]
    for name in names:
        attempt(f"training job {name}", lambda name=name: _delete(target, name))  # type: ignore[misc]
    attempt(f"objects below s3://{target.bucket}/{run_id}/", lambda: _remove_objects(target, run_id))
    attempt(f"log streams of {run_id}", lambda: _remove_logs(target, run_id))
    return left


def _find_jobs(target: Target, run_id: str) -> list[str]:
    """By the list, which can lag, and by the names that a run gives."""
    pages = target.sagemaker.get_paginator("list_training_jobs").paginate(NameContains=run_id)
    listed = {job["TrainingJobName"] for page in pages for job in page["TrainingJobSummaries"]}
    planned = (*PLANS, *(refused.name for refused in REFUSED))
    known = {name for each in planned if target.describe(name := job_name(run_id, each)) is not None}
    return sorted(name for name in listed | known if name.startswith(f"{run_id}-"))


def _stop(target: Target, name: str) -> None:
    described = target.describe(name)
    if described is not None and described["TrainingJobStatus"] == "InProgress":
        try:
            target.sagemaker.stop_training_job(TrainingJobName=name)
        except ClientError as exc:
            if not is_not_found(exc):  # it has just ended
                raise


def _delete(target: Target, name: str) -> None:
    """Wait until the job is over, which a stop takes a while for, and delete it."""
    last = time.monotonic() + target.real(_STOP_SECONDS, least=30)
    while (described := target.describe(name)) and described["TrainingJobStatus"] not in TERMINAL:
        if described["TrainingJobStatus"] == "Deleting":
            return
        if time.monotonic() >= last:
            raise TimeoutError(f"still {described['TrainingJobStatus']}: it costs nothing once it is over")
        time.sleep(target.real(5, least=0.1))
    if described:
        target.sagemaker.delete_training_job(TrainingJobName=name)


def _remove_objects(target: Target, run_id: str) -> None:
    """All versions, if the bucket keeps them; and the bucket, if the run made it."""
    s3 = target.client("s3")
    for page in s3.get_paginator("list_object_versions").paginate(Bucket=target.bucket, Prefix=f"{run_id}/"):
        found: list[dict[str, Any]] = [*page.get("Versions", ()), *page.get("DeleteMarkers", ())]
        if found:
            keys = [{"Key": each["Key"], "VersionId": each["VersionId"]} for each in found]
            s3.delete_objects(Bucket=target.bucket, Delete={"Objects": keys, "Quiet": True})
    if target.bucket == run_id:
        s3.delete_bucket(Bucket=target.bucket)


def _remove_logs(target: Target, run_id: str) -> None:
    logs = target.client("logs")
    pages = logs.get_paginator("describe_log_streams").paginate(
        logGroupName=LOG_GROUP, logStreamNamePrefix=f"{run_id}-"
    )
    names = [stream["logStreamName"] for page in pages for stream in page["logStreams"]]
    for name in names:
        logs.delete_log_stream(logGroupName=LOG_GROUP, logStreamName=name)


def _remove_events(target: Target, run_id: str) -> None:
    events, sqs = target.client("events"), target.client("sqs")
    try:
        events.remove_targets(Rule=run_id, Ids=["queue"])
        events.delete_rule(Name=run_id)
    except ClientError as exc:
        if exc.response["Error"]["Code"] not in _ALREADY_GONE:
            raise
    sqs.delete_queue(QueueUrl=sqs.get_queue_url(QueueName=run_id)["QueueUrl"])
